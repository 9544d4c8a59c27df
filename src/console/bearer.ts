// Access tokens at the API: of a `console.login` issuer, with exactly the console's audience and none of the gate's, never delegated (`act`).
// Whether its holder may decide is a second question: only a token that meets the login's `interactive` is a person at a keyboard.
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, errors as joseErrors, jwtVerify } from 'jose'
import { HoldpointError } from '../errors.ts'
import { type IssuerKeys, issuerKeys } from '../issuer-keys.ts'
import { parseStrict } from '../json.ts'
import type { Reviewer } from '../nouns.ts'
import type { Login, Settings } from '../settings.ts'
import { type Claims, claimText, personOf, reviewerOf } from './person.ts'

const skewS = 60
const lifetimeS = 24 * 3_600
const tokenBytes = 16 * 1024
// Never `none`, never a shared secret.
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

/** Who the value of an Authorization header is, and until when. @throws unauthenticated */
export type Bearer = (authorization: string) => Promise<{ readonly reviewer: Reviewer; readonly expiresAt: number }>

const refused = (detail: string, cause?: unknown): HoldpointError =>
  new HoldpointError('unauthenticated', detail, {
    headers: { 'WWW-Authenticate': 'Bearer realm="holdpoint console", error="invalid_token"' },
    cause,
  })

