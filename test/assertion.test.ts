import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, jwtVerify } from 'jose'
import { afterEach, expect, test } from 'vitest'
import { type Approved, assertions, type Passed, pemKeys } from '../src/assertion.ts'
import { HoldpointError } from '../src/errors.ts'
import type { Caller } from '../src/nouns.ts'
import { keyRing, newKey } from '../src/seal.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { Store } from '../src/store/store.ts'

const hourMs = 3600_000
const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

const caller: Caller = {
  issuer: 'agents',
  subject: 'agent-7',
  client: 'agent-7',
  kind: 'agent',
  groups: ['secret-group'],
  owner: 'ben@acme.test',
  actors: [
    { issuer: 'agents', subject: 'now' },
    { issuer: 'agents', subject: 'before', client: 'c' },
  ],
  claims: { secret: 'not for upstreams' },
  expiresAt: 0,
}
const passed: Passed = { issuer: 'https://gate.test', audience: 'billing', caller, rule: 'refunds' }
const approved: Approved = {
  hold: 'h_1',
  approvers: [{ login: 'idp', subject: 'ana' }],
  method: 'POST',
  target: '/v1/refunds?x=%2F',
  body: Buffer.from('body'),
}

/** Replicas on one store, with a clock that can be moved. */
const replicas = async () => {
  let at = Date.parse('2026-01-01T00:00:00Z')
  const clock = (): number => at
  const store = await sqliteStore({ path: ':memory:', clock })
  stores.push(store)
  const ring = newKey('k1')
  let away = false
  const shelf = {
    ...store.shelf,
    get: (key: string) => (away ? Promise.reject(new HoldpointError('store_unavailable')) : store.shelf.get(key)),
  }
  const start = () => assertions({ shelf, keys: keyRing(ring), clock })
  return {
    store,
    start,
    pass: (ms: number) => {
      at += ms
    },
    away: (is: boolean) => {
      away = is
    },
    now: () => new Date(at),
  }
}

const verified = async (token: string, keys: object, currentDate: Date) =>
  jwtVerify(token, createLocalJWKSet(keys as JSONWebKeySet), {
    audience: 'billing',
    issuer: 'https://gate.test',
    algorithms: ['ES256'],
    currentDate,
  })

const kids = (keys: { readonly keys: readonly object[] }): string[] =>
  keys.keys.map(key => (key as { kid: string }).kid)

test('a held call is stated whole, for a minute, and once', async () => {
  const { start, now } = await replicas()
  const made = start()
  const [name, token] = await made.held(undefined, passed, approved)
  expect(name).toBe('Holdpoint-Assertion')
  const { payload, protectedHeader } = await verified(token, await made.publicKeys(undefined), now())
  expect(protectedHeader).toMatchObject({ alg: 'ES256', typ: 'JWT' })
  expect(payload).toEqual({
    iss: 'https://gate.test',
    aud: 'billing',
    sub: 'agent-7',
    caller: { issuer: 'agents', subject: 'agent-7', kind: 'agent', client: 'agent-7', owner: 'ben@acme.test' },
    act: { iss: 'agents', sub: 'now', act: { iss: 'agents', sub: 'before', client_id: 'c' } },
    rule: 'refunds',
    hold: 'h_1',
    approvers: [{ login: 'idp', subject: 'ana' }],
    method: 'POST',
    target: '/v1/refunds?x=%2F',
    body_sha256: 'Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU',
    iat: now().getTime() / 1000,
    exp: now().getTime() / 1000 + 60,
    jti: expect.stringMatching(/^[\w-]{22}$/),
  })
  const [, again] = await made.held(undefined, passed, approved)
  expect(decodeJwt(again).jti).not.toBe(payload.jti)
})

