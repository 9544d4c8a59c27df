// GraphQL: what a request would do, by the table; where the text may be, and how a refusal looks.
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { HoldpointError, problem } from '../src/errors.ts'
import { graphql } from '../src/upstreams/graphql.ts'
import { type SeenRow, seenOf } from './support/seen.ts'

type Row = SeenRow & { readonly name: string; readonly actions: readonly (readonly [string, string, string])[] }
const rows = JSON.parse(readFileSync(new URL('tables/graphql.json', import.meta.url), 'utf8')) as readonly Row[]

it.each(rows)('$name', row => {
  const actions = graphql.describe(seenOf(row, '/graphql'))
  if (actions === 'unread') throw new Error('the body is there')
  expect(actions.map(({ name, resource, access }) => [name, resource, access])).toEqual(row.actions)
  // What has no name of its own must not look like something that can be told.
  for (const { name, unknown } of actions) expect(unknown).toEqual(name === 'graphql:unknown' ? ['*'] : undefined)
})

it('asks for the body of a POST only', () => {
  const { body: _, ...seen } = seenOf({ json: { query: '{ a }' } })
  expect(graphql.describe({ ...seen, body: { kind: 'unread' } })).toBe('unread')
  const get = seenOf({ method: 'GET', query: 'query=%7Ba%7D' })
  expect(graphql.describe({ ...get, body: { kind: 'unread' } })).toHaveLength(1)
})

it.each(['query', 'operationName', 'variables', 'extensions'])('refuses %s in the address of a POST', name => {
  expect(() => graphql.describe(seenOf({ json: { query: '{ a }' }, query: `${name}=x` }))).toThrow(
    expect.objectContaining({ code: 'malformed' }),
  )
})

it.each([
  ['mutation($amount: Int) { pay(amount: $amount) }', 'no'],
  ['mutation { pay }', 'no'],
  ['mutation { pay(amount: 5) }', 'yes'],
  ['mutation($amount: Int = 500) { pay(amount: $amount) }', 'yes'],
  ['mutation($x: Int, $amount: Int) { pay(amount: $x) }', 'yes'],
  ['mutation($in: In) { pay(in: $in) }', 'no'],
  ['mutation($amount: Int) { pay(in: { amount: $amount }) }', 'yes'],
  ['mutation($amount: Int) { pay(in: [$amount]) }', 'yes'],
] as const)('says whether every argument is the variable of its name: %s', (query, inline) => {
  const ofFirst = (seen: Parameters<typeof seenOf>[0]): unknown => {
    const actions = graphql.describe(seenOf(seen))
    return actions === 'unread' ? actions : actions[0]?.fields.inline
  }
  expect(ofFirst({ json: { query } })).toBe(inline)
  // There a rule does not find the variables.
  expect(ofFirst({ json: [{ query }] })).toBe('yes')
  expect(ofFirst({ method: 'GET', query: `query=${encodeURIComponent(query)}` })).toBe('yes')
  expect(ofFirst({ form: `query=${encodeURIComponent(query)}` })).toBe('yes')
})

it('refuses as a GraphQL error, in the type the client takes', () => {
  const error = new HoldpointError('hold_denied', 'Not today.')
  const { call } = seenOf({ headers: { Accept: 'application/graphql-response+json, application/json' } })
  const refused = graphql.refusal(error, problem(error), call)
  expect(refused.headers).toEqual([['Content-Type', 'application/graphql-response+json']])
  expect(JSON.parse(String(refused.body))).toMatchObject({
    errors: [{ message: 'Not today.', extensions: { code: 'hold_denied', status: 403 } }],
  })
  expect(graphql.refusal(error, problem(error), undefined).headers).toEqual([['Content-Type', 'application/json']])
})
