// Hidden values: who may have one revealed, that it is on record before, that it goes nowhere else, and that nobody approves blindly.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { masker } from '../src/mask/values.ts'
import type { Rule, Settings } from '../src/settings.ts'
import type { HoldView, Revealed } from '../src/views.ts'
import { type Browser, type ConsoleStage, startConsole, streamOf, words } from './support/console.ts'
import { people } from './support/people.ts'

const cleo = { ...people.cleo, groups: ['security'] }
const erin = { id: 'erin', name: 'Erin Voss', email: 'erin@acme.test', groups: ['platform'] }
const canary = 'hp-canary-q7Zk2v'
const body = JSON.stringify({
  amount: 250,
  customer: 'cus-1',
  password: `one-${canary}`,
  nested: { apiKey: `two-${canary}` },
})
const paths = ['json./password', 'json./nested/apiKey']

let stage: ConsoleStage
let ana: Browser
let first: Settings

beforeAll(async () => {
  stage = await startConsole({ people: [...Object.values(people).filter(one => one.id !== 'cleo'), cleo, erin] })
  ana = await stage.browserOf(people.ana)
  first = stage.settings
})
afterAll(() => stage.close())
afterEach(() => {
  stage.settings = first
})

const withRule = (more: Partial<Rule>, approve: Partial<Rule['approve'][number]> = {}): void => {
  stage.settings = {
    ...first,
    rules: first.rules.map(rule => ({ ...rule, ...more, approve: rule.approve.map(one => ({ ...one, ...approve })) })),
  }
}

const csrfOf = async (one: Browser): Promise<string> =>
  /<meta name="csrf" content="([^"]+)"/.exec((await one.visit(`${stage.url}/`)).text)?.[1] ?? ''

