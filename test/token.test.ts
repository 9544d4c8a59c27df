// Signatures that must not verify, in the manner of Wycheproof: each algorithm signs rightly once, and then in every way that has
// ever been taken for right somewhere. The vectors are made here with node:crypto alone, so that nothing checks itself.
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { identifier } from '../src/identify.ts'
import { strong } from '../src/issuer-keys.ts'
import type { Call } from '../src/nouns.ts'
import { looksLikeJwt } from '../src/token.ts'
import { gateSettings, issuerEntry } from './support/gate-settings.ts'
import { startIssuer, type TestIssuer } from './support/issuer.ts'

type Alg = {
  readonly alg: string
  readonly make: () => { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  readonly sign: (input: Buffer, key: KeyObject) => Buffer
}

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = (namedCurve: string) => () => generateKeyPairSync('ec', { namedCurve })
const ecdsa = (hash: string) => (input: Buffer, key: KeyObject) => sign(hash, input, { key, dsaEncoding: 'ieee-p1363' })
const pss = (input: Buffer, key: KeyObject): Buffer =>
  sign('sha256', input, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })

const algs: readonly Alg[] = [
  { alg: 'RS256', make: rsa, sign: (input, key) => sign('sha256', input, key) },
  { alg: 'PS256', make: rsa, sign: pss },
  { alg: 'ES256', make: ec('P-256'), sign: ecdsa('sha256') },
  { alg: 'ES384', make: ec('P-384'), sign: ecdsa('sha384') },
  { alg: 'ES512', make: ec('P-521'), sign: ecdsa('sha512') },
  { alg: 'EdDSA', make: () => generateKeyPairSync('ed25519'), sign: (input, key) => sign(null, input, key) },
]

let issuer: TestIssuer
const keys = new Map(algs.map(one => [one.alg, one.make()]))
const strangers = new Map(algs.map(one => [one.alg, one.make()]))
const privateKey = (alg: string): KeyObject => keys.get(alg)?.privateKey as KeyObject
const publicKey = (alg: string): KeyObject => keys.get(alg)?.publicKey as KeyObject

beforeAll(async () => {
  issuer = await startIssuer()
  const published = algs.map(({ alg }) => ({ ...publicKey(alg).export({ format: 'jwk' }), kid: alg, alg, use: 'sig' }))
  issuer.publish([...published, { ...published[2], kid: 'k'.repeat(257) }])
})
afterAll(() => issuer.close())

const encoded = (value: object | string): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

const claims = (): Record<string, unknown> => ({
  iss: issuer.url,
  aud: 'api://holdpoint',
  sub: 'somebody',
  exp: Math.floor(Date.now() / 1000) + 300,
})

