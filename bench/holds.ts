// `npm run bench:holds`: many callers held at once in one process, over each kind of store: what they weigh, how fast they are let in, how
// fast one of them goes on after its approval, and how fast a console with a full store answers. Bounded to a few minutes; writes
// bench/results-holds.json and a table of docs/performance.md, with a verdict per target. It sends nothing beyond this machine.
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { freePorts } from '../src/commands/demo/ports.ts'
import { newHoldId, openRequest, openView, readHold, sealRequest, sealView, signHead } from '../src/hold.ts'
import { keyRing, newKey } from '../src/seal.ts'
import { redisStore } from '../src/store/redis.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { Store } from '../src/store/store.ts'
import { signInAt } from '../test/support/console.ts'
import { provide } from '../test/support/debian.ts'
import { agentToken, clients, people, signIn, startCast } from '../test/support/people.ts'
import { type Program, startHoldpoint } from '../test/support/program.ts'
import { type RedisServer, startRedis } from '../test/support/redis.ts'
import { stageConfig } from '../test/support/stage.ts'
import { type HoldsResult, type Listing, quantile, type Scene, table, verdicts } from './holds-report.ts'
import { start } from './programs.ts'

const { values } = parseArgs({
  options: {
    held: { type: 'string', default: '10000' },
    stored: { type: 'string', default: '100000' },
    approvals: { type: 'string', default: '300' },
    store: { type: 'string', multiple: true },
  },
})
/** The first approvals of a process load and compile what they need; they are not counted. */
const warm = 30
const [held, stored, approvals] = [Number(values.held), Number(values.stored), Number(values.approvals)]
if (
  !(held >= 10 && held <= 15_000 && stored >= held && stored <= 200_000 && approvals >= 1 && approvals + warm <= held)
)
  throw new Error(
    `--held: 10 to 15000; --stored: at least as many, at most 200000; --approvals: at least ${warm} fewer than are held`,
  )

provide([
  { name: 'redis-server', package: 'redis-server', why: 'a store' },
  { name: 'valkey-server', package: 'valkey-server', why: 'a store that can wait for its disk' },
])
const say = (text: string): void => void process.stderr.write(`${text}\n`)

const always = ['--appendonly', 'yes', '--appendfsync', 'always']
const everysec = ['--appendonly', 'yes', '--appendfsync', 'everysec']
const stores = [
  { name: 'SQLite' },
  { name: 'Redis, appendfsync always', program: 'redis-server', args: always },
  { name: 'Valkey, WAITAOF', program: 'valkey-server', args: everysec },
  { name: 'Redis, epoch', program: 'redis-server', args: [] },
] as const

const residentOf = (pid: number): number =>
  1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))

const [freshS, workedS] = [5, 25]

/** What a process has settled at: the least of some seconds after the last work. V8 gives memory back only after a while without any. */
const settled = async (pid: number, seconds: number): Promise<number> => {
  let least = residentOf(pid)
  for (let second = 0; second < seconds; second++) {
    await pause(1000)
    least = Math.min(least, residentOf(pid))
  }
  return least
}

// ---- callers

type Callers = {
  readonly sockets: readonly Socket[]
  /** When the first byte of an answer came to this caller. */
  answeredAt(caller: number): Promise<number>
  close(): void
}

const connecting = 200

/**
 * So many callers, each on a connection of its own, each with a call of its own that is not answered.
 * @param first this many come first, and the others only when `ready` has been waited for
 */
