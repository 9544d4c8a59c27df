// The audit log as auditors read it: page by page from either end, searched for a text, between two instants. A search looks at so many
// entries and then answers with what it has and where to go on, so that no question costs more than another.
import type { AuditEntry, Desk } from './console/desk.ts'
import { HoldpointError } from './errors.ts'
import type { Entry } from './nouns.ts'
import type { Parts } from './parts.ts'
import { inGroups } from './people.ts'
import type { LogEntry } from './store/store.ts'

const pageMax = 1_000
const scanMax = 5_000

export const entries = ({ store: { log }, settings }: Parts): Desk['audit'] => {
  /** The number of the first entry written at or after an instant: the log is in order of time, so a few looks find it. */
  const firstAt = async (at: number): Promise<number> => {
    const [newest] = await log.newest(undefined, 1)
    const [oldest] = await log.read(0, 1)
    let [low, high] = [oldest?.seq ?? 1, (newest?.seq ?? 0) + 1]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const [found] = await log.newest(middle + 1, 1)
      if (found === undefined || found.at < at) low = middle + 1
      else high = middle
    }
    return low
  }

  return async (reviewer, query) => {
    const now = settings()
    if (!inGroups(reviewer, now.console.auditors, now))
      throw new HoldpointError('not_approver', 'The audit log is for auditors (console.auditors).')
    const limit = Math.min(Math.max(1, query.limit), pageMax)
    const forward = query.after !== undefined
    const wanted = query.find?.toLowerCase()
    const fits = ({ json }: LogEntry): boolean => wanted === undefined || readable(json).includes(wanted)
    const within = ({ at }: LogEntry): boolean =>
      forward ? query.toAt === undefined || at < query.toAt : query.fromAt === undefined || at >= query.fromAt
    const read = (from: number | undefined, count: number): Promise<readonly LogEntry[]> =>
      forward ? log.read(from ?? 0, count) : log.newest(from, count)

    let place = forward ? query.after : query.before
    if (forward && query.fromAt !== undefined) place = Math.max(place ?? 0, (await firstAt(query.fromAt)) - 1)
    if (!forward && query.toAt !== undefined)
      place = Math.min(place ?? Number.MAX_SAFE_INTEGER, await firstAt(query.toAt))

    const found: LogEntry[] = []
    let looked = 0
    for (;;) {
      const rows = await read(place, wanted === undefined ? limit - found.length : pageMax)
      for (const row of rows) {
        if (!within(row)) return { entries: found.map(shown) }
        looked += 1
        place = row.seq
        if (fits(row)) found.push(row)
        if (found.length === limit || looked === scanMax) return { entries: found.map(shown), next: place }
      }
      if (rows.length === 0) return { entries: found.map(shown) }
    }
  }
}

const shown = ({ seq, at, json }: LogEntry): AuditEntry => ({
  ...(JSON.parse(json) as Entry),
  seq,
  at: new Date(at).toISOString(),
})

/** What can be found in an entry: its texts and numbers, not the names of its members. */
const readable = (json: string): string => {
  const words: string[] = []
  JSON.parse(json, (_, value: unknown) => {
    if (typeof value === 'string' || typeof value === 'number') words.push(String(value))
    return value
  })
  return words.join('\n').toLowerCase()
}
