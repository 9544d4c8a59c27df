// Plain requests are read and answered by us, everything else by Node's server. Node is the oracle for both: whatever is taken as plain it
// reads alike, and the answers have the bytes that its own would have.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { readWhole } from '../src/body.ts'
import { type CallerRequest, type CallerResponse, linesOf } from '../src/incoming.ts'
import { listenGate, type Patience } from '../src/listen.ts'
import { PlainRequest, readPlain } from '../src/plain.ts'
import { dial, type Wire } from './support/websocket.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

type Taken = { readonly request: CallerRequest; readonly response: CallerResponse }

/** A listener whose calls are answered by `answer`. */
const serving = async (answer: (one: Taken) => unknown, patience: Partial<Patience> = {}) => {
  const taken: Taken[] = []
  const refused: string[] = []
  const gate = await listenGate(
    {
      handle(request, response) {
        taken.push({ request, response })
        void answer({ request, response })
      },
      unparsed: (_, code) => void refused.push(code),
      limits: () => ({ header: 4096, connections: 1000, connectionsPerAddress: 1000 }),
      trusted: () => false,
    },
    { host: '127.0.0.1', port: 0 },
    undefined,
    { checkMs: 50, ...patience },
  )
  closing.push(() => gate.close())
  const sockets = new Set<Socket>()
  const note = (message: unknown): void => void sockets.add((message as { socket: Socket }).socket)
  subscribe('net.server.socket', note)
  closing.push(() => unsubscribe('net.server.socket', note))
  /** Resolves when so many bytes of a connection were read. */
  const read = async (wire: Wire, bytes: number): Promise<void> => {
    const ours = (socket: Socket): boolean => socket.remotePort === wire.socket.localPort && socket.bytesRead >= bytes
    while (![...sockets].some(ours)) await setTimeout(1)
  }
  const open = async (raw: string): Promise<Wire> => {
    const wire = await dial(gate.url, raw)
    wire.socket.setNoDelay(true)
    closing.push(() => wire.socket.destroy())
    return wire
  }
  return { open, read, taken, refused }
}

const ok = ({ request, response }: Taken, body = `${request.method} ${request.url}`): void => {
  response.writeHead(200, ['Content-Length', String(body.length)])
  response.end(body)
}
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: g\r\n\r\n`
const answers = (count: number) => (text: string) => (text.match(/HTTP\/1\.1 200 /g) ?? []).length === count

// ---- reading

type Read = { readonly method: string; readonly url: string; readonly lines: unknown; readonly body: string }

const whole = async (request: IncomingMessage): Promise<Buffer> => (await readWhole(request, 1e6)).bytes

/** What Node makes of bytes that come at once; the requests it found before it closed, or fell silent. */
const byNode = async (bytes: Buffer): Promise<{ readonly read: readonly Read[]; readonly refused: boolean }> => {
  const read: Read[] = []
  let refused = false
  const server = createServer({ insecureHTTPParser: false, requireHostHeader: false }, async (request, response) => {
    const body = await whole(request).catch(() => Buffer.from('broken'))
    const { method = '', url = '' } = request
    read.push({ method, url, lines: linesOf(request), body: body.toString('latin1') })
    response.end('ok')
    if (!refused) socket.end()
  })
  server.on('clientError', (_, one) => {
    refused = true
    one.destroy()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {}).resume()
  socket.write(bytes)
  await once(socket, 'close')
  await new Promise(resolve => server.close(resolve))
  return { read, refused }
}

const odd = fc.constantFrom(
  ...[
    '\r',
    '\n',
    '\r\n',
    '\r\n ',
    '\t',
    ' ',
    ':',
    '\0',
    '\x7f',
    '\x80',
    '\xff',
    '\v',
    ',',
    ';',
    '"',
    '#',
    '\\',
    'é',
    '%',
  ],
)
const plainLine = fc.constantFrom(
  ...[
    'Host: g',
    'host:g',
    'Accept: */*',
    'X-A:',
    'X-A:  a b\t',
    'X-B: "q"',
    'User-Agent: x/1 (y; z)',
    'Cookie: a=1; b=2',
  ],
  ...[
    'Connection: keep-alive',
    'Connection: Close',
    'connection:close',
    'Content-Length: 0',
    'Content-Length: 3',
    'TE: trailers',
  ],
  ...['Keep-Alive: 5', 'X_Y: 1', "!#$%&'*+-.^_`|~: odd", 'Trailer: x', 'Date: now'],
)
const oddLine = fc.constantFrom(
  ...[
    'Transfer-Encoding: chunked',
    'Transfer-Encoding:  identity',
    'Content-Length: 03',
    'Content-Length: +3',
    'Content-Length: 3, 3',
  ],
  ...[
    'Content-Length: ',
    'Connection: upgrade',
    'Connection: keep-alive, x',
    'Upgrade: websocket',
    'Expect: 100-continue',
  ],
  ...[
    'Proxy-Connection: close',
    'Proxy-Connection: keep-alive',
    ' folded: x',
    'no colon',
    ': no name',
    'Sp ace: x',
    'Tail : x',
    'H\xe4: x',
  ],
)
const head = fc.record({
  first: fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom(
        'GET /a HTTP/1.1',
        'POST /a?b=c HTTP/1.1',
        'DELETE /%2e HTTP/1.1',
        'PUT //x# HTTP/1.1',
      ),
    },
    fc.constantFrom(
      'GET  /a HTTP/1.1',
      'GET /a HTTP/1.0',
      'GET http://g/a HTTP/1.1',
      'get /a HTTP/1.1',
      'GET /a HTTP/1.1 ',
      'GET * HTTP/1.1',
    ),
  ),
  lines: fc.array(fc.oneof({ weight: 20, arbitrary: plainLine }, oddLine), { maxLength: 5 }),
  body: fc.constantFrom('', '', '', '', 'abc', 'ab', 'abcd', '\r\n\r\n', 'GET /b HTTP/1.1\r\n\r\n'),
  slip: fc.option(fc.record({ at: fc.nat(120), what: odd, instead: fc.boolean() }), { freq: 3 }),
})
const bytesOf = ({ first, lines, body, slip }: typeof head extends fc.Arbitrary<infer T> ? T : never): Buffer => {
  const text = `${[first, ...lines].join('\r\n')}\r\n\r\n${body}`
  if (slip === null) return Buffer.from(text, 'latin1')
  const at = Math.min(slip.at, text.length)
  return Buffer.from(text.slice(0, at) + slip.what + text.slice(at + (slip.instead ? 1 : 0)), 'latin1')
}

