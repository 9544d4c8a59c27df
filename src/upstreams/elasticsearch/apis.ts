// Which API of Elasticsearch and OpenSearch a method and a path are, as their own REST specification names them. What is not listed here
// is not known.
import type { Action } from '../../nouns.ts'

type Access = Action['access']

export type Api = {
  readonly api: string
  readonly access: Access
  /** The index part of the path as it stands there; undefined: the path names none. */
  readonly index: string | undefined
}

/** `GET POST` then the path after the index (`{}`: one segment, `{...}`: one or more), then the name and the access. */
type Line = readonly [methods: string, path: string, api: string, access: Access]

// Paths that begin with an index: `/{index}` and what follows it.
const ofIndex: readonly Line[] = [
  ['PUT POST', '_doc/{}', 'index', 'write'],
  ['POST', '_doc', 'index', 'write'],
  ['GET', '_doc/{}', 'get', 'read'],
  ['HEAD', '_doc/{}', 'exists', 'read'],
  ['DELETE', '_doc/{}', 'delete', 'write'],
  ['PUT POST', '_create/{}', 'create', 'write'],
  ['POST', '_update/{}', 'update', 'write'],
  ['GET', '_source/{}', 'get_source', 'read'],
  ['HEAD', '_source/{}', 'exists_source', 'read'],
  ['POST PUT', '_bulk', 'bulk', 'write'],
  ['GET POST', '_search', 'search', 'read'],
  ['GET POST', '_msearch', 'msearch', 'read'],
  ['GET POST', '_count', 'count', 'read'],
  ['GET POST', '_mget', 'mget', 'read'],
  ['GET POST', '_explain/{}', 'explain', 'read'],
  ['GET POST', '_validate/query', 'indices.validate_query', 'read'],
  ['GET POST', '_field_caps', 'field_caps', 'read'],
  ['GET POST', '_termvectors', 'termvectors', 'read'],
  ['GET POST', '_termvectors/{}', 'termvectors', 'read'],
  ['GET POST', '_mtermvectors', 'mtermvectors', 'read'],
  ['GET POST', '_analyze', 'indices.analyze', 'read'],
  ['GET POST', '_terms_enum', 'terms_enum', 'read'],
  ['GET POST', '_rank_eval', 'rank_eval', 'read'],
  ['GET POST', '_eql/search', 'eql.search', 'read'],
  ['GET POST', '_graph/explore', 'graph.explore', 'read'],
  ['GET', '_async_search/{}', 'async_search.get', 'read'],
  ['POST', '_async_search', 'async_search.submit', 'read'],
  ['POST', '_pit', 'open_point_in_time', 'read'],
  ['POST', '_search/point_in_time', 'open_point_in_time', 'read'],
  ['POST', '_delete_by_query', 'delete_by_query', 'write'],
  ['POST', '_update_by_query', 'update_by_query', 'write'],
  ['POST GET', '_refresh', 'indices.refresh', 'write'],
  ['POST GET', '_flush', 'indices.flush', 'write'],
  ['POST', '_forcemerge', 'indices.forcemerge', 'write'],
  ['POST', '_cache/clear', 'indices.clear_cache', 'write'],
  ['POST', '_open', 'indices.open', 'write'],
  ['POST', '_close', 'indices.close', 'write'],
  ['PUT', '_block/{}', 'indices.add_block', 'write'],
  ['PUT POST', '_split/{}', 'indices.split', 'write'],
  ['PUT POST', '_shrink/{}', 'indices.shrink', 'write'],
  ['PUT POST', '_clone/{}', 'indices.clone', 'write'],
  ['POST', '_rollover', 'indices.rollover', 'write'],
  ['POST', '_rollover/{}', 'indices.rollover', 'write'],
  ['GET', '_mapping', 'indices.get_mapping', 'read'],
  ['GET', '_mapping/field/{}', 'indices.get_field_mapping', 'read'],
  ['PUT POST', '_mapping', 'indices.put_mapping', 'write'],
  ['GET', '_settings', 'indices.get_settings', 'read'],
  ['GET', '_settings/{}', 'indices.get_settings', 'read'],
  ['PUT', '_settings', 'indices.put_settings', 'write'],
  ['GET', '_alias', 'indices.get_alias', 'read'],
  ['GET', '_alias/{}', 'indices.get_alias', 'read'],
  ['HEAD', '_alias/{}', 'indices.exists_alias', 'read'],
  ['PUT POST', '_alias/{}', 'indices.put_alias', 'write'],
  ['PUT POST', '_aliases/{}', 'indices.put_alias', 'write'],
  ['DELETE', '_alias/{}', 'indices.delete_alias', 'write'],
  ['DELETE', '_aliases/{}', 'indices.delete_alias', 'write'],
  ['GET', '_stats', 'indices.stats', 'read'],
  ['GET', '_stats/{}', 'indices.stats', 'read'],
  ['GET', '_segments', 'indices.segments', 'read'],
  ['GET', '_recovery', 'indices.recovery', 'read'],
  ['GET', '_shard_stores', 'indices.shard_stores', 'read'],
  ['GET POST', '_search_shards', 'search_shards', 'read'],
  ['GET POST', '_search/template', 'search_template', 'read'],
  ['GET POST', '_msearch/template', 'msearch_template', 'read'],
  ['GET', '_ilm/explain', 'ilm.explain_lifecycle', 'read'],
  ['POST', '_ilm/remove', 'ilm.remove_policy', 'write'],
  ['GET', '', 'indices.get', 'read'],
  ['HEAD', '', 'indices.exists', 'read'],
  ['PUT', '', 'indices.create', 'write'],
  ['DELETE', '', 'indices.delete', 'write'],
]

