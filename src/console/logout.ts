// The identity provider says that somebody signed out there (OpenID Connect Back-Channel Logout 1.0): their sessions end here as well.
// Only a logout token that its own provider signed for this very client counts; each counts once, and only for what began before it.
import { createHash } from 'node:crypto'
import { HoldpointError, toError } from '../errors.ts'
import { type IssuerKeys, issuerKeys } from '../issuer-keys.ts'
import type { Log } from '../log.ts'
import type { Login, Settings } from '../settings.ts'
import type { Shelf } from '../store/store.ts'
import { asymmetric, type Claims, readToken, skewS, verifyToken } from '../token.ts'
import type { Desk } from './desk.ts'
import { readField } from './input.ts'
import type { Route } from './route.ts'
import type { Session, Sessions } from './sessions.ts'

const event = 'http://schemas.openid.net/event/backchannel-logout'
/** Older than this it is no news: whoever holds it back could end sessions at will. */
const oldestS = 5 * 60

const refused = (detail: string, cause?: unknown, retryAfterS?: number): HoldpointError =>
  new HoldpointError(retryAfterS === undefined ? 'malformed' : 'store_unavailable', `logout_token: ${detail}`, {
    cause,
    ...(retryAfterS === undefined ? {} : { retryAfterS }),
  })

export const logoutRoute = (parts: {
  readonly settings: () => Settings
  readonly shelf: Shelf
  readonly sessions: Sessions
  readonly desk: Desk
  readonly clock: () => number
  readonly log: Log
}): Route => {
  const { settings, shelf, sessions, desk, clock, log } = parts
  const known = new Map<string, IssuerKeys>()
  const keysOf = (issuer: string): IssuerKeys => {
    const keys = known.get(issuer) ?? issuerKeys({ issuer }, clock)
    known.set(issuer, keys)
    return keys
  }

  /** The logins that a verified logout token is for, and what it says. */
  const verified = async (token: string): Promise<{ readonly logins: readonly Login[]; readonly said: Claims }> => {
    const read = readToken(token, refused)
    const { iss, aud } = read.claims
    const logins = settings().console.login.filter(
      ({ issuer, clientId }) => issuer === iss && [aud].flat().includes(clientId),
    )
    const [login] = logins
    if (login === undefined) throw refused('its issuer and audience are those of no login.')
    const wanted = {
      issuer: login.issuer,
      audience: [login.clientId],
      algorithms: asymmetric,
      typ: 'logout+jwt',
    } as const
    const { claims: said } = await verifyToken(token, read, wanted, keysOf(login.issuer), clock(), refused)
    return { logins, said }
  }

  /** §2.6, steps 4 to 9. */
  const checked = ({ events, iat, jti, nonce, sub, sid }: Claims) => {
    const marked =
      events !== null && typeof events === 'object' && !Array.isArray(events) && Object.hasOwn(events, event)
    if (!marked) throw refused('it is no logout token (events).')
    if (nonce !== undefined) throw refused('it is an ID token (nonce).')
    if (typeof iat !== 'number' || iat < clock() / 1000 - oldestS)
      throw refused('it is too old, or does not say (iat).')
    if (typeof jti !== 'string' || jti === '') throw refused('it has no id of its own (jti).')
    if ([sub, sid].some(one => one !== undefined && (typeof one !== 'string' || one === '')))
      throw refused('sub and sid must be texts.')
    if (sub === undefined && sid === undefined) throw refused('it says neither who (sub) nor which session (sid).')
    return { iat, jti, sub, sid }
  }

  const end = async (token: string): Promise<void> => {
    const { logins, said } = await verified(token)
    const { iat, jti, sub, sid } = checked(said)
    const once = `logout:${createHash('sha256')
      .update(JSON.stringify([said.iss, jti]))
      .digest('base64url')}`
    if (!(await shelf.put(once, 'used', { ttlMs: (oldestS + 2 * skewS) * 1000, when: 'absent' })))
      throw refused('it was used before (jti).')
    const meant = (session: Session): boolean =>
      logins.some(
        ({ name, issuer, clientId }) =>
          name === session.login && issuer === session.issuer && clientId === session.clientId,
      ) &&
      (sub === undefined || sub === session.person.subject) &&
      // A session whose `sid` we were not told may be the one that is meant.
      (sid === undefined || (session.sid === undefined ? sub !== undefined : sid === session.sid)) &&
      session.startedAt <= (iat + skewS) * 1000
    try {
      for (const { login, person } of await sessions.endEvery(meant)) {
        const { subject, name } = person
        await desk.note({
          kind: 'signout',
          reviewer: { login, subject, name, via: 'console' },
          detail: 'by the identity provider',
        })
      }
    } catch (error) {
      // Not done: the provider may say it again.
      await shelf.take(once)
      throw error
    }
  }

  return {
    method: 'POST',
    path: '/logout/backchannel',
    answer: async context => {
      try {
        await end(await readField(context.req.raw, 'logout_token'))
        return context.body(null, 200)
      } catch (thrown) {
        const error = toError(thrown)
        if (error.status >= 500) throw error
        log.warn({ code: error.code, detail: error.detail }, 'a back-channel logout was refused')
        return context.json({ error: 'invalid_request', error_description: error.detail ?? '' }, 400)
      }
    },
  }
}
