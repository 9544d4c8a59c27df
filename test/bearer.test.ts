// Access tokens at the API: whose count, whose only read, and everything that must not pass for one.
import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { reviewerClient } from '../src/commands/demo/idp.ts'
import { type Browser, type ConsoleStage, loginOf, startConsole } from './support/console.ts'
import { type Issuer, startConsoleIssuer } from './support/console-issuer.ts'
import { agentToken, clients, consoleAudience, gateAudience, people, signIn } from './support/people.ts'

const minuteMs = 60_000

let stage: ConsoleStage
let ana: Browser

beforeAll(async () => {
  stage = await startConsole()
  ana = await stage.browserOf(people.ana)
})
afterAll(() => stage.close())

const anon = (path: string, options: RequestInit = {}): Promise<Response> =>
  fetch(`${stage.url}${path}`, { redirect: 'manual', ...options })

const cookieOf = (one: Browser) => ({ cookie: `holdpoint_session=${one.session()}` })

describe('a bearer token', () => {
  test.each<[string, () => Promise<string>, number]>([
    ['of an agent for the gate', () => agentToken(stage.idp.issuer, clients.agent), 401],
    ['of a person for the gate', () => signIn(stage.idp.issuer, people.dora, gateAudience), 401],
    ["of an agent for the console's audience", () => agentToken(stage.idp.issuer, clients.agent, consoleAudience), 200],
    ['of a person', () => signIn(stage.idp.issuer, people.dora), 200],
  ])('%s reads: %#', async (_, make, status) => {
    const answer = await anon('/api/holds', { headers: { authorization: `Bearer ${await make()}` } })
    expect(answer.status).toBe(status)
  })

  test("of an agent for the console's audience never decides", async () => {
    const id = await stage.hold({ caller: { subject: clients.agent.id } })
    const authorization = `Bearer ${await agentToken(stage.idp.issuer, clients.agent, consoleAudience)}`
    const headers = { authorization, 'content-type': 'application/json' }
    const answer = await anon(`/api/holds/${id}/approve`, { method: 'POST', headers, body: '{}' })
    expect([answer.status, (await stage.read(id)).state]).toEqual([403, 'pending'])
  })

  test('that is not good does not fall back to the session', async () => {
    for (const authorization of ['Bearer x.y.z', 'Bearer', 'Basic eDp5', '', 'Bearer a b']) {
      expect((await anon('/api/holds', { headers: { ...cookieOf(ana), authorization } })).status).toBe(401)
    }
    expect((await anon('/api/holds', { headers: cookieOf(ana) })).status).toBe(200)
  })

  test('counts instead of a session that comes along', async () => {
    const id = await stage.hold()
    const authorization = `Bearer ${await signIn(stage.idp.issuer, people.dora)}`
    const headers = { ...cookieOf(ana), authorization, 'content-type': 'application/json' }
    const answer = await anon(`/api/holds/${id}/approve`, { method: 'POST', headers, body: '{}' })
    expect([answer.status, stage.deciders.at(-1)?.subject]).toEqual([200, 'dora'])
  })

  test('is sent once', async () => {
    const token = await signIn(stage.idp.issuer, people.dora)
    const status = await new Promise(resolve => {
      request(
        `${stage.url}/api/holds`,
        { headers: { authorization: [`Bearer ${token}`, 'Bearer x'] as never } },
        answer => {
          answer.resume()
          resolve(answer.statusCode)
        },
      ).end()
    })
    expect(status).toBe(400)
  })

  test('opens no page', async () => {
    const authorization = `Bearer ${await signIn(stage.idp.issuer, people.dora)}`
    expect((await anon('/', { headers: { authorization } })).status).toBe(303)
  })

  test('older than fifteen minutes reads, but does not decide', async () => {
    const id = await stage.hold()
    const headers = {
      authorization: `Bearer ${await signIn(stage.idp.issuer, people.dora)}`,
      'content-type': 'application/json',
    }
    stage.pass(15 * minuteMs + 2_000)
    expect((await anon(`/api/holds/${id}`, { headers })).status).toBe(200)
    const answer = await anon(`/api/holds/${id}/approve`, { method: 'POST', headers, body: '{}' })
    expect([answer.status, (await stage.read(id)).state]).toEqual([401, 'pending'])
  })
})

