// PostgREST: the table by the path, what is done to it by the method. A write without a filter is one of every row, so rules can ask for
// `filtered`; tables that a select embeds are read as well.
import type { Action } from '../nouns.ts'
import { plainRefusal, type Seen, type UpstreamKind } from './upstream.ts'

const opaque: Action = { name: 'postgrest:unknown', resource: '', access: 'unknown', fields: {}, unknown: ['*'] }

const verbs: { readonly [method: string]: readonly [verb: string, access: Action['access']] } = {
  GET: ['select', 'read'],
  HEAD: ['select', 'read'],
  POST: ['insert', 'write'],
  PATCH: ['update', 'write'],
  PUT: ['upsert', 'write'],
  DELETE: ['delete', 'write'],
}

/** Parameters that choose columns or order; every other one is a filter. */
const shaping: ReadonlySet<string> = new Set(['select', 'order', 'limit', 'offset', 'columns', 'on_conflict'])

export const postgrest: UpstreamKind = {
  kind: 'postgrest',
  volatileHeaders: [],
  strippedHeaders: [],
  upgrades: [],
  describe(seen) {
    const { call, path } = seen
    const schema = schemaOf(seen)
    if (schema === undefined) return [opaque]
    const [table = '', name, ...more] = path.split('/').slice(1)
    if (table === '' && name === undefined)
      return [
        {
          name: 'postgrest:none',
          resource: '/',
          access: ['GET', 'HEAD', 'OPTIONS'].includes(call.method) ? 'read' : 'unknown',
          fields: {},
        },
      ]
    if (more.length > 0) return [opaque]
    if (table === 'rpc') return name === undefined || name === '' ? [opaque] : [called(call.method, name, schema)]
    if (name !== undefined) return [opaque]
    if (call.method === 'OPTIONS')
      return [{ name: 'postgrest:none', resource: decoded(table), access: 'read', fields: {} }]
    const [verb, access] = verbs[call.method] ?? []
    if (verb === undefined || access === undefined) return [opaque]
    const filtered = call.query.some(([parameter]) => !isShaping(parameter)) ? 'yes' : 'no'
    const upserts = verb === 'insert' && prefers(seen, /resolution *= *(merge|ignore)-duplicates/i)
    const main: Action = {
      name: `postgrest:${upserts ? 'upsert' : verb}`,
      resource: decoded(table),
      access,
      fields: { filtered, ...(schema === '' ? {} : { schema }) },
      // The server takes the first of its own list.
      ...(schema === '' ? { unknown: ['schema'] } : {}),
    }
    return [main, ...embedded(seen, schema)]
  },
  refusal(error, problem, call) {
    if (call?.method === 'HEAD') return plainRefusal(error, problem, call)
    return {
      headers: [['Content-Type', 'application/json']],
      body: JSON.stringify({
        code: problem.code,
        message: problem.detail ?? problem.title,
        details: null,
        hint: null,
        holdpoint: problem,
      }),
    }
  },
}

// `table.limit` shapes an embedded table; `or`, `and` and every column filter.
const isShaping = (parameter: string): boolean => {
  const last = parameter.split('.').at(-1) ?? ''
  return shaping.has(parameter) || (parameter.includes('.') && ['order', 'limit', 'offset'].includes(last))
}

/** Undefined: two of them were named. */
const schemaOf = ({ call }: Seen): string | undefined => {
  const header = ['GET', 'HEAD'].includes(call.method) ? 'accept-profile' : 'content-profile'
  const named = call.headers.filter(([name]) => name.toLowerCase() === header).map(([, value]) => value.trim())
  return named.length > 1 ? undefined : (named[0] ?? '')
}

const prefers = ({ call }: Seen, wish: RegExp): boolean =>
  call.headers.some(([name, value]) => name.toLowerCase() === 'prefer' && wish.test(value))

/** A function may write, unless it is called by GET: then its transaction only reads. */
const called = (method: string, name: string, schema: string): Action => ({
  name: 'postgrest:rpc',
  resource: `rpc/${decoded(name)}`,
  access: ['GET', 'HEAD'].includes(method) ? 'read' : 'unknown',
  fields: { filtered: 'no', ...(schema === '' ? {} : { schema }) },
  ...(schema === '' ? { unknown: ['schema'] } : {}),
})

/** `select=*,alias:orders!hint(id,items(*)),...more(x)`: what stands before a parenthesis that is not empty. */
const embedded = ({ call }: Seen, schema: string): readonly Action[] => {
  const tables = new Set<string>()
  for (const [name, value] of call.query) {
    if (name !== 'select' && !name.endsWith('.select')) continue
    for (const found of value.matchAll(/(?:"((?:[^"\\]|\\.)*)"|([^\s,():!."]+))(?:![^,()]*)?\(/g)) {
      const [whole, quoted, plain] = found
      const before = value.slice(Math.max(0, found.index - 3), found.index)
      // `amount.sum()` is an aggregate; `...orders()` and `orders()` are tables.
      if (before.endsWith('.') && before !== '...' && value[found.index + whole.length] === ')') continue
      tables.add((quoted ?? plain ?? '').trim())
    }
  }
  return [...tables].map(table => ({
    name: 'postgrest:select',
    resource: table,
    access: 'read',
    fields: { filtered: 'no', ...(schema === '' ? {} : { schema }) },
    // It may be the name of a foreign key instead.
    unknown: ['resource', ...(schema === '' ? ['schema'] : [])],
  }))
}

const decoded = (segment: string): string => {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
