// Databases behind the gate, asked by their own clients: reads pass, what destroys is held with its statement to read, and is done once.
import { createClient } from '@clickhouse/client'
import { Client } from '@elastic/elasticsearch'
import { buildSchema, graphql } from 'graphql'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, startClickHouse, startElasticsearch, startInfluxDb, startRows } from '../support/databases.ts'
import { eventually } from '../support/eventually.ts'
import { people } from '../support/people.ts'
import { type Desk, type Stage, startStage, waiting } from '../support/stage.ts'
import { type Answer, type Seen, startUpstream, type Upstream } from '../support/upstream.ts'

const rules = `
defaults:
  approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
rules:
  - { name: reads, match: { access: read }, then: allow }
  - { name: rows, match: { upstream: [clickhouse, influx], action: "sql:insert" }, then: allow }
  - name: slow
    match: { upstream: es, action: "es:indices.delete", resource: slow }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 1s }
  - { name: few-rows, match: { upstream: rest, action: "postgrest:delete", fields: { filtered: "yes" } }, then: allow }
  - { name: the-rest, match: { upstream: "*" }, then: hold }
`

const schema = buildSchema('type Query { users: [String] } type Mutation { deleteUser(id: ID!): Boolean }')
const deleted: string[] = []
const rootValue = {
  users: ['ana'],
  deleteUser: ({ id }: { readonly id: string }) => {
    deleted.push(id)
    return true
  },
}
const answerGraphql = async ({ body }: Seen): Promise<Answer> => {
  const { query, variables } = JSON.parse(body) as { readonly query: string; readonly variables?: object }
  const result = await graphql({ schema, source: query, rootValue, variableValues: { ...variables } })
  return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(result) }
}

let clickhouse: Database
let influx: Database
let es: Upstream
let rest: Upstream
let graph: Upstream
let stage: Stage
let ana: Desk

beforeAll(async () => {
  ;[clickhouse, influx, es, rest, graph] = await Promise.all([
    startClickHouse('of-the-gate'),
    startInfluxDb(),
    startElasticsearch(),
    startRows(),
    startUpstream(answerGraphql),
  ])
  stage = await startStage({
    rules,
    config: {
      upstreams: [
        {
          name: 'clickhouse',
          kind: 'clickhouse',
          url: clickhouse.url,
          at: { prefix: '/clickhouse' },
          credential: { headers: { 'X-ClickHouse-User': 'default', 'X-ClickHouse-Key': 'of-the-gate' } },
        },
        { name: 'influx', kind: 'influxdb', url: influx.url, at: { prefix: '/influx' } },
        { name: 'es', kind: 'elasticsearch', url: es.url, at: { prefix: '/es' } },
        { name: 'rest', kind: 'postgrest', url: rest.url, at: { prefix: '/rest' } },
        { name: 'neon', kind: 'sql', url: rest.url, at: { prefix: '/neon' } },
        { name: 'graph', kind: 'graphql', url: `${graph.url}/graphql`, at: { prefix: '/graph' } },
      ],
    },
  })
  ana = await stage.desk(people.ana)
})
afterAll(async () => {
  await stage?.close()
  await Promise.all([clickhouse, influx, es, rest, graph].map(one => one?.close()))
})

/** What the reviewer sees of the one hold there is, and lets go. */
const approved = async (): Promise<{ readonly line: string; readonly shown: string }> => {
  const { id } = await waiting(ana)
  const hold = await ana.hold(id)
  expect(await ana.approve(id)).toMatchObject({ status: 200 })
  return { line: String(hold.line), shown: JSON.stringify(hold) }
}

const json = { 'content-type': 'application/json' }

test('ClickHouse, by its own client: a table is read and written, and dropped once it is approved', async () => {
  const client = createClient({
    url: stage.holdpoint.gate,
    pathname: '/clickhouse',
    access_token: stage.token,
    compression: { request: false, response: false },
  })
  const made = client.command({ query: 'CREATE TABLE default.logs (x UInt8) ENGINE = Memory' })
  expect((await approved()).line).toBe('sql:create default.logs')
  await made
  await client.insert({ table: 'default.logs', values: [{ x: 7 }], format: 'JSONEachRow' })
  const rows = await client.query({ query: 'SELECT x FROM default.logs', format: 'JSONEachRow' })
  expect(await rows.json()).toEqual([{ x: 7 }])
  const dropped = client.command({ query: 'DROP TABLE default.logs' })
  const { line, shown } = await approved()
  expect(line).toBe('sql:drop default.logs')
  expect(shown).toContain('DROP TABLE default.logs')
  await dropped
  await expect(client.query({ query: 'SELECT x FROM default.logs' }).then(one => one.text())).rejects.toThrow(/logs/)
  await client.close()
})

