// The console's pages. A GET only ever reads; a form posts to the same desk as the API and leads back to the page it came from.
import type { Context } from 'hono'
import { errors, HoldpointError } from '../errors.ts'
import type { HoldView, Revealed } from '../views.ts'
import type { Beside, Desk } from './desk.ts'
import type { Door, Guest } from './door.ts'
import { frame } from './frame.ts'
import { holdPage, type Slip } from './hold-page.ts'
import { lookOf, readId, readInstant, readNumber, type Word } from './input.ts'
import { auditPage, historyPage } from './lists.ts'
import { signInPage } from './login.ts'
import { queuePage, waitingFor } from './queue.ts'
import type { Route } from './route.ts'
import type { Env, Visitor } from './visitor.ts'

const queueLimit = 100
const historyLimit = 50
const auditLimit = 100
const idMs = { min: 0, max: Number.MAX_SAFE_INTEGER }

export const pages = (parts: {
  readonly desk: Desk
  readonly door: Door
  readonly clock: () => number
}): readonly Route[] => {
  const { desk, door, clock } = parts

  /** What the address asks for, trimmed; what is empty is not asked for. */
  const asked = <Name extends string>(
    context: Context<Env>,
    names: readonly Name[],
  ): { readonly [K in Name]?: string } =>
    Object.fromEntries(
      names.flatMap(name => {
        const value = context.req.query(name)?.trim().slice(0, 1_024)
        return value ? [[name, value]] : []
      }),
    ) as { readonly [K in Name]?: string }

  // ---- one hold

  type More = { readonly slip?: Slip; readonly revealed?: Revealed; readonly status?: number }

  const showHold = async (context: Context<Env>, { visitor, reader }: Guest, id: string, more: More = {}) => {
    const hold: HoldView = await desk.show(visitor.reviewer, id)
    const beside: Beside = await desk.beside(visitor.reviewer, id)
    const body = holdPage({ hold, beside, reader, now: clock(), ...more })
    return context.html(frame({ title: hold.line, live: hold.id, body, reader }), (more.status ?? 200) as 200)
  }

  // After something that was refused the reader sees why, the hold as it is now, and their own words again.
  const posting = (
    name: string,
    fields: readonly string[],
    act: (context: Context<Env>, guest: Guest, id: string, word: Word) => Promise<Response | undefined>,
  ): Route => {
    const idOf = (context: Context<Env>): string => readId(context.req.param('id'))
    const back = (context: Context<Env>): string => `/holds/${idOf(context)}`
    return door.form(`/holds/:id/${name}`, { fields: ['comment', ...fields], back }, async (context, guest, word) => {
      try {
        return (await act(context, guest, idOf(context), word)) ?? context.redirect(back(context), 303)
      } catch (error) {
        if (!(error instanceof HoldpointError) || error.status >= 500 || error.code === 'unknown_hold') throw error
        if (error.code === 'unauthenticated') return context.html(signInPage(error, back(context)), 401)
        const slip = { title: errors[error.code].title, detail: error.detail ?? '', comment: word.comment ?? '' }
        return showHold(context, guest, idOf(context), { slip, status: error.status })
      }
    })
  }

  const plainly =
    (act: (visitor: Visitor, id: string, word: Word) => Promise<unknown>): Parameters<typeof posting>[2] =>
    async (_, { visitor }, id, word) => {
      await act(visitor, id, word)
      return undefined
    }

  /** The same verdict on the same call under other Idempotency-Keys, each for the view that was on the page. */
  const others = async (
    { visitor }: Guest,
    verdict: 'approve' | 'deny',
    { also = '', comment }: Word,
  ): Promise<readonly string[]> => {
    const refused: string[] = []
    for (const pair of also.split(' ').filter(Boolean)) {
      const [id, view] = pair.split('.')
      try {
        if (view === undefined) throw new HoldpointError('malformed', '"also" must be "id.view", separated by spaces.')
        const word = { view, ...(comment === undefined ? {} : { comment }) }
        await desk.decide(await visitor.fresh(), readId(id), verdict, word)
      } catch (error) {
        if (!(error instanceof HoldpointError) || error.status >= 500) throw error
        refused.push(`${id}: ${error.detail ?? errors[error.code].title}`)
      }
    }
    return refused
  }

  const deciding = (verdict: 'approve' | 'deny'): Route =>
    posting(verdict, ['view', 'unseen', 'also'], async (context, guest, id, { also, ...word }) => {
      await desk.decide(await guest.visitor.fresh(), id, verdict, word)
      const refused = await others(guest, verdict, { ...word, ...(also === undefined ? {} : { also }) })
      if (refused.length === 0) return undefined
      const slip = { title: 'Not all of them were decided', detail: refused.join(' '), comment: '' }
      return showHold(context, guest, id, { slip, status: 409 })
    })

  return [
    door.page('/', async (context, { visitor: { reviewer }, reader }) => {
      const after = asked(context, ['after'])
      const open = await desk.list(reviewer, { status: 'open', limit: queueLimit, ...after })
      const lost =
        after.after === undefined ? await desk.list(reviewer, { status: 'unknown', limit: queueLimit }) : { holds: [] }
      const holds = [...open.holds, ...lost.holds.filter(one => !open.holds.some(other => other.id === one.id))]
      const waiting = waitingFor(holds)
      const title = waiting === 0 ? 'Queue' : `(${waiting}) Queue`
      const body = queuePage(holds, open.next, clock())
      return context.html(frame({ title, here: '/', live: 'queue', body, reader }))
    }),
    door.page('/holds/:id', (context, guest) => showHold(context, guest, readId(context.req.param('id')))),
    deciding('approve'),
    deciding('deny'),
    posting(
      'break-glass',
      ['view', 'unseen'],
      plainly(async (visitor, id, word) => desk.decide(await visitor.fresh(), id, 'break_glass', word)),
    ),
    posting('reveal', ['view', 'field'], async (context, guest, id, word) => {
      const revealed = await desk.reveal(await guest.visitor.fresh(), id, lookOf(word))
      return showHold(context, guest, id, { revealed })
    }),
    posting(
      'revoke',
      [],
      plainly(async (visitor, id, word) => desk.revoke(await visitor.fresh(), id, word)),
    ),
    posting(
      'resolve',
      ['outcome'],
      plainly(async (visitor, id, { outcome, ...word }) => {
        if (outcome === undefined)
          throw new HoldpointError('malformed', 'Say whether it was done: "outcome" is "delivered" or "failed".')
        return desk.resolve(await visitor.fresh(), id, { ...word, outcome })
      }),
    ),
    door.page('/history', async (context, { visitor: { reviewer }, reader }) => {
      const filter = asked(context, ['caller', 'rule', 'upstream', 'reviewer', 'from', 'to'])
      const { from, to, ...same } = filter
      const { holds, next } = await desk.list(reviewer, {
        ...{ status: 'closed', limit: historyLimit, ...same, ...asked(context, ['after']) },
        ...{ ...readInstant('from', from), ...readInstant('to', to) },
      })
      return context.html(frame({ title: 'History', here: '/history', body: historyPage(holds, filter, next), reader }))
    }),
    door.page('/audit', async (context, { visitor: { reviewer }, reader }) => {
      const filter = asked(context, ['find', 'from', 'to'])
      const before = readNumber('before', context.req.query('before'), idMs)
      const { entries, next } = await desk.audit(reviewer, {
        ...{ limit: auditLimit, ...(filter.find === undefined ? {} : { find: filter.find }) },
        ...(before === undefined ? {} : { before }),
        ...{ ...readInstant('from', filter.from), ...readInstant('to', filter.to) },
      })
      return context.html(frame({ title: 'Audit', here: '/audit', body: auditPage(entries, filter, next), reader }))
    }),
  ]
}
