// The admin listener from outside: what it says of a running program, and that its metrics count what happened and name nobody.
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newMeter } from '../src/metrics.ts'
import { eventually } from './support/eventually.ts'
import { people } from './support/people.ts'
import { type Stage, startStage, waiting } from './support/stage.ts'

let stage: Stage

const admin = (path: string, method = 'GET'): Promise<Response> => fetch(`${stage.holdpoint.admin}${path}`, { method })

/** The value of one series, by its name and labels as they are printed. */
const valueIn = (text: string, series: string): number | undefined => {
  const line = text.split('\n').find(one => one.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}
const metrics = async (): Promise<string> => (await admin('/metrics')).text()

beforeAll(async () => {
  stage = await startStage()
})
afterAll(() => stage.close())

describe('paths and methods', () => {
  test.each([
    ['GET', '/livez', 200],
    ['HEAD', '/livez', 200],
    ['GET', '/readyz', 200],
    ['GET', '/readyz?verbose', 200],
    ['GET', '/metrics', 200],
    ['POST', '/metrics', 405],
    ['GET', '/', 404],
    ['GET', '/livez/', 404],
  ])('%s %s: %i', async (method, path, status) => {
    const answer = await admin(path, method)
    expect(answer.status).toBe(status)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    if (method === 'HEAD') expect(await answer.text()).toBe('')
  })
})

test('/readyz says how each part is', async () => {
  expect(await (await admin('/readyz')).json()).toEqual({
    ready: true,
    store: { kind: 'sqlite', ok: true, durability: 'disk', notes: expect.any(Array) },
    audit: { ok: true },
    issuers: { ok: true, trouble: [] },
    configuration: { ok: true, hash: expect.any(String), problems: [] },
  })
})

test('/metrics counts calls by what became of them', async () => {
  expect((await stage.call('GET', '/billing/v1/invoices')).status).toBe(200)
  expect((await stage.call('DELETE', '/billing/v1/invoices')).status).toBe(403)
  expect((await stage.call('GET', '/billing/v1/invoices', { headers: { authorization: 'Bearer no' } })).status).toBe(
    401,
  )
  const text = await metrics()
  expect(valueIn(text, 'holdpoint_calls_total{outcome="allowed",upstream="billing",code=""}')).toBe(1)
  expect(valueIn(text, 'holdpoint_calls_total{outcome="denied",upstream="billing",code="denied_by_rule"}')).toBe(1)
  expect(valueIn(text, 'holdpoint_calls_total{outcome="refused",upstream="",code="unauthenticated"}')).toBe(1)
  expect(valueIn(text, 'holdpoint_added_seconds_count{upstream="billing"}')).toBe(1)
  expect(valueIn(text, 'holdpoint_added_seconds_sum{upstream="billing"}')).toBeGreaterThan(0)
})

test('/metrics follows a hold from its opening to its decision, and counts verdicts that were refused', async () => {
  const answer = stage.call('POST', '/billing/v1/refunds', { body: 'refund' })
  answer.catch(() => {})
  const ana = await stage.desk(people.ana)
  const { id } = await waiting(ana)
  // The store is read for the gauge once a second.
  const pending = 'holdpoint_holds{state="pending",rule="refunds"}'
  expect(await eventually(async () => valueIn(await metrics(), pending))).toBe(1)
  expect((await (await stage.desk(people.ben)).approve(id)).json.code).toBe('own_call')
  expect((await ana.approve(id)).status).toBe(200)
  expect((await answer).status).toBe(200)
  // The time to the decision is read after the verdict was answered.
  await eventually(async () => valueIn(await metrics(), 'holdpoint_decision_seconds_count{rule="refunds"}'))
  // That it was delivered is noted after the caller has the answer.
  await eventually(async () => valueIn(await metrics(), 'holdpoint_hold_moves_total{state="delivered",rule="refunds"}'))
  const text = await metrics()
  for (const state of ['pending', 'approved', 'released', 'delivered'])
    expect(valueIn(text, `holdpoint_hold_moves_total{state="${state}",rule="refunds"}`), state).toBe(1)
  expect(valueIn(text, 'holdpoint_calls_total{outcome="held",upstream="billing",code=""}')).toBe(1)
  expect(valueIn(text, 'holdpoint_verdicts_refused_total{code="own_call"}')).toBe(1)
  expect(valueIn(text, 'holdpoint_decision_seconds_sum{rule="refunds"}')).toBeGreaterThan(0)
})

test('/metrics names nobody: no path, no subject, no address', async () => {
  const text = await metrics()
  expect(text).not.toMatch(/invoices|agent-7|ana@|127\.0\.0\.1/)
})

test('a bad new configuration is told by both, and takes nothing out of service', async () => {
  expect(valueIn(await metrics(), 'holdpoint_config_problems')).toBe(0)
  await appendFile(join(stage.holdpoint.dir, 'rules.yaml'), '\nnonsense: true\n')
  const problems = await eventually(async () => valueIn(await metrics(), 'holdpoint_config_problems') || undefined)
  expect(problems).toBeGreaterThan(0)
  const answer = await admin('/readyz')
  expect(answer.status).toBe(200)
  const { configuration } = (await answer.json()) as {
    configuration: { ok: boolean; hash: string; problems: string[] }
  }
  expect(configuration.ok).toBe(false)
  expect(configuration.problems.join()).toContain('nonsense')
  expect(valueIn(await metrics(), `holdpoint_config_info{hash="${configuration.hash}"}`)).toBe(1)
})

test('of rules only so many are told apart', async () => {
  const meter = newMeter()
  for (let rule = 0; rule < 1_000; rule++) meter.moved('pending', `rule-${rule}`)
  const lines = (await meter.text()).split('\n').filter(line => line.startsWith('holdpoint_hold_moves_total{'))
  expect(lines.length).toBe(201)
  expect(lines).toContain('holdpoint_hold_moves_total{state="pending",rule="other"} 800')
})
