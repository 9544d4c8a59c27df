// Requests as the HTTP/1.1 client writes them, byte by byte, and their bodies as they stream: cut short, too long, broken, slow.
import { once } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Header } from '../src/nouns.ts'
import type { Asked } from '../src/wire/exchange.ts'
import { bindsConnection, writeHead } from '../src/wire/request.ts'
import { ask, lined, listening, plain, pooled, recording, turn } from './support/exchange.ts'

describe('a request is written', () => {
  const asked = (more: Partial<Asked>): string => writeHead({ ...plain, ...more }, 'up:81').text
  const chunked = (async function* () {})()

  test.each<[string, Partial<Asked>, string]>([
    ['with nothing', {}, 'GET / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\n\r\n'],
    [
      'with header lines as they are',
      {
        headers: [
          ['X-B', ' a\t\xe9 '],
          ['x-a', ''],
          ['X-b', 'c: d'],
        ],
      },
      'GET / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\nX-B:  a\t\xe9 \r\nx-a: \r\nX-b: c: d\r\n\r\n',
    ],
    [
      'with its target as it is',
      { target: '/\xff/%0a?a=b#c' },
      'GET /\xff/%0a?a=b#c HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\n\r\n',
    ],
    [
      'with a Host of its own, in its place',
      {
        headers: [
          ['X-A', '1'],
          ['HOST', 'b'],
        ],
      },
      'GET / HTTP/1.1\r\nhost: b\r\nconnection: keep-alive\r\nX-A: 1\r\n\r\n',
    ],
    ['on a connection of its own', { fresh: true }, 'GET / HTTP/1.1\r\nhost: up:81\r\nconnection: close\r\n\r\n'],
    [
      'for a tunnel',
      { upgrade: 'websocket', fresh: true },
      'GET / HTTP/1.1\r\nhost: up:81\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    ],
    [
      'without a body, where one is expected',
      { method: 'PATCH' },
      'PATCH / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n',
    ],
    [
      'with a body of a length',
      { method: 'DELETE', body: chunked, length: 7 },
      'DELETE / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\ncontent-length: 7\r\n\r\n',
    ],
    [
      'with a body in chunks',
      { method: 'DELETE', body: chunked },
      'DELETE / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n',
    ],
    [
      'with the length that its bytes have',
      { body: Buffer.from('abc'), length: 7 },
      'GET / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\n',
    ],
    [
      'with the length that its bytes have, though none was said',
      { body: Buffer.from('abc') },
      'GET / HTTP/1.1\r\nhost: up:81\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\n',
    ],
  ])('%s', (_, more, head) => {
    expect(asked(more)).toBe(head)
  })

  test.each<[string, Partial<Asked>]>([
    ...['', 'GE T', 'GET\r\n', 'G\xc9T', 'GET /', 'CONNECT'].map((method): [string, Partial<Asked>] => [
      'method',
      { method },
    ]),
    ...[
      '',
      '*',
      'x',
      'http://a/',
      '/ ',
      '/a b',
      '/\t',
      '/\r\n',
      '/\n',
      '/\0',
      '/\x7f',
      '/\u0100',
      '/a HTTP/1.1\r\nX: y',
    ].map((target): [string, Partial<Asked>] => ['target', { target }]),
    ...['', ' ', 'X A', 'X-A ', ' X-A', 'X:A', 'X\r\n', 'X\n', 'X\0', 'X-\xe9', 'X-\u212a', 'X-\u0130'].map(
      (name): [string, Partial<Asked>] => ['name', { headers: [[name, '1']] }],
    ),
    ...['a\r\nX: y', 'a\n', 'a\r', '\0', '\x1b', '\x7f', '\u0100', 'a\u560a'].map((value): [string, Partial<Asked>] => [
      'value',
      { headers: [['X-A', value]] },
    ]),
    ...['a\r\nX: y', '\0', '\u0100'].map((value): [string, Partial<Asked>] => ['Host', { headers: [['Host', value]] }]),
    ...'Connection Content-Length EXPECT keep-alive TE Trailer transfer-encoding Upgrade'
      .split(' ')
      .map((name): [string, Partial<Asked>] => ['name', { headers: [[name, '1']] }]),
    [
      'second Host',
      {
        headers: [
          ['Host', 'a'],
          ['host', 'a'],
        ],
      },
    ],
    ...[-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53].map((length): [string, Partial<Asked>] => [
      'length',
      { body: chunked, length },
    ]),
  ])('never with this %s: %j', async (_, more) => {
    expect(() => asked(more)).toThrow()
    const recorder = await recording()
    expect((await ask(pooled(recorder.url), more).over).words).toEqual(['failed'])
    expect(recorder.connections).toEqual([])
  })

  test('as one head, whatever it is made of', () => {
    const any = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom('\r', '\n', ' ', ':', 'a', '\0', '\xe9', '\u010d') }),
    )
    fc.assert(
      fc.property(any, any, fc.array(fc.tuple(any, any), { maxLength: 3 }), (method, path, headers) => {
        let head: string
        try {
          head = asked({ method, target: `/${path}`, headers })
        } catch {
          return
        }
        const [first = '', ...rest] = head.split('\r\n')
        expect(rest.slice(-2)).toEqual(['', ''])
        expect(first).toBe(`${method} /${path} HTTP/1.1`)
        expect(first.split(' ')).toHaveLength(3)
        const framed = head.includes('content-length') ? 1 : 0
        expect(rest).toHaveLength(2 + headers.filter(([name]) => name.toLowerCase() !== 'host').length + framed + 2)
        expect(head).not.toMatch(/[^\r]\n|\r[^\n]|[^\x00-\xff]/)
      }),
      { numRuns: 500 },
    )
  })
})