test('an allowed one is signed once in 30 s per caller, upstream and rule, and never outlives its minute', async () => {
  const { start, pass, now } = await replicas()
  const made = start()
  const [, first] = await made.allowed(undefined, passed)
  expect(decodeJwt(first)).not.toHaveProperty('body_sha256')
  expect(decodeJwt(first)).not.toHaveProperty('hold')
  pass(29_000)
  expect((await made.allowed(undefined, passed))[1]).toBe(first)
  for (const other of [
    { rule: 'reads' },
    { audience: 'ledger' },
    { caller: { ...caller, actors: [] } },
    { caller: { ...caller, subject: 'agent-8' } },
  ])
    expect((await made.allowed(undefined, { ...passed, ...other }))[1]).not.toBe(first)
  pass(1_000)
  const [, second] = await made.allowed(undefined, passed)
  expect(second).not.toBe(first)
  await verified(first, await made.publicKeys(undefined), now())
})

test('replicas that start at once share one key, which the store keeps sealed', async () => {
  const { start, store } = await replicas()
  const sets = await Promise.all([start(), start(), start()].map(one => one.publicKeys(undefined)))
  expect(new Set(sets.map(set => JSON.stringify(set))).size).toBe(1)
  expect(kids(sets[0] ?? { keys: [] })).toHaveLength(1)
  expect(JSON.stringify(sets)).not.toMatch(/"d"/)
  expect(await store.shelf.get('assertion-keys')).not.toContain('PRIVATE')
})

test('a key is published before it signs, and after', async () => {
  const { start, pass, now } = await replicas()
  const made = start()
  const other = start()
  const first = await made.publicKeys(undefined)
  const kidNow = async () => {
    const [, token] = await made.held(undefined, passed, approved)
    await verified(token, await other.publicKeys(undefined), now())
    return JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid as string
  }
  expect([await kidNow()]).toEqual(kids(first))
  pass(30 * 24 * hourMs - hourMs)
  const both = await made.publicKeys(undefined)
  expect(kids(both)).toHaveLength(2)
  expect(kids(both)).toContain(kids(first)[0])
  expect(await kidNow()).toBe(kids(first)[0])
  pass(hourMs + 61_000)
  expect(await kidNow()).toBe(kids(both)[1])
  expect(kids(await made.publicKeys(undefined))).toHaveLength(2)
  pass(hourMs)
  expect(kids(await made.publicKeys(undefined))).toEqual([kids(both)[1]])
  expect(await kidNow()).toBe(kids(both)[1])
})

test('while the store is away the known keys stay in use; without any there is no assertion', async () => {
  const { start, away, pass } = await replicas()
  const made = start()
  const keys = await made.publicKeys(undefined)
  away(true)
  pass(10 * 60_000)
  expect(await made.publicKeys(undefined)).toEqual(keys)
  await expect(start().held(undefined, passed, approved)).rejects.toMatchObject({ code: 'store_unavailable' })
})

const pem = (key: KeyObject, type: 'pkcs8' | 'sec1' = 'pkcs8'): string => key.export({ type, format: 'pem' }) as string
const curve = (namedCurve: string): KeyObject => generateKeyPairSync('ec', { namedCurve }).privateKey

test('keys of the configuration: the first one signs, all of them are published', async () => {
  const { start, now } = await replicas()
  const [old, next] = [curve('prime256v1'), curve('prime256v1')]
  const made = start()
  const before = kids(await made.publicKeys(pem(old)))
  const text = `${pem(next, 'sec1')}\n${pem(old)}`
  const both = await made.publicKeys(text)
  expect(kids(both)).toHaveLength(2)
  expect(kids(both)[1]).toBe(before[0])
  const { protectedHeader } = await verified((await made.held(text, passed, approved))[1], both, now())
  expect(protectedHeader.kid).toBe(kids(both)[0])
})

test.each([
  ['nothing', ''],
  ['another curve', pem(curve('secp384r1'))],
  ['another kind', pem(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)],
  ['a torn key', '-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----'],
])('%s is no key, and is not shown', (_, text) => {
  expect(() => pemKeys(text)).toThrow(/key/)
  expect(() => pemKeys(text)).not.toThrow(/SECRET/)
})
