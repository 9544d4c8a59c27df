// A signed JWT read and checked strictly, for both doors: the gate (identify.ts) and the console's API (bearer.ts).
// One reading of its bytes, keys of its own issuer only, asymmetric algorithms only, and times that are real times.
// What is wrong with a token is said by the `refuse` that each door brings: how a refusal looks is the door's own business.
import { createLocalJWKSet, type JSONWebKeySet, errors as joseErrors, jwtVerify } from 'jose'
import type { HoldpointError } from './errors.ts'
import type { IssuerKeys } from './issuer-keys.ts'
import { parseStrict } from './json.ts'
import type { Json } from './nouns.ts'

/** Clocks may differ by this much. */
export const skewS = 60
/** A token that says it lives longer than this is refused: an `exp` of 1e300 is no end. */
const lifetimeS = 24 * 3600
const tokenBytes = 16 * 1024

/** Never `none`, never a shared secret. */
export const asymmetric = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const

export type Claims = { readonly [name: string]: Json }

/**
 * The error to throw for a token that is not good; `detail` says why, safe to show.
 * `retryAfterS`: nothing is known against the token, but it cannot be verified at present.
 */
export type Refuse = (detail: string, cause?: unknown, retryAfterS?: number) => HoldpointError

/** @throws what `refuse` makes of a token longer than 16 KiB */
export const refuseHuge = (token: string, refuse: Refuse): void => {
  if (token.length > tokenBytes) throw refuse('The token is longer than 16 KiB.')
}

