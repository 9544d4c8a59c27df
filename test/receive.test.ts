import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import type { Call } from '../src/nouns.ts'
import { doubts, endToEnd, methods, settle } from '../src/receive.ts'
import { callOf, type Head, refusalOf, upstreamOf } from './support/heads.ts'
import heads from './tables/heads.json' with { type: 'json' }
import hosts from './tables/hosts.json' with { type: 'json' }
import targets from './tables/targets.json' with { type: 'json' }

const lenient = upstreamOf({
  encodedSlash: 'keep',
  doubleSlash: 'keep',
  pathParameters: 'keep',
  getBody: true,
  underscores: 'drop',
})

describe('targets', () => {
  type Row = {
    why: string
    target: string
    /** Follows `target` and `path`: this text, so many times. */
    repeat?: (string | number)[]
    refused?: string
    code?: string
    path?: string
    doubt?: string
    readings?: string[]
    query?: string[][]
  }

  it.each((targets as Row[]).map(row => [row.why, row] as const))('%s', (_, row) => {
    const more = String(row.repeat?.[0] ?? '').repeat(Number(row.repeat?.[1] ?? 0))
    const target = row.target + more
    const take = (): Call => callOf({ target })
    if (row.refused !== undefined) {
      const error = refusalOf(take)
      expect(error.code).toBe(row.code ?? 'malformed')
      expect(error.detail).toContain(row.refused)
      return
    }
    const call = take()
    const mark = target.indexOf('?')
    const path = row.path + (mark < 0 ? more : '')
    expect(call).toMatchObject({ target, path, rawPath: mark < 0 ? target : target.slice(0, mark) })
    expect(call.rawQuery).toBe(mark < 0 ? undefined : target.slice(mark + 1))
    if (row.query !== undefined) expect(call.query).toEqual(row.query)
    expect(doubts(call).map(doubt => doubt.key)).toEqual(row.doubt === undefined ? [] : [row.doubt])
    if (row.doubt !== undefined) {
      for (const strict of [upstreamOf(), undefined]) {
        expect(refusalOf(() => settle(call, strict)).detail).toContain(row.doubt)
      }
    }
    expect(settle(call, lenient)).toEqual(row.readings ?? [path])
  })

  it('takes `*` with OPTIONS only', () => {
    expect(callOf({ method: 'OPTIONS', target: '*' }).path).toBe('*')
  })

  it('opts in by its own key only', () => {
    const rows = { encodedSlash: '/a%2Fb', doubleSlash: '/a//b', pathParameters: '/a;b' } as const
    for (const [key, target] of Object.entries(rows)) {
      for (const other of Object.keys(rows)) {
        const run = () => settle(callOf({ target }), upstreamOf({ [other]: 'keep' }))
        if (key === other) expect(run()[0]).toBe(target)
        else expect(refusalOf(run).code).toBe('malformed')
      }
    }
  })

  it('gives every combination of readings', () => {
    const paths = settle(callOf({ target: '/A;p%2FB//c%3Ad.' }), { ...lenient, caseSensitive: false })
    expect(paths[0]).toBe('/A;p%2FB//c%3Ad.')
    for (const path of ['/A/B/c:d', '/a/b/c:d', '/a/b//c%3Ad.', '/A//c:d', '/a/c:d', '/A;p/B//c:d.']) {
      expect(paths).toContain(path)
    }
  })

  it('folds case without touching escapes, for upstreams that do', () => {
    const folding = upstreamOf({ caseSensitive: false, at: { prefix: '/Api' } })
    expect(settle(callOf({ target: '/Api/ADMIN%3Fx/%C3%84' }), folding)).toEqual([
      '/Api/ADMIN%3Fx/%C3%84',
      '/Api/admin%3Fx/%C3%A4',
    ])
    expect(settle(callOf({ target: '/ADMIN' }), upstreamOf())).toEqual(['/ADMIN'])
  })

  it('leaves the prefix of an upstream in front of every reading', () => {
    const at = upstreamOf({ at: { prefix: '/v1%3Ax' }, pathParameters: 'keep' })
    expect(settle(callOf({ target: '/v1%3Ax/a;b' }), at)).toEqual(['/v1%3Ax/a;b', '/v1%3Ax/a'])
  })
})

