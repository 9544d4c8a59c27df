// `when`: the table of answers, what is refused when it is loaded, and that no body makes an expression run long.
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { compileWhen, type WhenSubject } from '../src/match/when.ts'
import type { Action, Body, Caller, Json } from '../src/nouns.ts'

type Row = {
  readonly when: string
  readonly then?: 'allow' | 'hold' | 'deny'
  readonly json?: Json
  readonly body?: Body
  readonly action?: Partial<Action> | null
  readonly actors?: readonly string[]
  readonly answer: boolean | string
}
const rows = JSON.parse(readFileSync(new URL('tables/when.json', import.meta.url), 'utf8')) as readonly Row[]

const subject = (row: Omit<Row, 'when' | 'answer'>): WhenSubject => {
  const action = { name: 'sql:drop', resource: 'a.b', access: 'write', fields: { table: 'b', database: 'a' } } as const
  const caller: Caller = {
    issuer: 'idp',
    subject: 'agent-7',
    kind: 'agent',
    groups: ['finance'],
    actors: (row.actors ?? []).map(name => ({ issuer: 'idp', subject: name })),
    claims: { team: 'a' },
    expiresAt: 0,
  }
  const seen = {
    call: { method: 'POST', host: 'gate.example', query: [['dry', 'yes']], contentLength: undefined },
    path: '/v1/refunds',
    upstream: { name: 'billing' },
    action: row.action === null ? undefined : { ...action, ...row.action },
    headers: [['x-mode', 'fast']],
    body: row.body ?? (row.json === undefined ? { kind: 'none' } : { kind: 'json', value: row.json, size: 9 }),
    caller,
    at: Date.UTC(2026, 0, 31),
  }
  return seen as unknown as WhenSubject
}

it.each(rows)('$when', row => {
  expect(compileWhen(row.when)(subject(row), row.then ?? 'hold')).toBe(row.answer)
})

it.each([
  ['method ==', 'is no CEL expression: at 1:8'],
  ['', 'is no CEL expression'],
  ['nope == 1', 'knows no "nope"'],
  ['caller.nope == 1', 'knows no "caller.nope"'],
  ['[1].exists(x, y == x)', 'knows no "y"'],
  ['frob(method)', 'knows no function "frob"'],
  ['method.frob()', 'knows no function "frob"'],
  ['header["X-Mode"][0] == "a"', 'must write the header "X-Mode" in lower case'],
  ['header.size() > 3', 'must name the header it reads'],
  ['header[method][0] == "a"', 'must name the header it reads'],
  ['path.matches("(")', 'knows no such pattern: "("'],
  ['path.matches("(?=x)")', 'knows no such pattern'],
  ['json.s.matches(json.p)', 'must write the pattern of matches() in quotes'],
  ['path.matches("a" + method)', 'must write the pattern of matches() in quotes'],
  ['json.a.all(x, json.b.all(y, json.c.all(z, z == y)))', 'must not nest more than 2 loops'],
  [`method == "${'x'.repeat(4000)}"`, 'must not be longer than 4000 characters'],
])('refuses %s', (text, message) => {
  expect(() => compileWhen(text)).toThrow(message)
})

it('does not walk a long body again and again', () => {
  const twice = compileWhen('json.all(x, json.all(y, x == y))')
  const long = Array.from({ length: 2000 }, () => 1)
  expect(twice(subject({ json: long }), 'hold')).toBe('unknown')
  expect(twice(subject({ json: [1, 1] }), 'hold')).toBe(true)
})

it.each([
  'json.a.all(x, x in json.b)',
  'json.a.all(x, x in json.b + [0.0])',
  'json.a.all(x, size(json.text) > 3)',
  'json.a.all(x, json.text.contains("y"))',
  'json.a.all(x, json.b == json.b)',
  'json.a.all(x, json.b.map(y, x)[0] in json.b)',
])('nor search through one again and again: %s', when => {
  const [a, text] = [Array.from({ length: 4000 }, () => 1), 'xxx'.repeat(20_000)]
  expect(compileWhen(when)(subject({ json: { a, b: a, text } }), 'hold')).toBe('unknown')
  const few = { a: [1, 1], b: [1], text: 'xxyxx' }
  expect(compileWhen(when)(subject({ json: few }), 'hold')).toBe(true)
})

it('looks at every item of a long body for what is known beforehand', () => {
  const json = { a: Array.from({ length: 4000 }, () => 1), region: 1 }
  for (const when of ['json.a.all(x, x in [1.0])', 'json.a.all(x, x == 1.0)', 'json.a.all(x, x <= json.region)'])
    expect(compileWhen(when)(subject({ json }), 'hold')).toBe(true)
})

it('reads a body once, however many actions the call has', () => {
  let reads = 0
  const value = Object.defineProperty({}, 'a', { enumerable: true, get: () => [++reads] }) as Json
  const actions = Array.from({ length: 50 }, () => ({ name: 'sql:drop', resource: 'a.b', access: 'write', fields: {} }))
  const seen = {
    ...subject({ body: { kind: 'json', value, size: 9 } as unknown as Body }),
    actions: actions as Action[],
  }
  for (const when of ['action == "sql:drop" && size(json.a) == 1', 'size(json.a) == 1']) {
    const ask = compileWhen(when)
    for (const action of seen.actions) expect(ask({ ...seen, action }, 'hold')).toBe(true)
  }
  expect(reads).toBeLessThan(10)
})

it('shares its turns among the actions of a call', () => {
  const json = Array.from({ length: 5000 }, () => 1)
  const ask = compileWhen('action == "sql:drop" && json.all(x, x == 1.0)')
  const one = subject({ json })
  const action = one.action as Action
  expect(ask({ ...one, actions: [action] }, 'hold')).toBe(true)
  expect(ask({ ...one, actions: Array.from({ length: 500 }, () => action) }, 'hold')).toBe('unknown')
})

it('names the headers it reads', () => {
  expect([...compileWhen('header["x-a"][0] == "1" && "x-b" in header && header.host == []').headers]).toEqual([
    'x-a',
    'x-b',
    'host',
  ])
})
