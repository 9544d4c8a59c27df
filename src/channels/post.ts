// One POST to the one address that a channel is configured with: no redirect is followed, nothing of the answer is believed but its
// status, and what could not be delivered says whether it may have arrived.
import { Unreached } from './channel.ts'

const timeoutMs = 8_000
const longestRetryMs = 3_600_000

/** @throws Unreached */
export const post = async (
  url: string,
  body: string,
  headers: { readonly [name: string]: string },
): Promise<{ readonly status: number }> => {
  let answer: Response
  try {
    answer = await fetch(url, {
      method: 'POST',
      headers,
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    await answer.body?.cancel()
  } catch (cause) {
    throw new Unreached(`no answer (${reasonOf(cause)})`, { doubt: !neverConnected(cause), cause })
  }
  if (answer.status >= 200 && answer.status < 300) return { status: answer.status }
  throw new Unreached(`it answered ${answer.status}`, { retryAfterMs: retryAfterMs(answer.headers.get('retry-after')) })
}

const codeOf = (cause: unknown): string => {
  const inner = cause instanceof Error ? (cause.cause as { code?: unknown } | undefined)?.code : undefined
  return typeof inner === 'string' ? inner : ''
}

const reasonOf = (cause: unknown): string =>
  codeOf(cause) || (cause instanceof Error && cause.name === 'TimeoutError' ? 'timeout' : 'connection lost')

const neverConnected = (cause: unknown): boolean =>
  ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT'].includes(
    codeOf(cause),
  )

/** RFC 9110 §10.2.3, seconds only; bounded, so that an answer cannot silence a channel. */
export const retryAfterMs = (value: string | null): number | undefined =>
  value !== null && /^\d{1,9}$/.test(value) ? Math.min(Number(value) * 1000, longestRetryMs) : undefined
