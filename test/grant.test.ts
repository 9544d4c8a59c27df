// What lets a call go by a grant, one condition at a time: with each of them gone, the call waits for a person.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Freezes, followFreezes } from '../src/freezes.ts'
import { grantOf, ledgerKey, limitsOf, readLedger, signLedger, useOf } from '../src/grant.ts'
import { openRequest, openView, sealView, signVerdict } from '../src/hold.ts'
import { makeLog } from '../src/log.ts'
import type { Hold } from '../src/nouns.ts'
import type { Parts } from '../src/parts.ts'
import { readiness } from '../src/ready.ts'
import type { Rule, Settings } from '../src/settings.ts'
import type { Move } from '../src/store/store.ts'
import { type ConsoleStage, hidden, startConsole, words } from './support/console.ts'
import { people, signIn } from './support/people.ts'

let stage: ConsoleStage
let freezes: Freezes
let token: string
let settings: Settings
let callers = 0

const limits = { uses: 3, forMs: 3_600_000 }
const withRule =
  (change: (rule: Rule) => Partial<Rule>) =>
  (one: Settings): Settings => ({
    ...one,
    rules: one.rules.map(rule => ({ ...rule, ...change(rule) })),
  })
const granting = withRule(rule => ({ approve: rule.approve.map(one => ({ ...one, grant: limits })) }))

beforeAll(async () => {
  stage = await startConsole({ settings: granting })
  settings = stage.settings
  freezes = await followFreezes(stage.store.shelf, stage.keys, stage.now, makeLog('silent'))
  token = await signIn(stage.idp.issuer, people.ana)
})
afterAll(async () => {
  await freezes.close()
  await stage.close()
})

let caller: { subject: string }
let body: string
beforeEach(() => {
  stage.settings = settings
  caller = { subject: `agent of test ${++callers}` }
  body = JSON.stringify({ amount: 250, customer: `cus-${callers}`, token: 'sk_live_4eC39HqLyjWDarjtT1zdp7dc' })
})

const parts = (): Parts => ({ ...stage.parts, freezes })
const another = async (more: object = {}): Promise<Hold> => stage.read(await stage.hold({ caller, body, ...more }))
const usable = async (hold: Hold, now: Settings = settings) => (await useOf(parts(), hold, now, new Set()))?.grant.id

