// SigV4: the whole head is signed anew, with our keys, when the call is about to be sent. What the caller signed by is gone by then; a
// signature lives five minutes, so one made before an approval would be dead after it.
import type { Header } from '../nouns.ts'
import type { Sigv4Settings } from '../settings.ts'
import type { Credential } from './credential.ts'
import { keysFrom } from './sigv4/keys.ts'
import { amzDate, authorization, sha256 } from './sigv4/sign.ts'

/** What a body's hash may be where the body is not here: one the caller made (AWS checks it), or that there is none. */
const standsForBody = /^(?:[0-9a-f]{64}|UNSIGNED-PAYLOAD|STREAMING-UNSIGNED-PAYLOAD-TRAILER)$/

export const sigv4 = (settings: Sigv4Settings): Credential => {
  const keys = keysFrom(settings)
  return {
    async headers({ method, origin, target, scope, headers, body }) {
      if (scope === undefined) throw new Error('credential.sigv4: the call names no service and region to sign for')
      const { service, region, bucket } = scope
      const { host } = new URL(origin)
      const payload = body === undefined ? (lineOf(headers, 'x-amz-content-sha256') ?? '') : sha256(body)
      if (body === undefined && !standsForBody.test(payload))
        throw new Error('credential.sigv4: the body is not here, and nothing stands for its hash')
      const found = await keys()
      const at = new Date()
      const own: Header[] = [
        ['Host', bucket === undefined ? host : `${bucket}.${host}`],
        ['X-Amz-Date', amzDate(at)],
        ['X-Amz-Content-Sha256', payload],
        ...(found.sessionToken === undefined ? [] : [['X-Amz-Security-Token', found.sessionToken] as const]),
      ]
      const replaced = new Set(own.map(([name]) => name.toLowerCase()))
      const signed = [...headers.filter(([name]) => !replaced.has(name.toLowerCase())), ...own]
      const line = authorization({ method, target, headers: signed, payload, service, region, at }, found)
      return [...own, ['Authorization', line]]
    },
  }
}

const lineOf = (headers: readonly Header[], lower: string): string | undefined =>
  headers.find(([name]) => name.toLowerCase() === lower)?.[1]
