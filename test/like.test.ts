// How far two held calls are alike: what a grant lets go is what its makers saw, but for what they left free.
import { describe, expect, test } from 'vitest'
import { fitsResource, freeable, isLike, type Likened, partsOf } from '../src/like.ts'
import type { Action, Json } from '../src/nouns.ts'

const action: Action = { name: 'http:POST', resource: '/v1/refunds/7', access: 'write', fields: { region: 'eu' } }

const aCall = (over: Partial<Likened> & { readonly json?: Json } = {}): Likened => {
  const { json = { amount: 250, to: { iban: 'DE1', note: 'a' }, tags: ['x'] }, ...rest } = over
  return {
    upstream: 'billing',
    call: { method: 'POST', host: 'gate.test', query: [['dry', 'no']], rawQuery: 'dry=no' },
    target: '/v1/refunds/7?dry=no',
    paths: ['/v1/refunds/7'],
    headers: [
      ['Content-Type', 'application/json'],
      ['X-Mode', 'safe'],
    ],
    actions: [action],
    body: { kind: 'json', value: json, size: 9 },
    bytes: Buffer.from(JSON.stringify(json)),
    ...rest,
  }
}

const partsOfIt = (call: Likened) => partsOf(call, value => `print of ${Buffer.from(value).toString('hex')}`)
const alike = (other: Likened, terms: { free?: readonly string[]; resource?: string } = {}, one = aCall()): boolean =>
  isLike(partsOfIt(one), partsOfIt(other), { free: [], ...terms }, other.actions[0]?.resource ?? '')

const to = (resource: string, over: Partial<Likened> = {}): Likened =>
  aCall({ actions: [{ ...action, resource }], paths: [resource], target: `${resource}?dry=no`, ...over })

describe('without anything free', () => {
  test.each<[string, Likened, boolean]>([
    ['the very same', aCall(), true],
    ['members in another order', aCall({ json: { tags: ['x'], to: { note: 'a', iban: 'DE1' }, amount: 250 } }), true],
    [
      'header names in another case and order',
      aCall({ headers: [...aCall().headers].reverse().map(([name, value]) => [name.toLowerCase(), value]) }),
      true,
    ],
    ['another idempotency key', aCall({ headers: [...aCall().headers, ['Idempotency-Key', 'k']] }), true],
    ['another number', aCall({ json: { amount: 251, to: { iban: 'DE1', note: 'a' }, tags: ['x'] } }), false],
    ['a number as a text', aCall({ json: { amount: '250', to: { iban: 'DE1', note: 'a' }, tags: ['x'] } }), false],
    [
      'a list of the same members',
      aCall({ json: { amount: 250, to: { iban: 'DE1', note: 'a' }, tags: { 0: 'x' } } }),
      false,
    ],
    ['a member more', aCall({ json: { amount: 250, to: { iban: 'DE1', note: 'a' }, tags: ['x'], all: true } }), false],
    [
      'an empty member more',
      aCall({ json: { amount: 250, to: { iban: 'DE1', note: 'a' }, tags: ['x'], all: {} } }),
      false,
    ],
    ['an item more', aCall({ json: { amount: 250, to: { iban: 'DE1', note: 'a' }, tags: ['x', 'x'] } }), false],
    ['a value that moved', aCall({ json: { amount: 250, to: { iban: 'a', note: 'DE1' }, tags: ['x'] } }), false],
    ['another method', aCall({ call: { ...aCall().call, method: 'PUT' } }), false],
    ['another host', aCall({ call: { ...aCall().call, host: 'other.test' } }), false],
    ['another upstream', aCall({ upstream: 'ledger' }), false],
    ['another query value', aCall({ call: { ...aCall().call, query: [['dry', 'yes']] } }), false],
    [
      'a query value more',
      aCall({
        call: {
          ...aCall().call,
          query: [
            ['dry', 'no'],
            ['dry', 'no'],
          ],
        },
      }),
      false,
    ],
    ['a query spelled differently', aCall({ call: { ...aCall().call, rawQuery: 'dry=n%6f' } }), false],
    ['another resource', to('/v1/refunds/8'), false],
    ['the same resource, spelled differently', aCall({ target: '/v1/%72efunds/7?dry=no' }), false],
    ['another action', aCall({ actions: [{ ...action, name: 'http:PUT' }] }), false],
    ['another access', aCall({ actions: [{ ...action, access: 'unknown' }] }), false],
    ['another field', aCall({ actions: [{ ...action, fields: { region: 'us' } }] }), false],
    ['a field that is unknown', aCall({ actions: [{ ...action, unknown: ['region'] }] }), false],
    ['one action more', aCall({ actions: [action, action] }), false],
    [
      'another header',
      aCall({
        headers: [
          ['Content-Type', 'application/json'],
          ['X-Mode', 'force'],
        ],
      }),
      false,
    ],
    ['a header twice', aCall({ headers: [...aCall().headers, ['X-Mode', 'safe']] }), false],
    ['no body', aCall({ body: { kind: 'none' }, bytes: Buffer.alloc(0) }), false],
    ['a body that is read otherwise', aCall({ body: { kind: 'other', size: 9 } }), false],
  ])('%s: %s', (_, other, expected) => {
    expect(alike(other)).toBe(expected)
  })
})

