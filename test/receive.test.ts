import type { IncomingMessage } from 'node:http'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { rebuilt } from '../src/forward.ts'
import { isStripped } from '../src/headers.ts'
import type { Call, Header } from '../src/nouns.ts'
import { doubts, endToEnd, methods, receive, settle } from '../src/receive.ts'
import type { Upstream } from '../src/settings.ts'
import hosts from './tables/hosts.json' with { type: 'json' }
import targets from './tables/targets.json' with { type: 'json' }

type Head = {
  method?: string
  target?: string
  version?: string
  host?: string | null
  headers?: readonly Header[]
  address?: string
  tls?: true
}

/** What node hands over: nothing that `receive` does not read. */
const requestOf = ({
  method = 'GET',
  target = '/',
  version = '1.1',
  host = 'gate',
  headers = [],
  address = '10.0.0.9',
  tls,
}: Head): IncomingMessage =>
  ({
    method,
    url: target,
    httpVersion: version,
    rawHeaders: [...(host === null ? [] : [['Host', host]]), ...headers].flat(),
    socket: { remoteAddress: address, ...(tls ? { encrypted: true } : {}) },
  }) as unknown as IncomingMessage

const read = (head: Head, limit = 32_768): Call => receive(requestOf(head), { header: limit })

const refusalOf = (run: () => unknown): HoldpointError => {
  try {
    run()
  } catch (error) {
    if (error instanceof HoldpointError) return error
    throw error
  }
  throw new Error('it was let through')
}

const upstream = (more: Partial<Upstream> = {}): Upstream => ({
  name: 'u',
  kind: 'http',
  url: 'http://127.0.0.1:1',
  at: { prefix: '/' },
  credential: undefined,
  tokenHeader: undefined,
  timeouts: { connectMs: 0, headersMs: 0, idleMs: 0 },
  volatileHeaders: [],
  limits: { inspect: 0, held: 0 },
  encodedSlash: 'refuse',
  doubleSlash: 'refuse',
  pathParameters: 'refuse',
  caseSensitive: true,
  getBody: false,
  underscores: 'refuse',
  hash: '',
  ...more,
})

const lenient = upstream({
  encodedSlash: 'keep',
  doubleSlash: 'keep',
  pathParameters: 'keep',
  getBody: true,
  underscores: 'drop',
})

describe('targets', () => {
  type Row = (typeof targets)[number] & {
    code?: string
    refused?: string
    path?: string
    doubt?: string
    readings?: string[]
    query?: string[][]
  }

  it.each(targets.map(row => [row.why, row as Row] as const))('%s', (_, row) => {
    if (row.refused !== undefined) {
      const error = refusalOf(() => read({ target: row.target }, 100_000))
      expect(error.code).toBe(row.code ?? 'malformed')
      expect(error.detail).toContain(row.refused)
      return
    }
    const call = read({ target: row.target }, 100_000)
    expect(call.path).toBe(row.path)
    expect(call.target).toBe(row.target)
    expect([call.rawPath, call.rawQuery]).toEqual(
      row.target.includes('?')
        ? [row.target.split('?')[0], row.target.slice(row.target.indexOf('?') + 1)]
        : [row.target, undefined],
    )
    if (row.query !== undefined) expect(call.query).toEqual(row.query)
    if (row.doubt === undefined) expect(doubts(call)).toEqual([])
    else {
      expect(doubts(call).map(doubt => doubt.key)).toEqual([row.doubt])
      for (const strict of [upstream(), undefined])
        expect(refusalOf(() => settle(call, strict)).detail).toContain(row.doubt)
    }
    expect(settle(call, lenient)).toEqual(row.readings ?? [row.path])
  })

  it('takes `*` with OPTIONS only', () => {
    expect(read({ method: 'OPTIONS', target: '*' }).path).toBe('*')
  })

  it('opts in by its own key only', () => {
    const rows = { encodedSlash: '/a%2Fb', doubleSlash: '/a//b', pathParameters: '/a;b' } as const
    for (const [key, target] of Object.entries(rows)) {
      for (const other of Object.keys(rows)) {
        const run = () => settle(read({ target }), upstream({ [other]: 'keep' }))
        if (key === other) expect(run()[0]).toBe(target)
        else expect(refusalOf(run).code).toBe('malformed')
      }
    }
  })

  it('gives every combination of readings', () => {
    const paths = settle(read({ target: '/A;p%2FB//c%3Ad.' }), { ...lenient, caseSensitive: false })
    expect(paths[0]).toBe('/A;p%2FB//c%3Ad.')
    for (const path of ['/A/B/c:d', '/a/b/c:d', '/a/b//c%3Ad.', '/A//c:d', '/a/c:d', '/A;p/B//c:d.'])
      expect(paths).toContain(path)
  })

  it('folds case without touching escapes, for upstreams that do', () => {
    const folding = upstream({ caseSensitive: false, at: { prefix: '/Api' } })
    expect(settle(read({ target: '/Api/ADMIN%3Fx/%C3%84' }), folding)).toEqual([
      '/Api/ADMIN%3Fx/%C3%84',
      '/Api/admin%3Fx/%C3%A4',
    ])
    expect(settle(read({ target: '/ADMIN' }), upstream())).toEqual(['/ADMIN'])
  })

  it('leaves the prefix of an upstream in front of every reading', () => {
    const at = upstream({ at: { prefix: '/v1%3Ax' }, pathParameters: 'keep' })
    expect(settle(read({ target: '/v1%3Ax/a;b' }), at)).toEqual(['/v1%3Ax/a;b', '/v1%3Ax/a'])
  })
})

