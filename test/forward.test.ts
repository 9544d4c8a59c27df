import { once } from 'node:events'
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { connect } from 'node:net'
import { afterAll, afterEach, expect, it } from 'vitest'
import { credential } from '../src/credentials/make.ts'
import { closePools, forward, type Sending, type Sent, type Sink, toMemory, toResponse } from '../src/forward.ts'
import type { Header } from '../src/nouns.ts'
import type { Upstream } from '../src/settings.ts'
import { upstreamOf } from './support/heads.ts'
import { type Answers, type Recorder, startRecorder } from './support/recorder.ts'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})
afterAll(closePools)

const recording = async (answers: Answers = {}): Promise<Recorder> => {
  const recorder = await startRecorder(answers)
  closing.push(() => recorder.close())
  return recorder
}

const upstreamAt = (url: string, timeouts: Partial<Upstream['timeouts']> = {}): Upstream =>
  upstreamOf({ url, timeouts: { connectMs: 2000, headersMs: 5000, idleMs: 5000, tunnelMs: 5000, ...timeouts } })

const sending = (upstream: Upstream, more: Partial<Sending> = {}): Sending => ({
  upstream,
  method: 'GET',
  target: '/',
  headers: [],
  body: undefined,
  contentLength: undefined,
  fresh: false,
  ...more,
})

const kept = async (
  upstream: Upstream,
  more: Partial<Sending> = {},
): Promise<{ sent: Sent; memory: ReturnType<typeof toMemory> }> => {
  const memory = toMemory(1 << 20)
  return { sent: await forward(sending(upstream, more), memory), memory }
}

const answerOf = (memory: ReturnType<typeof toMemory>) => {
  const answer = memory.answer()
  if (answer === 'too_large') throw new Error('too large')
  return { ...answer, body: answer.body.toString() }
}

it('sends target, header lines and body byte for byte, under the path of the url', async () => {
  const recorder = await recording()
  const target = '/a%2Fb;x=1/%c3%a4//c?x=1&x=2&empty=&q=%20+'
  const { sent, memory } = await kept(upstreamAt(`${recorder.url}/base/`), {
    method: 'PUT',
    target,
    headers: [
      ['X-b', '1'],
      ['x-A', '2'],
      ['X-b', '3'],
    ],
    body: Buffer.from([0, 255, 13, 10]),
  })
  expect(sent).toEqual({ state: 'answered', status: 200, complete: true })
  expect(answerOf(memory).body).toBe('ok\n')
  expect(recorder.connections[0]?.toString('latin1')).toBe(
    `PUT /base${target} HTTP/1.1\r\nhost: 127.0.0.1:${recorder.port}\r\nconnection: keep-alive\r\nX-b: 1\r\nx-A: 2\r\nX-b: 3\r\n` +
      `content-length: 4\r\n\r\n\x00\xff\r\n`,
  )
})

it.each([
  ['DELETE with a known length', 'DELETE', 6, 'content-length: 6\r\n\r\nabcdef'],
  ['DELETE in chunks', 'DELETE', undefined, 'transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'],
  ['GET with a body', 'GET', 6, 'content-length: 6\r\n\r\nabcdef'],
  ['POST in chunks', 'POST', undefined, 'transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'],
  ['REPORT with a known length', 'REPORT', 6, 'content-length: 6\r\n\r\nabcdef'],
])('frames a streamed body once: %s', async (_, method, contentLength, wire) => {
  const recorder = await recording()
  const upstream = upstreamAt(recorder.url)
  async function* body() {
    yield Buffer.from('abc')
    yield Buffer.from('def')
  }
  await kept(upstream, { method, body: body(), contentLength })
  const { sent } = await kept(upstream)
  expect(sent.state).toBe('answered')
  expect(recorder.requests.map(request => [request.method, request.body.toString(), request.broken])).toEqual([
    [method, 'abcdef', undefined],
    ['GET', '', undefined],
  ])
  expect(recorder.connections[0]?.toString('latin1').split('\r\n').slice(3).join('\r\n')).toContain(wire)
})

it.each([
  ['POST', 'content-length: 0\r\n'],
  ['DELETE', undefined],
])('sends %s without a body', async (method, line) => {
  const recorder = await recording()
  await kept(upstreamAt(recorder.url), { method, contentLength: 0 })
  const [request] = recorder.requests
  expect(request?.broken).toBeUndefined()
  if (line === undefined) expect(request?.head).not.toMatch(/content-length|transfer-encoding/i)
  else expect(request?.head).toContain(line)
})

