// Who may read what: reviewers the holds they may decide, owners those of their agents, auditors and operators all; to anybody else a hold
// does not exist, by whatever address they ask.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Person } from '../src/commands/demo/idp.ts'
import { type Browser, type ConsoleStage, startConsole } from './support/console.ts'
import { consoleAudience, signIn } from './support/people.ts'

const person = (id: string, ...groups: string[]): Person => ({ id, name: id, email: `${id}@acme.test`, groups })
const cast = {
  lead: person('lead', 'finance-leads'),
  owner: person('owner'),
  'other-owner': person('other-owner'),
  'other-lead': person('other-lead', 'hr-leads'),
  auditor: person('auditor', 'security'),
  operator: person('operator', 'platform'),
  'glass-breaker': person('glass-breaker', 'sre-lead'),
  stranger: person('stranger', 'finance-leads-emea'),
} satisfies Record<string, Person>
type Who = keyof typeof cast

let stage: ConsoleStage
let ours: string
let decided: string
const browsers = {} as Record<Who, Browser>
const tokens = {} as Record<Who, string>

beforeAll(async () => {
  stage = await startConsole({
    people: Object.values(cast),
    settings: one => ({
      ...one,
      rules: one.rules.map(rule => ({
        ...rule,
        approve: rule.approve.map(approve => ({ ...approve, breakGlass: { groups: ['sre-lead'] } })),
      })),
    }),
  })
  for (const [who, one] of Object.entries(cast) as [Who, Person][]) {
    browsers[who] = await stage.browserOf(one)
    tokens[who] = await signIn(stage.idp.issuer, one, consoleAudience)
  }
  const caller = { owner: 'owner@acme.test' }
  ours = await stage.hold({ caller })
  decided = await stage.hold({ caller })
  await browsers.lead.visit(`${stage.url}/holds/${decided}/deny`, {
    form: await browsers.lead.fields(`/holds/${decided}`),
  })
})
afterAll(() => stage.close())

