// Idempotency-Key: one key is one call.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people } from '../support/people.ts'
import { type Desk, financeRules, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
let ana: Desk

beforeAll(async () => {
  stage = await startStage({ rules: financeRules('wait: 1s') })
  ana = await stage.desk(people.ana)
})
afterAll(() => stage.close())

const refund = (body: string, key: string, more: { readonly prefer?: string; readonly token?: string } = {}) =>
  stage.call('POST', '/billing/v1/refunds', {
    body,
    headers: { 'idempotency-key': key, ...(more.prefer === undefined ? {} : { prefer: more.prefer }) },
    ...(more.token === undefined ? {} : { token: more.token }),
  })

const holdOf = async (answer: ReturnType<typeof refund>) => (await answer).headers.get('holdpoint-hold')

test('the same key and the same call is the same hold, another key is another one', async () => {
  const first = await holdOf(refund('a', 'k1'))
  expect(first).not.toBeNull()
  expect(await holdOf(refund('a', 'k1'))).toBe(first)
  expect(await holdOf(refund('a', 'k2'))).not.toBe(first)
})

test('the same key with another call is refused', async () => {
  await refund('b', 'k3')
  const other = await refund('b!', 'k3')
  expect([other.status, other.json?.type, other.json?.code]).toEqual([
    409,
    'urn:openid:authzen:access-request:error:duplicate_request',
    'duplicate_request',
  ])
})

test('a key belongs to its caller', async () => {
  const mine = await holdOf(refund('c', 'k4'))
  const theirs = await refund('c!', 'k4', { token: await agentToken(stage.idp.issuer, clients.other) })
  expect([theirs.status, theirs.headers.get('holdpoint-hold') === mine]).toEqual([503, false])
})

test('after delivery the key gets no second one', async () => {
  const id = (await holdOf(refund('d', 'k5'))) ?? ''
  await ana.approve(id)
  expect((await refund('d', 'k5')).status).toBe(200)
  const again = await refund('d', 'k5')
  expect([again.status, again.json?.code]).toEqual([409, 'already_delivered'])
  expect(stage.upstream.seen.filter(seen => seen.body === 'd')).toHaveLength(1)
})

test('after an asynchronous delivery the key gets the kept answer', async () => {
  const id = (await holdOf(refund('e', 'k6', { prefer: 'respond-async' }))) ?? ''
  await ana.approve(id)
  await eventually(async () => ((await ana.hold(id)).status === 'delivered' ? true : undefined))
  const again = await refund('e', 'k6', { prefer: 'respond-async' })
  expect([again.status, again.body]).toEqual([200, `answer ${stage.upstream.seen.length}\n`])
  expect(stage.upstream.seen.filter(seen => seen.body === 'e')).toHaveLength(1)
})
