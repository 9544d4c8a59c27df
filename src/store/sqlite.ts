// The embedded store: one SQLite file, one process. Every method that writes is one step (database.ts); instants come from the clock that was
// handed in. The states and moves are those of states.ts.
import type { HoldFacts } from '../nouns.ts'
import { live, next, type State } from '../states.ts'
import { openDatabase } from './database.ts'
import { follow, newBell, type Reach } from './follow.ts'
import { never, type Place, pageStart, placeText } from './place.ts'
import { sqliteLog } from './sqlite-log.ts'
import { sqliteOutbox } from './sqlite-outbox.ts'
import { type Move, type Moved, type Opened, type Opening, quiet, type Store, type StoredHold } from './store.ts'

const eventsKept = 10_000
const dayMs = 86_400_000

/** What ends by itself, and is swept away whenever something is opened or put. */
const ending = ['sealed', 'idempotency', 'remembered', 'denials', 'shelf']

type HoldRow = {
  readonly id: string
  readonly caller: string
  readonly fingerprint: string
  readonly bytes: number
  readonly head: string
  readonly state: State
  readonly rev: number
  readonly fence: number
  readonly due_at: number
  readonly state_at: number
  readonly findable_until_at: number
  readonly verdicts: string
  readonly facts: string
}

/**
 * @param options.path the file, made with its folder if it is not there; `:memory:` keeps nothing.
 * Throws `store_unavailable` if another process has the file, and if it cannot be read or was written by a newer Holdpoint.
 */
