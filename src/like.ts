// How far two held calls are alike: each is taken apart into places, and a grant compares them one by one. What is in no place, or cannot
// be taken apart, is compared as a whole; so whatever a reviewer did not leave free has to be what they saw.
import type { Action, Body, Call, GrantTerms, Header, Json, Part } from './nouns.ts'
import { glob } from './value.ts'

/** With more than this, or a name that is longer or not plain ASCII, the body or the query is one place. */
const placesMax = 200
const placeLength = 200

export type Likened = {
  readonly upstream: string
  readonly call: Pick<Call, 'method' | 'host' | 'query' | 'rawQuery'>
  /** As the upstream sees it. */
  readonly target: string
  readonly paths: readonly string[]
  /** Those that are digested. */
  readonly headers: readonly Header[]
  readonly actions: readonly Action[]
  readonly body: Body
  readonly bytes: Uint8Array
  /** JSON pointers of what counts for nothing. */
  readonly volatile?: readonly string[]
}

/** `print`: a keyed hash, so that nothing of a value is kept. */
type Print = (text: string | Uint8Array) => string

type Spot = readonly [place: string, type: string, value: string | Uint8Array]

/** The places of a call, in an order that two equal calls share. */
export const partsOf = (call: Likened, print: Print): readonly Part[] =>
  [...target(call), ...header(call), ...body(call)].map(([place, type, value]) => [place, type, print(value)])

const target = ({ upstream, call, target, paths, actions }: Likened): Spot[] => {
  const [rawPath = ''] = target.split('?', 1)
  const plain = paths.length === 1 && paths[0] === rawPath
  const query = pairs('query', call.query, call.rawQuery ?? '')
  return [
    ['upstream', 'text', upstream],
    ['method', 'text', call.method],
    ['host', 'text', call.host],
    ...action(actions),
    ...(plain ? path(rawPath, actions[0]?.resource ?? '') : [['path', 'spelled', rawPath] satisfies Spot]),
    ...(query !== undefined && named(query) ? query : [['query', 'whole', call.rawQuery ?? ''] satisfies Spot]),
  ]
}

// A path may say more than the resource does (a document of an index, what is behind a proxied service): only a segment that is one of the
// resource's own, in their order, may be another where that one may.
const path = (rawPath: string, resource: string): Spot[] => {
  const segments = rawPath.split('/')
  const own = resource.split('/')
  let from = 0
  return [
    ['path', 'plain', String(segments.length)],
    ...segments.map((segment, index): Spot => {
      const at = segment === '' ? -1 : own.indexOf(segment, from)
      if (at >= 0) from = at + 1
      return [`path/${index}`, at < 0 ? 'fixed' : `resource/${at}`, segment]
    }),
  ]
}

/** Each pair as it was read and as it was spelled: `+` is not a blank to everybody. Undefined where pairs and text do not go together. */
const pairs = (
  place: 'query' | 'form',
  read: readonly (readonly [name: string, value: string])[],
  text: string,
): Spot[] | undefined => {
  const spelled = text.split('&').filter(piece => piece !== '')
  return spelled.length === read.length
    ? read.map(([name, value], index) => [`${place}.${name}`, 'text', JSON.stringify([value, spelled[index]])])
    : undefined
}

/** Of a call that does several things, or something that cannot be told, everything is one place. */
const action = (actions: readonly Action[]): Spot[] => {
  const [only, ...more] = actions
  if (only === undefined || more.length > 0 || (only.unknown ?? []).length > 0)
    return [['actions', 'whole', JSON.stringify(actions)]]
  return [
    ['action', 'text', JSON.stringify([only.name, only.access])],
    ['resource', 'text', only.resource],
    ...Object.entries(only.fields)
      .sort(byName)
      .map(([name, value]): Spot => [`fields.${name}`, 'text', value]),
  ]
}

