// GraphQL over HTTP: every root field of every operation that may run is an action. What a server could find elsewhere than in the text
// that we read (a hash without its text, a stored document, an upload, a socket, another path) is opaque, and so is a request with two texts.
import { createHash } from 'node:crypto'
import {
  type ArgumentNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from 'graphql'
import { HoldpointError } from '../errors.ts'
import type { Action, Json } from '../nouns.ts'
import type { Seen, UpstreamKind } from './upstream.ts'

const maxTokens = 10_000
const maxActions = 500

/** Nothing of it can be told: no rule allows it but one that asks for nothing. */
const opaque: Action = { name: 'graphql:unknown', resource: '', access: 'unknown', fields: {}, unknown: ['*'] }

const parameters: ReadonlySet<string> = new Set(['query', 'operationName', 'variables', 'extensions'])

/** Where a server takes texts. At other paths it keeps stored ones (`/graphql/persisted/…`, `/api/rest/…`), and the body may be their variables. */
const endpoint = /^\/$|(?:^|\/)(?:[\w.-]*graphql[\w.-]*|gql|query|relay)\/?$/i
const pages = /^\/(?:healthz?|readyz?|livez?|ping|version|favicon\.ico|\.well-known\/apollo\/server-health)$/
/** Parameters of a POST's address that may name a stored document. */
const storing = /^(?:id|_?key|sha.*)$|doc|hash|persist|query|extension|operation/i

export const graphql: UpstreamKind = {
  kind: 'graphql',
  volatileHeaders: [],
  strippedHeaders: [],
  upgrades: ['websocket'],
  describe(seen) {
    const { call, body, path } = seen
    if (call.upgrade !== undefined) return [{ ...opaque, fields: { upgrade: call.upgrade } }]
    const asks = new Map(call.query)
    const none: Action = { name: 'graphql:none', resource: path, access: 'read', fields: {} }
    if (call.method === 'OPTIONS') return [none]
    if (['GET', 'HEAD'].includes(call.method)) {
      if (call.contentLength !== 0) return [opaque]
      // A page, a health check: nothing is asked that a server could run.
      if (call.query.length === 0) return endpoint.test(path) || pages.test(path) ? [none] : [opaque]
      if (!endpoint.test(path)) return [opaque]
      if (asks.size !== call.query.length) return [opaque]
      return unique(
        requested(
          Object.fromEntries(asks),
          call.query.map(([name]) => name),
        ),
      )
    }
    for (const [name] of call.query) {
      if (parameters.has(name))
        throw new HoldpointError(
          'malformed',
          `query: send "${name}" in the body only; servers differ in which one they read.`,
        )
    }
    if (!endpoint.test(path) || call.query.some(([name]) => storing.test(name))) return [opaque]
    if (body.kind === 'unread') return 'unread'
    return unique(posted(seen))
  },
  refusal(_, problem, call) {
    const accepts = call?.headers.some(
      ([name, value]) => name.toLowerCase() === 'accept' && value.includes('application/graphql-response+json'),
    )
    return {
      headers: [['Content-Type', accepts ? 'application/graphql-response+json' : 'application/json']],
      body: JSON.stringify({ errors: [{ message: problem.detail ?? problem.title, extensions: problem }] }),
    }
  },
}

const posted = ({ call, body }: Seen): readonly Action[] => {
  if (body.kind === 'json') {
    if (isObject(body.value)) return requested(body.value, Object.keys(body.value), true)
    const batch = Array.isArray(body.value) ? (body.value as readonly Json[]) : []
    if (batch.length === 0 || batch.length > maxActions) return [opaque]
    return batch.flatMap(one => (isObject(one) ? requested(one, Object.keys(one)) : [opaque]))
  }
  if (body.kind === 'form') {
    const names = body.pairs.map(([name]) => name)
    return new Set(names).size === names.length ? requested(Object.fromEntries(body.pairs), names) : [opaque]
  }
  const [type = '', ...more] = call.headers
    .filter(([name]) => name.toLowerCase() === 'content-type')
    .map(([, value]) => value)
  if (more.length === 0 && /^application\/graphql *(;|$)/i.test(type) && body.content !== undefined)
    return requested({ query: body.content.toString('utf8') }, ['query'])
  return [opaque]
}

/**
 * One request; `alone`: its variables are where a rule looks for them, in a JSON body of their own. A name that is none of GraphQL's may stand for a stored document (`documentId`, `id`, `queryId`): then the text says nothing.
 */
const requested = (
  request: { readonly [name: string]: unknown },
  names: readonly string[],
  alone = false,
): readonly Action[] => {
  const { query, operationName } = request
  if (names.some(name => !parameters.has(name))) return [opaque]
  // Not every server ends a comment at a carriage return.
  if (typeof query !== 'string' || /\ufffd|\r(?!\n)/.test(query)) return [opaque]
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') return [opaque]
  if (!isHashOf(request.extensions, query)) return [opaque]
  let document: DocumentNode
  try {
    document = parse(query, { maxTokens, noLocation: true })
  } catch {
    return [opaque]
  }
  const fragments = new Map<string, FragmentDefinitionNode>()
  const operations: OperationDefinitionNode[] = []
  for (const definition of document.definitions) {
    if (definition.kind === Kind.OPERATION_DEFINITION) operations.push(definition)
    else if (definition.kind === Kind.FRAGMENT_DEFINITION && !fragments.has(definition.name.value))
      fragments.set(definition.name.value, definition)
    else return [opaque]
  }
  // An empty name is none to some servers and a name to others.
  const named = operationName === undefined || operationName === null || operationName === ''
  const run = named ? operations : operations.filter(({ name }) => name?.value === operationName)
  if (run.length === 0) return [opaque]
  return run.flatMap(operation => rootFields(operation, fragments, alone))
}

/** Is a persisted query's hash, if there is one, that of the text? Nothing else may be asked of the server beside the text. */
const isHashOf = (extensions: unknown, query: string): boolean => {
  if (extensions === undefined || extensions === null) return true
  let given: unknown = extensions
  if (typeof given === 'string') {
    try {
      given = JSON.parse(given) as unknown
    } catch {
      return false
    }
  }
  if (!isObject(given)) return false
  const { persistedQuery, ...others } = given as { readonly persistedQuery?: unknown }
  if (Object.keys(others).some(name => storing.test(name))) return false
  if (persistedQuery === undefined) return true
  if (!isObject(persistedQuery)) return false
  const { sha256Hash } = persistedQuery as { readonly sha256Hash?: unknown }
  return sha256Hash === createHash('sha256').update(query).digest('hex')
}

const accessOf = { query: 'read', subscription: 'read', mutation: 'write' } as const

const rootFields = (
  operation: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
  alone: boolean,
): readonly Action[] => {
  const actions: Action[] = []
  const spread = new Set<string>()
  let told = true
  const visit = (set: SelectionSetNode): void => {
    for (const selection of set.selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT) visit(selection.selectionSet)
      else if (selection.kind === Kind.FRAGMENT_SPREAD) {
        const name = selection.name.value
        const fragment = fragments.get(name)
        if (fragment === undefined) told = false
        else if (!spread.has(name)) {
          spread.add(name)
          visit(fragment.selectionSet)
        }
      } else {
        actions.push({
          name: `graphql:${operation.operation}`,
          resource: selection.name.value,
          access: accessOf[operation.operation],
          fields: {
            operation: operation.name?.value ?? '',
            // Whoever tests variables must know that every argument is the variable of its own name, without a default.
            inline: alone && (selection.arguments ?? []).every(argument => isOwn(argument, operation)) ? 'no' : 'yes',
          },
        })
      }
    }
  }
  visit(operation.selectionSet)
  return told && actions.length > 0 && actions.length <= maxActions ? actions : [opaque]
}

const isOwn = ({ name, value }: ArgumentNode, { variableDefinitions }: OperationDefinitionNode): boolean =>
  value.kind === Kind.VARIABLE &&
  value.name.value === name.value &&
  (variableDefinitions ?? []).every(
    ({ variable, defaultValue }) => variable.name.value !== name.value || defaultValue === undefined,
  )

/** Aliases may ask for one field many times; it is judged once. */
const unique = (actions: readonly Action[]): readonly Action[] => {
  const seen = new Map(actions.map(action => [JSON.stringify(action), action]))
  return seen.size > maxActions ? [opaque] : [...seen.values()]
}

const isObject = (value: unknown): value is { readonly [name: string]: Json } =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
