// A caller that opens and withdraws holds in a loop is slowed down before it fills the store; what is held already goes on.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentToken, clients, people } from '../support/people.ts'
import { type Stage, stageConfig, startStage } from '../support/stage.ts'

let stage: Stage

beforeAll(async () => {
  const { gate } = (await stageConfig('http://127.0.0.1:1', 'http://127.0.0.1:1')) as {
    gate: object
  }
  stage = await startStage({ config: { gate: { ...gate, limits: { holdsPerMinute: 3 } } } })
})
afterAll(() => stage.close())

const async = { prefer: 'respond-async' }
const refund = (body: string, token = stage.token) =>
  stage.call('POST', '/billing/v1/refunds', { body, headers: async, token })
const withdraw = (id: string) => stage.call('DELETE', `/.holdpoint/holds/${id}`)

test('three in a minute are opened, the fourth is not, and a repeat of one that waits is', async () => {
  const ids: string[] = []
  for (const body of ['one', 'two', 'three']) {
    const { status, headers } = await refund(body)
    expect(status).toBe(202)
    ids.push(headers.get('holdpoint-hold') ?? '')
  }
  for (const id of ids.slice(1)) expect((await withdraw(id)).status).toBe(200)

  const late = await refund('four')
  expect([late.status, late.json?.code]).toEqual([429, 'too_many_holds'])
  expect(String(late.json?.detail)).toContain('holdsPerMinute')
  expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(0)
  for (let times = 0; times < 5; times++) {
    const again = await refund('one')
    expect([again.status, again.headers.get('holdpoint-hold')]).toEqual([202, ids[0]])
  }

  const other = await refund('four', await agentToken(stage.idp.issuer, clients.other))
  expect(other.status).toBe(202)
  const ana = await stage.desk(people.ana)
  expect((await ana.pending()).map(({ id }) => id)).toEqual([ids[0], other.headers.get('holdpoint-hold')])
})
