// Step-up (RFC 9470): what sign-in a rule wants of whoever lets a call go, at the API and on the console.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { browser } from '../src/commands/demo/browser.ts'
import { brokenGlass, countedVotes } from '../src/ready.ts'
import type { Approve, Rule } from '../src/settings.ts'
import { challengeOf, steppedUp, stepUpError } from '../src/step-up.ts'
import { type ConsoleStage, hidden, loginOf, startConsole, words } from './support/console.ts'
import { type Issuer, startConsoleIssuer } from './support/console-issuer.ts'
import { consoleAudience } from './support/people.ts'

const minuteMs = 60_000

type Wanted = Approve['stepUp']
const ruleWith = (...wanted: Wanted[]): Rule =>
  ({ approve: wanted.map(stepUp => (stepUp === undefined ? {} : { stepUp })) }) as unknown as Rule

describe('what several rules want together', () => {
  const now = 100 * minuteMs
  const fresh = { acr: 'phr', authAt: now - minuteMs }
  test.each<[string, object, Wanted[], boolean]>([
    ['nothing is wanted', {}, [undefined], true],
    ['the acr fits', fresh, [{ acr: ['phr'], maxAgeMs: undefined }], true],
    ['one of several acr fits', fresh, [{ acr: ['phrh', 'phr'], maxAgeMs: undefined }], true],
    ['another acr', fresh, [{ acr: ['phrh'], maxAgeMs: undefined }], false],
    ['no acr', { authAt: now }, [{ acr: ['phr'], maxAgeMs: undefined }], false],
    ['any acr will do', { authAt: now }, [{ acr: [], maxAgeMs: minuteMs }], true],
    ['just young enough', { authAt: now - minuteMs }, [{ acr: [], maxAgeMs: minuteMs }], true],
    ['too old', { authAt: now - minuteMs - 1 }, [{ acr: [], maxAgeMs: minuteMs }], false],
    ['no time', { acr: 'phr' }, [{ acr: [], maxAgeMs: minuteMs }], false],
    ['a clock that is a little ahead', { authAt: now + minuteMs }, [{ acr: [], maxAgeMs: minuteMs }], true],
    ['a time in the future', { authAt: now + minuteMs + 1 }, [{ acr: [], maxAgeMs: minuteMs }], false],
    [
      'one entry is met, the other not',
      fresh,
      [
        { acr: ['phr'], maxAgeMs: undefined },
        { acr: ['x'], maxAgeMs: undefined },
      ],
      false,
    ],
    [
      'the shorter age counts',
      { authAt: now - 2 * minuteMs },
      [
        { acr: [], maxAgeMs: 5 * minuteMs },
        { acr: [], maxAgeMs: minuteMs },
      ],
      false,
    ],
  ])('%s', (_, reviewer, wanted, met) => {
    expect(steppedUp(reviewer, [ruleWith(...wanted)], now)).toBe(met)
    // The same spread over rules instead of entries.
    expect(
      steppedUp(
        reviewer,
        wanted.map(one => ruleWith(one)),
        now,
      ),
    ).toBe(met)
  })

  test('is asked for as one challenge', () => {
    const rules = [
      ruleWith({ acr: ['a', 'b'], maxAgeMs: 90_500 }),
      ruleWith(undefined),
      ruleWith({ acr: ['b'], maxAgeMs: minuteMs }),
    ]
    expect(challengeOf(rules)).toEqual({ acr: ['b'], maxAgeS: 60 })
    expect(challengeOf([ruleWith(undefined)])).toBeUndefined()
    expect(
      challengeOf([ruleWith({ acr: ['a'], maxAgeMs: undefined }), ruleWith({ acr: ['b'], maxAgeMs: undefined })]),
    ).toEqual({
      acr: ['a', 'b'],
    })
    expect(stepUpError(rules, 'h').extras.headers).toEqual({
      'WWW-Authenticate':
        'Bearer realm="holdpoint console", error="insufficient_user_authentication", error_description="The rule wants a newer or stronger sign-in", acr_values="b", max_age=60',
    })
  })
})