describe('targets, as properties', () => {
  const special =
    '/ . .. %2f %2F %5c \\ ; %3b %2e %2E %25 %20 %00 %c0%af %ef%bc%8f ? # // a B : %3a %41 ~ %7e %C3%A4 @ *'.split(' ')
  const piece = fc.oneof(fc.constantFrom(...special), fc.string({ unit: 'grapheme-ascii', maxLength: 2 }))
  const target = fc.array(piece, { maxLength: 8 }).map(pieces => `/${pieces.join('')}`)
  const runs = { numRuns: 2000 }

  const accepted = (text: string): Call | undefined => {
    try {
      return callOf({ target: text })
    } catch (error) {
      if (error instanceof HoldpointError) return undefined
      throw error
    }
  }

  it('a canonical path is canonical', () => {
    fc.assert(
      fc.property(target, text => {
        const call = accepted(text)
        if (call !== undefined) expect(accepted(call.path)?.path).toBe(call.path)
      }),
      runs,
    )
  })

  it('no reading of an accepted path has a dot segment, a backslash or a control character, however often it is decoded', () => {
    fc.assert(
      fc.property(target, text => {
        const call = accepted(text)
        if (call === undefined) return
        for (const reading of settle(call, { ...lenient, caseSensitive: false })) {
          for (const decoded of decodings(reading)) {
            const pieces = decoded.split(/[/;]/)
            expect(pieces).not.toContain('..')
            expect(pieces).not.toContain('.')
            expect(decoded).not.toMatch(/[\\\x00-\x1f\x7f]/)
          }
        }
      }),
      runs,
    )
  })

  const decodings = (text: string): readonly string[] => {
    const found = [text]
    for (const known of found) {
      try {
        const decoded = decodeURIComponent(known)
        if (decoded !== known) found.push(decoded)
      } catch {
        // A "%" that stands for itself: nothing more to decode.
      }
    }
    return found
  }

  it('what a plain URL parser resolves is what was judged', () => {
    fc.assert(
      fc.property(target, text => {
        const call = accepted(text)
        if (call === undefined || call.path.startsWith('//')) return
        const url = new URL(`http://h${call.target}`)
        expect(accepted(url.pathname)?.path).toBe(call.path)
        expect(url.host).toBe('h')
      }),
      runs,
    )
  })
})

describe('hosts', () => {
  it.each(hosts.map(row => [row.why, row] as const))('%s', (_, row) => {
    if ('is' in row) expect(callOf({ host: row.host }).host).toBe(row.is)
    else expect(refusalOf(() => callOf({ host: row.host })).detail).toContain('Host')
  })

  it('wants exactly one', () => {
    expect(refusalOf(() => callOf({ host: null })).detail).toContain('Host: send exactly one')
    expect(refusalOf(() => callOf({ host: null, version: '1.0' })).detail).toContain('Host')
    expect(refusalOf(() => callOf({ lines: ['hOST: gate'] })).detail).toContain('twice')
  })
})

