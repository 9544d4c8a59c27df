// Call -> Caller: exactly one token, of one configured issuer, and everything that must not pass for one.
import { createHmac } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { type Identify, identifier } from '../src/identify.ts'
import type { Call, Caller, Header } from '../src/nouns.ts'
import type { Settings, Upstream } from '../src/settings.ts'
import { startIssuer, type TestIssuer } from './support/issuer.ts'

let issuer: TestIssuer
let other: TestIssuer
let settings: Settings
let now = Date.now()

const claims = {
  subject: ['sub'],
  person: ['uid', 'oid'],
  client: ['azp', 'client_id', 'cid'],
  email: ['email'],
  groups: ['groups'],
  owner: ['owner'],
  name: ['name'],
  reason: ['reason'],
}
const entry = (name: string, one: TestIssuer, more: object = {}) => ({
  name,
  issuer: one.url,
  audience: ['api://holdpoint'],
  algorithms: ['RS256'],
  claims,
  kind: 'auto',
  ownerless: 'refuse',
  jwksUri: undefined,
  directory: undefined,
  ...more,
})

beforeAll(async () => {
  issuer = await startIssuer()
  other = await startIssuer()
  settings = {
    gate: { url: 'https://gate.example' },
    issuers: [entry('main', issuer), entry('other', other, { audience: ['api://other'] })],
  } as unknown as Settings
})
afterAll(() => Promise.all([issuer.close(), other.close()]))

const callWith = (...headers: Header[]): Call => ({ headers }) as unknown as Call
const withToken = (token: string): Call => callWith(['Authorization', `Bearer ${token}`])
const fresh = (): Identify => identifier({ clock: () => now, shelf: { put: async () => true } })
const who = async (token: string, identify = fresh()): Promise<Caller> =>
  (await identify(withToken(token), undefined, settings)).caller

/** An `act` chain of so many actors. */
const chain = (length: number): object => ({ sub: `a${length}`, ...(length > 1 ? { act: chain(length - 1) } : {}) })

const refusal = async (work: Promise<unknown>): Promise<HoldpointError> => {
  const error = await work.then(
    () => undefined,
    thrown => thrown,
  )
  expect(error).toBeInstanceOf(HoldpointError)
  return error as HoldpointError
}

describe('a good token', () => {
  it('becomes a caller', async () => {
    const caller = await who(
      await issuer.token({
        sub: 'agent-7',
        client_id: 'agent-7',
        owner: 'ben@acme.com',
        groups: ['finance-agents'],
        name: 'Seven',
      }),
    )
    expect(caller).toMatchObject({
      issuer: 'main',
      subject: 'agent-7',
      client: 'agent-7',
      owner: 'ben@acme.com',
      kind: 'agent',
      groups: ['finance-agents'],
      name: 'Seven',
      actors: [],
    })
  })

  it.each([
    ['client credentials', { sub: 'svc', client_id: 'svc' }, 'workload'],
    ['client credentials of an owned agent', { sub: 'svc', client_id: 'svc', owner: 'b@acme.com' }, 'agent'],
    ['a user by person id', { sub: 'ben@acme.com', uid: '00u2', cid: '0oa1' }, 'human'],
    ['a user by e-mail', { sub: 'u', email: 'ben@acme.com' }, 'human'],
    ['nothing to tell by', { sub: 'u' }, 'workload'],
    ['somebody acting for a user', { sub: 'u', email: 'ben@acme.com', act: { sub: 'agent' } }, 'agent'],
  ])('%s is known by its kind', async (_name, more, kind) => {
    expect((await who(await issuer.token(more))).kind).toBe(kind)
  })

  it('tells its kind by the configured claims, and what fits none is a workload', async () => {
    const byClaim = {
      ...settings,
      issuers: [
        entry('main', issuer, {
          kind: [
            { when: { role: 'bot' }, kind: 'agent' },
            { when: { email: '*@acme.com' }, kind: 'human' },
          ],
        }),
      ],
    } as unknown as Settings
    const kindOf = async (more: object) =>
      (await fresh()(withToken(await issuer.token(more as Record<string, unknown>)), undefined, byClaim)).caller.kind
    expect(await kindOf({ role: 'bot' })).toBe('agent')
    expect(await kindOf({ email: 'a@acme.com' })).toBe('human')
    expect(await kindOf({ email: 'a@acme.com', act: { sub: 'x' } })).toBe('agent')
    expect(await kindOf({})).toBe('workload')
  })

  it('keeps the whole act chain, current actor first', async () => {
    const caller = await who(
      await issuer.token({ act: { sub: 'a1', client_id: 'c1', act: { sub: 'a2', email: 'x@acme.com' } } }),
    )
    expect(caller.actors).toEqual([
      { issuer: 'main', subject: 'a1', client: 'c1' },
      { issuer: 'main', subject: 'a2', email: 'x@acme.com' },
    ])
  })
})

