// The last thing before a call is sent: what is ours is added to its head, and the credential of its upstream comes last, because some
// credentials sign everything else. What we add replaces what a caller sent by the same name.
import { secretsIn } from './credentials/credential.ts'
import { credentialOf } from './credentials/make.ts'
import { HoldpointError } from './errors.ts'
import { originOf, targetAt } from './forward.ts'
import type { Caller, Header, Scope } from './nouns.ts'
import type { Upstream } from './settings.ts'

/** `secrets`: what of the head the upstream must not say back. */
export type Proven = { readonly headers: readonly Header[]; readonly secrets: readonly string[] }

/** The final head. @throws upstream_unreachable if the credential cannot be made, or whatever it says itself */
export const prove = async (
  call: {
    readonly upstream: Upstream
    readonly caller: Caller
    readonly method: string
    /** As the gate sends it, without the base path of the upstream. */
    readonly target: string
    /** Of the caller. */
    readonly headers: readonly Header[]
    readonly body: Uint8Array | undefined
    readonly scope?: Scope | undefined
  },
  added: readonly Header[],
): Promise<Proven> => {
  const { upstream, caller, method, scope, body } = call
  const headers = replacing(call.headers, added)
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
  const replaced = added.map(([name]) => name.toLowerCase())
  const head: Header[] = []
  for (const header of headers) if (!replaced.includes(header[0].toLowerCase())) head.push(header)
  for (const header of added) head.push(header)
  return head
}
