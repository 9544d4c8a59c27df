// Tokens that are bound to a key: by DPoP (RFC 9449) and by client certificate (RFC 8705). Without its proof such a token is worth nothing,
// and an issuer may be told to have no others.
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, type JWK, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { type Identify, identifier } from '../src/identify.ts'
import type { Call, Header } from '../src/nouns.ts'
import type { Settings, Upstream } from '../src/settings.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { Store } from '../src/store/store.ts'
import { gateSettings, gateUrl, issuerEntry } from './support/gate-settings.ts'
import { startIssuer, type TestIssuer } from './support/issuer.ts'

let issuer: TestIssuer
let store: Store
let identify: Identify
let now = Date.now()
const clock = (): number => now

type Keys = { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
const mine: Keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const other: Keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwkOf = (key: KeyObject): JWK => key.export({ format: 'jwk' }) as JWK
const thumbprint = (keys: Keys): Promise<string> => calculateJwkThumbprint(jwkOf(keys.publicKey))

beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())
beforeEach(async () => {
  now = Date.now()
  store = await sqliteStore({ path: ':memory:', clock })
  identify = identifier({ clock, shelf: store.shelf })
})
afterEach(() => store.close())

const settings = (more: object = {}): Settings => gateSettings(issuerEntry('main', issuer.url, more))
const bound = async (keys = mine): Promise<string> => issuer.token({ cnf: { jkt: await thumbprint(keys) } })

let made = 0
const proof = async (
  token: string,
  claims: { readonly [name: string]: unknown } = {},
  header: object = {},
  keys: Keys = mine,
): Promise<string> => {
  made += 1
  const all = {
    ...{ jti: `proof-${made}`, htm: 'POST', htu: `${gateUrl}/billing/v1/refunds`, iat: Math.floor(now / 1000) },
    ...{ ath: createHash('sha256').update(token).digest('base64url') },
    ...claims,
  }
  const said = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  return new SignJWT(said)
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: jwkOf(keys.publicKey), ...header })
    .sign(keys.privateKey, { crit: { x: true } })
}

const callWith = (headers: readonly Header[], more: Partial<Call> = {}): Call =>
  ({ method: 'POST', path: '/billing/v1/refunds', headers: [['Host', 'gate.example'], ...headers], ...more }) as Call

const show = (
  token: string,
  proofs: readonly string[],
  using = settings(),
  upstream?: Upstream,
  more?: Partial<Call>,
) =>
  identify(
    callWith([['Authorization', `DPoP ${token}`], ...proofs.map(one => ['DPoP', one] as const)], more),
    upstream,
    using,
  )

const refusal = async (work: Promise<unknown>): Promise<HoldpointError> => {
  const error = await work.then(
    () => undefined,
    thrown => thrown,
  )
  expect(error).toBeInstanceOf(HoldpointError)
  return error as HoldpointError
}
const challenge = (error: HoldpointError): string => error.extras.headers?.['WWW-Authenticate'] ?? ''

