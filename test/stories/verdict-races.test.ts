// Verdicts that race: through the API, through a page and by the caller itself, all at the same moment on the same hold. One counts, the
// others are told what it is now, and the upstream gets exactly what was approved.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Browser, signInAt } from '../support/console.ts'
import { eventually } from '../support/eventually.ts'
import { people } from '../support/people.ts'
import { type Desk, financeRules, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
let ana: Desk
let dora: Browser

beforeAll(async () => {
  stage = await startStage({ rules: financeRules('wait: 50s') })
  ana = await stage.desk(people.ana)
  dora = await signInAt(stage.holdpoint.console, people.dora)
})
afterAll(() => stage.close())

const left = async (body: string): Promise<string> =>
  (await stage.call('POST', '/billing/v1/refunds', { body, headers: { prefer: 'respond-async' } })).headers.get(
    'holdpoint-hold',
  ) ?? ''

test('of an approval at the API, a denial on a page and a withdrawal by the caller one counts', async () => {
  const { csrf = '' } = await dora.fields('/rules')
  const ends: { [state: string]: number } = {}
  const sent: string[] = []
  for (let round = 0; round < 12; round++) {
    const id = await left(`refund ${round}`)
    const { view } = await ana.hold(id)
    const tries = [
      async () => (await ana.approve(id)).status,
      async () => (await dora.visit(`${stage.holdpoint.console}/holds/${id}/deny`, { form: { csrf, view } })).status,
      async () => (await stage.call('DELETE', `/.holdpoint/holds/${id}`)).status,
    ]
    // Each of them goes first in turn.
    const statuses = await Promise.all([...tries.slice(round % 3), ...tries.slice(0, round % 3)].map(one => one()))
    const won = statuses.filter(status => status < 400)
    expect(statuses.filter(status => status === 409)).toHaveLength(2)
    expect(won).toHaveLength(1)
    const status = await eventually(async () => {
      const { status } = await ana.hold(id)
      return ['pending', 'approved', 'released'].includes(status) ? undefined : status
    })
    ends[status] = (ends[status] ?? 0) + 1
    if (status === 'delivered') sent.push(`refund ${round}`)
    // A denial cools down and three of them pause the rule: the next round is another agent's.
    if ((ends.denied ?? 0) === 2) break
  }
  expect(Object.keys(ends).every(end => ['delivered', 'denied', 'cancelled'].includes(end))).toBe(true)
  expect(stage.upstream.seen.map(({ body }) => body)).toEqual(sent)
})

test('of ten approvals by two people at both doors one counts, and the call is sent once', async () => {
  const id = await left('one refund')
  const before = stage.upstream.seen.length
  const { view } = await ana.hold(id)
  const { csrf = '' } = await dora.fields('/rules')
  const form = { csrf, view }
  const tries = Array.from({ length: 10 }, (_, nth) =>
    nth % 2
      ? ana.approve(id).then(({ status }) => status)
      : dora
          .visit(`${stage.holdpoint.console}/holds/${id}/approve`, { form, until: stage.holdpoint.console })
          .then(({ status }) => status),
  )
  const statuses = await Promise.all(tries)
  expect(statuses.filter(status => status < 400)).toHaveLength(1)
  expect(statuses.filter(status => status === 409)).toHaveLength(9)
  await stage.upstream.arrived(before + 1)
  await eventually(async () => ((await ana.hold(id)).status === 'delivered' ? true : undefined))
  expect(stage.upstream.seen).toHaveLength(before + 1)
  await stage.holdpoint.stop()
  const steps = (await stage.holdpoint.audit()).filter(entry => entry.hold === id)
  const counted = (kind: string): number => steps.filter(entry => entry.kind === kind).length
  expect([counted('verdict.accepted'), counted('verdict.refused'), counted('hold.released')]).toEqual([1, 9, 1])
})
