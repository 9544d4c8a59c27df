// Opaque tokens (RFC 7662): which entry is asked, what is believed of its answer, for how long, and what happens when there is none.
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { type Identified, type Identify, identifier } from '../src/identify.ts'
import type { Call } from '../src/nouns.ts'
import type { Introspection, Issuer, Settings } from '../src/settings.ts'
import { gateSettings, gateUrl, issuerEntry } from './support/gate-settings.ts'
import { startIssuer } from './support/issuer.ts'

type Asked = {
  readonly authorization: string | undefined
  readonly form: URLSearchParams
  readonly type: string | undefined
}

let url: string
let asked: Asked[] = []
let answer: (
  request: IncomingMessage,
  form: URLSearchParams,
) => Promise<string | object | number> | string | object | number
let now = Date.now()
let identify: Identify
const inS = (seconds: number): number => Math.floor(now / 1000) + seconds
const good = (more: object = {}): object => ({ active: true, sub: 'user-1', client_id: 'tool', exp: inS(300), ...more })

const server = createServer(async (request, response) => {
  const form = new URLSearchParams(await text(request))
  asked.push({ authorization: request.headers.authorization, form, type: request.headers['content-type'] })
  const said = await answer(request, form)
  if (said === 302) return void response.writeHead(302, { location: `${url}/elsewhere` }).end()
  if (typeof said === 'number') return void response.writeHead(said).end(JSON.stringify(good()))
  response
    .writeHead(200, { 'content-type': 'application/json' })
    .end(typeof said === 'string' ? said : JSON.stringify(said))
})
beforeAll(async () => {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise(resolve => server.close(resolve))
})
beforeEach(() => {
  now = Date.now()
  asked = []
  answer = () => good()
  identify = identifier({ clock: () => now, shelf: { put: async () => true } })
})

const asking = (name: string, more: Partial<Introspection> = {}, entry: Partial<Issuer> = {}): Issuer =>
  issuerEntry(name, undefined, {
    audience: [],
    introspect: {
      url: `${url}/introspect`,
      clientId: 'gate',
      clientSecret: 's',
      prefix: undefined,
      cacheForMs: 30_000,
      ...more,
    },
    ...entry,
  })
const alone = (entry: Partial<Issuer> = {}): Settings => gateSettings(asking('legacy', {}, entry))

const show = (settings: Settings, token = 'opaque-token', headers: [string, string][] = []): Promise<Identified> =>
  identify({ headers: [['Authorization', `Bearer ${token}`], ...headers] } as unknown as Call, undefined, settings)
const refusal = async (work: Promise<unknown>): Promise<HoldpointError> => {
  const error = await work.then(
    () => undefined,
    thrown => thrown,
  )
  expect(error).toBeInstanceOf(HoldpointError)
  return error as HoldpointError
}

describe('a token that its issuer calls active', () => {
  it('stands for whom the answer says', async () => {
    answer = () => good({ email: 'ben@acme.test', groups: ['ops'], owner: 'ana@acme.test', act: { sub: 'bot' } })
    expect((await show(alone())).caller).toMatchObject({
      ...{ issuer: 'legacy', subject: 'user-1', client: 'tool', email: 'ben@acme.test', groups: ['ops'] },
      ...{ owner: 'ana@acme.test', kind: 'agent', actors: [{ issuer: 'legacy', subject: 'bot' }] },
    })
  })

  it('is asked about as RFC 7662 says, with our own credential form-encoded', async () => {
    await show(gateSettings(asking('legacy', { clientId: 'a:b', clientSecret: 'p%c d' })))
    const [{ authorization = '', form, type } = {} as Asked] = asked
    expect(Buffer.from(authorization.slice(6), 'base64').toString()).toBe('a%3Ab:p%25c+d')
    expect(type).toBe('application/x-www-form-urlencoded')
    expect(Object.fromEntries(form)).toEqual({ token: 'opaque-token', token_type_hint: 'access_token' })
  })

  it.each<[string, string]>([
    ['Basic', `Basic ${Buffer.from('user:opaque-token').toString('base64')}`],
    ['a lower-case scheme', 'bearer opaque-token'],
  ])('may be sent as %s', async (_, authorization) => {
    await identify({ headers: [['Authorization', authorization]] } as unknown as Call, undefined, alone())
    expect(asked[0]?.form.get('token')).toBe('opaque-token')
  })
})

