// What a credential fetches and keeps: one fetch at a time, kept until it is time for another. What is still good serves while its source
// is away; what is not is an error, and nothing is sent.
import type { Header } from '../nouns.ts'

export type Expiring = { readonly expiresAt: number }

/** @param marginMs what is good for less than this is fetched anew */
export const kept = <T extends Expiring>(fetchNew: () => Promise<T>, marginMs: number): (() => Promise<T>) => {
  let known: T | undefined
  let asking: Promise<T> | undefined
  return async () => {
    if (known !== undefined && known.expiresAt - marginMs > Date.now()) return known
    asking ??= fetchNew().finally(() => {
      asking = undefined
    })
    try {
      known = await asking
    } catch (error) {
      if (known === undefined || known.expiresAt <= Date.now()) throw error
    }
    return known
  }
}

export type BearerToken = Expiring & { readonly line: Header }

const marginMs = 30_000

/** Keeps a token that is fetched. */
export const keptToken = (fetchNew: () => Promise<BearerToken>): (() => Promise<BearerToken>) =>
  kept(fetchNew, marginMs)

/** As RFC 6750 sends it. Throws an Error that begins with `what` if it could not be sent as it is. */
export const bearerToken = (token: unknown, expiresAt: number, what: string): BearerToken => {
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
    throw new Error(`${what} has no token in visible ASCII`)
  return { line: ['Authorization', `Bearer ${token}`], expiresAt }
}
