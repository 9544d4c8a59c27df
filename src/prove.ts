// The last thing before a call is sent: what is ours is added to its head, and the credential of its upstream comes last, because some
// credentials sign everything else. What we add replaces what a caller sent by the same name.
import { credentialOf } from './credentials/make.ts'
import { targetAt } from './forward.ts'
import type { Caller, Header, Scope } from './nouns.ts'
import type { Upstream } from './settings.ts'

/** The final head. Throws if the credential cannot be made. */
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
): Promise<readonly Header[]> => {
  const { upstream, caller, method, scope, body } = call
  const headers = replacing(call.headers, added)
  const proof = await credentialOf(upstream).headers({
    caller,
    method,
    origin: new URL(upstream.url).origin,
    target: targetAt(upstream, call.target),
    scope,
    headers,
    body,
  })
  return replacing(headers, proof)
}

const replacing = (headers: readonly Header[], added: readonly Header[]): readonly Header[] => {
  if (added.length === 0) return headers
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  return [...headers.filter(([name]) => !replaced.has(name.toLowerCase())), ...added]
}
