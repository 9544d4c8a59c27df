// Signing in: facts O1 to O6, with the honest provider and with one that lies.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { browser } from '../src/commands/demo/browser.ts'
import { safePath } from '../src/console/signin.ts'
import { type ConsoleStage, hidden, loginOf, returningTo, startConsole, words } from './support/console.ts'
import { type Issuer, startConsoleIssuer } from './support/console-issuer.ts'
import { people } from './support/people.ts'

const minuteMs = 60_000

const visit = (stage: ConsoleStage, path: string): Promise<Response> =>
  fetch(`${stage.url}${path}`, { redirect: 'manual' })

describe('with an honest provider', () => {
  let stage: ConsoleStage
  beforeAll(async () => {
    stage = await startConsole()
  })
  afterAll(() => stage.close())

  const returning = (person: { readonly id: string } = people.ana, jar = browser(), query = '') =>
    returningTo(stage.url, person, jar, query)

  describe('the way to the provider', () => {
    test('carries state, nonce, PKCE with S256 and the redirect of this very login', async () => {
      const answer = await visit(stage, '/login')
      expect(answer.status).toBe(302)
      const query = new URL(answer.headers.get('location') ?? '').searchParams
      expect(query.get('code_challenge_method')).toBe('S256')
      expect(query.get('code_challenge')).toMatch(/^[\w-]{43}$/)
      expect(query.get('state')).toMatch(/^[\w.-]{43,1000}$/)
      expect(query.get('nonce')).toMatch(/^[\w-]{43}$/)
      expect(query.get('redirect_uri')).toBe(`${stage.url}/login/callback/idp`)
      expect(answer.headers.get('set-cookie')).toMatch(
        /^holdpoint_signin=[\w-]{43}; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax$/,
      )
    })

    test('begins at any page, and ends there', async () => {
      const first = await visit(stage, '/history?rule=refunds')
      expect(first.status).toBe(303)
      expect(first.headers.get('location')).toBe(`/login?to=${encodeURIComponent('/history?rule=refunds')}`)
      const jar = browser()
      const { callback } = await returning(people.ana, jar, `?to=${encodeURIComponent('/history?rule=refunds')}`)
      expect((await jar.visit(callback.href)).url).toBe(`${stage.url}/history?rule=refunds`)
    })

    test('writes nothing, however often somebody asks and whatever comes back', async () => {
      const before = (await stage.store.shelf.list('')).length
      const stranger = await returning()
      await browser().visit(stranger.callback.href)
      stranger.callback.searchParams.set('code', 'forged')
      await stranger.jar.visit(stranger.callback.href)
      for (let count = 0; count < 5; count += 1) await visit(stage, '/login?with=idp')
      expect((await stage.store.shelf.list('')).length).toBe(before)
    })

    test('is another one every time, shows no secret, and stays short however long the way back is', async () => {
      const jar = browser()
      const to = `/history?rule=${'r'.repeat(900)}`
      const states = []
      for (const path of ['/login', '/login', `/login?to=${encodeURIComponent(to)}`]) {
        const { url } = await jar.visit(`${stage.url}${path}`, { until: stage.idp.issuer })
        states.push(new URL(url).searchParams.get('state') ?? '')
      }
      expect(new Set(states).size).toBe(3)
      expect(Math.max(...states.map(state => state.length))).toBeLessThan(1_000)
      for (const state of states)
        expect(Buffer.from(state.split('.')[1] ?? '', 'base64url').toString()).not.toContain('idp')
    })
  })

  describe('the way back', () => {
    test('sets one opaque cookie that scripts and other sites do not get', async () => {
      const { jar, callback } = await returning()
      const done = await jar.visit(callback.href, { until: `${stage.url}/` })
      expect(done.status).toBe(303)
      expect(done.headers.getSetCookie()).toEqual([
        expect.stringMatching(/^holdpoint_session=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Lax$/),
      ])
    })

    test('is taken once', async () => {
      const { jar, callback } = await returning()
      await jar.visit(callback.href, { until: `${stage.url}/` })
      const again = await jar.visit(callback.href)
      expect(again.status).toBe(401)
      expect(words(again.text)).toContain('was used before')
    })

    test('is taken from the browser that began it only, whom no stranger can keep from it', async () => {
      const strangers = [browser(), (await returning()).jar]
      for (const stranger of strangers) {
        const { jar, callback } = await returning()
        const refused = await stranger.visit(callback.href)
        expect(refused.status).toBe(401)
        expect(words(refused.text)).toContain('began in another browser')
        expect((await jar.visit(callback.href, { until: `${stage.url}/` })).status).toBe(303)
      }
    })

    test('is taken with the state as it was made only', async () => {
      const { jar, callback } = await returning()
      const state = callback.searchParams.get('state') ?? ''
      const sealed = stage.keys.seal('{"login":"idp"}', 'signin:other')
      for (const other of [`${state}=`, `${state.slice(0, -4)}AAAA`, sealed, state.split('.')[1] ?? '']) {
        callback.searchParams.set('state', other)
        expect((await jar.visit(callback.href)).status, other).toBe(401)
      }
    })

    test('is taken for ten minutes', async () => {
      const { jar, callback } = await returning()
      stage.pass(10 * minuteMs + 1)
      expect((await jar.visit(callback.href)).status).toBe(401)
    })

    test.each([
      ['another login', (url: URL) => (url.pathname = '/login/callback/other'), 401],
      ['another state', (url: URL) => url.searchParams.set('state', 'x'.repeat(43)), 401],
      ['no state', (url: URL) => url.searchParams.delete('state'), 400],
      ['no code', (url: URL) => url.searchParams.delete('code'), 400],
      ['two states', (url: URL) => url.searchParams.append('state', url.searchParams.get('state') ?? ''), 400],
      ['two codes', (url: URL) => url.searchParams.append('code', 'x'), 400],
      ['two issuers', (url: URL) => url.searchParams.append('iss', stage.idp.issuer), 400],
      ['another issuer (mix-up)', (url: URL) => url.searchParams.set('iss', 'https://evil.example'), 401],
      ['no issuer', (url: URL) => url.searchParams.delete('iss'), 401],
      ['a forged code', (url: URL) => url.searchParams.set('code', 'forged'), 401],
    ])('is refused with %s', async (_, change, status) => {
      const { jar, callback } = await returning()
      change(callback)
      const answer = await jar.visit(callback.href)
      expect(answer.status).toBe(status)
      expect(answer.headers.get('set-cookie')).toBeNull()
    })

    test("refuses a code that belongs to another of the browser's own sign-ins (PKCE, nonce)", async () => {
      const one = await returning()
      const other = await returning(people.dora, one.jar)
      one.callback.searchParams.set('code', other.callback.searchParams.get('code') ?? '')
      expect((await one.jar.visit(one.callback.href)).status).toBe(401)
    })

    test('tells what the provider said, and no more', async () => {
      const jar = browser()
      const chosen = await jar.visit(`${stage.url}/login`, { until: stage.idp.issuer })
      const state = new URL(chosen.url).searchParams.get('state') ?? ''
      const query = new URLSearchParams({ state, iss: stage.idp.issuer, error: 'access_denied' })
      query.set('error_description', '<b>call 555-1234</b>')
      const answer = await jar.visit(`${stage.url}/login/callback/idp?${query}`)
      expect(answer.status).toBe(401)
      expect(answer.text).toContain('access was denied')
      expect(answer.text).not.toContain('555')
    })
  })
})