const settings = () =>
  gateSettings(issuerEntry('main', issuer.url, { algorithms: ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA'] }))

const subject = async (token: string): Promise<string> => {
  const identify = identifier({ clock: Date.now, shelf: { put: async () => true } })
  const call = { headers: [['Authorization', `Bearer ${token}`]] } as unknown as Call
  return (await identify(call, undefined, settings())).caller.subject
}

const code = async (token: string): Promise<string> => {
  try {
    return `taken: ${await subject(token)}`
  } catch (error) {
    if (error instanceof HoldpointError) return error.code
    throw error
  }
}

const header = (alg: string, more: object = {}): object => ({ alg, typ: 'JWT', kid: alg, ...more })

const signed = (
  { alg, sign }: Alg,
  head = header(alg),
  body: object | string = claims(),
  key = privateKey(alg),
): string => {
  const input = `${encoded(head)}.${encoded(body)}`
  return `${input}.${sign(Buffer.from(input), key).toString('base64url')}`
}

/** The token with another signature. */
const resigned = (token: string, change: (signature: Buffer) => Buffer | string): string => {
  const [head, body, signature = ''] = token.split('.')
  const changed = change(Buffer.from(signature, 'base64url'))
  return `${head}.${body}.${typeof changed === 'string' ? changed : changed.toString('base64url')}`
}

const asText = (bytes: Buffer): string => bytes.toString('base64url')

describe.each(algs)('$alg', one => {
  const { alg } = one

  it('verifies a token that is right', async () => {
    expect(await subject(signed(one))).toBe('somebody')
  })

  it.each<[string, (token: string) => string]>([
    ['by another key', () => signed(one, undefined, undefined, strangers.get(alg)?.privateKey)],
    ['empty', token => resigned(token, () => '')],
    ['cut by a byte', token => resigned(token, bytes => bytes.subarray(0, -1))],
    ['cut in half', token => resigned(token, bytes => bytes.subarray(0, bytes.length / 2))],
    ['with a byte more', token => resigned(token, bytes => Buffer.concat([bytes, Buffer.of(0)]))],
    ['with a byte in front', token => resigned(token, bytes => Buffer.concat([Buffer.of(0), bytes]))],
    ['all zeros', token => resigned(token, bytes => Buffer.alloc(bytes.length))],
    ['all ones', token => resigned(token, bytes => Buffer.alloc(bytes.length, 0xff))],
    [
      'r = 1, s = 0',
      token => resigned(token, bytes => bytes.map((_, at) => (at === bytes.length / 2 - 1 ? 1 : 0)) as Buffer),
    ],
    [
      'r = 0, s = 1',
      token => resigned(token, bytes => bytes.map((_, at) => (at === bytes.length - 1 ? 1 : 0)) as Buffer),
    ],
    [
      'with a bit flipped',
      token => resigned(token, bytes => Buffer.concat([Buffer.of((bytes[0] ?? 0) ^ 1), bytes.subarray(1)])),
    ],
    ['padded', token => `${token}=`],
    ['padded twice', token => `${token}==`],
    ['with a line break', token => `${token}%0a`],
    ['in the other base64', token => resigned(token, bytes => `+/${bytes.toString('base64').slice(2)}`)],
    ['of another body', token => token.replace(/\.[^.]+\./, `.${encoded({ ...claims(), sub: 'somebody else' })}.`)],
    ['doubled', token => `${token}.${token.split('.')[2]}`],
    ['over a head in another case', token => token.replace(/^[^.]+/, encoded(header(alg.toLowerCase())))],
  ])('refuses a signature %s', async (_, change) => {
    expect(await code(change(signed(one)))).toBe('unauthenticated')
  })

  it.each(algs.filter(other => other.alg !== alg).map(other => other.alg))(
    'refuses a head that says %s',
    async other => {
      // Signed rightly with this key, but said to be of the other algorithm: by its own key id and by the other's.
      expect(await code(signed(one, header(other, { kid: alg })))).toBe('unauthenticated')
      expect(await code(signed(one, header(other)))).toBe('unauthenticated')
      expect(await code(signed(one, header(alg, { kid: other })))).toBe('unauthenticated')
    },
  )

  it('refuses a token without an algorithm, or with a shared secret that everybody knows', async () => {
    const body = encoded(claims())
    for (const none of ['none', 'None', 'NONE', 'nOnE', '', undefined]) {
      const head = encoded({ ...header(alg), alg: none })
      expect(await code(`${head}.${body}.`)).toBe('unauthenticated')
      expect(
        await code(
          `${head}.${body}.${one.sign(Buffer.from(`${head}.${body}`), privateKey(alg)).toString('base64url')}`,
        ),
      ).toBe('unauthenticated')
    }
    const shown = publicKey(alg)
    for (const secret of [
      shown.export({ format: 'pem', type: 'spki' }),
      shown.export({ format: 'der', type: 'spki' }),
    ]) {
      const input = `${encoded(header('HS256', { kid: alg }))}.${body}`
      expect(await code(`${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`)).toBe(
        'unauthenticated',
      )
    }
  })
})

test.each(['ES256', 'ES384', 'ES512'])('%s is not taken in DER', async alg => {
  const one = algs.find(other => other.alg === alg) as Alg
  const der = { ...one, sign: (input: Buffer, key: KeyObject) => sign(`sha${alg.slice(2)}`, input, key) }
  expect(await code(signed(der))).toBe('unauthenticated')
})

describe('what is signed rightly and still has two readings, or none', () => {
  const one = algs[2] as Alg
  const good = (): string => JSON.stringify(claims())
  it.each<[string, () => string]>([
    ['a head that names its algorithm twice', () => rightly('{"alg":"ES256","alg":"none","kid":"ES256"}')],
    ['a head that names it in two cases', () => rightly('{"alg":"ES256","ALG":"none","kid":"ES256"}')],
    ['a head that is a list', () => rightly('["ES256"]')],
    ['a head with a byte order mark', () => rightly('\ufeff{"alg":"ES256","kid":"ES256"}')],
    ['a head with something behind it', () => rightly('{"alg":"ES256","kid":"ES256"}{}')],
    [
      'its own key',
      () => signed(one, header('ES256', { jwk: publicKey('ES256').export({ format: 'jwk' }), kid: 'x' })),
    ],
    ['an address of its key', () => signed(one, header('ES256', { jku: `${issuer.url}/keys`, kid: 'x' }))],
    ['a critical extension nobody knows', () => signed(one, header('ES256', { crit: ['x'], x: 1 }))],
    ['an empty crit', () => signed(one, header('ES256', { crit: [] }))],
    ['an unencoded body', () => signed(one, header('ES256', { b64: false, crit: ['b64'] }))],
    ['a kid of 257 bytes, published or not', () => signed(one, header('ES256', { kid: 'k'.repeat(257) }))],
    ['a typ that is no text', () => signed(one, header('ES256', { typ: ['JWT'] }))],
    ['the typ of a proof', () => signed(one, header('ES256', { typ: 'dpop+jwt' }))],
    ['a claim twice', () => signed(one, undefined, good().replace('{', '{"sub":"root",'))],
    ['a claim in two cases', () => signed(one, undefined, good().replace('{', '{"SUB":"root",'))],
    ['claims that are a list', () => signed(one, undefined, '[]')],
    ['claims that are nothing', () => signed(one, undefined, 'null')],
    ['claims that are not UTF-8', () => rightly(JSON.stringify(header('ES256')), Buffer.from([0x7b, 0xff, 0x7d]))],
    [
      'claims that are too deep',
      () => signed(one, undefined, good().replace('{', `{"x":${'['.repeat(70)}${']'.repeat(70)},`)),
    ],
    ['a number no double holds', () => signed(one, undefined, good().replace('{', '{"x":9007199254740993,'))],
    ['more than 16 KiB', () => signed(one, undefined, { ...claims(), x: 'x'.repeat(17_000) })],
    ['stray bits behind its claims', () => stray(signed(one))],
  ])('%s', async (_, make) => {
    expect(await code(make())).toBe('unauthenticated')
  })

  const rightly = (head: string, body: string | Buffer = good()): string => {
    const input = `${encoded(head)}.${Buffer.from(body).toString('base64url')}`
    return `${input}.${asText(one.sign(Buffer.from(input), privateKey('ES256')))}`
  }

  // The last letter of base64 has bits that mean nothing: another letter, signed as such, would be a second spelling.
  const stray = (token: string): string => {
    const [head = ''] = token.split('.')
    let text = encoded({ ...claims(), pad: '' })
    for (let pad = 'x'; text.length % 4 === 0; pad += 'x') text = encoded({ ...claims(), pad })
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const body = `${text.slice(0, -1)}${letters[letters.indexOf(text.at(-1) ?? '') | 1]}`
    expect(Buffer.from(body, 'base64url')).toEqual(Buffer.from(text, 'base64url'))
    const input = `${head}.${body}`
    return `${input}.${asText(one.sign(Buffer.from(input), privateKey('ES256')))}`
  }
})

test.each<[string | undefined, boolean]>([
  ['at+jwt', true],
  ['AT+JWT', true],
  ['application/at+jwt', true],
  ['JWT', false],
  ['at+jwt2', false],
  [undefined, false],
])('an entry that wants at+jwt takes typ %s: %s', async (typ, taken) => {
  const one = algs[2] as Alg
  const identify = identifier({ clock: Date.now, shelf: { put: async () => true } })
  const using = gateSettings(issuerEntry('main', issuer.url, { algorithms: ['ES256'], typ: 'at+jwt' }))
  const call = { headers: [['Authorization', `Bearer ${signed(one, header('ES256', { typ }))}`]] } as unknown as Call
  const shown = identify(call, undefined, using).then(
    () => true,
    () => false,
  )
  expect(await shown).toBe(taken)
})

test('what is encrypted is said not to be signed', async () => {
  const identify = identifier({ clock: Date.now, shelf: { put: async () => true } })
  const call = { headers: [['Authorization', `Bearer ${encoded(header('dir'))}..a.b.c`]] } as unknown as Call
  await expect(identify(call, undefined, settings())).rejects.toThrow('not a signed JWT (three parts)')
})

describe('a key that can be broken', () => {
  const lone = async (key: object, token: string): Promise<string> => {
    const weak = await startIssuer()
    try {
      weak.publish([key])
      const identify = identifier({ clock: Date.now, shelf: { put: async () => true } })
      const body = { ...claims(), iss: weak.url }
      const input = `${encoded(header('RS256', { kid: 'weak' }))}.${encoded(body)}`
      const call = { headers: [['Authorization', `Bearer ${input}.${token}`]] } as unknown as Call
      return await identify(call, undefined, gateSettings(issuerEntry('weak', weak.url))).then(
        () => 'taken',
        (error: HoldpointError) => error.detail ?? '',
      )
    } finally {
      await weak.close()
    }
  }

  it('of 1024 bits verifies nothing, whoever signs with it', async () => {
    const { publicKey: shown, privateKey: own } = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const jwk = { ...shown.export({ format: 'jwk' }), kid: 'weak', alg: 'RS256' }
    expect(await lone(jwk, sign('sha256', Buffer.from('x'), own).toString('base64url'))).toBe(
      'The token is signed with a key that its issuer does not publish.',
    )
  })

  const modulus = Buffer.from(publicKey('RS256').export({ format: 'jwk' }).n as string, 'base64url')
  const short = Buffer.from(
    generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' }).n as string,
    'base64url',
  )
  const key = (n: Buffer, e: number[] = [1, 0, 1]): never =>
    ({ kty: 'RSA', n: n.toString('base64url'), e: Buffer.from(e).toString('base64url') }) as never

  it.each<[string, never, boolean]>([
    ['the usual one', key(modulus), true],
    ['with zeros in front', key(Buffer.concat([Buffer.alloc(4), modulus])), true],
    ['1024 bits', key(short), false],
    ['1024 bits made long with zeros', key(Buffer.concat([Buffer.alloc(256), short])), false],
    ['even', key(Buffer.concat([modulus.subarray(0, -1), Buffer.of(0xfe)])), false],
    ['nothing', key(Buffer.alloc(0)), false],
    ['e = 1', key(modulus, [1]), false],
    ['e = 1 made long with zeros', key(modulus, [0, 0, 0, 1]), false],
    ['e = 3', key(modulus, [3]), false],
    ['e even', key(modulus, [1, 0, 0]), false],
    [
      'e endless',
      key(
        modulus,
        Array.from({ length: 9 }, () => 1),
      ),
      false,
    ],
    ['with its private part', { ...(key(modulus) as object), d: 'AQAB' } as never, false],
    ['symmetric', { kty: 'oct', k: 'c2VjcmV0' } as never, false],
    ['for encryption', { ...(key(modulus) as object), use: 'enc' } as never, false],
    ['EC with its private part', privateKey('ES256').export({ format: 'jwk' }) as never, false],
  ])('RSA %s: %#', (_, jwk, good) => {
    expect(strong(jwk)).toBe(good)
  })
})

test.each<[string, boolean]>([
  ['eyJhbGciOiJSUzI1NiJ9.e30.x', true],
  [`${encoded(' {"alg":"none"}')}.e30.`, true],
  [`${encoded('{')}.x`, true],
  ['eyJhbGciOiJSUzI1NiJ9', false],
  ['ya29.a0AbVbY6', false],
  ['glpat-abcdef.01.xyz', false],
  ['opaque', false],
])('%s looks like a JWT: %s', (token, does) => {
  expect(looksLikeJwt(token)).toBe(does)
})