describe('heads', () => {
  type Row = Head & { readonly why: string; readonly says: string; readonly code?: string }

  it.each((heads as Row[]).map(row => [row.why, row] as const))('refuses %s', (_, row) => {
    const error = refusalOf(() => callOf(row))
    expect(error.code).toBe(row.code ?? 'malformed')
    expect(error.detail).toContain(row.says)
  })

  it('tells which methods there are', () => {
    expect(refusalOf(() => callOf({ method: 'TRACE' })).extras.headers).toEqual({ Allow: [...methods].join(', ') })
    for (const method of methods) expect(callOf({ method }).method).toBe(method)
  })

  it('counts the bytes and the lines of the head', () => {
    const wire = 'GET / HTTP/1.1\r\nHost: gate\r\nX-A: 1\r\n\r\n'
    expect(callOf({ lines: ['X-A: 1'] }, wire.length).method).toBe('GET')
    expect(refusalOf(() => callOf({ lines: ['X-A: 1'] }, wire.length - 1)).code).toBe('head_too_large')
    expect(callOf({ lines: Array(99).fill('A: 1') }).headers).toHaveLength(100)
    expect(refusalOf(() => callOf({ lines: Array(100).fill('A: 1') })).code).toBe('head_too_large')
  })

  it('takes a plain call as it is', () => {
    const call = callOf({
      method: 'POST',
      target: '/a?b',
      host: 'Gate:80',
      lines: ['content-TYPE: a/b', 'X-A: 1', 'X-A: \t 2 ', '__proto__: x', 'Content-Length: 3'],
      address: '::ffff:10.1.2.3',
      tls: true,
    })
    expect(call).toEqual({
      id: expect.any(String),
      receivedAt: expect.any(Number),
      method: 'POST',
      target: '/a?b',
      path: '/a',
      rawPath: '/a',
      rawQuery: 'b',
      query: [['b', '']],
      host: 'gate',
      headers: [
        ['Host', 'Gate:80'],
        ['content-TYPE', 'a/b'],
        ['X-A', '1'],
        ['X-A', '2'],
        ['__proto__', 'x'],
        ['Content-Length', '3'],
      ],
      address: '10.1.2.3',
      scheme: 'https',
      httpVersion: '1.1',
      contentLength: 3,
    })
    expect(callOf({}).id).not.toBe(callOf({}).id)
    expect(callOf({ address: '2001:db8::1' })).toMatchObject({ address: '2001:db8::1', scheme: 'http' })
  })

  it.each([
    [[], 0],
    [['Content-Length: 0'], 0],
    [['Content-Length: 12'], 12],
    [['Transfer-Encoding: Chunked'], undefined],
  ])('knows the length announced by %j', (lines, length) => {
    expect(callOf({ method: 'POST', lines }).contentLength).toBe(length)
  })

  it('accepts the expectation that everybody knows', () => {
    expect(callOf({ method: 'PUT', lines: ['Expect: 100-Continue', 'Content-Length: 1'] }).contentLength).toBe(1)
  })

  it('doubts a GET with a body and names with an underscore', () => {
    for (const framing of ['Content-Length: 2', 'Transfer-Encoding: chunked']) {
      const call = callOf({ lines: [framing] })
      expect(refusalOf(() => settle(call, upstreamOf())).detail).toContain('getBody')
      expect(settle(call, upstreamOf({ getBody: true }))).toEqual(['/'])
    }
    const odd = callOf({ lines: ['X_Forwarded_User: root'] })
    expect(refusalOf(() => settle(odd, undefined)).detail).toContain('X_Forwarded_User')
    expect(settle(odd, upstreamOf({ underscores: 'drop' }))).toEqual(['/'])
  })

  it('does not show a rule what Connection takes away', () => {
    const call = callOf({ lines: ['Connection: close, X-Dry-Run', 'X-Dry-Run: true', 'x-dry-run: true', 'X-B: 1'] })
    expect(call.headers.map(([name]) => name)).toEqual(['Host', 'Connection', 'X-B'])
  })

  it('has the same doubts when it is read back', () => {
    const call = callOf({ target: '/a%2Fb//c;d', lines: ['A_B: 1', 'Content-Length: 1'] })
    expect(doubts(JSON.parse(JSON.stringify(call)))).toEqual(doubts(call))
    expect(doubts(call)).toHaveLength(5)
  })
})

describe('upgrades', () => {
  const asking = (upgrade: string, connection: string): readonly string[] => [
    `Connection: ${connection}`,
    `Upgrade: ${upgrade}`,
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ]

  it.each([
    ['websocket', 'GET', asking('websocket', 'keep-alive, Upgrade')],
    ['websocket', 'GET', asking('WebSocket', 'UPGRADE')],
    ['spdy/3.1', 'POST', asking('SPDY/3.1', 'Upgrade')],
  ])('knows %s by %s', (upgrade, method, lines) => {
    expect(callOf({ method, lines }).upgrade).toBe(upgrade)
  })

  it.each<[string, Head]>([
    ['h2c', { lines: ['HTTP2-Settings: AAMAAABk', ...asking('h2c', 'Upgrade, HTTP2-Settings')] }],
    ['an unknown protocol', { lines: asking('chat/2', 'Upgrade') }],
    ['a choice of protocols', { lines: asking('websocket, h2c', 'Upgrade') }],
    ['a choice of protocols on two lines', { lines: ['Upgrade: h2c', ...asking('websocket', 'Upgrade')] }],
    ['a WebSocket of which Connection does not know', { lines: asking('websocket', 'keep-alive') }],
    ['a WebSocket without Connection', { lines: asking('websocket', '').slice(1) }],
    ['a WebSocket over HTTP/1.0', { version: '1.0', lines: asking('websocket', 'Upgrade') }],
  ])('takes %s for a plain call, and passes nothing of it on', (_, head) => {
    const call = callOf(head)
    expect(call).not.toHaveProperty('upgrade')
    expect(endToEnd(call).map(([name]) => name)).toEqual(['Sec-WebSocket-Version', 'Sec-WebSocket-Key'])
  })
})
