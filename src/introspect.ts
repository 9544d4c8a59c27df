// Opaque tokens, asked about at their issuer (RFC 7662). An answer is kept for a short time under the token's hash and the issuer's entry,
// and everything it says is judged again at every use. No answer, an unreadable one or a doubtful one: the token is not good.
import { createHash } from 'node:crypto'
import { ask } from './ask.ts'
import type { Json } from './nouns.ts'
import type { Introspection, Issuer } from './settings.ts'
import { type Claims, type Refuse, refuseOtherKinds, skewS } from './token.ts'

/** A token that is not good is not asked about again for this long. */
const negativeMs = 5_000
/** After a failed question nobody is asked for this long. */
const restMs = 1_000
/** So many questions at once; a flood of made-up tokens is not passed on. */
const atOnce = 64
const kept = 10_000
const maxBytes = 64 * 1024
/** What an issuer says now is not believed for longer than this, whatever end it names. */
const longestMs = 24 * 3600_000

export type Answer = { readonly claims: Claims; readonly expiresAt: number }

export type Introspect = {
  /**
   * What the issuer says of a token. `fresh`: asked now, whatever is remembered.
   * @throws what `refuse` makes of a token that is not good, or that cannot be asked about
   */
  (token: string, fresh: boolean, gateUrl: string, refuse: Refuse): Promise<Answer>
  /** Why the issuer cannot be asked at present, if so. */
  trouble(): string | undefined
}

type Known = { readonly claims: Claims; readonly untilAt: number }

export const introspect = (issuer: Issuer, from: Introspection, clock: () => number): Introspect => {
  const known = new Map<string, Known>()
  const underWay = new Map<string, Promise<Known>>()
  let why: string | undefined
  let failedAt = Number.NEGATIVE_INFINITY

  const asked = async (token: string, hash: string): Promise<Known> => {
    const askedAt = clock()
    try {
      const claims = objectOf(await ask(from.url, question(issuer, from, token)))
      const keepMs = claims.active === true ? from.cacheForMs : Math.min(negativeMs, from.cacheForMs)
      const one = { claims, untilAt: askedAt + keepMs }
      if (known.size >= kept) known.delete(known.keys().next().value ?? '')
      known.set(hash, one)
      why = undefined
      return one
    } catch (error) {
      why = error instanceof Error ? error.message : String(error)
      failedAt = clock()
      throw error
    }
  }

  const answerTo = async (token: string, fresh: boolean, refuse: Refuse): Promise<Claims> => {
    const hash = createHash('sha256').update(token).digest('base64')
    const remembered = known.get(hash)
    if (!fresh && remembered !== undefined && clock() < remembered.untilAt) return remembered.claims
    known.delete(hash)
    try {
      const waiting = fresh ? undefined : underWay.get(hash)
      if (waiting !== undefined) return (await waiting).claims
      if (why !== undefined && clock() - failedAt < restMs) throw new Error(why)
      if (underWay.size >= atOnce) throw new Error('too many of its tokens are being asked about')
      const answer = asked(token, hash)
      underWay.set(hash, answer)
      try {
        return (await answer).claims
      } finally {
        if (underWay.get(hash) === answer) underWay.delete(hash)
      }
    } catch (cause) {
      throw refuse('The issuer cannot be asked about the token, so it cannot be verified.', cause, 1)
    }
  }

  return Object.assign(
    async (token: string, fresh: boolean, gateUrl: string, refuse: Refuse): Promise<Answer> =>
      judged(await answerTo(token, fresh, refuse), issuer, from, gateUrl, clock(), refuse),
    { trouble: () => why },
  )
}

// RFC 6749 §2.3.1: id and secret are form-encoded before they are joined.
const question = (
  issuer: Issuer,
  { clientId, clientSecret }: Introspection,
  token: string,
): Parameters<typeof ask>[1] => ({
  limit: maxBytes,
  caFile: issuer.caFile,
  bearerTokenFile: issuer.bearerTokenFile,
  authorization:
    clientId === undefined
      ? undefined
      : `Basic ${Buffer.from(`${formEncoded(clientId)}:${formEncoded(clientSecret ?? '')}`).toString('base64')}`,
  form: { token, token_type_hint: 'access_token' },
})

const formEncoded = (text: string): string => new URLSearchParams({ _: text }).toString().slice(2)

const objectOf = (value: Json): Claims => {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Error('its answer is not an object')
  return value as Claims
}

const isTime = (value: Json | undefined): value is number => typeof value === 'number' && Number.isFinite(value)

/** Is the token that this answer is about good at this moment, and for us? */
const judged = (
  claims: Claims,
  issuer: Issuer,
  from: Introspection,
  gateUrl: string,
  now: number,
  refuse: Refuse,
): Answer => {
  // Anything but `true` is a no: "true" and 1 are what a confused or a faked server says.
  if (claims.active !== true) throw refuse('The token is not active, or not of this issuer.')
  const { exp, iat, nbf } = claims
  if (!isTime(exp)) throw refuse('The issuer names no end (exp) of the token.')
  if (exp * 1000 + skewS * 1000 <= now) throw refuse('The token has expired.')
  for (const [name, time] of Object.entries({ iat, nbf }))
    if (time !== undefined && (!isTime(time) || time > now / 1000 + skewS))
      throw refuse(`The token's ${name} lies in the future.`)
  if (claims.iss !== undefined && issuer.issuer !== undefined && claims.iss !== issuer.issuer)
    throw refuse('The token is of another issuer.')
  refuseOtherAudience(claims.aud, issuer, from, gateUrl, refuse)
  refuseOtherKinds(claims, refuse)
  // Introspection answers for refresh tokens as well (RFC 7662 §2.1).
  const type = claims.token_type
  if (type !== undefined && !(typeof type === 'string' && /^(bearer|dpop)$/i.test(type)))
    throw refuse('This is not an access token (token_type).')
  return { claims, expiresAt: Math.min(exp * 1000, now + longestMs) }
}

// Where the entry names no audience, a token that names none will do, but not one that is for somebody else.
const refuseOtherAudience = (
  aud: Json | undefined,
  { audience }: Issuer,
  { clientId }: Introspection,
  gateUrl: string,
  refuse: Refuse,
): void => {
  const meant: readonly (Json | undefined)[] = Array.isArray(aud) ? aud : [aud]
  const fits =
    audience.length > 0
      ? meant.some(one => typeof one === 'string' && audience.includes(one))
      : aud === undefined || meant.some(one => one === gateUrl || (one !== undefined && one === clientId))
  if (!fits) throw refuse("The token's aud is not what is needed here.")
}
