// PostgREST: the table by the path, what is done to it by the method. A write without a filter is one of every row, so rules can ask for
// `filtered`; tables that a select embeds are read as well.
import { HoldpointError } from '../errors.ts'
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

/** Parameters that choose columns or order. */
const shaping: ReadonlySet<string> = new Set(['select', 'order', 'limit', 'offset', 'columns', 'on_conflict'])
const operators =
  /^(?:not\.)?(?:eq|gte?|lte?|neq|i?like|i?match|in|is|isdistinct|(?:|pl|ph|w)fts|cs|cd|ov|sl|sr|nxr|nxl|adj)(?:\([^)]*\))?\./

export const postgrest: UpstreamKind = {
  kind: 'postgrest',
  volatileHeaders: [],
  // The key that Supabase asks for beside the token.
  strippedHeaders: ['apikey'],
  upgrades: [],
  describe(seen) {
    const { call, path } = seen
    if (call.query.some(([name]) => name.toLowerCase() === 'apikey'))
      throw new HoldpointError('malformed', `query: remove "apikey"; the gate adds the upstream's own credential.`)
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
    if (table === 'rpc')
      return name === undefined || name === ''
        ? [opaque]
        : [called(call.method, name, schema), ...embedded(seen, schema)]
    if (name !== undefined) return [opaque]
    if (call.method === 'OPTIONS')
      return [{ name: 'postgrest:none', resource: decoded(table), access: 'read', fields: {} }]
    const [verb, access] = verbs[call.method] ?? []
    if (verb === undefined || access === undefined) return [opaque]
    const filtered = call.query.some(([parameter, value]) => isFilter(parameter, value)) ? 'yes' : 'no'
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

/** Does it choose rows of the table itself? `other.column=eq.1` chooses among those of an embedded table. */
const isFilter = (parameter: string, value: string): boolean => {
  if (/^(?:not\.)?(?:and|or)$/.test(parameter)) return /^\(.+\)$/s.test(value)
  return parameter !== '' && !parameter.includes('.') && !shaping.has(parameter) && operators.test(value)
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

/** `select=*,alias:orders!hint(id,items(*)),...more(x)`: what stands before a parenthesis. Names that are quoted may hold anything. */
const embedded = ({ call }: Seen, schema: string): readonly Action[] => {
  const tables = new Set<string>()
  for (const [name, value] of call.query) {
    if (name !== 'select' && !name.endsWith('.select')) continue
    for (const found of value.matchAll(/([^,()]*)\((\)?)/g)) {
      const [, before = '', empty] = found
      // `amount.sum()` and `count()` are aggregates; `...orders()` and `orders()` are tables.
      if (empty !== undefined && /(?:[^.]\.(?:sum|avg|min|max|count)|(?:^|:)count)\s*$/.test(before)) continue
      const named = before
        .replace(/!.*$/s, '')
        .replace(/^.*:/s, '')
        .replace(/^\s*\.\.\./, '')
      tables.add(named.trim().replace(/^"(.*)"$/s, '$1'))
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