test('an act chain of eight is taken', async () => {
  expect((await who(await issuer.token({ act: chain(8) }))).actors).toHaveLength(8)
})

describe('a token that is not good', () => {
  const at = (offset: number): number => Math.floor(Date.now() / 1000) + offset
  it.each<[string, Record<string, unknown>, Record<string, unknown>?]>([
    ['of another audience', { aud: 'api://console' }],
    ['without audience', { aud: undefined }],
    ['expired', { exp: at(-120) }],
    ['without end', { exp: undefined }],
    ['whose end is no number', { exp: 'soon' }],
    ['that lives forever', { exp: 1e300 }],
    ['that lives longer than a day', { exp: at(48 * 3600) }],
    ['from the future (iat)', { iat: at(600), exp: at(900) }],
    ['not yet valid (nbf)', { nbf: at(600) }],
    ['whose nbf is no number', { nbf: 'x' }],
    ['of an unknown issuer', { iss: 'https://evil.example' }],
    ['whose issuer has a slash more', { iss: 'SLASH' }],
    ['without subject', { sub: undefined }],
    ['with an empty subject', { sub: '' }],
    ['that is an ID token (nonce)', { nonce: 'n' }],
    ['that is an ID token (at_hash)', { at_hash: 'n' }],
    ['that says it is no access token', { token_use: 'id' }],
    ['that is an ID token (Keycloak)', { typ: 'ID' }],
    ['that is a refresh token (Keycloak)', { typ: 'Refresh' }],
    ['with an act that is no object', { act: 'x' }],
    ['with an actor without sub', { act: { client_id: 'c' } }],
    ['with an act chain of nine', { act: chain(9) }],
    ['with too many groups', { groups: Array.from({ length: 201 }, (_, i) => `g${i}`) }],
    ['of another type', {}, { typ: 'dpop+jwt' }],
    ['with a critical extension', {}, { crit: ['b64'], b64: true }],
    ['of an unknown key', {}, { kid: 'nobody' }],
    ['with an endless kid', {}, { kid: 'k'.repeat(300) }],
  ])('%s is 401', async (_name, claimsOf, header) => {
    const given = claimsOf.iss === 'SLASH' ? { iss: `${issuer.url}/` } : claimsOf
    const error = await refusal(issuer.token(given, header as never).then(token => who(token)))
    expect(error.code).toBe('unauthenticated')
    expect(error.extras.headers?.['WWW-Authenticate']).toBe(
      'Bearer error="invalid_token", resource_metadata="https://gate.example/.well-known/oauth-protected-resource"',
    )
  })

  it('is taken of each issuer, for its own audience', async () => {
    expect((await who(await other.token({ aud: 'api://other' }))).issuer).toBe('other')
    expect((await who(await issuer.token({ aud: ['x', 'api://holdpoint'] }))).issuer).toBe('main')
  })

  it("is not verified with another issuer's keys", async () => {
    const token = await other.token({ iss: issuer.url })
    expect((await refusal(who(token))).code).toBe('unauthenticated')
  })

  it('is not taken unsigned, or signed with the public key as a secret', async () => {
    const [head, body] = (await issuer.token()).split('.')
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`
    expect((await refusal(who(unsigned))).code).toBe('unauthenticated')
    const jwks = JSON.stringify(await (await fetch(`${issuer.url}/keys`)).json())
    const confused = Buffer.from(`{"alg":"HS256","kid":"k1","typ":"JWT"}`).toString('base64url')
    const mac = createHmac('sha256', jwks).update(`${confused}.${body}`).digest('base64url')
    expect((await refusal(who(`${confused}.${body}.${mac}`))).code).toBe('unauthenticated')
    expect(head).toBeDefined()
  })

  it('does not bring its own key', async () => {
    const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
    const jwk = await exportJWK(publicKey)
    const token = await new SignJWT({ iss: issuer.url, aud: 'api://holdpoint', sub: 'x' })
      .setProtectedHeader({ alg: 'RS256', jwk, kid: 'k1' })
      .setExpirationTime('5m')
      .sign(privateKey)
    expect((await refusal(who(token))).code).toBe('unauthenticated')
  })

  it('has no claim twice', async () => {
    const [head, , mac] = (await issuer.token()).split('.')
    const twice = Buffer.from(`{"iss":"${issuer.url}","sub":"a","sub":"b"}`).toString('base64url')
    expect((await refusal(who(`${head}.${twice}.${mac}`))).detail).toBe('The token cannot be read.')
  })

  it.each(['', 'x', 'a.b', 'a.b.c.d.e', 'a..c', 'A'.repeat(20_000), `${'A'.repeat(10)}.é.c`])('is %j', async token => {
    expect((await refusal(who(token))).code).toBe('unauthenticated')
  })
})

describe('where the token is', () => {
  const upstream = { tokenHeader: 'x-api-key' } as unknown as Upstream
  const ask = async (...headers: Header[]) => fresh()(callWith(...headers), upstream, settings)

  it('is one of the four places', async () => {
    const token = await issuer.token()
    const basic = `Basic ${Buffer.from(`any:${token}`).toString('base64')}`
    // A proof beside it is ours as well; beside an Authorization that belongs to the upstream it is the upstream's.
    expect((await ask(['Authorization', `bearer ${token}`])).own).toEqual(new Set(['authorization', 'dpop']))
    expect((await ask(['Authorization', basic])).own).toEqual(new Set(['authorization', 'dpop']))
    expect((await ask(['X-Api-Key', token])).own).toEqual(new Set(['x-api-key', 'dpop']))
    const both = await ask(['Holdpoint-Authorization', `Bearer ${token}`], ['Authorization', 'Bearer of-the-upstream'])
    expect(both.own).toEqual(new Set(['holdpoint-authorization']))
  })

  it('is never two of them', async () => {
    const token = await issuer.token()
    const bearer: Header = ['Authorization', `Bearer ${token}`]
    for (const more of [bearer, ['X-Api-Key', token], ['X-Api-Key', '']] as Header[])
      expect((await refusal(ask(bearer, more))).code).toBe('ambiguous_credentials')
    expect((await refusal(ask(['Holdpoint-Authorization', `Bearer ${token}`], ['X-Api-Key', token]))).code).toBe(
      'ambiguous_credentials',
    )
  })

  it('does not fall back from one that is empty or invalid to another', async () => {
    const token = await issuer.token()
    expect((await refusal(ask(['Holdpoint-Authorization', ''], ['Authorization', `Bearer ${token}`]))).code).toBe(
      'unauthenticated',
    )
    expect((await refusal(ask(['Authorization', '']))).code).toBe('unauthenticated')
    expect((await refusal(ask(['Authorization', `Digest ${token}`]))).code).toBe('unauthenticated')
    expect((await refusal(ask(['Authorization', token]))).code).toBe('unauthenticated')
  })

  it('says where to ask when there is none', async () => {
    const error = await refusal(ask())
    expect(error.extras.headers?.['WWW-Authenticate']).toBe(
      'Bearer resource_metadata="https://gate.example/.well-known/oauth-protected-resource"',
    )
  })
})

describe('time and keys', () => {
  it('checks a remembered token again at every use', async () => {
    const identify = fresh()
    const token = await issuer.token()
    const fetched = issuer.fetched()
    await who(token, identify)
    await who(token, identify)
    expect(issuer.fetched()).toBe(fetched + 1)
    // Past its end and the minute that clocks may differ, but not past the time for which it is remembered.
    now += 7 * 60_000
    expect((await refusal(who(token, identify))).detail).toBe('The token has expired.')
    now = Date.now()
  })

  it('follows a key rotation, and asks no more than once in the cool-down for keys nobody knows', async () => {
    const identify = fresh()
    await who(await issuer.token(), identify)
    await issuer.rotate()
    await who(await issuer.token(), identify)
    const fetched = issuer.fetched()
    for (let flood = 0; flood < 20; flood++)
      await refusal(issuer.token({}, { kid: `forged-${flood}` }).then(token => who(token, identify)))
    expect(issuer.fetched()).toBe(fetched)
    // The next look is due when the cool-down is over, and not before.
    await issuer.rotate()
    const rotated = await issuer.token()
    now += 29_000
    await refusal(who(rotated, identify))
    now += 2_000
    await who(rotated, identify)
    expect(issuer.fetched()).toBe(fetched + 1)
    now = Date.now()
  })

  it('verifies all the while keys are rotated, and asks for the new ones once', async () => {
    const identify = fresh()
    const old = await issuer.token()
    await who(old, identify)
    await issuer.rotate({ keep: true })
    const fetched = issuer.fetched()
    const made = await Promise.all(Array.from({ length: 30 }, (_, at) => issuer.token({ sub: `caller-${at}` })))
    const callers = await Promise.all([...made, old].map(token => who(token, identify)))
    expect(callers.map(caller => caller.subject)).toEqual([...made.map((_, at) => `caller-${at}`), 'somebody'])
    expect(issuer.fetched()).toBe(fetched + 1)
    now = Date.now()
  })

  it('takes a key that was withdrawn for ten minutes at most, also for tokens it knows', async () => {
    const identify = fresh()
    const token = await issuer.token({ exp: Math.floor(now / 1000) + 3_600 })
    await who(token, identify)
    await issuer.rotate()
    now += 9 * 60_000
    await who(token, identify)
    now += 2 * 60_000
    // The first look finds the old keys due and asks for new ones; once they are there the old key is gone.
    await who(token, identify)
    await expect.poll(() => who(token, identify).catch(error => error.code)).toBe('unauthenticated')
    now = Date.now()
  })

  it('does not carry what an older configuration made of a token into a newer one', async () => {
    const identify = fresh()
    const token = await issuer.token()
    const narrowed = {
      ...settings,
      issuers: [entry('main', issuer, { audience: ['api://else'] })],
    } as unknown as Settings
    const before = who(token, identify)
    await refusal(identify(withToken(token), undefined, narrowed))
    await before
    await refusal(identify(withToken(token), undefined, narrowed))
  })

  it.each<[string, Record<string, number>, boolean]>([
    ['ended 59 s ago', { exp: -59 }, true],
    ['ended 61 s ago', { exp: -61 }, false],
    ['begins in 59 s', { nbf: 59 }, true],
    ['begins in 61 s', { nbf: 61 }, false],
    ['was made in 59 s', { iat: 59 }, true],
    ['was made in 61 s', { iat: 61 }, false],
    ['lives a day', { iat: 0, exp: 24 * 3600 }, true],
    ['lives a day and two minutes', { iat: 0, exp: 24 * 3600 + 120 }, false],
  ])('allows clocks a minute: a token that %s', async (_name, offsets, good) => {
    const at = Math.floor(now / 1000)
    const times = Object.fromEntries(Object.entries(offsets).map(([name, offset]) => [name, at + offset]))
    const token = await issuer.token({ iat: at - 300, exp: at + 300, ...times })
    const identify = identifier({ clock: () => at * 1000, shelf: { put: async () => true } })
    const shown = who(token, identify)
    if (good) expect((await shown).subject).toBe('somebody')
    else await refusal(shown)
  })

  it('serves known keys for a day while the issuer is down, and says so', async () => {
    const identify = fresh()
    await who(await issuer.token(), identify)
    issuer.down(true)
    try {
      now += 11 * 60_000
      const before = Math.floor(now / 1000)
      await who(await issuer.token({ iat: before, exp: before + 300 }), identify)
      await expect.poll(() => identify.health(settings)).toEqual([expect.stringMatching(/^issuer main: /)])
      now += 25 * 3600_000
      const after = Math.floor(now / 1000)
      expect(
        (await refusal(issuer.token({ iat: after, exp: after + 300 }).then(token => who(token, identify)))).code,
      ).toBe('unauthenticated')
    } finally {
      issuer.down(false)
      now = Date.now()
    }
  })

  it('does not trust weak keys', async () => {
    const weak = { kty: 'RSA', kid: 'weak', alg: 'RS256', n: Buffer.alloc(128, 0xff).toString('base64url'), e: 'AQAB' }
    const one = { kty: 'RSA', kid: 'one', alg: 'RS256', n: Buffer.alloc(256, 0xff).toString('base64url'), e: 'AQ' }
    const lone = await startIssuer()
    try {
      lone.publish([weak, one, { kty: 'oct', kid: 'oct', k: 'c2VjcmV0' }])
      const alone = { ...settings, issuers: [entry('lone', lone)] } as unknown as Settings
      for (const kid of ['weak', 'one', 'oct']) {
        const error = await refusal(fresh()(withToken(await lone.token({}, { kid })), undefined, alone))
        expect(error.detail).toBe('The token is signed with a key that its issuer does not publish.')
      }
    } finally {
      await lone.close()
    }
  })
})