it('keeps a connection for the next call, but never for a fresh one', async () => {
  const recorder = await recording()
  const upstream = upstreamAt(recorder.url)
  for (const fresh of [false, false, true, true, false]) {
    await kept(upstream, { fresh })
    // undici takes a connection back one turn later.
    await new Promise(resolve => setImmediate(resolve))
  }
  expect(recorder.requests.map(request => request.connection)).toEqual([0, 0, 1, 2, 0])
  expect(recorder.requests[2]?.head).toContain('connection: close\r\n')
})

const headOf = async (
  answer: string,
  method = 'GET',
): Promise<{ sent: Sent; headers: readonly Header[]; body: string }> => {
  const recorder = await recording({
    answer(_, socket) {
      socket.end(answer, 'latin1')
      return undefined
    },
  })
  const { sent, memory } = await kept(upstreamAt(recorder.url), { method })
  return { sent, ...answerOf(memory) }
}

it('hands on the head of an answer as it came, without what is for the connection or speaks for us', async () => {
  const { headers, body } = await headOf(
    'HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nX-Odd: caf\xe9\r\nset-cookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\n' +
      'Transfer-Encoding: chunked\r\nTrailer: X-T\r\nUpgrade: h2c\r\nHoldpoint-Hold: forged\r\nAlt-Svc: h3=":443"\r\n' +
      'Set-Cookie: __Host-holdpoint=1\r\nSet-Cookie: holdpoint_session=1\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n',
  )
  expect(headers).toEqual([
    ['Set-Cookie', 'a=1'],
    ['X-Odd', 'caf\xe9'],
    ['set-cookie', 'b=2'],
  ])
  expect(body).toBe('hi')
})

it.each([
  ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', [['Content-Length', '5']]],
  [
    'GET',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n',
    [
      ['Content-Length', '5'],
      ['ETag', '"x"'],
    ],
  ],
  ['GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', []],
  [
    'GET',
    'HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n',
    [
      ['Location', 'http://elsewhere/'],
      ['Content-Length', '0'],
    ],
  ],
])('%s answered with %j', async (method, answer, headers) => {
  const got = await headOf(answer, method)
  expect(got).toEqual({
    sent: expect.objectContaining({ state: 'answered', complete: true }),
    status: expect.anything(),
    headers,
    body: '',
  })
})

