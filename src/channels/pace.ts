// Not more than so many requests a second, one after the other. What would wait too long is told to come again later.
import { Unreached } from './channel.ts'

const longestMs = 4_000

/** A turn of one's own, as soon as it comes. @throws Unreached */
export const pace = (perSecond: number, clock: () => number = () => performance.now()): (() => Promise<void>) => {
  const apartMs = 1_000 / perSecond
  let nextAt = Number.NEGATIVE_INFINITY
  return async () => {
    const now = clock()
    const waitMs = Math.max(0, nextAt - now)
    if (waitMs > longestMs) throw new Unreached('too much to say at once', { retryAfterMs: Math.ceil(waitMs) })
    nextAt = now + waitMs + apartMs
    if (waitMs > 0) await new Promise(resolve => setTimeout(resolve, waitMs))
  }
}
