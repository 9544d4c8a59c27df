// What this process counts, as Prometheus reads it. Labels are bounded: upstreams and error codes come from configuration and code, and
// of rules only so many are told apart; never a path, a subject or an address. Counting never fails a call and never delays a move.
import {
  type Aggregator,
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  Registry,
} from 'prom-client'
import type { Entry } from './nouns.ts'
import type { Recorder } from './record.ts'
import { live, type MoveName, type State } from './states.ts'
import type { Move, Store, StoredHold } from './store/store.ts'

/** Rules told apart as labels; what comes after them is counted together as `other`. */
const rulesMax = 200
/** Live holds that are read for one scrape; with more the gauge stays at this. */
const liveMax = 1_000
const addedTogether = 1_000
/** Scrapes within this time share one reading of the store. */
const liveKeptMs = 1_000

export type Meter = {
  /** A call is allowed: how long the gate had it before it goes on to its upstream. */
  allowed(upstream: string, ms: number): void
  /** An allowed call got no answer of its upstream. */
  failed(upstream: string, code: string): void
  /** An entry for the log, of anything but an allowed call. */
  entry(entry: Entry): void
  /** A call without a verified caller was refused. */
  unverified(code: string): void
  /** A channel could not be told something. */
  channelFailed(channel: string): void
  /** A hold came into a state. */
  moved(state: State, rule: string): void
  /** A hold was approved or denied, so long after it was opened. */
  decided(rule: string, ms: number): void
  /** What is read anew at every scrape. */
  watch(read: () => Promise<Reading>): void
  text(): Promise<string>
  /** The same as data, to be added up with those of other processes (`mergedMetrics`). */
  data(): Promise<unknown>
  readonly contentType: string
}

export type Reading = {
  readonly config: { readonly hash: string; readonly loadedAt: number; readonly problems: number }
  readonly auditTrouble: boolean
  readonly issuersInTrouble: number
  readonly storeOk: boolean
  /** State and rules of every live hold, up to a bound. */
  readonly live: readonly { readonly state: State; readonly rule: string }[]
}

export const newMeter = (): Meter => {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })

  const calls = new Counter({
    name: 'holdpoint_calls_total',
    help: 'Calls by what the gate did with them. upstream is empty where none was chosen, code where nothing was refused.',
    labelNames: ['outcome', 'upstream', 'code'],
    registers,
  })
  const addedSeconds = new Histogram({
    name: 'holdpoint_added_seconds',
    help: 'From the head of an allowed call to handing it on: what the gate adds before the upstream.',
    labelNames: ['upstream'],
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1],
    registers,
  })
  const failures = new Counter({
    name: 'holdpoint_upstream_failures_total',
    help: 'Allowed calls that their upstream did not answer, or not to the end.',
    labelNames: ['upstream', 'code'],
    registers,
  })
  const moves = new Counter({
    name: 'holdpoint_hold_moves_total',
    help: 'Holds that this process brought into a state, by the rules that held them.',
    labelNames: ['state', 'rule'],
    registers,
  })
  const decision = new Histogram({
    name: 'holdpoint_decision_seconds',
    help: 'From opening a hold to its approval or denial.',
    labelNames: ['rule'],
    buckets: [1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 43_200, 86_400],
    registers,
  })
  const refused = new Counter({
    name: 'holdpoint_verdicts_refused_total',
    help: 'Verdicts that did not count, by reason.',
    labelNames: ['code'],
    registers,
  })
  const untold = new Counter({
    name: 'holdpoint_channel_failures_total',
    help: 'Tries to tell a channel something that failed, by its name. They are repeated; the audit log has channel.failed.',
    labelNames: ['channel'],
    registers,
  })
  // Of several processes each says it of all: added up it would be wrong.
  const gauge = (aggregator: Aggregator, name: string, help: string, ...labelNames: string[]): Gauge =>
    new Gauge({ name: `holdpoint_${name}`, help, labelNames, registers, aggregator })
  const holds = gauge(
    'max',
    'holds',
    `Live holds in the store by state and rules (the first ${liveMax}).`,
    'state',
    'rule',
  )
  const info = gauge('first', 'config_info', 'The configuration in force; always 1.', 'hash')
  const loaded = gauge('min', 'config_loaded_timestamp_seconds', 'When the configuration in force was loaded.')
  const problems = gauge(
    'max',
    'config_problems',
    'Problems of the newest configuration; above 0 the one before it stays.',
  )
  const trouble = gauge('max', 'audit_trouble', '1 while audit entries cannot be written to the store.')
  const issuers = gauge('max', 'issuers_in_trouble', 'Issuers whose keys or answers cannot be had at present.')
  const store = gauge('min', 'store_up', '1 while the store answers.')

  const seenRules = new Set<string>()
  const ruleLabel = (rule: string): string => {
    if (seenRules.has(rule)) return rule
    if (seenRules.size >= rulesMax) return 'other'
    seenRules.add(rule)
    return rule
  }
  // The labels of a call are looked up once: this is on the way of every call.
  const callCounts = new Map<string, { inc(): void }>()
  const countCall = (outcome: string, upstream: string, code: string): void => {
    const key = `${outcome} ${upstream} ${code}`
    let count = callCounts.get(key)
    if (count === undefined) {
      count = calls.labels(outcome, upstream, code)
      callCounts.set(key, count)
    }
    count.inc()
  }
  // What calls took is counted for many at once: a histogram looked at for each of them costs each of them more than all together.
  const added = new Map<string, number[]>()
  const addUp = (upstream: string, times: number[]): void => {
    const to = addedSeconds.labels(upstream)
    for (const ms of times) to.observe(ms / 1000)
    calls.labels('allowed', upstream, '').inc(times.length)
    times.length = 0
  }

  let read: (() => Promise<Reading>) | undefined
  const refresh = async (): Promise<void> => {
    for (const [upstream, times] of added) addUp(upstream, times)
    const now = await read?.()
    if (now === undefined) return
    info.reset()
    info.labels(now.config.hash).set(1)
    loaded.set(now.config.loadedAt / 1000)
    problems.set(now.config.problems)
    trouble.set(now.auditTrouble ? 1 : 0)
    issuers.set(now.issuersInTrouble)
    store.set(now.storeOk ? 1 : 0)
    holds.reset()
    for (const { state, rule } of now.live) holds.labels(state, ruleLabel(rule)).inc()
  }

  return {
    allowed(upstream, ms) {
      let times = added.get(upstream)
      if (times === undefined) {
        times = []
        added.set(upstream, times)
      }
      if (times.push(ms) >= addedTogether) addUp(upstream, times)
    },
    failed: (upstream, code) => failures.labels(upstream, code).inc(),
    entry({ kind, upstream = '', code = '' }) {
      if (kind === 'call.denied' || kind === 'call.refused') countCall(kind.slice('call.'.length), upstream, code)
      else if (kind === 'call.held') countCall('held', upstream, '')
      else if (kind === 'verdict.refused') refused.labels(code).inc()
    },
    unverified: code => countCall('refused', '', code),
    channelFailed: channel => untold.labels(channel).inc(),
    moved: (state, rule) => moves.labels(state, ruleLabel(rule)).inc(),
    decided: (rule, ms) => decision.labels(ruleLabel(rule)).observe(ms / 1000),
    watch(reading) {
      read = reading
    },
    async text() {
      await refresh()
      return registry.metrics()
    },
    async data() {
      await refresh()
      return registry.getMetricsAsJSON()
    },
    contentType: registry.contentType,
  }
}

