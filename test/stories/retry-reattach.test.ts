// A client that only knows how to retry: 503 with Retry-After, the same hold again, and one delivery in the end.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people } from '../support/people.ts'
import { type Desk, financeRules, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
let ana: Desk

beforeAll(async () => {
  stage = await startStage({ rules: financeRules('wait: 1s') })
  ana = await stage.desk(people.ana)
})
afterAll(() => stage.close())

const refund = (body: string, headers: { readonly [name: string]: string } = {}) =>
  stage.call('POST', '/billing/v1/refunds', { body, headers })

test('the same call again is the same hold, and what was approved meanwhile is collected once', async () => {
  const first = await refund('one', {
    'user-agent': 'client',
    'x-request-id': '1',
    traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
  })
  expect([first.status, first.json?.code, first.headers.get('retry-after')]).toEqual([503, 'hold_pending', '1'])
  const id = first.headers.get('holdpoint-hold') ?? ''
  expect(first.json).toMatchObject({
    hold: id,
    status_url: `${stage.holdpoint.gate}/.holdpoint/holds/${id}`,
    retryable: true,
    rule: 'refunds',
  })
  expect(String(first.json?.detail)).toMatch(
    /^Held as \S+ for .*finance-leads.*Run the same call again.*Nothing was sent\./,
  )

  const second = await refund('one', { 'user-agent': 'client/2 retry', 'x-request-id': '2' })
  expect([second.status, second.headers.get('holdpoint-hold')]).toEqual([503, id])
  expect(await ana.pending()).toHaveLength(1)

  await ana.approve(id)
  expect((await ana.hold(id)).status).toBe('approved')
  expect(stage.upstream.seen).toHaveLength(0)

  const collected = await refund('one', { 'x-request-id': '3' })
  expect([collected.status, collected.body]).toEqual([200, 'answer 1\n'])
  expect(stage.upstream.seen).toHaveLength(1)

  const afterwards = await refund('one')
  expect([afterwards.status, afterwards.headers.get('holdpoint-hold') === id]).toEqual([503, false])
  expect(stage.upstream.seen).toHaveLength(1)
})

test('what differs in one byte, header or query is another hold', async () => {
  const ids = new Set<string | null>()
  const call = async (target: string, body: string, headers = {}) =>
    ids.add((await stage.call('POST', target, { body, headers })).headers.get('holdpoint-hold'))
  await call('/billing/v1/refunds', 'two')
  await call('/billing/v1/refunds', 'two ')
  await call('/billing/v1/refunds?a=1', 'two')
  await call('/billing/v1/refunds', 'two', { 'x-tenant': 'b' })
  expect(ids.size).toBe(4)
})

test('of several callers that wait for the same hold one gets the answer, the others are told that it was delivered', async () => {
  const callers = [refund('three', { prefer: 'wait=1' }), refund('three'), refund('three')]
  const first = await callers[0]
  const id = first?.headers.get('holdpoint-hold') ?? ''
  const before = stage.upstream.seen.length
  const late = [refund('three'), refund('three'), refund('three')]
  await ana.approve(id)
  const statuses = (await Promise.all(late)).map(answer => answer.status).sort()
  expect(statuses).toEqual([200, 409, 409])
  expect(stage.upstream.seen).toHaveLength(before + 1)
})