// Paths that begin with a name of the server's own.
const ofCluster: readonly Line[] = [
  ['GET', '', 'info', 'read'],
  ['HEAD', '', 'ping', 'read'],
  ['GET POST', '_search', 'search', 'read'],
  ['GET POST', '_msearch', 'msearch', 'read'],
  ['GET POST', '_count', 'count', 'read'],
  ['GET POST', '_mget', 'mget', 'read'],
  ['POST PUT', '_bulk', 'bulk', 'write'],
  ['GET POST', '_field_caps', 'field_caps', 'read'],
  ['GET POST', '_analyze', 'indices.analyze', 'read'],
  ['GET POST', '_validate/query', 'indices.validate_query', 'read'],
  ['GET POST', '_search/scroll', 'scroll', 'read'],
  ['GET POST', '_search/scroll/{}', 'scroll', 'read'],
  ['DELETE', '_search/scroll', 'clear_scroll', 'read'],
  ['DELETE', '_search/scroll/{}', 'clear_scroll', 'read'],
  ['DELETE', '_pit', 'close_point_in_time', 'read'],
  ['DELETE', '_search/point_in_time', 'close_point_in_time', 'read'],
  ['GET POST', '_search/template', 'search_template', 'read'],
  ['GET POST', '_msearch/template', 'msearch_template', 'read'],
  ['GET POST', '_render/template', 'render_search_template', 'read'],
  ['GET POST', '_render/template/{}', 'render_search_template', 'read'],
  ['GET', '_async_search/{}', 'async_search.get', 'read'],
  ['GET', '_async_search/status/{}', 'async_search.status', 'read'],
  ['DELETE', '_async_search/{}', 'async_search.delete', 'read'],
  ['POST', '_reindex', 'reindex', 'write'],
  ['POST', '_reindex/{}/_rethrottle', 'reindex_rethrottle', 'write'],
  ['POST', '_delete_by_query/{}/_rethrottle', 'delete_by_query_rethrottle', 'write'],
  ['POST', '_update_by_query/{}/_rethrottle', 'update_by_query_rethrottle', 'write'],
  ['POST', '_aliases', 'indices.update_aliases', 'write'],
  ['GET', '_alias', 'indices.get_alias', 'read'],
  ['GET', '_alias/{}', 'indices.get_alias', 'read'],
  ['HEAD', '_alias/{}', 'indices.exists_alias', 'read'],
  ['GET', '_mapping', 'indices.get_mapping', 'read'],
  ['GET', '_settings', 'indices.get_settings', 'read'],
  ['PUT', '_settings', 'indices.put_settings', 'write'],
  ['GET', '_stats', 'indices.stats', 'read'],
  ['GET', '_stats/{}', 'indices.stats', 'read'],
  ['GET', '_segments', 'indices.segments', 'read'],
  ['GET', '_recovery', 'indices.recovery', 'read'],
  ['POST GET', '_refresh', 'indices.refresh', 'write'],
  ['POST GET', '_flush', 'indices.flush', 'write'],
  ['POST', '_forcemerge', 'indices.forcemerge', 'write'],
  ['POST', '_cache/clear', 'indices.clear_cache', 'write'],
  ['GET', '_resolve/index/{}', 'indices.resolve_index', 'read'],
  ['GET', '_resolve/cluster/{}', 'indices.resolve_cluster', 'read'],
  ['GET', '_cat', 'cat.help', 'read'],
  ['GET', '_cat/{...}', 'cat', 'read'],
  ['GET', '_cluster/health', 'cluster.health', 'read'],
  ['GET', '_cluster/health/{}', 'cluster.health', 'read'],
  ['GET', '_cluster/state', 'cluster.state', 'read'],
  ['GET', '_cluster/state/{...}', 'cluster.state', 'read'],
  ['GET', '_cluster/stats', 'cluster.stats', 'read'],
  ['GET', '_cluster/settings', 'cluster.get_settings', 'read'],
  ['PUT', '_cluster/settings', 'cluster.put_settings', 'write'],
  ['GET', '_cluster/pending_tasks', 'cluster.pending_tasks', 'read'],
  ['POST GET', '_cluster/allocation/explain', 'cluster.allocation_explain', 'read'],
  ['POST', '_cluster/reroute', 'cluster.reroute', 'write'],
  ['POST', '_cluster/voting_config_exclusions', 'cluster.post_voting_config_exclusions', 'write'],
  ['DELETE', '_cluster/voting_config_exclusions', 'cluster.delete_voting_config_exclusions', 'write'],
  ['GET', '_nodes', 'nodes.info', 'read'],
  ['GET', '_nodes/{}', 'nodes.info', 'read'],
  ['GET', '_nodes/stats', 'nodes.stats', 'read'],
  ['GET', '_nodes/stats/{...}', 'nodes.stats', 'read'],
  ['GET', '_nodes/{}/stats', 'nodes.stats', 'read'],
  ['GET', '_nodes/hot_threads', 'nodes.hot_threads', 'read'],
  ['POST', '_nodes/reload_secure_settings', 'nodes.reload_secure_settings', 'write'],
  ['GET', '_tasks', 'tasks.list', 'read'],
  ['GET', '_tasks/{}', 'tasks.get', 'read'],
  ['POST', '_tasks/_cancel', 'tasks.cancel', 'write'],
  ['POST', '_tasks/{}/_cancel', 'tasks.cancel', 'write'],
  ['GET', '_template', 'indices.get_template', 'read'],
  ['GET', '_template/{}', 'indices.get_template', 'read'],
  ['PUT POST', '_template/{}', 'indices.put_template', 'write'],
  ['DELETE', '_template/{}', 'indices.delete_template', 'write'],
  ['GET', '_index_template', 'indices.get_index_template', 'read'],
  ['GET', '_index_template/{}', 'indices.get_index_template', 'read'],
  ['PUT POST', '_index_template/{}', 'indices.put_index_template', 'write'],
  ['DELETE', '_index_template/{}', 'indices.delete_index_template', 'write'],
  ['GET', '_component_template', 'cluster.get_component_template', 'read'],
  ['GET', '_component_template/{}', 'cluster.get_component_template', 'read'],
  ['PUT POST', '_component_template/{}', 'cluster.put_component_template', 'write'],
  ['DELETE', '_component_template/{}', 'cluster.delete_component_template', 'write'],
  ['GET', '_data_stream', 'indices.get_data_stream', 'read'],
  ['GET', '_data_stream/{}', 'indices.get_data_stream', 'read'],
  ['PUT', '_data_stream/{}', 'indices.create_data_stream', 'write'],
  ['DELETE', '_data_stream/{}', 'indices.delete_data_stream', 'write'],
  ['GET', '_ingest/pipeline', 'ingest.get_pipeline', 'read'],
  ['GET', '_ingest/pipeline/{}', 'ingest.get_pipeline', 'read'],
  ['PUT', '_ingest/pipeline/{}', 'ingest.put_pipeline', 'write'],
  ['DELETE', '_ingest/pipeline/{}', 'ingest.delete_pipeline', 'write'],
  ['GET POST', '_ingest/pipeline/_simulate', 'ingest.simulate', 'read'],
  ['GET POST', '_ingest/pipeline/{}/_simulate', 'ingest.simulate', 'read'],
  ['GET', '_scripts/{}', 'get_script', 'read'],
  ['PUT POST', '_scripts/{}', 'put_script', 'write'],
  ['DELETE', '_scripts/{}', 'delete_script', 'write'],
  ['GET', '_snapshot', 'snapshot.get_repository', 'read'],
  ['GET', '_snapshot/{}', 'snapshot.get_repository', 'read'],
  ['PUT POST', '_snapshot/{}', 'snapshot.create_repository', 'write'],
  ['DELETE', '_snapshot/{}', 'snapshot.delete_repository', 'write'],
  ['GET', '_snapshot/{}/{}', 'snapshot.get', 'read'],
  ['PUT POST', '_snapshot/{}/{}', 'snapshot.create', 'write'],
  ['DELETE', '_snapshot/{}/{}', 'snapshot.delete', 'write'],
  ['POST', '_snapshot/{}/{}/_restore', 'snapshot.restore', 'write'],
  ['GET', '_snapshot/{}/{}/_status', 'snapshot.status', 'read'],
  ['GET', '_ilm/policy', 'ilm.get_lifecycle', 'read'],
  ['GET', '_ilm/policy/{}', 'ilm.get_lifecycle', 'read'],
  ['PUT', '_ilm/policy/{}', 'ilm.put_lifecycle', 'write'],
  ['DELETE', '_ilm/policy/{}', 'ilm.delete_lifecycle', 'write'],
  ['GET', '_xpack', 'xpack.info', 'read'],
  ['GET', '_license', 'license.get', 'read'],
  // Elasticsearch's own SQL only reads; what OpenSearch's may do is a setting of the server.
  ['GET POST', '_sql', 'sql.query', 'read'],
  ['GET POST', '_sql/translate', 'sql.translate', 'read'],
  ['POST', '_sql/close', 'sql.clear_cursor', 'read'],
  ['POST', '_query', 'esql.query', 'read'],
  ['POST', '_plugins/_sql', 'sql.query', 'unknown'],
  ['POST', '_plugins/_ppl', 'ppl.query', 'unknown'],
  // Who may do what in the cluster itself.
  ['GET', '_security/_authenticate', 'security.authenticate', 'read'],
  ['GET POST', '_security/user/_has_privileges', 'security.has_privileges', 'read'],
  ['GET', '_security/user', 'security.get_user', 'read'],
  ['GET', '_security/user/{}', 'security.get_user', 'read'],
  ['PUT POST', '_security/user/{}', 'security.put_user', 'permissions'],
  ['DELETE', '_security/user/{}', 'security.delete_user', 'permissions'],
  ['PUT POST', '_security/user/_password', 'security.change_password', 'credentials'],
  ['PUT POST', '_security/user/{}/_password', 'security.change_password', 'credentials'],
  ['PUT POST', '_security/user/{}/_enable', 'security.enable_user', 'permissions'],
  ['PUT POST', '_security/user/{}/_disable', 'security.disable_user', 'permissions'],
  ['GET', '_security/role', 'security.get_role', 'read'],
  ['GET', '_security/role/{}', 'security.get_role', 'read'],
  ['PUT POST', '_security/role/{}', 'security.put_role', 'permissions'],
  ['DELETE', '_security/role/{}', 'security.delete_role', 'permissions'],
  ['GET', '_security/role_mapping', 'security.get_role_mapping', 'read'],
  ['GET', '_security/role_mapping/{}', 'security.get_role_mapping', 'read'],
  ['PUT POST', '_security/role_mapping/{}', 'security.put_role_mapping', 'permissions'],
  ['DELETE', '_security/role_mapping/{}', 'security.delete_role_mapping', 'permissions'],
  ['GET', '_security/api_key', 'security.get_api_key', 'read'],
  ['PUT POST', '_security/api_key', 'security.create_api_key', 'credentials'],
  ['POST', '_security/api_key/grant', 'security.grant_api_key', 'credentials'],
  ['DELETE', '_security/api_key', 'security.invalidate_api_key', 'permissions'],
  ['POST', '_security/oauth2/token', 'security.get_token', 'credentials'],
  ['DELETE', '_security/oauth2/token', 'security.invalidate_token', 'permissions'],
  ['PUT POST', '_security/service/{}/{}/credential/token', 'security.create_service_token', 'credentials'],
  ['PUT POST', '_security/service/{}/{}/credential/token/{}', 'security.create_service_token', 'credentials'],
  ['DELETE', '_security/service/{}/{}/credential/token/{}', 'security.delete_service_token', 'permissions'],
]

