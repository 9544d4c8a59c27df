// What a `when` looks at: the same data as the other match keys, as CEL takes it, and whether all of it can be told. Of one body it is made
// once, however many rules and actions ask.
import type { Action, Body, Call, Caller, Json } from '../nouns.ts'
import type { Upstream } from '../settings.ts'
import { inAnotherCase } from './names.ts'

/** So many characters, or so many things that are only searched through, cost as much as one turn of a loop. */
export const perStep = 32

/** What an expression may look at. */
export type WhenSubject = {
  readonly call: Call
  readonly path: string
  readonly upstream: Upstream
  readonly action: Action | undefined
  /** All actions of the call, each of which is asked about. */
  readonly actions?: readonly Action[]
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Body
  readonly caller: Caller
  readonly at: number
}

export const variables = [
  'upstream',
  'method',
  'host',
  'path',
  'query',
  'header',
  'json',
  'form',
  'body',
  'action',
  'resource',
  'access',
  'fields',
  'caller',
  'time',
] as const

/** Can everything that the expression reads be told? */
export const isTold = (subject: WhenSubject, reads: ReadonlySet<string>, words: ReadonlySet<string>): boolean => {
  const { action, body, call } = subject
  for (const [name, part] of [
    ['action', 'name'],
    ['resource', 'resource'],
    ['access', 'access'],
  ] as const) {
    if (reads.has(name) && (action === undefined || action.unknown?.some(one => one === part || one === '*')))
      return false
  }
  if (reads.has('access') && action?.access === 'unknown') return false
  if ((reads.has('resource') || reads.has('fields')) && (action?.patterns ?? []).length > 0) return false
  if (reads.has('resource') && action?.reach !== undefined) return false
  if (reads.has('fields') && (action === undefined || (action.unknown ?? []).length > 0)) return false
  const empty = body.kind === 'none' || (body.kind === 'other' && body.size === 0)
  if (reads.has('json') && !empty && body.kind !== 'json') return false
  if (reads.has('form') && !empty && body.kind !== 'form') return false
  if (reads.has('body') && body.kind === 'unknown' && body.size === undefined) return false
  const exact = (holder: Parameters<typeof inAnotherCase>[0]): boolean =>
    [...words].every(word => !inAnotherCase(holder, word))
  if (reads.has('query') && !exact(call.query)) return false
  if (reads.has('form') && body.kind === 'form' && !exact(body.pairs)) return false
  return !reads.has('json') || body.kind !== 'json' || everywhere(body, words, exact)
}

const looked = new WeakMap<Body, WeakMap<ReadonlySet<string>, boolean>>()

/** A body is looked through once for each expression, however many actions it has. */
const everywhere = (
  body: Body & { readonly kind: 'json' },
  words: ReadonlySet<string>,
  exact: (object: { readonly [name: string]: Json }) => boolean,
): boolean => {
  const known = looked.get(body) ?? new WeakMap<ReadonlySet<string>, boolean>()
  looked.set(body, known)
  const answer = known.get(words) ?? every(body.value, exact)
  known.set(words, answer)
  return answer
}

/** Does it hold for every object in a JSON value? Without recursion: what is nested deeply must not exhaust the stack. */
const every = (value: Json, holds: (object: { readonly [name: string]: Json }) => boolean): boolean => {
  const open: Json[] = [value]
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (one === null || typeof one !== 'object') continue
    if (!Array.isArray(one) && !holds(one as { readonly [name: string]: Json })) return false
    for (const inner of Object.values(one)) open.push(inner as Json)
  }
  return true
}

export const valuesOf = (subject: WhenSubject, reads: ReadonlySet<string>): { readonly [name: string]: unknown } => {
  const { action, body, call } = subject
  const all: { readonly [K in (typeof variables)[number]]: () => unknown } = {
    upstream: () => subject.upstream.name,
    method: () => call.method,
    host: () => call.host,
    path: () => subject.path,
    query: () => listed(call.query),
    header: () => listed(subject.headers),
    json: () => (body.kind === 'json' ? celOf(body) : null),
    form: () => listed(body.kind === 'form' ? body.pairs : []),
    body: () => new Map([['size', BigInt(sizeOf(body) ?? call.contentLength ?? 0)]]),
    action: () => action?.name,
    resource: () => action?.resource,
    access: () => action?.access,
    fields: () => new Map(Object.entries(action?.fields ?? {})),
    caller: () => undefined,
    time: () => new Date(subject.at).toISOString(),
  }
  return Object.fromEntries(variables.filter(name => reads.has(name)).map(name => [name, all[name]()]))
}

const sizeOf = (body: Body): number | undefined =>
  body.kind === 'none' ? 0 : body.kind === 'unread' ? undefined : body.size

export const callerOf = (caller: Caller, reads: ReadonlySet<string>): { readonly caller?: unknown } => {
  if (!reads.has('caller')) return {}
  const { issuer, subject, client, kind, name, email, groups, claims, owner, actors } = caller
  const said = { issuer, subject, client, kind, name, email, groups, claims, owner, actors }
  return { caller: cel(JSON.parse(JSON.stringify(said)) as Json) }
}

const listed = (pairs: readonly (readonly [name: string, value: string])[]): ReadonlyMap<string, string[]> => {
  const lists = new Map<string, string[]>()
  for (const [name, value] of pairs) {
    const known = lists.get(name)
    if (known === undefined) lists.set(name, [value])
    else known.push(value)
  }
  return lists
}

const made = new WeakMap<Body, unknown>()

/** Made once of a body, however many rules and actions ask: no expression can change it. */
const celOf = (body: Body & { readonly kind: 'json' }): unknown => {
  const known = made.get(body)
  if (known !== undefined) return known
  const fresh = cel(body.value)
  made.set(body, fresh)
  return fresh
}

/** JSON as CEL takes it: maps instead of objects, so that no name means anything to JavaScript. */
const cel = (value: Json): unknown => {
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map(cel)
  return new Map(Object.entries(value).map(([name, inner]) => [name, cel(inner as Json)]))
}

const measured = new WeakMap<object, number>()

export const knownSize = (value: unknown): number => {
  if (value === null || typeof value !== 'object') return sizeIn(value)
  const size = measured.get(value) ?? sizeIn(value)
  measured.set(value, size)
  return size
}

/** In things, and in texts by their length. */
const sizeIn = (value: unknown): number => {
  if (typeof value === 'string') return 1 + value.length / perStep
  if (value === null || typeof value !== 'object') return 1
  const inner = value instanceof Map ? [...value.values()] : Object.values(value)
  return inner.reduce<number>((sum, one) => sum + sizeIn(one), 1)
}
