// The task endpoints under /.holdpoint/holds: for a hold's own caller only; to anybody else there is no such task.
import { answerJson, write } from './answer.ts'
import { HoldpointError, toError } from './errors.ts'
import { callerIdentity, keptToken, openAnswer, readHold, shownToken } from './hold.ts'
import type { Identified } from './identify.ts'
import type { CallerRequest, CallerResponse } from './incoming.ts'
import type { Call, Caller, Header, Hold, KeptAnswer } from './nouns.ts'
import type { Parts } from './parts.ts'
import { peopleBehind } from './people.ts'
import { preferOf } from './prefer.ts'
import { aboutHold } from './record.ts'
import type { Settings } from './settings.ts'
import { statusUrl, taskOf } from './task.ts'

const longPollMs = 60_000
const pollAfterS = 2

type Asked = {
  readonly settings: Settings
  readonly call: Call
  readonly caller: Caller
  readonly opaque: Identified['opaque']
  readonly request: CallerRequest
  readonly response: CallerResponse
  readonly drain: AbortSignal
}

/** Answers a call to `/.holdpoint/holds/…`. @throws unknown_hold, method_not_allowed, already_decided, not_delivered, answer_not_kept */
export const taskEndpoint = async (parts: Parts, asked: Asked): Promise<void> => {
  const { call } = asked
  const [, id = '', what] = /^\/\.holdpoint\/holds\/([^/]+)(?:\/(response|cancel))?$/.exec(call.path) ?? []
  const hold = await own(parts, asked, id)
  const reads = call.method === 'GET' || call.method === 'HEAD'
  if (what === undefined && reads) return show(parts, asked, hold)
  if ((what === undefined && call.method === 'DELETE') || (what === 'cancel' && call.method === 'POST'))
    return withdraw(parts, asked, hold)
  if (what === 'response' && reads) return replay(parts, asked, hold)
  const allow = what === undefined ? 'GET, HEAD, DELETE' : what === 'cancel' ? 'POST' : 'GET, HEAD'
  throw new HoldpointError('method_not_allowed', `Use ${allow} here.`, { headers: { Allow: allow } })
}

const unknown = (): HoldpointError => new HoldpointError('unknown_hold', 'You have no hold with this id.')

/** The hold, if it is the caller's own: the same identity with the same people behind it. Its newest token is noted for an async hold. */
const own = async (parts: Parts, { caller, opaque, settings }: Asked, id: string): Promise<Hold> => {
  const hold = await readHold(parts.store, parts.keys, id)
  if (hold === undefined) throw unknown()
  const mine = callerIdentity(caller, peopleBehind(caller, settings))
  if (callerIdentity(hold.head.caller, hold.head.behind) !== mine) throw unknown()
  await seeToken(parts, hold, caller, opaque)
  return hold
}

/** Notes that the caller of an async hold showed a newer token: one that lasts longer than those before or, if it is opaque, another one. */
export const seeToken = async (
  parts: Parts,
  hold: Hold,
  caller: Caller,
  opaque: Identified['opaque'],
): Promise<void> => {
  if (hold.facts.async === undefined || (hold.state !== 'pending' && hold.state !== 'approved')) return
  const newer =
    opaque === undefined ? caller.expiresAt > (hold.facts.tokenUntilAt ?? 0) : opaque !== keptToken(parts.keys, hold)
  if (!newer) return
  // If somebody moves the hold at this moment, the next poll notes it.
  await parts.store.holds.move({
    hold: hold.head.id,
    move: 'touch',
    rev: hold.rev,
    facts: shownToken(parts.keys, hold.head.id, caller, opaque),
  })
}

const show = async (parts: Parts, asked: Asked, first: Hold): Promise<void> => {
  const prefer = preferOf(asked.call.headers)
  let hold = first
  const waitMs = prefer.waitMs === undefined ? undefined : Math.min(prefer.waitMs, longPollMs)
  if (waitMs !== undefined && !settled(hold)) hold = await changed(parts, asked, hold, waitMs)
  answerJson(
    asked.response,
    200,
    taskOf(hold, asked.settings),
    headersFor(hold, waitMs === undefined ? undefined : `wait=${waitMs / 1000}`),
  )
}

const settled = (hold: Hold): boolean => !['pending', 'approved', 'released'].includes(hold.state)