describe('with places free', () => {
  const json = (amount: Json, iban: Json = 'DE1', note: Json = 'a'): Likened =>
    aCall({ json: { amount, to: { iban, note }, tags: ['x'] } })

  test('only those may differ, and only in their value', () => {
    const free = ['json./amount', 'json./to/note']
    expect(alike(json(1, 'DE1', 'b'), { free })).toBe(true)
    expect(alike(json('1'), { free })).toBe(false)
    expect(alike(json(1, 'DE1', { iban: 'DE2' }), { free })).toBe(false)
    expect(alike(json(1, 'DE2'), { free })).toBe(false)
    expect(alike(json(null), { free })).toBe(false)
  })

  test('headers, method, upstream, action and whole trees cannot be', () => {
    const free = [
      'header.x-mode',
      'method',
      'upstream',
      'host',
      'action',
      'resource',
      'path',
      'json.',
      'json./to',
      'body kind',
    ]
    for (const place of free)
      for (const part of partsOfIt(aCall())) if (part[0] === place) expect(freeable(part), place).toBe(false)
    expect(
      alike(
        aCall({
          headers: [
            ['Content-Type', 'application/json'],
            ['X-Mode', 'force'],
          ],
        }),
        { free },
      ),
    ).toBe(false)
    expect(alike(aCall({ call: { ...aCall().call, method: 'PUT' } }), { free })).toBe(false)
    expect(alike(to('/v1/refunds/8'), { free })).toBe(false)
    expect(alike(aCall({ json: { amount: 250, to: {}, tags: ['x'] } }), { free })).toBe(false)
  })

  test('a body in no places is one place', () => {
    const opaque = (text: string): Likened => aCall({ body: { kind: 'other', size: 1 }, bytes: Buffer.from(text) })
    expect(alike(opaque('a'), {}, opaque('a'))).toBe(true)
    expect(alike(opaque('b'), {}, opaque('a'))).toBe(false)
    expect(alike(opaque('b'), { free: ['body'] }, opaque('a'))).toBe(true)
    expect(alike(aCall(), { free: ['body'] }, opaque('a'))).toBe(false)
  })

  test.each<[string, Json]>([
    ['too many members', Object.fromEntries(Array.from({ length: 250 }, (_, index) => [`m${index}`, index]))],
    ['a name that is too long', { ['n'.repeat(250)]: 1 }],
    ['a name that is not plain', { 'n\u202e': 1 }],
  ])('%s: the body is compared as a whole', (_, value) => {
    const one = aCall({ json: value })
    expect(partsOfIt(one).filter(([place]) => place.startsWith('json.'))).toEqual([])
    expect(alike(aCall({ json: value }), {}, one)).toBe(true)
    expect(alike(aCall({ json: value, bytes: Buffer.from('{}') }), {}, one)).toBe(false)
  })

  test('a form by its fields', () => {
    const form = (...pairs: [string, string][]): Likened =>
      aCall({ body: { kind: 'form', pairs, size: 1 }, bytes: Buffer.from(`${new URLSearchParams(pairs)}`) })
    const one = form(['a', '1'], ['b', '2'])
    expect(alike(form(['a', '1'], ['b', '3']), {}, one)).toBe(false)
    expect(alike(form(['a', '1'], ['b', '3']), { free: ['form.b'] }, one)).toBe(true)
    expect(alike(form(['b', '2'], ['a', '1']), {}, one)).toBe(false)
    expect(alike(form(['a', '1'], ['b', '2'], ['b', '3']), { free: ['form.b'] }, one)).toBe(false)
  })

  test('a form that is spelled otherwise is another one, whoever reads it alike', () => {
    const form = (text: string): Likened =>
      aCall({ body: { kind: 'form', pairs: [...new URLSearchParams(text)], size: 1 }, bytes: Buffer.from(text) })
    expect(alike(form('q=a%20b'), {}, form('q=a%20b'))).toBe(true)
    expect(alike(form('q=a+b'), {}, form('q=a%20b'))).toBe(false)
    expect(alike(form('q=a+b'), { free: ['form.q'] }, form('q=a%20b'))).toBe(true)
    // Of a compressed one the text counts, as rules read it.
    const packed = (bytes: string): Likened => ({ ...form('q=1'), bytes: Buffer.from(bytes) })
    const content = (call: Likened): Likened => ({ ...call, body: { ...call.body, content: Buffer.from('q=1') } })
    expect(alike(content(packed('one')), {}, content(packed('another')))).toBe(true)
  })
})

