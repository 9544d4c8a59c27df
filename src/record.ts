// Every step as an entry. Entries of a hold go into the store in the same atomic step as its move: `entry` only makes their text.
// Entries of allowed and refused calls are written in groups (within 50 ms). While the store is away they wait in the spool; when there
// is none, or it is full, calls that would need an entry are refused: what cannot be recorded does not happen.
import { randomBytes } from 'node:crypto'
import { HoldpointError } from './errors.ts'
import type { Log as ProgramLog } from './log.ts'
import type { Caller, Entry, Hold, Reviewer } from './nouns.ts'
import { openSpool } from './spool.ts'
import type { Log } from './store/store.ts'

const flushMs = 50
const retryMs = 500
const groupSize = 1_000
/** Entries that wait in memory while the store is slow; with more, calls are refused. */
const waitingMax = 20_000
/** A store that has not answered by then counts as away. */
const slowMs = 500
/** How long a closing log waits for a step that is slow. */
const closeMs = 10_000

export type Recorder = {
  /** The text of an entry for a move or an opening. */
  entry(entry: Entry): string
  /** Records a call that is allowed; the entry is the recorder's from then on. @throws audit_unavailable */
  allowed(entry: Entry): Allowed
  /** Records anything else that has no hold. @throws audit_unavailable */
  note(entry: Entry): void
  /** Counts a call without a verified caller: one entry per minute, address and code. */
  count(address: string, code: string): void
  /** Resolves when everything noted so far is written (or spooled). Rejects with audit_unavailable if some of it only waits in memory. */
  flush(): Promise<void>
  /** Why entries cannot be written at present, if so. */
  trouble(): string | undefined
  close(): Promise<void>
}

export type Allowed = {
  /** With `audit.strict`: resolves once the entry is written, and only then may the call go on. Rejects with audit_unavailable. */
  readonly written: Promise<void> | undefined
  /** The upstream's status; joins the entry if that still waits, else becomes an entry of its own. */
  answered(status: number): void
  failed(code: string): void
}

// `taken`: its text is on its way, so nothing can join the entry any more. `written`: it is safe.
type Waiting = { entry: Entry; readonly at: string; readonly number: number; taken: boolean; written: boolean }