// An idempotency key tells one sending from another, never what is sent.
const header = ({ headers }: Likened): Spot[] =>
  headers
    .map(([name, value]): Spot => [`header.${name.toLowerCase()}`, 'line', value])
    .filter(([place]) => place !== 'header.idempotency-key')
    .sort(byName)

const body = ({ body, bytes, volatile = [] }: Likened): Spot[] => {
  const left = new Set(volatile.map(pointer => `json.${pointer}`))
  const kept = (spot: Spot): Spot => (left.has(spot[0]) ? [spot[0], spot[1], ''] : spot)
  const spots =
    body.kind === 'json'
      ? json('json.', body.value).map(kept)
      : body.kind === 'form'
        ? pairs('form', body.pairs, (body.content ?? Buffer.from(bytes)).toString())
        : undefined
  const kind: Spot = ['body kind', body.kind, '']
  if (body.kind === 'none') return [kind]
  return spots === undefined || !named(spots) ? [kind, ['body', 'whole', bytes]] : [kind, ...spots]
}

const json = (place: string, value: Json): Spot[] => {
  if (value === null || typeof value !== 'object')
    return [[place, value === null ? 'null' : typeof value, String(value)]]
  const members = Array.isArray(value) ? value.map((item, index) => [String(index), item] as const) : inOrder(value)
  const within = members.flatMap(([name, member]) => json(`${place}/${escaped(name)}`, member as Json))
  return [[place, Array.isArray(value) ? 'list' : 'members', ''], ...within]
}

const inOrder = (value: object): [string, Json][] => Object.entries(value).sort(byName)

const byName = ([one]: readonly [string, ...unknown[]], [other]: readonly [string, ...unknown[]]): number =>
  one < other ? -1 : one > other ? 1 : 0

/** RFC 6901 §3. */
const escaped = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

const named = (spots: readonly Spot[]): boolean =>
  spots.length <= placesMax && spots.every(([place]) => place.length <= placeLength && /^[\x20-\x7e]+$/.test(place))

/** May a reviewer leave this place free? Never who is called, what for, or a header. */
export const freeable = ([place, type]: Part): boolean =>
  ['text', 'string', 'number', 'boolean'].includes(type)
    ? /^(query|json|form|fields)\./.test(place)
    : place === 'body' && type === 'whole'

/**
 * Is the `other` call one that these terms let go, by what `one` was? `resource` is the other's.
 */
export const isLike = (
  one: readonly Part[],
  other: readonly Part[],
  terms: Pick<GrantTerms, 'free' | 'resource'>,
  resource: string,
): boolean => {
  const free = new Set(terms.free)
  const pattern = terms.resource !== undefined && fitsResource(terms.resource)(resource) ? terms.resource : undefined
  return (
    one.length === other.length &&
    one.every((part, index) => {
      const [place, type, print] = part
      const [otherPlace, otherType, otherPrint] = other[index] ?? []
      if (place !== otherPlace || type !== otherType) return false
      if (print === otherPrint || (free.has(place) && freeable(part))) return true
      return pattern !== undefined && ((place === 'resource' && type === 'text') || variesIn(pattern, type))
    })
  )
}

/** Is a part of this type a segment of the resource that the pattern leaves open? */
const variesIn = (pattern: string, type: string): boolean => {
  const [, at] = /^resource\/(\d+)$/.exec(type) ?? []
  return at !== undefined && (pattern.split('/')[Number(at)] ?? '').includes('*')
}

/** `*` stands for at least one character between two slashes. A resource that has a `*` itself stands for many, and is none of them. */
export const fitsResource = (pattern: string): ((resource: string) => boolean) => {
  const segments = pattern.split('/').map(segment => ({ fits: glob(segment), wild: segment.includes('*') }))
  return resource => {
    const found = resource.split('/')
    return (
      found.length === segments.length &&
      !resource.includes('*') &&
      segments.every(({ fits, wild }, index) => fits(found[index] ?? '') && !(wild && found[index] === ''))
    )
  }
}