test('whatever is taken as plain, Node reads as the same one request', async () => {
  let plain = 0
  await fc.assert(
    fc.asyncProperty(head, async parts => {
      const bytes = bytesOf(parts)
      const ours = readPlain(bytes, 4096)
      if (ours === undefined || bytes.length !== ours.size + ours.length) return
      plain++
      const { method, url, lines, size } = ours
      const { read, refused } = await byNode(bytes)
      expect(refused).toBe(false)
      expect(read).toEqual([{ method, url, lines, body: bytes.toString('latin1', size) }])
    }),
    { numRuns: 8000 },
  )
  // Else it says nothing.
  expect(plain).toBeGreaterThan(300)
})

describe('no plain request is', () => {
  const rest = 'Host: g\r\n\r\n'
  test.each([
    ['a line that ends with LF alone', `GET /a HTTP/1.1\nHost: g\r\n\r\n`],
    ['a bare CR in a value', `GET /a HTTP/1.1\r\nX: a\rb\r\n${rest}`],
    ['a bare LF in a value', `GET /a HTTP/1.1\r\nX: a\nb\r\n${rest}`],
    ['a folded line', `GET /a HTTP/1.1\r\nX: a\r\n b\r\n${rest}`],
    ['a space before the colon', `GET /a HTTP/1.1\r\nX : a\r\n${rest}`],
    ['a byte outside ASCII', `GET /a HTTP/1.1\r\nX: \xe4\r\n${rest}`],
    ['a Transfer-Encoding', `POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n${rest}0\r\n\r\n`],
    ['two lengths, even alike', `POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n${rest}a`],
    ['a length with a sign', `POST /a HTTP/1.1\r\nContent-Length: +1\r\n${rest}a`],
    ['an Upgrade', `GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n${rest}`],
    ['an Expect', `POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n${rest}a`],
    ['a Connection that names a line', `GET /a HTTP/1.1\r\nConnection: close, x\r\n${rest}`],
    ['a whole address as its target', `GET http://g/a HTTP/1.1\r\n${rest}`],
    ['HTTP/1.0', `GET /a HTTP/1.0\r\n${rest}`],
    ['a method that we do not know', `LOCK /a HTTP/1.1\r\n${rest}`],
    ['a head over the limit', `GET /a HTTP/1.1\r\nX: ${'a'.repeat(5000)}\r\n${rest}`],
    ['half a head', 'GET /a HTTP/1.1\r\nHost: g\r\n'],
  ])('%s', (_, text) => {
    expect(readPlain(Buffer.from(text, 'latin1'), 4096)).toBeUndefined()
  })
})

