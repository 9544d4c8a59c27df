// Matching: the table, and what must hold for every rule set. A group's rules are judged in order; `expect` says outcome and rule(s),
// or `body` where the body must be read first.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { candidates } from '../src/match/candidates.ts'
import { compileRule } from '../src/match/keys.ts'
import { explain, match } from '../src/match.ts'
import type { Action, Body, Call, Caller, CallerKind, Header, Json } from '../src/nouns.ts'
import type { Match, Outcome, Rule, Settings } from '../src/settings.ts'

type GivenRule = { readonly name: string; readonly match: Match; readonly then: Outcome }
type Given = {
  readonly upstream?: string
  readonly method?: string
  readonly host?: string
  readonly path?: string
  readonly paths?: readonly string[]
  readonly query?: string
  readonly headers?: readonly Header[]
  readonly json?: Json
  readonly form?: string
  readonly body?: Body
  readonly contentLength?: number | null
  readonly actions?: readonly Partial<Action>[]
  readonly caller?: Partial<Caller>
  readonly at?: string
}
type Group = {
  readonly group: string
  readonly rules: readonly GivenRule[]
  readonly cases: readonly { readonly call: Given; readonly expect: string; readonly why?: string }[]
}

const table = JSON.parse(readFileSync(new URL('tables/match.json', import.meta.url), 'utf8')) as readonly Group[]

const upstream = (name: string, caseSensitive = true): Settings['upstreams'][number] => ({
  name,
  kind: 'http',
  url: 'http://127.0.0.1',
  at: { prefix: `/${name}` },
  credential: undefined,
  tokenHeader: undefined,
  timeouts: { connectMs: 0, headersMs: 0, idleMs: 0, tunnelMs: 0 },
  tls: undefined,
  http2: false,
  assertion: 'held',
  volatileHeaders: [],
  limits: { inspect: 0, held: 0 },
  encodedSlash: 'keep',
  doubleSlash: 'keep',
  pathParameters: 'keep',
  caseSensitive,
  getBody: true,
  underscores: 'drop',
  hash: name,
})

const settings = (rules: readonly GivenRule[]): Settings =>
  ({
    issuers: [{ name: 'okta-api' }, { name: 'cluster' }],
    rules: rules.map(
      (rule): Rule => ({
        ...rule,
        where: '',
        approve: [],
        notify: [],
        summary: undefined,
        show: [],
        mask: [],
        controls: [],
        hash: rule.name,
      }),
    ),
  }) as unknown as Settings

const upstreams = new Map(['billing', 'a', 'b', 'c', 'd', 'bills', 'other'].map(name => [name, upstream(name)]))
upstreams.set('caseless', upstream('caseless', false))

const pairs = (text: string): [string, string][] => [...new URLSearchParams(text)]

const bodyOf = (given: Given): Body =>
  given.body ??
  (given.json !== undefined
    ? { kind: 'json', value: given.json, size: 1 }
    : given.form !== undefined
      ? { kind: 'form', pairs: pairs(given.form), size: given.form.length }
      : { kind: 'none' })

const subjectOf = (given: Given): Parameters<typeof match>[1] => {
  const paths = given.paths ?? [given.path ?? '/']
  const method = given.method ?? 'GET'
  const call: Call = {
    id: 'c',
    receivedAt: 0,
    method,
    target: paths[0] ?? '/',
    path: paths[0] ?? '/',
    rawPath: paths[0] ?? '/',
    rawQuery: given.query,
    query: pairs(given.query ?? ''),
    host: given.host ?? 'gate.test',
    headers: given.headers ?? [],
    address: '127.0.0.1',
    scheme: 'https',
    httpVersion: '1.1',
    contentLength: given.contentLength === null ? undefined : (given.contentLength ?? 1),
  }
  const action = (one: Partial<Action>): Action => ({
    name: 'http:GET',
    resource: '/',
    access: 'read',
    fields: {},
    ...one,
  })
  return {
    call,
    paths,
    upstream: upstreams.get(given.upstream ?? 'billing') ?? upstream('none'),
    actions: (given.actions ?? [{ name: `http:${method}`, resource: paths[0] ?? '/' }]).map(action),
    body: bodyOf(given),
    caller: {
      issuer: 'okta-api',
      subject: 'agent-7',
      kind: 'agent',
      groups: [],
      actors: [],
      claims: {},
      expiresAt: 0,
      ...given.caller,
    },
    at: Date.parse(given.at ?? '2026-03-02T12:00:00Z'),
  }
}