describe('a bearer token that says', () => {
  let lying: ConsoleStage
  let issuer: Issuer
  const now = (): number => Math.floor(Date.now() / 1000)
  const claims = () => ({
    ...{ sub: 'mia', aud: consoleAudience, client_id: reviewerClient.id, amr: ['pwd', 'mfa'], auth_time: now() },
    ...{ name: 'Mia', email: 'mia@acme.test', email_verified: true, groups: ['finance-leads'] },
  })

  beforeAll(async () => {
    issuer = await startConsoleIssuer()
    lying = await startConsole({
      settings: one => ({ ...one, console: { ...one.console, login: [loginOf(issuer.issuer)] } }),
    })
  })
  afterAll(async () => {
    await lying.close()
    await issuer.close()
  })

  const approve = async (token: string) => {
    const id = await lying.hold()
    const answer = await fetch(`${lying.url}/api/holds/${id}/approve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: '{}',
    })
    const { code } = (await answer.json()) as { code?: string }
    return [answer.status, code, (await lying.read(id)).state]
  }

  test('everything right decides', async () => {
    expect(await approve(await issuer.sign(claims(), { typ: 'at+jwt' }))).toEqual([200, undefined, 'approved'])
  })

  test('a scope, beside a subject that is the object id, is a person (Entra)', async () => {
    const token = await issuer.sign({ ...claims(), oid: 'mia', scp: 'decide' })
    expect(await approve(token)).toEqual([200, undefined, 'approved'])
  })

  test.each<[string, object, object?]>([
    ['another audience', { aud: 'https://other.example' }],
    ['an audience that begins like ours', { aud: `${consoleAudience}/x` }],
    ['no audience', { aud: undefined }],
    ["the gate's audience too", { aud: [consoleAudience, gateAudience] }],
    ['another issuer', { iss: 'https://evil.example' }],
    ['its issuer with a slash', { iss: '/' }],
    ['act', { act: { sub: 'agent-7' } }],
    ['an empty act', { act: {} }],
    ['cnf', { cnf: { jkt: 'x' } }],
    ['nonce, as ID tokens do', { nonce: 'x' }],
    ['at_hash, as ID tokens do', { at_hash: 'x' }],
    ['it is an ID token', { token_use: 'id' }],
    ['no subject', { sub: undefined }],
    ['no end', { exp: undefined }],
    ['an end that passed', { exp: 1 }],
    ['an end that never comes', { exp: 1e300 }],
    ['a life of two days', { exp: now() + 48 * 3_600 }],
    ['a beginning in the future', { iat: now() + 3_600, exp: now() + 7_200 }],
    ['not before tomorrow', { nbf: now() + 3_600 }],
    ['a type that is not its own', {}, { typ: 'logout+jwt' }],
    ['a key nobody published', {}, { kid: 'two' }],
    ['an endless kid', {}, { kid: 'k'.repeat(300) }],
  ])('%s is nobody', async (_, more, header) => {
    const given = 'iss' in more && more.iss === '/' ? { iss: `${issuer.issuer}/` } : more
    expect(await approve(await issuer.sign({ ...claims(), ...given }, header))).toEqual([
      401,
      'unauthenticated',
      'pending',
    ])
  })

  test.each<[string, (token: string) => string]>([
    ['not signed', token => `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.`],
    [
      'changed',
      token =>
        token.replace(
          /\.[^.]+\./,
          `.${Buffer.from(JSON.stringify({ ...claims(), iss: issuer.issuer, exp: now() + 60 })).toString('base64url')}.`,
        ),
    ],
    ['encrypted', token => `${token}.x.y`],
    ['endless', token => `${token}${'A'.repeat(20_000)}`],
  ])('nothing true, being %s, is nobody', async (_, change) => {
    expect(await approve(change(await issuer.sign(claims())))).toEqual([401, 'unauthenticated', 'pending'])
  })

  test.each<[string, object]>([
    ['another client', { client_id: 'some-script' }],
    ['no client', { client_id: undefined }],
    ['no amr', { amr: undefined }],
    ['amr without mfa', { amr: ['pwd'] }],
    ['amr as a text', { amr: 'mfa' }],
    ['no auth_time', { auth_time: undefined }],
    ['auth_time as a text', { auth_time: String(now()) }],
    ['auth_time long ago', { auth_time: now() - 16 * 60 }],
    ['auth_time in the future', { auth_time: now() + 3_600 }],
    ['it belongs to its own client', { sub: reviewerClient.id }],
    ['it belongs to an application (Entra)', { idtyp: 'app' }],
    ['it comes from client credentials (Auth0)', { gty: 'client-credentials' }],
    ['its subject is a client (Auth0)', { sub: 'Zx81@clients' }],
    ['it belongs to a service account (Keycloak)', { preferred_username: 'service-account-bot' }],
    ['its subject is a service principal (Entra)', { sub: 'b7e1', oid: 'b7e1' }],
  ])('%s may read, not decide', async (_, more) => {
    const token = await issuer.sign({ ...claims(), ...more })
    expect((await fetch(`${lying.url}/api/holds`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200)
    expect(await approve(token)).toEqual([403, 'not_approver', 'pending'])
  })

  test.each<[string, object | undefined]>([
    ['says nothing', undefined],
    ['names no client', { clients: [], amr: ['mfa'], maxAgeMs: undefined }],
  ])('everything right decides nothing where `interactive` %s', async (_, interactive) => {
    const before = lying.settings
    const login = [{ ...loginOf(issuer.issuer), interactive: interactive as never }]
    lying.settings = { ...before, console: { ...before.console, login } }
    expect(await approve(await issuer.sign(claims()))).toEqual([403, 'not_approver', 'pending'])
    lying.settings = before
  })

  test('where `interactive` names clients alone, the token has to say that a person signed in', async () => {
    const before = lying.settings
    const interactive = { clients: [reviewerClient.id], amr: [], maxAgeMs: undefined }
    const login = [{ ...loginOf(issuer.issuer), interactive }]
    lying.settings = { ...before, console: { ...before.console, login } }
    const bare = { ...claims(), amr: undefined, auth_time: undefined }
    expect(await approve(await issuer.sign(bare))).toEqual([403, 'not_approver', 'pending'])
    expect((await approve(await issuer.sign({ ...bare, amr: ['pwd'] })))[0]).toBe(200)
    expect((await approve(await issuer.sign({ ...bare, auth_time: now() })))[0]).toBe(200)
    lying.settings = before
  })

  test('everything right is nobody where the console has no audience', async () => {
    const before = lying.settings
    lying.settings = { ...before, console: { ...before.console, audience: undefined } }
    expect((await approve(await issuer.sign(claims())))[0]).toBe(401)
    lying.settings = before
  })

  test('its client tells apart two logins of one issuer', async () => {
    const before = lying.settings
    const one = loginOf(issuer.issuer, { name: 'staff', clientId: 'staff', interactive: undefined })
    const other = loginOf(issuer.issuer, { name: 'leads', clientId: 'leads' })
    lying.settings = { ...before, console: { ...before.console, login: [one, other] } }
    await approve(await issuer.sign(claims()))
    expect(lying.deciders.at(-1)?.login).toBe('leads')
    expect((await approve(await issuer.sign({ ...claims(), client_id: 'third' })))[0]).toBe(401)
    lying.settings = before
  })

  test('a group of groups, or none, is no group', async () => {
    const token = await issuer.sign({ ...claims(), groups: [['finance-leads'], { name: 'finance-leads' }, 7] })
    expect((await approve(token))[0]).toBe(404)
  })

  test('what it says is looked up while the issuer is away', async () => {
    const token = await issuer.sign({ ...claims(), exp: now() + 1_800 })
    expect((await approve(token))[0]).toBe(200)
    issuer.answers.keys = () => {
      throw new Error('away')
    }
    lying.pass(11 * minuteMs)
    expect((await approve(token))[0]).toBe(200)
  })
})
