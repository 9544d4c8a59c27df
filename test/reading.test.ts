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
