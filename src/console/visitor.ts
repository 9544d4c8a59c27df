// Who is asking: a session cookie or, at the API, a bearer token. Exactly one of them counts, and one that is present but wrong never falls
// back to the other. A cookie proves nothing about who wrote the request, so what changes anything needs proof that it came from our page.
import type { IncomingMessage } from 'node:http'
import { HoldpointError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Reviewer } from '../nouns.ts'
import type { Login, Settings } from '../settings.ts'
import type { Bearer } from './bearer.ts'
import { reviewerOf } from './person.ts'
import type { Session, Sessions } from './sessions.ts'
import type { SignIn } from './signin.ts'

const groupsMs = 15 * 60_000
const othersMs = 15_000
const lookMs = 100

export type Env = { Bindings: { readonly incoming?: IncomingMessage } }

export type Visitor = {
  readonly reviewer: Reviewer
  /** The session's id; undefined for a bearer token. */
  readonly session: string | undefined
  /** When this identity ends by itself. */
  readonly untilAt: number
  /** The reviewer with groups that are new enough to decide by. @throws unauthenticated: sign in again */
  fresh(): Promise<Reviewer>
  /** Who this identity is now, or undefined if it has ended. Looking does not keep a session alive. */
  still(): Promise<Reviewer | undefined>
}

export type Visitors = {
  /** By session cookie only. */
  ofPage(request: Request): Promise<Visitor | undefined>
  /** By a session's id, for who comes through another door in its name. */
  ofSession(id: string): Promise<Visitor | undefined>
  /**
   * Who gave an earlier verdict, as their login says now. Where it cannot be asked any more (their session has ended, or they came with
   * a token) it is who they were then; undefined if it is asked and does not say.
   */
  again(earlier: Reviewer): Promise<Reviewer | undefined>
  /** By bearer token if there is an Authorization header, else by session cookie. @throws unauthenticated */
  ofApi(request: Request, env: Env['Bindings']): Promise<Visitor>
  /** @throws cross_site unless a request with this session's cookie came from a page of this console */
  proven(visitor: Visitor, request: Request, csrf: string | undefined): void
}

/** Cookie names: with the `__Host-` prefix no sibling host can set them (facts O7), which browsers allow over https only. */
export const cookieName = (kind: 'session' | 'signin', consoleUrl: string): string => {
  const secure = consoleUrl.startsWith('https:')
  if (kind === 'session') return secure ? '__Host-holdpoint' : 'holdpoint_session'
  return secure ? '__Host-holdpoint-signin' : 'holdpoint_signin'
}

export const setCookie = (kind: 'session' | 'signin', value: string, maxAgeS: number, consoleUrl: string): string => {
  const secure = consoleUrl.startsWith('https:') ? '; Secure' : ''
  return `${cookieName(kind, consoleUrl)}=${value}; Path=/; Max-Age=${maxAgeS}; HttpOnly; SameSite=Lax${secure}`
}

/** The value of a cookie; a name that was sent twice has none. */
export const readCookie = (request: Request, name: string): string | undefined => {
  const values = (request.headers.get('cookie') ?? '').split(';').flatMap(pair => {
    const at = pair.indexOf('=')
    return at > 0 && pair.slice(0, at).trim() === name ? [pair.slice(at + 1).trim()] : []
  })
  return values.length === 1 ? values[0] : undefined
}

