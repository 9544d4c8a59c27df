// What the rules say of a call: its upstream's kind describes it, then the rules are matched. The same step when a call comes,
// when a verdict is given and when a held call is released, so that all three judge alike.
import { parseBody } from './body.ts'
import { type Explanation, explain, type Judgement, match } from './match.ts'
import type { Action, Body, Call, Caller, HeldCall } from './nouns.ts'
import type { Settings, Upstream } from './settings.ts'
import { aws } from './upstreams/aws.ts'
import { clickhouse } from './upstreams/clickhouse.ts'
import { elasticsearch } from './upstreams/elasticsearch.ts'
import { graphql } from './upstreams/graphql.ts'
import { http } from './upstreams/http.ts'
import { influxdb } from './upstreams/influxdb.ts'
import { kubernetes } from './upstreams/kubernetes.ts'
import { mcp } from './upstreams/mcp.ts'
import { postgrest } from './upstreams/postgrest.ts'
import { sql } from './upstreams/sql.ts'
import type { UpstreamKind } from './upstreams/upstream.ts'

const kinds: { readonly [kind in Upstream['kind']]: UpstreamKind } = {
  http,
  aws,
  clickhouse,
  elasticsearch,
  graphql,
  influxdb,
  kubernetes,
  mcp,
  postgrest,
  sql,
}

export const kindOf = (upstream: Upstream): UpstreamKind => kinds[upstream.kind]

/** In whose words a call is refused. Before its caller is known nothing may tell whether there is an upstream: the call itself says it. */
export const speakerOf = (upstream: Upstream | undefined, call: Call | undefined): UpstreamKind | undefined =>
  upstream === undefined
    ? Object.values(kinds).find(kind => call !== undefined && kind.speaks?.(call))
    : kindOf(upstream)

/** The upstream at the address that a call is for, where that depends on the call. */
export const located = (upstream: Upstream, call: Call): Upstream =>
  kindOf(upstream).located?.(upstream, call) ?? upstream

/** Where the secrets of a held call are, as its upstream's kind knows them. */
export const secretsOf = (
  upstream: Upstream,
  { call, headers, paths, body: held }: HeldCall,
): readonly string[] | 'all' => {
  const kind = kindOf(upstream)
  if (kind.secrets === undefined) return []
  const body = parseBody(headers, Buffer.from(held, 'base64'), upstream.limits.inspect)
  const found = paths.map(path => kind.secrets?.({ call, path, body, upstream }) ?? [])
  return found.includes('all') ? 'all' : found.flat()
}

export type Judged = { readonly judgement: Judgement; readonly actions: readonly Action[] }

/** `paths`: every reading of the path as the upstream sees it, the plain one first. */
export type Seen = {
  readonly call: Call
  readonly paths: readonly string[]
  readonly upstream: Upstream
  readonly caller: Caller
  readonly body: Body
  readonly at: number
}

export const judge = (settings: Settings, seen: Seen): Judged => {
  const actions = describe(seen)
  return actions === 'unread'
    ? { actions: [], judgement: unread }
    : { actions, judgement: match(settings, { ...seen, actions }) }
}

/** The same judgement with its reasons, for a call whose body has been read. */
export const explained = (settings: Settings, seen: Seen): Explanation => {
  const actions = describe(seen)
  return actions === 'unread' ? { judgement: unread, readings: [] } : explain(settings, { ...seen, actions })
}

const describe = ({ call, paths, body, upstream }: Seen): readonly Action[] | 'unread' => {
  const actions: Action[] = []
  for (const path of paths) {
    const described = kindOf(upstream).describe({ call, path, body, upstream })
    if (described === 'unread') return 'unread'
    actions.push(...described)
  }
  return actions
}

const unread: Judgement = { outcome: 'deny', rule: undefined, rules: [], needsBody: true }
