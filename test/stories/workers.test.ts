// `serve --workers 2`: two processes behind one port are one gate. Holds cross between them, the admin port speaks for both, one that is
// killed comes back, and both stop together.
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { newKey } from '../../src/seal.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, runHoldpoint, startHoldpoint, workDir } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { callGate, type Desk, deskAt, financeRules, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let upstream: Upstream
let redis: RedisServer
let program: Program
let token: string
let ana: Desk

beforeAll(async () => {
  idp = await startCast()
  upstream = await startUpstream()
  redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const config = { ...(await stageConfig(idp.issuer, upstream.url)), store: redis.url, keys: newKey('k1') }
  program = await startHoldpoint({ config, rules: financeRules('wait: 5s'), args: ['--workers', '2'] })
  token = await agentToken(idp.issuer, clients.agent)
  ana = deskAt(program.console, await signIn(idp.issuer, people.ana))
})
afterAll(async () => {
  await program[Symbol.asyncDispose]()
  await redis.stop()
  await upstream.close()
  await idp.close()
})

const refund = (body: string) => callGate(program.gate, 'POST', '/billing/v1/refunds', { token, body })
const admin = async (path: string): Promise<{ status: number; text: string }> => {
  const answer = await fetch(program.admin + path)
  return { status: answer.status, text: await answer.text() }
}
test('the same call four times at once is one hold and one delivery, wherever each of them arrives', async () => {
  const before = upstream.seen.length
  const answers = Array.from({ length: 4 }, () => refund('one'))
  const { id } = await waiting(ana)
  await ana.approve(id)
  const statuses = (await Promise.all(answers)).map(answer => answer.status).sort()
  expect(statuses).toEqual([200, 409, 409, 409])
  expect(upstream.seen).toHaveLength(before + 1)
})

test('the admin port speaks for both', async () => {
  const ready = await admin('/readyz')
  expect(ready.status).toBe(200)
  const said = JSON.parse(ready.text) as { ready: boolean; workers: { store: { kind: string } }[] }
  expect(said.ready).toBe(true)
  expect(said.workers.map(worker => worker.store.kind)).toEqual(['redis', 'redis'])
  expect((await admin('/livez')).status).toBe(200)
  expect((await admin('/nothing')).status).toBe(404)
  const { text } = await admin('/metrics')
  expect(text).toMatch(/^holdpoint_store_up 1$/m)
  expect(text).toMatch(/^holdpoint_hold_moves_total\{state="delivered".*\} 1$/m)
})

test('a worker that is killed is started again, and calls are answered meanwhile', async () => {
  const started = program.logged(({ msg }) => msg === 'a worker ended and is started again')
  const worker = await workerPid()
  process.kill(worker, 'SIGKILL')
  expect(await started).toMatchObject({ signal: 'SIGKILL' })
  expect((await callGate(program.gate, 'GET', '/billing/v1/refunds', { token })).status).toBe(200)
  await expect.poll(async () => (await admin('/readyz')).status, { timeout: 20_000 }).toBe(200)
})

test('both stop together', async () => {
  expect(await program.stop()).toBe(0)
  await expect(fetch(`${program.gate}/.well-known/oauth-protected-resource`)).rejects.toThrow()
})

test('with SQLite it says what is missing', async () => {
  const config = await stageConfig(idp.issuer, upstream.url)
  const cwd = await workDir({ config, rules: financeRules('wait: 5s') })
  const refused = await runHoldpoint(['serve', '-c', 'holdpoint.yaml', '--workers', '2'], { cwd })
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('--workers') })
  expect(refused.stderr).toContain('Redis')
  const none = await runHoldpoint(['serve', '-c', 'holdpoint.yaml', '--workers', '0'], { cwd })
  expect(none.stderr).toContain('from 1 to 64')
})

/** One of the two, as the system knows it. */
const workerPid = async (): Promise<number> => {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(program.pid)], { encoding: 'utf8' })
  return Number(children.trim().split(/\s+/)[0])
}
