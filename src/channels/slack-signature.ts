// Is this request from Slack, for this app, and from now? Over the raw bytes, before anything of them is read
// (https://docs.slack.dev/authentication/verifying-requests-from-slack). The same request a second time is for whoever keeps them.
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Old and future requests alike: a clock that is ahead must not make a request good for longer. */
export const windowS = 300

/** @param now milliseconds */
export const fromSlack = (
  request: { readonly body: Uint8Array; readonly timestamp: string | null; readonly signature: string | null },
  secret: string,
  now: number,
): boolean => {
  const { body, timestamp, signature } = request
  if (timestamp === null || !/^\d{1,12}$/.test(timestamp) || signature === null || !/^v0=[0-9a-f]{64}$/.test(signature))
    return false
  if (Math.abs(now / 1000 - Number(timestamp)) > windowS) return false
  const wanted = createHmac('sha256', secret).update(`v0:${timestamp}:`).update(body).digest()
  return timingSafeEqual(wanted, Buffer.from(signature.slice('v0='.length), 'hex'))
}