test('a request that comes in two pieces is the same request, wherever it is cut', async () => {
  const bodies: string[] = []
  const { open, read, taken } = await serving(async one => {
    const { bytes } = await readWhole(one.request, 100)
    bodies.push(bytes.toString())
    ok(one)
  })
  const text = 'POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\nabc'
  for (let at = 1; at <= text.length; at++) {
    const wire = await open(text.slice(0, at))
    if (at < text.length) {
      await read(wire, at)
      wire.socket.write(text.slice(at))
    }
    await wire.until(answers(1))
    wire.socket.write(get('/next'))
    expect(await wire.until(answers(2))).toMatch(/GET \/next$/)
    wire.socket.destroy()
  }
  expect(bodies).toEqual(Array.from({ length: text.length }, () => ['abc', '']).flat())
  expect(taken.filter(({ request }) => request instanceof PlainRequest)).toHaveLength(2)
  const lines = taken.filter(({ request }) => request.url === '/a').map(({ request }) => linesOf(request))
  expect(new Set(lines.map(one => JSON.stringify(one))).size).toBe(1)
})

// ---- answering

const size = fc.constantFrom(0, 1, 10, 4096, 4097, 70_000)
const script = fc.record({
  method: fc.constantFrom('GET', 'GET', 'HEAD', 'POST'),
  close: fc.boolean(),
  status: fc.constantFrom(200, 200, 201, 204, 304, 404, 500, 299),
  reason: fc.option(fc.constantFrom('Fine', 'Not So', 'x y')),
  headers: fc.subarray([
    ['Date', 'Thu, 01 Jan 1970 00:00:00 GMT'],
    ['Connection', 'close'],
    ['X-Odd', 'a \t"b"'],
    ['Set-Cookie', 'a=1'],
    ['set-cookie', 'b=2'],
    ['Trailer', 'X-End'],
  ]),
  sized: fc.boolean(),
  flush: fc.boolean(),
  hints: fc.boolean(),
  writes: fc.array(size, { maxLength: 3 }),
  end: fc.option(size),
  trailers: fc.boolean(),
})

const play = (
  {
    method,
    status,
    reason,
    headers,
    sized,
    flush,
    hints,
    writes,
    end,
    trailers,
  }: typeof script extends fc.Arbitrary<infer T> ? T : never,
  response: CallerResponse,
): void => {
  const total = [...writes, end ?? 0].reduce<number>((sum, one) => sum + one, 0)
  // Node refuses to announce trailers where none can come.
  const announced = headers.filter(
    ([name]) => name !== 'Trailer' || (!sized && status !== 204 && status !== 304 && method !== 'HEAD'),
  )
  const lines = [...announced.flat(), ...(sized ? ['Content-Length', String(total)] : [])]
  if (hints) response.writeEarlyHints({ link: ['</a>; rel=preload', '</b>; rel=preload'] })
  if (reason === null) response.writeHead(status, lines)
  else response.writeHead(status, reason, lines)
  if (flush) response.flushHeaders()
  for (const [n, length] of writes.entries()) response.write(Buffer.alloc(length, `${n}`))
  if (trailers && !sized) response.addTrailers([['X-End', 'yes']])
  if (end === null) response.end()
  else response.end('e'.repeat(Number(end)))
}