const hold = async (
  port: number,
  count: number,
  token: string,
  first = 0,
  ready = async (): Promise<void> => {},
): Promise<Callers> => {
  const sockets: Socket[] = []
  const answers = new Map<number, PromiseWithResolvers<number>>()
  const broken: string[] = []
  const one = (caller: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1' }, () => {
        const body = JSON.stringify({ amount: 500, currency: 'EUR', invoice: `inv_${caller}` })
        socket.write(
          `POST /billing/v1/refunds/${caller} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        )
        resolve()
      })
      sockets[caller] = socket
      socket.once('data', chunk => {
        const waiting = answers.get(caller)
        if (waiting === undefined) broken.push(chunk.toString('latin1').slice(0, 300))
        waiting?.resolve(performance.now())
      })
      socket.once('error', reject)
    })
  const all = async (from: number, to: number): Promise<void> => {
    for (let at = from; at < to; at += connecting)
      await Promise.all(Array.from({ length: Math.min(connecting, to - at) }, (_, n) => one(at + n)))
  }
  await all(0, first)
  await ready()
  await all(first, count)
  return {
    sockets,
    answeredAt(caller) {
      if (broken[0] !== undefined) throw new Error(`a caller was answered before its approval: ${broken[0]}`)
      const waiting = Promise.withResolvers<number>()
      answers.set(caller, waiting)
      return waiting.promise
    },
    close() {
      for (const socket of sockets) socket.destroy()
    },
  }
}

const openedBy = async (holdpoint: Program): Promise<number> => {
  const text = await (await fetch(`${holdpoint.admin}/metrics`)).text()
  return Number(/^holdpoint_calls_total\{[^}]*outcome="held"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0)
}

// Asking costs the process that is measured a scan of its sockets and a look at a thousand holds: it is asked seldom.
const allOpened = async (holdpoint: Program, count: number): Promise<void> => {
  const startedAt = performance.now()
  const before = await openedBy(holdpoint)
  for (let opened = before; opened < count; opened = await openedBy(holdpoint)) {
    const ms = performance.now() - startedAt
    if (ms > 90_000) throw new Error(`only ${opened} of ${count} holds were opened in 90 s`)
    const due = opened === before ? 1_000 : (0.9 * ms * (count - opened)) / (opened - before)
    await pause(Math.min(5_000, Math.max(50, due)))
  }
}

// ---- one store

const [consolePort = 0] = await freePorts(1)
const consoleUrl = `http://127.0.0.1:${consolePort}`
const idp = await startCast({ consoleRedirect: [`${consoleUrl}/login/callback/idp`] })
const upstream = createServer((request, response) => {
  request.resume()
  request.once('end', () => response.end('{}'))
})
await new Promise<void>(resolve => upstream.listen(0, '127.0.0.1', resolve))
const upstreamUrl = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
const rules = `
rules:
  - name: refunds
    match: { upstream: billing, method: POST, path: /v1/refunds/** }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 4h, wait: 10m }
`

const configFor = async (store: string, keys: string): Promise<object> => {
  const base = await stageConfig(idp.issuer, upstreamUrl)
  const most = 200_000
  return {
    ...base,
    gate: {
      ...base.gate,
      limits: {
        holdsPerMinute: 0,
        holdsPerCaller: most,
        holds: most,
        connections: most,
        connectionsPerAddress: most,
      },
    },
    console: { ...base.console, listen: `127.0.0.1:${consolePort}`, url: consoleUrl },
    audit: {},
    store,
    keys,
  }
}

/** The floor: the same sockets with the same requests in a process that only keeps them. */
const bareBytes = async (token: string): Promise<number> => {
  const [port = 0] = await freePorts(1)
  const script = fileURLToPath(new URL('peers/sockets.js', import.meta.url))
  const bare = await start(undefined, [process.execPath, script, String(port)], port)
  try {
    const before = await settled(bare.pid, freshS)
    const callers = await hold(port, held, token)
    const after = await settled(bare.pid, workedS)
    callers.close()
    return (after - before) / held
  } finally {
    await bare.stop()
  }
}

const usedBy = async (redis: Redis): Promise<number> =>
  Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1])

/** Approves some of the held callers, one after the other, and measures until each of them sees its answer. */
const approved = async (holdpoint: Program, callers: Callers, token: string): Promise<readonly number[]> => {
  const authorization = `Bearer ${token}`
  const found: { readonly id: string; readonly caller: number }[] = []
  for (let after = ''; found.length < warm + approvals; ) {
    const answer = await fetch(`${holdpoint.console}/api/holds?limit=200${after}`, { headers: { authorization } })
    const page = (await answer.json()) as { holds: { id: string; action: { resource: string } }[]; next?: string }
    if (!answer.ok) throw new Error(`GET /api/holds: ${answer.status} ${JSON.stringify(page)}`)
    for (const { id, action } of page.holds) found.push({ id, caller: Number(action.resource.split('/').at(-1)) })
    if (page.next === undefined) break
    after = `&after=${encodeURIComponent(page.next)}`
  }
  const times: number[] = []
  for (const { id, caller } of found.slice(0, warm + approvals)) {
    const answered = callers.answeredAt(caller)
    const startedAt = performance.now()
    const verdict = fetch(`${holdpoint.console}/api/holds/${id}/approve`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ comment: 'bench' }),
    })
    const { ok, status } = await verdict
    if (!ok) throw new Error(`approve: ${status} ${await (await verdict).text()}`)
    times.push((await answered) - startedAt)
  }
  return times.slice(warm)
}

