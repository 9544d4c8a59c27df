// MCP: what a message would do, by the table; what of it changes from retry to retry; how refusals and answers look.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HoldpointError, problem } from '../src/errors.ts'
import { withoutValues } from '../src/json.ts'
import type { Header } from '../src/nouns.ts'
import { mcp } from '../src/upstreams/mcp.ts'
import { type SeenRow, seenOf } from './support/seen.ts'

type Row = SeenRow & {
  readonly name: string
  readonly actions: readonly (readonly [string, string, string])[] | 'malformed'
  readonly unknown?: readonly string[]
}
const rows = JSON.parse(readFileSync(new URL('tables/mcp.json', import.meta.url), 'utf8')) as readonly Row[]

it.each(rows)('$name', row => {
  if (row.actions === 'malformed')
    return expect(() => mcp.describe(seenOf(row, '/mcp'))).toThrow(expect.objectContaining({ code: 'malformed' }))
  const actions = mcp.describe(seenOf(row, '/mcp'))
  if (actions === 'unread') throw new Error('the body is there')
  expect(actions.map(({ name, resource, access }) => [name, resource, access])).toEqual(row.actions)
  for (const { name, unknown } of actions) expect(unknown).toEqual(name === 'mcp:unknown' ? ['*'] : row.unknown)
})

const call = (name: string, more: object = {}) => ({
  jsonrpc: '2.0',
  id: 7,
  method: 'tools/call',
  params: { name, ...more },
})

it('says which tool, and asks for a body that is not there yet', () => {
  const seen = seenOf({ json: call('delete_repo') })
  expect(mcp.describe(seen)).toMatchObject([{ fields: { method: 'tools/call', tool: 'delete_repo' } }])
  expect(mcp.describe({ ...seen, body: { kind: 'unread' } })).toBe('unread')
})

it.each<[unknown, string | undefined]>([
  [call('x', { _meta: { reason: ' Clean up ' } }), 'Clean up'],
  [[call('x'), call('y', { _meta: { reason: 'Second' } })], 'Second'],
  [call('x', { _meta: { reason: ['no'] } }), undefined],
  [call('x', { _meta: 'reason' }), undefined],
  [call('x'), undefined],
])('finds the reason of %j', (json, reason) => {
  expect(mcp.reason?.(seenOf({ json }).body)).toBe(reason)
})

describe('what changes from retry to retry', () => {
  const paths = (mcp.volatileJson ?? []).map(pointer => pointer.slice(1).split('/'))
  const left = (text: string): string => Buffer.from(withoutValues(Buffer.from(text), paths)).toString()

  it.each([
    ['{"id":1,"method":"m"}', '{"id":,"method":"m"}'],
    ['{"method":"m","id":"x\\"y"}', '{"method":"m","id":}'],
    [
      '{ "params" : {"_meta":{"progressToken": 5 , "a":1}}, "id":2 }',
      '{ "params" : {"_meta":{"progressToken":  , "a":1}}, "id": }',
    ],
    ['{"params":{"id":1,"_meta":{}}}', '{"params":{"id":1,"_meta":{}}}'],
    ['{"id":{"a":1}}', '{"id":{"a":1}}'],
    ['{"id":null}', '{"id":null}'],
    ['[{"id":1}]', '[{"id":1}]'],
    ['{}', '{}'],
  ])('%s', (text, expected) => expect(left(text)).toBe(expected))

  it('is nothing else', () => {
    fc.assert(
      fc.property(fc.json(), fc.json(), fc.nat(), fc.string(), (one, other, id, token) => {
        const body = (params: string, id: unknown): string =>
          `{"id":${JSON.stringify(id)},"params":{"_meta":{"progressToken":${JSON.stringify(token)}},"a":${params}}}`
        try {
          expect(left(body(one, id)) === left(body(other, id + 1))).toBe(one === other)
        } catch (error) {
          // A number or a name that parseStrict refuses never gets here.
          if (!/given twice|too large|surrogate|nested/.test(String(error))) throw error
        }
      }),
    )
  })
})