test('an answer has the bytes that Node’s would have', async () => {
  let now: Parameters<typeof play>[0] | undefined
  const { open, read, taken } = await serving(({ request, response }) => {
    if (request.url === '/end') ok({ request, response })
    else if (now !== undefined) play(now, response)
  })
  const said = async (pieces: readonly string[]): Promise<string> => {
    const wire = await open(pieces[0] ?? '')
    for (const piece of pieces.slice(1)) {
      await read(wire, pieces[0]?.length ?? 0)
      wire.socket.write(piece)
    }
    // What comes behind the answer shows where it ended.
    const gone = wire.until(() => false).catch(() => {})
    const until = wire.until(text => text.endsWith('GET /end')).catch(() => {})
    const closes = now?.close === true || now?.headers.some(([name]) => name === 'Connection')
    if (closes !== true) {
      await read(wire, pieces.join('').length)
      wire.socket.write(get('/end'))
    }
    await Promise.race([gone, until])
    const text = wire.text()
    wire.socket.destroy()
    return text.replaceAll(/Date: (?!Thu, 01 Jan 1970)[^\r]+/g, 'Date: now')
  }
  await fc.assert(
    fc.asyncProperty(script, async one => {
      now = one
      const path = `/${taken.length}`
      const first = `${one.method} ${path} HTTP/1.1\r\nHost: g\r\n`
      const rest = `${one.close ? 'Connection: close\r\n' : ''}\r\n`
      const ours = await said([first + rest])
      const nodes = await said([first, rest])
      const [whole, cut] = taken.filter(({ request }) => request.url === path)
      expect(whole?.request).toBeInstanceOf(PlainRequest)
      expect(cut?.request).toBeInstanceOf(Readable)
      expect(ours).toBe(nodes)
    }),
    { numRuns: 150 },
  )
}, 60_000)

test('a byte of an upstream’s head line stays that byte', async () => {
  const { open } = await serving(({ response }) => {
    response.writeHead(200, ['X-Odd', '\xff', 'Content-Length', '0'])
    response.flushHeaders()
    response.end()
  })
  const wire = await open(get('/a'))
  expect(await wire.until(text => text.endsWith('\r\n\r\n'))).toContain('X-Odd: \xff\r\n')
})

test.each([
  ['a status that is none', 99, []],
  ['an interim one', 103, []],
  ['a value with a line break', 200, ['X', 'a\r\nSet-Cookie: b=1']],
  ['a name with one', 200, ['X\r\nY', 'a']],
  ['two lengths', 200, ['Content-Length', '1', 'Content-Length', '2']],
  ['a coding of its own', 200, ['Transfer-Encoding', 'gzip']],
])('a head is not written with %s', async (_, status, headers) => {
  let thrown: unknown
  const { open } = await serving(({ response }) => {
    try {
      response.writeHead(status, headers)
    } catch (error) {
      thrown = error
      response.destroy()
    }
  })
  const wire = await open(get('/a'))
  await wire.closed
  expect(wire.text()).toBe('')
  expect(thrown).toBeInstanceOf(Error)
})

test.each([
  ['shorter', 'ab'],
  ['longer', 'abcd'],
])('an answer that is %s than it promised ends the connection', async (_, body) => {
  const { open, taken } = await serving(({ response }) => {
    response.writeHead(200, ['Content-Length', '3'])
    response.end(body)
  })
  const wire = await open(get('/a'))
  await wire.closed
  expect(wire.text()).not.toContain(body)
  expect(taken).toHaveLength(1)
})

// ---- one connection

