// What a store must do, seen from the ways. Two kinds obey it, held together by test/contracts/store.ts.
//
// A store is dumb on purpose: every judgement is made outside, on a hold read before; the store makes sure that nothing changed since.
//   - each move is one atomic step: revision, state, deadlines (by the store's clock) and fence are checked, the hold changes,
//     its audit entry is appended and its event published, or nothing happens at all;
//   - `open` is one atomic step: re-attach, idempotency, pauses and caps are checked and the hold is written with its entry;
//   - everything it keeps is opaque text: signed or sealed by whoever writes it (seal.ts).
// Every method throws HoldpointError('store_unavailable') when the store cannot answer; then it is not known whether it acted.
import type { HoldFacts } from '../nouns.ts'
import type { MoveName, State } from '../states.ts'

export type Store = {
  readonly kind: 'sqlite' | 'redis'
  readonly holds: Holds
  readonly log: Log
  readonly shelf: Shelf
  readonly outbox: Outbox
  /** The store's clock, milliseconds since the epoch. */
  now(): Promise<number>
  /**
   * Follows what happens to holds, from `after` (an event id; undefined: from now on). Never misses an event through a dropped
   * connection; ends when `signal` aborts, throws when the store is closed. If the log of events no longer reaches back to `after`,
   * the first event is `{ kind: 'gap' }`: whoever follows reads again what it watches.
   */
  events(after: string | undefined, signal: AbortSignal): AsyncIterable<StoreEvent>
  health(): Promise<StoreHealth>
  close(): Promise<void>
}

/** How far a confirmed move survives: on disk by itself, on disk because each is confirmed, or only in the server's present run. */
export type Durability = 'disk' | 'confirmed' | 'epoch'

export type StoreHealth = { readonly ok: boolean; readonly durability: Durability; readonly notes: readonly string[] }

export type StoreEvent =
  | {
      readonly kind: 'hold'
      readonly id: string
      readonly hold: string
      readonly state: State
      readonly rev: number
      readonly async: boolean
    }
  | { readonly kind: 'gap'; readonly id: string }

/** A hold as the store keeps it: `head` and `verdicts` are signed texts, the rest decides nothing by itself. */
export type StoredHold = {
  readonly id: string
  readonly head: string
  readonly state: State
  readonly rev: number
  readonly dueAt: number | undefined
  readonly verdicts: readonly string[]
  readonly fence: number
  readonly facts: HoldFacts
  readonly now: number
}

export type Opening = {
  readonly id: string
  /** Caps are counted per caller: a keyed hash of who it is. */
  readonly caller: string
  /** Keyed fingerprints of the digest, newest key first: any of them finds an earlier hold, the first one is written. */
  readonly fingerprints: readonly string[]
  /** Keyed hashes of caller and Idempotency-Key, newest key first; kept for `keepMs`. */
  readonly idempotency?: { readonly keys: readonly string[]; readonly keepMs: number }
  /** Keyed hashes of caller and rule, to look for a pause after denials. */
  readonly pauses: readonly string[]
  readonly caps: { readonly perCaller: number; readonly holds: number; readonly bytes: number }
  readonly head: string
  readonly facts: HoldFacts
  readonly sealed: { readonly request: string; readonly view: string }
  /** Body bytes, for the cap on held bytes. */
  readonly bytes: number
  readonly dueAt: number
  /** Audit entry, JSON text. */
  readonly entry: string
}

export type Opened =
  | { readonly word: 'opened'; readonly id: string; readonly rev: number }
  /** A live hold of the same digest, one that closed so lately that it still answers, or the one of the same Idempotency-Key. */
  | { readonly word: 'attached'; readonly id: string }
  /** The Idempotency-Key belongs to another digest. */
  | { readonly word: 'conflict'; readonly id: string }
  | { readonly word: 'paused'; readonly untilAt: number }
  | { readonly word: 'full'; readonly scope: 'caller' | 'holds' | 'bytes' }

/** Moves that publish no event and need no entry; every other one carries its entry. */
export const quiet: ReadonlySet<MoveName> = new Set<MoveName>(['touch', 'renew'])

export type Move = {
  readonly hold: string
  readonly move: MoveName
  /** The revision this was judged on. */
  readonly rev: number
  /** Refused ('late') unless the store's clock is before this. */
  readonly beforeAt?: number
  /** Refused ('early') unless the store's clock has reached this. */
  readonly afterAt?: number
  /** Refused ('fenced') unless the hold's fence is this. `release` and `grant` add one to the fence. */
  readonly fence?: number
  /** The new deadline; null: none any more; absent: unchanged. */
  readonly dueAt?: number | null
  /** Facts to set; a null removes one. `token` goes by itself once the hold closes, like its sealed request. */
  readonly facts?: { readonly [K in keyof HoldFacts]?: HoldFacts[K] | null }
  /** A signed verdict to add. */
  readonly verdict?: string
  /** Until when an identical call still finds this hold; null: at once no longer; absent: as before (live holds are always found). */
  readonly findableUntilAt?: number | null
  /** Remember for 24 h, for the reviewers of an identical call, that this one's fate is not known to its caller; false: forget it. */
  readonly remember?: boolean
  /** Counts a denial: at `limit` within `windowMs` the key pauses for `pauseMs`, doubling each time (to a day at most) until a day passes without one. */
  readonly denial?: {
    readonly keys: readonly string[]
    readonly windowMs: number
    readonly limit: number
    readonly pauseMs: number
  }
  /** A sealed answer to keep, and until when. */
  readonly answer?: { readonly sealed: string; readonly untilAt: number }
  /** A text on the shelf that changes in the same step; refused ('stale') unless it is what it was. */
  readonly swap?: Swap
  /** Audit entry, JSON text; `touch` and `renew` need none. */
  readonly entry?: string
  /** Do not answer before the move is on disk, as far as this store can promise it. */
  readonly durable?: boolean
}

