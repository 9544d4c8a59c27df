// Every step as an entry. Entries of a hold go into the store in the same atomic step as its move: `entry` only makes their text.
// Entries of allowed and refused calls are written in groups (after 25 to 50 ms). While the store is away they wait in the spool; when there
// is none, or it is full, calls that would need an entry are refused: what cannot be recorded does not happen.
import { randomBytes } from 'node:crypto'
import { type CallEntry, groundText, ownText, whoText } from './entry-text.ts'
import { HoldpointError } from './errors.ts'
import type { Log as ProgramLog } from './log.ts'
import type { Caller, Entry, Hold, Reviewer } from './nouns.ts'
import { openSpool } from './spool.ts'
import type { Log } from './store/store.ts'

/** What is there at one look is written at the next. By then most calls have their answer, which joins the entry. */
const flushMs = 25
const retryMs = 500
/** Written at once where the store is quick: writing stops the thread where the store is SQLite, so many for some 0.3 ms. */
const groupSize = 100
const quickMs = 10
/** Written at once elsewhere; and so many wait for no look. */
const largeGroup = 1_000
/** Entries that wait in memory while the store is slow; with more, calls are refused. */
const waitingMax = 20_000
/** A store that has not answered by then counts as away. */
const slowMs = 500
/** How long a closing log waits for a step that is slow. */
const closeMs = 10_000