test('what comes while a call is answered waits for it, be it plain or not, and whatever it is', async () => {
  const { open, taken } = await serving(one => {
    if (one.request.url !== '/first') ok(one)
  })
  for (const behind of [
    get('/b'),
    `${get('/b')}${get('/c')}`,
    'POST /b HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ]) {
    const before = taken.length
    const wire = await open(get('/first'))
    while (taken.length === before) await setTimeout(1)
    wire.socket.write(behind.slice(0, 10))
    await setTimeout(5)
    wire.socket.write(behind.slice(10))
    await setTimeout(20)
    expect(taken).toHaveLength(before + 1)
    ok(taken[before] as Taken)
    const text = await wire.until(answers(behind.includes('/c') ? 3 : 2))
    expect(text.match(/(?:GET|POST) \/(?:first|b|c)/g)).toEqual([
      'GET /first',
      behind.startsWith('GET') ? 'GET /b' : 'POST /b',
      ...(behind.includes('/c') ? ['GET /c'] : []),
    ])
    wire.socket.destroy()
  }
})

test('what comes between the end of an answer and what waits behind it is read after that', async () => {
  const smuggled = 'DELETE /smuggled HTTP/1.1\r\nHost: g\r\n\r\n'
  const { open, read, taken } = await serving(async one => {
    if (one.request.url === '/first') return
    const { bytes } = await readWhole(one.request, 1000)
    ok(one, `${one.request.url} ${bytes.length}`)
  })
  for (const [behind, rest] of [
    [`POST /b HTTP/1.1\r\nHost: g\r\nContent-Length: ${smuggled.length}\r\n\r\n`, smuggled],
    ['GET /b HTT', 'P/1.1\r\nHost: g\r\n\r\n'],
  ] as const) {
    const before = taken.length
    const wire = await open(get('/first'))
    while (taken.length === before) await setTimeout(1)
    const { request, response } = taken[before] as Taken
    wire.socket.write(behind)
    await read(wire, get('/first').length + behind.length)
    // The rest is read in the turn in which the answer ends.
    await new Promise<void>(resolve => {
      request.socket.prependOnceListener('data', () => {
        ok({ request, response })
        resolve()
      })
      wire.socket.write(rest)
    })
    expect(await wire.until(answers(2))).toMatch(/\/b \d+$/)
    expect(taken.slice(before).map(one => one.request.url)).toEqual(['/first', '/b'])
    wire.socket.destroy()
  }
})

test('more than is kept behind a call waits in the caller’s socket, and is read in the end', async () => {
  const { open, taken } = await serving(async one => {
    if (one.request.url === '/first') return
    const { bytes } = await readWhole(one.request, 1e8)
    ok(one, String(bytes.length))
  })
  const wire = await open(get('/first'))
  while (taken.length === 0) await setTimeout(1)
  wire.socket.write(`POST /b HTTP/1.1\r\nHost: g\r\nContent-Length: 9000000\r\n\r\n${'x'.repeat(9_000_000)}`)
  await setTimeout(100)
  expect(wire.socket.writableLength).toBeGreaterThan(0)
  ok(taken[0] as Taken)
  expect(await wire.until(answers(2))).toMatch(/9000000$/)
})

test('who does not take its answers gets no more of them made', async () => {
  const { open, taken } = await serving(({ response }) => {
    response.writeHead(200, ['Content-Length', '1000000'])
    response.end(Buffer.alloc(1_000_000))
  })
  const wire = await open('')
  wire.socket.pause()
  for (let n = 0; n < 40; n++) {
    wire.socket.write(get(`/${n}`))
    await setTimeout(2)
  }
  const before = taken.length
  expect(before).toBeLessThan(20)
  let came = 0
  wire.socket.on('data', (chunk: Buffer) => {
    came += chunk.length
  })
  wire.socket.resume()
  while (came < 40_000_000) await setTimeout(5)
  expect(taken.map(({ request }) => request.url)).toEqual(Array.from({ length: 40 }, (_, n) => `/${n}`))
})

test('a caller that leaves is noticed, whether it ends or resets, also behind what it sent last', async () => {
  for (const behind of ['', get('/b')])
    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const { open, taken } = await serving(() => {})
      const wire = await open(get('/a'))
      while (taken.length === 0) await setTimeout(1)
      const { response } = taken[0] as Taken
      const gone = new Promise<void>(resolve => response.once('close', () => resolve()))
      if (behind !== '') wire.socket.write(behind)
      wire.socket[leave]()
      await gone
      expect(response.destroyed).toBe(true)
      expect(response.writableFinished).toBe(false)
      expect(response.write('x')).toBe(true)
      response.end()
    }
})

test('an answer ends in close, and only one that was taken was finished', async () => {
  const { open, taken } = await serving(() => {})
  const wire = await open(get('/a'))
  while (taken.length === 0) await setTimeout(1)
  const { response } = taken[0] as Taken
  let closed = 0
  response.on('close', () => closed++)
  wire.socket.pause()
  // More than the system keeps for a connection.
  response.writeHead(200, ['Content-Length', '40000000'])
  let written = false
  const more = response.write(Buffer.alloc(20_000_000), error => {
    written = !error
  })
  response.end(Buffer.alloc(20_000_000))
  await setTimeout(20)
  expect([more, response.writableEnded, response.writableFinished, written, closed]).toEqual([
    ...[false, true, false, false, 0],
  ])
  wire.socket.resume()
  await wire.until(text => text.length > 40_000_000)
  while (closed === 0) await setTimeout(1)
  expect([response.writableFinished, written, closed]).toEqual([true, true, 1])

  wire.socket.write(get('/b'))
  while (taken.length === 1) await setTimeout(1)
  const second = (taken[1] as Taken).response
  wire.socket.pause()
  second.writeHead(200, [])
  expect(second.write(Buffer.alloc(20_000_000))).toBe(false)
  const drained = new Promise<void>(resolve => second.on('drain', resolve))
  wire.socket.resume()
  await drained
  second.end()
})

