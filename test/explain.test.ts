// "Explain this call": the command, the API and the page answer alike, for a call that is only described.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadSettings } from '../src/config.ts'
import type { Explained } from '../src/console/desk.ts'
import { explainCall } from '../src/explain.ts'
import type { Json } from '../src/nouns.ts'
import { describedOf } from '../src/rehearse.ts'
import type { Settings } from '../src/settings.ts'
import { type Browser, type ConsoleStage, startConsole, words } from './support/console.ts'
import { people } from './support/people.ts'
import { runHoldpoint } from './support/program.ts'

const yaml = `
version: 1
gate: { listen: 127.0.0.1:0 }
console: { listen: 127.0.0.1:0, audience: https://console.test }
admin: { listen: 127.0.0.1:0 }
store: sqlite:./holdpoint.db
issuers: [{ name: idp, issuer: https://idp.test, audience: https://gate.test, kind: agent }]
upstreams: [{ name: billing, kind: http, url: https://billing.test, at: { prefix: /billing } }]
callers:
  agent-7: { issuer: idp, subject: agent-7, kind: agent, groups: [finance-agents] }
rules:
  - { name: reads, match: { upstream: billing, method: GET }, then: allow }
  - name: large
    match: { upstream: billing, method: POST, path: /v1/refunds, json: { /amount: { over: 100 } } }
    then: hold
    approve: { by: { people: [ana@acme.test] } }
  - { name: small, match: { upstream: billing, method: POST, path: /v1/refunds }, then: allow }
`

let dir: string
let file: string
let settings: Settings

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'holdpoint-explain-'))
  file = join(dir, 'holdpoint.yaml')
  writeFileSync(file, yaml)
  const loaded = await loadSettings(file, {})
  if ('problems' in loaded) throw new Error(JSON.stringify(loaded.problems))
  settings = loaded.settings
})
afterAll(() => rmSync(dir, { recursive: true }))

const refund = (amount: unknown): Json =>
  ({ caller: 'agent-7', method: 'POST', url: '/billing/v1/refunds', json: { amount } }) as Json

const ask = (call: Json): Explained => explainCall(settings, describedOf(call, settings))

describe('the answer', () => {
  test('says of each rule whether it matches, and of each key whether it fits', () => {
    const { outcome, rule, rules, upstream, readings } = ask(refund(250))
    expect({ outcome, rule, rules, upstream }).toEqual({
      outcome: 'hold',
      rule: 'large',
      rules: ['large'],
      upstream: 'billing',
    })
    expect(readings[0]?.rules.map(({ name, result }) => [name, result])).toEqual([
      ['reads', 'failed'],
      ['large', 'matched'],
      ['small', 'not reached'],
    ])
    expect(readings[0]?.rules[0]?.keys).toContainEqual({ key: 'method', answer: 'no' })
  })

  test.each<[unknown, string, string]>([
    [20, 'allow', 'failed'],
    ['many', 'hold', 'noted'],
  ])('for an amount of %j is %s', (amount, outcome, large) => {
    const explained = ask(refund(amount))
    expect(explained.outcome).toBe(outcome)
    expect(explained.readings[0]?.rules.find(({ name }) => name === 'large')?.result).toBe(large)
  })

  test('names the refusal of a call that would not get as far as the rules', () => {
    const call = { caller: 'agent-7', method: 'GET', url: '/elsewhere' }
    expect(ask(call)).toMatchObject({ outcome: 'deny', refused: { code: 'no_route' } })
    expect(ask({ ...call, url: '/billing/a%00b' })).toMatchObject({ outcome: 'deny', refused: { code: 'malformed' } })
  })
})

describe('a question that has no answer', () => {
  test.each<[string, Json, RegExp]>([
    ['is no object', [], /the call: must be an object/],
    ['has a member nobody knows', { ...(refund(1) as object), amount: 1 }, /"amount" is not known here/],
    ['has no method', { caller: 'agent-7', url: '/' }, /method: must be a text/],
    ['has a method that is none', { caller: 'agent-7', method: 'a b', url: '/' }, /method: must be a method/],
    ['has two bodies', { ...(refund(1) as object), body: '' }, /json, body: a call has one body/],
    ['names no caller', { caller: 'nobody', method: 'GET', url: '/' }, /caller: "nobody" is none of .*agent-7/],
    ['names a caller of every object', { caller: '__proto__', method: 'GET', url: '/' }, /is none of/],
    [
      'has a caller of another issuer',
      { caller: { issuer: 'x', subject: 'a', kind: 'agent' }, method: 'GET', url: '/' },
      /caller.issuer: must be one of idp/,
    ],
    [
      'has a caller of no kind',
      { caller: { issuer: 'idp', subject: 'a', kind: 'x' }, method: 'GET', url: '/' },
      /caller.kind: must be one of/,
    ],
    ['has a header that is no text', { ...(refund(1) as object), headers: { a: 1 } }, /headers.a: must be a text/],
    ['has a time that is none', { ...(refund(1) as object), at: 'soon' }, /at: must be an instant/],
  ])('because it %s says so', (_, call, message) => {
    expect(() => ask(call)).toThrow(message)
  })
})