describe('a token with its proof', () => {
  it('is taken, and neither is passed on', async () => {
    const token = await bound()
    const { caller, own } = await show(token, [await proof(token)], settings({ dpop: 'required' }))
    expect(caller.subject).toBe('somebody')
    expect([...own]).toEqual(['authorization', 'dpop'])
  })

  it('is taken beside an Authorization that belongs to the upstream', async () => {
    const token = await bound()
    const headers: Header[] = [
      ['Holdpoint-Authorization', `dpop ${token}`],
      ['DPoP', await proof(token)],
      ['Authorization', 'Bearer of-the-upstream'],
    ]
    expect([...(await identify(callWith(headers), undefined, settings())).own]).toEqual([
      'holdpoint-authorization',
      'dpop',
    ])
  })

  it.each<[string, string]>([
    ['as it is', `${gateUrl}/billing/v1/refunds`],
    ['with a query, which does not count', `${gateUrl}/billing/v1/refunds?a=b`],
    ['with its port', 'https://gate.example:443/billing/v1/refunds'],
    ['in capitals', 'HTTPS://GATE.example/billing/v1/refunds'],
    ['with letters escaped', `${gateUrl}/billing/%76%31/refunds`],
  ])('may say its address %s', async (_, htu) => {
    const token = await bound()
    await show(token, [await proof(token, { htu })])
  })

  it('may be for the host of its upstream, and for nobody elses', async () => {
    const upstream = { at: { hosts: ['billing.gate.example'] } } as unknown as Upstream
    const token = await bound()
    const htu = 'https://billing.gate.example:8443/billing/v1/refunds'
    const headers: Header[] = [
      ['Authorization', `DPoP ${token}`],
      ['DPoP', await proof(token, { htu })],
    ]
    const call = { ...callWith(headers), headers: [['Host', 'billing.gate.example:8443'], ...headers] } as Call
    await identify(call, upstream, settings())
    await refusal(
      show(token, [await proof(token, { htu: 'https://other.example/billing/v1/refunds' })], settings(), upstream),
    )
  })

  it('is asked for a new proof with every call, remembered token or not', async () => {
    const token = await bound()
    const once = await proof(token)
    await show(token, [once])
    const error = await refusal(show(token, [once]))
    expect(error.detail).toBe('The DPoP proof was used before (jti). Make a new one.')
    await show(token, [await proof(token)])
    // Also at another replica, and for as long as the proof could pass for a fresh one.
    now += 59_000
    const replica = identifier({ clock, shelf: store.shelf })
    const again = callWith([
      ['Authorization', `DPoP ${token}`],
      ['DPoP', once],
    ])
    expect((await refusal(replica(again, undefined, settings()))).detail).toMatch(/jti/)
  })

  it('needs the store, and says so', async () => {
    const token = await bound()
    await store.close()
    expect((await refusal(show(token, [await proof(token)]))).code).toBe('store_unavailable')
    store = await sqliteStore({ path: ':memory:', clock })
  })
})

describe('a proof', () => {
  const at = (seconds: number) => (): object => ({ iat: Math.floor(now / 1000) + seconds })
  it.each<[string, () => object, object?, Keys?]>([
    ['for another token', () => ({ ath: createHash('sha256').update('x').digest('base64url') })],
    ['for no token', () => ({ ath: undefined })],
    ['for another method', () => ({ htm: 'GET' })],
    ['for a method in another case', () => ({ htm: 'post' })],
    ['for no method', () => ({ htm: undefined })],
    ['for another host', () => ({ htu: 'https://evil.example/billing/v1/refunds' })],
    ['for another scheme', () => ({ htu: 'http://gate.example/billing/v1/refunds' })],
    ['for another port', () => ({ htu: 'https://gate.example:8443/billing/v1/refunds' })],
    ['for another path', () => ({ htu: `${gateUrl}/billing/v1/refunds/` })],
    ['for a path in another case', () => ({ htu: `${gateUrl}/billing/v1/Refunds` })],
    ['for a path with dots', () => ({ htu: `${gateUrl}/billing/x/../v1/refunds` })],
    ['for a host that is only its user', () => ({ htu: 'https://gate.example@evil.example/billing/v1/refunds' })],
    ['for a host behind a backslash', () => ({ htu: 'https://gate.example\\@evil.example/billing/v1/refunds' })],
    ['for no address', () => ({ htu: undefined })],
    ['for several addresses', () => ({ htu: [`${gateUrl}/billing/v1/refunds`] })],
    ['made too long ago', at(-62)],
    ['made in the future', at(62)],
    ['made at no time', () => ({ iat: undefined })],
    ['made at a time in words', () => ({ iat: 'now' })],
    ['that has ended', () => ({ exp: Math.floor(now / 1000) - 1 })],
    ['that has not begun', () => ({ nbf: Math.floor(now / 1000) + 30 })],
    ['without an id', () => ({ jti: undefined })],
    ['with an empty id', () => ({ jti: '' })],
    ['with an id that is no text', () => ({ jti: 7 })],
    ['of another type', () => ({}), { typ: 'JWT' }],
    ['of no type', () => ({}), { typ: undefined }],
    ['with a critical extension', () => ({}), { crit: ['x'], x: 1 }],
    ['by another key', () => ({}), {}, other],
    ['by another key than it shows', () => ({}), { jwk: jwkOf(mine.publicKey) }, other],
    ['that shows its private key', () => ({}), { jwk: jwkOf(mine.privateKey) }],
    ['that shows no key', () => ({}), { jwk: undefined }],
    ['that shows a shared secret', () => ({}), { jwk: { kty: 'oct', k: 'c2VjcmV0' } }],
  ])('%s is no proof', async (_, claims, header = {}, keys = mine) => {
    const token = await bound()
    const error = await refusal(show(token, [await proof(token, claims() as never, header, keys)]))
    expect(error.code).toBe('unauthenticated')
    expect(challenge(error)).toMatch(/^DPoP error="invalid_dpop_proof", algs="[^"]*ES256[^"]*", resource_metadata=/)
  })

  it.each<[string, (good: string) => string[]]>([
    ['missing', () => []],
    ['sent twice', good => [good, good]],
    ['empty', () => ['']],
    ['no JWT', () => ['x']],
    [
      'unsigned',
      good => [`${Buffer.from('{"alg":"none","typ":"dpop+jwt"}').toString('base64url')}.${good.split('.')[1]}.`],
    ],
    ['cut', good => [good.slice(0, -3)]],
    ['endless', good => [`${good}${'A'.repeat(20_000)}`]],
  ])('that is %s is no proof', async (_, change) => {
    const token = await bound()
    const error = await refusal(show(token, change(await proof(token))))
    expect([error.code, challenge(error).slice(0, 4)]).toEqual(['unauthenticated', 'DPoP'])
  })

  it('that is refused is not written down', async () => {
    const token = await bound()
    await refusal(show(token, [await proof(token, { jti: 'again', htm: 'GET' })]))
    await show(token, [await proof(token, { jti: 'again' })])
  })
})