export const sqliteStore = async (options: {
  readonly path: string
  readonly clock?: () => number
}): Promise<Store> => {
  const clock = options.clock ?? Date.now
  const bell = newBell()
  const closing = new AbortController()
  // Most transactions are entries of the log: nobody waits for those.
  let published = false
  const db = openDatabase(options.path, () => {
    if (published) bell.ring()
    published = false
  })

  const { row, rows, write, step, look } = db

  const { log, add } = sqliteLog(db, clock)

  const publish = (hold: string, state: State, rev: number, facts: HoldFacts): void => {
    write('INSERT INTO events (hold, state, rev, async) VALUES (?, ?, ?, ?)', hold, state, rev, facts.async ? 1 : 0)
    write('DELETE FROM events WHERE id <= last_insert_rowid() - ?', eventsKept)
    published = true
  }

  let sweptAt = Number.NaN
  const sweepEnded = (now: number): void => {
    // Within one instant nothing more ends.
    if (now === sweptAt) return
    sweptAt = now
    for (const table of ending) write(`DELETE FROM ${table} WHERE until_at <= ?`, now)
  }

  const holdRow = (id: string): HoldRow | undefined => row<HoldRow>('SELECT * FROM holds WHERE id = ?', id)

  // ---- opening

  const open = (opening: Opening): Opened => {
    const now = clock()
    sweepEnded(now)
    for (const key of opening.idempotency?.keys ?? []) {
      const known = row<{ hold: string; fingerprint: string }>(
        'SELECT hold, fingerprint FROM idempotency WHERE key = ?',
        key,
      )
      if (known !== undefined)
        return { word: opening.fingerprints.includes(known.fingerprint) ? 'attached' : 'conflict', id: known.hold }
    }
    for (const fingerprint of opening.fingerprints) {
      const same = row<{ id: string }>(
        'SELECT id FROM holds WHERE fingerprint = ? AND (live = 1 OR findable_until_at > ?) ORDER BY live DESC, state_at DESC LIMIT 1',
        fingerprint,
        now,
      )
      if (same !== undefined) return { word: 'attached', id: same.id }
    }
    const paused = opening.pauses.map(
      key => row<{ at: number }>('SELECT paused_until_at AS at FROM denials WHERE key = ?', key)?.at ?? 0,
    )
    const untilAt = Math.max(0, ...paused)
    if (untilAt > now) return { word: 'paused', untilAt }

    const { perCaller, holds, bytes } = opening.caps
    const mine = row<{ holds: number }>('SELECT holds FROM callers WHERE caller = ?', opening.caller)?.holds ?? 0
    const totals = row<{ holds: number; bytes: number }>('SELECT holds, bytes FROM totals') ?? { holds: 0, bytes: 0 }
    if (mine >= perCaller) return { word: 'full', scope: 'caller' }
    if (totals.holds >= holds) return { word: 'full', scope: 'holds' }
    if (totals.bytes + opening.bytes > bytes) return { word: 'full', scope: 'bytes' }

    const earlier = opening.fingerprints
      .map(fingerprint =>
        row<NonNullable<HoldFacts['earlier']>>(
          'SELECT holds.id, state, state_at AS at FROM remembered JOIN holds ON holds.id = remembered.hold WHERE remembered.fingerprint = ?',
          fingerprint,
        ),
      )
      .find(found => found !== undefined)
    const facts: HoldFacts = { ...opening.facts, ...(earlier === undefined ? {} : { earlier: { ...earlier } }) }
    const [fingerprint = ''] = opening.fingerprints
    write(
      `INSERT INTO holds (id, caller, fingerprint, bytes, head, state, live, rev, fence, due_at, state_at, findable_until_at, verdicts, facts)
       VALUES (?, ?, ?, ?, ?, 'pending', 1, 1, 0, ?, ?, 0, '[]', ?)`,
      ...[
        opening.id,
        opening.caller,
        fingerprint,
        opening.bytes,
        opening.head,
        opening.dueAt,
        now,
        JSON.stringify(facts),
      ],
    )
    write('UPDATE totals SET holds = holds + 1, bytes = bytes + ?', opening.bytes)
    write('INSERT INTO callers VALUES (?, 1) ON CONFLICT DO UPDATE SET holds = holds + 1', opening.caller)
    for (const part of ['request', 'view'] as const)
      write('INSERT INTO sealed (hold, part, value) VALUES (?, ?, ?)', opening.id, part, opening.sealed[part])
    const [key] = opening.idempotency?.keys ?? []
    if (key !== undefined && opening.idempotency !== undefined)
      write(
        'INSERT INTO idempotency VALUES (?, ?, ?, ?)',
        key,
        opening.id,
        fingerprint,
        now + opening.idempotency.keepMs,
      )
    add(now, [opening.entry])
    publish(opening.id, 'pending', 1, facts)
    return { word: 'opened', id: opening.id, rev: 1 }
  }

  // ---- moving

  const move = (asked: Move): Moved => {
    if (asked.entry === undefined && !quiet.has(asked.move))
      throw new TypeError(`the move ${asked.move} needs an entry for the log`)
    const hold = holdRow(asked.hold)
    if (hold === undefined) return { word: 'missing' }
    const to = next(asked.move, hold.state)
    if (to === undefined) return { word: 'refused', state: hold.state }
    if (hold.rev !== asked.rev) return { word: 'changed' }
    if (asked.fence !== undefined && asked.fence !== hold.fence) return { word: 'fenced' }
    const now = clock()
    if (asked.beforeAt !== undefined && now >= asked.beforeAt) return { word: 'late' }
    if (asked.afterAt !== undefined && now < asked.afterAt) return { word: 'early' }
    const { swap } = asked
    if (swap !== undefined && (shelved(swap.key) !== swap.was || holdRow(swap.from) === undefined))
      return { word: 'stale' }

    const rev = hold.rev + 1
    const fence = hold.fence + (asked.move === 'release' || asked.move === 'grant' ? 1 : 0)
    const lives = live.has(to)
    const dueAt = !lives || asked.dueAt === null ? never : (asked.dueAt ?? hold.due_at)
    const stateAt = to === hold.state ? hold.state_at : now
    const findable = asked.findableUntilAt === undefined ? hold.findable_until_at : (asked.findableUntilAt ?? 0)
    const facts = withFacts(readable<HoldFacts>(hold.facts, {}), lives ? asked.facts : { ...asked.facts, token: null })
    const verdicts =
      asked.verdict === undefined
        ? hold.verdicts
        : JSON.stringify([...(JSON.parse(hold.verdicts) as string[]), asked.verdict])
    write(
      `UPDATE holds SET state = ?, live = ?, rev = ?, fence = ?, due_at = ?, state_at = ?, findable_until_at = ?, verdicts = ?, facts = ? WHERE id = ?`,
      ...[to, lives ? 1 : 0, rev, fence, dueAt, stateAt, findable, verdicts, JSON.stringify(facts), hold.id],
    )
    if (live.has(hold.state) && !lives) {
      write('UPDATE totals SET holds = holds - 1, bytes = bytes - ?', hold.bytes)
      write('UPDATE callers SET holds = holds - 1 WHERE caller = ?', hold.caller)
      write('DELETE FROM callers WHERE caller = ? AND holds <= 0', hold.caller)
      write("DELETE FROM sealed WHERE hold = ? AND part = 'request'", hold.id)
    }
    if (asked.answer !== undefined)
      write(
        "INSERT OR REPLACE INTO sealed VALUES (?, 'answer', ?, ?)",
        hold.id,
        asked.answer.sealed,
        asked.answer.untilAt,
      )
    if (asked.remember === true)
      write('INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)', hold.fingerprint, hold.id, now + dayMs)
    if (asked.remember === false)
      write('DELETE FROM remembered WHERE fingerprint = ? AND hold = ?', hold.fingerprint, hold.id)
    if (asked.denial !== undefined) for (const key of asked.denial.keys) deny(now, key, asked.denial)
    if (swap !== undefined) write('INSERT OR REPLACE INTO shelf VALUES (?, ?, ?)', swap.key, swap.becomes, swap.untilAt)
    if (asked.entry !== undefined) add(now, [asked.entry])
    if (!quiet.has(asked.move)) publish(hold.id, to, rev, facts)
    return { word: 'moved', rev, state: to, fence, now }
  }

  const deny = (now: number, key: string, { windowMs, limit, pauseMs }: NonNullable<Move['denial']>): void => {
    const known = row<{ times: string; paused_until_at: number; pauses: number }>(
      'SELECT * FROM denials WHERE key = ?',
      key,
    )
    const times = [...(JSON.parse(known?.times ?? '[]') as number[]).filter(at => at > now - windowMs), now]
    const pausedUntilAt = known?.paused_until_at ?? 0
    const pauses = known === undefined || now >= pausedUntilAt + dayMs ? 0 : known.pauses
    const put = (seen: readonly number[], until: number, count: number): void =>
      void write(
        'INSERT OR REPLACE INTO denials VALUES (?, ?, ?, ?, ?)',
        ...[key, JSON.stringify(seen), until, count, Math.max(now + windowMs, until + dayMs)],
      )
    if (times.length < limit) put(times, pausedUntilAt, pauses)
    else put([], now + Math.max(pauseMs, Math.min(pauseMs * 2 ** pauses, dayMs)), pauses + 1)
  }

  // ---- reading

  const stored = (hold: HoldRow): StoredHold => ({
    id: hold.id,
    head: hold.head,
    state: hold.state,
    rev: hold.rev,
    dueAt: hold.due_at === never ? undefined : hold.due_at,
    verdicts: readable<string[]>(hold.verdicts, []),
    fence: hold.fence,
    facts: readable<HoldFacts>(hold.facts, {}),
    now: clock(),
  })

  // One short scan of an index per state, merged here: SQLite would sort every hold of several states to find the first few.
  const nearest = (states: readonly State[], from: Place, limit: number): Place[] =>
    states
      .flatMap(state =>
        rows<Place>(
          'SELECT due_at AS at, id FROM holds WHERE live = 1 AND state = ? AND (due_at, id) > (?, ?) ORDER BY due_at, id LIMIT ?',
          ...[state, from.at, from.id, limit],
        ),
      )
      .sort(inOrder)
      .slice(0, limit)

  const newest = (states: readonly State[], from: Place, limit: number): Place[] =>
    states
      .flatMap(state =>
        rows<Place>(
          'SELECT state_at AS at, id FROM holds WHERE state = ? AND (state_at, id) < (?, ?) ORDER BY state_at DESC, id DESC LIMIT ?',
          ...[state, from.at, from.id, limit],
        ),
      )
      .sort((a, b) => inOrder(b, a))
      .slice(0, limit)

  type EventRow = {
    readonly id: number
    readonly hold: string
    readonly state: State
    readonly rev: number
    readonly async: number
  }
  const events = (after: string | undefined): Reach => {
    const last = row<{ id: number | null }>('SELECT max(id) AS id FROM events')?.id ?? 0
    if (after === undefined) return { word: 'from', at: String(last), events: [] }
    const from = /^\d{1,15}$/.test(after) ? Number(after) : -1
    const first = row<{ id: number | null }>('SELECT min(id) AS id FROM events')?.id ?? 1
    if (from > last || from < first - 1) return { word: 'gap', at: String(last) }
    const found = rows<EventRow>('SELECT * FROM events WHERE id > ? ORDER BY id LIMIT 500', from)
    return {
      word: 'from',
      at: String(found.at(-1)?.id ?? from),
      events: found.map(({ id, hold, state, rev, async }) => ({
        kind: 'hold',
        id: String(id),
        hold,
        state,
        rev,
        async: async === 1,
      })),
    }
  }

  const shelved = (key: string): string | undefined =>
    row<{ value: string }>('SELECT value FROM shelf WHERE key = ? AND (until_at IS NULL OR until_at > ?)', key, clock())
      ?.value

  return {
    kind: 'sqlite',
    now: () =>
      look(() => {
        row('SELECT version FROM schema')
        return clock()
      }),
    events: (after, signal) =>
      follow({ read: from => look(() => events(from)), bell, after, signal, closing: closing.signal }),
    async health() {
      const [durability, note] =
        options.path === ':memory:'
          ? (['epoch', 'SQLite in memory: nothing survives this process.'] as const)
          : (['disk', 'SQLite writes every step to disk before it answers (WAL).'] as const)
      const ok = await look(() => row('SELECT version FROM schema') !== undefined).catch(() => false)
      return { ok, durability, notes: ok ? [note] : [`The file ${options.path} cannot be read.`] }
    },
    async close() {
      if (closing.signal.aborted) return
      db.close()
      closing.abort()
    },
    holds: {
      open: opening => step(() => open(opening)),
      move: asked => step(() => move(asked)),
      read: id => look(() => map(holdRow(id), stored)),
      list: query =>
        look(() => {
          const ascending = query.order === 'due'
          const from = pageStart(query) ?? (ascending ? { at: 0, id: '' } : { at: never, id: '' })
          const found = (ascending ? nearest : newest)(query.states, from, query.limit + 1)
          const page = found.slice(0, query.limit)
          const last = page.at(-1)
          const holds = page.flatMap(({ id }) => map(holdRow(id), hold => [stored(hold)]) ?? [])
          return found.length > page.length && last !== undefined ? { holds, next: placeText(last) } : { holds }
        }),
      due: limit =>
        look(() => {
          const now = clock()
          return nearest([...live], { at: 0, id: '' }, limit)
            .filter(({ at }) => at <= now)
            .map(({ id }) => id)
        }),
      sealed: (id, part) =>
        look(
          () =>
            row<{ value: string }>(
              'SELECT value FROM sealed WHERE hold = ? AND part = ? AND (until_at IS NULL OR until_at > ?)',
              ...[id, part, clock()],
            )?.value,
        ),
    },
    log,
    shelf: {
      get: key => look(() => shelved(key)),
      put: (key, value, { ttlMs, when } = {}) =>
        step(() => {
          const now = clock()
          sweepEnded(now)
          const present = shelved(key)
          if (when === 'absent' && present !== undefined) return false
          if (typeof when === 'object' && present !== when.is) return false
          write('INSERT OR REPLACE INTO shelf VALUES (?, ?, ?)', key, value, ttlMs === undefined ? null : now + ttlMs)
          return true
        }),
      take: key =>
        step(() => {
          const present = shelved(key)
          write('DELETE FROM shelf WHERE key = ?', key)
          return present
        }),
      list: prefix =>
        look(() =>
          rows<{ key: string; value: string }>(
            'SELECT key, value FROM shelf WHERE key >= ? AND substr(key, 1, length(?)) = ? AND (until_at IS NULL OR until_at > ?) ORDER BY key',
            ...[prefix, prefix, prefix, clock()],
          ).map(({ key, value }) => [key, value] as const),
        ),
    },
    outbox: sqliteOutbox(db, clock),
  }
}

const withFacts = (facts: HoldFacts, changes: Move['facts'] = {}): HoldFacts => {
  const said = Object.entries(changes).filter(([, value]) => value !== undefined)
  return Object.fromEntries(
    Object.entries({ ...facts, ...Object.fromEntries(said) }).filter(([, value]) => value !== null),
  ) as HoldFacts
}

const inOrder = (a: Place, b: Place): number => a.at - b.at || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)

const map = <A, B>(value: A | undefined, to: (value: A) => B): B | undefined =>
  value === undefined ? undefined : to(value)

// A text that was changed under our hands reads as nothing; what matters is signed, so such a hold can do nothing.
const readable = <T>(json: string, nothing: T): T => {
  try {
    return JSON.parse(json) as T
  } catch {
    return nothing
  }
}