export type Recorder = {
  /** The text of an entry for a move or an opening. */
  entry(entry: Entry): string
  /** Records a call that is allowed. @throws audit_unavailable */
  allowed(entry: CallEntry): Allowed
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

// An entry that waits, and what its call knows it by: one object with functions that all share, since every allowed call makes one. Its
// text is made at once: what waits 50 ms outlives a collection, and one text is less to carry along than the objects it is made of.
type Waiting = {
  /** The entry as JSON, but for what follows here. */
  text: string
  /** Who calls, and under which rule: members of the entry that many have in common, each with a comma before it. */
  readonly who: string
  readonly ground: string
  readonly call: string | undefined
  status: number | undefined
  code: string | undefined
  readonly number: number
  readonly at: string
  /** Its text is on its way, so nothing can join the entry any more. */
  taken: boolean
  /** It is written, or spooled. */
  safe: boolean
  written: Promise<void> | undefined
  readonly answered: (status: number) => void
  readonly failed: (code: string) => void
}

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
  /** Their numbers have no gap. */
  let waiting: Waiting[] = []
  /** The last number that is to be written, and the last there was at the latest look. */
  let wanted = 0
  let seen = 0
  /** How long the store needed for the last group. */
  let tookMs = 0
  let writing: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let why: string | undefined
  let closed = false
  const spool = options.spool === undefined ? undefined : openSpool(options.spool)
  const counts = new Map<string, { address: string; code: string; count: number }>()

  // `number` counts what waits in memory on its way, so that an entry lost with this process shows as a gap.
  // Every call comes by here: what is the same for all is put behind the entry's own text.
  const after = JSON.stringify(origin).slice(1, -1)
  const textOf = ({ text, who, ground, status, code, at, number: n }: Waiting): string => {
    const end = code === undefined ? '' : `,"code":${JSON.stringify(code)}`
    const answer = status === undefined ? '' : `,"status":${status}`
    return `${text.slice(0, -1)}${who}${ground}${answer}${end},${after},"number":${n},"recordedAt":"${at}"}`
  }

  const schedule = (afterMs: number): void => {
    if (timer !== undefined || closed) return
    timer = setTimeout(() => {
      timer = undefined
      const old = seen
      seen = number
      if (why !== undefined) return void writeAll()
      if (waiting.length === 0) return
      schedule(flushMs)
      void writeUpTo(old)
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
    const last = wanted
    const due = (): number => Math.max(0, last + 1 - (waiting[0]?.number ?? last + 1))
    const most = (): number => (why === undefined && tookMs < quickMs && due() < largeGroup ? groupSize : largeGroup)
    while (due() > 0 || spool?.waits()) {
      const group = waiting.slice(0, Math.min(due(), most()))
      const texts = group.map(textOf)
      for (const item of group) item.taken = true
      const written = (): void => {
        waiting = waiting.slice(group.length)
        for (const item of group) item.safe = true
      }
      try {
        if (spool?.waits()) await spool.drain(append)
        const startedAt = performance.now()
        if (texts.length > 0) await append(texts)
        tookMs = performance.now() - startedAt
        written()
        if (why !== undefined) options.report.info('audit entries reach the store again')
        why = undefined
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        if (why === undefined) options.report.error({ reason }, 'audit entries cannot be written to the store')
        why = reason
        if (texts.length > 0 && spool !== undefined && (await spool.add(texts))) {
          written()
          if (due() > 0) continue
        }
        schedule(retryMs)
        return
      }
    }
  }
  // One write runs, one more may wait for it; whoever asks meanwhile waits for that one.
  let queued: Promise<void> | undefined
  const writeUpTo = (last: number): Promise<void> => {
    wanted = Math.max(wanted, last)
    queued ??= writing.then(() => {
      queued = undefined
      return write()
    })
    writing = queued
    return queued
  }
  const writeAll = (): Promise<void> => writeUpTo(number)

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

  const push = (text: string, who = '', ground = '', call?: string): Waiting => {
    if (waiting.length >= waitingMax || (why !== undefined && !spool?.hasRoom())) {
      throw unwritten()
    }
    return add(text, who, ground, call)
  }

  const add = (text: string, who: string, ground: string, call: string | undefined): Waiting => {
    const item: Waiting = {
      text,
      who,
      ground,
      call,
      status: undefined,
      code: undefined,
      number: ++number,
      at: isoOf(options.clock()),
      taken: false,
      safe: false,
      written: undefined,
      answered,
      failed,
    }
    waiting.push(item)
    if (waiting.length >= largeGroup) void writeAll()
    else schedule(flushMs)
    return item
  }

  const answered = function (this: Waiting, status: number): void {
    if (this.taken) later(this.call, { status })
    else this.status = status
  }
  const failed = function (this: Waiting, code: string): void {
    if (this.taken) later(this.call, { code })
    else this.code = code
  }
  const later = (call: string | undefined, end: Pick<Entry, 'status'> | Pick<Entry, 'code'>): void => {
    try {
      push(JSON.stringify({ kind: 'call.answered', call, ...end }))
    } catch {
      // The call itself is on record; what became of it can be lost with the log.
    }
  }

  const minute = setInterval(() => countsOut(), 60_000)
  minute.unref()
  const countsOut = (): void => {
    for (const [key, { address, code, count }] of counts) {
      try {
        push(JSON.stringify({ kind: 'calls.refused', address, code, count }))
      } catch {
        return
      }
      counts.delete(key)
    }
  }

  const surely = async (item: Waiting, entry: CallEntry): Promise<void> => {
    await writeAll()
    if (item.safe) return
    // If it is written in the end after all, the log says what became of the call; a text that is on its way cannot be changed.
    const text = ownText({ ...entry, kind: 'call.refused' })
    const refused = item.taken ? add(text, item.who, item.ground, item.call) : item
    refused.text = text
    refused.code = 'audit_unavailable'
    throw new HoldpointError(
      'audit_unavailable',
      'The audit entry of this call could not be written (audit.strict), so it was not let through. Try again.',
      { retryAfterS: 1, cause: why },
    )
  }

  return {
    entry: entry => JSON.stringify({ ...entry, ...origin }),
    allowed(entry) {
      const item = push(ownText(entry), whoText(entry.caller), groundText(entry), entry.call)
      if (options.strict()) item.written = surely(item, entry)
      return item
    },
    note: entry => void push(JSON.stringify(entry)),
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
      // A tunnel or a call that ended while the last ones were written.
      while (waiting.length > 0 && why === undefined && performance.now() < untilAt) await writeAll()
      closed = true
      clearTimeout(timer)
      if (waiting.length > 0)
        options.report.error({ entries: waiting.length }, 'audit entries are lost: neither store nor spool took them')
    },
  }
}

const callers = new WeakMap<Caller, NonNullable<Entry['caller']>>()

/** What every entry about a caller says of them: one object for all of a caller's calls. */
export const whoCalls = (caller: Caller): NonNullable<Entry['caller']> => {
  const known = callers.get(caller)
  if (known !== undefined) return known
  const { issuer, subject, kind, client } = caller
  const who = { issuer, subject, kind, ...(client === undefined ? {} : { client }) }
  callers.set(caller, who)
  return who
}

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
