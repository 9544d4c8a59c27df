// Access tokens at the API: of a `console.login` issuer, with exactly the console's audience and none of the gate's, never delegated (`act`).
// Whether its holder may decide is a second question: only a token that meets the login's `interactive` is a person at a keyboard.
import { HoldpointError } from '../errors.ts'
import { type IssuerKeys, issuerKeys } from '../issuer-keys.ts'
import type { Reviewer } from '../nouns.ts'
import type { Login, Settings } from '../settings.ts'
import { asymmetric, readToken, skewS, verifyToken } from '../token.ts'
import { type Claims, claimText, personOf, proofOf, reviewerOf } from './person.ts'

/** Who the value of an Authorization header is, and until when. @throws unauthenticated */
export type Bearer = (authorization: string) => Promise<{ readonly reviewer: Reviewer; readonly expiresAt: number }>

const refused = (detail: string, cause?: unknown, retryAfterS?: number): HoldpointError =>
  new HoldpointError('unauthenticated', detail, {
    headers: { 'WWW-Authenticate': 'Bearer realm="holdpoint console", error="invalid_token"' },
    cause,
    ...(retryAfterS === undefined ? {} : { retryAfterS }),
  })

export const bearer = (settings: () => Settings, clock: () => number): Bearer => {
  const known = new Map<string, IssuerKeys>()
  const keysOf = (issuer: string): IssuerKeys => {
    const keys = known.get(issuer) ?? issuerKeys({ issuer }, clock)
    known.set(issuer, keys)
    return keys
  }

  return async authorization => {
    const [, token] = /^Bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$/i.exec(authorization) ?? []
    if (token === undefined) throw refused('Send "Authorization: Bearer <token>", once, with a signed JWT.')
    const { audience, login: logins } = settings().console
    if (audience === undefined) throw refused('This console takes no tokens: console.audience is not set.')
    const read = readToken(token, refused)
    // The issuer is chosen by its exact name first; then only its own keys count.
    const candidates = logins.filter(login => login.issuer === read.claims.iss)
    const issuer = candidates[0]?.issuer
    if (issuer === undefined) throw refused("The token's issuer is not one of console.login.")

    const wanted = { issuer, audience: [audience], algorithms: asymmetric }
    const { claims, expiresAt } = await verifyToken(token, read, wanted, keysOf(issuer), clock(), refused)
    const { gate: own, issuers } = settings()
    const gate = [own.url, ...issuers.flatMap(one => one.audience)]
    if ([claims.aud].flat().some(aud => typeof aud === 'string' && gate.includes(aud))) {
      throw refused('The token is also for the gate (aud). Nobody decides with a token that makes calls.')
    }
    if (claims.act !== undefined)
      throw refused('The token is delegated (act). Nobody decides on behalf of somebody else.')
    if (claims.cnf !== undefined) throw refused('The token is bound to a key (cnf), which cannot be proven here.')
    if (typeof claims.sub !== 'string' || claims.sub === '') throw refused('The token has no sub.')

    const login = loginOf(candidates, claims)
    if (login === undefined)
      throw refused("Several entries of console.login have this issuer, and the token's client is of none of them.")
    const groupsAt = Number(claims.iat ?? claims.auth_time ?? 0) * 1000
    const reviewer = reviewerOf(login, personOf(login, claims.sub, [claims]), {
      groupsAt,
      ...proofOf(claims),
      via: 'api',
      interactive: isInteractive(login, claims, clock()),
    })
    return { reviewer, expiresAt }
  }
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
 * `amr` has every listed method, and `auth_time` is not older than `maxAge` (absent is too old). With clients alone the token has to say
 * itself that a person signed in (`amr` or `auth_time`), since a client gets tokens for itself too. Without `interactive` nobody may
 * decide. What identity providers are known to make for an application itself is a
 * machine's token, whatever else it says.
 */
export const isInteractive = (login: Login, claims: Claims, now: number): boolean => {
  const wanted = login.interactive
  if (wanted === undefined) return false
  const client = claimText(claims, login.claims.client)
  if (client === undefined || !wanted.clients.includes(client) || client === claims.sub) return false
  if (isApplication(claims)) return false
  const amr: readonly unknown[] = Array.isArray(claims.amr) ? claims.amr : []
  if (!wanted.amr.every(method => amr.includes(method))) return false
  const at = claims.auth_time
  if (wanted.maxAgeMs === undefined) return amr.length > 0 || typeof at === 'number'
  return typeof at === 'number' && at * 1000 <= now + skewS * 1000 && now - at * 1000 <= wanted.maxAgeMs
}

// Entra (idtyp is optional there; without it the subject is the service principal and there is no scope), Auth0, Keycloak.
const isApplication = ({ idtyp, gty, oid, scp, sub, ...claims }: Claims): boolean =>
  idtyp === 'app' ||
  (oid !== undefined && oid === sub && scp === undefined) ||
  gty === 'client-credentials' ||
  (typeof sub === 'string' && sub.endsWith('@clients')) ||
  [sub, claims.preferred_username].some(name => typeof name === 'string' && /^service-account-/i.test(name))
