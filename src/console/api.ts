// The JSON API: the same desk as the pages, for sessions and bearer tokens. It reads strictly and decides nothing itself.
import type { Context } from 'hono'
import { HoldpointError } from '../errors.ts'
import type { Verdict } from '../nouns.ts'
import { type State, states } from '../states.ts'
import type { Desk, HoldsQuery } from './desk.ts'
import type { EventStreams } from './events.ts'
import { readId, readJson, readNumber, readQuery } from './input.ts'
import { openapi } from './openapi.ts'
import type { Route } from './route.ts'
import type { Env, Visitor, Visitors } from './visitor.ts'

const listMax = 200

/** The status a list is asked for, or an error that names the ones there are. */
export const readStatus = (text: string): HoldsQuery['status'] => {
  const known: readonly string[] = ['pending', 'open', 'closed', ...states.filter(state => state !== 'pending')]
  if (!known.includes(text)) throw new HoldpointError('malformed', `"status" must be one of ${known.join(', ')}.`)
  return text as 'open' | 'closed' | State
}

export const api = (parts: {
  readonly desk: Desk
  readonly visitors: Visitors
  readonly streams: EventStreams
  readonly consoleUrl: () => string
}): readonly Route[] => {
  const { desk, visitors, streams } = parts

  const reader = (context: Context<Env>): Promise<Visitor> => visitors.ofApi(context.req.raw, context.env)

  // Whoever changes something is asked for proof first, then read, then asked whether their groups are new enough.
  const posted = async (context: Context<Env>, allowed: readonly string[]) => {
    const visitor = await reader(context)
    visitors.proven(visitor, context.req.raw, context.req.header('x-csrf-token'))
    const id = readId(context.req.param('id'))
    const word = await readJson(context.req.raw, allowed)
    return { reviewer: await visitor.fresh(), id, word }
  }

  const verdict = (name: Verdict['verdict']): Route => ({
    method: 'POST',
    path: `/api/holds/:id/${name.replace('_', '-')}`,
    answer: async context => {
      const { reviewer, id, word } = await posted(context, ['comment', 'view'])
      return context.json(await desk.decide(reviewer, id, name, word))
    },
  })

  return [
    {
      method: 'GET',
      path: '/api/holds',
      answer: async context => {
        const { reviewer } = await reader(context)
        const { status, limit, ...filters } = readQuery(context.req.raw, [
          ...(['status', 'limit', 'after', 'caller', 'rule', 'upstream', 'reviewer'] as const),
        ])
        const count = readNumber('limit', limit, { min: 1, max: listMax }) ?? 50
        return context.json(
          await desk.list(reviewer, { status: readStatus(status ?? 'pending'), limit: count, ...filters }),
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
      path: '/api/audit',
      answer: async context => {
        const { reviewer } = await reader(context)
        const query = readQuery(context.req.raw, ['after', 'before', 'limit'])
        const bounds = { min: 0, max: Number.MAX_SAFE_INTEGER }
        const after = readNumber('after', query.after, bounds)
        const before = readNumber('before', query.before, bounds)
        if (after !== undefined && before !== undefined)
          throw new HoldpointError('malformed', 'Send "after" or "before", not both.')
        return context.json(
          await desk.audit(reviewer, {
            limit: readNumber('limit', query.limit, { min: 1, max: 1_000 }) ?? 100,
            ...(after === undefined ? {} : { after }),
            ...(before === undefined ? {} : { before }),
          }),
        )
      },
    },
    {
      method: 'GET',
      path: '/api/rules',
      answer: async context => {
        const { reviewer } = await reader(context)
        readQuery(context.req.raw, [])
        return context.json({ rules: await desk.rules(reviewer) })
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
