// The last thing before a call is sent: what is ours is added to its head, and the credential of its upstream comes last, because some
// credentials sign everything else. What we add replaces what a caller sent by the same name.
import { secretsIn } from './credentials/credential.ts'
import { credentialOf } from './credentials/make.ts'
import { HoldpointError } from './errors.ts'
import { originOf, targetAt } from './forward.ts'
import { nameOf } from './names.ts'
import type { Caller, Header, Scope } from './nouns.ts'
import type { Upstream } from './settings.ts'

/** `secrets`: what of the head the upstream must not say back. */
export type Proven = { readonly headers: readonly Header[]; readonly secrets: readonly string[] }

/** What is sent, but for its credential. */
export type Unproven = {
  readonly upstream: Upstream
  readonly caller: Caller
  readonly method: string
  /** As the gate sends it, without the base path of the upstream. */
  readonly target: string
  /** Of the caller. */
  readonly headers: readonly Header[]
  readonly body: Uint8Array | undefined
  readonly scope?: Scope | undefined
}

/**
 * The final head; at once where the credential is the same for every call.
 * @throws (or rejects with) upstream_unreachable if the credential cannot be made, or whatever it says itself
 */
export const prove = (call: Unproven, added: readonly Header[]): Proven | Promise<Proven> => {
  const { fixed } = credentialOf(call.upstream)
  if (fixed === undefined) return made(call, replacing(call.headers, added))
  return { headers: replacing(call.headers, replacing(added, fixed)), secrets: secretsIn(fixed) }
}

const made = async (call: Unproven, headers: readonly Header[]): Promise<Proven> => {
  const { upstream, caller, method, scope, body } = call
  try {
    const proof = await credentialOf(upstream).headers({
      caller,
      method,
      origin: originOf(upstream),
      target: targetAt(upstream, call.target),
      scope,
      headers,
      body,
    })
    return { headers: replacing(headers, proof), secrets: secretsIn(proof) }
  } catch (cause) {
    if (cause instanceof HoldpointError) throw cause
    const detail = `The credential of ${upstream.name} cannot be made at present. Nothing was sent.`
    throw new HoldpointError('upstream_unreachable', detail, { cause, retryAfterS: 5 })
  }
}

const replacing = (headers: readonly Header[], added: readonly Header[]): readonly Header[] => {
  if (added.length === 0) return headers
  const replaced = added.map(([name]) => nameOf(name).lower)
  const head: Header[] = []
  for (const header of headers) if (!replaced.includes(nameOf(header[0]).lower)) head.push(header)
  for (const header of added) head.push(header)
  return head
}