describe('targets, as properties', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '/',
      '.',
      '..',
      '%2f',
      '%2F',
      '%5c',
      '\\',
      ';',
      '%3b',
      '%2e',
      '%2E',
      '%25',
      '%20',
      '%00',
      '%c0%af',
      '%ef%bc%8f',
      '?',
      '#',
      '//',
      'a',
      'B',
      ':',
      '%3a',
      '%41',
      '~',
      '%7e',
      '%C3%A4',
      '@',
      '*',
    ),
    fc.string({ unit: 'grapheme-ascii', maxLength: 2 }),
  )
  const target = fc.array(piece, { maxLength: 8 }).map(pieces => `/${pieces.join('')}`)

  const accepted = (text: string): Call | undefined => {
    try {
      return read({ target: text })
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
      { numRuns: 2000 },
    )
  })

  it('no reading of an accepted path has a dot segment, a backslash or a control character, however often it is decoded', () => {
    fc.assert(
      fc.property(target, text => {
        const call = accepted(text)
        if (call === undefined) return
        for (const reading of settle(call, { ...lenient, caseSensitive: false })) {
          let decoded = reading
          for (let times = 0; times < 3; times++) {
            expect(decoded.split(/[/;]/)).not.toContain('..')
            expect(decoded.split(/[/;]/)).not.toContain('.')
            expect(decoded).not.toMatch(/[\\\x00-\x1f\x7f]/)
            try {
              decoded = decodeURIComponent(decoded)
            } catch {
              break
            }
          }
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('what a plain URL parser resolves is what was judged', () => {
    fc.assert(
      fc.property(target, text => {
        const call = accepted(text)
        if (call === undefined || call.path.startsWith('//')) return
        const url = new URL(`http://h${call.target}`)
        expect(accepted(url.pathname)?.path).toBe(call.path)
        expect(url.host).toBe('h')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('hosts', () => {
  it.each(hosts.map(row => [row.why, row] as const))('%s', (_, row) => {
    if ('is' in row) expect(read({ host: row.host }).host).toBe(row.is)
    else expect(refusalOf(() => read({ host: row.host })).detail).toContain('Host')
  })

  it('wants exactly one', () => {
    expect(refusalOf(() => read({ host: null })).detail).toContain('Host: send exactly one')
    expect(refusalOf(() => read({ host: null, version: '1.0' })).detail).toContain('Host')
    expect(refusalOf(() => read({ headers: [['hOST', 'gate']] })).detail).toContain('twice')
  })
})

describe('heads', () => {
  const refused: readonly (readonly [why: string, head: Head, says: string, code?: string])[] = [
    ['HTTP/0.9', { version: '0.9' }, 'HTTP/1.1'],
    ['HTTP/2 on this wire', { version: '2.0' }, 'HTTP/1.1'],
    ['TRACE', { method: 'TRACE' }, 'method', 'method_not_allowed'],
    ['CONNECT', { method: 'CONNECT', target: 'a:443' }, 'method', 'method_not_allowed'],
    ['a method that hides its effect in a header', { method: 'COPY' }, 'method', 'method_not_allowed'],
    ['an unknown method', { method: 'BREW' }, 'method', 'method_not_allowed'],
    ['a method in lower case', { method: 'get' }, 'method', 'method_not_allowed'],
    [
      'more than a hundred lines',
      { headers: Array.from({ length: 100 }, () => ['A', '1'] as const) },
      '100',
      'head_too_large',
    ],
    ['a space in a name', { headers: [['X A', '1']] }, 'name'],
    ['a colon in a name', { headers: [['X:A', '1']] }, 'name'],
    ['an empty name', { headers: [['', '1']] }, 'name'],
    ['a byte outside ASCII in a name', { headers: [['X\xe9', '1']] }, 'name'],
    ['a byte outside ASCII in a value', { headers: [['X-A', 'caf\xe9']] }, 'X-A'],
    ['a line feed in a value', { headers: [['X-A', 'a\nb']] }, 'X-A'],
    ['a NUL in a value', { headers: [['X-A', 'a\0b']] }, 'X-A'],
    ['a delete in a value', { headers: [['X-A', 'a\x7fb']] }, 'X-A'],
    [
      'a coding besides chunked',
      { method: 'POST', headers: [['Transfer-Encoding', 'gzip, chunked']] },
      'Transfer-Encoding',
    ],
    ['an empty coding', { method: 'POST', headers: [['Transfer-Encoding', '']] }, 'Transfer-Encoding'],
    ['chunked in a list', { method: 'POST', headers: [['Transfer-Encoding', ',chunked']] }, 'Transfer-Encoding'],
    [
      'chunked twice in a list',
      { method: 'POST', headers: [['Transfer-Encoding', 'chunked, chunked']] },
      'Transfer-Encoding',
    ],
    ['identity', { method: 'POST', headers: [['Transfer-Encoding', 'identity']] }, 'Transfer-Encoding'],
    [
      'chunked with a parameter',
      { method: 'POST', headers: [['Transfer-Encoding', 'chunked;q=1']] },
      'Transfer-Encoding',
    ],
    ['chunked in quotes', { method: 'POST', headers: [['Transfer-Encoding', '"chunked"']] }, 'Transfer-Encoding'],
    [
      'chunked twice',
      {
        method: 'POST',
        headers: [
          ['Transfer-Encoding', 'chunked'],
          ['transfer-encoding', 'chunked'],
        ],
      },
      'twice',
    ],
    [
      'chunked with HTTP/1.0',
      { method: 'POST', version: '1.0', headers: [['Transfer-Encoding', 'chunked']] },
      'Transfer-Encoding',
    ],
    [
      'two framings',
      {
        method: 'POST',
        headers: [
          ['Content-Length', '3'],
          ['Transfer-Encoding', 'chunked'],
        ],
      },
      'Content-Length',
    ],
    [
      'two lengths',
      {
        method: 'POST',
        headers: [
          ['Content-Length', '3'],
          ['Content-Length', '3'],
        ],
      },
      'twice',
    ],
    ...['03', '00', '+3', '-3', '0x3', '3 ', '3,3', '3_0', '3.0', '1e1', '', ' ', '٣', '9999999999999999']
      .map(
        length =>
          [
            `a length of ${JSON.stringify(length)}`,
            { method: 'POST', headers: [['Content-Length', length === '3 ' ? '3 3' : length]] },
            'Content-Length',
          ] as const,
      )
      .filter(([, { headers }]) => /^[\x20-\x7e]*$/.test(headers[0]?.[1] ?? '')),
    ['HEAD with a body', { method: 'HEAD', headers: [['Content-Length', '1']] }, 'HEAD'],
    ['OPTIONS with a body', { method: 'OPTIONS', headers: [['Transfer-Encoding', 'chunked']] }, 'OPTIONS'],
    ['an expectation that nobody knows', { headers: [['Expect', '200-ok']] }, 'Expect'],
    ['two expectations', { headers: [['Expect', '100-continue, x']] }, 'Expect'],
    [
      'two tokens',
      {
        headers: [
          ['Authorization', 'Bearer a'],
          ['authorization', 'Bearer b'],
        ],
      },
      'twice',
    ],
    [
      'two of our own tokens',
      {
        headers: [
          ['Holdpoint-Authorization', 'a'],
          ['holdpoint-authorization', 'b'],
        ],
      },
      'twice',
    ],
    [
      'two types',
      {
        method: 'POST',
        headers: [
          ['Content-Type', 'a/b'],
          ['Content-Type', 'a/b'],
        ],
      },
      'twice',
    ],
    [
      'two cookies',
      {
        headers: [
          ['Cookie', 'a=1'],
          ['Cookie', 'b=2'],
        ],
      },
      'twice',
    ],
    [
      'two operations',
      {
        headers: [
          ['X-Amz-Target', 'A.B'],
          ['X-Amz-Target', 'A.C'],
        ],
      },
      'twice',
    ],
    [
      'two users to be',
      {
        headers: [
          ['Impersonate-User', 'a'],
          ['Impersonate-User', 'b'],
        ],
      },
      'twice',
    ],
    [
      'Connection that names the token',
      {
        headers: [
          ['Connection', 'close, Authorization'],
          ['Authorization', 'x'],
        ],
      },
      'Connection',
    ],
    ['Connection that names the length', { headers: [['Connection', 'content-length']] }, 'Connection'],
    ['Connection that names the host', { headers: [['Connection', 'Host']] }, 'Connection'],
    ['Connection that names a forwarding header', { headers: [['Connection', 'X-Forwarded-For']] }, 'Connection'],
    ['Connection that names an identity header', { headers: [['Connection', 'x-auth-request-user']] }, 'Connection'],
    ['Connection that names one of ours', { headers: [['Connection', 'Holdpoint-Reason']] }, 'Connection'],
    [
      'a second Connection line',
      {
        headers: [
          ['Connection', 'close'],
          ['Connection', 'cookie'],
        ],
      },
      'Connection',
    ],
  ]

  it.each(refused)('refuses %s', (_, head, says, code = 'malformed') => {
    const error = refusalOf(() => read(head))
    expect(error.code).toBe(code)
    expect(error.detail).toContain(says)
  })

  it('tells which methods there are', () => {
    expect(refusalOf(() => read({ method: 'TRACE' })).extras.headers).toEqual({ Allow: [...methods].join(', ') })
    for (const method of methods) expect(read({ method }).method).toBe(method)
  })

  it('counts the bytes of the head', () => {
    const wire = 'GET / HTTP/1.1\r\nHost: gate\r\nX-A: 1\r\n\r\n'
    const head: Head = { headers: [['X-A', '1']] }
    expect(read(head, wire.length).method).toBe('GET')
    expect(refusalOf(() => read(head, wire.length - 1)).code).toBe('head_too_large')
  })

  it('takes a plain call as it is', () => {
    const headers = [
      ['content-TYPE', 'a/b'],
      ['X-A', '1'],
      ['X-A', '2'],
      ['__proto__', 'x'],
    ] as const
    const call = read({
      method: 'POST',
      target: '/a?b',
      host: 'Gate:80',
      headers: [...headers, ['Content-Length', '3']],
      address: '::ffff:10.1.2.3',
      tls: true,
    })
    expect(call).toMatchObject({
      method: 'POST',
      target: '/a?b',
      host: 'gate',
      contentLength: 3,
      address: '10.1.2.3',
      scheme: 'https',
      httpVersion: '1.1',
    })
    expect(call.headers).toEqual([['Host', 'Gate:80'], ...headers, ['Content-Length', '3']])
    expect(call).not.toHaveProperty('upgrade')
    expect(read({}).id).not.toBe(read({}).id)
    expect(read({ address: '2001:db8::1' })).toMatchObject({ address: '2001:db8::1', scheme: 'http' })
  })

  it.each([
    [[], 0],
    [[['Content-Length', '0']], 0],
    [[['Content-Length', '12']], 12],
    [[['Transfer-Encoding', 'Chunked']], undefined],
  ] as const)('knows the length announced by %j', (headers, length) => {
    expect(read({ method: 'POST', headers }).contentLength).toBe(length)
  })

  it('accepts the expectation that everybody knows', () => {
    expect(
      read({
        method: 'PUT',
        headers: [
          ['Expect', '100-Continue'],
          ['Content-Length', '1'],
        ],
      }).contentLength,
    ).toBe(1)
  })

  it('doubts a GET with a body and names with an underscore', () => {
    for (const framing of [
      ['Content-Length', '2'],
      ['Transfer-Encoding', 'chunked'],
    ] as const) {
      const call = read({ headers: [framing] })
      expect(refusalOf(() => settle(call, upstream())).detail).toContain('getBody')
      expect(settle(call, upstream({ getBody: true }))).toEqual(['/'])
    }
    const odd = read({ headers: [['X_Forwarded_User', 'root']] })
    expect(refusalOf(() => settle(odd, undefined)).detail).toContain('X_Forwarded_User')
    expect(settle(odd, upstream({ underscores: 'drop' }))).toEqual(['/'])
  })

  it('does not show a rule what Connection takes away', () => {
    const call = read({
      headers: [
        ['Connection', 'close, X-Dry-Run'],
        ['X-Dry-Run', 'true'],
        ['x-dry-run', 'true'],
        ['X-B', '1'],
      ],
    })
    expect(call.headers.map(([name]) => name)).toEqual(['Host', 'Connection', 'X-B'])
  })

  it('has the same doubts when it is read back', () => {
    const call = read({
      target: '/a%2Fb//c;d',
      headers: [
        ['A_B', '1'],
        ['Content-Length', '1'],
      ],
    })
    expect(doubts(JSON.parse(JSON.stringify(call)))).toEqual(doubts(call))
    expect(doubts(call)).toHaveLength(5)
  })
})

describe('upgrades', () => {
  const webSocket = (more: { [name: string]: string | undefined } = {}): readonly Header[] =>
    Object.entries({
      Connection: 'keep-alive, Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      ...more,
    }).filter((line): line is [string, string] => line[1] !== undefined)

  it.each([
    ['websocket', webSocket(), 'GET'],
    ['websocket', webSocket({ Upgrade: 'WebSocket', Connection: 'UPGRADE' }), 'GET'],
    ['spdy/3.1', webSocket({ Upgrade: 'SPDY/3.1' }), 'POST'],
  ] as const)('knows %s', (upgrade, headers, method) => {
    expect(read({ method, headers }).upgrade).toBe(upgrade)
  })

  it.each([
    [
      'h2c',
      { headers: webSocket({ Upgrade: 'h2c', Connection: 'Upgrade, HTTP2-Settings', 'HTTP2-Settings': 'AAMAAABk' }) },
    ],
    ['an unknown protocol', { headers: webSocket({ Upgrade: 'chat/2' }) }],
    ['a choice of protocols', { headers: webSocket({ Upgrade: 'websocket, h2c' }) }],
    ['a WebSocket of which Connection does not know', { headers: webSocket({ Connection: 'keep-alive' }) }],
    ['a WebSocket without Connection', { headers: webSocket({ Connection: undefined }) }],
    ['a WebSocket over HTTP/1.0', { version: '1.0', headers: webSocket() }],
  ])('takes %s for a plain call, and passes nothing of it on', (_, head) => {
    const call = read(head)
    expect(call.upgrade).toBeUndefined()
    expect(endToEnd(call).map(([name]) => name.toLowerCase())).toEqual(['sec-websocket-version', 'sec-websocket-key'])
  })

  it.each([
    ['another version', webSocket({ 'Sec-WebSocket-Version': '99' }), 'GET', 'Sec-WebSocket-Version'],
    ['no version', webSocket({ 'Sec-WebSocket-Version': undefined }), 'GET', 'Sec-WebSocket-Version'],
    ['a short key', webSocket({ 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZQ==' }), 'GET', 'Sec-WebSocket-Key'],
    ['no key', webSocket({ 'Sec-WebSocket-Key': undefined }), 'GET', 'Sec-WebSocket-Key'],
    ['POST', webSocket(), 'POST', 'GET'],
    ['a body', webSocket({ 'Content-Length': '5' }), 'GET', 'Upgrade'],
    ['a body in chunks', webSocket({ 'Transfer-Encoding': 'chunked' }), 'GET', 'Upgrade'],
    ['h2c and a body', webSocket({ Upgrade: 'h2c', 'Content-Length': '5' }), 'POST', 'Upgrade'],
  ] as const)('refuses a WebSocket with %s', (_, headers, method, says) => {
    expect(refusalOf(() => read({ method, headers })).detail).toContain(says)
  })
})

describe('what reaches the upstream', () => {
  const names = (headers: readonly Header[]): string[] => headers.map(([name]) => name)

  const theirs: readonly Header[] = [
    ['Accept', '*/*'],
    ['Authorization', 'Basic abc'],
    ['Content-Type', 'application/json'],
    ['Idempotency-Key', 'k'],
    ['Range', 'bytes=0-1'],
    ['User-Agent', 'curl'],
    ['X-Amz-Target', 'A.B'],
    ['X-Request-Id', '1'],
    ['x-a', '1'],
    ['x-a', '2'],
  ]

  // Spelled out here once more, so that no line of the tables can be lost unseen.
  const never = `
    Connection Keep-Alive Proxy-Connection TE Trailer Transfer-Encoding Upgrade HTTP2-Settings Host Content-Length Expect Via
    Forwarded X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri
    X-Forwarded-Method X-Forwarded-Client-Cert X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Access-Token
    X-Forwarded-Preferred-Username Forwarded-For Client-IP True-Client-IP X-Real-IP X-Client-IP X-Cluster-Client-IP
    CF-Connecting-IP CF-Connecting-IPv6 Fastly-Client-IP X-Azure-ClientIP X-Azure-SocketIP X-AppEngine-User-IP X-ProxyUser-Ip
    Front-End-Https X-Scheme X-Url-Scheme X-Host X-HTTP-Host-Override X-Original-URL X-Original-URI X-Original-Host
    X-Original-Method X-Original-Forwarded-For X-Rewrite-URL X-HTTP-Method X-HTTP-Method-Override X-Method-Override
    X-Envoy-Original-Path X-Envoy-External-Address X-Middleware-Subrequest
    X-User X-User-Id X-User-Email X-Username X-Email X-Groups X-Roles X-Remote-User X-Remote-Group X-Remote-Extra-Scopes
    Remote-User Remote-Groups Remote-Email Remote-Name X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups
    X-Auth-Request-Access-Token X-WebAuth-User X-Goog-Authenticated-User-Email X-Goog-IAP-JWT-Assertion
    X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-MS-Client-Principal X-MS-Client-Principal-Name X-MS-Token-AAD-Id-Token
    X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email
    X-Authentik-Username X-Consumer-Username X-Consumer-Custom-ID X-Credential-Identifier X-Anonymous-Consumer
    X-SSL-Client-CN SSL-Client-Cert SSL-Client-S-DN X-Client-Cert X-Vouch-User Tailscale-User-Login OIDC-Claim-Sub Client-Cert
    Impersonate-User Impersonate-Group Impersonate-Uid Impersonate-Extra-Reason
    Proxy-Authorization Proxy-Authenticate Proxy-Foo Holdpoint-Authorization Holdpoint-Reason Holdpoint-Assertion Holdpoint-Anything
    traceparent tracestate
  `
    .trim()
    .split(/\s+/)

  it.each(never)('never takes %s from a caller, in any spelling', name => {
    for (const spelled of [
      name,
      name.toLowerCase(),
      name.toUpperCase(),
      name.replaceAll('-', '_'),
      name.replaceAll('-', '.'),
      name.replace('-', '_'),
    ]) {
      expect(isStripped(spelled)).toBe(true)
      expect(endToEnd({ ...read({}), headers: [[spelled, 'x']] })).toEqual([])
    }
  })

  it('takes everything else as it is', () => {
    expect(endToEnd(read({ headers: theirs }))).toEqual(theirs)
    for (const name of [
      'X-Api-Key',
      'Accept-Encoding',
      'If-Match',
      'Origin',
      'X-Userland',
      'Remoted',
      'X-Amz-Date',
      'DPoP',
      'X-Groupset',
      'Usery',
    ]) {
      expect(isStripped(name)).toBe(false)
    }
  })

  it('takes no name with an underscore', () => {
    expect(
      endToEnd(
        read({
          headers: [
            ['X_Tenant', '1'],
            ['X-Tenant', '2'],
          ],
        }),
      ),
    ).toEqual([['X-Tenant', '2']])
  })

  it('leaves out the headers that carry our token', () => {
    const own = new Set(['authorization', 'x-api-key'])
    expect(names(endToEnd(read({ headers: [...theirs, ['X-API-Key', 't']] }), own))).toEqual(
      names(theirs).filter(name => name !== 'Authorization'),
    )
  })

  it.each([
    ['a=1; b=2', 'a=1; b=2'],
    ['a=1;b=2', 'a=1;b=2'],
    ['__Host-holdpoint=x', undefined],
    ['holdpoint_session=x; a=1', 'a=1'],
    ['a=1; __Host-holdpoint_csrf=x; b="2"', 'a=1; b="2"'],
    ['a=1;HOLDPOINT_session=x;b=2', 'a=1; b=2'],
    ['my-holdpoint=1', 'my-holdpoint=1'],
  ])('passes the cookies %j on as %j', (cookie, kept) => {
    expect(endToEnd(read({ headers: [['Cookie', cookie]] }))).toEqual(kept === undefined ? [] : [['Cookie', kept]])
  })

  it.each([
    ['return=minimal', 'return=minimal'],
    ['respond-async', undefined],
    ['respond-async, wait=10', undefined],
    [
      'return=representation, Respond-Async, wait = 10; x=1, handling=lenient',
      'return=representation, handling=lenient',
    ],
    ['x="a, respond-async, b", wait=1', 'x="a, respond-async, b"'],
    ['waiting=1', 'waiting=1'],
    ['x="a, wait=1', 'x="a'],
  ])('passes the preferences %j on as %j', (prefer, kept) => {
    expect(endToEnd(read({ headers: [['Prefer', prefer]] }))).toEqual(kept === undefined ? [] : [['Prefer', kept]])
  })

  it("for any order and spelling of a caller's lines, the upstream sees each line of ours once, with our value", () => {
    const spelling = fc.constantFrom<(name: string) => string>(
      name => name,
      name => name.toLowerCase(),
      name => name.toUpperCase(),
      name => name.replaceAll('-', '_'),
    )
    const theirHeaders = fc.array(
      fc
        .tuple(
          fc.constantFrom(
            ...never.filter(name => !/^(host|content-length|transfer-encoding|expect|connection|upgrade)$/i.test(name)),
            'X-Mine',
            'Accept',
          ),
          spelling,
        )
        .map(([name, spell]): Header => [spell(name), 'forged']),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(theirHeaders, headers => {
        let call: Call
        try {
          call = read({ headers })
        } catch (error) {
          expect((error as HoldpointError).detail).toContain('twice')
          return
        }
        const sent = [...endToEnd(call), ...rebuilt(call, { trustedProxies: [] })]
        const forged = sent.filter(([, value]) => value === 'forged').map(([name]) => name.toLowerCase())
        expect(forged.filter(name => name !== 'x-mine' && name !== 'accept')).toEqual([])
        for (const ours of [
          'x-forwarded-for',
          'x-forwarded-proto',
          'x-forwarded-host',
          'x-forwarded-port',
          'via',
          'traceparent',
        ]) {
          expect(sent.filter(([name]) => name.toLowerCase() === ours)).toHaveLength(1)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('what we say of the caller', () => {
  const said = (
    head: Head,
    trustedProxies: readonly string[] = [],
    trace: readonly Header[] = [],
  ): { [name: string]: string } => Object.fromEntries(rebuilt(read(head), { trustedProxies }, trace))

  it('is made fresh', () => {
    expect(said({ host: 'Gate.acme:8443', tls: true })).toEqual({
      'X-Forwarded-For': '10.0.0.9',
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'Gate.acme:8443',
      'X-Forwarded-Port': '8443',
      Via: '1.1 holdpoint',
      traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/),
    })
    expect(said({})).toMatchObject({ 'X-Forwarded-Proto': 'http', 'X-Forwarded-Port': '80' })
    expect(said({ host: '[::1]', tls: true })).toMatchObject({ 'X-Forwarded-Port': '443' })
  })

  const behind: readonly Header[] = [
    ['X-Forwarded-For', '203.0.113.1, 2001:db8::1'],
    ['x-forwarded-for', '10.1.1.1'],
    ['X-Forwarded-Proto', 'https'],
  ]

  it.each([
    [['10.0.0.0/8'], '10.0.0.9', true],
    [['10.0.0.9'], '10.0.0.9', true],
    [['2001:db8::/32'], '2001:db8::9', true],
    [['10.0.0.9'], '::ffff:10.0.0.9', true],
    [[], '10.0.0.9', false],
    [['10.0.0.8'], '10.0.0.9', false],
    [['10.0.1.0/24'], '10.0.0.9', false],
  ])('hears proxies %j at %s: %s', (proxies, address, heard) => {
    const peer = address.replace('::ffff:', '')
    expect(said({ headers: behind, address }, proxies)).toMatchObject({
      'X-Forwarded-For': heard ? `203.0.113.1, 2001:db8::1, 10.1.1.1, ${peer}` : peer,
      'X-Forwarded-Proto': heard ? 'https' : 'http',
    })
  })

  it.each(['203.0.113.1, unknown', '203.0.113.1,', '203.0.113.1:80', 'evil'])(
    'does not repeat a trusted list that has no address in it: %j',
    value => {
      expect(
        said(
          {
            headers: [
              ['X-Forwarded-For', value],
              ['X-Forwarded-Proto', 'ftp'],
            ],
          },
          ['10.0.0.9'],
        ),
      ).toMatchObject({
        'X-Forwarded-For': '10.0.0.9',
        'X-Forwarded-Proto': 'http',
      })
    },
  )

  const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

  it('goes on with a trace, or starts one', () => {
    expect(
      said({
        headers: [
          ['traceparent', parent],
          ['tracestate', 'a=b'],
        ],
      }),
    ).toMatchObject({ traceparent: parent, tracestate: 'a=b' })
    for (const bad of [
      parent.replace('00-', 'ff-'),
      parent.toUpperCase(),
      `${parent}-x`,
      `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
      `00-0af7651916cd43dd8448eb211c80319c-${'0'.repeat(16)}-01`,
    ]) {
      const sent = said({
        headers: [
          ['traceparent', bad],
          ['tracestate', 'a=b'],
        ],
      })
      expect(sent.traceparent).not.toBe(bad)
      expect(sent).not.toHaveProperty('tracestate')
    }
    expect(
      said({
        headers: [
          ['traceparent', parent],
          ['traceparent', parent],
        ],
      }).traceparent,
    ).not.toBe(parent)
  })

  it('takes the trace of the call that collects before that of the call that asked', () => {
    const other = parent.replace('0af7', '1bf7')
    expect(said({ headers: [['traceparent', parent]] }, [], [['traceparent', other]])).toMatchObject({
      traceparent: other,
    })
  })
})