describe('a bound token', () => {
  it.each<[string, (token: string) => Header[]]>([
    ['as Bearer', token => [['Authorization', `Bearer ${token}`]]],
    ['as a password', token => [['Authorization', `Basic ${Buffer.from(`x:${token}`).toString('base64')}`]]],
    ['in a header of its own', token => [['X-Api-Key', token]]],
    ['as Holdpoint-Authorization: Bearer', token => [['Holdpoint-Authorization', `Bearer ${token}`]]],
  ])('%s is refused, whatever its entry says and with a proof beside it', async (_, headers) => {
    const token = await bound()
    const upstream = { tokenHeader: 'x-api-key', at: { prefix: '/billing' } } as unknown as Upstream
    for (const using of [settings(), settings({ dpop: 'required' })])
      for (const proofs of [[], [['DPoP', await proof(token)] as const]]) {
        const error = await refusal(identify(callWith([...headers(token), ...proofs]), upstream, using))
        expect(error.code).toBe('unauthenticated')
        expect(challenge(error)).toMatch(/^DPoP error="invalid_token", algs=/)
      }
  })

  it.each<[string, unknown]>([
    ['to nothing', {}],
    ['to null', null],
    ['in words', 'jkt'],
    ['to a list', [{ jkt: 'x' }]],
    ['by a key of its own', { jwk: {} }],
    ['by a key id', { kid: 'x' }],
    ['by a thumbprint that is no text', { jkt: 7 }],
  ])('%s is refused', async (_, cnf) => {
    const token = await issuer.token({ cnf })
    expect((await refusal(show(token, [await proof(token)]))).code).toBe('unauthenticated')
    expect(
      (await refusal(identify(callWith([['Authorization', `Bearer ${token}`]]), undefined, settings()))).code,
    ).toBe('unauthenticated')
  })
})

test('a token that is bound in two ways of which one is not known is refused', async () => {
  const token = await issuer.token({ cnf: { jkt: await thumbprint(mine), kid: 'x' } })
  expect((await refusal(show(token, [await proof(token)]))).detail).toMatch(/cannot be proven here/)
})