describe('a pattern for the resource', () => {
  const resource = '/v1/refunds/*'

  test('lets others of the kind go, plainly spelled, with one reading', () => {
    expect(alike(to('/v1/refunds/8'), { resource })).toBe(true)
    expect(alike(to('/v1/refunds/8/cancel'), { resource })).toBe(false)
    expect(alike(to('/v1/refunds/'), { resource })).toBe(false)
    expect(alike(to('/v1/charges/8'), { resource })).toBe(false)
    expect(alike(to('/v1/refunds/8', { target: '/v1/refunds/%38?dry=no' }), { resource })).toBe(false)
    expect(alike(to('/v1/refunds/8', { paths: ['/v1/refunds/8', '/v1/8'] }), { resource })).toBe(false)
    expect(alike(to('/v1/refunds/8', { headers: [] }), { resource })).toBe(false)
    expect(
      alike(to('/v1/refunds/8', { actions: [{ ...action, resource: '/v1/refunds/8', fields: {} }] }), { resource }),
    ).toBe(false)
  })

  // What an upstream's kind calls the resource may be less than the path says.
  test.each<
    [string, string, readonly [resource: string, path: string], readonly [resource: string, path: string], boolean]
  >([
    ['another index', 'logs-*', ['logs-1', '/logs-1/_doc/5'], ['logs-2', '/logs-2/_doc/5'], true],
    ['another document', 'logs-*', ['logs-1', '/logs-1/_doc/5'], ['logs-1', '/logs-1/_doc/6'], false],
    ['another document of another index', 'logs-*', ['logs-1', '/logs-1/_doc/5'], ['logs-2', '/logs-2/_doc/6'], false],
    [
      'another path behind a service',
      'core/v1/ns/services/proxy/*',
      ['core/v1/ns/services/proxy/web', '/api/v1/namespaces/ns/services/web/proxy/metrics'],
      ['core/v1/ns/services/proxy/web', '/api/v1/namespaces/ns/services/web/proxy/admin'],
      false,
    ],
    ['another address of the same tool', 'refund*', ['refund', '/mcp'], ['refund', '/admin'], false],
    ['another tool at the same address', 'refund*', ['refund', '/mcp'], ['refunds', '/mcp'], true],
    [
      'another pod',
      'core/v1/ns/pods/*',
      ['core/v1/ns/pods/a', '/api/v1/namespaces/ns/pods/a'],
      ['core/v1/ns/pods/b', '/api/v1/namespaces/ns/pods/b'],
      true,
    ],
    [
      'a namespace that the pattern does not leave open',
      'core/v1/ns/pods/*',
      ['core/v1/ns/pods/a', '/api/v1/namespaces/ns/pods/a'],
      ['core/v1/ns/pods/b', '/api/v1/namespaces/no/pods/b'],
      false,
    ],
    ['a segment that only looks like it', 'a/*', ['a/b', '/b/a/b'], ['a/c', '/c/a/c'], false],
  ])('of a path that says more: %s', (_, pattern, [resource, path], [other, elsewhere], expected) => {
    const of = (name: string, at: string): Likened => to(name, { paths: [at], target: `${at}?dry=no` })
    expect(alike(of(other, elsewhere), { resource: pattern }, of(resource, path))).toBe(expected)
  })

  test.each([
    ['a/*', 'a/b', true],
    ['a/*', 'a/b/c', false],
    ['a/*', 'a/', false],
    ['a/*', 'a/*', false],
    ['a/b*', 'a/bc', true],
    ['*/b', 'a/b', true],
    ['a/[bc]', 'a/b', false],
    ['a/?', 'a/b', false],
    ['a/b', 'a/b', true],
    ['arn:aws:iam::1:role/*', 'arn:aws:iam::1:role/x', true],
    ['arn:aws:iam::1:role/*', 'arn:aws:iam::2:role/x', false],
  ])('%s and %s: %s', (pattern, found, expected) => {
    expect(fitsResource(pattern)(found)).toBe(expected)
  })
})
