// One request to the one address that a channel is configured with: no redirect is followed, nothing of the answer is believed but what its
// channel asks for, and what could not be delivered says whether it may have arrived.
import { Unreached } from './channel.ts'

const timeoutMs = 8_000
const longestRetryMs = 3_600_000

export type Sent = {
  readonly method?: 'GET' | 'POST' | 'PUT'
  readonly headers: { readonly [name: string]: string }
  readonly body?: string
  /** How many bytes of the answer are read; more are a failure. */
  readonly read?: number
  /** Statuses that are as good as a 2xx. */
  readonly good?: readonly number[]
}

/** Sends it, and answers with what was read of the answer. @throws Unreached */
export const send = async (
  url: string,
  { method = 'POST', headers, body, read = 0, good = [] }: Sent,
): Promise<{ readonly status: number; readonly text: string }> => {
  let answer: Response
  let text = ''
  try {
    answer = await fetch(url, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (read > 0 && answer.ok) text = await bounded(answer, read)
    else await answer.body?.cancel()
  } catch (cause) {
    throw new Unreached(`no answer (${reasonOf(cause)})`, { doubt: !neverConnected(cause), cause })
  }
  const { status } = answer
  if (answer.ok || good.includes(status)) return { status, text }
  throw new Unreached(`it answered ${status}`, { retryAfterMs: retryAfterMs(answer.headers.get('retry-after')) })
}

/** @throws Unreached */
export const post = async (
  url: string,
  body: string,
  headers: { readonly [name: string]: string },
): Promise<{ readonly status: number }> => send(url, { body, headers })

const bounded = async (answer: Response, most: number): Promise<string> => {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += chunk.length
    if (size > most) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
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