test('a token that is bound to a key for which anybody can sign (e = 1) is refused', async () => {
  const { n = '' } = jwkOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey)
  const jwk = { kty: 'RSA', n, e: 'AQ' }
  const token = await issuer.token({ cnf: { jkt: await calculateJwkThumbprint(jwk) } })
  const [, claims = ''] = (await proof(token)).split('.')
  const head = Buffer.from(JSON.stringify({ alg: 'RS256', typ: 'dpop+jwt', jwk })).toString('base64url')
  // With e = 1 a signature is its own padded hash (RFC 8017 §9.2).
  const digest = createHash('sha256').update(`${head}.${claims}`).digest()
  const info = Buffer.concat([Buffer.from('003031300d060960864801650304020105000420', 'hex'), digest])
  const forged = Buffer.concat([Buffer.of(0, 1), Buffer.alloc(256 - 2 - info.length, 0xff), info])
  const error = await refusal(show(token, [`${head}.${claims}.${forged.toString('base64url')}`]))
  expect(error.detail).toMatch(/jwk is not a public key that can be relied on/)
})

describe('a token that is not bound', () => {
  it('is refused as DPoP: its proof would prove nothing', async () => {
    const token = await issuer.token()
    expect((await refusal(show(token, [await proof(token)]))).detail).toMatch(/not bound to a key/)
  })

  it('is refused where its entry wants bound ones, and whoever shows nothing is told', async () => {
    const using = settings({ dpop: 'required' })
    const token = await issuer.token()
    const error = await refusal(identify(callWith([['Authorization', `Bearer ${token}`]]), undefined, using))
    expect([error.code, challenge(error).slice(0, 4)]).toEqual(['unauthenticated', 'DPoP'])
    expect(challenge(await refusal(identify(callWith([]), undefined, using)))).toMatch(
      /^Bearer resource_metadata=.*, DPoP algs=/,
    )
  })

  it('is taken elsewhere, and a proof that lies beside it is not passed on', async () => {
    const token = await issuer.token()
    const { own } = await identify(
      callWith([
        ['Authorization', `Bearer ${token}`],
        ['DPoP', 'x'],
      ]),
      undefined,
      settings(),
    )
    expect(own.has('dpop')).toBe(true)
  })
})

describe('a token that is bound to a client certificate', () => {
  const shown = async (cnf: unknown, clientCertificate: string | undefined, using = settings()) => {
    const token = await issuer.token({ cnf })
    const more = clientCertificate === undefined ? {} : { clientCertificate }
    return identify(callWith([['Authorization', `Bearer ${token}`]], more), undefined, using)
  }
  const required = (): Settings => settings({ mtls: 'required' })

  it('is taken on a connection that shows it', async () => {
    expect((await shown({ 'x5t#S256': 'abc' }, 'abc', required())).caller.subject).toBe('somebody')
    expect((await shown({ 'x5t#S256': 'abc' }, 'abc')).caller.subject).toBe('somebody')
  })

  test.each<[string, unknown, string | undefined]>([
    ['another', { 'x5t#S256': 'abc' }, 'abd'],
    ['none', { 'x5t#S256': 'abc' }, undefined],
    ['one, and is bound to one that is no text', { 'x5t#S256': 7 }, '7'],
    ['one, and is bound to none', { 'x5t#S256': '' }, undefined],
  ])('is refused on a connection that shows %s', async (_, cnf, certificate) => {
    for (const using of [settings(), required()])
      expect((await refusal(shown(cnf, certificate, using))).code).toBe('unauthenticated')
  })

  it('is the only kind where its entry says so', async () => {
    expect((await refusal(shown(undefined, 'abc', required()))).detail).toMatch(/client certificate/)
  })

  it('needs both proofs if it is bound twice', async () => {
    const token = await issuer.token({ cnf: { jkt: await thumbprint(mine), 'x5t#S256': 'abc' } })
    const both = settings({ dpop: 'required', mtls: 'required' })
    await show(token, [await proof(token)], both, undefined, { clientCertificate: 'abc' })
    await refusal(show(token, [await proof(token)], both))
    await refusal(show(token, [], both, undefined, { clientCertificate: 'abc' }))
  })
})
