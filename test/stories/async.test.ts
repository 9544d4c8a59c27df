// A caller that does not want to wait: 202 with a task, a long poll, the kept answer, and withdrawing.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people } from '../support/people.ts'
import { type Desk, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
let ana: Desk

beforeAll(async () => {
  stage = await startStage({
    answer: seen => ({ status: 201, headers: { 'x-made': 'yes' }, body: `made ${seen.body}` }),
  })
  ana = await stage.desk(people.ana)
})
afterAll(() => stage.close())

const ask = (body: string) => stage.call('POST', '/billing/v1/refunds', { body, headers: { prefer: 'respond-async' } })
const get = (path: string, headers: { readonly [name: string]: string } = {}) => stage.call('GET', path, { headers })
const task = (answer: { readonly json: unknown }) =>
  (answer.json as { task: { id: string; status: string; links: object } }).task

test('a held call is answered with a task at once, sent after approval, and its answer is kept', async () => {
  const accepted = await ask('first')
  expect(accepted.status).toBe(202)
  expect(accepted.headers.get('preference-applied')).toBe('respond-async')
  expect(Number(accepted.headers.get('retry-after'))).toBeGreaterThan(0)
  const location = new URL(accepted.headers.get('location') ?? '')
  expect(location.origin).toBe(stage.holdpoint.gate)
  const { id } = task(accepted)
  expect(location.pathname).toBe(`/.holdpoint/holds/${id}`)
  expect(task(accepted)).toMatchObject({
    status: 'pending',
    status_endpoint: location.href,
    votes: { have: 0, needed: 1 },
  })

  const early = await get(`${location.pathname}/response`)
  expect([early.status, early.json?.code]).toEqual([409, 'not_delivered'])

  const poll = get(location.pathname, { prefer: 'wait=20' })
  await ana.approve(id)
  const polled = await poll
  expect([polled.status, task(polled).status]).toEqual([200, 'approved'])
  expect(polled.json).toHaveProperty('result.approval.id')

  await stage.upstream.arrived(1)
  const replay = await eventually(async () => {
    const answer = await get(`${location.pathname}/response`)
    return answer.status === 409 ? undefined : answer
  })
  expect([replay.status, replay.body, replay.headers.get('x-made')]).toEqual([201, 'made first', 'yes'])
  expect((await get(`${location.pathname}/response`)).body).toBe('made first')
  expect(task(await get(location.pathname))).toMatchObject({
    status: 'approved',
    delivery: { state: 'delivered', status: 201 },
  })
  expect(stage.upstream.seen.map(seen => seen.body)).toEqual(['first'])
})

test('a task is shown to its caller only', async () => {
  const { id } = task(await ask('private'))
  const stranger = await agentToken(stage.idp.issuer, clients.other)
  for (const [method, path] of [
    ['GET', ''],
    ['GET', '/response'],
    ['DELETE', ''],
    ['POST', '/cancel'],
  ] as const) {
    const answer = await stage.call(method, `/.holdpoint/holds/${id}${path}`, { token: stranger })
    expect([answer.status, answer.json?.type]).toEqual([404, 'urn:openid:authzen:access-request:error:unknown_task'])
  }
})

test.each([
  ['DELETE', ''],
  ['POST', '/cancel'],
])('withdrawn with %s%s it cannot be approved any more', async (method, path) => {
  const { id } = task(await ask(`withdrawn by ${method}`))
  const before = stage.upstream.seen.length
  const withdrawn = await stage.call(method, `/.holdpoint/holds/${id}${path}`)
  expect([withdrawn.status, task(withdrawn).status]).toEqual([200, 'cancelled'])
  expect(await ana.approve(id)).toMatchObject({ status: 409, json: { code: 'already_decided' } })
  const again = await stage.call(method, `/.holdpoint/holds/${id}${path}`)
  expect([again.status, again.json?.type]).toEqual([409, 'urn:openid:authzen:access-request:error:invalid_task_state'])
  expect(stage.upstream.seen).toHaveLength(before)
})
