// The JSON API: the same desk as the pages, for sessions and bearer tokens. It reads strictly and decides nothing itself.
import type { Context } from 'hono'
import { HoldpointError } from '../errors.ts'
import type { Reviewer, Verdict } from '../nouns.ts'
import { type State, states } from '../states.ts'
import type { AuditQuery, Desk, HoldsQuery } from './desk.ts'
import type { Door } from './door.ts'
import type { EventStreams } from './events.ts'
import { lookOf, readId, readInstant, readJson, readNumber, readQuery } from './input.ts'
import { openapi } from './openapi.ts'
import type { Route } from './route.ts'
import type { Env, Visitor, Visitors } from './visitor.ts'

const listMax = 200
const exportPage = 1_000
const entryNumbers = { min: 0, max: Number.MAX_SAFE_INTEGER }

/** The status a list is asked for, or an error that names the ones there are. */
export const readStatus = (text: string): HoldsQuery['status'] => {
  const known: readonly string[] = ['pending', 'open', 'closed', ...states.filter(state => state !== 'pending')]
  if (!known.includes(text)) throw new HoldpointError('malformed', `"status" must be one of ${known.join(', ')}.`)
  return text as 'open' | 'closed' | State
}

/** What of the log somebody looks for. */
const searchOf = ({
  find,
  from,
  to,
}: { readonly [K in 'find' | 'from' | 'to']?: string }): Omit<AuditQuery, 'limit'> => ({
  ...(find === undefined ? {} : { find }),
  ...readInstant('from', from),
  ...readInstant('to', to),
})

/** The log from its beginning as JSON lines, one page at a time; it breaks off if the reader's rights end on the way. */
const exported = async (
  visitor: Visitor,
  page: (reviewer: Reviewer, after: number) => ReturnType<Desk['audit']>,
): Promise<Response> => {
  const encoder = new TextEncoder()
  let next: Awaited<ReturnType<Desk['audit']>> | undefined = await page(visitor.reviewer, 0)
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (next === undefined) return controller.close()
        const { entries, next: after } = next
        controller.enqueue(encoder.encode(entries.map(entry => `${JSON.stringify(entry)}\n`).join('')))
        const reviewer = after === undefined ? undefined : await visitor.still()
        if (after !== undefined && reviewer === undefined) throw new Error('the sign-in ended')
        next = after === undefined || reviewer === undefined ? undefined : await page(reviewer, after)
      },
    },
    { highWaterMark: 0 },
  )
  return new Response(body, {
    headers: {
      'Content-Type': 'application/x-ndjson; charset=utf-8',
      'Content-Disposition': 'attachment; filename="holdpoint-audit.jsonl"',
    },
  })
}

export const api = (parts: {
  readonly desk: Desk
  readonly visitors: Visitors
  readonly door: Door
  readonly streams: EventStreams
  readonly consoleUrl: () => string
}): readonly Route[] => {
  const { desk, visitors, door, streams } = parts

  const reader = (context: Context<Env>): Promise<Visitor> => visitors.ofApi(context.req.raw, context.env)

  // Whoever changes something is asked for proof first, then read, then asked whether their groups are new enough.
  const posted = async (context: Context<Env>, allowed: readonly string[]) => {
    const visitor = await door.change(context)
    const id = readId(context.req.param('id'))
    const word = await readJson(context.req.raw, allowed)
    return { reviewer: await visitor.fresh(), id, word }
  }

  const verdict = (name: Verdict['verdict']): Route => ({
    method: 'POST',
    path: `/api/holds/:id/${name.replace('_', '-')}`,
    answer: async context => {
      const { reviewer, id, word } = await posted(context, ['comment', 'view', ...(name === 'deny' ? [] : ['unseen'])])
      return context.json(await desk.decide(reviewer, id, name, word))
    },
  })

  return [
    {
      method: 'GET',
      path: '/api/holds',
      answer: async context => {
        const { reviewer } = await reader(context)
        const { status, limit, from, to, ...filters } = readQuery(context.req.raw, [
          ...(['status', 'limit', 'after', 'caller', 'rule', 'upstream', 'reviewer', 'from', 'to'] as const),
        ])
        const count = readNumber('limit', limit, { min: 1, max: listMax }) ?? 50
        return context.json(
          await desk.list(reviewer, {
            ...{ status: readStatus(status ?? 'pending'), limit: count, ...filters },
            ...{ ...readInstant('from', from), ...readInstant('to', to) },
          }),
        )
      },
    },
    {
      method: 'GET',
      path: '/api/holds/:id',
      answer: async context => {
        const { reviewer } = await reader(context)
        readQuery(context.req.raw, [])
        return context.json(await desk.show(reviewer, readId(context.req.param('id'))))
      },
    },
    verdict('approve'),
    verdict('deny'),
    verdict('break_glass'),
    {
      method: 'POST',
      path: '/api/holds/:id/reveal',
      answer: async context => {
        const { reviewer, id, word } = await posted(context, ['field', 'view'])
        return context.json(await desk.reveal(reviewer, id, lookOf(word)))
      },
    },
    {
      method: 'POST',
      path: '/api/holds/:id/revoke',
      answer: async context => {
        const { reviewer, id, word } = await posted(context, ['comment'])
        return context.json(await desk.revoke(reviewer, id, word))
      },
    },
    {
      method: 'POST',
      path: '/api/holds/:id/resolve',
      answer: async context => {
        const { reviewer, id, word } = await posted(context, ['comment', 'outcome'])
        if (word.outcome === undefined)
          throw new HoldpointError('malformed', '"outcome" is needed: "delivered" or "failed".')
        return context.json(await desk.resolve(reviewer, id, { ...word, outcome: word.outcome }))
      },
    },
    {
      method: 'GET',
      path: '/api/holds/:id/beside',
      answer: async context => {
        const { reviewer } = await reader(context)
        readQuery(context.req.raw, [])
        return context.json(await desk.beside(reviewer, readId(context.req.param('id'))))
      },
    },
    {
      method: 'GET',
      path: '/api/audit',
      answer: async context => {
        const { reviewer } = await reader(context)
        const query = readQuery(context.req.raw, ['after', 'before', 'limit', 'find', 'from', 'to'])
        const after = readNumber('after', query.after, entryNumbers)
        const before = readNumber('before', query.before, entryNumbers)
        if (after !== undefined && before !== undefined)
          throw new HoldpointError('malformed', 'Send "after" or "before", not both.')
        return context.json(
          await desk.audit(reviewer, {
            limit: readNumber('limit', query.limit, { min: 1, max: 1_000 }) ?? 100,
            ...(after === undefined ? {} : { after }),
            ...(before === undefined ? {} : { before }),
            ...searchOf(query),
          }),
        )
      },
    },
    {
      method: 'GET',
      path: '/api/audit/export',
      answer: async context => {
        const visitor = await reader(context)
        const search = searchOf(readQuery(context.req.raw, ['find', 'from', 'to']))
        return exported(visitor, (reviewer, after) => desk.audit(reviewer, { limit: exportPage, after, ...search }))
      },
    },
    {
      method: 'GET',
      path: '/api/events',
      answer: async context => streams.open(await reader(context), context.req.raw),
    },
    {
      method: 'GET',
      path: '/api/openapi.json',
      answer: async context => context.json(openapi(parts.consoleUrl())),
    },
  ]
}