test('InfluxDB: points are written and read, and a database is dropped once it is approved', async () => {
  const ask = (q: string) =>
    stage.call('POST', '/influx/query?db=m', {
      body: new URLSearchParams({ q }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
  const made = ask('CREATE DATABASE m')
  await approved()
  expect((await made).status).toBe(200)
  expect((await stage.call('POST', '/influx/write?db=m', { body: 'cpu v=1' })).status).toBe(204)
  expect((await ask('SELECT * FROM cpu')).body).toContain('"cpu"')
  const dropped = ask('DROP DATABASE m')
  expect((await approved()).shown).toContain('DROP DATABASE m')
  expect((await dropped).status).toBe(200)
  const user = ask("CREATE USER eve WITH PASSWORD 'hunter2xQ'")
  const { id } = await waiting(ana)
  const shown = JSON.stringify(await ana.hold(id))
  expect(shown).toContain('CREATE USER eve WITH PASSWORD')
  expect(shown).not.toContain('hunter2xQ')
  // Nobody looked at what is hidden, so it is not approved like that.
  expect((await ana.approve(id)).json).toMatchObject({ code: 'values_unseen' })
  await ana.deny(id)
  expect((await user).status).toBe(403)
})

test('Elasticsearch, by its own client: its retries come back to the hold, and an index is deleted once', async () => {
  const client = new Client({
    node: `${stage.holdpoint.gate}/es`,
    auth: { bearer: stage.token },
    maxRetries: 8,
    requestTimeout: 30_000,
  })
  expect((await client.search({ index: 'logs', query: { match_all: {} } })).hits.hits).toHaveLength(1)
  let tries = 0
  client.diagnostic.on('request', () => {
    tries += 1
  })
  const removed = client.indices.delete({ index: 'slow' })
  const { id } = await waiting(ana)
  expect((await ana.hold(id)).line).toBe('es:indices.delete slow')
  await eventually(async () => (tries > 1 ? true : undefined))
  expect(await ana.pending()).toHaveLength(1)
  await ana.approve(id)
  expect(await removed).toEqual({ acknowledged: true })
  expect(es.seen.filter(({ method }) => method === 'DELETE')).toHaveLength(1)
  const bulk = client.bulk({ operations: [{ delete: { _index: 'logs', _id: '1' } }] })
  expect((await approved()).line).toBe('es:delete logs')
  expect((await bulk).errors).toBe(false)
  const denied = client.indices.delete({ index: 'logs' }).catch((error: Error) => error.message)
  await ana.deny((await waiting(ana)).id, 'Not the logs.')
  expect(await denied).toContain('Not the logs.')
})

test('GraphQL: a query passes, and a mutation runs once when it is approved', async () => {
  const ask = (query: string, variables = {}) =>
    stage.call('POST', '/graph', { headers: json, body: JSON.stringify({ query, variables }) })
  expect((await ask('{ users }')).json).toEqual({ data: { users: ['ana'] } })
  const removed = ask('mutation($id: ID!) { user: deleteUser(id: $id) }', { id: '7' })
  const { line, shown } = await approved()
  expect(line).toBe('graphql:mutation deleteUser')
  expect(shown).toContain('deleteUser(id: $id)')
  expect((await removed).json).toEqual({ data: { user: true } })
  expect(deleted).toEqual(['7'])
})

test('PostgREST and Neon: few rows pass, all of them are held', async () => {
  expect((await stage.call('DELETE', '/rest/orders?id=eq.1')).status).toBe(204)
  const all = stage.call('DELETE', '/rest/orders?select=*,items(*)&items.id=eq.1')
  expect((await approved()).line).toBe('postgrest:delete orders')
  expect((await all).status).toBe(204)
  const neon = (query: string) =>
    stage.call('POST', '/neon/sql', { headers: json, body: JSON.stringify({ query, params: [] }) })
  expect((await neon('SELECT * FROM users')).status).toBe(200)
  const dropped = neon('WITH x AS (DELETE FROM users RETURNING *) SELECT * FROM x')
  expect((await approved()).line).toBe('sql:delete users')
  expect((await dropped).status).toBe(200)
})