const spelled = ({ outcome, rule, rules, needsBody }: ReturnType<typeof match>): string => {
  if (needsBody) return 'body'
  const names = outcome === 'hold' ? rules.map(({ name }) => name).join('+') : rule?.name
  return names === undefined ? outcome : `${outcome} ${names}`
}

describe('the table', () => {
  for (const { group, rules, cases } of table) {
    test(group, () => {
      const snapshot = settings(rules)
      for (const { call, expect: expected, why } of cases) {
        const subject = subjectOf(call)
        const label = `${JSON.stringify(call)} ${why ?? ''}`
        expect(spelled(match(snapshot, subject)), label).toBe(expected)
        expect(spelled(explain(snapshot, subject).judgement), `explained: ${label}`).toBe(expected)
      }
    })
  }
  test('has a case for each key and a group for each name', () => {
    const keys = new Set(table.flatMap(({ rules }) => rules.flatMap(rule => Object.keys(rule.match))))
    expect([...keys].sort()).toEqual([
      'access',
      'action',
      'body',
      'caller',
      'fields',
      'form',
      'header',
      'host',
      'json',
      'method',
      'path',
      'query',
      'resource',
      'time',
      'upstream',
      'when',
    ])
    expect(new Set(table.map(({ group }) => group)).size).toBe(table.length)
  })
})

// ---- what holds for every rule set

const words = ['a', 'b', 'c']
const word = fc.constantFrom(...words)
const path = fc.array(word, { minLength: 1, maxLength: 3 }).map(segments => `/${segments.join('/')}`)
const slashed = fc.tuple(path, fc.constantFrom('', '', '/')).map(([text, end]) => text + end)
const glob = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', 'c', '*', 'A', '[ab]', '{a,b}', '{a/b,c}'), { minLength: 1, maxLength: 3 }),
    fc.constantFrom('', '', '/', '/**', '/*'),
  )
  .map(([segments, end]) => `/${segments.join('/')}${end}`)
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined })

const rule = fc
  .record({
    then: fc.constantFrom<Outcome>('allow', 'hold', 'deny'),
    upstream: maybe(fc.constantFrom('billing', 'caseless', '*', 'other')),
    method: maybe(fc.constantFrom('GET', 'POST', ['GET', 'POST'])),
    path: maybe(fc.oneof(glob, fc.array(glob, { minLength: 1, maxLength: 2 }))),
    action: maybe(fc.constantFrom('x:a', 'x:b', 'x:*')),
    access: maybe(fc.constantFrom('read', 'write', 'unknown')),
    json: maybe(fc.constantFrom<Match['json']>({ '/n': { over: 1 } }, { '/n': 1 }, { '/n': { not: 1 } })),
    kind: maybe(fc.constantFrom<CallerKind>('agent', 'human')),
  })
  .map(({ then, kind, ...keys }): Omit<GivenRule, 'name'> => {
    const present = Object.fromEntries(Object.entries(keys).filter(([, value]) => value !== undefined))
    return { then, match: { ...present, ...(kind === undefined ? {} : { caller: { kind } }) } }
  })
const rules = fc.array(rule, { maxLength: 8 }).map(list => list.map((one, index) => ({ ...one, name: `r${index}` })))

