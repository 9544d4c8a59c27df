// Members of a JSON document that are secret although their own names do not say so: what they are called stands beside them.
import type { JsonNode } from './json.ts'
import { secretName } from './names.ts'

/** Is this member or element of a value a secret in disguise? */
type Disguised = (key: string, value: JsonNode) => boolean

const labels = new Set(['name', 'key', 'parameterkey', 'parametername', 'header', 'field', 'variable', 'envvar'])
const labelled = new Set(['value', 'val', 'parametervalue', 'defaultvalue', 'content'])
// These say what a thing is as often as what it is called (`type: session`), and `data` or `text` is often all there is of a document:
// so the label must be unmistakable, and only a string is hidden.
const looseLabels = new Set([...labels, 'id', 'type', 'label'])
const looselyLabelled = new Set([...labelled, 'text', 'data'])
const unmistakable = /(?:password|passwd|passphrase|secret|(?:api|secret|private|access)[ _-]?key|credentials?)$/i

const fold = (key: string): string => key.toLowerCase().replace(/[^a-z]/g, '')

const textsOf = (node: JsonNode, fits: (key: string) => boolean): readonly string[] =>
  node.kind === 'object'
    ? node.members.flatMap(([key, value]) => (value.kind === 'string' && fits(key) ? [value.value] : []))
    : []

const none: Disguised = () => false

/** For one document: asked for a value before what is below it, it remembers what the value says about that. */
export const disguises = (): ((node: JsonNode) => Disguised) => {
  const told = new WeakMap<JsonNode, ReadonlySet<string>>()
  return node => {
    if (node.kind === 'array') return inArray(node.items)
    if (node.kind !== 'object') return none
    const kinds = textsOf(node, key => key === 'kind')
    if (kinds.includes('SecretList')) tellItems(node, told)
    const variables = graphqlVariables(node)
    if (variables.size > 0) for (const [key, value] of node.members) if (key === 'variables') told.set(value, variables)
    const label = textsOf(node, key => labels.has(fold(key))).some(name => secretName(name))
    const loose = textsOf(node, key => looseLabels.has(fold(key))).some(name => unmistakable.test(name))
    const patch = isPatch(node)
    const secret = kinds.includes('Secret')
    const hinted = told.get(node)
    return (key, value) =>
      (label && labelled.has(fold(key))) ||
      (loose && value.kind === 'string' && looselyLabelled.has(fold(key))) ||
      (patch && key === 'value') ||
      (secret && /^(?:data|stringdata)$/i.test(key)) ||
      hinted?.has(key) === true
  }
}

// ["password", "…"], and command lines: ["--password", "…"].
const inArray =
  (items: readonly JsonNode[]): Disguised =>
  (key, value) => {
    const before = items[Number(key) - 1]
    if (before?.kind !== 'string' || value.kind !== 'string' || !secretName(before.value)) return false
    return items.length === 2 || (/^--?\w/.test(before.value) && !value.value.startsWith('-'))
  }

// JSON Patch (RFC 6902) and SCIM's: everything below a secret name is secret.
const isPatch = (node: JsonNode): boolean =>
  textsOf(node, key => key === 'op').length > 0 &&
  textsOf(node, key => key === 'path').some(path => path.split('/').some(segment => secretName(segment)))

const secretData = new Set(['data', 'stringData'])

// The items of a Kubernetes list need not say what they are.
const tellItems = (list: JsonNode, told: WeakMap<JsonNode, ReadonlySet<string>>): void => {
  if (list.kind !== 'object') return
  for (const [key, items] of list.members)
    if (key === 'items' && items.kind === 'array') for (const item of items.items) told.set(item, secretData)
}

// `password: $p` in a GraphQL query: the variable p is a secret.
const graphqlVariables = (node: JsonNode): ReadonlySet<string> =>
  new Set(
    textsOf(node, key => key === 'query').flatMap(query =>
      [...query.matchAll(/(?<!\w)([A-Za-z_]\w{0,127})\s{0,16}:\s{0,16}\$(\w{1,128})/g)].flatMap(
        ([, name = '', variable = '']) => (secretName(name) ? [variable] : []),
      ),
    ),
  )
