// Calls over the HTTP/1.1 client that do not go their way: upstreams that are slow, callers that go, takers that are slow or broken, tunnels,
// pools that are closed, and TLS that cannot be trusted.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Asked } from '../src/wire/exchange.ts'
import { http2 } from '../src/wire/http2.ts'
import type { Place } from '../src/wire/pool.ts'
import { type Certificates, makeCertificates, type Pair } from './support/certificates.ts'
import {
  type Asking,
  answeringOnce,
  ask,
  closing,
  lined,
  linesOf,
  listen,
  listening,
  plain,
  plainHead,
  pooled,
  recording,
  served,
  turn,
} from './support/exchange.ts'
import { ok, startRecorder } from './support/recorder.ts'

describe('an upstream takes too long', () => {
  const row = async (said: string, more: Partial<Asked>, afterMs: number): Promise<string | undefined> => {
    const heard = listening()
    const { one, take, socket } = await lined({ headersMs: 1_000, idleMs: 2_000, ...more }, heard.answering)
    if (said !== '') take(said)
    one.check(performance.now() + afterMs)
    const over = socket.destroyed
    if (!over) one.end(new Error('enough'))
    return over ? (await heard.over).words.at(-1) : undefined
  }
  test.each<[string, string, Partial<Asked>, number, string | undefined]>([
    ['to answer', '', {}, 1_000, 'timeout'],
    ['to answer, but not yet', '', {}, 900, undefined],
    ['to answer, with as long as it likes', '', { headersMs: 0 }, 1e9, undefined],
    ['for the rest of its head', 'HTTP/1.1 200 OK\r\nX-A:', {}, 1_000, 'timeout'],
    ['behind an interim answer', 'HTTP/1.1 103 Early\r\n\r\n', {}, 1_000, 'timeout'],
    ['for the first byte of its body', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n', {}, 2_000, 'timeout'],
    ['for the first byte, but not yet', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n', {}, 1_900, undefined],
    ['between two bytes', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh', {}, 2_000, 'timeout'],
    ['between two bytes, with as long as it likes', 'HTTP/1.1 200 OK\r\n\r\nh', { idleMs: 0 }, 1e9, undefined],
    [
      'in the middle of a chunk size',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1',
      {},
      2_000,
      'timeout',
    ],
  ])('%s', async (_, said, more, afterMs, word) => {
    expect(await row(said, more, afterMs)).toBe(word)
  })

  test('by itself', async () => {
    const recorder = await recording({ answer: () => undefined })
    const transport = pooled(recorder.url, { headersMs: 20 })
    expect((await ask(transport, { headersMs: 20 }).over).words).toEqual(['started', 'timeout'])
  })

  test('to take a connection, and nothing was sent', async () => {
    const url = await served(socket => socket.pause())
    const { words, cause } = await ask(pooled(url.replace('http', 'https'), { connectMs: 20 })).over
    expect(words).toEqual(['failed'])
    expect(String(cause)).toContain('no connection within 20 ms')
  })
})

// ---- callers that go, and takers that are slow or broken

describe('a call that is called off', () => {
  const gone = new Error('gone')

  test('before there is a connection is not sent, and the next one takes it', async () => {
    const recorder = await recording()
    const transport = pooled(recorder.url)
    const { callOff, over } = ask(transport, { target: '/gone' })
    callOff(gone)
    callOff(gone)
    expect(await over).toMatchObject({ words: ['failed'], cause: gone })
    while (recorder.connections.length === 0) await turn()
    await turn()
    await turn()
    await ask(transport, { target: '/next' }).over
    expect(recorder.requests.map(request => request.target)).toEqual(['/next'])
    expect(recorder.connections).toHaveLength(1)
  })

  test('before there is a connection of its own leaves none', async () => {
    const accepted = Promise.withResolvers<Socket>()
    const url = await served(accepted.resolve)
    const { callOff, over } = ask(pooled(url.replace('http', 'https'), { connectMs: 0 }), { fresh: true })
    const line = await accepted.promise
    const left = once(line.resume(), 'close')
    callOff(gone)
    expect((await over).words).toEqual(['failed'])
    await left
  })

  test.each([
    ['before the head', '', 'started'],
    ['within the head', 'HTTP/1.1 200 OK\r\nX-A', 'started'],
    ['behind an interim answer', 'HTTP/1.1 103 Early\r\n\r\n', 'interim 103'],
    ['behind the head', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', 'head 200'],
    ['within the body', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe', 'data'],
    ['within chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n', 'data'],
    ['within a body without a length', 'HTTP/1.1 200 OK\r\n\r\nhe', 'data'],
  ])('%s ends its connection, and is heard once', async (_, said, word) => {
    const recorder = await answeringOnce(said)
    const transport = pooled(recorder.url)
    const asking = ask(transport)
    await recorder.arrived(1)
    await asking.said(word)
    asking.callOff(gone)
    asking.callOff(gone)
    const heard = await asking.over
    await recorder.idle()
    expect(heard.cause).toBe(gone)
    expect(heard.words.filter(one => one === 'failed' || one === 'end')).toEqual(['failed'])
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, 1])
  })

  test.each([
    ['head', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['head', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['head', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'],
    ['interim', 'HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['data', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['data', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'],
  ] as const)('while its taker hears the %s of %j ends its connection', async (word, said) => {
    const recorder = await answeringOnce(said)
    const transport = pooled(recorder.url)
    let asking: Asking | undefined
    const leave = (): true => {
      asking?.callOff(gone)
      return true
    }
    asking = ask(transport, {}, { [word]: leave })
    const { words } = await asking.over
    expect(words.at(-1)).toBe('failed')
    await recorder.idle()
    expect(words.at(-1)).toBe('failed')
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, 1])
  })

  test('after its end leaves the connection to whom it serves then', async () => {
    let finish = (): void => {}
    const recorder = await recording({
      answer(request, socket) {
        if (request.target === '/first') return ok
        finish = () => void socket.write(ok)
        return undefined
      },
    })
    const transport = pooled(recorder.url)
    const first = ask(transport, { target: '/first' })
    await first.over
    const second = ask(transport, { target: '/second' })
    await recorder.arrived(2)
    first.callOff(gone)
    finish()
    expect((await second.over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, 0])
  })

  test('after there was no connection is heard no second time', async () => {
    const recorder = await startRecorder()
    await recorder.close()
    let failed = 0
    const asking = ask(pooled(recorder.url), {}, { failed: () => void failed++ })
    expect((await asking.over).words).toEqual(['failed'])
    asking.callOff(gone)
    expect(failed).toBe(1)
  })
})

describe('a taker that is slow', () => {
  test('holds up its answer, and the upstream is not blamed for it', async () => {
    let resume = (): void => {}
    const heard = listening({
      data(_, go) {
        resume = go
        return false
      },
    })
    const { one, upstream, socket, freed } = await lined({ idleMs: 1_000 }, heard.answering)
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh')
    await heard.said('data')
    expect(socket.isPaused()).toBe(true)
    one.check(performance.now() + 1_000_000)
    expect(socket.destroyed).toBe(false)
    resume()
    one.check(performance.now())
    upstream.write('i')
    expect((await heard.over).body).toBe('hi')
    expect(freed).toEqual([one])
    expect(socket.isPaused()).toBe(false)
  })

  test('is asked once for each piece that was read, in however many chunks it came', async () => {
    let asked = 0
    const heard = listening({
      data() {
        asked++
        return false
      },
    })
    const { take } = await lined({}, heard.answering)
    take('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    take('1\r\nx\r\n'.repeat(10_000))
    expect(asked).toBe(1)
    take('0\r\n\r\n')
    expect((await heard.over).body).toBe('x'.repeat(10_000))
  })

  test('and resumes late lets nobody else’s answer loose', async () => {
    let late = (): void => {}
    const first = listening({
      data(_, resume) {
        late = resume
        return false
      },
    })
    const { one, take, socket, freed } = await lined({}, first.answering)
    take('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n')
    take('0\r\n\r\n')
    await first.over
    expect(freed).toEqual([one])
    let resume = (): void => {}
    const second = listening({
      data(_, go) {
        resume = go
        return false
      },
    })
    one.exchange(plain, plainHead, second.answering)
    await turn()
    take('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh')
    late()
    expect(socket.isPaused()).toBe(true)
    resume()
    expect(socket.isPaused()).toBe(false)
  })

  test('is told at once of a head behind which no byte of a body came yet', async () => {
    const told: unknown[] = []
    const heard = listening({
      head: (_status, _headers, _reason, more) => void told.push(more),
      data(chunk) {
        told.push(chunk.length)
        return true
      },
    })
    const { take } = await lined({}, heard.answering)
    take('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1')
    expect(told).toEqual([true, 0])
    take('\r')
    take('\nx\r\n')
    expect(told).toEqual([true, 0, 1])
  })

  test.each([
    ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', true],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n', true],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-A: 1\r\n\r\n', false],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n', false],
    ['HTTP/1.1 200 OK\r\n\r\nhi', false],
  ])('hears of %j that these bytes are the last: %j', async (answer, last) => {
    const told: unknown[] = []
    const heard = listening({ data: (_chunk, _resume, isLast) => told.push(isLast) > 0 })
    const { take } = await lined({}, heard.answering)
    take(answer)
    expect(told).toEqual([last])
  })
})

describe('a taker that throws', () => {
  const broken = new Error('broken')
  const throwing = (): never => {
    throw broken
  }
  test.each([
    ['interim', 'HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['head', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['data', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['data', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'],
    ['end', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['end', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['end', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'],
    ['end', 'HTTP/1.1 200 OK\r\n\r\nhi'],
  ] as const)('at the %s of %j ends its connection', async (word, answer) => {
    const recorder = await answeringOnce(answer, !answer.includes('-'))
    const transport = pooled(recorder.url)
    expect(await ask(transport, {}, { [word]: throwing }).over).toMatchObject({ cause: broken })
    await recorder.idle()
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, 1])
  })

  test('as its call begins has nothing sent', async () => {
    const recorder = await recording()
    const transport = pooled(recorder.url)
    const asking = ask(transport, {}, { started: throwing })
    expect(await asking.over).toMatchObject({ words: ['started', 'failed'], cause: broken })
    await recorder.idle()
    await ask(transport).over
    expect(linesOf(recorder)).toEqual([1])
  })

  test('as it is handed a tunnel ends it', async () => {
    const recorder = await answeringOnce('HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n')
    const asked = { upgrade: 'websocket', fresh: true }
    expect(await ask(pooled(recorder.url), asked, { upgraded: throwing }).over).toMatchObject({ cause: broken })
    await recorder.idle()
  })
})

describe('a tunnel', () => {
  const switching = 'HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n'

  test('is handed over with what came behind its head, and is nobody else’s any more', async () => {
    const recorder = await answeringOnce(`HTTP/1.1 103 Early\r\n\r\n${switching}first`)
    const transport = pooled(recorder.url)
    const handed = Promise.withResolvers<Socket>()
    const asking = ask(
      transport,
      { upgrade: 'websocket', fresh: true },
      { upgraded: (_, socket) => handed.resolve(socket) },
    )
    expect((await asking.over).words).toEqual(['started', 'interim 103', 'upgraded'])
    const socket = await handed.promise
    closing.push(() => socket.destroy())
    asking.callOff(new Error('gone'))
    await transport.close()
    const came = once(socket, 'data')
    socket.resume()
    expect(String(await came)).toBe('first')
    expect(socket.destroyed).toBe(false)
  })

  test('does not begin in the middle of a request', async () => {
    const recorder = await recording({ onHead: () => switching })
    const never = new Promise<never>(() => {})
    const heard = await ask(pooled(recorder.url), {
      upgrade: 'websocket',
      body: (async function* () {
        yield Buffer.from('a')
        await never
      })(),
    }).over
    expect(heard.words).toEqual(['started', 'failed'])
    await recorder.idle()
  })
})

test('a pool that is closed ends what is under way, and what is still connecting was not sent', async () => {
  const recorder = await recording({ answer: () => undefined })
  const silent = await served(socket => socket.pause())
  const transport = pooled(recorder.url)
  const asking = ask(transport)
  await recorder.arrived(1)
  const connecting = pooled(silent.replace('http', 'https'))
  const waiting = ask(connecting)
  await transport.close()
  await connecting.close()
  expect((await asking.over).words).toEqual(['started', 'failed'])
  expect((await waiting.over).words).toEqual(['failed'])
  await recorder.idle()
})

test('many calls at once have a connection each, and each has its own answer', async () => {
  const recorder = await recording({
    answer: ({ target }) => `HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`,
  })
  const transport = pooled(recorder.url)
  for (let round = 0; round < 3; round++) {
    const targets = Array.from({ length: 30 }, (_, at) => `/${round}-${'x'.repeat(at)}`)
    const all = await Promise.all(targets.map(target => ask(transport, { target }).over))
    expect(all.map(({ body }) => body)).toEqual(targets)
  }
  expect(recorder.connections).toHaveLength(30)
})

// ---- TLS

describe('TLS', () => {
  let made: Certificates
  let named: Pair
  beforeAll(async () => {
    made = await makeCertificates()
    named = await made.make('named', ['up.test'])
  })
  afterAll(() => made.close())

  const secure = async (options: TlsOptions = {}) => {
    const heard: string[] = []
    let connections = 0
    const server = createTlsServer(
      { cert: await made.text(named.cert), key: await made.text(named.key), ...options },
      socket => {
        connections++
        socket.on('error', () => {})
        socket.on('data', bytes => {
          heard.push(`${socket.servername} ${socket.alpnProtocol} ${bytes.toString().split('\r\n')[0]}`)
          socket.write(ok)
        })
      },
    )
    server.on('tlsClientError', () => {})
    return { url: `https://127.0.0.1:${await listen(server)}`, heard, connections: () => connections }
  }

  test('asks for the name that was given, offers HTTP/1.1 alone, and goes on with it', async () => {
    const { url, heard, connections } = await secure({ ALPNProtocols: ['h2', 'http/1.1'] })
    const transport = pooled(url, { ca: made.caText, serverName: 'up.test' })
    for (const fresh of [false, false, true, true]) expect((await ask(transport, { fresh }).over).body).toBe('ok\n')
    expect(heard).toEqual(Array.from({ length: 4 }, () => 'up.test http/1.1 GET / HTTP/1.1'))
    expect(connections()).toBe(3)
  })

  test.each<[string, Partial<Place>, TlsOptions]>([
    ['a certificate of another name', { serverName: 'other.test' }, {}],
    ['a certificate of no address', {}, {}],
    ['a certificate of nobody we know', { ca: undefined, serverName: 'up.test' }, {}],
    ['a protocol that is not ours', { serverName: 'up.test' }, { ALPNProtocols: ['h2'] }],
    ['a version that is too old', { serverName: 'up.test' }, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }],
    ['settings of ours that are none', { cert: 'no certificate', serverName: 'up.test' }, {}],
  ])('sends nothing over %s', async (_, place, options) => {
    const { url, heard } = await secure(options)
    const transport = pooled(url, { ca: made.caText, ...place })
    for (const fresh of [false, true]) expect((await ask(transport, { fresh }).over).words).toEqual(['failed'])
    expect(heard).toEqual([])
  })

  test('keeps no connection that was signed in where HTTP/2 was hoped for, either', async () => {
    const { url, connections } = await secure({ ALPNProtocols: ['http/1.1'] })
    const place = { connectMs: 5000, headersMs: 0, idleMs: 0, ca: made.caText, serverName: 'up.test' }
    const transport = http2({ url: new URL(url), ...place })
    closing.push(() => transport.close())
    for (const scheme of ['Basic', 'Basic', 'Negotiate', 'Basic']) {
      expect((await ask(transport, { headers: [['Authorization', `${scheme} x`]] }).over).body).toBe('ok\n')
      await turn()
    }
    expect(connections()).toBe(2)
  })

  test('sends nothing to who does not speak it', async () => {
    const recorder = await recording()
    const url = recorder.url.replace('http', 'https')
    expect((await ask(pooled(url, { connectMs: 50 })).over).words).toEqual(['failed'])
    expect(recorder.requests.every(({ broken }) => broken !== undefined)).toBe(true)
    expect(recorder.connections.join('')).not.toContain('GET')
  })
})

test.each([
  ['on a connection that is kept', true],
  ['on a new one', false],
])('a call that is called off in the turn in which it was asked was surely not sent: %s', async (_, kept) => {
  const recorder = await recording()
  const transport = pooled(recorder.url)
  if (kept) await ask(transport).over
  const off = ask(transport, { target: '/off' })
  off.callOff(new Error('gone'))
  expect((await off.over).words).toEqual(['failed'])
  expect((await ask(transport).over).words.at(-1)).toBe('end')
  expect(recorder.requests.map(request => request.target)).not.toContain('/off')
})