const api = async (who: Who, path: string, method = 'GET', body?: object) => {
  const answer = await fetch(`${stage.url}/api${path}`, {
    method,
    headers: {
      authorization: `Bearer ${tokens[who]}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: answer.status, text: await answer.text() }
}
const listed = async (who: Who, status: string): Promise<readonly string[]> =>
  (JSON.parse((await api(who, `/holds?status=${status}`)).text) as { holds: { id: string }[] }).holds.map(
    ({ id }) => id,
  )

describe.each<[Who, boolean]>([
  ['lead', true],
  ['owner', true],
  ['auditor', true],
  ['operator', true],
  ['glass-breaker', true],
  ['other-owner', false],
  ['other-lead', false],
  ['stranger', false],
])('%s', (who, may) => {
  test(`${may ? 'sees' : 'does not see'} the hold, before and after it is decided`, async () => {
    for (const id of [ours, decided]) {
      expect((await browsers[who].visit(`${stage.url}/holds/${id}`)).status).toBe(may ? 200 : 404)
      expect((await api(who, `/holds/${id}`)).status).toBe(may ? 200 : 404)
    }
  })

  test(`${may ? 'finds' : 'does not find'} it in lists`, async () => {
    expect(await listed(who, 'pending')).toEqual(may ? [ours] : [])
    expect(await listed(who, 'closed')).toEqual(may ? [decided] : [])
    expect((await browsers[who].visit(`${stage.url}/`)).text.includes(ours)).toBe(may)
    expect((await browsers[who].visit(`${stage.url}/history`)).text.includes(decided)).toBe(may)
  })

  test('reads the log only as an auditor', async () => {
    expect((await api(who, '/audit')).status).toBe(who === 'auditor' ? 200 : 403)
    expect((await browsers[who].visit(`${stage.url}/audit`)).status).toBe(who === 'auditor' ? 200 : 403)
  })

  test('decides nothing by reading', async () => {
    const { you } = may ? JSON.parse((await api(who, `/holds/${ours}`)).text) : { you: { may_decide: false } }
    expect(you.may_decide).toBe(who === 'lead')
  })
})

test.each<[Who, boolean]>([
  ['lead', true],
  ['glass-breaker', true],
  ['auditor', true],
  ['operator', true],
  ['owner', false],
  ['other-lead', false],
  ['stranger', false],
])('%s reads the rules: %s', async (who, may) => {
  const { rules } = JSON.parse((await api(who, '/rules')).text) as { rules: { name: string }[] }
  expect(rules.map(({ name }) => name)).toEqual(may ? ['refunds'] : [])
  expect((await browsers[who].visit(`${stage.url}/rules`)).text.includes('refunds')).toBe(may)
})

test('what may not be seen is answered like what never was', async () => {
  const nothing = `h_${'A'.repeat(22)}`
  for (const who of ['stranger', 'other-lead', 'other-owner'] as const) {
    expect(await api(who, `/holds/${ours}`)).toEqual(await api(who, `/holds/${nothing}`))
    for (const [name, body] of [
      ['approve', {}],
      ['deny', {}],
      ['break-glass', { comment: 'x' }],
      ['revoke', {}],
      ['resolve', { comment: 'x', outcome: 'failed' }],
    ] as const) {
      const [hidden, unknown] = [
        await api(who, `/holds/${ours}/${name}`, 'POST', body),
        await api(who, `/holds/${nothing}/${name}`, 'POST', body),
      ]
      expect(hidden).toEqual(unknown)
      expect(hidden.status).toBe(404)
    }
    const { csrf = '' } = await browsers[who].fields('/rules')
    const page = async (id: string): Promise<string> =>
      (await browsers[who].visit(`${stage.url}/holds/${id}/approve`, { form: { csrf } })).text.replaceAll(id, 'ID')
    expect(await page(ours)).toBe(await page(nothing))
  }
  expect((await stage.read(ours)).state).toBe('pending')
})

test('a verdict that was tried on what may not be seen is on record, whether it is there or not', async () => {
  const nothing = `h_${'B'.repeat(22)}`
  for (const id of [ours, nothing]) await api('stranger', `/holds/${id}/approve`, 'POST', {})
  const tried = (await stage.entries()).filter(
    ({ kind, reviewer }) =>
      kind === 'verdict.refused' && (reviewer as { subject?: string } | undefined)?.subject === 'stranger',
  )
  for (const hold of [ours, nothing])
    expect(tried).toContainEqual(expect.objectContaining({ hold, code: 'unknown_hold', detail: 'approve' }))
})

test('a verdict that nobody signed for, or that came from another site, is on record with its hold', async () => {
  const token = 'x.y.z'
  const post = (path: string, headers: Record<string, string>) =>
    fetch(`${stage.url}${path}`, { method: 'POST', headers, body: path.startsWith('/api/') ? '{}' : '' })
  const json = { 'content-type': 'application/json' }
  expect((await post(`/api/holds/${ours}/approve`, { ...json, authorization: `Bearer ${token}` })).status).toBe(401)
  expect((await post(`/api/holds/${ours}/break-glass`, json)).status).toBe(401)
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  expect((await post(`/holds/${ours}/deny`, form)).status).toBe(401)
  const cookie = `holdpoint_session=${browsers.lead.session()}`
  expect((await post(`/holds/${ours}/deny`, { ...form, cookie, origin: 'https://evil.example' })).status).toBe(403)
  const tried = (await stage.entries()).filter(
    ({ kind, reviewer }) => kind === 'verdict.refused' && reviewer === undefined,
  )
  expect(tried.map(({ hold, code, detail, address }) => [hold, code, detail, address])).toEqual([
    [ours, 'unauthenticated', 'approve', '127.0.0.1'],
    [ours, 'unauthenticated', 'break_glass', '127.0.0.1'],
    [ours, 'unauthenticated', 'deny', '127.0.0.1'],
    [ours, 'cross_site', 'deny', '127.0.0.1'],
  ])
  expect((await stage.read(ours)).state).toBe('pending')
})

describe('taking back and resolving', () => {
  const hold = async (...moves: ('approve' | 'release' | 'lose')[]): Promise<string> => {
    const id = await stage.hold({ caller: { owner: 'owner@acme.test' } })
    for (const move of moves) {
      const { rev } = await stage.read(id)
      await stage.store.holds.move({ hold: id, move, rev, entry: '{}' })
    }
    return id
  }

  test.each<[Who, number, string | undefined]>([
    ['lead', 200, 'revoked'],
    ['owner', 200, 'revoked'],
    ['operator', 200, 'revoked'],
    ['auditor', 403, undefined],
    ['stranger', 404, undefined],
  ])('%s takes back an approval: %s', async (who, status, state) => {
    const id = await hold('approve')
    expect((await api(who, `/holds/${id}/revoke`, 'POST', {})).status).toBe(status)
    expect((await stage.read(id)).state).toBe(state ?? 'approved')
  })

  test.each<[Who, number, string | undefined]>([
    ['lead', 403, undefined],
    ['owner', 200, 'cancelled'],
    ['operator', 200, 'cancelled'],
    ['auditor', 403, undefined],
  ])('%s withdraws what is only waiting: %s', async (who, status, state) => {
    const id = await hold()
    expect((await api(who, `/holds/${id}/revoke`, 'POST', {})).status).toBe(status)
    expect((await stage.read(id)).state).toBe(state ?? 'pending')
  })

  test.each<[Who, number, string | undefined]>([
    ['lead', 200, 'failed'],
    ['operator', 200, 'failed'],
    ['owner', 403, undefined],
    ['auditor', 403, undefined],
    ['stranger', 404, undefined],
  ])('%s says what became of a call: %s', async (who, status, state) => {
    const id = await hold('approve', 'release', 'lose')
    const word = { outcome: 'failed' }
    expect((await api(who, `/holds/${id}/resolve`, 'POST', word)).status).toBe(400)
    expect((await stage.read(id)).state).toBe('unknown')
    expect((await api(who, `/holds/${id}/resolve`, 'POST', { ...word, comment: 'looked' })).status).toBe(status)
    expect((await stage.read(id)).state).toBe(state ?? 'unknown')
  })
})

test('who once decided it still sees it after leaving the group', async () => {
  const { settings } = stage
  stage.settings = {
    ...settings,
    rules: settings.rules.map(rule => ({
      ...rule,
      approve: rule.approve.map(one => ({ ...one, groups: ['others'] })),
    })),
  }
  expect((await api('lead', `/holds/${decided}`)).status).toBe(200)
  expect((await api('lead', `/holds/${ours}`)).status).toBe(404)
  stage.settings = settings
})
