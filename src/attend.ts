// Waits with a held call, from its caller's side, and ends in exactly one answer. Any number of callers may be attached, here or on other
// replicas; one of them (or, for an async hold, Holdpoint itself) releases it.
import type { Taker } from './deliver.ts'
import { type ErrorCode, HoldpointError } from './errors.ts'
import { grantable } from './grant.ts'
import { openAnswer, readHold } from './hold.ts'
import type { Identified } from './identify.ts'
import type { Hold, KeptAnswer } from './nouns.ts'
import { ruleNames } from './open.ts'
import type { Parts } from './parts.ts'
import { approversOf } from './people.ts'
import type { Prefer } from './prefer.ts'
import { release } from './release.ts'
import type { Settings } from './settings.ts'
import { live } from './states.ts'
import { statusUrl } from './task.ts'
import type { Watch } from './watch.ts'

export type Wait = {
  readonly settings: Settings
  /** Is the caller's token still good? */
  readonly again: Identified['again']
  readonly opaque: Identified['opaque']
  readonly prefer: Prefer
  /** How long to block, counted from now. */
  readonly waitMs: number
  readonly ear: Ear
  /** Aborts when this process is shutting down; whoever aborts it wakes the ears. */
  readonly drain: AbortSignal
  readonly taker: Extract<Taker, { readonly kind: 'caller' }>
  /** Told, each time the call goes on waiting, what it waits for. */
  readonly waits?: (text: string) => void
  /** The call came with an Idempotency-Key: its hold's end is its answer for as long as the key is kept. */
  readonly keyed: boolean
  /** The hold, if it was opened a moment ago by this very call: the first look takes it, so that it is not kept. */
  opened?: Hold | undefined
}

/**
 * What a waiting call hears, in one small object: ten thousand of them wait at once. Whoever changes it calls `wake`. It listens before
 * the hold is looked at, so that no change in between is missed.
 */
export type Ear = {
  /** The newest revision of the hold that somebody told of. */
  told: number
  /** The caller hung up. */
  gone: boolean
  /** It has waited for as long as it may. */
  over: boolean
  wake(): void
}

export const newEar = (): Ear => ({ told: 0, gone: false, over: false, wake() {} })

/** Lets an ear hear of a hold, until the returned function is called. */
export const listen = (watch: Watch, id: string, ear: Ear): (() => void) =>
  watch.on(id, rev => {
    ear.told = Math.max(ear.told, rev)
    ear.wake()
  })

/** How a wait ends well: the answer went to the caller, is kept and can be replayed, or (async) the hold simply goes on. */
export type Ended =
  | { readonly word: 'answered' }
  | { readonly word: 'kept'; readonly answer: KeptAnswer }
  | { readonly word: 'waiting'; readonly hold: Hold }

/** What a wait remembers from one look to the next. */
type Past = { first: boolean; wasLive: boolean; tried: number }

/**
 * Waits with a hold until it ends, can be released, or the waiting is over. Its ear listens already.
 * @throws the error of the hold's end, hold_pending or shutting_down
 */
export const attend = async (parts: Parts, id: string, wait: Wait): Promise<Ended> => {
  const { ear } = wait
  const timer = setTimeout(() => {
    ear.over = true
    ear.wake()
  }, wait.waitMs)
  const past: Past = { first: true, wasLive: false, tried: -1 }
  try {
    let seen = await look(parts, id, wait, past)
    while (typeof seen === 'number') {
      while (ear.told <= seen && !isOver(wait))
        await new Promise<void>(resolve => {
          ear.wake = resolve
        })
      seen = await look(parts, id, wait, past)
    }
    return seen
  } finally {
    clearTimeout(timer)
  }
}

// Where a grant may let it go, what the store knows of earlier ones counts, so it is read.
const taken = (parts: Parts, wait: Wait): Hold | undefined => {
  const { opened } = wait
  wait.opened = undefined
  return opened === undefined || opened.facts.async || grantable(opened, parts.settings()) ? undefined : opened
}

const read = (parts: Parts, id: string, { ear }: Wait): Promise<Hold | undefined> => {
  ear.told = 0
  return readHold(parts.store, parts.keys, id)
}

const isOver = ({ ear, drain }: Wait): boolean => ear.gone || ear.over || drain.aborted

/** Looks at the hold until it ends, or goes on as it is: then at this revision. Whatever was read of it is gone while the call waits. */
const look = async (parts: Parts, id: string, wait: Wait, past: Past): Promise<Ended | number> => {
  for (;;) {
    const hold = taken(parts, wait) ?? (await read(parts, id, wait))
    if (hold === undefined)
      throw new HoldpointError('unknown_hold', 'The hold is gone. The same call asks for a new approval.')
    past.wasLive ||= live.has(hold.state)
    const ended = await step(parts, hold, wait, past.wasLive || wait.keyed, past.first)
    // Somebody else moved it: look again at once, but never twice at the same revision.
    if (ended === 'again' && hold.rev !== past.tried) {
      past.tried = hold.rev
      continue
    }
    past.first = false
    if (ended !== 'wait' && ended !== 'again') return ended
    if (isOver(wait)) return stillWaiting(hold, wait)
    wait.waits?.(`${whatFor(hold, wait)}${hold.state === 'pending' ? '; waiting for approval' : ''}`)
    return hold.rev
  }
}