test.each([
  [[['Authorization', 'NTLM x']], true],
  [[['authorization', 'negotiate']], true],
  [[['X-Authorization', 'NTLM x']], false],
  [[['Authorization', 'Digest negotiate']], false],
  [[], false],
] as const)('%j signs its connection in: %j', (headers, binds) => {
  expect(bindsConnection(headers as readonly Header[])).toBe(binds)
})

describe('a body', () => {
  async function* pieces(...all: readonly (string | Error | Promise<void>)[]) {
    for (const piece of all) {
      if (piece instanceof Error) throw piece
      if (piece instanceof Promise) await piece
      else yield Buffer.from(piece)
    }
  }

  test.each([
    ['longer than was said', () => pieces('abc', 'def'), 5],
    ['shorter than was said', () => pieces('abc'), 5],
    ['that throws', () => pieces('abc', new Error('no')), 5],
    ['that throws, in chunks', () => pieces('abc', new Error('no')), undefined],
    ['that throws at once', () => pieces(new Error('no')), undefined],
  ])('%s never looks like a whole one', async (_, body, length) => {
    const recorder = await recording()
    const transport = pooled(recorder.url)
    const { words } = await ask(transport, { method: 'POST', body: body(), length }).over
    expect(words).toEqual(['started', 'failed'])
    await recorder.idle()
    expect(recorder.requests).toEqual([])
    expect(recorder.connections.join('')).not.toMatch(/def|\r\n0\r\n/)
    expect((await ask(transport).over).body).toBe('ok\n')
  })

  test('with pieces that are empty is not ended by them', async () => {
    const recorder = await recording()
    await ask(pooled(recorder.url), { method: 'POST', body: pieces('', 'abc', '', 'd', '') }).over
    expect(recorder.requests.map(request => String(request.body))).toEqual(['abcd'])
    expect(String(recorder.connections[0])).toMatch(/\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n$/)
  })

  test('that comes slowly is not the upstream taking too long', async () => {
    const heard = listening()
    const later = Promise.withResolvers<void>()
    const { one, upstream, socket } = await lined(
      { method: 'POST', body: pieces('abc', later.promise, 'def'), headersMs: 1_000 },
      heard.answering,
    )
    let got = ''
    upstream.on('data', bytes => {
      got += bytes
    })
    while (!got.includes('abc')) await once(upstream, 'data')
    one.check(performance.now() + 1_000_000)
    expect(socket.destroyed).toBe(false)
    later.resolve()
    while (!got.endsWith('0\r\n\r\n')) await once(upstream, 'data')
    one.check(performance.now())
    expect(socket.destroyed).toBe(false)
    one.check(performance.now() + 1_000)
    expect((await heard.over).words).toEqual(['started', 'timeout'])
  })

  test('that the upstream does not take is', async () => {
    const heard = listening()
    async function* endless() {
      for (;;) yield Buffer.alloc(1 << 16)
    }
    const { one, upstream, socket } = await lined(
      { method: 'POST', body: endless(), headersMs: 1_000 },
      heard.answering,
    )
    upstream.pause()
    while (!socket.writableNeedDrain) await turn()
    one.check(performance.now() + 1_000)
    expect((await heard.over).words).toEqual(['started', 'timeout'])
  })
})
