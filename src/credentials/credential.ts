// A credential of an upstream: made after release, bound to its upstream, never logged.
import type { Caller, Header, Scope } from '../nouns.ts'

export type Credential = {
  /** The headers that prove us to the upstream; they replace the caller's of the same names. Throws if they cannot be made. */
  headers(sending: Proving): Promise<readonly Header[]>
  /** The same, where they are the same for every call. */
  readonly fixed?: readonly Header[]
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

/** Head lines of a proof that are no secret. */
const open = /^(?:host|impersonate-.*|x-amz-date|x-amz-content-sha256)$/i

/** What of a proof its upstream must not say back to a caller: tokens, passwords and keys, without the scheme before them. */
export const secretsIn = (proof: readonly Header[]): readonly string[] => {
  const known = found.get(proof) ?? secretsOf(proof)
  found.set(proof, known)
  return known
}

// A credential that does not change has one proof for all calls.
const found = new WeakMap<readonly Header[], readonly string[]>()

const secretsOf = (proof: readonly Header[]): readonly string[] =>
  proof.flatMap(([name, value]) => {
    // A signature is no secret, and good for this one call.
    if (open.test(name) || /^AWS4-/.test(value)) return []
    const [, scheme = '', rest = ''] = /^([A-Za-z]+) +(\S+)$/.exec(value) ?? []
    if (scheme === '') return [value]
    if (name.toLowerCase() !== 'authorization') return [value, rest]
    if (scheme.toLowerCase() !== 'basic') return [rest]
    const pair = Buffer.from(rest, 'base64').toString('utf8')
    return [rest, pair, pair.slice(pair.indexOf(':') + 1)]
  })