type Compiled = { readonly methods: ReadonlySet<string>; readonly path: readonly string[]; readonly line: Line }

// Names before wildcards, whatever their order in the table: `_password` is no user.
const rank = (path: readonly string[]): string =>
  path.map(part => (part === '{...}' ? '2' : part === '{}' ? '1' : '0')).join('')

const compile = (lines: readonly Line[]): readonly Compiled[] =>
  lines
    .map(line => ({ methods: new Set(line[0].split(' ')), path: line[1] === '' ? [] : line[1].split('/'), line }))
    .sort((one, other) => (rank(one.path) < rank(other.path) ? -1 : 1))

const indexApis = compile(ofIndex)
const clusterApis = compile(ofCluster)

/** The API that a method and the segments of a path are; undefined: none that is known. */
export const apiOf = (method: string, segments: readonly string[]): Api | undefined => {
  const [first = ''] = segments
  const below = first !== '' && (!first.startsWith('_') || first === '_all')
  const rest = below ? segments.slice(1) : segments
  const found = (below ? indexApis : clusterApis).find(({ methods, path }) => methods.has(method) && fits(path, rest))
  if (found === undefined) return undefined
  const [, , api, access] = found.line
  return { api, access, index: below ? first : undefined }
}

// Of old, a type stood where an id stands now: `/logs/_doc/_bulk` was a bulk request.
const words: ReadonlySet<string> = new Set([
  ...[...ofIndex, ...ofCluster].flatMap(([, path]) => path.split('/')).filter(part => part.startsWith('_')),
  '_query',
  '_percolate',
  '_mpercolate',
  '_search_template',
  '_warmer',
  '_optimize',
  '_suggest',
])

const fits = (path: readonly string[], segments: readonly string[]): boolean => {
  const open = path.at(-1) === '{...}'
  if (open ? segments.length < path.length : segments.length !== path.length) return false
  return path.every((part, at) => {
    const segment = segments[at] ?? ''
    return part === '{...}' || part === segment || (part === '{}' && segment !== '' && !words.has(segment))
  })
}
