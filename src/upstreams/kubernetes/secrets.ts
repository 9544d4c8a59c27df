// Where the values of Secrets stand in a body: in `data` and `stringData` of whatever calls itself a Secret, and in what a request for a
// Secret changes. Names of keys stay readable. Where nobody can tell the values apart, the whole body is one of them.
import type { Body, Json } from '../../nouns.ts'

const valued = ['data', 'stringData'] as const
/** kubectl keeps the whole manifest here, values included. */
const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration'
/** A body with more different places than this is not looked through any further. */
const mostPlaces = 64

/** @param ofSecret the request itself is for a Secret, whatever its body calls itself */
export const secretsIn = (body: Body, ofSecret: boolean): readonly string[] | 'all' => {
  if (body.kind === 'none') return []
  if (body.kind !== 'json') return ofSecret ? 'all' : []
  // JSON Patch (RFC 6902): where a value goes is said beside it.
  if (ofSecret && Array.isArray(body.value)) return ['json./*/value']
  const found = new Set<string>()
  const look = (value: Json, at: string, secret: boolean): void => {
    if (value === null || typeof value !== 'object' || found.size > mostPlaces) return
    if (isList(value)) {
      for (const item of value) look(item, `${at}/*`, false)
      return
    }
    if (secret || isSecret(value)) {
      for (const name of valued) found.add(`json.${at}/${name}`)
      found.add(`json.${at}/metadata/annotations/${escaped(lastApplied)}`)
    }
    for (const [name, member] of Object.entries(value)) look(member, `${at}/${escaped(name)}`, false)
  }
  look(body.value, '', ofSecret)
  return found.size > mostPlaces ? 'all' : [...found]
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value)

const isSecret = (value: { readonly [name: string]: Json }): boolean =>
  Object.entries(value).some(([name, is]) => name.toLowerCase() === 'kind' && /^secret$/i.test(String(is)))

/** RFC 6901 §3. */
const escaped = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')