describe('an answer', () => {
  it.each<[string, () => string | object | number]>([
    ['that is not active', () => ({ active: false })],
    ['that says so in words', () => good({ active: 'true' })],
    ['that says so in numbers', () => good({ active: 1 })],
    ['that does not say', () => good({ active: undefined })],
    ['that is active and is not', () => JSON.stringify(good()).replace('{', '{"active":false,')],
    ['that is active in another case', () => JSON.stringify(good()).replace('active', 'Active')],
    ['without an end', () => good({ exp: undefined })],
    ['whose end is a text', () => good({ exp: String(inS(300)) })],
    ['whose end is no number at all', () => JSON.stringify(good()).replace(/"exp":\d+/, '"exp":1e999')],
    ['that has ended', () => good({ exp: inS(-61) })],
    ['that has not begun', () => good({ nbf: inS(120) })],
    ['whose beginning is a text', () => good({ nbf: 'now' })],
    ['made in the future', () => good({ iat: inS(120) })],
    ['without a subject', () => good({ sub: undefined })],
    ['about a refresh token', () => good({ token_type: 'refresh_token' })],
    ['about a token of no type', () => good({ token_type: ['Bearer'] })],
    ['about a refresh token, by use', () => good({ token_use: 'refresh_token' })],
    ['about a refresh token of Keycloak', () => good({ typ: 'Refresh' })],
    ['about an ID token', () => good({ nonce: 'n' })],
    ['for somebody else', () => good({ aud: 'https://other.example' })],
    ['for several others', () => good({ aud: ['https://other.example', 'https://third.example'] })],
    ['with an audience of no kind', () => good({ aud: null })],
    ['bound to a key in an unknown way', () => good({ cnf: { kid: 'k' } })],
    ['that is a list', () => [good()]],
    ['that is no JSON', () => 'active'],
    ['that is empty', () => ''],
    ['that is too large', () => good({ x: 'x'.repeat(65 * 1024) })],
    ['with an error', () => 500],
    ['that was created', () => 201],
    ['that is not authorized', () => 401],
    ['that sends us elsewhere', () => 302],
  ])('%s is a 401', async (_, make) => {
    answer = make
    expect((await refusal(show(alone()))).code).toBe('unauthenticated')
    expect(asked).toHaveLength(1)
  })

  it.each<[string, Partial<Issuer>, object, boolean]>([
    ['names no audience and none is wanted', {}, {}, true],
    ["names the gate's address and none is wanted", {}, { aud: gateUrl }, true],
    ['names our client and none is wanted', {}, { aud: ['x', 'gate'] }, true],
    ['names the one that is wanted', { audience: ['api://a'] }, { aud: ['api://a'] }, true],
    ['names none and one is wanted', { audience: ['api://a'] }, {}, false],
    ['names the gate and another is wanted', { audience: ['api://a'] }, { aud: gateUrl }, false],
    ['begins like the one that is wanted', { audience: ['api://a'] }, { aud: 'api://a/b' }, false],
    ['is of the issuer of its entry', { issuer: 'https://i.example' }, { iss: 'https://i.example' }, true],
    ['is of another issuer than its entry', { issuer: 'https://i.example' }, { iss: 'https://i.example/' }, false],
  ])('that %s: %#', async (_, entry, more, taken) => {
    answer = () => good(more)
    const shown = show(alone(entry))
    if (taken) expect((await shown).caller.subject).toBe('user-1')
    else expect((await refusal(shown)).code).toBe('unauthenticated')
  })

  it('is not believed for longer than a day, whatever end it names', async () => {
    answer = () => good({ exp: 1e12 })
    expect((await show(alone())).caller.expiresAt).toBe(now + 24 * 3600_000)
  })
})

describe('what is remembered', () => {
  it('is an answer, for as long as the entry says', async () => {
    const settings = alone()
    await show(settings)
    now += 29_000
    await show(settings)
    expect(asked).toHaveLength(1)
    now += 1_000
    await show(settings)
    expect(asked).toHaveLength(2)
  })

  it('is judged again at every use', async () => {
    const settings = alone()
    answer = () => good({ exp: inS(-50) })
    await show(settings)
    now += 11_000
    expect((await refusal(show(settings))).detail).toBe('The token has expired.')
    expect(asked).toHaveLength(1)
  })

  it('is a no, for five seconds', async () => {
    const settings = alone()
    answer = () => ({ active: false })
    await refusal(show(settings))
    answer = () => good()
    now += 4_000
    await refusal(show(settings))
    expect(asked).toHaveLength(1)
    now += 1_000
    await show(settings)
  })

  it('belongs to one token, one entry and one configuration', async () => {
    const settings = alone()
    await show(settings)
    await show(settings, 'opaque-tokem')
    await show(alone())
    expect(asked).toHaveLength(3)
    // The same entry in a newer configuration asks for an audience that the remembered answer does not name.
    await refusal(show(alone({ audience: ['api://a'] })))
  })

  it('is asked for once, however many ask at once', async () => {
    const settings = alone()
    await Promise.all(Array.from({ length: 20 }, () => show(settings)))
    expect(asked).toHaveLength(1)
  })

  it('is nothing after a failure: nobody gets in on an old answer, and the issuer has a rest', async () => {
    const settings = alone()
    await show(settings)
    now += 30_000
    answer = () => 503
    const error = await refusal(show(settings))
    expect(error).toMatchObject({ code: 'unauthenticated', extras: { retryAfterS: 1 } })
    expect(identify.health(settings)).toEqual(['issuer legacy: it answered 503'])
    await refusal(show(settings))
    await refusal(show(settings, 'another'))
    expect(asked).toHaveLength(2)
    answer = () => good()
    now += 1_000
    await show(settings)
    expect(identify.health(settings)).toEqual([])
  })

  it('does not pass on a flood of made-up tokens', async () => {
    const settings = alone()
    const release = Promise.withResolvers<void>()
    answer = () => release.promise.then(() => ({ active: false }))
    const flood = Array.from({ length: 200 }, (_, index) => refusal(show(settings, `made-up-${index}`)))
    await expect.poll(() => asked.length).toBe(64)
    release.resolve()
    expect((await Promise.all(flood)).every(error => error.code === 'unauthenticated')).toBe(true)
    expect(asked).toHaveLength(64)
  })
})