describe('a verdict', () => {
  let stage: ConsoleStage
  let issuer: Issuer
  const amr = { amr: ['mfa'], azp: 'cli' }

  beforeAll(async () => {
    issuer = await startConsoleIssuer()
    const login = loginOf(issuer.issuer, {
      clientId: 'client',
      clientSecret: 'secret',
      interactive: { clients: ['cli'], amr: ['mfa'], maxAgeMs: undefined },
    })
    stage = await startConsole({
      settings: one => ({
        ...one,
        console: { ...one.console, login: [login] },
        rules: one.rules.map(rule => ({
          ...rule,
          approve: rule.approve.map(approve => ({
            ...approve,
            stepUp: { acr: ['phr'], maxAgeMs: 5 * minuteMs },
            breakGlass: { groups: ['sre-lead'] },
          })),
        })),
      }),
    })
  })
  afterAll(async () => {
    await stage.close()
    await issuer.close()
  })
  const before: { settings?: ConsoleStage['settings'] } = {}
  afterEach(() => {
    if (before.settings !== undefined) stage.settings = before.settings
    delete before.settings
  })

  const person = { sub: 'mia', name: 'Mia', email: 'mia@acme.test', email_verified: true, groups: ['finance-leads'] }
  const seconds = (): number => Math.floor(stage.now() / 1000)
  const proven = () => ({ acr: 'phr', auth_time: seconds() })

  const byToken = async (id: string, name: string, claims: object, body: object = {}) => {
    const token = await issuer.sign(
      { ...person, ...amr, aud: consoleAudience, iat: seconds(), exp: seconds() + 300, ...claims },
      { typ: 'at+jwt' },
    )
    const answer = await fetch(`${stage.url}/api/holds/${id}/${name}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: answer.status, json: (await answer.json()) as Record<string, unknown>, headers: answer.headers }
  }

  test.each<[string, () => object]>([
    ['without acr and auth_time', () => ({})],
    ['with too weak an acr', () => ({ ...proven(), acr: 'pwd' })],
    ['with an acr that is a list', () => ({ ...proven(), acr: ['phr'] })],
    ['that is too old', () => ({ ...proven(), auth_time: seconds() - 301 })],
    ['whose auth_time is a text', () => ({ ...proven(), auth_time: String(seconds()) })],
  ])('with a token %s is challenged, and on record', async (_, claims) => {
    const id = await stage.hold()
    const { status, json, headers } = await byToken(id, 'approve', claims())
    expect([status, json.code]).toEqual([401, 'insufficient_user_authentication'])
    expect(headers.get('www-authenticate')).toMatch(
      /^Bearer .*error="insufficient_user_authentication".*, acr_values="phr", max_age=300$/,
    )
    expect((await stage.read(id)).state).toBe('pending')
    expect(await stage.entries()).toContainEqual(
      expect.objectContaining({ kind: 'verdict.refused', hold: id, code: 'insufficient_user_authentication' }),
    )
  })

  test('with a token that is strong and young enough counts', async () => {
    const id = await stage.hold()
    expect(await byToken(id, 'approve', proven())).toMatchObject({ status: 200, json: { status: 'approved' } })
    expect((await stage.read(id)).verdicts[0]?.reviewer).toMatchObject({ acr: 'phr', authAt: expect.any(Number) })
  })

  test('that denies needs no step-up', async () => {
    expect(await byToken(await stage.hold(), 'deny', {})).toMatchObject({ status: 200, json: { status: 'denied' } })
  })

  test('that was given with too little does not count at the release either', async () => {
    const id = await stage.hold()
    await byToken(id, 'approve', proven())
    const hold = await stage.read(id)
    expect(countedVotes(hold, stage.settings)).toHaveLength(1)
    const [verdict] = hold.verdicts
    if (verdict === undefined) throw new Error('no verdict')
    const { acr: _, ...weak } = verdict.reviewer
    expect(countedVotes({ ...hold, verdicts: [{ ...verdict, reviewer: weak }] }, stage.settings)).toEqual([])
  })

  // ---- on the console

  /** Goes to the provider and comes back as Mia with these claims; answers where the provider was asked, and what came of it. */
  const through = async (jar: ReturnType<typeof browser>, path: string, claims: object) => {
    const asked = await jar.visit(`${stage.url}${path}`, { until: issuer.issuer })
    const query = new URL(asked.url).searchParams
    issuer.answers.userinfo = () => ({ sub: 'mia' })
    issuer.answers.token = async () => ({
      access_token: 'access',
      token_type: 'Bearer',
      id_token: await issuer.sign({ ...person, aud: 'client', nonce: query.get('nonce'), ...claims }),
    })
    const back = new URLSearchParams({ code: 'code', state: query.get('state') ?? '', iss: issuer.issuer })
    const done = await jar.visit(`${stage.url}/login/callback/idp?${back}`)
    return { query, done }
  }

  test('on the console sends to the provider and back to the hold, and then counts', async () => {
    const jar = browser()
    await through(jar, '/login', {})
    const id = await stage.hold()
    const page = await jar.visit(`${stage.url}/holds/${id}`)
    expect(page.text).toContain(`href="/login/step-up?hold=${id}"`)
    expect(page.text).not.toContain('>Approve<')
    expect(page.text).toContain('>Deny<')
    const tried = await jar.visit(`${stage.url}/holds/${id}/approve`, {
      form: { ...hidden(page.text), comment: 'looked at it' },
    })
    expect([tried.status, tried.text.includes('looked at it')]).toEqual([401, true])
    expect((await stage.read(id)).state).toBe('pending')

    const { query, done } = await through(jar, `/login/step-up?hold=${id}`, proven())
    expect(Object.fromEntries(query)).toMatchObject({ acr_values: 'phr', max_age: '300', prompt: 'login' })
    expect(done.url).toBe(`${stage.url}/holds/${id}`)
    const fields = hidden(done.text)
    expect(done.text).toContain('>Approve<')
    await jar.visit(`${stage.url}/holds/${id}/approve`, { form: fields })
    expect((await stage.read(id)).state).toBe('approved')
  })

  test.each<[string, () => object, number]>([
    ['does not say when', () => ({ acr: 'phr' }), 401],
    ['says that it was long ago', () => ({ acr: 'phr', auth_time: seconds() - 3600 }), 401],
    ['gives less strength', () => ({ ...proven(), acr: 'pwd' }), 200],
  ])('does not count when the provider %s', async (_, claims, status) => {
    const jar = browser()
    await through(jar, '/login', {})
    const id = await stage.hold()
    const { done } = await through(jar, `/login/step-up?hold=${id}`, claims())
    expect(done.status).toBe(status)
    const page = await jar.visit(`${stage.url}/holds/${id}`)
    expect(page.text).toContain('Sign in again to approve')
    await jar.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(page.text) })
    expect((await stage.read(id)).state).toBe('pending')
  })

  test('is too late when the sign-in has grown old', async () => {
    const jar = browser()
    await through(jar, '/login', proven())
    const id = await stage.hold()
    const { text } = await jar.visit(`${stage.url}/holds/${id}`)
    stage.pass(6 * minuteMs)
    expect((await jar.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(text) })).status).toBe(401)
    expect((await stage.read(id)).state).toBe('pending')
  })

  test('the way to the provider is for holds that one may see and that want it', async () => {
    const jar = browser()
    const id = await stage.hold()
    const stranger = await fetch(`${stage.url}/login/step-up?hold=${id}`, { redirect: 'manual' })
    expect([stranger.status, stranger.headers.get('location')]).toEqual([303, `/login?to=%2Fholds%2F${id}`])
    await through(jar, '/login', proven())
    expect((await jar.visit(`${stage.url}/login/step-up?hold=${id}`)).url).toBe(`${stage.url}/holds/${id}`)
    expect((await jar.visit(`${stage.url}/login/step-up?hold=h_nothing`)).status).toBe(404)
    expect((await jar.visit(`${stage.url}/login/step-up`)).status).toBe(404)
  })

  // ---- break-glass

  const lead = () => ({ ...proven(), sub: 'sam', name: 'Sam', email: 'sam@acme.test', groups: ['sre-lead'] })
  const glass = (id: string, claims: object, body: object = { comment: 'production is down' }) =>
    byToken(id, 'break-glass', claims, body)

  test('that breaks the glass lets the call go alone, marked wherever it is shown', async () => {
    const id = await stage.hold()
    expect(await glass(id, lead())).toMatchObject({
      status: 200,
      json: {
        status: 'approved',
        break_glass: true,
        votes: { have: 0, needed: 1 },
        verdicts: [{ verdict: 'break_glass', comment: 'production is down' }],
      },
    })
    const hold = await stage.read(id)
    expect(brokenGlass(hold, stage.settings.rules, stage.settings)?.reviewer.subject).toBe('sam')
    expect(await stage.entries()).toContainEqual(
      expect.objectContaining({
        kind: 'verdict.break_glass',
        hold: id,
        comment: 'production is down',
        reviewer: expect.objectContaining({ subject: 'sam' }),
      }),
    )
    const jar = browser()
    await through(jar, '/login', proven())
    expect(words((await jar.visit(`${stage.url}/holds/${id}`)).text)).toMatch(
      /The glass was broken.*Sam broke the glass/,
    )
    expect((await glass(id, lead())).json.code).toBe('already_decided')
  })

  test.each<[string, () => object, object, number, string]>([
    ['by a reviewer whom the rule does not name for it', () => proven(), { comment: 'x' }, 403, 'not_approver'],
    ['by nobody in particular', () => ({ ...lead(), groups: [] }), { comment: 'x' }, 404, 'unknown_hold'],
    ['by the owner of the agent', () => ({ ...lead(), email: 'ben@acme.test' }), { comment: 'x' }, 403, 'own_call'],
    ['with a token that may only read', () => ({ ...lead(), azp: 'other' }), { comment: 'x' }, 403, 'not_approver'],
    ['without a comment', lead, {}, 400, 'malformed'],
    ['with a comment of nothing', lead, { comment: '  ' }, 400, 'malformed'],
    [
      'without the step-up',
      () => ({ ...lead(), acr: 'pwd' }),
      { comment: 'x' },
      401,
      'insufficient_user_authentication',
    ],
    ['for another view', lead, { comment: 'x', view: 'other' }, 409, 'view_changed'],
  ])('that breaks the glass %s does not count', async (_, claims, body, status, code) => {
    const id = await stage.hold()
    const answer = await glass(id, claims(), body)
    expect([answer.status, answer.json.code, (await stage.read(id)).state]).toEqual([status, code, 'pending'])
  })

  test('that breaks the glass is no approval', async () => {
    const id = await stage.hold()
    expect((await byToken(id, 'approve', lead())).json.code).toBe('not_approver')
  })

  test('that broke the glass no longer counts at the release when the rule, the people or the words are others', async () => {
    const id = await stage.hold()
    await glass(id, lead())
    const hold = await stage.read(id)
    const { settings } = stage
    const counts = (change: Partial<(typeof hold.verdicts)[0]>, rules = settings.rules, other = settings) =>
      brokenGlass({ ...hold, verdicts: hold.verdicts.map(one => ({ ...one, ...change })) }, rules, other) !== undefined
    expect(counts({})).toBe(true)
    const [rule] = settings.rules
    if (rule === undefined || hold.verdicts[0] === undefined) throw new Error('no rule')
    const { reviewer } = hold.verdicts[0]
    const named = (groups: string[]) => ({
      ...rule,
      approve: rule.approve.map(one => ({ ...one, breakGlass: { groups } })),
    })
    const without = { ...rule, approve: rule.approve.map(({ breakGlass: _, ...one }) => one) }
    expect(counts({}, [named(['others'])])).toBe(false)
    expect(counts({}, [without])).toBe(false)
    expect(counts({}, [rule, without])).toBe(false)
    expect(counts({}, [])).toBe(false)
    expect(counts({ view: 'other' })).toBe(false)
    expect(counts({ verdict: 'deny' })).toBe(false)
    expect(counts({ at: hold.head.expiresAt })).toBe(false)
    expect(counts({ keys: hold.head.behind.keys })).toBe(false)
    expect(counts({ reviewer: { ...reviewer, groups: [] } })).toBe(false)
    expect(counts({ reviewer: { ...reviewer, interactive: false } })).toBe(false)
    expect(counts({ reviewer: { ...reviewer, acr: 'pwd' } })).toBe(false)
    const { comment: _, ...silent } = hold.verdicts[0]
    expect(brokenGlass({ ...hold, verdicts: [silent] }, settings.rules, settings)).toBeUndefined()
    const noLogin = { ...settings, console: { ...settings.console, login: [] } }
    expect(counts({}, [named(['idp:sre-lead'])])).toBe(true)
    expect(counts({}, [named(['idp:sre-lead'])], noLogin)).toBe(false)
    const linkedNow = {
      ...settings,
      people: [{ name: 'Ben', accounts: ['idp:sam'], owns: [`agents:${hold.head.caller.subject}`] }],
    }
    expect(counts({}, settings.rules, linkedNow)).toBe(false)
  })

  test('on the console breaks the glass with its own form, and the reviewers see it in the history', async () => {
    const jar = browser()
    await through(jar, '/login', lead())
    const id = await stage.hold({ customer: 'cus-glass' })
    const page = await jar.visit(`${stage.url}/holds/${id}`)
    expect(page.text).not.toContain('>Approve<')
    expect(page.text).toContain('Break the glass and send')
    const silent = await jar.visit(`${stage.url}/holds/${id}/break-glass`, { form: hidden(page.text) })
    expect([silent.status, (await stage.read(id)).state]).toEqual([400, 'pending'])
    await jar.visit(`${stage.url}/holds/${id}/break-glass`, { form: { ...hidden(page.text), comment: 'all is down' } })
    expect((await stage.read(id)).state).toBe('approved')
    const reviewer = browser()
    await through(reviewer, '/login', proven())
    // In the queue while it is on its way, on its own page, and in the history once it is over.
    for (const path of ['/', `/holds/${id}`])
      expect(words((await reviewer.visit(`${stage.url}${path}`)).text)).toMatch(/Glass broken/)
    await byToken(id, 'revoke', proven())
    expect(words((await reviewer.visit(`${stage.url}/history`)).text)).toMatch(/cus-glass.*Glass broken/)
  })
})
