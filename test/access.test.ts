// The line that every call leaves in the program's log: who, what and how it ended, and nothing that could be a secret.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { LogLine } from './support/program.ts'
import { financeRules, type Stage, startStage } from './support/stage.ts'

const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
let stage: Stage

beforeAll(async () => {
  stage = await startStage({ rules: financeRules('wait: 1s') })
})
afterAll(() => stage.close())

const lineFor = (fits: (line: LogLine) => boolean): Promise<LogLine> =>
  stage.holdpoint.logged(line => line.msg === 'call' && fits(line))

test('an allowed call: how it ended, and the trace its upstream was told', async () => {
  const headers = { traceparent: `00-${trace}-00f067aa0ba902b7-01`, 'x-note': 'not-for-the-log' }
  await stage.call('GET', '/billing/v1/invoices/private-path', { headers })
  const line = await lineFor(one => one.outcome === 'allowed')
  expect(line).toMatchObject({
    level: 'info',
    caller: { issuer: 'agents', subject: 'agent-7' },
    upstream: 'billing',
    method: 'GET',
    action: 'http:GET',
    status: 200,
    trace,
  })
  expect(line.ms).toBeGreaterThan(0)
  const text = JSON.stringify(line)
  for (const secret of ['private-path', 'not-for-the-log', stage.token]) expect(text).not.toContain(secret)
})

test('a trace that begins at the gate is the one that log, audit and upstream have', async () => {
  await stage.call('GET', '/billing/v1/begins')
  const line = await lineFor(one => one.outcome === 'allowed' && one.trace !== trace)
  const seen = stage.upstream.seen.findLast(({ target }) => target === '/v1/begins')
  expect(seen?.headers.traceparent).toMatch(new RegExp(`^00-${line.trace}-[0-9a-f]{16}-00$`))
})

test.each([
  ['denied', 'denied_by_rule', 'DELETE', '/billing/v1/invoices/1', {}],
  ['refused', 'unauthenticated', 'GET', '/billing/v1/invoices/1', { token: 'nobody' }],
  ['held', 'hold_pending', 'POST', '/billing/v1/refunds', { body: '{"amount":5}' }],
])('a call that is %s says why', async (outcome, code, method, target, options) => {
  const { status } = await stage.call(method, target, options)
  expect(await lineFor(one => one.outcome === outcome)).toMatchObject({ code, method, status })
})

test('what was written last is there when the program has ended, and HOLDPOINT_ACCESS=off writes none', async () => {
  const quiet = await startStage({ rules: financeRules(), env: { HOLDPOINT_ACCESS: 'off' } })
  await quiet.call('GET', '/billing/v1/invoices/1')
  await quiet.holdpoint.stop()
  expect(quiet.holdpoint.logs().filter(({ msg }) => msg === 'call')).toEqual([])
  await quiet.close()
  const loud = await startStage({ rules: financeRules() })
  await loud.call('GET', '/billing/v1/invoices/1')
  await loud.holdpoint.stop()
  expect(loud.holdpoint.logs().filter(({ msg }) => msg === 'call')).toHaveLength(1)
  await loud.close()
})