describe('with a provider that lies', () => {
  let stage: ConsoleStage
  let issuer: Issuer
  let state: URLSearchParams
  const claims = {
    sub: 'mia',
    aud: 'client',
    name: 'Mia',
    email: 'mia@acme.test',
    email_verified: true,
    groups: ['finance-leads'],
  }

  beforeAll(async () => {
    issuer = await startConsoleIssuer()
    const login = loginOf(issuer.issuer, { clientId: 'client', clientSecret: 'secret' })
    stage = await startConsole({ settings: one => ({ ...one, console: { ...one.console, login: [login] } }) })
  })
  afterAll(async () => {
    await stage.close()
    await issuer.close()
  })
  beforeEach(() => {
    issuer.answers.userinfo = () => ({ sub: 'mia' })
  })

  const tokens = async (more: object, header = {}) => ({
    access_token: 'access',
    token_type: 'Bearer',
    id_token: await issuer.sign({ ...claims, nonce: state.get('nonce'), ...more }, header),
  })

  /** Signs in with whatever the provider answers; what is wrong with the token is `more`. */
  const arrive = async (more: object = {}, header = {}, rest: object = {}, name = 'idp') => {
    issuer.answers.token = async () => ({ ...(await tokens(more, header)), ...rest })
    const jar = browser()
    const chosen = await jar.visit(`${stage.url}/login?with=idp`, { until: issuer.issuer })
    state = new URL(chosen.url).searchParams
    const query = new URLSearchParams({ code: 'code', state: state.get('state') ?? '', iss: issuer.issuer })
    const done = await jar.visit(`${stage.url}/login/callback/${name}?${query}`, { until: `${stage.url}/` })
    return {
      status: done.status,
      visit: jar.visit,
      id: /holdpoint_session=([\w-]+)/.exec(done.headers.get('set-cookie') ?? '')?.[1],
    }
  }

  const decides = async (arrived: Awaited<ReturnType<typeof arrive>>) => {
    const id = await stage.hold()
    const page = await arrived.visit(`${stage.url}/holds/${id}`)
    return { id, answer: await arrived.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(page.text) }) }
  }

  test('an ID token that is right lets in', async () => {
    expect((await arrive()).status).toBe(303)
  })

  test('a sign-in is finished once, also where the provider takes a code twice', async () => {
    issuer.answers.token = () => tokens({})
    const jar = browser()
    const chosen = await jar.visit(`${stage.url}/login?with=idp`, { until: issuer.issuer })
    state = new URL(chosen.url).searchParams
    const query = new URLSearchParams({ code: 'code', state: state.get('state') ?? '', iss: issuer.issuer })
    const arrive = () => jar.visit(`${stage.url}/login/callback/idp?${query}`, { until: `${stage.url}/` })
    const both = await Promise.all([arrive(), arrive()])
    expect([...both.map(one => one.status), (await arrive()).status].toSorted()).toEqual([303, 401, 401])
  })

  test('a sign-in ends at the login where it began, even if another one has the same provider and client', async () => {
    const before = stage.settings
    const [login] = before.console.login
    const both = [login, { ...login, name: 'other' }] as typeof before.console.login
    stage.settings = { ...before, console: { ...before.console, login: both } }
    expect([(await arrive({}, {}, {}, 'other')).status, (await arrive()).status]).toEqual([401, 303])
    const choice = await browser().visit(`${stage.url}/login`)
    expect(words(choice.text)).toMatch(/Sign in with idp Sign in with other/)
    stage.settings = before
  })

  test.each<[string, object, object?]>([
    ['another nonce', { nonce: 'other' }],
    ['no nonce', { nonce: undefined }],
    ['another audience', { aud: 'somebody-else' }],
    ['another issuer', { iss: 'https://evil.example' }],
    ['no subject', { sub: undefined }],
    ['no end', { exp: undefined }],
    ['an end in the past', { exp: 1 }],
    ['a key nobody published', {}, { kid: 'two' }],
  ])('an ID token with %s does not', async (_, more, header) => {
    const arrived = await arrive(more, header)
    expect([arrived.status, arrived.id]).toEqual([401, undefined])
  })

  test.each([
    ['whose signature was changed', (token: string) => `${token.slice(0, -8)}AAAAAAAA`],
    [
      'that is not signed',
      (token: string) => `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.`,
    ],
    ['that is not there', () => undefined],
  ])('an ID token %s does not let in', async (_, change) => {
    const wrong = async () => {
      const { id_token, ...rest } = await tokens({})
      const changed = change(id_token)
      return { ...rest, ...(changed === undefined ? {} : { id_token: changed }) }
    }
    const begin = arrive()
    issuer.answers.token = wrong
    expect((await begin).status).toBe(401)
  })

  test('UserInfo is asked where the ID token does not say enough, and must be about the same subject', async () => {
    issuer.answers.userinfo = () => ({
      sub: 'mia',
      groups: ['finance-leads'],
      email: 'mia@acme.test',
      email_verified: true,
    })
    const arrived = await arrive({ groups: undefined, email: undefined })
    expect((await decides(arrived)).answer.status).toBe(200)
    expect(stage.deciders.at(-1)).toMatchObject({
      groups: ['finance-leads'],
      emailTrusted: true,
      interactive: true,
      via: 'console',
    })
    issuer.answers.userinfo = () => ({ sub: 'noa', groups: ['finance-leads'] })
    expect((await arrive({ groups: undefined })).status).toBe(401)
  })

  test.each<[string, object, boolean]>([
    ['verified, of our domain', {}, true],
    ['verified, of our domain in capitals', { email: 'Mia@ACME.test' }, true],
    ['not verified', { email_verified: false }, false],
    ['verified in words', { email_verified: 'true' }, false],
    ['of a domain below ours', { email: 'mia@evil.acme.test' }, false],
    ['of a domain like ours', { email: 'mia@notacme.test' }, false],
    ['with two readings', { email: 'mia@evil.test@acme.test' }, false],
    ['with white space', { email: 'mia @acme.test' }, false],
    ['from UserInfo beside a verified one in the ID token', { email: 'a@evil.test', groups: undefined }, false],
  ])('an e-mail %s is trusted: %#', async (_, more, trusted) => {
    issuer.answers.userinfo = () => ({
      sub: 'mia',
      groups: ['finance-leads'],
      email: 'mia@acme.test',
      email_verified: true,
    })
    await decides(await arrive(more))
    expect(stage.deciders.at(-1)?.emailTrusted).toBe(trusted)
  })

  test('an e-mail is not trusted for being verified under another claim', async () => {
    const before = stage.settings
    const [login] = before.console.login
    const other = [{ ...login, claims: { ...login?.claims, email: ['upn', 'email'] } }] as typeof before.console.login
    stage.settings = { ...before, console: { ...before.console, login: other } }
    await decides(await arrive({ upn: 'boss@acme.test' }))
    expect(stage.deciders.at(-1)).toMatchObject({ email: 'boss@acme.test', emailTrusted: false })
    stage.settings = before
  })

  test('what was once known of a person is not forgotten by a refresh that does not say it', async () => {
    const arrived = await arrive({ uid: '00u1' }, {}, { refresh_token: 'refresh' })
    issuer.answers.token = () => tokens({ email: undefined, email_verified: undefined, nonce: undefined })
    stage.pass(16 * minuteMs)
    await decides(arrived)
    expect(stage.deciders.at(-1)).toMatchObject({ email: 'mia@acme.test', emailTrusted: false, ids: ['mia', '00u1'] })
  })

  test('every id of a person is known, whichever claim has it', async () => {
    await decides(await arrive({ uid: '00u1', oid: 'object-1' }))
    expect(stage.deciders.at(-1)).toMatchObject({ subject: 'mia', ids: ['mia', '00u1', 'object-1'] })
  })

  test.each<[string, () => void]>([
    [
      'is about somebody else',
      () => {
        issuer.answers.token = () => tokens({ sub: 'noa', nonce: undefined })
      },
    ],
    [
      'says nothing about groups any more',
      () => {
        issuer.answers.token = () => tokens({ groups: undefined, nonce: undefined })
      },
    ],
    [
      'says nothing at all',
      () => {
        issuer.answers.token = () => ({ access_token: 'access', token_type: 'Bearer' })
        issuer.answers.userinfo = () => ({ error: 'insufficient_scope' })
      },
    ],
    [
      'is an error',
      () => {
        issuer.answers.token = () => ({ error: 'invalid_grant' })
      },
    ],
  ])('a refresh that %s means: sign in again', async (_, lie) => {
    const arrived = await arrive({}, {}, { refresh_token: 'refresh' })
    const id = await stage.hold()
    const page = await arrived.visit(`${stage.url}/holds/${id}`)
    lie()
    stage.pass(16 * minuteMs)
    const answer = await arrived.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(page.text) })
    expect([answer.status, (await stage.read(id)).state]).toEqual([401, 'pending'])
  })

  test('a session without a refresh token asks UserInfo, with the same subject', async () => {
    const arrived = await arrive()
    const id = await stage.hold()
    const page = await arrived.visit(`${stage.url}/holds/${id}`)
    stage.pass(16 * minuteMs)
    const approve = () => arrived.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(page.text) })
    issuer.answers.userinfo = () => ({ sub: 'noa', groups: ['finance-leads'] })
    expect((await approve()).status).toBe(401)
    issuer.answers.userinfo = () => ({ sub: 'mia', groups: ['finance-leads'] })
    expect((await approve()).status).toBe(200)
  })
})

