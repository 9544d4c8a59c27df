// The store is away: nothing that needs it gets through, everything else works, and it heals by itself.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newKey } from '../../src/seal.ts'
import { eventually } from '../support/eventually.ts'
import { people } from '../support/people.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { type Stage, startStage, waiting } from '../support/stage.ts'

let redis: RedisServer
let spool: string
let stage: Stage

beforeAll(async () => {
  redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  spool = await mkdtemp(join(tmpdir(), 'holdpoint-spool-'))
  stage = await startStage({
    config: { store: redis.url, keys: newKey('k1'), audit: { spool, trails: [{ kind: 'file', path: './audit' }] } },
  })
})
afterAll(async () => {
  await stage.close()
  await redis.stop()
  await rm(spool, { recursive: true, force: true })
})

const ready = async () => (await fetch(`${stage.holdpoint.admin}/readyz`)).status
const live = async () => (await fetch(`${stage.holdpoint.admin}/livez`)).status

test('without Redis calls that need holding are refused, calls that rules allow or deny go on, and afterwards all is well', async () => {
  expect(await ready()).toBe(200)
  expect((await stage.call('GET', '/billing/v1/invoices')).status).toBe(200)
  const before = stage.upstream.seen.length
  await redis.kill()

  const held = await stage.call('POST', '/billing/v1/refunds', { body: 'one' })
  expect([held.status, held.json?.code, held.json?.retryable]).toEqual([503, 'store_unavailable', true])
  expect((await stage.call('GET', '/billing/v1/invoices?while=away')).status).toBe(200)
  expect((await stage.call('DELETE', '/billing/v1/customers/1')).json?.code).toBe('denied_by_rule')
  expect(await eventually(async () => ((await ready()) === 503 ? 503 : undefined))).toBe(503)
  expect(await live()).toBe(200)
  expect(stage.upstream.seen).toHaveLength(before + 1)

  await redis.restart()
  await eventually(async () => ((await ready()) === 200 ? true : undefined), 20_000)
  const ana = await stage.desk(people.ana)
  const answer = stage.call('POST', '/billing/v1/refunds', { body: 'two' })
  await ana.approve((await waiting(ana)).id)
  expect((await answer).status).toBe(200)
  expect(stage.upstream.seen.at(-1)?.body).toBe('two')

  await stage.holdpoint.stop()
  const allowed = (await stage.holdpoint.audit()).filter(entry => entry.kind === 'call.allowed')
  expect(allowed.length).toBeGreaterThanOrEqual(2)
})