const step = async (
  parts: Parts,
  hold: Hold,
  wait: Wait,
  mine: boolean,
  first: boolean,
): Promise<Ended | 'wait' | 'again'> => {
  const { head, state, facts } = hold
  const again = wait.keyed ? ' To ask again, use a new Idempotency-Key.' : ''
  const end = (code: ErrorCode, detail: string): never => {
    throw new HoldpointError(code, `${detail}${again}`, {
      hold: head.id,
      statusUrl: statusUrl(wait.settings, head.id),
      rule: ruleNames(head.rules),
    })
  }
  switch (state) {
    case 'released':
      return facts.tunnel === undefined
        ? 'wait'
        : end(
            'already_delivered',
            'The tunnel of this approval is open already. End it first, or ask for another one with an Idempotency-Key of its own.',
          )
    case 'pending': {
      // A grant is asked for when a call comes, not while it waits: then it is its reviewers' to decide.
      if (!first || facts.async || wait.prefer.async || wait.ear.gone) return 'wait'
      const released = await release(parts, hold, wait.taker)
      return released.word === 'answered' ? released : released.word === 'held' ? 'wait' : 'again'
    }
    case 'approved': {
      if (facts.async || wait.prefer.async || wait.ear.gone) return 'wait'
      // The call has waited: its token may have been taken back meanwhile. The approval stands for one that is still good.
      const caller = await wait.again(parts.settings())
      if (caller === undefined)
        return end('unauthenticated', 'The token is no longer good. Send the same call with a fresh one.')
      const released = await release(parts, hold, { ...wait.taker, by: { ...wait.taker.by, caller } })
      return released.word === 'answered' ? released : 'again'
    }
    case 'delivered': {
      if (!facts.async)
        return end(
          'already_delivered',
          `This call was delivered${facts.delivery?.answered ? ' and another caller has its answer' : ', but its answer reached no caller'}. It is not sent again.`,
        )
      // A repeat that comes after the delivery is another call: it is told where the answer is, and takes nothing.
      if (!mine)
        return end(
          'already_delivered',
          `This call was delivered at ${new Date(facts.delivery?.at ?? hold.now).toISOString()}. Its answer is at ${statusUrl(wait.settings, head.id)}/response.`,
        )
      const answer = await openAnswer(parts.store, parts.keys, head.id)
      return answer === undefined
        ? end(
            'answer_not_kept',
            `The call was delivered; its answer is not kept (${facts.keptWhyNot ?? 'kept for one hour only'}).`,
          )
        : { word: 'kept', answer }
    }
    case 'denied':
      return end(
        'hold_denied',
        facts.comment === undefined ? 'A reviewer denied this call.' : `A reviewer denied this call: ${facts.comment}`,
      )
    case 'expired':
      return end('hold_expired', 'Nobody decided in time.')
    case 'cancelled':
      return end('hold_cancelled', 'The call was withdrawn.')
    case 'lapsed':
      return end('hold_expired', 'The call was approved but not sent before the approval ran out.')
    case 'revoked':
      return end(
        'hold_revoked',
        `The approval was taken back${facts.comment === undefined ? '.' : `: ${facts.comment}`}`,
      )
    case 'void':
      return end(
        'approval_void',
        `${facts.why ?? 'The approval no longer holds.'} Nothing was sent.${wait.keyed ? '' : ' The same call asks for a new approval.'}`,
      )
    case 'unknown':
      return end(
        'delivery_unknown',
        'The call was sent once and no answer came back. It may have been carried out. Ask a reviewer to look before you repeat it.',
      )
    case 'failed':
      return end(
        'upstream_unreachable',
        'The upstream could not be reached while the approval lasted. Nothing was sent.',
      )
  }
}

const stillWaiting = (hold: Hold, wait: Wait): Ended => {
  const { head } = hold
  const where = {
    hold: head.id,
    statusUrl: statusUrl(wait.settings, head.id),
    rule: ruleNames(head.rules),
    retryAfterS: 1,
  }
  if (wait.drain.aborted)
    throw new HoldpointError(
      'shutting_down',
      `Held as ${head.id}. Run the same call again: another replica goes on with it. Nothing was sent.`,
      where,
    )
  if (wait.prefer.async) return { word: 'waiting', hold }
  throw new HoldpointError(
    'hold_pending',
    `${whatFor(hold, wait)}. Run the same call again, or GET ${where.statusUrl}.${hold.state === 'pending' ? ' Nothing was sent.' : ''}`,
    where,
  )
}

const whatFor = ({ head, state }: Hold, { settings }: Wait): string => {
  const rules = settings.rules.filter(rule => head.rules.some(ref => ref.name === rule.name))
  const next =
    state === 'pending' ? `for ${approversOf(rules).join(', ') || 'its approvers'}` : 'and approved; it is being sent'
  return `Held as ${head.id} ${next}`
}
