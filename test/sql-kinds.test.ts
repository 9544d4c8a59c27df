// The kinds whose calls are SQL, or tables: where the statement stands, by the table; what is refused; what is told.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { HoldpointError, problem } from '../src/errors.ts'
import type { Action } from '../src/nouns.ts'
import { clickhouse } from '../src/upstreams/clickhouse.ts'
import { influxdb } from '../src/upstreams/influxdb.ts'
import { postgrest } from '../src/upstreams/postgrest.ts'
import { sql } from '../src/upstreams/sql.ts'
import type { UpstreamKind } from '../src/upstreams/upstream.ts'
import { type SeenRow, seenOf } from './support/seen.ts'

const kinds = { clickhouse, influxdb, postgrest, sql }
type Row = SeenRow & {
  readonly kind: keyof typeof kinds
  readonly name: string
  readonly actions: readonly (readonly [string, string, string])[]
}
const rows = JSON.parse(readFileSync(new URL('tables/sql-kinds.json', import.meta.url), 'utf8')) as readonly Row[]

const described = (kind: UpstreamKind, row: SeenRow): readonly Action[] => {
  const actions = kind.describe(seenOf(row))
  if (actions === 'unread') throw new Error('the body is there')
  return actions
}

it.each(rows)('$kind: $name', row => {
  const actions = described(kinds[row.kind], row)
  expect(actions.map(({ name, resource, access }) => [name, resource, access])).toEqual(row.actions)
  for (const { name, unknown } of actions) if (/:unknown$/.test(name)) expect(unknown).toEqual(['*'])
})

describe('credentials of its own never come from a caller', () => {
  it.each([
    ['clickhouse', 'user'],
    ['clickhouse', 'password'],
    ['clickhouse', 'Password'],
    ['clickhouse', 'quota_key'],
    ['postgrest', 'apikey'],
    ['influxdb', 'u'],
    ['influxdb', 'p'],
    ['influxdb', 'token'],
  ] as const)('%s refuses "%s" in the address', (kind, name) => {
    expect(() => described(kinds[kind], { method: 'GET', query: `query=SELECT%201&${name}=x` })).toThrow(
      expect.objectContaining({ code: 'malformed' }),
    )
  })

  it('clickhouse takes none from a header', () => {
    expect(clickhouse.strippedHeaders).toEqual(expect.arrayContaining(['x-clickhouse-user', 'x-clickhouse-key']))
  })
})

it('postgrest says whether a write has a filter, and in which schema', () => {
  const fields = (row: SeenRow): unknown => described(postgrest, row)[0]?.fields
  expect(fields({ method: 'DELETE', path: '/a' })).toEqual({ filtered: 'no' })
  expect(fields({ method: 'DELETE', path: '/a', query: 'select=id&order=id&limit=1' })).toEqual({ filtered: 'no' })
  expect(fields({ method: 'GET', path: '/a', query: 'b.order=id&b.limit=1' })).toEqual({ filtered: 'no' })
  expect(fields({ method: 'DELETE', path: '/a', query: 'id=eq.1' })).toEqual({ filtered: 'yes' })
  expect(fields({ method: 'DELETE', path: '/a', query: 'or=(a.eq.1,b.eq.2)' })).toEqual({ filtered: 'yes' })
  // None of these chooses among the rows that are deleted.
  for (const query of ['select=*,b(*)&b.id=eq.1', 'b.or=(x.eq.1)', 'x=1', '=eq.1', 'or=()', 'apikey2=x'])
    expect([query, fields({ method: 'DELETE', path: '/a', query })]).toEqual([query, { filtered: 'no' }])
  for (const query of ['id=not.in.(1,2)', 'not.and=(a.eq.1)', 'id=like(any).{a}', 'a->>b=eq.1', 'x=fts(english).y'])
    expect([query, fields({ method: 'DELETE', path: '/a', query })]).toEqual([query, { filtered: 'yes' }])
  expect(fields({ method: 'DELETE', path: '/a', headers: { 'Content-Profile': 'x', 'Accept-Profile': 'y' } })).toEqual({
    filtered: 'no',
    schema: 'x',
  })
  expect(described(postgrest, { method: 'GET', path: '/a' })[0]?.unknown).toEqual(['schema'])
})

it('clickhouse asks for a body unless it is rows', () => {
  const unread = (row: SeenRow): unknown => {
    const seen = seenOf(row)
    return clickhouse.describe({ ...seen, call: { ...seen.call, contentLength: undefined }, body: { kind: 'unread' } })
  }
  expect(unread({ query: 'query=SELECT%201' })).toBe('unread')
  expect(unread({})).toBe('unread')
  expect(unread({ query: 'query=INSERT%20INTO%20t%20FORMAT%20CSV' })).toHaveLength(1)
})

it.each(Object.entries(kinds))('%s refuses so that its clients show the reason', (_, kind) => {
  const error = new HoldpointError('hold_denied', 'Not today.')
  const refused = kind.refusal(error, problem(error), seenOf({}).call)
  expect(String(refused.body)).toContain('Not today.')
  expect(refused.status ?? error.status).toBe(403)
})
