// Back-channel logout: facts O8. A logout token ends sessions once; nothing else does.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { browser } from '../src/commands/demo/browser.ts'
import { type ConsoleStage, loginOf, startConsole } from './support/console.ts'
import { type Issuer, startConsoleIssuer } from './support/console-issuer.ts'

const event = 'http://schemas.openid.net/event/backchannel-logout'

let stage: ConsoleStage
let issuer: Issuer
let other: Issuer
let count = 0
beforeAll(async () => {
  issuer = await startConsoleIssuer()
  other = await startConsoleIssuer()
  const login = loginOf(issuer.issuer, { clientId: 'client', clientSecret: 'secret' })
  stage = await startConsole({ settings: one => ({ ...one, console: { ...one.console, login: [login] } }) })
})
afterAll(async () => {
  await stage.close()
  await issuer.close()
  await other.close()
})

/** Signs somebody in; answers whether they still are. */
const signedIn = async (claims: object): Promise<() => Promise<boolean>> => {
  const jar = browser()
  const asked = new URL((await jar.visit(`${stage.url}/login?with=idp`, { until: issuer.issuer })).url).searchParams
  issuer.answers.userinfo = () => ({ sub: (claims as { sub: string }).sub })
  issuer.answers.token = async () => ({
    access_token: 'access',
    token_type: 'Bearer',
    id_token: await issuer.sign({ aud: 'client', nonce: asked.get('nonce'), groups: ['finance-leads'], ...claims }),
  })
  const back = new URLSearchParams({ code: 'code', state: asked.get('state') ?? '', iss: issuer.issuer })
  const done = await jar.visit(`${stage.url}/login/callback/idp?${back}`)
  expect(done.status).toBe(200)
  return async () => (await jar.visit(`${stage.url}/rules`, { until: `${stage.url}/login` })).status === 200
}

const now = (): number => Math.floor(stage.now() / 1000)
const tokenOf = (claims: object = {}, header: object = {}, by = issuer): Promise<string> => {
  count += 1
  const base = { aud: 'client', sub: 'mia', iat: now(), exp: now() + 120, jti: `jti-${count}`, events: { [event]: {} } }
  return by.sign({ ...base, ...claims }, { typ: 'logout+jwt', ...header })
}
const post = (body: string, type = 'application/x-www-form-urlencoded'): Promise<Response> =>
  fetch(`${stage.url}/logout/backchannel`, { method: 'POST', headers: { 'content-type': type }, body })
const send = (token: string): Promise<Response> => post(new URLSearchParams({ logout_token: token }).toString())

describe('a logout token', () => {
  test("ends every session of its subject, and nobody else's, and is on record", async () => {
    const [mia, again, eva] = [
      await signedIn({ sub: 'mia' }),
      await signedIn({ sub: 'mia' }),
      await signedIn({ sub: 'eva' }),
    ]
    const answer = await send(await tokenOf())
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store'])
    expect([await mia(), await again(), await eva()]).toEqual([false, false, true])
    expect(await stage.entries()).toContainEqual(
      expect.objectContaining({
        kind: 'signout',
        detail: 'by the identity provider',
        reviewer: expect.objectContaining({ subject: 'mia' }),
      }),
    )
  })

  test('with a sid ends that session alone', async () => {
    const [one, two] = [await signedIn({ sub: 'mia', sid: 's1' }), await signedIn({ sub: 'mia', sid: 's2' })]
    expect((await send(await tokenOf({ sid: 's1' }))).status).toBe(200)
    expect([await one(), await two()]).toEqual([false, true])
    expect((await send(await tokenOf({ sid: 's2', sub: undefined }))).status).toBe(200)
    expect(await two()).toBe(false)
  })

  test('with the sid of somebody else ends nothing', async () => {
    const eva = await signedIn({ sub: 'eva', sid: 's3' })
    expect((await send(await tokenOf({ sid: 's3' }))).status).toBe(200)
    expect(await eva()).toBe(true)
  })

  test('with a sid ends a session of its subject that has none, and leaves those of others alone', async () => {
    const [mia, eva] = [await signedIn({ sub: 'mia' }), await signedIn({ sub: 'eva' })]
    expect((await send(await tokenOf({ sid: 'unheard of', sub: undefined }))).status).toBe(200)
    expect([await mia(), await eva()]).toEqual([true, true])
    expect((await send(await tokenOf({ sid: 'unheard of' }))).status).toBe(200)
    expect([await mia(), await eva()]).toEqual([false, true])
  })

  test('counts once', async () => {
    const token = await tokenOf()
    expect((await send(token)).status).toBe(200)
    const mia = await signedIn({ sub: 'mia' })
    expect((await send(token)).status).toBe(400)
    expect(await mia()).toBe(true)
  })

  test('does not end what began after it', async () => {
    const token = await tokenOf()
    stage.pass(2 * 60_000)
    const mia = await signedIn({ sub: 'mia', iat: now(), exp: now() + 600 })
    expect((await send(token)).status).toBe(200)
    expect(await mia()).toBe(true)
  })

  test('may say that it is a JWT, or nothing, as older providers do', async () => {
    for (const typ of ['JWT', undefined]) expect((await send(await tokenOf({}, { typ }))).status).toBe(200)
  })
})

describe('nothing else ends a session', () => {
  let mia: () => Promise<boolean>
  beforeEach(async () => {
    mia = await signedIn({ sub: 'mia', iat: now(), exp: now() + 600 })
  })

  test.each<[string, object, object?]>([
    ['for another client', { aud: 'somebody-else' }],
    ['of another issuer', { iss: 'https://evil.example' }],
    ['without events', { events: undefined }],
    ['with another event', { events: { 'http://schemas.openid.net/event/other': {} } }],
    ['with events as a text', { events: event }],
    ['with a nonce', { nonce: 'n' }],
    ['without iat', { iat: undefined }],
    ['from long ago', { iat: Math.floor(Date.now() / 1000) - 5 * 60 - 1 }],
    ['without jti', { jti: undefined }],
    ['with an empty jti', { jti: '' }],
    ['without exp', { exp: undefined }],
    ['that has ended', { exp: 2 }],
    ['about nobody', { sub: undefined }],
    ['about a list', { sub: ['mia'] }],
    ['with an empty sid', { sid: '' }],
    ['that is an access token', {}, { typ: 'at+jwt' }],
    ['signed with a key nobody published', {}, { kid: 'two' }],
  ])('not a token %s', async (_, claims, header = {}) => {
    const answer = await send(await tokenOf(claims, header))
    expect([answer.status, ((await answer.json()) as { error: string }).error]).toEqual([400, 'invalid_request'])
    expect(await mia()).toBe(true)
  })

  test('not a token that somebody else signed in its name', async () => {
    expect((await send(await tokenOf({ iss: issuer.issuer }, {}, other))).status).toBe(400)
    expect(await mia()).toBe(true)
  })

  test('not an unsigned one, none at all, two, or one in another form', async () => {
    const token = await tokenOf()
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.`
    expect((await send(unsigned)).status).toBe(400)
    expect((await post('')).status).toBe(400)
    expect((await post(`logout_token=${token}&logout_token=${token}`)).status).toBe(400)
    expect((await post(JSON.stringify({ logout_token: token }), 'application/json')).status).toBe(400)
    expect((await fetch(`${stage.url}/logout/backchannel?logout_token=${token}`)).status).toBe(405)
    expect(await mia()).toBe(true)
  })
})