describe('asked again, because a call has waited', () => {
  it('an opaque token is asked about anew', async () => {
    const settings = alone()
    const { again, caller } = await show(settings)
    expect(await again(settings)).toEqual(caller)
    expect(asked).toHaveLength(2)
  })

  it.each<[string, () => object]>([
    ['taken back', () => ({ active: false })],
    ["somebody else's", () => good({ sub: 'user-2' })],
    ["another program's", () => good({ client_id: 'other' })],
    ["another owner's", () => good({ owner: 'eve@acme.test' })],
    ['used by another actor', () => good({ act: { sub: 'bot' } })],
  ])('a token that is now %s is no longer good', async (_, then) => {
    const settings = alone()
    const { again } = await show(settings)
    answer = then
    expect(await again(settings)).toBeUndefined()
  })

  it('brings what else is said of its caller now', async () => {
    const settings = alone()
    const { again } = await show(settings)
    answer = () => good({ groups: ['fewer'] })
    expect((await again(settings))?.groups).toEqual(['fewer'])
  })

  it('says so if the issuer cannot tell', async () => {
    const settings = alone()
    const { again } = await show(settings)
    answer = () => 503
    expect((await refusal(again(settings))).extras.retryAfterS).toBe(1)
  })

  it('a JWT is judged by its times and by the configuration as it is then', async () => {
    const issuer = await startIssuer()
    try {
      const settings = gateSettings(issuerEntry('main', issuer.url))
      const token = await issuer.token()
      const { again } = await show(settings, token)
      expect((await again(settings))?.subject).toBe('somebody')
      expect(await again(gateSettings(issuerEntry('main', issuer.url, { audience: ['api://else'] })))).toBeUndefined()
      expect(await again(gateSettings())).toBeUndefined()
      now += 10 * 60_000
      expect(await again(settings)).toBeUndefined()
    } finally {
      await issuer.close()
    }
  })
})

describe('which entry answers', () => {
  const pair = (): Settings =>
    gateSettings(asking('acme', { prefix: 'acme_', url: `${url}/acme` }), asking('rest', { url: `${url}/rest` }))

  it.each([
    ['acme_1', 'acme'],
    ['other', 'rest'],
    ['ACME_1', 'rest'],
    ['glpat-abcdef.01.xyz', 'rest'],
  ])('for %s is %s', async (token, name) => {
    expect((await show(pair(), token)).caller.issuer).toBe(name)
  })

  it('is nobody where it is not certain', async () => {
    await refusal(show(gateSettings(asking('a'), asking('b'))))
    await refusal(show(gateSettings(asking('a', { prefix: 'x' }), asking('b', { prefix: 'xy' })), 'xyz'))
    await refusal(show(gateSettings(asking('a', { prefix: 'x' })), 'yz'))
    await refusal(show(gateSettings(), 'yz'))
    expect(asked).toEqual([])
  })

  it('is never asked about what begins like a JWT of somebody else', async () => {
    const issuer = await startIssuer()
    try {
      for (const token of [await issuer.token(), `${await issuer.token()}.x.y`, 'eyJhbGciOiJub25lIn0.e30.'])
        await refusal(show(alone(), token))
      expect(asked).toEqual([])
    } finally {
      await issuer.close()
    }
  })

  it('is asked about the JWTs of its own issuer, and these are never verified with keys', async () => {
    const issuer = await startIssuer()
    try {
      const settings = alone({ issuer: issuer.url })
      const token = await issuer.token()
      answer = () => good({ iss: issuer.url })
      expect((await show(settings, token)).caller.subject).toBe('user-1')
      answer = () => ({ active: false })
      now += 30_000
      await refusal(show(settings, token))
      expect(issuer.fetched()).toBe(0)
    } finally {
      await issuer.close()
    }
  })
})

test('an answer about a bound token needs its proof', async () => {
  answer = () => good({ cnf: { jkt: 'x' }, token_type: 'DPoP' })
  const error = await refusal(show(alone()))
  expect(error.extras.headers?.['WWW-Authenticate']).toMatch(/^DPoP /)
})