const given = fc.record({
  upstream: fc.constantFrom('billing', 'caseless'),
  method: fc.constantFrom('GET', 'POST', 'PUT'),
  paths: fc.array(slashed, { minLength: 1, maxLength: 2 }),
  actions: fc.array(
    fc.record({
      name: fc.constantFrom('x:a', 'x:b', 'y'),
      access: fc.constantFrom<Action['access']>('read', 'write', 'unknown'),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  body: fc.constantFrom<Body>(
    { kind: 'none' },
    { kind: 'unread' },
    { kind: 'json', value: { n: 1 }, size: 7 },
    { kind: 'json', value: { n: '2' }, size: 9 },
    { kind: 'unknown', why: 'x', size: 1 },
  ),
  caller: fc.record({
    kind: fc.constantFrom<CallerKind>('agent', 'human'),
    actors: fc.constantFrom([], [{ issuer: 'okta-api', subject: 's' }]),
  }),
})

const severity = { allow: 0, hold: 1, deny: 2 }

describe('for every rule set', () => {
  test('the index leaves out no rule: explain, which asks them all, judges alike', () => {
    fc.assert(
      // Several calls of one snapshot: what the index keeps of the first must be right for the others.
      fc.property(rules, fc.array(given, { minLength: 1, maxLength: 4 }), (list, calls) => {
        const snapshot = settings(list)
        for (const subject of calls.map(subjectOf))
          expect(spelled(match(snapshot, subject))).toBe(spelled(explain(snapshot, subject).judgement))
      }),
      { numRuns: 1000 },
    )
  })

  test('another reading or another action never loosens the outcome', () => {
    fc.assert(
      fc.property(rules, given, slashed, fc.constantFrom('x:a', 'x:b', 'z'), (list, call, more, name) => {
        fc.pre(call.body.kind !== 'unread')
        const snapshot = settings(list)
        const before = match(snapshot, subjectOf(call))
        const reading = match(snapshot, subjectOf({ ...call, paths: [...call.paths, more] }))
        const action = match(snapshot, subjectOf({ ...call, actions: [...call.actions, { name, access: 'write' }] }))
        for (const after of [reading, action]) {
          expect(severity[after.outcome]).toBeGreaterThanOrEqual(severity[before.outcome])
          if (after.outcome === 'hold') expect(after.rules).toEqual(expect.arrayContaining([...before.rules]))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('a body that cannot be read never loosens the outcome', () => {
    fc.assert(
      fc.property(rules, given, fc.constantFrom<Json>({ n: 1 }, { n: 2 }, { n: '2' }, {}, [1]), (list, call, value) => {
        const snapshot = settings(list)
        const known = match(snapshot, subjectOf({ ...call, body: { kind: 'json', value, size: 1 } }))
        const unknown = match(snapshot, subjectOf({ ...call, body: { kind: 'unknown', why: 'x', size: 1 } }))
        expect(severity[unknown.outcome]).toBeGreaterThanOrEqual(severity[known.outcome])
      }),
      { numRuns: 500 },
    )
  })

  test('an unread body is never judged by', () => {
    fc.assert(
      fc.property(
        rules,
        given,
        fc.constantFrom<Body>(
          { kind: 'none' },
          { kind: 'json', value: { n: 2 }, size: 7 },
          { kind: 'unknown', why: 'x', size: 1 },
        ),
        (list, call, body) => {
          const snapshot = settings(list)
          const unread = match(snapshot, subjectOf({ ...call, body: { kind: 'unread' } }))
          if (!unread.needsBody) expect(spelled(unread)).toBe(spelled(match(snapshot, subjectOf({ ...call, body }))))
        },
      ),
      { numRuns: 500 },
    )
  })
})

test('of ten thousand rules only those are asked whose upstream, method and path can fit', () => {
  const rules = settings([
    ...Array.from(
      { length: 10_000 },
      (_, index): GivenRule => ({
        name: `r${index}`,
        match: { path: `/v1/things-${index}/**`, method: 'GET' },
        then: 'deny',
      }),
    ),
    { name: 'last', match: {}, then: 'allow' },
  ]).rules
  const issuers = new Set<string>()
  const { upstream } = subjectOf({})
  const asked = candidates(rules.map((rule, order) => compileRule(rule, order, issuers)))
  expect([...asked(upstream, 'GET', '/v1/things-77/x')].map(({ rule }) => rule.name)).toEqual(['r77', 'last'])
  expect([...asked(upstream, 'POST', '/v1/things-77/x')].map(({ rule }) => rule.name)).toEqual(['last'])
})

// With backtracking these would not end within the life of the test run.
test('a hostile path or value does not make matching explode', () => {
  const snapshot = settings([
    { name: 'g', match: { path: '/**/a/**/b/**/c/*x*y*z*' }, then: 'deny' },
    { name: 'm', match: { header: { x: { matches: '(a+)+$' } } }, then: 'deny' },
    { name: 's', match: { header: { x: '*a*a*a*a*b' } }, then: 'deny' },
  ])
  const path = `/${'a/b/'.repeat(125)}${'xyz'.repeat(500)}w`
  expect(match(snapshot, subjectOf({ path, headers: [['x', `${'a'.repeat(20_000)}!`]] })).rule).toBeUndefined()
})

test('explain says which key failed', () => {
  const snapshot = settings([
    { name: 'a', match: { method: 'POST', path: '/x' }, then: 'deny' },
    { name: 'b', match: { json: { '/n': 1 } }, then: 'hold' },
    { name: 'c', match: {}, then: 'allow' },
    { name: 'd', match: {}, then: 'deny' },
  ])
  const { readings } = explain(snapshot, subjectOf({ path: '/x', body: { kind: 'unknown', why: 'x', size: 1 } }))
  expect(readings.map(({ rules }) => rules.map(({ rule, result, keys }) => [rule.name, result, keys]))).toEqual([
    [
      [
        'a',
        'failed',
        [
          { key: 'method', answer: false },
          { key: 'path', answer: true },
        ],
      ],
      ['b', 'noted', [{ key: 'json /n', answer: 'unknown' }]],
      ['c', 'matched', []],
      ['d', 'not reached', []],
    ],
  ])
})

describe('the sole rule, which alone may have grants', () => {
  const a: GivenRule = { name: 'a', match: { path: '/a' }, then: 'hold' }
  const b: GivenRule = { name: 'b', match: { path: '/**' }, then: 'hold' }
  const large: GivenRule = { name: 'large', match: { json: { '/amount': { over: 100 } } }, then: 'hold' }
  const allow: GivenRule = { name: 'allow', match: { path: '/**' }, then: 'allow' }
  const acting: GivenRule = { name: 'acting', match: { action: 'x:*' }, then: 'hold' }
  const unreadable: Body = { kind: 'unknown', why: 'compressed', size: 1 }

  test.each<[string, readonly GivenRule[], Given, string | undefined]>([
    ['matches for certain', [a, b], { path: '/a' }, 'a'],
    ['matches every reading', [a, b], { paths: ['/a', '/a'] }, 'a'],
    ['matches one reading, and another the other', [a, b], { paths: ['/a', '/b'] }, undefined],
    ['matches one reading, and the other is allowed', [a, allow], { paths: ['/a', '/b'] }, undefined],
    ['is allowed', [allow], {}, undefined],
    ['is not there', [a], { path: '/b' }, undefined],
    ['matches what is read', [large, allow], { json: { amount: 101 } }, 'large'],
    ['matches only because something is unknown', [large, allow], { body: unreadable }, undefined],
    ['matches after something unknown', [large, b], { body: unreadable }, undefined],
    ['matches every action', [acting, allow], { actions: [{ name: 'x:1' }, { name: 'x:2' }] }, 'acting'],
    [
      'matches one action, and the other is allowed',
      [acting, allow],
      { actions: [{ name: 'x:1' }, { name: 'y' }] },
      undefined,
    ],
    ['matches one action, and the other is denied', [acting], { actions: [{ name: 'x:1' }, { name: 'y' }] }, undefined],
  ])('%s', (_, rules, call, expected) => {
    const judgement = match(settings(rules), subjectOf(call))
    expect(judgement.sole?.name).toBe(expected)
    expect(explain(settings(rules), subjectOf(call)).judgement.sole?.name).toBe(expected)
  })
})
