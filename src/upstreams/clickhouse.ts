// ClickHouse over HTTP. The server joins the `query` parameter and the body to one text, and so does this; rows that follow a complete
// INSERT are data. Credentials of its own never come from a caller; settings that change what a text means make it opaque.
import { HoldpointError } from '../errors.ts'
import type { Action } from '../nouns.ts'
import { awaitsRows, opaque, statements } from './sql/statements.ts'
import { plainRefusal, type Seen, type UpstreamKind } from './upstream.ts'

const credentials: ReadonlySet<string> = new Set(['user', 'password', 'quota_key', 'access_token'])
const pages: ReadonlySet<string> = new Set(['/ping', '/replicas_status', '/play', '/dashboard', '/favicon.ico'])

export const clickhouse: UpstreamKind = {
  kind: 'clickhouse',
  volatileHeaders: [],
  strippedHeaders: [
    'x-clickhouse-user',
    'x-clickhouse-key',
    'x-clickhouse-quota',
    'x-clickhouse-ssl-certificate-auth',
    'x-clickhouse-jwt-token',
  ],
  upgrades: [],
  describe(seen) {
    const { call, path, body } = seen
    for (const [name] of call.query) {
      if (credentials.has(name.toLowerCase()))
        throw new HoldpointError('malformed', `query: remove "${name}"; the gate adds the upstream's own credential.`)
    }
    const isPlain = call.query.length === 0 && ['GET', 'HEAD'].includes(call.method) && call.contentLength === 0
    if (isPlain && (path === '/' || pages.has(path))) return [page(path)]
    if (path !== '/' || call.query.some(([name]) => !harmless.test(name))) return [opaque]
    const asked = valuesOf(seen, 'query')
    if (asked.length > 1) return [opaque]
    const [query] = asked
    // Sessions, and settings that other texts stand in, change what a name without a database means.
    const database = databaseOf(seen)
    const context = { dialect: 'clickhouse', database } as const
    if (query !== undefined && call.contentLength === 0) return statements(query, context)
    if (query !== undefined && awaitsRows(query, 'clickhouse') && !isMultipart(seen))
      return /\bvalues\s*$/i.test(query) ? [...statements(query, context), expressions] : statements(query, context)
    if (body.kind === 'unread') return 'unread'
    if (body.kind === 'none') return query === undefined ? [opaque] : statements(query, context)
    // The server's own compression, files beside the query, and what does not decode.
    if (isMultipart(seen) || body.content === undefined || valuesOf(seen, 'decompress').length > 0) return [opaque]
    const text = body.content.toString('utf8')
    return Buffer.from(text).equals(body.content) ? statements(`${query ?? ''}\n${text}`, context) : [opaque]
  },
  refusal(error, problem, call) {
    if (call?.method === 'HEAD') return plainRefusal(error, problem, call)
    // Its clients print the text of an answer that is not 200.
    return {
      headers: [['Content-Type', 'text/plain; charset=UTF-8']],
      body: `Holdpoint: ${problem.detail ?? problem.title} (${problem.code})\n`,
    }
  },
}

/** Settings that change neither the language of a text nor what it reads; parameters of the call itself. */
const harmless =
  /^(?:query|database|default_format|query_id|role|session_id|session_timeout|session_check|compress|decompress|enable_http_compression|buffer_size|extremes|readonly|limit|offset|final|log_comment|log_queries|priority|mutations_sync|alter_sync|use_query_cache|http_headers_progress_interval_ms|cancel_http_readonly_queries_on_client_close|client_protocol_version|date_time_input_format|date_time_output_format|(?:param|max|min|output_format|input_format|join|optimize|async_insert|wait|send|receive|connect|http_zlib)_\w+|async_insert)$/

/** Rows behind VALUES are expressions: they may read other tables. */
const expressions: Action = {
  name: 'sql:select',
  resource: '',
  access: 'read',
  fields: {},
  unknown: ['resource', 'database', 'table', 'statement'],
}

const page = (path: string): Action => ({ name: 'sql:none', resource: path, access: 'read', fields: {} })

const valuesOf = ({ call }: Seen, name: string): readonly string[] =>
  call.query.filter(([one]) => one.toLowerCase() === name).map(([, value]) => value)

const isMultipart = ({ call }: Seen): boolean =>
  call.headers.some(([name, value]) => name.toLowerCase() === 'content-type' && /multipart/i.test(value))

/** Undefined where nobody can tell. */
const databaseOf = (seen: Seen): string | undefined => {
  const headers = seen.call.headers
    .filter(([name]) => name.toLowerCase() === 'x-clickhouse-database')
    .map(([, value]) => value)
  const named = new Set([...valuesOf(seen, 'database'), ...headers])
  if (named.size !== 1 || valuesOf(seen, 'session_id').length > 0) return undefined
  return [...named][0] || undefined
}
