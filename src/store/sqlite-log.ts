// The audit log in SQLite: a row is a pack of entries, one a line, that came together. Its `seq` is the number of its last entry; before it
// stand as many as it has lines. Files of the first version have packs of one. Numbers have no gap and are never used twice.
import type { Database } from './database.ts'
import type { Log, LogEntry } from './store.ts'

// A page that ends inside a pack has read all of it.
const packEntries = 100
const packLength = 64 * 1024

/** `before`: the number of the last entry of the pack before it, if there is one. */
type Pack = { readonly seq: number; readonly at: number; readonly json: string; readonly before: number | null }

// A number is not given again when its row is gone (AUTOINCREMENT): what was given last stands in sqlite_sequence.
const write = `INSERT INTO log (seq, at, json) VALUES (
  max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'log'), 0), coalesce((SELECT max(seq) FROM log), 0)) + ?, ?, ?)`

const packs = 'SELECT seq, at, json, (SELECT max(seq) FROM log AS older WHERE older.seq < log.seq) AS before FROM log'
const upwards = `${packs} WHERE seq > ? ORDER BY seq`
// The pack that `before` lies in begins before it.
const downwards = `${packs} WHERE seq <= coalesce((SELECT min(seq) FROM log WHERE seq >= ?), ?) ORDER BY seq DESC`

export type SqliteLog = {
  readonly log: Log
  /** Inside a step: appends these entries in order. @throws TypeError where one is no text on one line */
  add(at: number, entries: readonly string[]): void
}

export const sqliteLog = (db: Database, clock: () => number): SqliteLog => {
  const add: SqliteLog['add'] = (at, entries) => {
    for (const entry of entries) if (entry.includes('\n')) throw new TypeError('log: an entry has to be one line')
    for (let from = 0; from < entries.length; ) {
      const to = endOfPack(entries, from)
      db.write(write, to - from, at, entries.slice(from, to).join('\n'))
      from = to
    }
  }

  return {
    add,
    log: {
      append: entries => db.step(() => add(clock(), entries)),
      read: (after, limit) => db.look(() => page(db.each<Pack>(upwards, after), unpacked, limit, seq => seq > after)),
      newest: (before = Number.MAX_SAFE_INTEGER, limit) =>
        db.look(() => {
          const backwards = (pack: Pack): LogEntry[] => unpacked(pack).reverse()
          return page(db.each<Pack>(downwards, before, before), backwards, limit, seq => seq < before)
        }),
    },
  }
}

/** The first entries whose numbers fit; no more packs are read than that takes. */
const page = (
  packs: Iterable<Pack>,
  entriesOf: (pack: Pack) => LogEntry[],
  limit: number,
  fits: (seq: number) => boolean,
): LogEntry[] => {
  const found: LogEntry[] = []
  for (const pack of packs) {
    for (const entry of entriesOf(pack)) if (found.length < limit && fits(entry.seq)) found.push(entry)
    if (found.length >= limit) break
  }
  return found
}

const endOfPack = (entries: readonly string[], from: number): number => {
  let length = 0
  let to = from
  while (to < entries.length && to - from < packEntries) {
    length += entries[to]?.length ?? 0
    if (to > from && length > packLength) break
    to++
  }
  return to
}

// A text that was changed under our hands may have any number of lines: it takes no number of the pack before it.
const unpacked = ({ seq, at, json, before }: Pack): LogEntry[] => {
  const lines = json.split('\n').slice((before ?? 0) - seq)
  const first = seq - lines.length + 1
  return lines.map((line, index) => ({ seq: first + index, at, json: line }))
}
