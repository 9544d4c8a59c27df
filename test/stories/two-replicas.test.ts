// Two replicas on one Redis: any of them can play any part of a hold's life.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { newKey } from '../../src/seal.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { callGate, type Desk, deskAt, financeRules, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let upstream: Upstream
let redis: RedisServer
let a: Program
let b: Program
let token: string
let anaAtB: Desk

beforeAll(async () => {
  idp = await startCast()
  upstream = await startUpstream()
  redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const keys = newKey('k1')
  const start = async () => {
    const config = { ...(await stageConfig(idp.issuer, upstream.url)), store: redis.url, keys }
    return startHoldpoint({ config, rules: financeRules('wait: 5s') })
  }
  a = await start()
  b = await start()
  token = await agentToken(idp.issuer, clients.agent)
  anaAtB = deskAt(b.console, await signIn(idp.issuer, people.ana))
})
afterAll(async () => {
  await a[Symbol.asyncDispose]()
  await b[Symbol.asyncDispose]()
  await redis.stop()
  await upstream.close()
  await idp.close()
})

const refund = (at: Program, body: string, prefer?: string) =>
  callGate(at.gate, 'POST', '/billing/v1/refunds', { token, body, headers: prefer === undefined ? {} : { prefer } })

test('held at A, approved at B, answered at A', async () => {
  const before = upstream.seen.length
  const answer = refund(a, 'one')
  const { id } = await waiting(anaAtB)
  await anaAtB.approve(id)
  expect((await answer).status).toBe(200)
  expect((await answer).headers.get('holdpoint-hold')).toBe(id)
  expect(upstream.seen).toHaveLength(before + 1)
})

test('held at A, approved at B, collected at B', async () => {
  const before = upstream.seen.length
  const first = await refund(a, 'two', 'wait=1')
  const id = first.headers.get('holdpoint-hold') ?? ''
  expect([first.status, first.json?.code]).toEqual([503, 'hold_pending'])
  await anaAtB.approve(id)
  const collected = await refund(b, 'two')
  expect([collected.status, collected.headers.get('holdpoint-hold')]).toEqual([200, id])
  expect(upstream.seen).toHaveLength(before + 1)
})

test('the same call at both replicas is one hold and one delivery', async () => {
  const before = upstream.seen.length
  const answers = [refund(a, 'three'), refund(b, 'three'), refund(a, 'three'), refund(b, 'three')]
  const { id } = await waiting(anaAtB)
  expect(await anaAtB.pending()).toHaveLength(1)
  await anaAtB.approve(id)
  const statuses = (await Promise.all(answers)).map(answer => answer.status).sort()
  expect(statuses).toEqual([200, 409, 409, 409])
  expect(upstream.seen).toHaveLength(before + 1)
})

test('killed at A while it waits, the call is answered at B', async () => {
  const before = upstream.seen.length
  const lost = refund(a, 'four').catch(error => error)
  const { id } = await waiting(anaAtB)
  await a.kill()
  expect(await lost).toBeInstanceOf(Error)
  const again = refund(b, 'four')
  await anaAtB.approve(id)
  expect((await again).headers.get('holdpoint-hold')).toBe(id)
  expect((await again).status).toBe(200)
  expect(upstream.seen).toHaveLength(before + 1)
})