describe('a refusal', () => {
  const streamed = { Accept: 'application/json, text/event-stream' }
  const refused = (code: 'hold_denied' | 'unauthenticated' | 'no_route' | 'malformed', row: SeenRow) => {
    const { call, body } = seenOf(row)
    const error = new HoldpointError(code, 'Not today.')
    const { status, body: text } = mcp.refusal(error, problem(error), call, body)
    // What is kept of a held call's body gives the same refusal, and nothing of its arguments is kept.
    const kept = mcp.refusalNeeds?.(body)
    expect(mcp.refusal(error, problem(error), call, kept)).toMatchObject({ status, body: text })
    expect(JSON.stringify(kept)).not.toMatch(/params|arguments/)
    return { status, json: JSON.parse(String(text)) as unknown }
  }

  it('of a request is an answer to it', () => {
    expect(refused('hold_denied', { json: call('x'), headers: streamed })).toEqual({
      status: 200,
      json: {
        jsonrpc: '2.0',
        id: 7,
        error: {
          code: -32050,
          message: 'Not today.',
          data: expect.objectContaining({ code: 'hold_denied', status: 403 }),
        },
      },
    })
    expect(
      refused('hold_denied', { json: [call('x'), { ...call('y'), id: 8 }], headers: streamed }).json,
    ).toMatchObject([{ id: 7 }, { id: 8 }])
    expect(refused('malformed', { json: call('x'), headers: streamed }).json).toMatchObject({ error: { code: -32600 } })
  })

  it.each<[string, Parameters<typeof refused>, number]>([
    [
      'nobody waits for as an answer',
      ['hold_denied', { json: { ...call('x'), id: undefined }, headers: streamed }],
      400,
    ],
    ['the older transport only sees by its status', ['hold_denied', { json: call('x') }], 400],
    ['is about the sign-in', ['unauthenticated', { json: call('x'), headers: streamed }], 401],
    ['is about the stream', ['hold_denied', { method: 'GET' }], 405],
    ['must not end a session', ['no_route', { method: 'DELETE' }], 400],
  ])('that %s has a status of its own', (_, [code, row], status) => {
    expect(refused(code, row)).toMatchObject({ status, json: { error: { data: { code } } } })
  })
})

describe('an answer for another request', () => {
  const adapted = (chunks: readonly string[], type: string, open: boolean, more: readonly Header[] = []) => {
    const { call: sent, body } = seenOf({ json: call('x', { _meta: { progressToken: 'mine' } }) })
    const answer = mcp
      .answering?.(sent, body)
      ?.adapted(200, [['Content-Type', type], ['Content-Length', '9'], ...more], { open, limit: 200 })
    if (answer === undefined) throw new Error('a request is answered')
    return [...chunks.map(chunk => String(answer.data(Buffer.from(chunk)))), String(answer.end())].join('')
  }
  const result = '{"jsonrpc":"2.0","id":1,"result":{"n":12345678901234567890}}'
  const mine = '{"jsonrpc":"2.0","id":7,"result":{"n":12345678901234567890}}'

  it.each<[string, string, boolean, string]>([
    ['a document', result, false, mine],
    ['a document in an open stream', `${result}\n`, true, `event: message\ndata: ${mine}\n\n`],
  ])('%s', (_, text, open, expected) => expect(adapted([text], 'application/json; charset=utf-8', open)).toBe(expected))

  it('events, however they are cut', () => {
    const asks = 'id: 4\r\ndata: {"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}'
    const progress =
      'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}'
    const text = `: hello\n\n${asks}\r\n\r\n${progress}\n\nevent: message\rdata: ${result}\r\rdata: {"jsonrpc":`
    const expected = `: hello\n\n${asks.replace('\r', '')}\n\n${progress.replace(':3', ':"mine"')}\n\nevent: message\ndata: ${mine}\n\n`
    for (let at = 0; at <= text.length; at++) {
      // CR and LF that come apart make an empty event, which says nothing.
      const got = adapted([text.slice(0, at), text.slice(at)], 'text/event-stream', true)
      expect(got.replaceAll('\n\n\n', '\n\n')).toBe(expected)
    }
  })

  it('what is no message is an error in an open stream, and goes on as it is without one', () => {
    for (const [type, text] of [
      ['text/html', '<p>'],
      ['application/json', '{"error":"x"}'],
      ['application/json', '{'],
    ] as const) {
      expect(adapted([text], type, true)).toMatch(
        /^event: message\ndata: \{"jsonrpc":"2.0","id":7,"error":\{"code":-32603/,
      )
      expect(adapted([text], type, false)).toBe(text)
    }
    expect(adapted([result], 'application/json', true, [['Content-Encoding', 'gzip']])).toMatch(/-32603/)
  })

  it('keeps no more of it than it may', () => {
    expect(() => adapted(['x'.repeat(300)], 'application/json', true)).toThrow(/larger/)
    expect(() => adapted(['data: '.repeat(60)], 'text/event-stream', false)).toThrow(/larger/)
  })
})
