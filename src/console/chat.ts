// What is the same for clicks in every chat (slack.ts, teams.ts): one counts once, an account is shown what its person and its channel may
// both see, what is refused is on record, and nothing is approved where it cannot be seen in full.
import { createHash } from 'node:crypto'
import type { Notice } from '../channels/channel.ts'
import { openOnly } from '../channels/offer.ts'
import { HoldpointError, toError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Reviewer } from '../nouns.ts'
import { whoReviews } from '../record.ts'
import type { Settings } from '../settings.ts'
import type { Shelf } from '../store/store.ts'
import type { HoldView } from '../views.ts'
import type { Desk } from './desk.ts'
import type { Account, Links } from './links.ts'
import type { Refusals } from './refusals.ts'

/** Clicks that are worked on at one time; what is over is not taken. */
export const busyMost = 100

/** Refusals after which a message still shows buttons that should be gone. */
export const stale: ReadonlySet<string> = new Set(['already_decided', 'view_changed', 'approval_void'])

export type Verdict = 'approve' | 'deny'

export type ChatParts = {
  readonly settings: () => Settings
  readonly shelf: Shelf
  readonly desk: Desk
  readonly links: Links
  /** Records what is refused to accounts that stand for nobody, within bounds. */
  readonly refused: Refusals
  /** Brings a message up to date that says something else than its hold. */
  readonly retell: (channel: string, hold: string, reference: string) => Promise<void>
  /** How a hold stands, as one channel may tell it. */
  readonly tells: (channel: string, hold: string) => Promise<Notice | undefined>
  readonly clock: () => number
  readonly log: Log
}

type Refused = { readonly hold: string; readonly code: 'not_approver' | 'unknown_hold'; readonly detail: string }

export type Chat = {
  /** Whether what is named by `once` came before; true from now on, for `forMs`. */
  seenBefore(once: string, forMs: number): Promise<boolean>
  /** Puts a refusal on record; without a reviewer the account is nobody's. */
  refuse(refused: Refused, reviewer?: Reviewer): Promise<void>
  /**
   * A hold as this person and this channel may see it. One that the channel is not told of is none here.
   * @param detail for the record, if there is none
   * @throws not_approver
   */
  known(
    channel: string,
    hold: string,
    reviewer: Reviewer,
    detail: string,
  ): Promise<{ readonly view: HoldView; readonly notice: Notice }>
}

export const chat = (kind: Account['kind'], { shelf, desk, refused, tells }: ChatParts): Chat => {
  const refuse: Chat['refuse'] = ({ hold, code, detail }, reviewer) => {
    const entry = { kind: 'verdict.refused', hold, code, detail }
    return reviewer === undefined ? refused(entry) : desk.note({ ...entry, reviewer: whoReviews(reviewer) })
  }

  const shown = async (reviewer: Reviewer, hold: string): Promise<HoldView | undefined> => {
    try {
      return await desk.show(reviewer, hold)
    } catch (error) {
      if (toError(error).code === 'unknown_hold') return undefined
      throw error
    }
  }

  return {
    async seenBefore(once, forMs) {
      const key = `${kind}-seen:${createHash('sha256').update(once).digest('base64url')}`
      return !(await shelf.put(key, 'seen', { ttlMs: forMs, when: 'absent' }))
    },
    refuse,
    async known(channel, hold, reviewer, detail) {
      const notice = await tells(channel, hold)
      const view = notice === undefined ? undefined : await shown(reviewer, hold)
      if (notice === undefined || view === undefined) {
        await refuse({ code: 'unknown_hold', hold, detail }, reviewer)
        throw new HoldpointError('not_approver', 'You are not one of those who may decide this call.')
      }
      return { view, notice }
    },
  }
}

/** Why this is a matter for the console, whichever chat it is asked in; undefined if it is none. */
export const consoleOnly = ({ hidden, request, step_up: stepUp }: HoldView): string | undefined =>
  openOnly({ unseen: hidden.unseen.length, body: request.body, stepUp: stepUp !== undefined })