/** Does this begin like a JWT, whatever else is wrong with it? Then it is read as one and as nothing else. */
export const looksLikeJwt = (token: string): boolean => {
  const [first = '', ...rest] = token.split('.', 2)
  return rest.length > 0 && /^\s*\{/.test(Buffer.from(first, 'base64url').toString('latin1'))
}

/** Header and claims, not verified yet. A name given twice has two readings, so it has none. */
export const readToken = (token: string, refuse: Refuse): { readonly header: Claims; readonly claims: Claims } => {
  refuseHuge(token, refuse)
  const parts = token.split('.')
  if (parts.length !== 3) throw refuse('The token is not a signed JWT (three parts).')
  const [header, claims] = [objectIn(parts[0]), objectIn(parts[1])]
  if (header === undefined || claims === undefined || bytesIn(parts[2]) === undefined)
    throw refuse('The token cannot be read.')
  return { header, claims }
}

// Strictly base64url: padding, other letters or stray bits behind the last byte would be a second spelling of the same token.
const bytesIn = (text = ''): Buffer | undefined => {
  const bytes = Buffer.from(text, 'base64url')
  return text !== '' && bytes.toString('base64url') === text ? bytes : undefined
}

const objectIn = (text: string | undefined): Claims | undefined => {
  const bytes = bytesIn(text)
  if (bytes === undefined) return undefined
  const parsed = parseStrict(bytes)
  if ('unknown' in parsed || parsed.value === null || typeof parsed.value !== 'object' || Array.isArray(parsed.value))
    return undefined
  return parsed.value as Claims
}

export type Wanted = {
  readonly issuer: string
  readonly audience: readonly string[]
  readonly algorithms: readonly string[]
  /**
   * `at+jwt`: the token has to say that it is an access token (RFC 9068); else JWT, or nothing, will do. `logout+jwt`: a logout token
   * (OIDC Back-Channel Logout §2.4), which may say JWT, or nothing, as well.
   */
  readonly typ?: 'at+jwt' | 'logout+jwt' | undefined
  /** By how much clocks may differ, if not by a minute. */
  readonly skewS?: number
}

/**
 * Verifies a token that `readToken` has read.
 * @returns its claims, and its end in milliseconds
 */
export const verifyToken = async (
  token: string,
  { header, claims }: { readonly header: Claims; readonly claims: Claims },
  wanted: Wanted,
  keys: IssuerKeys,
  now: number,
  refuse: Refuse,
): Promise<{ readonly claims: Claims; readonly expiresAt: number }> => {
  const typ = typeof header.typ === 'string' ? header.typ.toLowerCase().replace(/^application\//, '') : header.typ
  const plain = typ === undefined || typ === 'jwt'
  const fits = typ === (wanted.typ ?? 'at+jwt') || (wanted.typ !== 'at+jwt' && plain)
  if (!fits) throw refuse("The token's typ is not that of a token for this place.")
  if (header.crit !== undefined || header.b64 !== undefined)
    throw refuse('The token asks for an extension that is not known here.')
  if (typeof header.kid === 'string' && header.kid.length > 256) throw refuse("The token's kid is too long.")
  await verifySignature(token, wanted, keys, now, refuse)
  const expiresAt = lifetime(claims, now, wanted.skewS ?? skewS, refuse)
  refuseOtherKinds(claims, refuse)
  return { claims, expiresAt }
}

const verifySignature = async (
  token: string,
  wanted: Wanted,
  keys: IssuerKeys,
  now: number,
  refuse: Refuse,
): Promise<void> => {
  const attempt = (set: JSONWebKeySet): Promise<unknown> =>
    jwtVerify(token, createLocalJWKSet(set), {
      issuer: wanted.issuer,
      audience: [...wanted.audience],
      algorithms: [...wanted.algorithms],
      requiredClaims: ['exp'],
      clockTolerance: wanted.skewS ?? skewS,
      currentDate: new Date(now),
    })
  try {
    const set = await keys.current()
    try {
      await attempt(set)
    } catch (error) {
      const newer = error instanceof joseErrors.JWKSNoMatchingKey ? await keys.newer(set) : undefined
      if (newer === undefined) throw error
      await attempt(newer)
    }
  } catch (error) {
    if (error instanceof joseErrors.JWTExpired) throw refuse('The token has expired.', error)
    if (error instanceof joseErrors.JWTClaimValidationFailed)
      throw refuse(`The token's ${error.claim} is not what is needed here.`, error)
    if (error instanceof joseErrors.JWKSNoMatchingKey)
      throw refuse('The token is signed with a key that its issuer does not publish.', error)
    if (error instanceof joseErrors.JOSEError) throw refuse("The token's signature or form is not valid.", error)
    throw refuse("The issuer's keys cannot be had, so the token cannot be verified.", error, 1)
  }
}

// jose checks exp and nbf; that they are times at all, and iat, are checked here.
const lifetime = ({ exp, iat, nbf }: Claims, now: number, apartS: number, refuse: Refuse): number => {
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw refuse('The token has no end (exp).')
  for (const [name, time] of Object.entries({ iat, nbf })) {
    if (time !== undefined && (typeof time !== 'number' || time > now / 1000 + apartS))
      throw refuse(`The token's ${name} lies in the future.`)
  }
  if (exp - (typeof iat === 'number' ? iat : now / 1000) > lifetimeS + apartS)
    throw refuse('The token lives longer than 24 h.')
  return exp * 1000
}

/** When a verified token begins to be good, in milliseconds. */
export const beginsAt = ({ iat, nbf }: Claims): number =>
  (Math.max(typeof iat === 'number' ? iat : 0, typeof nbf === 'number' ? nbf : 0) - skewS) * 1000

/** ID tokens are for clients, refresh tokens for their issuer; neither opens an API. */
export const refuseOtherKinds = (claims: Claims, refuse: Refuse): void => {
  if (claims.nonce !== undefined || claims.at_hash !== undefined || claims.c_hash !== undefined)
    throw refuse('This is an ID token; send an access token.')
  if (claims.token_use !== undefined && claims.token_use !== 'access' && claims.token_use !== 'access_token')
    throw refuse('This is not an access token (token_use).')
  if (typeof claims.typ === 'string' && /^(refresh|id|offline)$/i.test(claims.typ))
    throw refuse('This is not an access token (typ).')
}