// ---- a full store

/** Copies one real hold until the store has so many: sealed and signed as Holdpoint does it, in its own words. */
const fill = async (store: Store, keys: string): Promise<void> => {
  const ring = keyRing(keys)
  const [first] = (await store.holds.list({ states: ['pending'], order: 'due', limit: 1 })).holds
  const hold = first === undefined ? undefined : await readHold(store, ring, first.id)
  const request = hold && (await openRequest(store, ring, hold.head.id))
  const view = hold && (await openView(store, ring, hold.head.id))
  if (hold === undefined || request === undefined || view === undefined) throw new Error('there is no hold to copy')
  const copy = (n: number): Promise<unknown> => {
    const id = newHoldId()
    return store.holds.open({
      id,
      caller: `caller-${n % 1000}`,
      fingerprints: [`copy-${n}`],
      pauses: [],
      caps: { perCaller: 1e6, holds: 1e6, bytes: 1e12 },
      head: signHead(ring, { ...hold.head, id, call: `copy-${n}` }),
      facts: {},
      sealed: { request: sealRequest(ring, id, request), view: sealView(ring, id, view) },
      bytes: hold.head.size,
      dueAt: hold.head.expiresAt + n,
      entry: JSON.stringify({ kind: 'call.held', hold: id }),
    })
  }
  const groups = 500
  for (let from = held; from < stored; from += groups)
    await Promise.all(Array.from({ length: Math.min(groups, stored - from) }, (_, n) => copy(from + n)))
}

/** How often each list is asked for. */
const asked = 200

const timed = async (times: number, ask: () => Promise<unknown>): Promise<readonly number[]> => {
  await ask()
  const took: number[] = []
  for (let turn = 0; turn < times; turn++) {
    const startedAt = performance.now()
    await ask()
    took.push(performance.now() - startedAt)
  }
  return took
}

const listed = async (name: string, holdpoint: Program, token: string): Promise<Listing> => {
  const api = await timed(asked, async () => {
    const answer = await fetch(`${holdpoint.console}/api/holds`, { headers: { authorization: `Bearer ${token}` } })
    const { holds } = (await answer.json()) as { holds: unknown[] }
    if (holds.length === 0) throw new Error('GET /api/holds: there are none')
  })
  const ana = await signInAt(holdpoint.console, people.ana)
  const page = await timed(asked, async () => {
    const { status, text } = await ana.visit(`${holdpoint.console}/`)
    if (status !== 200 || !text.includes('/holds/h_')) throw new Error(`the queue page: ${status}`)
  })
  return {
    store: name,
    holds: stored,
    apiP50Ms: quantile(api, 0.5),
    apiP99Ms: quantile(api, 0.99),
    pageP50Ms: quantile(page, 0.5),
    pageP99Ms: quantile(page, 0.99),
  }
}

// ---- the run

const scenes: Scene[] = []
const listings: Listing[] = []

