// Elasticsearch: what a request would do, by the table; where a body may be, and how a refusal looks.
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { HoldpointError, problem } from '../src/errors.ts'
import type { Action } from '../src/nouns.ts'
import { elasticsearch } from '../src/upstreams/elasticsearch.ts'
import { type SeenRow, seenOf } from './support/seen.ts'

type Row = SeenRow & { readonly name: string; readonly actions: readonly (readonly [string, string, string])[] }
const rows = JSON.parse(readFileSync(new URL('tables/elasticsearch.json', import.meta.url), 'utf8')) as readonly Row[]

it.each(rows)('$name', row => {
  const actions = elasticsearch.describe(seenOf(row))
  if (actions === 'unread') throw new Error('the body is there')
  expect(actions.map(({ name, resource, access }) => [name, resource, access])).toEqual(row.actions)
  for (const { name, unknown } of actions) if (name === 'es:unknown') expect(unknown).toEqual(['*'])
})

it.each([
  ['/logs/_search?index=b', 'another index may be meant'],
  ['/_search/scroll', 'the index is in the scroll'],
  ['/_sql', 'the table is in the statement'],
])('does not tell the index of %s: %s', target => {
  const [path = '', query] = target.split('?')
  const actions = elasticsearch.describe(seenOf({ method: 'GET', path, ...(query === undefined ? {} : { query }) }))
  expect(actions).toEqual([expect.objectContaining({ unknown: ['resource', 'index'] })])
})

it.each([
  ['logs', false],
  ['logs-*', true],
  ['_all', true],
  ['<logs-{now}>', true],
  ['-logs-1', true],
  ['logs?', true],
])('takes the index %s for a pattern: %s', (index, pattern) => {
  const [action] = elasticsearch.describe(seenOf({ method: 'GET', path: `/${index}/_search` })) as readonly Action[]
  expect(action?.patterns).toEqual(pattern ? ['resource', 'index'] : undefined)
})

it.each([
  ['PUT', '/logs/_doc/1', 'pipeline=p'],
  ['POST', '/logs/_clone/other', undefined],
  ['PUT', '/logs/_alias/other', undefined],
])('does not tell the index of %s %s?%s: another one may be meant besides', (method, path, query) => {
  const [action] = elasticsearch.describe(
    seenOf({ method, path, ...(query === undefined ? {} : { query }) }),
  ) as readonly Action[]
  expect(action?.unknown).toEqual(['resource', 'index'])
})

it('asks for a body only where it matters', () => {
  const unread = (method: string, path: string): unknown =>
    elasticsearch.describe({ ...seenOf({ method, path }), body: { kind: 'unread' } })
  expect(unread('POST', '/_bulk')).toBe('unread')
  expect(unread('POST', '/logs/_search')).toBe('unread')
  expect(unread('PUT', '/logs/_doc/1')).toHaveLength(1)
  expect(unread('DELETE', '/logs')).toHaveLength(1)
})

it.each(['source', 'source_content_type', 'Source'])('refuses a body in the address (%s)', name => {
  expect(() => elasticsearch.describe(seenOf({ method: 'GET', path: '/logs/_search', query: `${name}=x` }))).toThrow(
    expect.objectContaining({ code: 'malformed' }),
  )
})

it('refuses in the shape its clients print', () => {
  const error = new HoldpointError('hold_denied', 'Not today.')
  const { headers, body } = elasticsearch.refusal(error, problem(error), undefined)
  expect(headers).toContainEqual(['X-Elastic-Product', 'Elasticsearch'])
  expect(JSON.parse(String(body))).toMatchObject({
    status: 403,
    error: { type: 'holdpoint_hold_denied', reason: 'Not today.', holdpoint: { code: 'hold_denied' } },
  })
})
