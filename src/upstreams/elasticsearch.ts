// Elasticsearch and OpenSearch: the API by method and path (elasticsearch/apis.ts), every line of a bulk body and of a multi-search as an
// action of its own. Index names stay as they are written; a wildcard, `_all` and date math are patterns, which a rule about one index
// does not miss.
import { HoldpointError } from '../errors.ts'
import type { Action, Json } from '../nouns.ts'
import { apiOf } from './elasticsearch/apis.ts'
import { plainRefusal, type Seen, type UpstreamKind } from './upstream.ts'

const maxActions = 1000

const opaque: Action = { name: 'es:unknown', resource: '', access: 'unknown', fields: {}, unknown: ['*'] }

export const elasticsearch: UpstreamKind = {
  kind: 'elasticsearch',
  volatileHeaders: ['x-elastic-client-meta', 'x-opaque-id'],
  strippedHeaders: [
    'es-client-authentication',
    'x-proxy-user',
    'x-proxy-roles',
    'es-security-runas-user',
    'es-secondary-authorization',
    'opendistro_security_impersonate_as',
  ],
  upgrades: [],
  describe(seen) {
    const { call, path, body } = seen
    for (const [name] of call.query) {
      // The server takes the body from there as well, and nobody looked at that.
      if (/^source(_content_type)?$/i.test(name))
        throw new HoldpointError('malformed', `query: send the body as a body, not as "${name}".`)
    }
    // `/idx/_search/` is the same as without the slash at the end.
    const segments = path.split('/').slice(1).map(decoded)
    if (segments.at(-1) === '') segments.pop()
    const found = segments.some(segment => segment === undefined) ? undefined : apiOf(call.method, segments as string[])
    if (found === undefined) return [opaque]
    const { api, access, index } = found
    // A pipeline may send a document to another index.
    const asked = call.query.some(([name]) => /^(index|indices|pipeline)$/i.test(name))
    const plain = indicesOf(index, api).map(one => action(api, access, one, asked || elsewhere.has(api)))
    if (!listed.has(api) && !mentioning.has(api)) return plain
    if (asked && (api === 'msearch' || api === 'mget')) return [opaque]
    if (body.kind === 'unread') return 'unread'
    const actions =
      api === 'bulk'
        ? bulk(seen, index, asked)
        : api === 'msearch'
          ? searches(seen, index)
          : api === 'mget'
            ? documents(seen, index)
            : [...plain, ...mentioned(seen, api, access)]
    const distinct = unique(actions)
    return distinct.length > 0 && distinct.length <= maxActions ? distinct : [opaque]
  },
  refusal(error, problem, call) {
    const cause = { type: `holdpoint_${problem.code}`, reason: problem.detail ?? problem.title }
    if (call?.method === 'HEAD') return plainRefusal(error, problem, call)
    return {
      headers: [
        ['Content-Type', 'application/json'],
        // Clients check that this is the product they know before they read anything else.
        ['X-Elastic-Product', 'Elasticsearch'],
      ],
      body: JSON.stringify({ error: { ...cause, root_cause: [cause], holdpoint: problem }, status: error.status }),
    }
  },
}

/** APIs whose body names the indices, and what is done with each. */
const listed: ReadonlySet<string> = new Set(['bulk', 'msearch', 'mget'])

/** APIs whose body may name further indices: a terms lookup, a reindex, an alias. */
const mentioning: ReadonlySet<string> = new Set([
  'search',
  'count',
  'explain',
  'indices.validate_query',
  'eql.search',
  'graph.explore',
  'async_search.submit',
  'field_caps',
  'rank_eval',
  'termvectors',
  'mtermvectors',
  'delete_by_query',
  'update_by_query',
  'reindex',
  'indices.update_aliases',
  'indices.create',
  'snapshot.create',
  'snapshot.restore',
])

/** What these read or write is neither in the path nor in a part of the body that we can read. */
const elsewhere: ReadonlySet<string> = new Set([
  'sql.query',
  'sql.translate',
  'ppl.query',
  'esql.query',
  'scroll',
  'async_search.get',
  'search_template',
  'msearch_template',
  'render_search_template',
  // They name another index, or an alias, besides.
  'indices.put_alias',
  'indices.split',
  'indices.shrink',
  'indices.clone',
  'indices.rollover',
  'snapshot.create',
  'snapshot.restore',
])

/** Without an index in the path these mean all of them. */
const everything: ReadonlySet<string> = new Set([
  'search',
  'count',
  'field_caps',
  'async_search.submit',
  'search_template',
  'msearch_template',
  'indices.validate_query',
  'indices.get_mapping',
  'indices.get_settings',
  'indices.put_settings',
  'indices.get_alias',
  'indices.stats',
  'indices.segments',
  'indices.recovery',
  'indices.refresh',
  'indices.flush',
  'indices.forcemerge',
  'indices.clear_cache',
  'cluster.state',
])

const indicesOf = (index: string | undefined, api: string): readonly string[] =>
  index !== undefined ? index.split(',') : [everything.has(api) ? '_all' : '']

