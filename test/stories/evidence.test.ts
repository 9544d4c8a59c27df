// Whatever ends the program, and whenever: every call that reached the upstream is in the store and in the file, and the file says what
// the store says, line by line.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { newKey } from '../../src/seal.ts'
import { redisStore } from '../../src/store/redis.ts'
import { sqliteStore } from '../../src/store/sqlite.ts'
import type { LogEntry, Store } from '../../src/store/store.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { callGate, financeRules, stageConfig } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let token: string
let upstream: Upstream
let holdpoint: Program

beforeAll(async () => {
  idp = await startCast()
  token = await agentToken(idp.issuer, clients.agent)
})
afterAll(() => idp.close())
beforeEach(async () => {
  upstream = await startUpstream()
})
afterEach(async () => {
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
})

const start = async (config: object = {}, args: readonly string[] = []): Promise<void> => {
  const plain = await stageConfig(idp.issuer, upstream.url)
  holdpoint = await startHoldpoint({ config: { ...plain, ...config }, rules: financeRules(), args })
}
const again = async (args: readonly string[] = []): Promise<void> => {
  holdpoint = await startHoldpoint({ config: '', dir: holdpoint.dir, args })
}
const read = (path: string) =>
  callGate(holdpoint.gate, 'GET', `/billing${path}`, { token, signal: AbortSignal.timeout(5_000) })

/** Calls from several callers at once. Those that find no gate are over soon, and nobody waits for long at a worker that was killed. */
const flow = async (name: string, calls = 400, callers = 12): Promise<void> => {
  let next = 0
  const one = async (): Promise<void> => {
    while (next < calls) await read(`/${name}/${next++}`).catch(() => undefined)
  }
  await Promise.all(Array.from({ length: callers }, one))
}

/** The paths that reached the upstream, and those of the entries about calls that were let through. */
const arrived = (): string[] => upstream.seen.map(({ target }) => target)
const recorded = (entries: readonly { readonly [key: string]: unknown }[]): string[] =>
  entries.flatMap(({ kind, action }) => (kind === 'call.allowed' ? [(action as { resource: string }).resource] : []))

/** Every entry of a store that nobody uses any more, as the file has to say it. */
const logOf = async (opening: Promise<Store>): Promise<readonly { readonly [key: string]: unknown }[]> => {
  const store = await opening
  const entries: LogEntry[] = []
  for (;;) {
    const page = await store.log.read(entries.at(-1)?.seq ?? 0, 1_000)
    if (page.length === 0) break
    entries.push(...page)
  }
  await store.close()
  return entries.map(({ seq, at, json }) => ({ seq, at: new Date(at).toISOString(), ...JSON.parse(json) }))
}

describe('with SQLite', () => {
  const stored = () => logOf(sqliteStore({ path: join(holdpoint.dir, 'holdpoint.db') }))

  test('killed, started and stopped at once: the file has what came before and after', async () => {
    await start()
    await read('/before')
    await holdpoint.kill()
    await again()
    await read('/after')
    expect(await holdpoint.stop()).toBe(0)
    const file = await holdpoint.audit()
    expect(recorded(file)).toContain('/after')
    expect(file).toEqual(await stored())
  })

  test('stopped while calls flow', async () => {
    await start()
    const flowing = flow('flow')
    await upstream.arrived(150)
    expect(await holdpoint.stop()).toBe(0)
    await flowing
    const file = await holdpoint.audit()
    expect(recorded(file).toSorted()).toEqual(arrived().toSorted())
    expect(file).toEqual(await stored())
  })

  test('killed while calls flow: nothing is missing or twice in the file after the next stop', async () => {
    await start()
    const flowing = flow('flow')
    await upstream.arrived(150)
    await holdpoint.kill()
    await flowing
    await again()
    expect(await holdpoint.stop()).toBe(0)
    expect(await holdpoint.audit()).toEqual(await stored())
  })
})

describe('with Redis', () => {
  let redis: RedisServer
  let config: object
  beforeEach(async () => {
    redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    const audit = { spool: './spool', trails: [{ kind: 'file', path: './audit' }] }
    config = { store: redis.url, keys: newKey('k1'), audit }
  })
  afterEach(() => redis.stop())
  const stored = () => logOf(redisStore({ url: redis.url }))

  test('two workers, one of them killed on the way, stopped while calls flow', async () => {
    await start(config, ['--workers', '2'])
    const started = holdpoint.logged(({ msg }) => msg === 'a worker ended and is started again')
    const first = flow('first', 200)
    await upstream.arrived(50)
    const workers = execFileSync('ps', ['-o', 'pid=', '--ppid', String(holdpoint.pid)], { encoding: 'utf8' })
    process.kill(Number(workers.trim().split(/\s+/)[0]), 'SIGKILL')
    await Promise.all([first, started])
    const before = upstream.seen.length
    const flowing = flow('flow')
    await upstream.arrived(before + 150)
    expect(await holdpoint.stop()).toBe(0)
    await flowing
    const file = await holdpoint.audit()
    const second = (path: string): boolean => path.startsWith('/flow/')
    expect(recorded(file).filter(second).toSorted()).toEqual(arrived().filter(second).toSorted())
    expect(file).toEqual(await stored())
  })

  test('Redis forgets everything: the file keeps what it had and has what came after', async () => {
    await redis.restart(['--appendonly', 'no'])
    await start(config)
    for (let call = 0; call < 5; call++) await read(`/before/${call}`)
    await eventually(async () => (recorded(await holdpoint.audit()).length === 5 ? true : undefined))
    await redis.kill()
    await redis.restart()
    await read('/after')
    await eventually(async () => ((await fetch(`${holdpoint.admin}/readyz`)).status === 200 ? true : undefined))
    expect(await holdpoint.stop()).toBe(0)
    const file = await holdpoint.audit()
    expect(recorded(file)).toEqual(arrived())
    const left = await stored()
    expect(file.slice(-left.length)).toEqual(left)
  })

  test.each([
    ['one process,', []],
    ['two workers, of which only one comes back,', ['--workers', '2']],
  ])('%s stopped while Redis does not answer: what waits is written at the next start', async (_, args) => {
    await start(config, args)
    await read('/before')
    redis.freeze()
    await flow('frozen', 60)
    expect(await holdpoint.stop()).toBe(0)
    redis.thaw()
    await again()
    expect(await holdpoint.stop()).toBe(0)
    const file = await holdpoint.audit()
    // What Redis took without an answer comes a second time.
    expect([...new Set(recorded(file))].toSorted()).toEqual(arrived().toSorted())
    expect(arrived()).toHaveLength(61)
    expect(file).toEqual(await stored())
  })
})
