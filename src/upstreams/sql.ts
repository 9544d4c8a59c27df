// SQL in JSON over HTTP, as Neon, libSQL, D1, rqlite and others take it: one statement, several, or a pipeline. Only shapes that are
// known are read; in any other, a statement may hide, and at any other path something else than a statement is asked for.
import type { Action, Json } from '../nouns.ts'
import { opaque, statements, unique } from './sql/statements.ts'
import { plainRefusal, type Seen, type UpstreamKind } from './upstream.ts'

/** Members that hold a statement's text. */
const texts: ReadonlySet<string> = new Set(['query', 'sql', 'statement', 'stmt', 'q'])
/** Members that hold several. */
const lists: ReadonlySet<string> = new Set(['queries', 'statements', 'batch', 'steps', 'requests'])
/** Members that hold values in a list or by name. */
const bound: ReadonlySet<string> = new Set([
  'params',
  'args',
  'arguments',
  'parameters',
  'named_args',
  'bindings',
  'values',
])
/** Members that hold wishes about the answer: no lists, no objects. */
const wishes: ReadonlySet<string> = new Set([
  'arraymode',
  'fulloresults',
  'fullresults',
  'want_rows',
  'method',
  'mode',
  'format',
  'transaction',
  'isolationlevel',
  'readonly',
  'deferrable',
  'baton',
  'timeout',
  'limit',
])

// Elsewhere such servers keep dumps, backups and databases, whatever a body says.
const endpoints = /^(?:\/|.*\/(?:_?sql|query|execute|exec|exp|request|pipeline|batch|raw|transaction|statements?))$/i
const pages = /^\/(?:|health|healthz|version|ping|status|readyz)$/

export const sql: UpstreamKind = {
  kind: 'sql',
  volatileHeaders: [],
  strippedHeaders: ['neon-connection-string'],
  upgrades: [],
  describe(seen) {
    const { call, body } = seen
    const isRead = ['GET', 'HEAD'].includes(call.method)
    if (call.method === 'OPTIONS' || (isRead && call.query.length === 0 && pages.test(seen.path)))
      return [{ name: 'sql:none', resource: seen.path, access: 'read', fields: {} }]
    if (!endpoints.test(seen.path) || !(isRead || call.method === 'POST')) return [opaque]
    if (body.kind === 'unread') return 'unread'
    const queried = call.query.filter(([name]) => texts.has(name.toLowerCase()))
    if (body.kind === 'none') {
      const [one, ...more] = queried
      return one !== undefined && more.length === 0 ? read(one[1]) : [opaque]
    }
    if (queried.length > 0) return [opaque]
    if (body.kind === 'json') return unique(jsonOf(body.value, 0))
    return plainText(seen)
  },
  refusal: plainRefusal,
}

const read = (text: string): readonly Action[] => statements(text, { dialect: 'any', database: undefined })

const plainText = ({ call, body }: Seen): readonly Action[] => {
  const [type = '', ...more] = call.headers
    .filter(([name]) => name.toLowerCase() === 'content-type')
    .map(([, value]) => value)
  if (
    more.length > 0 ||
    !/^(?:application\/sql|text\/(?:plain|sql|x-sql)) *(;|$)/i.test(type) ||
    body.content === undefined
  )
    return [opaque]
  const text = body.content.toString('utf8')
  return Buffer.from(text).equals(body.content) ? read(text) : [opaque]
}

/** A statement, an object that holds some, or a list of either; `["… ?", 1]` is a statement with its values. */
const jsonOf = (value: Json | undefined, depth: number): readonly Action[] => {
  if (depth > 10) return [opaque]
  if (typeof value === 'string') return read(value)
  if (Array.isArray(value)) {
    const items = value as readonly Json[]
    if (items.length === 0) return [opaque]
    // A list below a list is one statement; texts after the first one are its values, or statements: both are read as statements.
    return items.flatMap(item =>
      typeof item === 'string' || isObject(item) || Array.isArray(item) ? jsonOf(item, depth + 1) : [],
    )
  }
  if (!isObject(value)) return [opaque]
  const found: Action[] = []
  for (const [name, inner] of Object.entries(value)) {
    const lower = name.toLowerCase()
    if (texts.has(lower))
      found.push(...(typeof inner === 'string' || isObject(inner) ? jsonOf(inner, depth + 1) : [opaque]))
    else if (lists.has(lower))
      found.push(...(Array.isArray(inner) || isObject(inner) ? jsonOf(inner, depth + 1) : [opaque]))
    else if (lower === 'type' && typeof inner === 'string') {
      // A pipeline's requests that run a text say so, and then it stands beside; the others only tidy up.
      if (inner === 'close' || inner === 'get_autocommit')
        found.push({ name: 'sql:none', resource: '', access: 'read', fields: {} })
    } else if (lower === 'condition' && depth > 0) continue
    else if (!bound.has(lower) && (!wishes.has(lower) || (inner !== null && typeof inner === 'object'))) return [opaque]
  }
  return found.length > 0 ? found : [opaque]
}

const isObject = (value: unknown): value is { readonly [name: string]: Json } =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
