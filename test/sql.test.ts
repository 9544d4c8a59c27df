// SQL: what statements would do, by the table; which of it is told, and where the kinds that carry SQL look for a statement.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Action } from '../src/nouns.ts'
import { awaitsRows, statements } from '../src/upstreams/sql/statements.ts'
import { type Dialect, tokens } from '../src/upstreams/sql/tokens.ts'

type Row = {
  readonly sql: string
  readonly dialect?: Dialect
  readonly database?: string
  readonly actions: readonly (readonly [string, string, string])[]
}
const rows = JSON.parse(readFileSync(new URL('tables/sql.json', import.meta.url), 'utf8')) as readonly Row[]

const read = (sql: string, dialect: Dialect = 'any', database?: string): readonly Action[] =>
  statements(sql, { dialect, database })

it.each(rows)('$sql', row => {
  const actions = read(row.sql, row.dialect, row.database)
  expect(actions.map(({ name, resource, access }) => [name, resource, access])).toEqual(row.actions)
  for (const { name, unknown } of actions) if (name === 'sql:unknown') expect(unknown).toEqual(['*'])
})

describe('tells a table only where all are plain names', () => {
  it.each([
    ['SELECT * FROM db.a', true],
    ['SELECT * FROM a', false],
    ['SELECT * FROM db.a JOIN db.b ON 1', true],
    ["SELECT * FROM url('x')", false],
    ["SELECT * FROM db.a JOIN url('x') u ON 1", false],
    ['SELECT * FROM {t:Identifier}', false],
    ['SELECT * FROM (SELECT 1) t, secrets', false],
    ['SELECT * FROM a.b.c', false],
    ['RENAME TABLE db.a TO db.b', false],
    ['ALTER TABLE db.a RENAME TO b', false],
    ['DROP DATABASE prod', false],
    ['CREATE USER bob', false],
    ['KILL QUERY WHERE 1', false],
    ['INSERT INTO FUNCTION file(1) SELECT 1', false],
    ['DELETE FROM db.a', true],
    ['SELECT * FROM db.a JOIN db.b ON a.x = b.x, db.secrets', false],
    ['SELECT * FROM db.a AS x FINAL, db.secrets', false],
    ['SELECT a, b FROM db.a ORDER BY c, d', true],
    ['SELECT * FROM db.a AS where JOIN db.b ON 1 = 1, db.secrets', false],
    ["SELECT joinGet('db.secrets', 'x', 1) FROM db.a", false],
    ["SELECT dictGet('secrets', 'x', 1) FROM db.a", false],
    ["DESC url('x')", false],
    ["SELECT * FROM db.a SETTINGS max_threads = 1, additional_table_filters = {'db.a': 'x'}", false],
    ['SELECT * FROM db.a SETTINGS max_threads = 1, max_rows_to_read = 5', true],
    ['UPDATE db.a, db.b SET x = 1', false],
    ['UPDATE db.a JOIN db.b ON 1 = 1 SET x = 1', false],
    ['DELETE db.a FROM db.a JOIN db.b ON 1 = 1', false],
    ['EXPLAIN SELECT * FROM db.a', true],
    ['EXPLAIN SYNTAX x', false],
  ])('%s: %s', (sql, told) => {
    const [first] = read(sql, 'clickhouse')
    expect(first?.unknown === undefined).toBe(told)
  })
})

it('names database, table and the shape of the statement, without its texts and numbers', () => {
  expect(read(`delete  from prod.users -- x\n where name = 'o''hara' and "Id" IN (1, 2)`)).toEqual([
    {
      name: 'sql:delete',
      resource: 'prod.users',
      access: 'write',
      fields: {
        database: 'prod',
        table: 'users',
        statement: 'delete from prod.users where name = ? and "?" IN(?, ?)',
      },
    },
  ])
})

it('shows a quoted name in a statement only where it is the table: to MySQL it is a text', () => {
  const [made] = read('INSERT INTO "users" (name) VALUES ("hunter2")')
  expect(made?.fields.statement).toBe('INSERT INTO "users"(name) VALUES("?")')
})

it('does not tell the table of an update whose target is another name of one that it reads', () => {
  const told = (sql: string): boolean => read(sql, 'any', 'db')[0]?.unknown === undefined
  expect(told('UPDATE x SET a = 1 FROM secrets x')).toBe(false)
  expect(told('DELETE FROM x FROM secrets AS x')).toBe(false)
  expect(told('UPDATE a SET x = b.x FROM b')).toBe(true)
  expect(told('SELECT [a, b] FROM [secrets]')).toBe(false)
})

it.each([
  ['INSERT INTO t SELECT x AS FORMAT UNION', false],
  ['INSERT INTO t SELECT 1 AS VALUES', false],
  ['INSERT INTO t VALUES', true],
  ['INSERT INTO t FORMAT JSONEachRow', true],
  ['INSERT INTO t', false],
  ['INSERT INTO t SELECT * FROM', false],
  ['SELECT 1 FORMAT JSON', false],
  ['SELECT 1; INSERT INTO t VALUES', false],
])('%s awaits rows: %s', (sql, awaited) => {
  expect(awaitsRows(sql, 'clickhouse')).toBe(awaited)
})

// Whatever stands in a text, a quoted name or a comment is no statement; whatever stands outside of them is.
it('finds a write wherever it stands outside of quotes, and never inside', () => {
  const filler = fc.constantFrom(' ', '\n', "'x'", '"y"', '/* z */', '-- c\n', '(1)', ', a', ' AND b = 2 ')
  fc.assert(
    fc.property(fc.array(filler, { maxLength: 8 }), fc.array(filler, { maxLength: 8 }), (before, after) => {
      const actions = read(`SELECT 1 ${before.join('')} DELETE FROM users ${after.join('')}`)
      expect(actions.every(({ access }) => access === 'read')).toBe(false)
      const hidden = `/* ${before.join('').replaceAll('*/', '').replaceAll('/*', '')} DELETE FROM users */`
      expect(read(`SELECT 1 ${hidden}`).map(({ name }) => name)).not.toContain('sql:delete')
    }),
  )
})

it('takes every text apart without throwing', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc.constantFrom<Dialect>('any', 'clickhouse', 'influx'),
      (text, dialect) => {
        tokens(text, dialect)
        expect(read(text, dialect).length).toBeGreaterThan(0)
      },
    ),
  )
})
