// Tells the channels of a hold's rules what becomes of it. Nothing waits for it and nothing is decided by it: what cannot be told is tried
// again, longer and longer apart, and shows in the hold, in the audit log and in the metrics.
//
//   an event of a hold ──▶ its item in the outbox is due ──▶ one replica leases it ──▶ each channel is told what it has not been told
//
// What is to be told is worked out from the hold as it is then, so a missed event, a restart or another replica changes nothing. Before
// a channel is told that is written down: whoever finds a try without an end asks the channel what arrived, and does not just repeat it.
import { type Channel, type Notice, type Occasion, Unreached } from './channels/channel.ts'
import { toError } from './errors.ts'
import { openView, readHold } from './hold.ts'
import { channelsOf, noticeOf, rulesOf, type Step, stepsOf } from './notice.ts'
import type { Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import { aboutHold } from './record.ts'
import type { Rule } from './settings.ts'
import { live } from './states.ts'
import type { Claimed, NextTurn } from './store/store.ts'
import { nothingTold, readSheet, type Sheet, signSheet, type Told } from './told.ts'
import type { View } from './views.ts'

const everyMs = 1_000
/** Longer than any channel takes; each round renews it. */
const leaseMs = 25_000
const atOnce = 50
/** No channel takes longer than this. */
const tellMs = 15_000
const firstRetryMs = 1_000
const longestRetryMs = 5 * 60_000
/** With the waits above about an hour and a half. */
const triesMost = 24
const pageSize = 200

export type Notify = {
  /** Looks again at what is due; for tests that move the clock. */
  wake(): void
  /** Says again, in a message that is known to be there, how a hold stands now. @throws Unreached */
  retell(channel: string, hold: string, reference: string): Promise<void>
  /** How a hold stands, as one channel may tell it; undefined if there is no such hold or channel. */
  tells(channel: string, hold: string): Promise<Notice | undefined>
  close(): Promise<void>
}

/** @param channels those that are configured now, by name */
export const notify = (parts: Parts, channels: () => ReadonlyMap<string, Channel>): Notify => {
  const { store, keys, log } = parts
  const busy = new Set<Promise<void>>()
  const noting = new Set<Promise<void>>()
  let closed = false
  let down = false
  /** Something could not be noted: once the store answers, everything is looked at. */
  let missed = false
  let turning: Promise<void> | undefined
  let again = false

  // ---- what there is to do

  const known = async (id: string): Promise<void> => {
    const hold = await readHold(store, keys, id)
    if (hold === undefined || channelsOf(rulesOf(hold, parts.settings())).length === 0) return
    await store.outbox.add(id, signSheet(keys, id, {}))
  }

  /** What happened while nobody was there to see it. */
  const everything = async (): Promise<void> => {
    await store.outbox.wake()
    let after: string | undefined
    do {
      const page = await store.holds.list({
        states: ['pending'],
        order: 'due',
        limit: pageSize,
        ...(after === undefined ? {} : { after }),
      })
      for (const { id } of page.holds) await known(id)
      after = page.next
    } while (after !== undefined && !closed)
  }

  const note = (work: () => Promise<void>): void => {
    if (channels().size === 0) return
    const noted: Promise<void> = work()
      .then(wake)
      .catch(error => {
        missed = true
        log.warn({ err: toError(error) }, 'what channels are to be told cannot be noted')
      })
      .finally(() => noting.delete(noted))
    noting.add(noted)
  }

  // ---- doing it

  const wake = (): void => {
    again = true
    if (turning !== undefined || closed) return
    turning = turn().finally(() => {
      turning = undefined
      if (again && busy.size < atOnce) wake()
    })
  }

  const turn = async (): Promise<void> => {
    again = false
    try {
      if (channels().size === 0 || busy.size >= atOnce) return
      for (const item of await store.outbox.claim(atOnce - busy.size, leaseMs)) {
        const work: Promise<void> = told(item)
          .catch(error => log.warn({ err: toError(error), hold: item.key }, 'channels could not be told'))
          .finally(() => {
            busy.delete(work)
            wake()
          })
        busy.add(work)
      }
      down = false
      if (missed) {
        missed = false
        note(everything)
      }
    } catch (error) {
      if (!down) log.warn({ err: toError(error) }, 'the outbox cannot be read')
      down = true
    }
  }

  /** Brings every channel of one hold up to date, as far as that goes now. */
  const told = async (item: Claimed): Promise<void> => {
    let sheet = readSheet(keys, item.key, item.value)
    let view: View | undefined
    for (;;) {
      const hold = await readHold(store, keys, item.key)
      // Not ours to read: of a newer replica, or changed in the store.
      if (hold === undefined || sheet === undefined) return void (await store.outbox.write(item, item.value, 'parked'))
      const rules = rulesOf(hold, parts.settings())
      const work = tasksOf(hold, rules, sheet)
      if (work.length === 0 || closed)
        return void (await store.outbox.write(item, signSheet(keys, item.key, sheet), turnAfter(hold, rules, sheet)))
      const trying: Sheet = Object.fromEntries(
        work.map(({ name, before, step }) => [name, { ...before, trying: step.key }]),
      )
      sheet = { ...sheet, ...trying }
      if (!(await store.outbox.write(item, signSheet(keys, item.key, sheet), { leaseMs }))) return
      view ??= await openView(store, keys, hold.head.id)
      const results = await Promise.all(work.map(async task => [task.name, await attempt(hold, task, view)] as const))
      sheet = { ...sheet, ...Object.fromEntries(results) }
      if (!(await store.outbox.write(item, signSheet(keys, item.key, sheet), { leaseMs }))) return
    }
  }

  type Task = {
    readonly name: string
    readonly channel: Channel
    readonly before: Told
    readonly step: Step
    /** Steps that this one makes superfluous. */
    readonly passed: readonly string[]
  }

  const tasksOf = (hold: Hold, rules: readonly Rule[], sheet: Sheet): readonly Task[] =>
    [...new Set([...channelsOf(rules), ...Object.keys(sheet)])].flatMap(name => {
      const channel = channels().get(name)
      const before = sheet[name] ?? nothingTold
      if (channel === undefined || (before.notBeforeAt ?? 0) > hold.now) return []
      const open = stepsOf(hold, rules, name).filter(({ key, at }) => at <= hold.now && !before.said.includes(key))
      // Nothing was ever said, and nothing is left to ask: there is no message to settle.
      const unsaid = before.said.length === 0 && before.trying === undefined
      if (!channel.each && unsaid && hold.state !== 'pending') return []
      const step = open.find(({ key }) => key === before.trying) ?? (channel.each ? open[0] : open.at(-1))
      if (step === undefined) return []
      const passed = channel.each ? [] : open.slice(0, open.indexOf(step)).map(({ key }) => key)
      return [{ name, channel, before, step, passed }]
    })

  const attempt = async (hold: Hold, task: Task, view: View | undefined): Promise<Told> => {
    const { name, channel, before, step, passed } = task
    const notice = noticeFor(name, step, hold, view)
    const doubtful = before.trying !== undefined && (before.trying === step.key || !channel.each)
    let reference = before.reference
    const said = [...before.said, ...passed, step.key]
    try {
      const was = doubtful ? await inTime(channel.arrived(notice, reference)) : { arrived: false }
      reference = was.reference ?? reference
      // Of a hold that is over nobody has to hear for the first time, unless they want to hear it all.
      const needless = !channel.each && reference === undefined && hold.state !== 'pending'
      if (!was.arrived && !needless) reference = (await inTime(channel.tell(notice, reference))) ?? reference
      return { said, tries: 0, ...(reference === undefined ? {} : { reference }) }
    } catch (error) {
      const {
        message: trouble,
        doubt,
        retryAfterMs,
      } = error instanceof Unreached ? error : new Unreached('internal', { cause: error, doubt: true })
      const tries = before.tries + 1
      const last = tries >= triesMost
      failed(hold, name, tries, last, trouble, error)
      const kept = reference === undefined ? {} : { reference }
      if (last) return { said, tries: 0, trouble, ...kept }
      const waitMs = Math.min(firstRetryMs * 2 ** (tries - 1), longestRetryMs)
      const notBeforeAt = hold.now + Math.max(waitMs, retryAfterMs ?? 0)
      const trying = doubt || doubtful ? { trying: step.key } : {}
      return { said: before.said, tries, notBeforeAt, trouble, ...kept, ...trying }
    }
  }

  const noticeFor = (name: string, step: Step, hold: Hold, view: View | undefined): Notice => {
    const settings = parts.settings()
    const full = settings.channels.find(one => one.name === name)?.content === 'full'
    return noticeOf(name, step, hold, full ? view : undefined, settings)
  }

  /** The newest that is said in the message of a hold, not beside it. */
  const tells = async (name: string, id: string): Promise<Notice | undefined> => {
    const hold = await readHold(store, keys, id)
    if (!channels().has(name) || hold === undefined) return undefined
    const steps = stepsOf(hold, rulesOf(hold, parts.settings()), name)
    const due = steps.filter(({ at }) => at <= hold.now)
    const step = due.findLast(({ occasion }) => !apart.has(occasion)) ?? due[0]
    if (step === undefined) return undefined
    // Where it was heard of only when it was escalated, that is its beginning.
    const said = apart.has(step.occasion) ? { ...step, occasion: 'opened' as const } : step
    return noticeFor(name, said, hold, await openView(store, keys, id))
  }

  const failed = (hold: Hold, name: string, tries: number, last: boolean, why: string, error: unknown): void => {
    parts.meter.channelFailed(name)
    // What is behind an Unreached may name the address, and the address may be the credential.
    const known = error instanceof Unreached ? {} : { err: toError(error) }
    log.warn({ hold: hold.head.id, channel: name, tries, why, ...known }, 'a channel could not be told')
    if (tries > 1 && !last) return
    try {
      const detail = `${name}: ${why}${last ? `; given up after ${tries} tries` : ''}`
      parts.record.note({ ...aboutHold(hold.head), kind: 'channel.failed', detail })
    } catch (cause) {
      log.warn({ err: toError(cause) }, 'a failing channel cannot be recorded')
    }
  }

  /** When there will be something to do; a hold that is over and done with needs no item any more. */
  const turnAfter = (hold: Hold, rules: readonly Rule[], sheet: Sheet): NextTurn => {
    const times = [...new Set([...channelsOf(rules), ...Object.keys(sheet)])].flatMap(name => {
      const { said, notBeforeAt, trying } = sheet[name] ?? nothingTold
      const channel = channels().get(name)
      if (channel === undefined) return []
      const open = stepsOf(hold, rules, name).filter(({ key }) => !said.includes(key))
      if (!channel.each && said.length === 0 && trying === undefined && hold.state !== 'pending') return []
      return open.map(({ at }) => Math.max(at, notBeforeAt ?? 0))
    })
    if (times.length > 0) return { dueAt: Math.ceil(Math.min(...times)) }
    return live.has(hold.state) || hold.state === 'unknown' ? 'parked' : 'done'
  }

  const stop = parts.watch.follow(event => {
    if (event.kind === 'gap') note(everything)
    else if (event.state === 'pending' && event.rev === 1) note(() => known(event.hold))
    else note(() => store.outbox.wake(event.hold))
  })
  note(everything)
  const timer = setInterval(wake, everyMs)
  timer.unref()

  return {
    wake,
    async retell(name, id, reference) {
      const channel = channels().get(name)
      const notice = await tells(name, id)
      if (channel !== undefined && notice !== undefined) await inTime(channel.tell(notice, reference))
    },
    tells,
    async close() {
      closed = true
      clearInterval(timer)
      stop()
      await turning
      await Promise.allSettled([...noting, ...busy])
    },
  }
}

/** What is said beside the message, not in it. */
const apart: ReadonlySet<Occasion> = new Set<Occasion>(['reminded', 'escalated'])

const inTime = async <T>(work: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Unreached('it took too long', { doubt: true })), tellMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