test('a thousand requests are answered one after the other, and the last answer says so', async () => {
  const { open, taken } = await serving(ok)
  const wire = await open('')
  for (let n = 1; n <= 1000; n++) {
    wire.socket.write(get(`/${n}`))
    while (taken.length < n) await new Promise(resolve => setImmediate(resolve))
  }
  await wire.closed
  expect(taken.every(({ request }) => request instanceof PlainRequest)).toBe(true)
  expect(wire.text().match(/Connection: close/g)).toHaveLength(1)
})

test('who says nothing is refused in time, and later than who is idle between two calls', async () => {
  const { open, refused } = await serving(ok, { headMs: 200, keepAliveMs: 1000, stallMs: 300 })
  const used = await open(get('/a'))
  const silent = await open('')
  await silent.until(text => text.includes('it did not arrive in time'))
  expect(refused).toEqual(['malformed'])
  await silent.closed
  expect(used.socket.closed).toBe(false)
  await used.closed
})

test('who takes a large answer slowly but steadily is not cut off', async () => {
  const { open } = await serving(
    ({ response }) => {
      response.writeHead(200, ['Content-Length', '30000000'])
      response.end(Buffer.alloc(30_000_000))
    },
    { stallMs: 300 },
  )
  const wire = await open(get('/a'))
  let taken = 0
  wire.socket.on('data', (chunk: Buffer) => {
    taken += chunk.length
    wire.socket.pause()
    void setTimeout(2).then(() => wire.socket.resume())
  })
  const begun = performance.now()
  while (taken < 30_000_000 && !wire.socket.closed) await setTimeout(20)
  expect(taken).toBeGreaterThan(30_000_000)
  expect(performance.now() - begun).toBeGreaterThan(600)
})

test('an answer that ended and was not taken ends in close, and was not finished', async () => {
  const { open, taken } = await serving(() => {})
  for (const leave of ['resetAndDestroy', 'pause'] as const) {
    const before = taken.length
    const wire = await open(get('/a'))
    while (taken.length === before) await setTimeout(1)
    const { request, response } = taken[before] as Taken
    wire.socket.pause()
    const closed = new Promise<void>(resolve => response.on('close', () => resolve()))
    response.writeHead(200, ['Content-Length', '30000000'])
    response.end(Buffer.alloc(30_000_000))
    wire.socket[leave]()
    if (leave === 'pause') request.socket.destroy()
    await closed
    expect([response.destroyed, response.writableFinished]).toEqual([true, false])
  }
})

test('a caller that stops sending gets what was written before, and nothing after it counts as sent', async () => {
  const { open, taken } = await serving(() => {})
  const wire = await open(get('/a'))
  while (taken.length === 0) await setTimeout(1)
  const { request, response } = taken[0] as Taken
  response.writeHead(200, [])
  response.write('w'.repeat(8_000_000))
  wire.socket.end()
  await once(request.socket, 'end')
  await setTimeout(1)
  let failed: unknown
  response.write('more', error => {
    failed = error
  })
  response.end('end')
  expect(failed).toBeInstanceOf(Error)
  await wire.closed
  expect(wire.text().match(/w/g)).toHaveLength(8_000_000)
  expect([response.destroyed, response.writableFinished]).toEqual([true, false])
})

test('a head that was refused leaves nothing behind', async () => {
  const { open } = await serving(({ response }) => {
    expect(() => response.writeHead(200, ['Content-Length', '5', 'Connection', 'close', 'X', 'a\x01'])).toThrow()
    response.writeHead(502, ['Content-Length', '2'])
    response.end('no')
  })
  const wire = await open(get('/a'))
  expect(await wire.until(text => text.endsWith('no'))).toMatch(/^HTTP\/1\.1 502 [\s\S]*Connection: keep-alive/)
})

test('a connection is good for a thousand requests, whoever reads them', async () => {
  const { open, taken } = await serving(ok)
  const wire = await open('')
  for (let n = 1; n <= 900; n++) {
    wire.socket.write(get(`/${n}`))
    while (taken.length < n) await new Promise(resolve => setImmediate(resolve))
  }
  wire.socket.write(get('/p').repeat(200))
  await wire.closed
  expect(taken).toHaveLength(1000)
  expect(taken.filter(({ request }) => request instanceof PlainRequest)).toHaveLength(900)
})