/** A recorder that counts what it notes; allowed calls are counted where they go on. */
export const countedRecorder = (record: Recorder, meter: Meter): Recorder => ({
  ...record,
  note(entry) {
    record.note(entry)
    meter.entry(entry)
  },
  count(address, code) {
    meter.unverified(code)
    record.count(address, code)
  },
})

/**
 * A store whose moves are counted, by the entries they carry.
 * @param openedAt when a hold was opened, for the time to its decision; asked only after a verdict
 */
export const countedStore = (
  store: Store,
  meter: Meter,
  openedAt: (hold: string) => Promise<number | undefined>,
): Store => ({
  ...store,
  holds: {
    ...store.holds,
    async open(opening) {
      const opened = await store.holds.open(opening)
      if (opened.word === 'opened') {
        const entry = entryOf(opening.entry)
        meter.entry(entry)
        meter.moved('pending', entry.rule ?? '')
      }
      return opened
    },
    async move(move) {
      const moved = await store.holds.move(move)
      if (moved.word === 'moved' && move.entry !== undefined && !staying.has(move.move)) {
        const { rule = '' } = entryOf(move.entry)
        meter.moved(moved.state, rule)
        if (deciding.has(move.move)) void decided(move, rule, moved.now, meter, openedAt)
      }
      return moved
    },
  },
})

const staying: ReadonlySet<MoveName> = new Set<MoveName>(['vote', 'renew', 'touch'])
const deciding: ReadonlySet<MoveName> = new Set<MoveName>(['approve', 'deny'])

const entryOf = (text: string): Entry => JSON.parse(text) as Entry

const decided = async (
  move: Move,
  rule: string,
  now: number,
  meter: Meter,
  openedAt: (hold: string) => Promise<number | undefined>,
): Promise<void> => {
  try {
    const opened = await openedAt(move.hold)
    if (opened !== undefined) meter.decided(rule, now - opened)
  } catch {
    // The verdict stands; only its time is not counted.
  }
}

/** Reads the live holds of a store for the gauge, at most once in a while. `ruleOf` reads what a hold's head names. */
export const liveHolds = (
  store: Store,
  ruleOf: (hold: StoredHold) => string,
  clock: () => number,
): (() => Promise<Reading['live']>) => {
  let known: Promise<Reading['live']> = Promise.resolve([])
  let readAt = Number.NEGATIVE_INFINITY
  const read = async (): Promise<Reading['live']> => {
    const page = await store.holds.list({ states: [...live], order: 'due', limit: liveMax })
    return page.holds.map(hold => ({ state: hold.state, rule: ruleOf(hold) }))
  }
  return () => {
    if (clock() - readAt >= liveKeptMs) {
      readAt = clock()
      known = read()
    }
    return known
  }
}

/** The type of the text that Prometheus reads. */
export const metricsType = Registry.PROMETHEUS_CONTENT_TYPE

/** The metrics of several processes as one text. */
export const mergedMetrics = (all: readonly unknown[]): Promise<string> =>
  AggregatorRegistry.aggregate(all as object[][]).metrics()