it('passes early hints and goes on to the answer', async () => {
  const recorder = await recording({
    answer: () =>
      'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  })
  const memory = toMemory(100)
  const early: unknown[] = []
  const sent = await forward(sending(upstreamAt(recorder.url)), {
    ...memory,
    informational: (status, headers) => void early.push(status, headers),
  })
  expect(early).toEqual([103, [['Link', '</a>; rel=preload']]])
  expect(sent).toMatchObject({ state: 'answered', status: 200 })
})

const go = 'HTTP/1.1 100 Continue\r\n\r\n'

it.each([
  ['one', [`${go}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`]],
  ['one without a reason', ['HTTP/1.1 100\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi']],
  [
    'one with lines of its own',
    [go.replace('\r\n', '\r\nX-A: b\r\n'), 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
  ],
  ['one in drops', [...`${go}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`]],
  ['several, and others', [`${go}${go}HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`]],
  ['none', [...'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi']],
])('passes over 100 Continue that nobody asked for: %s', async (_, pieces) => {
  const recorder = await recording({
    answer(_request, socket) {
      socket.setNoDelay(true)
      const write = ([piece, ...more]: readonly string[]): void => {
        if (piece !== undefined) socket.write(piece, () => setImmediate(write, more))
      }
      write(pieces)
      return undefined
    },
  })
  const upstream = upstreamAt(recorder.url)
  for (const fresh of [false, false, true]) {
    const { sent, memory } = await kept(upstream, { fresh, method: 'POST', body: Buffer.from('x'), contentLength: 1 })
    expect(sent).toEqual({ state: 'answered', status: 200, complete: true })
    expect(answerOf(memory).body).toBe('hi')
    await new Promise(resolve => setImmediate(resolve))
  }
  expect(recorder.requests.map(({ connection }) => connection)).toEqual([0, 0, 1])
})

it('leaves a body alone that looks like 100 Continue', async () => {
  const body = `${go}${go}`
  const recorder = await recording({
    answer: () => `${go}HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  })
  const { memory } = await kept(upstreamAt(recorder.url))
  expect(answerOf(memory).body).toBe(body)
})

it.each([
  ['breaks off', 'HTTP/1.1 100 Cont'],
  ['is all that comes', go],
  ['has a line that is none', 'HTTP/1.1 1000 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['never ends', `HTTP/1.1 100 Continue\r\n${'X-A: b\r\n'.repeat(20_000)}`],
])('is lost when a 100 Continue %s', async (_, answer) => {
  const recorder = await recording({
    answer(_request, socket) {
      socket.end(answer, 'latin1')
      return undefined
    },
  })
  const { sent } = await kept(upstreamAt(recorder.url))
  expect(sent).toMatchObject({ state: 'lost', timeout: false })
})

it.each([
  ['closes without an answer', ''],
  ['answers with something else', 'SSH-2.0-OpenSSH\r\n\r\n'],
  [
    'switches protocols unasked',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
  ],
  [
    'switches protocols without saying to what, and goes on',
    'HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi',
  ],
  ['gives two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
  ['puts off its answer without end', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(101)],
  ['gives a coding of its own', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
  ['gives a coding below its chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  [
    'puts off its answer without end',
    `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(101)}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`,
  ],
  ['gives a coding of its own', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
  ['gives a coding below its chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  ['gives a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
])('is lost, and not sent again, when the upstream %s', async (_, answer) => {
  const recorder = await recording({
    answer(_request, socket) {
      socket.end(answer, 'latin1')
      return undefined
    },
  })
  const { sent } = await kept(upstreamAt(recorder.url))
  expect(sent).toMatchObject({ state: 'lost', timeout: false })
  expect(recorder.requests).toHaveLength(1)
})

it('is lost when a kept connection closes as the next call is sent', async () => {
  let first = true
  const recorder = await recording({
    answer(_, socket) {
      if (first) {
        first = false
        return 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
      }
      socket.destroy()
      return undefined
    },
  })
  const upstream = upstreamAt(recorder.url)
  await kept(upstream)
  const { sent } = await kept(upstream)
  expect(sent.state).toBe('lost')
  expect(recorder.requests).toHaveLength(2)
})

it.each([
  ['by length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'],
  ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n'],
])('says that an answer broke off %s', async (_, answer) => {
  const recorder = await recording({
    answer(_request, socket) {
      socket.end(answer)
      return undefined
    },
  })
  const memory = toMemory(100)
  let broken = 0
  const sent = await forward(sending(upstreamAt(recorder.url)), { ...memory, broken: () => void broken++ })
  expect(sent).toEqual({ state: 'answered', status: 200, complete: false })
  expect(broken).toBe(1)
})

it('says that an answer without a length broke off where its connection was reset', async () => {
  let connection: Socket | undefined
  const recorder = await recording({
    answer(_, socket) {
      connection = socket
      return 'HTTP/1.1 200 OK\r\n\r\nab'
    },
  })
  const memory = toMemory(100)
  const sent = await forward(sending(upstreamAt(recorder.url)), {
    ...memory,
    data(chunk) {
      connection?.resetAndDestroy()
      return memory.data(chunk)
    },
  })
  expect(sent).toEqual({ state: 'answered', status: 200, complete: false })
})

const freePort = async (): Promise<number> => {
  const recorder = await startRecorder()
  await recorder.close()
  return recorder.port
}

it.each([true, false])('is unreachable when nobody listens (fresh: %s)', async fresh => {
  const { sent } = await kept(upstreamAt(`http://127.0.0.1:${await freePort()}`), { fresh })
  expect(sent.state).toBe('unreachable')
})

it('is unreachable when the certificate cannot be trusted, whatever the environment says', async () => {
  const { createServer: createTls } = await import('node:https')
  const { key, cert } = selfSigned
  const server = createTls({ key, cert }, (_, response) => response.end('never'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => new Promise(resolve => server.close(resolve)))
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  try {
    const { sent } = await kept(upstreamAt(`https://127.0.0.1:${(server.address() as AddressInfo).port}`))
    expect(sent).toMatchObject({ state: 'unreachable', cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' } })
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
  }
})

it('refuses a target that is no path', async () => {
  const recorder = await recording()
  for (const target of ['*', 'http://elsewhere/', '@elsewhere/', '']) {
    const { sent } = await kept(upstreamAt(recorder.url), { target })
    expect(sent.state).toBe('unreachable')
  }
  expect(recorder.connections).toHaveLength(0)
})

it('ignores proxies of the environment', async () => {
  const recorder = await recording()
  process.env.HTTP_PROXY = `http://127.0.0.1:${await freePort()}`
  process.env.NODE_USE_ENV_PROXY = '1'
  try {
    expect((await kept(upstreamAt(recorder.url))).sent.state).toBe('answered')
  } finally {
    delete process.env.HTTP_PROXY
    delete process.env.NODE_USE_ENV_PROXY
  }
})

it('gives up on an upstream that does not answer in time, and says that it may have been sent', async () => {
  const recorder = await recording({ answer: () => undefined })
  const { sent } = await kept(upstreamAt(recorder.url, { headersMs: 50 }))
  expect(sent).toMatchObject({ state: 'lost', timeout: true })
})

it('gives up on an answer that stops', async () => {
  const recorder = await recording({ answer: () => 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab' })
  const { sent } = await kept(upstreamAt(recorder.url, { idleMs: 50 }))
  expect(sent).toEqual({ state: 'answered', status: 200, complete: false })
})

it('calls off a call that still waits for its connection, and sends none of it', async () => {
  const recorder = await recording()
  const upstream = upstreamAt(recorder.url)
  const gone = new AbortController()
  const sent = kept(upstream, { target: '/called-off', signal: gone.signal })
  gone.abort()
  expect((await sent).sent.state).toBe('unreachable')
  const already = await kept(upstream, { target: '/called-off', signal: AbortSignal.abort() })
  expect(already.sent.state).toBe('unreachable')
  for (const target of ['/next', '/last']) await kept(upstream, { target })
  expect(recorder.requests.map(request => request.target)).toEqual(['/next', '/last'])
})

it('calls off a call under way', async () => {
  const recorder = await recording({ answer: () => undefined })
  const gone = new AbortController()
  const sent = kept(upstreamAt(recorder.url), { signal: gone.signal })
  await recorder.arrived(1)
  gone.abort(new Error('the caller hung up'))
  expect((await sent).sent).toMatchObject({ state: 'lost', timeout: false, cause: { message: 'the caller hung up' } })
  await recorder.idle()
})

it('keeps an answer up to a limit, and takes a larger one to its end', async () => {
  const recorder = await recording({ answer: () => `HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n${'x'.repeat(11)}` })
  const upstream = upstreamAt(recorder.url)
  const small = toMemory(10)
  expect(await forward(sending(upstream), small)).toMatchObject({ complete: true })
  expect(small.answer()).toBe('too_large')
  const large = toMemory(11)
  await forward(sending(upstream), large)
  expect(large.answer()).toMatchObject({ status: 200, body: Buffer.from('x'.repeat(11)) })
})

// ---- through a server of node's

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const serving = async (handler: Handler): Promise<{ server: Server; port: number }> => {
  const server = createServer(handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    return new Promise(resolve => server.close(resolve))
  })
  return { server, port: (server.address() as AddressInfo).port }
}

const lengthOf = (request: IncomingMessage): number | undefined =>
  request.headers['content-length'] === undefined ? undefined : Number(request.headers['content-length'])

const passing = (upstream: Upstream, results: Promise<Sent>[] = [], extra: readonly Header[] = []) =>
  serving((request, response) => {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const { method = '', url = '' } = request
    const hasBody =
      request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined
    const body = hasBody ? request : undefined
    results.push(
      forward(
        sending(upstream, { method, target: url, body, contentLength: lengthOf(request), signal: gone.signal }),
        toResponse(response, extra),
      ),
    )
  })

/** Sends raw bytes and reads until the other side closes, or `until` is in what came. */
const raw = async (port: number, bytes: string, until?: string): Promise<string> => {
  const socket: Socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('error', () => {})
  const enough = new Promise<void>(resolve => {
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      if (until !== undefined && text.includes(until)) resolve()
    })
    socket.on('close', () => resolve())
  })
  socket.write(bytes, 'latin1')
  await enough
  socket.destroy()
  return text
}

it('writes an answer to the caller with its reason, its lines and ours', async () => {
  const recorder = await recording({
    answer: () =>
      'HTTP/1.1 201 Well Done\r\nX-a: 1\r\nset-cookie: a\r\nHoldpoint-Hold: forged\r\nDate: now\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nhi',
  })
  const { port } = await passing(upstreamAt(recorder.url), [], [['Holdpoint-Hold', 'h_1']])
  expect(await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).toBe(
    'HTTP/1.1 201 Well Done\r\nX-a: 1\r\nset-cookie: a\r\nDate: now\r\nSet-Cookie: b\r\nContent-Length: 2\r\nHoldpoint-Hold: h_1\r\nConnection: close\r\n\r\nhi',
  )
})

it('writes a head at once, before the first byte of its body', async () => {
  let upstreamSocket: Socket | undefined
  const recorder = await recording({
    answer(_, socket) {
      upstreamSocket = socket
      return 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n'
    },
  })
  const { port } = await passing(upstreamAt(recorder.url))
  const head = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', '\r\n\r\n')
  expect(head).toContain('text/event-stream')
  upstreamSocket?.destroy()
})

it('writes a reason phrase that node would refuse without it, and early hints only as far as they are links', async () => {
  const recorder = await recording({
    answer: () =>
      Buffer.from(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX-No: 1\r\n\r\nHTTP/1.1 200 \xe9\u00ff\r\nContent-Length: 0\r\n\r\n',
        'latin1',
      ),
  })
  const { port } = await passing(upstreamAt(recorder.url))
  const text = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  expect(text).toMatch(/^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  expect(await raw(port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
})

// ---- trailers

const trailing = (trailer: string, lines: string): string =>
  `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${trailer}\r\n2\r\nhi\r\n0\r\n${lines}\r\n`

it.each([
  ['are announced and passed on', 'GET', 'TE: trailers\r\n'],
  ['are passed on among other codings', 'GET', 'TE: gzip;q=0.5, Trailers\r\n'],
  ['are dropped for who did not ask', 'GET', ''],
  ['are dropped for who asked for something else', 'GET', 'TE: trailersx, gzip\r\n'],
])('trailers %s', async (what, method, te) => {
  const answer = trailing(
    'Trailer: Grpc-Status, Content-Length, X-Sum\r\nTrailer: Set-Cookie\r\nConnection: X-Hop\r\n',
    [
      'Grpc-Status: 0',
      'X-Sum: a b',
      'x-sum: c',
      'Content-Digest: sha-256=:x:',
      'ETag: "e"',
      'Transfer-Encoding: chunked',
      'Content-Type: text/html',
      'Content-Encoding: gzip',
      'Set-Cookie: a=1',
      'Authorization: Bearer x',
      'WWW-Authenticate: Basic',
      'Proxy-Authenticate: Basic',
      'Location: http://elsewhere/',
      'Host: elsewhere',
      'Cache-Control: public',
      'Holdpoint-Hold: forged',
      'Access-Control-Allow-Origin: *',
      'X-Hop: 1',
      'Keep-Alive: x',
      'Trailer: y',
      '',
    ].join('\r\n'),
  )
  const recorder = await recording({ answer: () => answer })
  const { port } = await passing(upstreamAt(recorder.url))
  const text = await raw(port, `${method} / HTTP/1.1\r\nHost: a\r\n${te}Connection: close\r\n\r\n`)
  const [head = '', body = ''] = text.split('\r\n\r\n2\r\nhi\r\n')
  if (what.includes('dropped')) {
    expect(head).not.toMatch(/^trailer:/im)
    expect(body).toBe('0\r\n\r\n')
  } else {
    expect(head).toMatch(/^Trailer: Grpc-Status, X-Sum$/m)
    expect(body).toBe(
      '0\r\nGrpc-Status: 0\r\nX-Sum: a b\r\nx-sum: c\r\nContent-Digest: sha-256=:x:\r\nETag: "e"\r\n\r\n',
    )
  }
})

it.each([
  ['HEAD', 'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n', '1.1'],
  ['GET', 'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 2\r\n\r\nhi', '1.1'],
  ['GET', 'HTTP/1.1 204 No Content\r\nTrailer: X-Sum\r\n\r\n', '1.1'],
  ['GET', trailing('Trailer: X-Sum\r\n', 'X-Sum: a\r\n'), '1.0'],
])(
  'trailers are not announced where none can come: %s answered with %j to HTTP/%3$s',
  async (method, answer, version) => {
    const recorder = await recording({ answer: () => answer })
    const { port } = await passing(upstreamAt(recorder.url))
    const text = await raw(port, `${method} / HTTP/${version}\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n`)
    expect(text).toMatch(/^HTTP\/1\.1 20[04] /)
    expect(text).not.toMatch(/trailer|x-sum/i)
  },
)

it('cuts the caller off when the answer breaks off, so that nobody takes it for whole', async () => {
  const recorder = await recording({
    answer(_, socket) {
      socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n')
      return undefined
    },
  })
  const { port } = await passing(upstreamAt(recorder.url))
  const text = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  expect(text).not.toContain('\r\n0\r\n\r\n')
})

it('hangs up on the upstream when the caller hangs up, in the middle of the body and of the answer', async () => {
  const recorder = await recording({ answer: () => 'HTTP/1.1 200 OK\r\n\r\nfirst' })
  const results: Promise<Sent>[] = []
  const { port } = await passing(upstreamAt(recorder.url), results)
  await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'first')
  await recorder.idle()
  expect(await results[0]).toEqual({ state: 'answered', status: 200, complete: false })

  const socket = connect(port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
  while (!recorder.connections[1]?.includes('abc')) await new Promise(resolve => setImmediate(resolve))
  socket.destroy()
  await recorder.idle()
  expect((await results[1])?.state).toBe('lost')
  expect(recorder.connections[1]?.toString()).not.toContain('\r\n0\r\n')
  expect(recorder.requests).toHaveLength(1)
})

it('passes on an answer that comes before the body has ended, and keeps the connection of the caller in step', async () => {
  const recorder = await recording({
    onHead: head => (head.startsWith('POST') ? 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno' : undefined),
  })
  const { port } = await passing(upstreamAt(recorder.url))
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('data', chunk => {
    text += chunk
    socket.emit('came')
  })
  // More than node keeps for a reader that has stopped.
  const rest = 'x'.repeat(1 << 20)
  socket.write(`POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: ${3 + rest.length}\r\n\r\nabc`)
  while (!text.endsWith('no')) await once(socket, 'came')
  socket.write(`${rest}GET /next HTTP/1.1\r\nHost: a\r\n\r\n`)
  while (!text.endsWith('ok\n')) await once(socket, 'came')
  expect(recorder.requests.map(request => request.target)).toEqual(['/next'])
  socket.destroy()
})

it('sends what was read ahead, then the rest', async () => {
  const recorder = await recording()
  const upstream = upstreamAt(recorder.url)
  const { port } = await serving(async (request, response) => {
    const [first] = (await once(request, 'data')) as [Buffer]
    request.pause()
    await forward(
      sending(upstream, { method: 'POST', body: request, readAhead: first, contentLength: lengthOf(request) }),
      toResponse(response, []),
    )
  })
  const client = httpRequest({ port, host: '127.0.0.1', method: 'POST', headers: { 'content-length': 8 } })
  client.write('head')
  const answered = once(client, 'response')
  setImmediate(() => client.end('tail'))
  const [response] = (await answered) as [IncomingMessage]
  response.resume()
  expect(recorder.requests[0]?.body.toString()).toBe('headtail')
})

const big = 64 << 20

/** How much went through once it has stopped; nothing tells when a stream stops, so look until it has not moved for a while. */
const stalledAt = async (flowed: () => number): Promise<number> => {
  for (let last = -1, same = 0; same < 20; ) {
    await new Promise(resolve => setTimeout(resolve, 10))
    same = flowed() === last ? same + 1 : 0
    last = flowed()
  }
  return flowed()
}

/** Writes `big` bytes as fast as they are taken. */
const pour = (into: {
  write(chunk: Buffer): boolean
  once(event: 'drain', listener: () => void): unknown
}): (() => number) => {
  let flowed = 0
  const write = (): void => {
    while (flowed < big) {
      flowed += 1 << 16
      if (!into.write(Buffer.alloc(1 << 16))) {
        into.once('drain', write)
        return
      }
    }
  }
  write()
  return () => flowed
}

it('waits for a slow caller instead of buffering its answer', async () => {
  let flowed = (): number => 0
  const { port: upstream } = await serving((_, response) => {
    response.writeHead(200, { 'content-length': big })
    flowed = pour(response)
  })
  const { port } = await passing(upstreamAt(`http://127.0.0.1:${upstream}`))
  const socket = connect(port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket, 'data')
  socket.pause()
  expect(await stalledAt(flowed)).toBeLessThan(big / 2)
  socket.destroy()
})

it('says that bytes are spent when the connection has taken them, and never of those that it did not take', async () => {
  const said: string[] = []
  const answers = Promise.withResolvers<ServerResponse>()
  const { port } = await serving((_, response) => answers.resolve(response))
  const socket = connect(port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const response = await answers.promise
  const sink = toResponse(response, [])
  sink.head(200, [], 'OK')
  // More than both ends of the connection hold; nobody reads.
  expect(sink.data(Buffer.alloc(big), false, () => said.push('first'))).toBe(false)
  sink.data(Buffer.alloc(1), false, () => said.push('second'))
  await stalledAt(() => response.socket?.bytesWritten ?? 0)
  expect(said).toEqual([])
  let read = 0
  socket.on('data', chunk => {
    read += chunk.length
  })
  while (said.length < 2) await once(response, 'drain')
  expect(said).toEqual(['first', 'second'])
  socket.pause()
  sink.data(Buffer.alloc(big), false, () => said.push('third'))
  await stalledAt(() => read)
  socket.destroy()
  await once(response, 'close')
  expect(said).toEqual(['first', 'second'])
  // What comes for a caller that has gone is thrown away at once.
  sink.data(Buffer.alloc(1), false, () => said.push('fourth'))
  expect(said).toEqual(['first', 'second', 'fourth'])
})

/** Bytes of which no two stretches are the same: what came twice, or from somebody else, is seen. */
const unlike = (seed: number, size: number): Buffer => {
  const words = new Uint32Array(size / 4)
  for (let at = 0; at < words.length; at++) words[at] = Math.imul(at + seed, 2654435761) ^ (seed << 24)
  return Buffer.from(words.buffer)
}

it.each([
  ['with its length', true, []],
  ['in chunks', false, []],
  ['that is searched for our credential', true, ['never-in-these-bytes']],
])('callers who take large answers by fits and starts get every byte of their own: %s', async (_, sized, secrets) => {
  const size = 24 << 20
  const bodies = [1, 2, 3].map(seed => unlike(seed, size))
  const { port: upstream } = await serving((request, response) => {
    const body = bodies[Number(request.url?.slice(1))] ?? Buffer.alloc(0)
    if (sized) response.writeHead(200, { 'content-length': size })
    // In pieces, so that one call reads while another one writes.
    for (let at = 0; at < size; at += 1 << 20) response.write(body.subarray(at, at + (1 << 20)))
    response.end()
  })
  const { port } = await serving((request, response) => {
    const asked = sending(upstreamAt(`http://127.0.0.1:${upstream}`), { target: request.url ?? '', secrets })
    void forward(asked, toResponse(response, []))
  })
  const agent = new Agent({ keepAlive: true })
  const take = async (which: number): Promise<boolean> => {
    const [response] = (await once(
      httpRequest({ port, host: '127.0.0.1', path: `/${which}`, agent }).end(),
      'response',
    )) as [IncomingMessage]
    const got: Buffer[] = []
    let pieces = 0
    for await (const piece of response) {
      got.push(piece)
      if (++pieces % 50 === 0) await new Promise(resolve => setTimeout(resolve, which))
    }
    return Buffer.concat(got).equals(bodies[which] ?? Buffer.alloc(1))
  }
  // Each twice, so that connections are used again.
  for (const round of [1, 2])
    expect([round, await Promise.all(bodies.map((_, which) => take(which)))]).toEqual([round, [true, true, true]])
  agent.destroy()
})

it('takes an answer to its end when its caller has gone, if nobody calls the call off', async () => {
  const { port: upstream } = await serving((_, response) => {
    response.writeHead(200, { 'content-length': 8 << 20 })
    response.end(Buffer.alloc(8 << 20))
  })
  const result = Promise.withResolvers<Sent>()
  const { port } = await serving((_, response) => {
    forward(sending(upstreamAt(`http://127.0.0.1:${upstream}`)), toResponse(response, [])).then(result.resolve)
  })
  const socket = connect(port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket, 'data')
  socket.destroy()
  expect(await result.promise).toEqual({ state: 'answered', status: 200, complete: true })
})

it('waits for a slow upstream instead of buffering the body', async () => {
  const arrived = Promise.withResolvers<IncomingMessage>()
  const { port: upstream } = await serving(request => arrived.resolve(request))
  const { port } = await passing(upstreamAt(`http://127.0.0.1:${upstream}`))
  const client = httpRequest({ port, host: '127.0.0.1', method: 'POST', headers: { 'content-length': big } })
  client.on('error', () => {})
  const flowed = pour(client)
  await arrived.promise
  expect(await stalledAt(flowed)).toBeLessThan(big / 2)
  client.destroy()
})

// ---- credentials

it.each([
  [{ kind: 'bearer', token: 't-1.x' }, [['Authorization', 'Bearer t-1.x']]],
  [
    { kind: 'basic', user: 'ä', password: 'p:w' },
    [['Authorization', `Basic ${Buffer.from('ä:p:w').toString('base64')}`]],
  ],
  [
    { kind: 'headers', headers: { 'X-Api-Key': 'k', 'x-two': 'a b' } },
    [
      ['X-Api-Key', 'k'],
      ['x-two', 'a b'],
    ],
  ],
  [undefined, []],
] as const)('makes the credential %j', async (settings, headers) => {
  const caller = {
    issuer: 'idp',
    subject: 'a',
    kind: 'agent',
    groups: [],
    actors: [],
    claims: {},
    expiresAt: 0,
  } as const
  const sending = { caller, method: 'GET', origin: 'http://up', target: '/', headers: [], body: undefined }
  expect(await credential(settings).headers(sending)).toEqual(headers)
})

it.each([
  [{ kind: 'bearer', token: 'a\r\nX-Admin: 1' }, 'credential.bearer'],
  [{ kind: 'bearer', token: 'a b' }, 'credential.bearer'],
  [{ kind: 'bearer', token: '' }, 'credential.bearer'],
  [{ kind: 'basic', user: 'a:b', password: 'c' }, 'credential.basic.user'],
  [{ kind: 'basic', user: 'a', password: 'c\n' }, 'credential.basic.password'],
  [{ kind: 'headers', headers: {} }, 'credential.headers'],
  [{ kind: 'headers', headers: { 'X A': '1' } }, 'credential.headers.X A'],
  [{ kind: 'headers', headers: { Host: 'x' } }, 'credential.headers.Host'],
  [{ kind: 'headers', headers: { 'Transfer-Encoding': 'chunked' } }, 'credential.headers.Transfer-Encoding'],
  [{ kind: 'headers', headers: { 'X-K': 'a\n' } }, 'credential.headers.X-K'],
  [{ kind: 'headers', headers: { 'X-K': '' } }, 'credential.headers.X-K'],
  [{ kind: 'headers', headers: { 'X-K': 'a', 'x-k': 'b' } }, 'credential.headers.x-k'],
] as const)('refuses the credential %j', (settings, field) => {
  expect(() => credential(settings)).toThrow(`${field}:`)
})

// Made for this test: a key that protects nothing, and its own signature.
const selfSigned = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/S3KzWJzZd+N+v/U
mL9ar+3U7eGpbZmUGa8lRM6OufihRANCAAQLwXspeoZbuwYJIwGO3ureyXsdRVuQ
jk5JUKyrEABv7iaVmB749qU7EEiNfkJ/29h/OVdC+I4wpmNscyct7u0T
-----END PRIVATE KEY-----`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUXMhkn7MLdaXUUvaKq9IRIcuRzl4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjA0MzAxNFoYDzIxMjYxMDI5
MDQzMDE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQLwXspeoZbuwYJIwGO3ureyXsdRVuQjk5JUKyrEABv7iaVmB749qU7
EEiNfkJ/29h/OVdC+I4wpmNscyct7u0To1MwUTAdBgNVHQ4EFgQUdOFTTBVLRs9e
oAkqKuQhydVNKtkwHwYDVR0jBBgwFoAUdOFTTBVLRs9eoAkqKuQhydVNKtkwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBT0u0I6XCoFmiQYMdaR4za
vzZ9O/kjc6mCWTuPBi8DogIhAP5t7zNKxk9MXEgLs9AVkRgwLiSbMZ96C39iweZu
nR+n
-----END CERTIFICATE-----`,
}

/** Type check only: a sink is plain functions, so it can be wrapped. */
const wrapped: Sink = { ...toMemory(1) }
void wrapped
