// What the rules say of a call: its upstream's kind describes it, then the rules are matched. The same step when a call comes,
// when a verdict is given and when a held call is released, so that all three judge alike.
import { type Judgement, match } from './match.ts'
import type { Action, Body, Call, Caller } from './nouns.ts'

import type { Settings, Upstream } from './settings.ts'
import { http } from './upstreams/http.ts'
import type { UpstreamKind } from './upstreams/upstream.ts'

const kinds: { readonly [kind in Upstream['kind']]: UpstreamKind } = { http }

export const kindOf = (upstream: Upstream): UpstreamKind => kinds[upstream.kind]

export type Judged = { readonly judgement: Judgement; readonly actions: readonly Action[] }

/** `paths`: every reading of the path as the upstream sees it, the plain one first. */
export const judge = (
  settings: Settings,
  seen: {
    readonly call: Call
    readonly paths: readonly string[]
    readonly upstream: Upstream
    readonly caller: Caller
    readonly body: Body
    readonly at: number
  },
): Judged => {
  const actions = seen.paths.flatMap(path => kindOf(seen.upstream).describe(seen.call, path, seen.body))
  return { actions, judgement: match(settings, { ...seen, actions }) }
}