const headersFor = (hold: Hold, applied?: string): Header[] => [
  ['Holdpoint-Hold', hold.head.id],
  ...(settled(hold) ? [] : [['Retry-After', String(pollAfterS)] as const]),
  ...(applied === undefined ? [] : [['Preference-Applied', applied] as const]),
]

/** Waits until the hold has another state, the time is over, or the caller is gone. */
const changed = async (parts: Parts, asked: Asked, hold: Hold, waitMs: number): Promise<Hold> => {
  const gone = new AbortController()
  if (asked.response.destroyed) gone.abort()
  asked.response.once('close', () => gone.abort())
  const until = AbortSignal.any([AbortSignal.timeout(waitMs), gone.signal, asked.drain])
  for (let now = hold; ; ) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = (): void => resolve()
    const off = parts.watch.on(hold.head.id, wake)
    until.addEventListener('abort', wake, { once: true })
    try {
      now = (await readHold(parts.store, parts.keys, hold.head.id)) ?? now
      if (now.state !== hold.state || until.aborted) return now
      await promise
    } finally {
      off()
      until.removeEventListener('abort', wake)
    }
  }
}

const withdraw = async (parts: Parts, asked: Asked, first: Hold): Promise<void> => {
  for (let hold = first; ; ) {
    const moved = await parts.store.holds.move({
      hold: hold.head.id,
      move: 'cancel',
      rev: hold.rev,
      facts: { closedAt: hold.now, decidedBy: 'its caller' },
      dueAt: null,
      findableUntilAt: null,
      entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.cancelled', detail: 'withdrawn by its caller' }),
      durable: true,
    })
    const now = await readHold(parts.store, parts.keys, hold.head.id)
    if (now === undefined) throw unknown()
    if (moved.word === 'moved') return answerJson(asked.response, 200, taskOf(now, asked.settings), headersFor(now))
    if (moved.word !== 'changed' || now.state !== 'pending') {
      throw new HoldpointError('already_decided', `The hold is ${now.state} and cannot be withdrawn any more.`, {
        hold: now.head.id,
        statusUrl: statusUrl(asked.settings, now.head.id),
      })
    }
    hold = now
  }
}

const replay = async (parts: Parts, asked: Asked, hold: Hold): Promise<void> => {
  const { id } = hold.head
  const where = { hold: id, statusUrl: statusUrl(asked.settings, id) }
  if (hold.state !== 'delivered') {
    throw new HoldpointError(
      'not_delivered',
      `The call is ${hold.state}; there is no answer${settled(hold) ? '' : ' yet'}.`,
      settled(hold) ? where : { ...where, retryAfterS: pollAfterS },
    )
  }
  const answer = await openAnswer(parts.store, parts.keys, id)
  if (answer === undefined)
    throw new HoldpointError(
      'answer_not_kept',
      `The answer is not kept: ${hold.facts.keptWhyNot ?? (hold.facts.async ? 'its hour is over' : 'it went to the caller that waited')}.`,
      where,
    )
  writeKept(asked.response, id, answer)
  await seeAnswer(parts, id)
}

/** Writes a kept answer as the upstream gave it. */
export const writeKept = (response: CallerResponse, id: string, { status, headers, body }: KeptAnswer): void =>
  write(
    response,
    status,
    [...headers.filter(([name]) => name.toLowerCase() !== 'content-length'), ['Holdpoint-Hold', id]],
    Buffer.from(body, 'base64'),
  )

/** Notes that the caller has its answer: from now on the same call is a new one. If this is lost, it is only asked about once more. */
export const seeAnswer = async (parts: Parts, id: string): Promise<void> => {
  try {
    for (;;) {
      const hold = await readHold(parts.store, parts.keys, id)
      if (hold?.facts.delivery === undefined || hold.facts.delivery.answered) return
      const moved = await parts.store.holds.move({
        hold: id,
        move: 'touch',
        rev: hold.rev,
        facts: { delivery: { ...hold.facts.delivery, answered: true } },
        findableUntilAt: null,
        remember: false,
      })
      if (moved.word !== 'changed') return
    }
  } catch (error) {
    parts.log.warn({ err: toError(error), hold: id }, 'that a kept answer was fetched could not be noted')
  }
}
