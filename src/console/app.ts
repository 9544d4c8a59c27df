// The console as one function from request to answer: the routes, the headers that every answer carries, and errors as pages or problems.
// A GET never changes anything; what is not in the list of routes does not exist.
import { Hono } from 'hono'
import type { Notice } from '../channels/channel.ts'
import { errors, HoldpointError, problem, toError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { KeyRing } from '../seal.ts'
import type { Settings } from '../settings.ts'
import type { Store, StoreEvent } from '../store/store.ts'
import { api } from './api.ts'
import { assetRoutes } from './assets.ts'
import { bearer } from './bearer.ts'
import type { ChatParts } from './chat.ts'
import type { Desk } from './desk.ts'
import { makeDoor } from './door.ts'
import { eventStreams } from './events.ts'
import { frame, notice } from './frame.ts'
import { freezeRoutes } from './freezes.ts'
import { grantRoutes } from './grants.ts'
import { type Links, links as makeLinks } from './links.ts'
import { linkRoutes } from './links-page.ts'
import { loginRoutes, signInPage } from './login.ts'
import { logoutRoute } from './logout.ts'
import { pages } from './pages.ts'
import { refusals, verdictAsked } from './refusals.ts'
import type { Route } from './route.ts'
import { ruleRoutes } from './rules-page.ts'
import { sessions as makeSessions } from './sessions.ts'
import { signIn as makeSignIn } from './signin.ts'
import { chatsOf, type SlackDoor, slackDoor } from './slack.ts'
import { type TeamsDoor, teamsDoor } from './teams.ts'
import { botsOf } from './teams-token.ts'
import { type Env, visitors as makeVisitors, type Visitors } from './visitor.ts'

export type ConsoleParts = {
  readonly settings: () => Settings
  readonly store: Pick<Store, 'shelf'>
  readonly keys: KeyRing
  readonly desk: Desk
  /** The store's events, from `after` (undefined: from now on), until `signal` aborts. */
  readonly events: (after: string | undefined, signal: AbortSignal) => AsyncIterable<StoreEvent>
  readonly clock?: () => number
  readonly log: Log
  readonly heartbeatMs?: number
  /** Names of the chats whose accounts can be linked; by default those that the configuration has. */
  readonly chats?: () => readonly string[]
  /** Brings a message in a chat up to date. */
  readonly retell?: (channel: string, hold: string, reference: string) => Promise<void>
  /** How a hold stands, as one chat may tell it. */
  readonly tells?: (channel: string, hold: string) => Promise<Notice | undefined>
}

export type ConsoleApp = {
  fetch(request: Request, env?: Env['Bindings']): Promise<Response>
  /** What is served, as `METHOD path`. */
  readonly routes: readonly string[]
  /** Whose name chat accounts speak in; channels link and ask here. */
  readonly links: Links
  /** Who gave an earlier verdict, as their login says now; undefined if it does not say. */
  readonly again: Visitors['again']
  /** Where clicks in Slack come in. */
  readonly slack: SlackDoor
  /** Where clicks in Teams come in. */
  readonly teams: TeamsDoor
  /** Ends every stream of events. */
  close(): void
}

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

// `same-origin` and not `no-referrer`: with the latter browsers send `Origin: null` with our own forms, and the Origin check would be
// worth nothing. Other sites get no referrer either way.
const everyAnswer: Readonly<Record<string, string>> = {
  'Content-Security-Policy': policy,
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'same-origin',
  'X-Robots-Tag': 'noindex, nofollow',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=()',
}

export const consoleApp = (parts: ConsoleParts): ConsoleApp => {
  const { settings, store, keys, desk, events, log } = parts
  const clock = parts.clock ?? Date.now
  const sessions = makeSessions(store.shelf, keys, clock)
  const signIn = makeSignIn({ settings, shelf: store.shelf, keys, clock, log })
  const visitors = makeVisitors({ settings, sessions, signIn, bearer: bearer(settings, clock), clock, log })
  const streams = eventStreams({ desk, events, heartbeatMs: parts.heartbeatMs ?? 15_000 })
  const links = makeLinks({ settings, shelf: store.shelf, keys, sessions, visitors, note: desk.note, clock })
  const door = makeDoor({ settings, visitors, sessions })
  const consoleUrl = (): string => settings().console.url
  const refused = refusals(desk, clock)

  /** A verdict that is refused before anybody knows whose it is: nobody signed in, or another site's page sent it. */
  const noteAttempt = async (request: Request, env: Env['Bindings'], code: string): Promise<void> => {
    const asked = verdictAsked(request)
    if (asked === undefined) return
    const address = env?.incoming?.socket.remoteAddress
    // It stays refused whether or not that can be written.
    await refused({ kind: 'verdict.refused', ...asked, code, ...(address === undefined ? {} : { address }) }).catch(
      error => log.error({ err: toError(error), ...asked }, 'a refused verdict could not be recorded'),
    )
  }

  const retell = parts.retell ?? (async () => undefined)
  const tells = parts.tells ?? (async () => undefined)
  const chat: ChatParts = { settings, shelf: store.shelf, desk, links, refused, retell, tells, clock, log }
  const slack = slackDoor(chat)
  const teams = teamsDoor(chat)
  const chats = (): readonly string[] => [...chatsOf(settings()), ...botsOf(settings())].map(({ name }) => name)

  const routes: readonly Route[] = [
    ...pages({ desk, door, clock }),
    ...loginRoutes({ settings, sessions, signIn, visitors, desk, refused, clock, log }),
    logoutRoute({ settings, shelf: store.shelf, sessions, desk, clock, log }),
    ...linkRoutes({ links, door, chats: parts.chats ?? chats }),
    ...ruleRoutes({ settings, desk, door, visitors }),
    ...freezeRoutes({ desk, visitors, door, clock }),
    ...grantRoutes({ desk, visitors, door }),
    ...api({ desk, visitors, door, streams, consoleUrl }),
    ...slack.routes,
    ...teams.routes,
    ...assetRoutes,
  ]

  const app = new Hono<Env>()

  for (const { method, path, answer } of routes) app.on(method, path, answer)
  for (const path of new Set(routes.map(route => route.path))) {
    const methods = routes.filter(route => route.path === path).map(route => route.method)
    const allow = methods.includes('GET') ? ['HEAD', ...methods] : methods
    app.all(path, () => {
      throw new HoldpointError('method_not_allowed', `Use ${methods.join(' or ')}.`, {
        headers: { Allow: allow.join(', ') },
      })
    })
  }
  app.notFound(() => {
    throw new HoldpointError('no_route', 'The console has nothing at this address.')
  })

  app.onError(async (thrown, context) => {
    const error = toError(thrown)
    if (error.status >= 500)
      log.error({ err: error.extras.cause ?? error, path: context.req.path }, 'a request to the console failed')
    if (error.code === 'cross_site') await noteAttempt(context.req.raw, context.env, error.code)
    const { headers = {}, retryAfterS } = error.extras
    for (const [name, value] of Object.entries(headers)) context.header(name, value)
    if (retryAfterS !== undefined) context.header('Retry-After', String(retryAfterS))
    const status = error.status as 500
    if (context.req.path.startsWith('/api/')) {
      return context.body(JSON.stringify(problem(error)), status, { 'Content-Type': 'application/problem+json' })
    }
    if (error.code === 'unauthenticated') return context.html(signInPage(error, '/'), status)
    // The frame needs the visitor, and what failed may be just what is needed to know them.
    const visitor = error.status >= 500 ? undefined : await visitors.ofPage(context.req.raw).catch(() => undefined)
    const title = error.code === 'no_route' ? 'There is no such page' : errors[error.code].title
    const detail = error.code === 'unknown_hold' ? 'It never existed, or it is not yours to see.' : (error.detail ?? '')
    const body = notice(title, detail, { href: '/', text: 'To the queue' })
    return context.html(frame({ title, reader: door.readerOf(visitor), body }), status)
  })

  return {
    // Headers are set here and not in a middleware: what throws, or is not found, passes by those.
    async fetch(request, env) {
      const answer = await app.fetch(request, env ?? {})
      if (answer.status === 401) await noteAttempt(request, env ?? {}, 'unauthenticated')
      for (const [name, value] of Object.entries(everyAnswer)) answer.headers.set(name, value)
      if (!answer.headers.has('cache-control')) answer.headers.set('Cache-Control', 'no-store')
      if (consoleUrl().startsWith('https:')) answer.headers.set('Strict-Transport-Security', 'max-age=31536000')
      return answer
    },
    routes: routes.map(({ method, path }) => `${method} ${path}`),
    links,
    again: visitors.again,
    slack,
    teams,
    close: () => streams.close(),
  }
}
