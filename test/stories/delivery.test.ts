// The awkward ends of a delivery: a stop in the middle, an upstream that refuses or never ends, a caller that hangs up or asks again.
import { afterEach, expect, test } from 'vitest'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { eventually } from '../support/eventually.ts'
import { startIssuer } from '../support/issuer.ts'
import { clients, people } from '../support/people.ts'
import { callGate, financeRules, type Stage, type StageOptions, startStage, waiting } from '../support/stage.ts'

let stage: Stage | undefined
const start = async (options: StageOptions): Promise<Stage> => {
  stage = await startStage(options)
  return stage
}
afterEach(async () => {
  await stage?.close()
  stage = undefined
})

const refund = (on: Stage, body: string, headers: { readonly [name: string]: string } = {}) =>
  on.call('POST', '/billing/v1/refunds', { body, headers })
const gateOf = async (): Promise<object> => {
  const [port] = await freePorts(1)
  return { listen: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}` }
}
const async = { prefer: 'respond-async' }
const kinds = async (on: Stage): Promise<unknown[]> => (await on.holdpoint.audit()).map(entry => entry.kind)

test('a stop in the middle of an async delivery lets it finish, and its answer is kept', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const on = await start({ answer: () => promise.then(() => ({ body: 'late' })) })
  const ana = await on.desk(people.ana)
  const id = (await refund(on, 'one', async)).headers.get('holdpoint-hold') ?? ''
  await ana.approve(id)
  await on.upstream.arrived(1)
  const stopped = on.holdpoint.stop('SIGTERM')
  await on.holdpoint.logged(line => line.msg === 'stopping')
  resolve()
  expect(await stopped).toBe(0)
  expect(await kinds(on)).toContain('hold.delivered')
})

test('an upstream that refuses gets time between tries, and the hold says so', async () => {
  const on = await start({
    config: { upstreams: [{ name: 'billing', kind: 'http', url: 'http://127.0.0.1:9', at: { prefix: '/billing' } }] },
  })
  const ana = await on.desk(people.ana)
  const id = (await refund(on, 'one', async)).headers.get('holdpoint-hold') ?? ''
  await ana.approve(id)
  await eventually(async () => (await kinds(on)).includes('hold.returned') || undefined)
  const answer = await on.call('GET', `/.holdpoint/holds/${id}`, { headers: { prefer: 'wait=3' } })
  expect(answer.json).toMatchObject({ task: { status: 'approved', delivery: { state: 'waiting' } } })
  expect((await kinds(on)).filter(kind => kind === 'hold.released').length).toBeLessThan(4)
})

test('an answer that never ends is not kept, and the hold does not wait for it', async () => {
  const on = await start({
    config: { gate: { ...(await gateOf()), limits: { answer: '1KiB' } } },
    answer: () => ({ body: 'x'.repeat(4096) }),
  })
  const ana = await on.desk(people.ana)
  const id = (await refund(on, 'one', async)).headers.get('holdpoint-hold') ?? ''
  await ana.approve(id)
  const replay = await eventually(async () => {
    const answer = await on.call('GET', `/.holdpoint/holds/${id}/response`)
    return answer.status === 409 ? undefined : answer
  })
  expect([replay.status, replay.json?.code]).toEqual([410, 'answer_not_kept'])
  expect((await ana.hold(id)).delivery).toMatchObject({ state: 'delivered', status: 200 })
})

test('a write that was delivered for an async caller is not repeated before it has its answer', async () => {
  const on = await start({})
  const ana = await on.desk(people.ana)
  const id = (await refund(on, 'one', async)).headers.get('holdpoint-hold') ?? ''
  await ana.approve(id)
  await on.upstream.arrived(1)
  await eventually(async () => ((await ana.hold(id)).status === 'delivered' ? true : undefined))
  const again = await refund(on, 'one', async)
  expect([again.status, again.json?.code, again.json?.hold]).toEqual([409, 'already_delivered', id])
  expect((await on.call('GET', `/.holdpoint/holds/${id}/response`)).status).toBe(200)
  // With its answer in hand the caller may want the same once more: that is a new call.
  const anew = await eventually(async () => {
    const answer = await refund(on, 'one', async)
    return answer.status === 202 ? answer : undefined
  })
  expect(anew.headers.get('holdpoint-hold')).not.toBe(id)
  expect(on.upstream.seen).toHaveLength(1)
})

test('with onDisconnect: cancel the last caller that hangs up withdraws the call, not the first of two', async () => {
  const on = await start({ rules: financeRules('wait: 30s, onDisconnect: cancel') })
  const ana = await on.desk(people.ana)
  const [one, two] = [new AbortController(), new AbortController()]
  const calls = [one, two].map(({ signal }) =>
    on.call('POST', '/billing/v1/refunds', { body: 'one', signal }).catch(() => undefined),
  )
  const { id } = await waiting(ana)
  await eventually(async () => ((await kinds(on)).includes('call.attached') ? true : undefined))
  one.abort()
  await calls[0]
  expect((await ana.hold(id)).status).toBe('pending')
  two.abort()
  await eventually(async () => ((await ana.hold(id)).status === 'cancelled' ? true : undefined))
  expect(on.upstream.seen).toEqual([])
})

test('who joined and who collected is on record', async () => {
  const on = await start({ rules: financeRules('wait: 1s') })
  const ana = await on.desk(people.ana)
  const id = (await refund(on, 'one')).headers.get('holdpoint-hold') ?? ''
  await ana.approve(id)
  expect((await refund(on, 'one')).status).toBe(200)
  await on.holdpoint.stop()
  const entries = await on.holdpoint.audit()
  const opened = entries.find(entry => entry.kind === 'call.held')
  const joined = entries.find(entry => entry.kind === 'call.attached')
  expect(joined).toMatchObject({ hold: id, address: '127.0.0.1' })
  expect(joined?.call).not.toBe(opened?.call)
  expect(entries.find(entry => entry.kind === 'hold.released')).toMatchObject({
    call: opened?.call,
    collectedBy: { call: joined?.call },
  })
})

test('a caller who comes back with other groups does not collect what weaker rules approved', async () => {
  const issuer = await startIssuer()
  const rules = `
rules:
  - name: trusted-refunds
    match: { upstream: billing, method: POST, caller: { group: trusted } }
    then: hold
    approve: { by: { groups: [finance-leads] }, wait: 1s }
  - name: refunds
    match: { upstream: billing, method: POST }
    then: hold
    approve: { by: { groups: [finance-leads] }, votes: 3, wait: 1s }
`
  try {
    const on = await start({
      rules,
      config: { issuers: [{ name: 'agents', issuer: issuer.url, audience: 'api://holdpoint', kind: 'agent' }] },
    })
    const ana = await on.desk(people.ana)
    const as = async (...groups: string[]) =>
      callGate(on.holdpoint.gate, 'POST', '/billing/v1/refunds', {
        body: 'one',
        token: await issuer.token({ aud: 'api://holdpoint', sub: 'agent-7', owner: clients.agent.owner, groups }),
      })
    const first = await as('trusted')
    expect(first.json).toMatchObject({ code: 'hold_pending' })
    const id = first.headers.get('holdpoint-hold') ?? ''
    await ana.approve(id)
    const collected = await as()
    expect([collected.status, collected.json?.code]).toEqual([403, 'approval_void'])
    expect(on.upstream.seen).toEqual([])
  } finally {
    await issuer.close()
  }
})