describe('holdpoint explain', () => {
  const run = (...args: string[]) => runHoldpoint(['explain', file, ...args])
  const url = '/billing/v1/refunds'

  test('prints the outcome, and why', async () => {
    const { stdout, code } = await run('POST', url, '--caller', 'agent-7', '--body', '{"amount": 250}')
    expect([code, stdout.split('\n')[0]]).toEqual([0, 'hold by large'])
    expect(stdout).toMatch(/reads \(allow, .*\): failed\n(?: {4}.*\n)*? {4}method: does not fit/)
  })

  test('prints JSON, for a caller in JSON and a body in a file', async () => {
    writeFileSync(join(dir, 'body.json'), '{"amount": 20}')
    const caller = '{"issuer":"idp","subject":"x","kind":"agent"}'
    const { stdout } = await run('POST', url, '--caller', caller, '--body', `@${join(dir, 'body.json')}`, '--json')
    expect(JSON.parse(stdout)).toMatchObject({ outcome: 'allow', rule: 'small' })
  })

  test('ends with 1 where the question is bad', async () => {
    const { stderr, code } = await run('POST', url, '--caller', 'nobody')
    expect([code, stderr]).toEqual([1, expect.stringContaining('caller: "nobody" is none of')])
  })
})

describe('at the console', () => {
  let stage: ConsoleStage
  let ana: Browser
  beforeAll(async () => {
    stage = await startConsole()
    ana = await stage.browserOf(people.ana)
  })
  afterAll(() => stage.close())

  const form = { issuer: 'agents', kind: 'agent', subject: 'agent-7', method: 'POST', url: '/billing/v1/refunds' }
  const csrfOf = async (one: Browser): Promise<string> =>
    /<meta name="csrf" content="([^"]+)"/.exec((await one.visit(`${stage.url}/rules`)).text)?.[1] ?? ''
  const explain = async (one: Browser, call: object) => {
    const headers = {
      ...{ cookie: `holdpoint_session=${one.session()}`, 'content-type': 'application/json' },
      ...{ origin: stage.url, 'x-csrf-token': await csrfOf(one) },
    }
    const answer = await fetch(`${stage.url}/api/explain`, { method: 'POST', headers, body: JSON.stringify(call) })
    return { status: answer.status, json: (await answer.json()) as { [name: string]: unknown } }
  }

  test('the page answers in words, and keeps the question', async () => {
    const csrf = await csrfOf(ana)
    const { status, text } = await ana.visit(`${stage.url}/rules/explain`, {
      form: {
        csrf,
        ...form,
        headers: 'X-Note: "><script>alert(1)</script>',
        body: '{"amount": 5}',
        type: 'application/json',
      },
    })
    expect(status).toBe(200)
    expect(words(text)).toMatch(/hold by refunds .*refunds hold matches upstream fits method fits/)
    expect(text).toContain('value="/billing/v1/refunds"')
    expect(text).not.toContain('<script>alert')
  })

  test('the page says what is wrong with a question', async () => {
    const csrf = await csrfOf(ana)
    const { status, text } = await ana.visit(`${stage.url}/rules/explain`, { form: { csrf, ...form, subject: '' } })
    expect([status, words(text).includes('caller.subject: must be a text')]).toEqual([400, true])
  })

  test('the API answers the same', async () => {
    const caller = { issuer: 'agents', subject: 'agent-7', kind: 'agent' }
    const call = { caller, method: 'POST', url: '/billing/v1/refunds', json: { amount: 5 } }
    expect((await explain(ana, call)).json).toMatchObject({ outcome: 'hold', rules: ['refunds'], upstream: 'billing' })
    expect((await explain(ana, { ...call, method: 'GET' })).json).toMatchObject({ outcome: 'deny', rules: [] })
    expect(await explain(ana, { ...call, more: 1 })).toMatchObject({ status: 400, json: { code: 'malformed' } })
  })

  test('only who may read the rules may ask', async () => {
    const cleo = await stage.browserOf(people.cleo)
    const caller = { issuer: 'agents', subject: 'agent-7', kind: 'agent' }
    expect(await explain(cleo, { caller, method: 'GET', url: '/billing/' })).toMatchObject({
      status: 403,
      json: { code: 'not_approver' },
    })
  })

  test('nothing is sent, held or recorded', async () => {
    const before = await stage.entries()
    await explain(ana, {
      caller: { issuer: 'agents', subject: 'a', kind: 'agent' },
      method: 'POST',
      url: '/billing/v1/refunds',
    })
    expect(await stage.entries()).toEqual(before)
    expect((await stage.store.holds.list({ states: ['pending'], order: 'due', limit: 5 })).holds).toEqual([])
  })
})