export const visitors = (parts: {
  readonly settings: () => Settings
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly bearer: Bearer
  readonly clock: () => number
  readonly log: Log
}): Visitors => {
  const { settings, sessions, signIn, bearer, clock, log } = parts

  const loginOf = (session: Session): Login | undefined =>
    settings().console.login.find(
      login => login.name === session.login && login.issuer === session.issuer && login.clientId === session.clientId,
    )

  const reviewer = (login: Login, session: Session): Reviewer =>
    reviewerOf(login, session.person, {
      ...session.proof,
      groupsAt: session.groupsAt,
      via: 'console',
      interactive: true,
    })

  const isFresh = (session: Session): boolean => clock() - session.groupsAt <= groupsMs

  const signInAgain = (cause?: unknown): HoldpointError =>
    new HoldpointError(
      'unauthenticated',
      `Your groups were last read more than ${groupsMs / 60_000} minutes ago and cannot be read again. Sign in again at ${settings().console.url}/login, then decide.`,
      { cause },
    )

  // One request per session asks the provider; the others wait for what it finds.
  const refreshed = async (id: string, login: Login): Promise<Session> => {
    const until = clock() + othersMs
    for (;;) {
      let failure: unknown
      const ran = await sessions.alone(id, async () => {
        const session = await sessions.find(id, 'quietly')
        if (session === undefined || isFresh(session)) return
        try {
          const found = await signIn.again(login, session, sessions.tokens(id, session))
          await sessions.renew(id, found.person, found.tokens)
        } catch (error) {
          failure = error
          log.warn({ err: error, login: login.name }, 'groups of a reviewer cannot be refreshed')
        }
      })
      while (!ran && clock() < until && (await sessions.busy(id)))
        await new Promise(resolve => setTimeout(resolve, lookMs))
      const session = await sessions.find(id, 'quietly')
      if (session !== undefined && isFresh(session)) return session
      if (ran || session === undefined || clock() >= until) throw signInAgain(failure)
    }
  }

  const bySession = async (request: Request): Promise<Visitor | undefined> => {
    const id = readCookie(request, cookieName('session', settings().console.url))
    return id === undefined ? undefined : ofSession(id)
  }

  const ofSession = async (id: string): Promise<Visitor | undefined> => {
    const session = await sessions.find(id)
    const login = session === undefined ? undefined : loginOf(session)
    if (session === undefined || login === undefined) return undefined
    return {
      reviewer: reviewer(login, session),
      session: id,
      untilAt: Number.POSITIVE_INFINITY,
      fresh: async () => ({
        ...reviewer(login, isFresh(session) ? session : await refreshed(id, login)),
        session: sessions.ticket(id),
      }),
      still: async () => {
        const now = await sessions.find(id, 'quietly')
        const login = now === undefined ? undefined : loginOf(now)
        return now === undefined || login === undefined ? undefined : reviewer(login, now)
      },
    }
  }

  const byToken = async (authorization: string): Promise<Visitor> => {
    const { reviewer, expiresAt } = await bearer(authorization)
    return {
      reviewer,
      session: undefined,
      untilAt: expiresAt,
      fresh: async () => {
        if (clock() - reviewer.groupsAt <= groupsMs) return reviewer
        throw new HoldpointError(
          'unauthenticated',
          `The token was made more than ${groupsMs / 60_000} minutes ago (iat). Get a new one, then decide.`,
          {
            headers: { 'WWW-Authenticate': 'Bearer realm="holdpoint console", error="invalid_token"' },
          },
        )
      },
      still: async () => (clock() < expiresAt ? reviewer : undefined),
    }
  }

  return {
    ofPage: bySession,
    ofSession,
    async again(earlier) {
      const id = earlier.session === undefined ? undefined : sessions.ofTicket(earlier.session)
      const session = id === undefined ? undefined : await sessions.find(id, 'quietly')
      const login = session === undefined ? undefined : loginOf(session)
      if (id === undefined || session === undefined || login === undefined) return earlier
      try {
        return { ...reviewer(login, isFresh(session) ? session : await refreshed(id, login)), via: earlier.via }
      } catch {
        return undefined
      }
    },
    async ofApi(request, env) {
      const raw = env?.incoming?.rawHeaders ?? []
      const lines = raw.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'authorization').length
      if (lines > 1) throw new HoldpointError('ambiguous_credentials', 'Send one Authorization header.')
      const authorization = request.headers.get('authorization')
      if (authorization !== null) return byToken(authorization)
      const visitor = await bySession(request)
      if (visitor !== undefined) return visitor
      throw new HoldpointError(
        'unauthenticated',
        `Sign in at ${settings().console.url}/login, or send "Authorization: Bearer <token>".`,
        {
          headers: { 'WWW-Authenticate': 'Bearer realm="holdpoint console"' },
        },
      )
    },
    proven(visitor, request, csrf) {
      if (visitor.session === undefined) return
      const site = request.headers.get('sec-fetch-site')
      const origin = request.headers.get('origin')
      // Browsers send at least one of the two with every POST; each one that is there must say that it was us.
      const ours =
        (site !== null || origin !== null) &&
        (site === null || site === 'same-origin') &&
        (origin === null || origin === new URL(settings().console.url).origin)
      if (!ours)
        throw new HoldpointError('cross_site', 'The request does not come from this console (Origin, Sec-Fetch-Site).')
      if (csrf === undefined || !sessions.csrfFits(visitor.session, csrf)) {
        throw new HoldpointError(
          'cross_site',
          'The form does not belong to this session (csrf field or X-CSRF-Token header). Open the page again.',
        )
      }
    },
  }
}
