// An operator stops calls from the command line: on every replica within a second, allowed calls too; what was approved waits for the end of it.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { newKey } from '../../src/seal.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, runHoldpoint, startHoldpoint } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { callGate, type Desk, deskAt, financeRules, stageConfig } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let upstream: Upstream
let redis: RedisServer
let a: Program
let b: Program
let token: string
let ana: Desk
let operator: string

beforeAll(async () => {
  idp = await startCast()
  upstream = await startUpstream()
  redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const keys = newKey('k1')
  const start = async () => {
    const config = (await stageConfig(idp.issuer, upstream.url)) as { console: object }
    const console = { ...config.console, operators: { groups: ['finance-leads'] } }
    return startHoldpoint({ config: { ...config, console, store: redis.url, keys }, rules: financeRules('wait: 1s') })
  }
  a = await start()
  b = await start()
  token = await agentToken(idp.issuer, clients.agent)
  operator = await signIn(idp.issuer, people.dora)
  ana = deskAt(b.console, await signIn(idp.issuer, people.ana))
})
afterAll(async () => {
  await a[Symbol.asyncDispose]()
  await b[Symbol.asyncDispose]()
  await redis.stop()
  await upstream.close()
  await idp.close()
})

const freeze = async (...args: readonly string[]) => {
  const { code, stdout, stderr } = await runHoldpoint(['freeze', ...args, '--console', a.console], {
    env: { HOLDPOINT_TOKEN: operator },
  })
  return { code, said: `${stdout}${stderr}` }
}

const read = (at: Program) => callGate(at.gate, 'GET', '/billing/v1/invoices', { token })
const refund = (body: string, prefer?: string) =>
  callGate(b.gate, 'POST', '/billing/v1/refunds', { token, body, headers: prefer === undefined ? {} : { prefer } })

/** Freezes, plays, lifts. */
const while_ = async (args: readonly string[], play: () => Promise<void>): Promise<void> => {
  const { code, said } = await freeze(...args, '--reason', 'incident 42')
  expect([code, said]).toEqual([0, expect.stringMatching(/^f_\S+ .*incident 42/)])
  await play()
  expect((await freeze('lift', said.split(' ')[0] ?? '')).said).toContain('nothing is frozen')
}

test.each([
  ['all', ['all']],
  ['the upstream', ['upstream', 'billing']],
  ['the caller', ['caller', `agents:${clients.agent.id}`]],
  ['the person who owns the agent', ['person', people.ben.email]],
])('a freeze of %s stops an allowed call, on both replicas within a second', async (_, args) => {
  expect([(await read(a)).status, (await read(b)).status]).toEqual([200, 200])
  await while_(args, async () => {
    const since = performance.now()
    for (const at of [a, b]) {
      const stopped = await eventually(async () => {
        const answer = await read(at)
        return answer.status === 200 ? undefined : answer
      }, 1_000)
      expect([stopped.status, stopped.json?.code]).toEqual([503, 'frozen'])
      expect(stopped.json?.detail).toContain('incident 42')
      expect(stopped.headers.get('retry-after')).toBe('30')
    }
    expect(performance.now() - since).toBeLessThan(1_000)
  })
  await eventually(async () => ((await read(b)).status === 200 ? true : undefined), 1_000)
})

test('what is held opens no hold while it is frozen, and what was approved is sent when that is over', async () => {
  const held = await refund('before')
  const id = held.headers.get('holdpoint-hold') ?? ''
  const async = (await refund('async', 'respond-async')).headers.get('holdpoint-hold') ?? ''
  const before = upstream.seen.length
  await while_(['all'], async () => {
    await ana.approve(id)
    await ana.approve(async)
    expect((await refund('before')).json?.code).toBe('frozen')
    expect((await refund('another')).json?.code).toBe('frozen')
    expect((await ana.hold(id)).status).toBe('approved')
    expect((await ana.pending()).length).toBe(0)
    expect(upstream.seen.length).toBe(before)
  })
  await eventually(async () => ((await refund('before')).status === 200 ? true : undefined), 1_000)
  await eventually(async () => ((await ana.hold(async)).status === 'delivered' ? true : undefined))
  expect(upstream.seen.length).toBe(before + 2)
})

test('the command says what the console says', async () => {
  expect(await freeze('upstream', 'biling', '--reason', 'x')).toEqual({
    code: 1,
    said: expect.stringMatching(/^400: .*no upstream is called "biling"/),
  })
  expect((await freeze('list')).said).toBe('nothing is frozen\n')
  const anybody = await runHoldpoint(['freeze', 'list', '--console', a.console], { env: { HOLDPOINT_TOKEN: token } })
  expect([anybody.code, anybody.stderr]).toEqual([1, expect.stringMatching(/^401: /)])
  const openly = await runHoldpoint(['freeze', 'list', '--console', 'http://console.example'], {
    env: { HOLDPOINT_TOKEN: token },
  })
  expect([openly.code, openly.stderr]).toEqual([1, expect.stringContaining('https')])
})
