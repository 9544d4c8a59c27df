// The console's pages. A GET only ever reads; a form posts to the same desk as the API and leads back to the page it came from.
import type { Context } from 'hono'
import { errors, HoldpointError } from '../errors.ts'
import type { HoldView } from '../nouns.ts'
import { inGroups } from '../people.ts'
import type { Settings } from '../settings.ts'
import type { Desk } from './desk.ts'
import { frame, type Page, type Reader } from './frame.ts'
import { holdPage } from './hold-page.ts'
import { readForm, readId, readNumber, type Word } from './input.ts'
import { auditPage, historyPage, rulesPage } from './lists.ts'
import { signInPage, toLogin } from './login.ts'
import { queuePage, waitingFor } from './queue.ts'
import type { Route } from './route.ts'
import type { Sessions } from './sessions.ts'
import type { Env, Visitor, Visitors } from './visitor.ts'

const queueLimit = 200
const historyLimit = 50

/** Renders a page for a visitor, or for somebody who has not signed in. */
export type Show = (
  context: Context<Env>,
  visitor: Visitor | undefined,
  page: Omit<Page, 'reader'>,
  status?: number,
) => Response | Promise<Response>

/** Who a visitor's page is for. */
export const readerOf = (visitor: Visitor | undefined, settings: Settings, sessions: Sessions): Reader | undefined =>
  visitor?.session === undefined
    ? undefined
    : {
        reviewer: visitor.reviewer,
        csrf: sessions.csrf(visitor.session),
        auditor: inGroups(visitor.reviewer, settings.console.auditors, settings),
        operator: inGroups(visitor.reviewer, settings.console.operators, settings),
      }

export const pages = (parts: {
  readonly settings: () => Settings
  readonly desk: Desk
  readonly visitors: Visitors
  readonly sessions: Sessions
  readonly clock: () => number
}): readonly Route[] => {
  const { settings, desk, visitors, sessions, clock } = parts

  const reading = (
    path: string,
    make: (context: Context<Env>, reader: Reader) => Promise<Omit<Page, 'reader'>>,
  ): Route => ({
    method: 'GET',
    path,
    answer: async context => {
      const visitor = await visitors.ofPage(context.req.raw)
      const reader = readerOf(visitor, settings(), sessions)
      if (reader === undefined) return toLogin(context.req.raw)
      return context.html(frame({ ...(await make(context, reader)), reader }))
    },
  })

  const holdOf = (hold: HoldView, reader: Reader, slip?: Parameters<typeof holdPage>[3]): Omit<Page, 'reader'> => ({
    title: hold.line,
    live: hold.id,
    body: holdPage(hold, reader, clock(), slip),
  })

  // After a verdict that was refused the reader sees why, the hold as it is now, and their own words again.
  const posting = (
    name: string,
    allowed: readonly string[],
    act: (visitor: Visitor, id: string, word: Word) => Promise<unknown>,
  ): Route => ({
    method: 'POST',
    path: `/holds/:id/${name}`,
    answer: async context => {
      const visitor = await visitors.ofPage(context.req.raw)
      const id = readId(context.req.param('id'))
      const reader = readerOf(visitor, settings(), sessions)
      if (visitor === undefined || reader === undefined) {
        const ended = new HoldpointError('unauthenticated', 'Your session has ended. Nothing was decided.')
        return context.html(signInPage(ended, `/holds/${id}`), 401)
      }
      const { csrf, ...word } = await readForm(context.req.raw, ['csrf', 'comment', ...allowed])
      visitors.proven(visitor, context.req.raw, csrf)
      try {
        await act(visitor, id, word)
      } catch (error) {
        if (!(error instanceof HoldpointError) || error.status >= 500 || error.code === 'unknown_hold') throw error
        if (error.code === 'unauthenticated') return context.html(signInPage(error, `/holds/${id}`), 401)
        const slip = { title: errors[error.code].title, detail: error.detail ?? '', comment: word.comment ?? '' }
        const hold = await desk.show(visitor.reviewer, id)
        return context.html(frame({ ...holdOf(hold, reader, slip), reader }), error.status as 409)
      }
      return context.redirect(`/holds/${id}`, 303)
    },
  })

  return [
    reading('/', async (context, { reviewer }) => {
      const after = context.req.query('after')
      const open = await desk.list(reviewer, {
        status: 'open',
        limit: queueLimit,
        ...(after === undefined ? {} : { after }),
      })
      const lost =
        after === undefined ? await desk.list(reviewer, { status: 'unknown', limit: queueLimit }) : { holds: [] }
      const holds = [...open.holds, ...lost.holds.filter(one => !open.holds.some(other => other.id === one.id))]
      const waiting = waitingFor(holds)
      return {
        title: waiting === 0 ? 'Queue' : `(${waiting}) Queue`,
        here: '/',
        live: 'queue',
        body: queuePage(holds, open.next, clock()),
      }
    }),
    reading('/holds/:id', async (context, reader) =>
      holdOf(await desk.show(reader.reviewer, readId(context.req.param('id'))), reader),
    ),
    posting('approve', ['view'], async (visitor, id, word) => desk.decide(await visitor.fresh(), id, 'approve', word)),
    posting('deny', ['view'], async (visitor, id, word) => desk.decide(await visitor.fresh(), id, 'deny', word)),
    posting('break-glass', ['view'], async (visitor, id, word) =>
      desk.decide(await visitor.fresh(), id, 'break_glass', word),
    ),
    posting('revoke', [], async (visitor, id, word) => desk.revoke(await visitor.fresh(), id, word)),
    posting('resolve', ['outcome'], async (visitor, id, { outcome, ...word }) => {
      if (outcome === undefined)
        throw new HoldpointError('malformed', 'Say whether it was done: "outcome" is "delivered" or "failed".')
      return desk.resolve(await visitor.fresh(), id, { ...word, outcome })
    }),
    reading('/history', async (context, { reviewer }) => {
      const asked = (name: string): { [key: string]: string } => {
        const value = context.req.query(name)?.trim().slice(0, 256)
        return value ? { [name]: value } : {}
      }
      const filter = { ...asked('caller'), ...asked('rule'), ...asked('upstream'), ...asked('reviewer') }
      const { holds, next } = await desk.list(reviewer, {
        status: 'closed',
        limit: historyLimit,
        ...filter,
        ...asked('after'),
      })
      return { title: 'History', here: '/history', body: historyPage(holds, filter, next) }
    }),
    reading('/audit', async (context, { reviewer }) => {
      const before = readNumber('before', context.req.query('before'), { min: 0, max: Number.MAX_SAFE_INTEGER })
      const { entries, next } = await desk.audit(reviewer, { limit: 100, ...(before === undefined ? {} : { before }) })
      return { title: 'Audit', here: '/audit', body: auditPage(entries, next) }
    }),
    reading('/rules', async (_, { reviewer }) => ({
      title: 'Rules',
      here: '/rules',
      body: rulesPage(await desk.rules(reviewer)),
    })),
  ]
}