const ask = async (one: Browser, path: string, sent?: object) => {
  const answer = await fetch(`${stage.url}/api/holds/${path}`, {
    headers: {
      cookie: `holdpoint_session=${one.session()}`,
      ...(sent === undefined
        ? {}
        : { 'content-type': 'application/json', origin: stage.url, 'x-csrf-token': await csrfOf(one) }),
    },
    ...(sent === undefined ? {} : { method: 'POST', body: JSON.stringify(sent) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text, json: JSON.parse(text) as { [name: string]: unknown } }
}
const show = async (one: Browser, id: string): Promise<HoldView> => (await ask(one, id)).json as unknown as HoldView
const look = async (one: Browser, id: string, field: string, view?: string) =>
  ask(one, `${id}/reveal`, { field, view: view ?? (await show(ana, id)).view })
const approve = async (one: Browser, id: string, more: object = {}) =>
  ask(one, `${id}/approve`, { view: (await show(one, id)).view, ...more })

describe('an eligible reviewer', () => {
  test('gets one value, in that answer only, and it counts as looked at from then on', async () => {
    const id = await stage.hold({ body })
    expect((await show(ana, id)).hidden).toMatchObject({
      unseen: paths,
      looked_at: [],
      not_looked_at: 2,
      must_confirm: true,
    })
    const answer = await look(ana, id, 'json./nested/apiKey')
    expect(answer.status).toBe(200)
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.json as unknown as Revealed).toEqual({
      field: 'json./nested/apiKey',
      values: [`two-${canary}`],
      not_looked_at: 1,
    })
    expect((await show(ana, id)).hidden).toMatchObject({ looked_at: ['json./nested/apiKey'], not_looked_at: 1 })
    const dora = await stage.browserOf(people.dora)
    expect((await show(dora, id)).hidden).toMatchObject({ looked_at: [], not_looked_at: 2 })
  })

  test.each([
    ['a header', { headers: [['X-Password', `three-${canary}`]] as const }, 'header.x-password', [`three-${canary}`]],
    [
      'a credential',
      { headers: [['Authorization', `Bearer four-${canary}`]] as const },
      'header.authorization',
      [`four-${canary}`],
    ],
    ['a query', { target: `/v1/refunds?password=five-${canary}` }, 'query.password', [`five-${canary}`]],
    [
      'JSON in a string',
      { body: JSON.stringify({ amount: 1, config: JSON.stringify({ password: `six-${canary}` }) }) },
      'json./config/password',
      [`six-${canary}`],
    ],
    [
      'base64',
      { body: JSON.stringify({ amount: 1, blob: Buffer.from(`password=seven-${canary}`).toString('base64') }) },
      'json./blob',
      [`seven-${canary}`],
    ],
    [
      'every value of a path',
      {
        headers: [
          ['X-Password', `a-${canary}`],
          ['X-Password', `b-${canary}`],
        ] as const,
      },
      'header.x-password',
      [`a-${canary}`, `b-${canary}`],
    ],
    [
      'what would not show',
      { body: JSON.stringify({ password: `a\u202eb\u200b${canary}` }) },
      'json./password',
      [`a\\u{202e}b\\u{200b}${canary}`],
    ],
  ])('sees %s', async (_, opening, field, values) => {
    const id = await stage.hold(opening)
    expect((await look(ana, id, field)).json).toMatchObject({ field, values })
  })

  test('sees a value below a name that is hidden itself', async () => {
    const name = `ghp_${'a1B2'.repeat(9)}`
    const id = await stage.hold({ body: JSON.stringify({ [name]: { password: canary } }) })
    const { unseen } = (await show(ana, id)).hidden
    expect(unseen).toHaveLength(2)
    const values = await Promise.all(unseen.map(async field => (await look(ana, id, field)).json.values))
    expect(values.flat().toSorted()).toEqual([name, canary])
  })

  test('sees it on the page, and again only by asking again', async () => {
    const id = await stage.hold({ body })
    const { csrf = '', view = '' } = await ana.fields(`/holds/${id}`)
    const form = { csrf, view, field: 'json./password' }
    const page = await ana.visit(`${stage.url}/holds/${id}/reveal`, { form })
    expect([page.status, page.headers.get('cache-control')]).toEqual([200, 'no-store'])
    expect(words(page.text)).toContain(`one-${canary}`)
    const again = await ana.visit(`${stage.url}/holds/${id}`)
    expect(again.text).not.toContain(canary)
    expect(words(again.text)).toContain('looked at 1 of 2')
    expect(words(again.text)).toContain('I approve without having looked at 1 hidden value')
  })

  test('finds it on record first: what cannot be recorded is not revealed', async () => {
    const id = await stage.hold({ body })
    const { append } = stage.store.log
    Object.assign(stage.store.log, { append: () => Promise.reject(new HoldpointError('store_unavailable')) })
    const answer = await look(ana, id, 'json./password')
    Object.assign(stage.store.log, { append })
    expect(answer.status).toBe(503)
    expect(answer.text).not.toContain(canary)
    expect((await show(ana, id)).hidden.looked_at).toEqual([])
  })

  test('who looks at several at once has looked at all of them', async () => {
    const names = Array.from({ length: 12 }, (_, n) => `k${n}_password`)
    const id = await stage.hold({ body: JSON.stringify(Object.fromEntries(names.map(name => [name, canary]))) })
    const all = names.map(name => `json./${name}`)
    await Promise.all(all.map(path => look(ana, id, path)))
    expect((await show(ana, id)).hidden).toMatchObject({ looked_at: all, not_looked_at: 0, must_confirm: false })
  })
})

describe('nothing is revealed', () => {
  const refusals = async () => (await stage.entries()).filter(({ kind }) => kind === 'reveal.refused')

  test('to the people behind the call, whose try is on record', async () => {
    const id = await stage.hold({ body })
    const ben = await stage.browserOf(people.ben)
    expect((await show(ben, id)).you.may_reveal).toBe(false)
    expect((await look(ben, id, 'json./password')).json).toMatchObject({ code: 'own_call', status: 403 })
    expect((await refusals()).at(-1)).toMatchObject({ hold: id, code: 'own_call', reviewer: { subject: 'ben' } })
  })

  test('to an auditor, who may read everything else', async () => {
    const id = await stage.hold({ body })
    const auditor = await stage.browserOf(cleo)
    expect((await show(auditor, id)).you.may_reveal).toBe(false)
    expect((await look(auditor, id, 'json./password')).json).toMatchObject({ code: 'not_approver', status: 403 })
    const page = await auditor.visit(`${stage.url}/holds/${id}`)
    expect(page.text).not.toContain('/reveal')
  })

  test('once it is decided', async () => {
    const id = await stage.hold({ body })
    const { view } = await show(ana, id)
    await ask(ana, `${id}/deny`, {})
    expect((await look(ana, id, 'json./password', view)).json).toMatchObject({ code: 'already_decided' })
  })

  test('once it is approved, though it has not been sent', async () => {
    const id = await stage.hold({ body })
    await approve(ana, id, { unseen: 2 })
    expect((await stage.read(id)).state).toBe('approved')
    expect((await look(ana, id, 'json./password')).json).toMatchObject({ code: 'already_decided' })
  })

  test('once its time is over', async () => {
    withRule({}, { withinMs: 60_000 })
    const id = await stage.hold({ body })
    stage.pass(60_000)
    expect((await look(ana, id, 'json./password')).json).toMatchObject({ code: 'already_decided' })
    expect((await stage.read(id)).state).toBe('pending')
  })

  test('without the sign-in that the rule wants for an approval', async () => {
    withRule({}, { stepUp: { acr: [], maxAgeMs: 1_000 } })
    stage.pass(5_000)
    const id = await stage.hold({ body })
    expect((await show(ana, id)).you.may_reveal).toBe(false)
    expect((await look(ana, id, 'json./password')).json).toMatchObject({ code: 'insufficient_user_authentication' })
  })

  test('to somebody whom an operator stopped', async () => {
    const id = await stage.hold({ body })
    const operator = await stage.browserOf(erin)
    const change = async (method: string, path: string, sent?: object) => {
      const answer = await fetch(`${stage.url}/api/freezes${path}`, {
        method,
        headers: {
          ...{ cookie: `holdpoint_session=${operator.session()}`, 'content-type': 'application/json' },
          ...{ origin: stage.url, 'x-csrf-token': await csrfOf(operator) },
        },
        ...(sent === undefined ? {} : { body: JSON.stringify(sent) }),
      })
      return (await answer.json()) as { readonly id: string }
    }
    const freeze = await change('POST', '', { what: 'person', value: people.ana.email, reason: 'laptop stolen' })
    const answer = await look(ana, id, 'json./password')
    await change('DELETE', `/${freeze.id}`)
    expect(answer.json).toMatchObject({ code: 'frozen' })
    expect((await refusals()).at(-1)).toMatchObject({ hold: id, code: 'frozen' })
  })

  test.each([
    ['another view', 'json./password', 'other', 409],
    ['a field that is not hidden', 'json./amount', undefined, 400],
    ['a field that is not there', 'json./nothing', undefined, 400],
    ['no field', '', undefined, 400],
  ])('for %s', async (_, field, view, status) => {
    const id = await stage.hold({ body })
    const answer = await look(ana, id, field, view)
    expect([answer.status, answer.text.includes(canary)]).toEqual([status, false])
  })

  test("of what the rule's own mask hides, alone or inside something else", async () => {
    withRule({ mask: ['json./password', 'json./secret/inner'] })
    const id = await stage.hold({
      body: JSON.stringify({ amount: 1, password: canary, secret: JSON.stringify({ inner: canary }) + canary }),
    })
    expect((await show(ana, id)).hidden.unseen).toEqual(['json./secret'])
    for (const field of ['json./password', 'json./secret']) {
      const answer = await look(ana, id, field)
      expect([answer.status, answer.text.includes(canary)]).toEqual([400, false])
    }
  })

  test('under rules that have changed since', async () => {
    const id = await stage.hold({ body })
    const { view } = await show(ana, id)
    withRule({ hash: 'rule-2' })
    expect((await look(ana, id, 'json./password', view)).json).toMatchObject({ code: 'view_changed' })
    expect((await stage.read(id)).state).toBe('pending')
  })
})

test('what was revealed is in no other answer, no event, no record and no message', async () => {
  const dora = await stage.browserOf(people.dora)
  const auditor = await stage.browserOf(cleo)
  const stream = await streamOf(stage.url, { cookie: `holdpoint_session=${dora.session()}` })
  await stream.read(text => text.includes('connected'))
  const id = await stage.hold({ body, reason: `password=${canary}` })
  for (const path of paths) expect((await look(ana, id, path)).text).toContain(canary)
  expect((await approve(ana, id, { comment: `password=${canary}` })).status).toBe(200)
  const events = await stream.read(text => text.includes('"approved"'))
  stream.close()
  const pages = ['/', '/history', `/holds/${id}`, '/rules', '/audit', '/api/audit/export']
  const seen = [
    ...[events, JSON.stringify(await stage.entries()), JSON.stringify(await stage.store.shelf.list(''))],
    ...[JSON.stringify(await stage.store.holds.read(id)), (await ask(ana, id)).text, (await ask(dora, id)).text],
    ...(await Promise.all(pages.map(async page => (await auditor.visit(`${stage.url}${page}`)).text))),
  ]
  for (const text of seen) expect(text).not.toContain(canary)
  const revealed = (await stage.entries()).filter(({ kind, hold }) => kind === 'hold.revealed' && hold === id)
  expect(revealed).toMatchObject(paths.map(detail => ({ detail, reviewer: { subject: 'ana' } })))
})

describe('approving a partly seen hold', () => {
  const verdictOf = async (id: string) => (await stage.read(id)).verdicts.at(-1)

  test.each<[string, object]>([
    ['nothing', {}],
    ['too few', { unseen: 1 }],
    ['too many', { unseen: 3 }],
  ])('by saying %s of what was not looked at is refused', async (_, said) => {
    const id = await stage.hold({ body })
    const answer = await approve(ana, id, said)
    expect([answer.status, answer.json.code]).toEqual([409, 'values_unseen'])
    expect((await stage.read(id)).state).toBe('pending')
  })

  test('by saying how many counts, and stands in the verdict and the log', async () => {
    const id = await stage.hold({ body })
    await look(ana, id, 'json./password')
    const answer = await approve(ana, id, { unseen: 1 })
    expect([answer.status, answer.json.status]).toEqual([200, 'approved'])
    expect(await verdictOf(id)).toMatchObject({ verdict: 'approve', unseen: 1 })
    const entry = (await stage.entries()).find(({ kind, hold }) => kind === 'verdict.accepted' && hold === id)
    expect(entry).toMatchObject({ unseen: 1 })
    expect(words((await ana.visit(`${stage.url}/holds/${id}`)).text)).toContain('Ana Ruiz approved, 1 value unseen')
  })

  test('after a look at all of them asks nothing more', async () => {
    const id = await stage.hold({ body })
    for (const path of paths) await look(ana, id, path)
    expect((await approve(ana, id)).status).toBe(200)
    expect(await verdictOf(id)).toMatchObject({ unseen: 0 })
  })

  test("looking is each reviewer's own", async () => {
    const id = await stage.hold({ body })
    for (const path of paths) await look(ana, id, path)
    const dora = await stage.browserOf(people.dora)
    expect((await approve(dora, id)).json).toMatchObject({ code: 'values_unseen' })
  })

  test('on the page takes the tick', async () => {
    const id = await stage.hold({ body })
    const fields = await ana.fields(`/holds/${id}`)
    const without = await ana.visit(`${stage.url}/holds/${id}/approve`, { form: fields })
    expect([without.status, words(without.text).includes('You have not looked at 2')]).toEqual([409, false])
    expect(words(without.text)).toContain('you have not looked at 2 of its hidden values')
    await ana.visit(`${stage.url}/holds/${id}/approve`, { form: { ...fields, unseen: '2' } })
    expect(await verdictOf(id)).toMatchObject({ unseen: 2 })
  })

  test('is not asked for where the rule says so, and is recorded all the same', async () => {
    withRule({}, { approveUnseen: true })
    const id = await stage.hold({ body })
    expect((await show(ana, id)).hidden).toMatchObject({ not_looked_at: 2, must_confirm: false })
    expect((await approve(ana, id)).status).toBe(200)
    expect(await verdictOf(id)).toMatchObject({ unseen: 2 })
  })

  test('denying it takes no look', async () => {
    const id = await stage.hold({ body })
    expect((await ask(ana, `${id}/deny`, {})).status).toBe(200)
    expect(await verdictOf(id)).not.toHaveProperty('unseen')
  })

  test('breaking the glass takes the same tick', async () => {
    withRule({}, { breakGlass: { groups: ['finance-leads'] } })
    const id = await stage.hold({ body })
    const glass = async (more: object) => ask(ana, `${id}/break-glass`, { comment: 'It burns.', ...more })
    expect((await glass({})).json).toMatchObject({ code: 'values_unseen' })
    expect((await glass({ unseen: 2 })).status).toBe(200)
    expect(await verdictOf(id)).toMatchObject({ verdict: 'break_glass', unseen: 2 })
  })

  test('what somebody wrote into the store counts as no look', async () => {
    const id = await stage.hold({ body })
    await look(ana, id, 'json./password')
    const [key = '', value = ''] = (await stage.store.shelf.list(`look:${id}`))[0] ?? []
    const dora = await stage.browserOf(people.dora)
    await look(dora, id, 'json./nested/apiKey')
    const other = (await stage.store.shelf.list(`look:${id}`)).find(([name]) => name !== key)?.[1] ?? ''
    const forged = value.replace(/\{.*/, other.slice(other.indexOf('{')))
    for (const text of [other, forged]) {
      await stage.store.shelf.put(key, text)
      expect((await show(ana, id)).hidden.looked_at).toEqual([])
    }
  })
})

test('what is hidden by a rule inside a hidden value is never handed out', () => {
  const spot = { where: 'json./a', place: 'json', segments: ['a'] } as const
  const path = { place: 'json', segments: ['A', 'b'] } as const
  const value = (mask: readonly (typeof path)[]) => masker(mask, [], () => '').text('x', spot, 'named')[0]
  expect(value([])).toMatchObject({ unseen: 'json./a', value: 'x' })
  expect(value([path])).not.toHaveProperty('value')
})
