// What the rules say of a call: its upstream's kind describes it, then the rules are matched. The same step when a call comes,
// when a verdict is given and when a held call is released, so that all three judge alike.
import { parseBody } from './body.ts'
import { type Explanation, explain, type Judgement, match } from './match.ts'
import type { Action, Body, Call, Caller, HeldCall } from './nouns.ts'
import type { Settings, Upstream } from './settings.ts'
import { aws } from './upstreams/aws.ts'
import { http } from './upstreams/http.ts'
import type { UpstreamKind } from './upstreams/upstream.ts'

type Kind = Upstream['kind']

// A kind is loaded with the first configuration that has it: a parser that nobody asks costs start and memory. aws is always here, since
// it is known by the call alone; no other kind is.
const loaded = new Map<Kind, UpstreamKind>([
  ['http', http],
  ['aws', aws],
])

const kinds: { readonly [kind in Exclude<Kind, 'http' | 'aws'>]: () => Promise<UpstreamKind> } = {
  clickhouse: async () => (await import('./upstreams/clickhouse.ts')).clickhouse,
  elasticsearch: async () => (await import('./upstreams/elasticsearch.ts')).elasticsearch,
  graphql: async () => (await import('./upstreams/graphql.ts')).graphql,
  influxdb: async () => (await import('./upstreams/influxdb.ts')).influxdb,
  kubernetes: async () => (await import('./upstreams/kubernetes.ts')).kubernetes,
  mcp: async () => (await import('./upstreams/mcp.ts')).mcp,
  postgrest: async () => (await import('./upstreams/postgrest.ts')).postgrest,
  sql: async () => (await import('./upstreams/sql.ts')).sql,
}

/** Loads what judges the calls of these upstreams. No snapshot is in force before that. */
export const loadKinds = async (upstreams: readonly Pick<Upstream, 'kind'>[]): Promise<void> => {
  for (const { kind } of upstreams)
    if (kind !== 'http' && kind !== 'aws' && !loaded.has(kind)) loaded.set(kind, await kinds[kind]())
}

/** Throws if no configuration that is in force has such an upstream: nothing can be judged by what is not there. */
export const kindOf = ({ kind }: Pick<Upstream, 'kind'>): UpstreamKind => {
  const found = loaded.get(kind)
  if (found === undefined) throw new Error(`the upstream kind ${kind} is not loaded`)
  return found
}

/** In whose words a call is refused. Before its caller is known nothing may tell whether there is an upstream: the call itself says it. */
export const speakerOf = (upstream: Upstream | undefined, call: Call | undefined): UpstreamKind | undefined =>
  upstream === undefined ? (call !== undefined && aws.speaks?.(call) ? aws : undefined) : kindOf(upstream)

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