test('a refresh about nobody in particular means: sign in again', async () => {
  const issuer = await startConsoleIssuer({ userinfo: false })
  const login = loginOf(issuer.issuer, { clientId: 'client' })
  const stage = await startConsole({ settings: one => ({ ...one, console: { ...one.console, login: [login] } }) })
  const jar = browser()
  const { url } = await jar.visit(`${stage.url}/login`, { until: issuer.issuer })
  const asked = new URL(url).searchParams
  const id_token = await issuer.sign({ sub: 'ben', aud: 'client', email: people.ben.email, nonce: asked.get('nonce') })
  const granted = { access_token: 'access', refresh_token: 'refresh', token_type: 'Bearer' }
  issuer.answers.token = () => ({ ...granted, id_token })
  const query = new URLSearchParams({ code: 'code', state: asked.get('state') ?? '', iss: issuer.issuer })
  await jar.visit(`${stage.url}/login/callback/idp?${query}`)
  const id = await stage.hold()
  const page = await jar.visit(`${stage.url}/holds/${id}`)
  issuer.answers.token = () => granted
  stage.pass(16 * minuteMs)
  const withdrawn = await jar.visit(`${stage.url}/holds/${id}/revoke`, { form: hidden(page.text) })
  expect([withdrawn.status, (await stage.read(id)).state]).toEqual([401, 'pending'])
  await stage.close()
  await issuer.close()
})

describe('the path to come back to', () => {
  test.each<[string | undefined, string]>([
    ['/', '/'],
    ['/holds/h_1', '/holds/h_1'],
    ['/history?rule=a%20b', '/history?rule=a%20b'],
    [undefined, '/'],
    ['', '/'],
    ['holds', '/'],
    ['//evil.example', '/'],
    ['///evil.example', '/'],
    ['/\\evil.example', '/'],
    ['\\\\evil.example', '/'],
    ['https://evil.example/', '/'],
    ['/\t/evil.example', '/'],
    ['/\n/evil.example', '/'],
    ['/..//evil.example', '/'],
    ['/a/..//evil.example', '/'],
    ['/./\\evil.example', '/'],
    ['/%5cevil.example', '/%5cevil.example'],
    [' //evil.example', '/'],
    ['/\u3002evil', '/'],
    ['javascript:alert(1)', '/'],
    ['/holds/h_1#x', '/holds/h_1'],
    ['/login?to=/', '/'],
    ['/api/holds', '/'],
    [`/${'a'.repeat(2_000)}`, '/'],
  ])('%j leads to %j', (wanted, path) => {
    expect(safePath(wanted, 'https://console.example')).toBe(path)
  })
})
