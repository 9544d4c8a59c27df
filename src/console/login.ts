// Signing in and out as pages: where to sign in, the provider's redirect back, and the end of a session.
// A new session gets a new id and ends the one before (facts O5). A sign-in that cannot be recorded does not happen.
import type { Context } from 'hono'
import { html } from 'hono/html'
import { type HoldpointError, toError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Reviewer } from '../nouns.ts'
import { whoReviews } from '../record.ts'
import type { Login, Settings } from '../settings.ts'
import type { Challenge } from '../step-up.ts'
import type { Desk } from './desk.ts'
import { frame, type Html, notice } from './frame.ts'
import { readForm, readId, readQuery } from './input.ts'
import { reviewerOf } from './person.ts'
import type { Refusals } from './refusals.ts'
import type { Route } from './route.ts'
import type { Sessions } from './sessions.ts'
import { newBrowser, type SignIn, safePath } from './signin.ts'
import { cookieName, type Env, readCookie, setCookie, type Visitors } from './visitor.ts'

const signinS = 10 * 60
const sessionS = 12 * 3_600

const chooser = (title: string, words: string, logins: readonly Login[], to: string): Html => html`
<section class="notice">
  <h1>${title}</h1>
  <p class="muted">${words}</p>
  ${logins.map(
    login =>
      html`<p><a class="button wide-button" href="/login?${new URLSearchParams({ with: login.name, to }).toString()}">Sign in with ${login.name}</a></p>`,
  )}
</section>`

export const loginRoutes = (parts: {
  readonly settings: () => Settings
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly visitors: Visitors
  readonly desk: Desk
  readonly refused: Refusals
  readonly clock: () => number
  readonly log: Log
}): readonly Route[] => {
  const { settings, sessions, signIn, visitors, desk, refused, clock, log } = parts
  const url = (): string => settings().console.url

  const addressOf = (context: Context<Env>): { address?: string } => {
    const address = context.env?.incoming?.socket.remoteAddress
    return address === undefined ? {} : { address }
  }

  const begin = async (request: Request, login: Login, to: string, challenge?: Challenge): Promise<Response> => {
    // Several tabs of one browser may sign in at the same time, so its pre-session id is kept.
    const known = readCookie(request, cookieName('signin', url()))
    const browser = known !== undefined && /^[A-Za-z0-9_-]{43}$/.test(known) ? known : newBrowser()
    const target = await signIn.start(login, browser, to, challenge)
    return new Response(null, {
      status: 302,
      headers: { Location: target.href, 'Set-Cookie': setCookie('signin', browser, signinS, url()) },
    })
  }

  const endSession = async (request: Request): Promise<Reviewer | undefined> => {
    const visitor = await visitors.ofPage(request)
    if (visitor?.session === undefined) return undefined
    await sessions.end(visitor.session)
    return visitor.reviewer
  }

  return [
    {
      method: 'GET',
      path: '/login',
      answer: async context => {
        const logins = settings().console.login
        const to = safePath(context.req.query('to'), url())
        const wanted = context.req.query('with')
        const out = context.req.query('out') !== undefined
        // After a sign-out or a failure nobody is sent to the provider again without a click.
        const stay = out || context.req.query('choose') !== undefined
        const login =
          wanted === undefined
            ? logins.length === 1 && !stay
              ? logins[0]
              : undefined
            : logins.find(one => one.name === wanted)
        if (login !== undefined) return begin(context.req.raw, login, to)
        const none = 'This console has no sign-in: console.login is empty in its configuration.'
        const words =
          logins.length === 0 ? none : out ? 'Your session here has ended.' : 'Choose where you have your account.'
        const title = out ? 'Signed out' : 'Sign in'
        return context.html(frame({ title, body: chooser(title, words, logins, to) }))
      },
    },
    {
      // Signs in again as the rules of a hold want it, and comes back to that hold.
      method: 'GET',
      path: '/login/step-up',
      answer: async context => {
        const { hold: id } = readQuery(context.req.raw, ['hold'])
        const visitor = await visitors.ofPage(context.req.raw)
        const to = `/holds/${readId(id)}`
        const login = settings().console.login.find(one => one.name === visitor?.reviewer.login)
        if (visitor === undefined || login === undefined)
          return context.redirect(`/login?${new URLSearchParams({ to })}`, 303)
        const { step_up: wanted } = await desk.show(visitor.reviewer, readId(id))
        if (wanted === undefined || wanted.met) return context.redirect(to, 303)
        const { acr_values: acr, max_age: maxAgeS } = wanted
        return begin(context.req.raw, login, to, { acr, ...(maxAgeS === undefined ? {} : { maxAgeS }) })
      },
    },
    {
      method: 'GET',
      path: '/login/callback/:name',
      answer: async context => {
        const request = context.req.raw
        const browser = readCookie(request, cookieName('signin', url()))
        const name = context.req.param('name') ?? ''
        let begun = false
        try {
          const done = await signIn.finish(name, new URL(request.url).searchParams, browser, () => {
            begun = true
          })
          const how = { ...done.proof, groupsAt: clock(), via: 'console', interactive: true } as const
          const reviewer = reviewerOf(done.login, done.person, how)
          await desk.note({ kind: 'signin', reviewer: whoReviews(reviewer), ...addressOf(context) })
          await endSession(request)
          const id = await sessions.start(done.login, done.person, done.tokens, {
            proof: done.proof,
            ...(done.sid === undefined ? {} : { sid: done.sid }),
          })
          return new Response(null, {
            status: 303,
            headers: { Location: done.to, 'Set-Cookie': setCookie('session', id, sessionS, url()) },
          })
        } catch (thrown) {
          const error = toError(thrown)
          log.warn({ err: error.extras.cause ?? error, login: name }, 'a sign-in was refused')
          if (begun && error.code === 'unauthenticated') {
            await refused({
              kind: 'signin.refused',
              code: error.code,
              detail: `${name}: ${error.detail ?? ''}`,
              ...addressOf(context),
            })
          }
          if (error.status >= 500) throw error
          const body = notice('You are not signed in', error.detail ?? '', {
            href: '/login?out=1',
            text: 'Sign in again',
          })
          return context.html(frame({ title: 'Not signed in', body }), error.status as 400)
        }
      },
    },
    {
      method: 'POST',
      path: '/logout',
      answer: async context => {
        const request = context.req.raw
        const visitor = await visitors.ofPage(request)
        if (visitor !== undefined) {
          visitors.proven(visitor, request, (await readForm(request, ['csrf'])).csrf)
          await desk.note({ kind: 'signout', reviewer: whoReviews(visitor.reviewer), ...addressOf(context) })
          await endSession(request)
        }
        return new Response(null, {
          status: 303,
          headers: { Location: '/login?out=1', 'Set-Cookie': setCookie('session', '', 0, url()) },
        })
      },
    },
  ]
}

/** Where somebody without a session goes from a page, to come back to it afterwards. */
export const toLogin = (request: Request): Response => {
  const { pathname, search } = new URL(request.url)
  return new Response(null, {
    status: 303,
    headers: { Location: `/login?${new URLSearchParams({ to: `${pathname}${search}` }).toString()}` },
  })
}

/** The page for whoever cannot go on without signing in. */
export const signInPage = (error: HoldpointError, to: string): Html =>
  frame({
    title: 'Sign in again',
    body: notice('Sign in again', error.detail ?? 'Your session has ended.', {
      href: `/login?${new URLSearchParams({ to }).toString()}`,
      text: 'Sign in',
    }),
  })