/** `was`: undefined for nothing. `from`: a hold without which it means nothing, which must be there and not from a run that kept nothing. */
export type Swap = {
  readonly key: string
  readonly was: string | undefined
  readonly becomes: string
  readonly untilAt: number
  readonly from: string
}

export type Moved =
  | {
      readonly word: 'moved'
      readonly rev: number
      readonly state: State
      readonly fence: number
      readonly now: number
    }
  /** The hold has another revision now: read it again. */
  | { readonly word: 'changed' }
  /** The table has no such move from this state. */
  | { readonly word: 'refused'; readonly state: State }
  | { readonly word: 'late' }
  | { readonly word: 'early' }
  | { readonly word: 'fenced' }
  /** What was to be swapped on the shelf is something else, or of no worth any more. */
  | { readonly word: 'stale' }
  /** The hold belongs to an earlier run of a server that keeps nothing on disk: nothing but `void`, or `lose` once released, may be done with it. */
  | { readonly word: 'epoch' }
  | { readonly word: 'missing' }

export type HoldQuery = {
  readonly states: readonly State[]
  /** `due`: nearest deadline first (live states only); `newest`: those that came into their state last first. */
  readonly order: 'due' | 'newest'
  readonly limit: number
  /** A cursor from an earlier answer. */
  readonly after?: string
  /** By `newest` only, without `after`: those that came into their state before this. */
  readonly beforeAt?: number
}

export type Holds = {
  open(opening: Opening): Promise<Opened>
  read(id: string): Promise<StoredHold | undefined>
  move(move: Move): Promise<Moved>
  list(query: HoldQuery): Promise<{ readonly holds: readonly StoredHold[]; readonly next?: string }>
  /** Ids of live holds whose deadline the store's clock has reached, longest overdue first. */
  due(limit: number): Promise<readonly string[]>
  /** A sealed part; `request` is gone once the hold closes, `answer` when its time is over. */
  sealed(id: string, part: 'request' | 'view' | 'answer'): Promise<string | undefined>
}

/** The audit log in the store: the store fixes order and time. */
export type Log = {
  /** Appends entries (JSON texts of one line each) in order, in one step. */
  append(entries: readonly string[]): Promise<void>
  /** Entries with a sequence number greater than `after`, oldest first. */
  read(after: number, limit: number): Promise<readonly LogEntry[]>
  /** The newest entries, newest first, with a sequence number less than `before` (undefined: from the end). */
  newest(before: number | undefined, limit: number): Promise<readonly LogEntry[]>
}

export type LogEntry = { readonly seq: number; readonly at: number; readonly json: string }

/** Small signed or sealed texts with an end: sessions, sign-ins under way, freezes, leases, shared keys. */
export type Shelf = {
  get(key: string): Promise<string | undefined>
  /** Writes if `when` holds (absent: always); answers whether it did. Without `ttlMs` it stays. */
  put(
    key: string,
    value: string,
    options?: { readonly ttlMs?: number; readonly when?: 'absent' | { readonly is: string } },
  ): Promise<boolean>
  /** Reads and removes in one step. */
  take(key: string): Promise<string | undefined>
  list(prefix: string): Promise<readonly (readonly [key: string, value: string])[]>
}

/** Work with a time, one item per key. Whoever claims an item has it alone until the lease ends; a wake meanwhile is not lost. */
export type Outbox = {
  /** Writes an item that is due at once, unless there is one; answers whether it did. */
  add(key: string, value: string): Promise<boolean>
  get(key: string): Promise<string | undefined>
  /** Items that are due, longest overdue first, each leased for `leaseMs`. */
  claim(limit: number, leaseMs: number): Promise<readonly Claimed[]>
  /** Writes an item that was claimed; false, and nothing is written, if the lease is no longer this one. */
  write(item: Pick<Claimed, 'key' | 'token'>, value: string, next: NextTurn): Promise<boolean>
  /** Makes an item due at once, without a key every item; one that is leased, as soon as it is given back. */
  wake(key?: string): Promise<void>
}

/** `token` proves the lease. */
export type Claimed = { readonly key: string; readonly value: string; readonly token: number }

/** Keep the lease, be due again, wait to be woken, or be gone. Whatever it is, an item that was woken meanwhile is due at once. */
export type NextTurn = { readonly leaseMs: number } | { readonly dueAt: number } | 'parked' | 'done'