const play = async (store: (typeof stores)[number], bareBytesPerCaller: number): Promise<void> => {
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-bench-'))
  const keys = newKey('k1')
  let server: RedisServer | undefined
  let redis: Redis | undefined
  let holdpoint: Program | undefined
  let callers: Callers | undefined
  try {
    if ('program' in store) {
      server = await startRedis({ program: store.program, args: [...store.args] })
      redis = new Redis(server.url)
    }
    const url = server?.url ?? `sqlite:${join(dir, 'holds.db')}`
    const config = await configFor(url, keys)
    holdpoint = await startHoldpoint({ config, rules })
    const token = await agentToken(idp.issuer, clients.agent)
    const reviewer = await signIn(idp.issuer, people.ana)
    const before = await settled(holdpoint.pid, freshS)
    const usedBefore = redis && (await usedBy(redis))
    // The first tenth is not counted: the process compiles what it runs meanwhile.
    const first = Math.floor(held / 10)
    let startedAt = 0
    callers = await hold(Number(new URL(holdpoint.gate).port), held, token, first, async () => {
      await allOpened(holdpoint as Program, first)
      startedAt = performance.now()
    })
    await allOpened(holdpoint, held)
    const openedPerS = (held - first) / ((performance.now() - startedAt) / 1000)
    const storeBytesPerHold =
      redis === undefined || usedBefore === undefined ? undefined : ((await usedBy(redis)) - usedBefore) / held
    const bytesPerCaller = ((await settled(holdpoint.pid, workedS)) - before) / held
    say(`  ${held} held; ${approvals} approvals`)
    const times = await approved(holdpoint, callers, reviewer)
    scenes.push({
      ...{ store: store.name, held, openedPerS, bytesPerCaller, bareBytesPerCaller, approvals },
      firstByteP50Ms: quantile(times, 0.5),
      firstByteP99Ms: quantile(times, 0.99),
      ...(storeBytesPerHold === undefined ? {} : { storeBytesPerHold }),
    })
    callers.close()
    say(`  first byte after ${quantile(times, 0.99).toFixed(1)} ms (p99)`)
    if (store.name !== 'SQLite' && store.name !== 'Redis, epoch') return
    await holdpoint.stop()
    say(`  filling the store to ${stored}`)
    const opened: Store =
      server === undefined ? await sqliteStore({ path: join(dir, 'holds.db') }) : await redisStore({ url: server.url })
    await fill(opened, keys)
    await opened.close()
    say('  asking the console')
    holdpoint = await startHoldpoint({ config, rules })
    listings.push(await listed(store.name, holdpoint, reviewer))
  } finally {
    callers?.close()
    await holdpoint?.[Symbol.asyncDispose]()
    redis?.disconnect()
    await server?.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

try {
  say('node:http alone')
  const bare = await bareBytes(await agentToken(idp.issuer, clients.agent))
  for (const store of stores) {
    if (values.store !== undefined && !values.store.some(wanted => store.name.startsWith(wanted))) continue
    say(store.name)
    await play(store, bare)
  }
  const result: HoldsResult = {
    at: new Date().toISOString(),
    machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, node: process.version, load: loadavg()[0] ?? 0 },
    scenes,
    listings,
  }
  process.stdout.write(`${table(result)}\n`)
  // A part of it, or a smaller run, says nothing about the targets: it is shown and not kept.
  if (values.store === undefined && held >= 10_000 && stored >= 100_000) {
    const here = fileURLToPath(new URL('.', import.meta.url))
    await writeFile(join(here, 'results-holds.json'), `${JSON.stringify(result, null, 1)}\n`)
    const document = join(here, '../docs/performance.md')
    const text = await readFile(document, 'utf8')
    await writeFile(document, text.replace(/(<!-- holds -->\n)[\s\S]*?(<!-- \/holds -->)/, `$1${table(result)}$2`))
  }
  if (verdicts(result).some(({ word }) => word === 'missed')) say('Some targets are missed; see above.')
} finally {
  await new Promise(resolve => upstream.close(resolve))
  await idp.close()
}