const ask = async (path: string, sent: object) => {
  const answer = await fetch(`${stage.url}/api${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(sent),
  })
  return { status: answer.status, json: (await answer.json()) as { readonly [name: string]: unknown } }
}

/** A hold of this test's caller that Ana approved with a grant. */
const granted = async (word: object = {}): Promise<Hold> => {
  const { head } = await another({ body: JSON.stringify({ ...JSON.parse(body), first: callers }) })
  const { hidden } = (await (
    await fetch(`${stage.url}/api/holds/${head.id}`, { headers: { authorization: `Bearer ${token}` } })
  ).json()) as { hidden: { not_looked_at: number } }
  const answer = await ask(`/holds/${head.id}/grant`, {
    ...{ uses: 2, for: '1h', unseen: hidden.not_looked_at, free: ['json./first', 'json./token'] },
    ...word,
  })
  expect(answer).toMatchObject({ status: 200, json: { granted: `g_${head.id.slice(2)}` } })
  body = JSON.stringify({ ...JSON.parse(body), first: 0 })
  return stage.read(head.id)
}

/** Moves a hold as the store would for the gate. */
const move = async (hold: Hold, name: Move['move'], over: Partial<Move> = {}) => {
  const { rev } = await stage.read(hold.head.id)
  return stage.store.holds.move({ hold: hold.head.id, move: name, rev, entry: '{}', ...over })
}

test('a like call of the same caller goes', async () => {
  const origin = await granted()
  expect(await usable(await another())).toBe(`g_${origin.head.id.slice(2)}`)
})

describe('waits for a person:', () => {
  test('the hold that the grant was made from', async () => {
    expect(await usable(await granted())).toBeUndefined()
  })

  test.each<[string, object]>([
    ['another subject', { subject: 'somebody else' }],
    ['another client', { client: 'another' }],
    ['another owner', { owner: 'dora@acme.test' }],
    ['somebody more in the act chain', { actors: [{ issuer: 'agents', subject: 'x' }] }],
  ])('%s', async (_, more) => {
    await granted()
    expect(await usable(await another({ caller: { ...caller, ...more } }))).toBeUndefined()
  })

  test.each<[string, (now: Settings) => Settings]>([
    ['its rule is another one', withRule(() => ({ hash: 'rule-2' }))],
    ['its rule is gone', now => ({ ...now, rules: [] })],
    ['its rule allows no grants', withRule(rule => ({ approve: rule.approve.map(({ grant: _, ...one }) => one) }))],
    [
      'its rule allows fewer uses',
      withRule(rule => ({ approve: rule.approve.map(one => ({ ...one, grant: { ...limits, uses: 1 } })) })),
    ],
    [
      'its rule allows less time',
      withRule(rule => ({ approve: rule.approve.map(one => ({ ...one, grant: { ...limits, forMs: 60_000 } })) })),
    ],
    [
      'one entry of its rule allows no grants',
      withRule(rule => ({
        approve: rule.approve.flatMap(({ grant, ...one }) => [{ ...one, grant: grant ?? limits }, one]),
      })),
    ],
    ['its rule wants two votes', withRule(rule => ({ approve: rule.approve.map(one => ({ ...one, votes: 2 })) }))],
    [
      'its rule wants others',
      withRule(rule => ({ approve: rule.approve.map(one => ({ ...one, groups: ['heads'] })) })),
    ],
    [
      'its rule wants a stronger sign-in',
      withRule(rule => ({
        approve: rule.approve.map(one => ({ ...one, stepUp: { acr: ['phr'], maxAgeMs: undefined } })),
      })),
    ],
    [
      'its upstream is another one',
      now => ({ ...now, upstreams: now.upstreams.map(one => ({ ...one, hash: 'upstream-2' })) }),
    ],
    [
      'its maker is linked to the caller now',
      now => ({
        ...now,
        people: [
          { name: 'Ana', accounts: ['idp:ana', 'idp:ben'], owns: [] },
          { name: 'Ben', accounts: ['idp:ben'], owns: [`agents:${caller.subject}`] },
        ],
      }),
    ],
    ['nobody signs in at its login now', now => ({ ...now, console: { ...now.console, login: [] } })],
  ])('%s', async (_, change) => {
    await granted()
    const hold = await another()
    expect(await usable(hold)).toBeDefined()
    expect(await usable(hold, change(settings))).toBeUndefined()
  })

  test('a frozen maker', async () => {
    await granted()
    const hold = await another()
    const by = { login: 'idp', subject: 'x', name: 'X' }
    const freeze = {
      id: 'f',
      what: 'person',
      value: 'ana',
      keys: ['account:idp:ana'],
      reason: 'x',
      by,
      madeAt: 0,
    } as const
    await freezes.change(() => [freeze])
    expect(await usable(hold)).toBeUndefined()
    await freezes.change(() => [])
    expect(await usable(hold)).toBeDefined()
  })

  test('after its end, by the clock of the store', async () => {
    const origin = await granted({ for: '10m' })
    const { head } = await another()
    const late = { ...(await stage.read(head.id)), now: origin.verdicts[0]?.at ?? 0 }
    expect(await usable({ ...late, now: late.now + 600_000 - 1 })).toBeDefined()
    expect(await usable({ ...late, now: late.now + 600_000 })).toBeUndefined()
  })

  test('a call whose like was sent with an unknown end', async () => {
    await granted()
    const hold = await another()
    const earlier = { id: 'h_x', state: 'unknown', at: 1 } as const
    expect(await usable({ ...hold, facts: { ...hold.facts, earlier } })).toBeUndefined()
  })

  test('one by a grant whose use, or whose own call, has an unknown end, until a person says how it ended', async () => {
    const origin = await granted()
    const [one, two] = [await another(), await another({ headers: [['idempotency-key', 'b']] })]
    const use = await useOf(parts(), one, settings, new Set())
    if (use === undefined) expect.fail('there is no use')
    await move(one, 'grant', { swap: use.swap })
    expect(await usable(two)).toBeDefined()
    await move(one, 'lose', { facts: { closedAt: stage.now() }, dueAt: null, remember: true })
    expect(await usable(two)).toBeUndefined()
    await move(one, 'resolve_failed', { facts: { closedAt: stage.now() } })
    expect(await usable(two)).toBeDefined()
    await move(origin, 'release', { dueAt: 1 })
    await move(origin, 'lose', { facts: { closedAt: stage.now() }, dueAt: null })
    expect(await usable(two)).toBeUndefined()
  })

  test.each(['denied', 'revoked', 'void', 'cancelled', 'pending'] as const)(
    'a grant of a hold that is %s',
    async state => {
      const origin = await granted()
      expect(grantOf(origin, settings)).toBeDefined()
      expect(grantOf({ ...origin, state }, settings)).toBeUndefined()
    },
  )

  test('the approval that made it was taken back', async () => {
    const origin = await granted()
    const hold = await another()
    await move(origin, 'revoke', { facts: { closedAt: 1 } })
    expect(await usable(hold)).toBeUndefined()
  })

  test('a tunnel, and a call that several rules hold', async () => {
    await granted()
    const hold = await another()
    expect(await usable({ ...hold, head: { ...hold.head, upgrade: 'websocket' } })).toBeUndefined()
    const [rule] = hold.head.rules
    if (rule === undefined) expect.fail('a hold without a rule')
    expect(await usable({ ...hold, head: { ...hold.head, rules: [rule, rule] } })).toBeUndefined()
  })

  test('another value is hidden than its makers knew of', async () => {
    await granted({ free: ['json./first', 'json./token', 'json./customer'] })
    expect(await usable(await another())).toBeDefined()
    const secret = JSON.stringify({ ...JSON.parse(body), customer: 'ghp_16C7e42F292c6912E7710c838347Ae178B4a' })
    expect(await usable(await another({ body: secret }))).toBeUndefined()
  })
})

describe('waits for a person as well:', () => {
  test('a call of a rule of another name, where all else is alike', async () => {
    await granted()
    const hold = await another()
    const now = { ...settings, rules: [...settings.rules, { ...(settings.rules[0] as Rule), name: 'other' }] }
    expect(await usable(hold, now)).toBeDefined()
    const rules = hold.head.rules.map(rule => ({ ...rule, name: 'other' }))
    expect(await usable({ ...hold, head: { ...hold.head, rules } }, now)).toBeUndefined()
  })

  test('a call with a maker behind it', async () => {
    const origin = await granted()
    expect(grantOf(origin, settings, ['account:idp:cleo'])).toBeDefined()
    expect(grantOf(origin, settings, ['account:idp:ana'])).toBeUndefined()
  })

  test('a call under a rule of which not every entry allows grants', () => {
    const [rule] = settings.rules
    if (rule === undefined) expect.fail('there is no rule')
    const [one] = rule.approve
    if (one === undefined) expect.fail('nobody approves')
    const { grant: _, ...without } = one
    expect(limitsOf({ ...rule, approve: [one, one] })).toEqual({ uses: 3, forMs: 3_600_000, rates: [] })
    expect(limitsOf({ ...rule, approve: [one, without] })).toBeUndefined()
    const less = { ...one, grant: { uses: 2, forMs: 60_000, rate: { uses: 1, perMs: 60_000 } } }
    expect(limitsOf({ ...rule, approve: [one, less] })).toEqual({
      ...{ uses: 2, forMs: 60_000, rates: [{ uses: 1, perMs: 60_000 }] },
    })
  })

  test('a call whose rule holds it only because something is unknown has no grant to begin with', async () => {
    const { head } = await another()
    const unsure = withRule(() => ({ match: { json: { '/amount/value': 1 } } }))(settings)
    stage.settings = {
      ...unsure,
      rules: [...unsure.rules, { ...(settings.rules[0] as Rule), name: 'rest', match: {}, then: 'allow' }],
    }
    const refused = await ask(`/holds/${head.id}/grant`, { uses: 1, for: '1h', unseen: 1 })
    expect(refused).toMatchObject({ status: 400, json: { code: 'malformed' } })
    expect((await stage.read(head.id)).state).toBe('pending')
  })
})

describe('at the release', () => {
  const ready = async (hold: Hold, now: Settings, grant?: { untilAt: number }) => {
    const held = await openRequest(stage.store, stage.keys, hold.head.id)
    if (held === undefined) expect.fail('there is no request')
    return readiness(hold, held, now, hold.head.caller, grant)
  }
  const untilAt = Number.MAX_SAFE_INTEGER

  test('it stands for the votes, until it ends or an approval would', async () => {
    const hold = await another()
    const approvedForMs = settings.rules[0]?.approve[0]?.approvedForMs ?? 0
    expect(await ready(hold, settings)).toEqual({ void: 'A vote for it no longer counts.' })
    expect(await ready(hold, settings, { untilAt })).toMatchObject({ untilAt: hold.head.openedAt + approvedForMs })
    expect(await ready(hold, settings, { untilAt: 7 })).toMatchObject({ untilAt: 7 })
  })

  test('only where its rule is for certain the outcome, and nothing else is noted', async () => {
    const hold = await another()
    const unsure = withRule(() => ({ match: { json: { '/amount/value': 1 } } }))(settings)
    const { match: _, ...allow } = settings.rules[0] ?? expect.fail('there is no rule')
    const noted = { ...unsure, rules: [...unsure.rules, { ...allow, name: 'rest', match: {}, then: 'allow' as const }] }
    // The rule holds it because something is unknown: that is enough to hold, not to let go.
    expect(await ready(hold, noted, { untilAt })).toEqual({ void: 'A vote for it no longer counts.' })
    expect(
      await ready(hold, withRule(() => ({ match: { json: { '/amount': 250 } } }))(settings), { untilAt }),
    ).not.toHaveProperty('void')
  })

  test('never where a rule denies by now', async () => {
    const hold = await another()
    const denying = { ...(settings.rules[0] as Rule), name: 'no', match: {}, then: 'deny' as const }
    const now = { ...settings, rules: [denying, ...settings.rules] }
    expect(await ready(hold, now, { untilAt })).toHaveProperty('void')
  })
})

describe('its ledger', () => {
  const shelf = async (origin: Hold) => {
    const key = ledgerKey(stage.keys, origin.head)
    const text = (await stage.store.shelf.get(key)) ?? ''
    return { key, text, ledger: readLedger(stage.keys, key, text) }
  }

  test('counts the holds that used it, once each; none is left after the last', async () => {
    const origin = await granted()
    const [one, two, three] = [
      await another(),
      await another({ headers: [['idempotency-key', 'b']] }),
      await another({ headers: [['idempotency-key', 'c']] }),
    ]
    for (const hold of [one, two]) {
      const use = await useOf(parts(), hold, settings, new Set())
      if (use === undefined) expect.fail('there is no use')
      expect(await move(hold, 'grant', { swap: use.swap })).toMatchObject({ word: 'moved' })
      expect(await move(hold, 'return')).toMatchObject({ word: 'moved', state: 'approved' })
    }
    expect((await shelf(origin)).ledger?.uses.map(([id]) => id)).toEqual([one.head.id, two.head.id])
    expect(await usable(three)).toBeUndefined()
    // Given back because nothing could be sent: its use is its own.
    const again = await useOf(parts(), await stage.read(one.head.id), settings, new Set())
    expect(again?.grant.id).toBe(`g_${origin.head.id.slice(2)}`)
    expect(readLedger(stage.keys, again?.swap.key ?? '', again?.swap.becomes ?? '')?.uses).toHaveLength(2)
  })

  test('keeps the rate, and lets go again when there is room', async () => {
    const origin = await granted({ rate: '1/m' })
    const { key, ledger } = await shelf(origin)
    const hold = await another()
    if (ledger === undefined) expect.fail('there is no ledger')
    const used = (at: number) =>
      stage.store.shelf.put(key, signLedger(stage.keys, key, { ...ledger, uses: [['h_other', at]] }))
    await used(hold.now - 59_999)
    expect(await usable(hold)).toBeUndefined()
    await used(hold.now - 60_000)
    expect(await usable(hold)).toBeDefined()
  })

  test.each<[string, (text: string, key: string, hold: string) => string]>([
    ['changed in the store', text => text.replace('"uses":[', '"uses":[["h_x",1],["h_y",1],')],
    ['signed for another place', (_, key, hold) => signLedger(stage.keys, `${key}x`, { version: 1, hold, uses: [] })],
    ['of another hold', (_, key) => signLedger(stage.keys, key, { version: 1, hold: 'h_x', uses: [] })],
    ['of a newer version', (_, key, hold) => signLedger(stage.keys, key, { version: 2 as 1, hold, uses: [] })],
    [
      'revoked',
      (_, key, hold) => signLedger(stage.keys, key, { version: 1, hold, uses: [], revoked: { by: 'x', at: 1 } }),
    ],
  ])('%s lets nothing go', async (_, change) => {
    const origin = await granted()
    const { key, text } = await shelf(origin)
    const hold = await another()
    await stage.store.shelf.put(key, change(text, key, origin.head.id))
    expect(await usable(hold)).toBeUndefined()
  })

  test('stands where it belongs: not with another caller, not in the place of another hold', async () => {
    const origin = await granted()
    const second = await another({ headers: [['idempotency-key', 'b']] })
    const ledger = { version: 1, hold: origin.head.id, uses: [] } as const
    const theirs = await stage.read(await stage.hold({ caller: { subject: 'somebody else' }, body }))
    const there = ledgerKey(stage.keys, { ...theirs.head, id: origin.head.id })
    await stage.store.shelf.put(there, signLedger(stage.keys, there, ledger))
    expect(await usable(theirs)).toBeUndefined()
    const place = ledgerKey(stage.keys, second.head)
    const text = signLedger(stage.keys, place, ledger)
    expect(readLedger(stage.keys, place, text)).toBeUndefined()
    expect(
      readLedger(stage.keys, place, signLedger(stage.keys, place, { ...ledger, hold: second.head.id })),
    ).toBeDefined()
  })

  test('without the verdicts of its hold is worth nothing', async () => {
    const origin = await another()
    const key = ledgerKey(stage.keys, origin.head)
    await stage.store.shelf.put(key, signLedger(stage.keys, key, { version: 1, hold: origin.head.id, uses: [] }))
    const hold = await another({ headers: [['idempotency-key', 'b']] })
    expect(await usable(hold)).toBeUndefined()
    // An approval that carries no terms lets one call go.
    expect(await ask(`/holds/${origin.head.id}/approve`, { unseen: 1 })).toMatchObject({ status: 200 })
    expect(await usable(hold)).toBeUndefined()
  })

  test('a verdict of another hold makes no grant of this one', async () => {
    const origin = await granted()
    const other = await another({ headers: [['idempotency-key', 'b']] })
    const [verdict] = origin.verdicts
    if (verdict === undefined) expect.fail('there is no verdict')
    await move(other, 'approve', { verdict: signVerdict(stage.keys, verdict) })
    expect(grantOf(await stage.read(other.head.id), settings)).toBeUndefined()
    expect(grantOf({ ...other, state: 'approved', verdicts: [verdict] }, settings)).toBeUndefined()
  })

  test('what is compared is sealed: another view lets nothing go', async () => {
    const origin = await granted()
    const hold = await another()
    const view = await openView(stage.store, stage.keys, hold.head.id)
    expect(view?.parts?.length).toBeGreaterThan(5)
    expect(JSON.stringify(view?.parts)).not.toContain('cus-')
    expect(sealView(stage.keys, hold.head.id, view ?? expect.fail('no view'))).not.toContain('json')
    expect(await usable({ ...hold, head: { ...hold.head, id: origin.head.id } })).toBeUndefined()
  })
})

describe('on the console', () => {
  test('the hold leads to the terms, what they mean and would have let go, and only then to the button', async () => {
    const seen = await granted()
    const { head } = await another({ body: JSON.stringify({ ...JSON.parse(body), amount: 9 }) })
    const ana = await stage.browserOf(people.ana)
    const page = await ana.visit(`${stage.url}/holds/${head.id}`)
    expect(page.text).toContain(`/holds/${head.id}/grant`)
    const first = await ana.visit(`${stage.url}/holds/${head.id}/grant`)
    expect(words(first.text)).toMatch(/It would have let go 0 of 1 call /)
    expect(words(first.text)).toContain('Everything else as in this call')
    const query = new URLSearchParams([
      ['uses', '2'],
      ['for', '30m'],
      ['rate', '2/m'],
      ['free', 'json./amount'],
      ['free', 'json./first'],
    ])
    const planned = await ana.visit(`${stage.url}/holds/${head.id}/grant?${query}`)
    expect(words(planned.text)).toMatch(/It would have let go 1 of 1 call /)
    expect(words(planned.text)).toMatch(/2 calls of .* within 30m, at most 2\/m.*Any json\.\/amount; Any json\.\/first/)
    expect(planned.text).toContain(`/holds/${seen.head.id}`)
    const wrong = await ana.visit(`${stage.url}/holds/${head.id}/grant?uses=9&for=30m`)
    expect(wrong.status).toBe(400)
    expect(words(wrong.text)).toContain('uses: must be a whole number from 1 to 3')
    expect((await stage.read(head.id)).state).toBe('pending')

    const free = JSON.stringify(['json./amount', 'json./first'])
    const form: { readonly [name: string]: string } = {
      ...hidden(planned.text),
      free,
      unseen: '1',
      comment: 'for today',
    }
    const unproven = await ana.visit(`${stage.url}/holds/${head.id}/grant`, { form: { ...form, csrf: 'x' } })
    expect(unproven.status).toBe(403)
    const made = await ana.visit(`${stage.url}/holds/${head.id}/grant`, { form })
    expect(made.status).toBe(200)
    expect(await stage.read(head.id)).toMatchObject({
      state: 'approved',
      verdicts: [{ grant: { uses: 2, forMs: 1_800_000 } }],
    })

    const list = await ana.visit(`${stage.url}/grants`)
    expect(words(list.text)).toMatch(/In force.*2 calls of/)
    const id = `g_${head.id.slice(2)}`
    expect(list.text).toContain(`/grants/${id}/revoke`)
    const revoked = await ana.visit(`${stage.url}/grants/${id}/revoke`, { form: { csrf: form.csrf ?? '' } })
    expect(words(revoked.text)).toMatch(/Revoked.*revoked by/)
    const cleo = await stage.browserOf(people.cleo)
    expect(words((await cleo.visit(`${stage.url}/grants`)).text)).toContain('There are none.')
  })

  test('who is behind the call is led nowhere and makes nothing', async () => {
    const { head } = await another()
    const ben = await stage.browserOf(people.ben)
    expect((await ben.visit(`${stage.url}/holds/${head.id}`)).text).not.toContain(`/holds/${head.id}/grant`)
    expect((await ben.visit(`${stage.url}/holds/${head.id}/grant`)).status).toBe(403)
  })

  test('a rule without grants has none', async () => {
    stage.settings = withRule(rule => ({ approve: rule.approve.map(({ grant: _, ...one }) => one) }))(settings)
    const { head } = await another()
    const ana = await stage.browserOf(people.ana)
    expect((await ana.visit(`${stage.url}/holds/${head.id}`)).text).not.toContain(`/holds/${head.id}/grant`)
    expect((await ask(`/holds/${head.id}/grant`, { uses: 1, for: '1h', unseen: 1 })).status).toBe(404)
    expect((await stage.read(head.id)).state).toBe('pending')
  })
})

describe('a maker is asked about at their login again when a like call comes', () => {
  const lead = { id: 'lea', name: 'Lea Lead', email: 'lea@acme.test', groups: [] as string[] }
  let own: ConsoleStage
  let origin: string
  beforeEach(async () => {
    lead.groups = ['finance-leads']
    own = await startConsole({ people: [lead], settings: granting })
    origin = await own.hold({ caller, body })
    const lea = await own.browserOf(lead)
    const form = hidden((await lea.visit(`${own.url}/holds/${origin}/grant?uses=2&for=1h`)).text)
    expect((await lea.visit(`${own.url}/holds/${origin}/grant`, { form: { ...form, unseen: '1' } })).status).toBe(200)
  })
  afterEach(() => own.close())

  const uses = async () => {
    const like = await own.read(await own.hold({ caller, body, headers: [['idempotency-key', 'b']] }))
    return (await useOf(own.parts, like, own.settings, new Set()))?.grant.id
  }
  const made = () => `g_${origin.slice(2)}`

  test('still in the group: it goes', async () => {
    own.pass(20 * 60_000)
    expect(await uses()).toBe(made())
  })

  test('out of the group: a person decides, once that can be known', async () => {
    lead.groups = ['others']
    expect(await uses()).toBe(made())
    own.pass(20 * 60_000)
    expect(await uses()).toBeUndefined()
    // It is over then, whatever becomes of her groups.
    lead.groups = ['finance-leads']
    own.pass(20 * 60_000)
    expect(await uses()).toBeUndefined()
    expect((await own.entries()).filter(({ kind }) => kind === 'grant.revoked')).toMatchObject([
      { hold: origin, detail: expect.stringContaining('does not qualify'), grant: { id: made() } },
    ])
  })

  test('being asked about keeps nobody signed in', async () => {
    const { reviewer } = (await own.read(origin)).verdicts[0] ?? expect.fail('there is no verdict')
    lead.groups = ['others']
    own.pass(7 * 3_600_000)
    expect(await own.app.again(reviewer)).toMatchObject({ groups: ['others'] })
    own.pass(2 * 3_600_000)
    // The session has ended by idleness: there is nobody to be asked about any more.
    expect(await own.app.again(reviewer)).toEqual(reviewer)
  })

  test('a login that does not answer: a person decides', async () => {
    own.pass(20 * 60_000)
    await own.idp.close()
    expect(await uses()).toBeUndefined()
    expect((await own.entries()).map(({ kind }) => kind)).not.toContain('grant.revoked')
  })
})
