// An agent asks for a refund, the call waits on its connection, Ana approves, and the agent has its answer.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people } from '../support/people.ts'
import { type Stage, startStage, upstreamKey, waiting } from '../support/stage.ts'

const refund = '{"amount": 250,  "currency":"EUR","customer":"Zoë"}\n'
const headers = { 'content-type': 'application/json', 'x-idempotence': 'ours' }
let stage: Stage

beforeAll(async () => {
  stage = await startStage({ answer: () => ({ status: 201, headers: { 'x-refund': 're_1' }, body: 'refunded\n' }) })
})
afterAll(() => stage.close())

test('a call that is held reaches the upstream once, byte for byte, after somebody else approved it', async () => {
  const { call, upstream, holdpoint, token } = stage
  const ana = await stage.desk(people.ana)

  const answer = call('POST', '/billing/v1/refunds?note=a%20b&note=c', { headers, body: refund })
  const row = await waiting(ana)
  expect(upstream.seen).toHaveLength(0)

  const seen = await ana.hold(row.id)
  expect(seen).toMatchObject({
    status: 'pending',
    upstream: 'billing',
    action: { name: 'http:POST', resource: '/v1/refunds' },
    caller: { subject: 'agent-7', kind: 'agent' },
    behind: { people: ['ben@acme.test'], known: true },
    rules: ['refunds'],
    votes: { have: 0, needed: 1 },
    request: { method: 'POST', target: '/v1/refunds?note=a%20b&note=c', body: { kind: 'shown' } },
    you: { may_decide: true },
  })

  const { status, json } = await ana.approve(row.id, 'within policy')
  expect([status, json.id]).toEqual([200, row.id])
  expect(await answer).toMatchObject({ status: 201, body: 'refunded\n' })
  expect((await answer).headers.get('x-refund')).toBe('re_1')
  expect((await answer).headers.get('holdpoint-hold')).toBe(row.id)

  expect(upstream.seen).toHaveLength(1)
  const [arrived] = upstream.seen
  expect(arrived).toMatchObject({
    method: 'POST',
    target: '/v1/refunds?note=a%20b&note=c',
    body: refund,
    headers: { authorization: `Bearer ${upstreamKey}`, 'x-idempotence': 'ours', 'content-type': 'application/json' },
  })
  expect(JSON.stringify(arrived)).not.toContain(token)

  await holdpoint.stop()
  const entries = (await holdpoint.audit()).filter(entry => entry.hold === row.id)
  expect(entries.map(entry => entry.kind)).toEqual(['call.held', 'verdict.accepted', 'hold.released', 'hold.delivered'])
  expect(entries[0]).toMatchObject({
    caller: { subject: 'agent-7' },
    behind: ['ben@acme.test'],
    rule: 'refunds',
    method: 'POST',
  })
  expect(entries[1]).toMatchObject({ reviewer: { login: 'idp', subject: 'ana', via: 'api' }, comment: 'within policy' })
  expect(entries[3]).toMatchObject({ status: 201 })
  expect(JSON.stringify(entries)).not.toContain(token)
})
