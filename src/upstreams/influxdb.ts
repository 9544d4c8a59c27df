// InfluxDB 1, 2 and 3: InfluxQL and SQL as statements, writes of line protocol, deletes, and Flux as far as it can be told: a script that
// calls nothing that leaves the query or writes is a read of what nobody can name.
import { HoldpointError } from '../errors.ts'
import type { Action, Json } from '../nouns.ts'
import { opaque, statements } from './sql/statements.ts'
import type { Dialect } from './sql/tokens.ts'
import { plainRefusal, type Seen, type UpstreamKind } from './upstream.ts'

const credentials: ReadonlySet<string> = new Set(['u', 'p', 'user', 'password', 'token'])
const pages: ReadonlySet<string> = new Set(['/ping', '/health', '/ready', '/metrics'])
const texts = ['q', 'query'] as const

export const influxdb: UpstreamKind = {
  kind: 'influxdb',
  volatileHeaders: [],
  strippedHeaders: [],
  upgrades: [],
  describe(seen) {
    const { call, path, body } = seen
    for (const [name] of call.query) {
      if (credentials.has(name.toLowerCase()))
        throw new HoldpointError('malformed', `query: remove "${name}"; the gate adds the upstream's own credential.`)
    }
    const isRead = ['GET', 'HEAD'].includes(call.method)
    if (isRead && pages.has(path)) return [{ name: 'sql:none', resource: path, access: 'read', fields: {} }]
    switch (path) {
      case '/write':
      case '/api/v2/write':
      case '/api/v3/write_lp':
        return call.method === 'POST' ? [written(seen, path === '/api/v2/write' ? ['bucket'] : ['db'])] : [opaque]
      case '/api/v2/delete':
        return call.method === 'POST' ? [{ ...written(seen, ['bucket', 'bucketID']), name: 'sql:delete' }] : [opaque]
      case '/query':
      case '/api/v3/query_sql':
      case '/api/v3/query_influxql':
        if (!isRead && body.kind === 'unread') return 'unread'
        // SQL has other rules of quoting than InfluxQL.
        return asked(seen, path === '/api/v3/query_sql' ? 'any' : 'influx')
      case '/api/v2/query':
        if (body.kind === 'unread') return 'unread'
        return [flux(seen)]
      default:
        return [opaque]
    }
  },
  refusal(error, problem, call) {
    if (call?.method === 'HEAD') return plainRefusal(error, problem, call)
    const message = `Holdpoint: ${problem.detail ?? problem.title} (${problem.code})`
    // `error` is what clients of version 1 and 3 print, `message` what those of version 2 do.
    return {
      headers: [['Content-Type', 'application/json']],
      body: JSON.stringify({
        error: message,
        message,
        code: error.status === 404 ? 'not found' : 'forbidden',
        holdpoint: problem,
      }),
    }
  },
}

const valuesOf = ({ call }: Seen, names: readonly string[]): readonly string[] =>
  call.query.filter(([one]) => names.includes(one)).map(([, value]) => value)

const written = (seen: Seen, names: readonly string[]): Action => {
  const named = valuesOf(seen, names)
  const [database] = named
  if (named.length !== 1 || database === undefined || database === '')
    return { name: 'sql:insert', resource: '', access: 'write', fields: {}, unknown: ['resource', 'database', 'table'] }
  // Each line names a measurement of its own.
  return {
    name: 'sql:insert',
    resource: database,
    access: 'write',
    fields: { database },
    unknown: ['table', 'resource'],
  }
}

/** A statement in the query, in a form or in JSON; never in two of them. */
const asked = (seen: Seen, dialect: Dialect): readonly Action[] => {
  const { body } = seen
  const found: { readonly name: string; readonly value: unknown }[] = seen.call.query.map(([name, value]) => ({
    name,
    value,
  }))
  if (body.kind === 'form') found.push(...body.pairs.map(([name, value]) => ({ name, value })))
  else if (body.kind === 'json' && isObject(body.value))
    found.push(...Object.entries(body.value).map(([name, value]) => ({ name, value })))
  else if (body.kind !== 'none' && body.kind !== 'unread') return [opaque]
  const of = (names: readonly string[]): readonly unknown[] =>
    found.filter(({ name }) => names.includes(name)).map(({ value }) => value)
  const [text, ...more] = of(texts)
  const databases = of(['db', 'database', 'bucket'])
  if (typeof text !== 'string' || more.length > 0 || databases.length > 1) return [opaque]
  const [database] = databases
  return statements(text, {
    dialect,
    database: typeof database === 'string' && database !== '' ? database : undefined,
  })
}

const flux = ({ call, body }: Seen): Action => {
  const type = call.headers.filter(([name]) => name.toLowerCase() === 'content-type').map(([, value]) => value)
  const text =
    body.kind === 'json' &&
    isObject(body.value) &&
    (body.value.type === undefined || body.value.type === 'flux') &&
    // A script can stand as a syntax tree too, and another one beside it.
    Object.keys(body.value).every(name => ['query', 'type', 'dialect', 'now', 'params'].includes(name))
      ? body.value.query
      : type.length === 1 && /^application\/vnd\.flux *(;|$)/i.test(type[0] ?? '')
        ? body.content?.toString('utf8')
        : undefined
  if (typeof text !== 'string' || /[\ufffd\\]/.test(text) || acting.test(text)) return opaque
  return {
    name: 'sql:select',
    resource: '',
    access: 'read',
    fields: {},
    unknown: ['resource', 'database', 'table', 'statement'],
  }
}

// Whatever is imported may write, send or read elsewhere, `to` writes, and `from` with a host asks another server; a name can be hidden
// behind another one by an assignment, and in a text by escapes. `r.host` and `"host"` are a column.
const acting = /\b(?:import|to|wideTo|experimental|option|builtin|package)\b|(?<![.\w"])host\b|"host"\s*:/

const isObject = (value: unknown): value is { readonly [name: string]: Json } =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
