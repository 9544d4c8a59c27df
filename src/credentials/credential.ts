// A credential of an upstream: made after release, bound to its upstream, never logged.
import type { Caller, Header, Scope } from '../nouns.ts'

export type Credential = {
  /** The headers that prove us to the upstream; they replace the caller's of the same names. Throws if they cannot be made. */
  headers(sending: Proving): Promise<readonly Header[]>
  /** Says before anybody is asked that there is none for this caller. @throws no_upstream_identity */
  refuse?(caller: Caller): void
}

/** What is about to be sent, final but for the credential. */
export type Proving = {
  readonly caller: Caller
  readonly method: string
  /** Scheme, host and port of the upstream. */
  readonly origin: string
  /** As the upstream will see it, its base path included. */
  readonly target: string
  /** What an AWS client signed for. */
  readonly scope?: Scope | undefined
  readonly headers: readonly Header[]
  /** Without bytes where there is none; undefined where it is sent as it comes. */
  readonly body: Uint8Array | undefined
}
