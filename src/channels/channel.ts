// What a place that tells reviewers has to do. A channel carries words and judges nothing: what it is handed is masked already, what it
// cannot deliver is tried again by notify.ts, and no hold waits for it.
import type { Action, Header, Verdict } from '../nouns.ts'
import type { State } from '../states.ts'
import type { ViewBody } from '../views.ts'

/** Why there is something to tell. `reminded`: half of its time is over; `escalated`: its rule asks more people now. */
export type Occasion = 'opened' | 'voted' | 'reminded' | 'escalated' | Exclude<State, 'pending' | 'released'>

/** What a hold is, as one channel may tell it, at this moment. Instants are milliseconds since the epoch. */
export type Notice = {
  /** Of this hold, occasion and channel, the same each time it is tried. */
  readonly id: string
  readonly occasion: Occasion
  readonly at: number
  readonly hold: string
  readonly state: State
  /** The hold's page on the console: a GET there decides nothing. */
  readonly url: string
  readonly rules: readonly string[]
  readonly upstream: string
  readonly approvers: readonly string[]
  readonly openedAt: number
  readonly expiresAt: number
  readonly votes: { readonly have: number; readonly needed: number }
  readonly verdicts: readonly { readonly reviewer: string; readonly verdict: Verdict['verdict']; readonly at: number }[]
  /** Who ended it, where a person did. */
  readonly by?: string
  /** The upstream's status, once it answered. */
  readonly status?: number
  /** What the call is; absent where the channel is `content: minimal`: then it may be opened, never decided, in the chat. */
  readonly shown?: Shown
}

/** A call as reviewers see it, masked and printable, without fingerprints: the people behind the call may be listening. */
export type Shown = {
  /** Goes back with a verdict: what the reviewer saw is what the verdict is for. */
  readonly view: string
  readonly line: string
  readonly action: Action
  readonly caller: string
  /** On whose behalf; empty if nobody is known. */
  readonly people: readonly string[]
  /** The caller's own words, and nothing more than that. */
  readonly reason?: string
  readonly request: {
    readonly method: string
    readonly target: string
    readonly headers: readonly Header[]
    readonly body: ViewBody
  }
  readonly hidden: { readonly bytes: number; readonly of: number }
  readonly digest: string
  readonly comment?: string
  readonly commentRequired: boolean
  /** Why it cannot be decided in a chat but only on the console; absent if it can. */
  readonly openOnly?: string
  /** An identical call whose fate is not known, or that was delivered. */
  readonly earlier?: { readonly state: State; readonly at: number }
}

export type Channel = {
  readonly name: string
  /** True: every occasion is told, in order. False: only the newest, which takes the place of what was told before. */
  readonly each: boolean
  /**
   * Tells it, within ten seconds. `earlier` is what this answered last for the same hold, at whichever replica.
   * Answers a reference by which what was told is changed later (opaque text, at most 2 KiB), or undefined if that cannot be done.
   * @throws Unreached
   */
  tell(notice: Notice, earlier: string | undefined): Promise<string | undefined>
  /**
   * Asked before telling again when nobody knows whether an earlier try arrived (a crash, a timeout). `arrived: true`: it did, or may
   * have, and is not told again. `arrived: false`: it did not, or whoever is told recognises a repetition; a `reference` that was
   * found is what `tell` gets as `earlier`.
   * @throws Unreached
   */
  arrived(
    notice: Notice,
    earlier: string | undefined,
  ): Promise<{ readonly arrived: boolean; readonly reference?: string | undefined }>
}

/** It could not be told. `why` is shown to operators and kept in the audit log: no address, no secret, no value of a call. */
export class Unreached extends Error {
  /** `doubt`: it may have arrived all the same. */
  readonly doubt: boolean
  /** Do not try again before this. */
  readonly retryAfterMs: number | undefined
  constructor(
    why: string,
    more: { readonly doubt?: boolean; readonly retryAfterMs?: number | undefined; readonly cause?: unknown } = {},
  ) {
    super(why, { cause: more.cause })
    this.name = 'Unreached'
    this.doubt = more.doubt ?? false
    this.retryAfterMs = more.retryAfterMs
  }
}