const action = (api: string, access: Action['access'], index: string, hidden = false): Action => ({
  name: `es:${api}`,
  resource: index,
  access,
  fields: { api, ...(index === '' ? {} : { index }) },
  ...(hidden ? { unknown: ['resource', 'index'] } : isPattern(index) ? { patterns: ['resource', 'index'] } : {}),
})

const isPattern = (index: string): boolean => index === '_all' || /[*?<]|^[-+]/.test(index)

/** What a body names besides the path: read by a search, read and written by everything else. */
const mentioned = (seen: Seen, api: string, access: Action['access']): readonly Action[] => {
  const { body } = seen
  if (body.kind === 'none') return []
  if (body.kind !== 'json') return [opaque]
  const names: string[] = []
  const open: Json[] = [body.value]
  const removed: Json[] = []
  let told = true
  for (let at = 0; at < open.length; at += 1) {
    const one = open[at]
    if (one === null || typeof one !== 'object') continue
    for (const [name, value] of Object.entries(one) as [string, Json][]) {
      if (naming.has(name) && !Array.isArray(one)) {
        const values = Array.isArray(value) ? (value as readonly Json[]) : [value]
        // A field that is only called so has an object for its value: that one is looked into like every other.
        if (values.every(item => typeof item === 'string'))
          names.push(...(values as string[]).flatMap(item => item.split(',')))
        else {
          // New aliases are the names of members.
          if (name === 'aliases' && isObject(value)) names.push(...Object.keys(value))
          open.push(value)
        }
      } else if (name === 'wrapper' || name === 'pipeline' || (name === 'remote' && api === 'reindex')) told = false
      else {
        if (name === 'remove_index') removed.push(value)
        open.push(value)
      }
    }
  }
  if (!told) return [opaque]
  const deletes = removed.map(one =>
    mentioned({ ...seen, body: { kind: 'json', value: one, size: 0 } }, 'indices.delete', 'write'),
  )
  return [...names.map(name => action(api, access, name)), ...(api === 'indices.delete' ? [] : deletes.flat())]
}

const naming: ReadonlySet<string> = new Set(['index', '_index', 'indices', 'target_index', 'alias', 'aliases'])

/** The values of a body of lines; undefined where they cannot be told. */
const linesOf = ({ body }: Seen): readonly Json[] | undefined =>
  body.kind === 'records' ? body.values : body.kind === 'json' ? [body.value] : undefined

const verbs: ReadonlySet<string> = new Set(['index', 'create', 'update', 'delete'])

/** Every action line, with the index it names or else that of the path. */
const bulk = (seen: Seen, index: string | undefined, hidden: boolean): readonly Action[] => {
  const lines = linesOf(seen)
  if (lines === undefined) return [opaque]
  const actions: Action[] = []
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]
    const [[verb, about] = ['', null], ...more] = isObject(line) ? Object.entries(line) : []
    if (more.length > 0 || !verbs.has(verb) || !isObject(about)) return [opaque]
    const named = about._index ?? index
    if (typeof named !== 'string' || named === '' || '_type' in about) return [opaque]
    actions.push(action(verb, 'write', named, hidden || 'pipeline' in about))
    // Its document is the next line, but for a delete.
    if (verb !== 'delete') {
      at += 1
      if (!isObject(lines[at])) return [opaque]
    }
  }
  return actions
}

/** Pairs of lines: where to search, and what for. */
const searches = (seen: Seen, index: string | undefined): readonly Action[] => {
  const lines = linesOf(seen)
  if (lines === undefined || lines.length % 2 !== 0) return [opaque]
  return lines.flatMap((header, at): readonly Action[] => {
    if (at % 2 === 1) return mentioned({ ...seen, body: { kind: 'json', value: header, size: 0 } }, 'search', 'read')
    if (!isObject(header)) return [opaque]
    if ('indices' in header && 'index' in header) return [opaque]
    const named = header.index ?? header.indices ?? index
    const names = Array.isArray(named) ? (named as readonly Json[]) : [named]
    return names.length > 0 && names.every(name => typeof name === 'string' && name !== '')
      ? names.flatMap(name => (name as string).split(',')).map(name => action('search', 'read', name))
      : // Without a name it is everything that the credential may read.
        [named === undefined || named === null ? action('search', 'read', '_all') : opaque]
  })
}

const documents = ({ body }: Seen, index: string | undefined): readonly Action[] => {
  if (body.kind !== 'json' || !isObject(body.value)) return [opaque]
  const { docs, ids, ...more } = body.value
  if (Object.keys(more).length > 0) return [opaque]
  if (docs === undefined) return Array.isArray(ids) && index !== undefined ? [action('get', 'read', index)] : [opaque]
  if (ids !== undefined || !Array.isArray(docs)) return [opaque]
  return (docs as readonly Json[]).map(document => {
    const named = isObject(document) ? (document._index ?? index) : undefined
    return typeof named === 'string' && named !== '' ? action('get', 'read', named) : opaque
  })
}

const unique = (actions: readonly Action[]): readonly Action[] => [
  ...new Map(actions.map(one => [JSON.stringify(one), one])).values(),
]

const decoded = (segment: string): string | undefined => {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is { readonly [name: string]: Json } =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