export const recorder = (options: {
  readonly log: Log
  /** The file of entries that wait for the store. */
  readonly spool: string | undefined
  readonly strict: () => boolean
  readonly clock: () => number
  readonly report: ProgramLog
}): Recorder => {
  const origin = { replica: process.env.HOSTNAME ?? `pid-${process.pid}`, boot: randomBytes(6).toString('base64url') }
  let number = 0
  let waiting: Waiting[] = []
  let writing: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let why: string | undefined
  let closed = false
  const spool = options.spool === undefined ? undefined : openSpool(options.spool)
  const counts = new Map<string, { address: string; code: string; count: number }>()

  // `number` counts what waits in memory on its way, so that an entry lost with this process shows as a gap.
  // Every call comes by here: what is the same for all is put behind the entry's own text.
  const after = JSON.stringify(origin).slice(1, -1)
  const text = ({ entry, at, number: n }: Waiting): string =>
    `${JSON.stringify(entry).slice(0, -1)},${after},"number":${n},"recordedAt":"${at}"}`

  const schedule = (afterMs: number): void => {
    if (timer !== undefined || closed) return
    timer = setTimeout(() => {
      timer = undefined
      void writeAll()
    }, afterMs)
    timer.unref()
  }

  // A step that took too long may still succeed: what it carried is then known to be written, and is not written again.
  const confirmed = new Set<string>()
  let hanging: Promise<void> | undefined
  const nameOf = (json: string): string => {
    const { boot, number: n } = JSON.parse(json) as { boot?: string; number?: number }
    return `${boot}/${n}`
  }
  const append = async (texts: readonly string[]): Promise<void> => {
    if (hanging !== undefined) throw new Error('the store does not answer')
    const open = confirmed.size === 0 ? texts : texts.filter(json => !confirmed.has(nameOf(json)))
    // Confirmations serve until all of what is handed over is written: if a step fails, all of it comes again.
    const done = (): void => {
      if (confirmed.size > 0) for (const json of texts) confirmed.delete(nameOf(json))
    }
    if (open.length === 0) return done()
    const work = options.log.append(open)
    let slow: NodeJS.Timeout | undefined
    const late = new Promise<'late'>(resolve => {
      // If it was this process that stood still, an answer that has come meanwhile is seen first.
      slow = setTimeout(() => setImmediate(() => setImmediate(() => resolve('late'))), slowMs)
    })
    try {
      if ((await Promise.race([work, late])) !== 'late') return done()
    } finally {
      clearTimeout(slow)
    }
    hanging = work
      .then(
        () => {
          for (const json of open) confirmed.add(nameOf(json))
        },
        () => undefined,
      )
      .finally(() => {
        hanging = undefined
      })
    throw new Error('the store does not answer')
  }

  const write = async (): Promise<void> => {
    while (waiting.length > 0 || spool?.waits()) {
      const group = waiting.slice(0, groupSize)
      const texts = group.map(text)
      for (const item of group) item.taken = true
      const written = (): void => {
        waiting = waiting.slice(group.length)
        for (const item of group) item.written = true
      }
      try {
        if (spool?.waits()) await spool.drain(append)
        if (texts.length > 0) await append(texts)
        written()
        if (why !== undefined) options.report.info('audit entries reach the store again')
        why = undefined
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        if (why === undefined) options.report.error({ reason }, 'audit entries cannot be written to the store')
        why = reason
        if (texts.length > 0 && spool !== undefined && (await spool.add(texts))) {
          written()
          if (waiting.length > 0) continue
        }
        schedule(retryMs)
        return
      }
    }
  }
  // One write runs, one more may wait for it; whoever asks meanwhile waits for that one.
  let queued: Promise<void> | undefined
  const writeAll = (): Promise<void> => {
    queued ??= writing.then(() => {
      queued = undefined
      return write()
    })
    writing = queued
    return queued
  }

  let lastMs = Number.NaN
  let lastIso = ''
  const isoOf = (ms: number): string => {
    if (ms !== lastMs) {
      lastMs = ms
      lastIso = new Date(ms).toISOString()
    }
    return lastIso
  }

  const unwritten = (): HoldpointError =>
    new HoldpointError(
      'audit_unavailable',
      'The audit log cannot be written at present, so nothing is let through. Try again.',
      { retryAfterS: 1, cause: why },
    )

  const push = (entry: Entry): Waiting => {
    if (waiting.length >= waitingMax || (why !== undefined && !spool?.hasRoom())) {
      throw unwritten()
    }
    return add(entry)
  }

  const add = (entry: Entry): Waiting => {
    const item = { entry, at: isoOf(options.clock()), number: ++number, taken: false, written: false }
    waiting.push(item)
    if (waiting.length >= groupSize) void writeAll()
    else schedule(flushMs)
    return item
  }

  const minute = setInterval(() => countsOut(), 60_000)
  minute.unref()
  const countsOut = (): void => {
    for (const [key, { address, code, count }] of counts) {
      try {
        push({ kind: 'calls.refused', address, code, count })
      } catch {
        return
      }
      counts.delete(key)
    }
  }

  const surely = async (item: Waiting): Promise<void> => {
    await writeAll()
    if (item.written) return
    // If it is written in the end after all, the log says what became of the call; a text that is on its way cannot be changed.
    const refused = { kind: 'call.refused', code: 'audit_unavailable' } as const
    if (item.taken) add({ ...item.entry, ...refused })
    else Object.assign(item.entry, refused)
    throw new HoldpointError(
      'audit_unavailable',
      'The audit entry of this call could not be written (audit.strict), so it was not let through. Try again.',
      { retryAfterS: 1, cause: why },
    )
  }

  return {
    entry: entry => JSON.stringify({ ...entry, ...origin }),
    allowed(entry) {
      const item = push(entry)
      const finish = (more: Pick<Entry, 'status'> | Pick<Entry, 'code'>): void => {
        if (!item.taken) Object.assign(item.entry, more)
        else {
          try {
            push({ kind: 'call.answered', ...(entry.call === undefined ? {} : { call: entry.call }), ...more })
          } catch {
            // The call itself is on record; what became of it can be lost with the log.
          }
        }
      }
      return {
        written: options.strict() ? surely(item) : undefined,
        answered: status => finish({ status }),
        failed: code => finish({ code }),
      }
    },
    note: entry => void push(entry),
    count(address, code) {
      const key = `${address} ${code}`
      const counted = counts.get(key)
      if (counted !== undefined) counted.count++
      else if (counts.size < 10_000) counts.set(key, { address, code, count: 1 })
    },
    async flush() {
      const last = number
      await writeAll()
      if (waiting.some(item => item.number <= last)) throw unwritten()
    },
    trouble: () => why,
    async close() {
      clearInterval(minute)
      await writeAll()
      countsOut()
      await writeAll()
      // Steps that are only slow get their time: what waits behind one would be lost, and what was spooled meanwhile be written twice.
      const untilAt = performance.now() + closeMs
      while (hanging !== undefined && performance.now() < untilAt) {
        const enough = new Promise<void>(resolve => setTimeout(resolve, untilAt - performance.now()).unref())
        await Promise.race([hanging, enough])
        await writeAll()
      }
      closed = true
      clearTimeout(timer)
      if (waiting.length > 0)
        options.report.error({ entries: waiting.length }, 'audit entries are lost: neither store nor spool took them')
    },
  }
}

/** What every entry about a caller says of them. */
export const whoCalls = (caller: Caller): NonNullable<Entry['caller']> => ({
  issuer: caller.issuer,
  subject: caller.subject,
  kind: caller.kind,
  ...(caller.client === undefined ? {} : { client: caller.client }),
})

/** What every entry about a hold says of it. */
export const aboutHold = (head: Hold['head']): Omit<Entry, 'kind'> => ({
  call: head.call,
  hold: head.id,
  caller: whoCalls(head.caller),
  behind: head.behind.labels,
  upstream: head.upstream,
  method: head.method,
  action: { name: head.action.name, resource: head.action.resource, access: head.action.access },
  rule: head.rules.map(rule => rule.name).join(', '),
  ruleHash: head.rules.map(rule => rule.hash).join(', '),
  config: head.configHash,
  digest: head.digest,
  ...(head.trace === undefined ? {} : { trace: head.trace }),
})

/** What an entry says of a reviewer. */
export const whoReviews = (reviewer: Reviewer): NonNullable<Entry['reviewer']> => ({
  login: reviewer.login,
  subject: reviewer.subject,
  name: reviewer.name,
  via: reviewer.via,
})
