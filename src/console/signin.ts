// Signing in with OpenID Connect: authorization code with PKCE (S256), state, nonce and the `iss` check (RFC 9207), always all of them.
// A sign-in under way is sealed into its own `state` for ten minutes, so that beginning one costs the store nothing. It opens only for the
// browser that began it, whose secret also makes verifier and nonce, and it can be finished once.
import { createHash, randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Configuration, IDToken } from 'openid-client'
import { HoldpointError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { KeyRing } from '../seal.ts'
import type { Login, Settings } from '../settings.ts'
import type { Challenge } from '../step-up.ts'
import type { Shelf } from '../store/store.ts'
import { type Claims, incomplete, knowsGroups, type Person, personOf, proofOf } from './person.ts'
import { providers } from './provider.ts'
import type { Proof, Session, Tokens } from './sessions.ts'

// Loaded with the first sign-in.
const oidc = (): typeof import('openid-client') => createRequire(import.meta.url)('openid-client')

const pendingMs = 10 * 60_000
// Some providers and the proxies before them take addresses of two kilobytes; `state` is to be less than half of that.
const longestTo = 400

type Pending = {
  readonly login: string
  readonly issuer: string
  readonly clientId: string
  readonly to: string
  readonly untilAt: number
  /** The provider was asked to have it proven anew. */
  readonly maxAgeS?: number
}

export type SignIn = {
  /** Where to send a browser that signs in. `browser` is its pre-session id, `to` the path to come back to, `challenge` what a rule wants. */
  start(login: Login, browser: string, to: string, challenge?: Challenge): Promise<URL>
  /**
   * Finishes a sign-in from the provider's redirect.
   * `begun` is called once it is certain that this browser began it.
   * @throws malformed (a parameter twice or missing), unauthenticated (anything else that does not fit)
   */
  finish(
    name: string,
    query: URLSearchParams,
    browser: string | undefined,
    begun: () => void,
  ): Promise<{
    readonly login: Login
    readonly person: Person
    readonly tokens: Tokens
    readonly proof: Proof
    readonly sid?: string
    readonly to: string
  }>
  /** Asks the provider again who the session's person is. @throws if it cannot or will not say, or says another subject */
  again(login: Login, session: Session, tokens: Tokens): Promise<{ readonly person: Person; readonly tokens: Tokens }>
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64url')

/** A fresh pre-session id for a browser. */
export const newBrowser = (): string => randomBytes(32).toString('base64url')

/**
 * A path on this console to come back to, or `/`. Only absolute paths that stay on the console's origin in the WHATWG reading count
 * (facts O4: `//`, `/\`, tabs and line breaks all lead elsewhere in some browser).
 */
export const safePath = (wanted: string | undefined, consoleUrl: string): string => {
  if (wanted === undefined || wanted.length > 1024 || !/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(wanted)) return '/'
  const origin = new URL(consoleUrl).origin
  if (!URL.canParse(wanted, origin)) return '/'
  const url = new URL(wanted, origin)
  // Dot segments may leave `//` in front of what they removed.
  if (url.origin !== origin || url.pathname.startsWith('//')) return '/'
  return url.pathname.startsWith('/login') || url.pathname.startsWith('/api/') ? '/' : `${url.pathname}${url.search}`
}

export const signIn = (parts: {
  readonly settings: () => Settings
  readonly shelf: Shelf
  readonly keys: KeyRing
  readonly clock: () => number
  readonly log: Log
}): SignIn => {
  const { settings, shelf, keys, clock, log } = parts
  const known = providers(clock, log)
  // Nobody but this browser and we can know these, and they are kept nowhere (RFC 7636 §4.1; OIDC Core §15.5.2).
  const madeOf = (browser: string, state: string) => ({
    verifier: hashOf(`verifier:${browser}:${state}`),
    nonce: hashOf(`nonce:${browser}:${state}`),
  })
  const placeOf = (browser: string): string => `signin:${hashOf(browser)}`
  const usedOf = (state: string): string => `signin:${hashOf(state)}`
  const callback = (name: string): string => `${settings().console.url}/login/callback/${encodeURIComponent(name)}`

  const begunBy = (browser: string | undefined, state: string): Pending | undefined => {
    if (browser === undefined) return undefined
    try {
      const pending = JSON.parse(keys.open(state, placeOf(browser)).toString('utf8')) as Pending
      return clock() < pending.untilAt ? pending : undefined
    } catch {
      return undefined
    }
  }

  // UserInfo is asked only where the ID token does not say enough; its subject must be the token's (OIDC Core §5.3.2).
  const sources = async (
    provider: Configuration,
    login: Login,
    idToken: IDToken | undefined,
    access: string | undefined,
    subject: string,
  ): Promise<Claims[]> => {
    const found: Claims[] = idToken === undefined ? [] : [idToken]
    const enough = idToken !== undefined && !incomplete(login, idToken)
    if (enough || access === undefined || provider.serverMetadata().userinfo_endpoint === undefined) return found
    return [...found, await oidc().fetchUserInfo(provider, access, subject)]
  }

  return {
    async start(login, browser, to, challenge) {
      const provider = await known.of(login)
      const { name, issuer, clientId } = login
      const back = safePath(to, settings().console.url)
      const untilAt = clock() + pendingMs
      const maxAgeS = challenge?.maxAgeS
      const pending: Pending = {
        login: name,
        issuer,
        clientId,
        to: back.length > longestTo ? '/' : back,
        untilAt,
        ...(maxAgeS === undefined ? {} : { maxAgeS }),
      }
      const state = keys.seal(JSON.stringify(pending), placeOf(browser))
      const { verifier, nonce } = madeOf(browser, state)
      return oidc().buildAuthorizationUrl(provider, {
        redirect_uri: callback(name),
        scope: login.scopes.join(' '),
        state,
        nonce,
        code_challenge: await oidc().calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...(challenge === undefined || challenge.acr.length === 0 ? {} : { acr_values: challenge.acr.join(' ') }),
        // Proven now, and not just recently: the reviewer still has to read before the age counts.
        ...(maxAgeS === undefined ? {} : { max_age: String(maxAgeS), prompt: 'login' }),
      })
    },

    async finish(name, query, browser, begun) {
      for (const parameter of new Set(query.keys())) {
        if (query.getAll(parameter).length > 1) {
          throw new HoldpointError(
            'malformed',
            `The provider's answer has "${parameter.slice(0, 40)}" more than once. Sign in again.`,
          )
        }
      }
      const state = query.get('state')
      if (!state || (query.get('code') === null && query.get('error') === null)) {
        throw new HoldpointError('malformed', "The provider's answer needs state and code. Sign in again.")
      }
      const pending = begunBy(browser, state)
      const stale =
        'This sign-in is not known, was used before, took longer than ten minutes or began in another browser. Sign in again.'
      const login = settings().console.login.find(one => one.name === name)
      if (
        pending === undefined ||
        browser === undefined ||
        pending.login !== name ||
        pending.issuer !== login?.issuer ||
        pending.clientId !== login.clientId ||
        (await shelf.get(usedOf(state))) !== undefined
      ) {
        throw new HoldpointError('unauthenticated', stale)
      }
      begun()
      const provider = await known.of(login)
      const { verifier, nonce } = madeOf(browser, state)
      try {
        const answer = new URL(callback(name))
        answer.search = query.toString()
        const granted = await oidc().authorizationCodeGrant(provider, answer, {
          pkceCodeVerifier: verifier,
          expectedState: state,
          expectedNonce: nonce,
          idTokenExpected: true,
          // OIDC Core §3.1.2.1: asked for max_age, the provider has to say auth_time, and it has to fit.
          ...(pending.maxAgeS === undefined ? {} : { maxAge: pending.maxAgeS }),
        })
        const idToken = granted.claims()
        if (idToken === undefined) throw new Error('the provider sent no ID token')
        // Only now is anything written: for somebody whom the provider vouches for.
        if (!(await shelf.put(usedOf(state), 'used', { ttlMs: pendingMs, when: 'absent' }))) {
          throw new HoldpointError('unauthenticated', stale)
        }
        const found = await sources(provider, login, idToken, granted.access_token, idToken.sub)
        return {
          login,
          person: personOf(login, idToken.sub, found),
          tokens: {
            ...(granted.refresh_token ? { refresh: granted.refresh_token } : {}),
            access: granted.access_token,
          },
          proof: proofOf(idToken),
          ...(typeof idToken.sid === 'string' ? { sid: idToken.sid } : {}),
          to: pending.to,
        }
      } catch (error) {
        if (error instanceof HoldpointError) throw error
        throw new HoldpointError('unauthenticated', refusal(error), { cause: error })
      }
    },

    async again(login, session, tokens) {
      const provider = await known.of(login)
      const { subject } = session.person
      let idToken: IDToken | undefined
      let kept = tokens
      if (tokens.refresh !== undefined) {
        const granted = await oidc().refreshTokenGrant(provider, tokens.refresh)
        idToken = granted.claims()
        if (idToken !== undefined && idToken.sub !== subject)
          throw new Error('the refreshed ID token is about somebody else')
        kept = { refresh: granted.refresh_token ?? tokens.refresh, access: granted.access_token }
      }
      const found = await sources(provider, login, idToken, kept.access, subject)
      // Silence about groups is not the same as no groups: without a word, nothing is known and a new sign-in has to say.
      if (
        found.length === 0 ||
        (session.person.groups.length > 0 && !found.some(claims => knowsGroups(login, claims)))
      ) {
        throw new Error('the provider does not say any more which groups this person is in')
      }
      return { person: asKnown(personOf(login, subject, found), session.person), tokens: kept }
    },
  }
}

// What was once known to belong to a person still keeps them from their own calls, though it no longer qualifies them for anything.
const asKnown = (now: Person, before: Person): Person => ({
  ...now,
  ids: [...new Set([...now.ids, ...before.ids])],
  ...(now.email === undefined && before.email !== undefined ? { email: before.email, emailVerified: false } : {}),
})

// RFC 6749 §4.1.2.1: error codes are printable; anything else is not worth showing.
const refusal = (error: unknown): string => {
  if (!(error instanceof oidc().AuthorizationResponseError))
    return "The identity provider's answer does not fit. Sign in again."
  const code = /^[a-z_]{1,64}$/.test(error.error) ? error.error : 'an error'
  return code === 'access_denied'
    ? 'The identity provider says that access was denied. You may not use this console, or the sign-in was cancelled.'
    : `The identity provider answered with ${code}. Sign in again.`
}
