// What every page, form and change has in common: who asks, whom the page is for, and proof that what changes something came from a page
// of ours. Whoever has no session reads the sign-in instead; what they posted is not done.
import type { Context } from 'hono'
import { HoldpointError } from '../errors.ts'
import { inGroups } from '../people.ts'
import type { Settings } from '../settings.ts'
import type { Reader } from './frame.ts'
import { readForm, type Word } from './input.ts'
import { signInPage, toLogin } from './login.ts'
import type { Route } from './route.ts'
import type { Sessions } from './sessions.ts'
import type { Env, Visitor, Visitors } from './visitor.ts'

/** Who asks, and how the page looks to them. */
export type Guest = { readonly visitor: Visitor; readonly reader: Reader }

export type Door = ReturnType<typeof makeDoor>

export const makeDoor = (parts: {
  readonly settings: () => Settings
  readonly visitors: Visitors
  readonly sessions: Sessions
}) => {
  const { settings, visitors, sessions } = parts

  /** Whom a visitor's page is for; undefined for whoever has no session. */
  const readerOf = (visitor: Visitor | undefined): Reader | undefined => {
    if (visitor?.session === undefined) return undefined
    const { console } = settings()
    return {
      reviewer: visitor.reviewer,
      csrf: sessions.csrf(visitor.session),
      auditor: inGroups(visitor.reviewer, console.auditors, settings()),
      operator: inGroups(visitor.reviewer, console.operators, settings()),
    }
  }

  const guestOf = async (context: Context<Env>): Promise<Guest | undefined> => {
    const visitor = await visitors.ofPage(context.req.raw)
    const reader = readerOf(visitor)
    return visitor === undefined || reader === undefined ? undefined : { visitor, reader }
  }

  return {
    readerOf,

    /** A page to read. */
    page: (path: string, answer: (context: Context<Env>, guest: Guest) => Promise<Response> | Response): Route => ({
      method: 'GET',
      path,
      answer: async context => {
        const guest = await guestOf(context)
        return guest === undefined ? toLogin(context.req.raw) : answer(context, guest)
      },
    }),

    /** A form. `back` is where whoever has to sign in first is led to. */
    form: (
      path: string,
      { fields, back }: { readonly fields: readonly string[]; readonly back: (context: Context<Env>) => string },
      answer: (context: Context<Env>, guest: Guest, word: Word) => Promise<Response> | Response,
    ): Route => ({
      method: 'POST',
      path,
      answer: async context => {
        const to = back(context)
        const guest = await guestOf(context)
        if (guest === undefined) {
          const ended = new HoldpointError('unauthenticated', 'Your session has ended. Nothing was done.')
          return context.html(signInPage(ended, to), 401)
        }
        const { csrf, ...word } = await readForm(context.req.raw, ['csrf', ...fields])
        visitors.proven(guest.visitor, context.req.raw, csrf)
        return answer(context, guest, word)
      },
    }),

    /** Who changes something at the API, proven to mean it. */
    async change(context: Context<Env>): Promise<Visitor> {
      const visitor = await visitors.ofApi(context.req.raw, context.env)
      visitors.proven(visitor, context.req.raw, context.req.header('x-csrf-token'))
      return visitor
    },
  }
}