export const bearer = (settings: () => Settings, clock: () => number): Bearer => {
  const known = new Map<string, IssuerKeys>()
  const keysOf = (issuer: string): IssuerKeys => {
    const keys = known.get(issuer) ?? issuerKeys({ issuer, jwksUri: undefined }, clock)
    known.set(issuer, keys)
    return keys
  }

  return async authorization => {
    const [, token] = /^Bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$/i.exec(authorization) ?? []
    if (token === undefined) throw refused('Send "Authorization: Bearer <token>", once, with a signed JWT.')
    if (token.length > tokenBytes) throw refused('The token is longer than 16 KiB.')
    const { audience, login: logins } = settings().console
    if (audience === undefined) throw refused('This console takes no tokens: console.audience is not set.')
    const [header, unverified] = [partOf(token, 0), partOf(token, 1)]
    const type = String(header.typ ?? 'jwt')
      .toLowerCase()
      .replace(/^application\//, '')
    if (!['jwt', 'at+jwt'].includes(type)) throw refused("The token's typ is not that of an access token.")
    if (typeof header.kid === 'string' && header.kid.length > 256) throw refused("The token's kid is too long.")
    // The issuer is chosen by its exact name first; then only its own keys count.
    const candidates = logins.filter(login => login.issuer === unverified.iss)
    const issuer = candidates[0]?.issuer
    if (issuer === undefined) throw refused("The token's issuer is not one of console.login.")

    const claims = await verify(token, issuer, audience, keysOf(issuer), clock())
    const expiresAt = lifetime(claims, clock())
    const gate = settings().issuers.flatMap(one => one.audience)
    if ([claims.aud].flat().some(aud => gate.includes(aud ?? ''))) {
      throw refused('The token is also for the gate (aud). Nobody decides with a token that makes calls.')
    }
    if (claims.act !== undefined)
      throw refused('The token is delegated (act). Nobody decides on behalf of somebody else.')
    if (claims.cnf !== undefined) throw refused('The token is bound to a key (cnf), which cannot be proven here.')
    if (claims.nonce !== undefined || claims.at_hash !== undefined || claims.c_hash !== undefined) {
      throw refused('This is an ID token; send an access token.')
    }
    if (claims.token_use !== undefined && claims.token_use !== 'access')
      throw refused('This is not an access token (token_use).')
    if (typeof claims.sub !== 'string' || claims.sub === '') throw refused('The token has no sub.')

    const login = loginOf(candidates, claims)
    if (login === undefined)
      throw refused("Several entries of console.login have this issuer, and the token's client is of none of them.")
    const groupsAt = Number(claims.iat ?? claims.auth_time ?? 0) * 1000
    const reviewer = reviewerOf(login, personOf(login, claims.sub, [claims]), {
      groupsAt,
      via: 'api',
      interactive: isInteractive(login, claims, clock()),
    })
    return { reviewer, expiresAt }
  }
}

// Header and claims as strict JSON: a name given twice has two readings.
const partOf = (token: string, index: number): Claims => {
  const parsed = parseStrict(Buffer.from(token.split('.')[index] ?? '', 'base64url'))
  if ('unknown' in parsed || parsed.value === null || typeof parsed.value !== 'object' || Array.isArray(parsed.value)) {
    throw refused('The token cannot be read.')
  }
  return parsed.value as Claims
}

const verify = async (
  token: string,
  issuer: string,
  audience: string,
  keys: IssuerKeys,
  now: number,
): Promise<JWTPayload> => {
  const attempt = async (set: JSONWebKeySet): Promise<JWTPayload> => {
    const options = {
      issuer,
      audience,
      algorithms,
      requiredClaims: ['exp'],
      clockTolerance: skewS,
      currentDate: new Date(now),
    }
    return (await jwtVerify(token, createLocalJWKSet(set), options)).payload
  }
  try {
    const set = await keys.current()
    try {
      return await attempt(set)
    } catch (error) {
      const newer = error instanceof joseErrors.JWKSNoMatchingKey ? await keys.newer(set) : undefined
      if (newer === undefined) throw error
      return await attempt(newer)
    }
  } catch (error) {
    if (error instanceof joseErrors.JWTExpired) throw refused('The token has expired.', error)
    if (error instanceof joseErrors.JWTClaimValidationFailed) {
      throw refused(`The token's ${error.claim} is not what this console needs.`, error)
    }
    if (error instanceof joseErrors.JOSEError) throw refused("The token's signature or form is not valid.", error)
    throw refused("The issuer's keys cannot be had, so the token cannot be verified. Try again.", error)
  }
}

const lifetime = ({ exp, iat }: JWTPayload, now: number): number => {
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw refused('The token has no end (exp).')
  if (iat !== undefined && (!Number.isFinite(iat) || iat > now / 1000 + skewS))
    throw refused("The token's iat lies in the future.")
  if (exp - (iat ?? now / 1000) > lifetimeS + skewS) throw refused('The token lives longer than 24 h.')
  return exp * 1000
}

// Entries that share an issuer are told apart by the client the token was made for.
const loginOf = (candidates: readonly Login[], claims: Claims): Login | undefined => {
  if (candidates.length === 1) return candidates[0]
  const named = candidates.filter(login => {
    const client = claimText(claims, login.claims.client)
    return client !== undefined && [login.clientId, ...(login.interactive?.clients ?? [])].includes(client)
  })
  return named.length === 1 ? named[0] : undefined
}

/**
 * Was this token made by a person's own sign-in? `interactive` of the login says how that is known: the token's client is listed,
 * `amr` has every listed method, and `auth_time` is not older than `maxAge` (absent is too old). Without `interactive` nobody may decide.
 * A token whose subject is its own client, or that says it belongs to an application, is a machine's whatever else it says.
 */
export const isInteractive = (login: Login, claims: Claims, now: number): boolean => {
  const wanted = login.interactive
  if (wanted === undefined) return false
  const client = claimText(claims, login.claims.client)
  if (client === undefined || !wanted.clients.includes(client) || client === claims.sub) return false
  if (claims.idtyp === 'app' || claims.gty === 'client-credentials') return false
  const amr: readonly unknown[] = Array.isArray(claims.amr) ? claims.amr : []
  if (!wanted.amr.every(method => amr.includes(method))) return false
  if (wanted.maxAgeMs === undefined) return true
  const at = claims.auth_time
  return typeof at === 'number' && at * 1000 <= now + skewS * 1000 && now - at * 1000 <= wanted.maxAgeMs
}
