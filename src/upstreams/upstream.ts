// What an upstream kind must say: one file per kind, nothing else knows about it.
import type { HoldpointError, Problem } from '../errors.ts'
import type { Action, Body, Call, Header } from '../nouns.ts'

export type UpstreamKind = {
  /** The name in configuration. */
  readonly kind: string
  /** Headers that change from retry to retry without changing the call: not part of the digest. Lower case. */
  readonly volatileHeaders: readonly string[]
  /** Does `describe` need the body? */
  readonly readsBody: boolean
  /** What the call would do; several where a body has several. `path` is canonical, as the upstream sees it (prefix removed). */
  describe(call: Call, path: string, body: Body): readonly Action[]
  /** The shape in which this upstream's clients expect a refusal of ours. */
  refusal(error: HoldpointError, problem: Problem): { readonly headers: readonly Header[]; readonly body: string }
}
