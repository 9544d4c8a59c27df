// Slow, many and loud clients at the gate's socket, with little patience; and answers that nothing is put into.
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import type { CallerRequest, CallerResponse } from '../src/incoming.ts'
import { type GateListener, type GateListening, listenGate, type Patience } from '../src/listen.ts'
import type { Line } from '../src/session.ts'
import { dial, handshake, type Wire } from './support/websocket.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

type Taken = { readonly request: CallerRequest; readonly response: CallerResponse; readonly line?: Line | undefined }

/** A listener that answers nothing by itself: what it was handed is in `taken`, what it refused in `refused`. */
const listening = async (
  patience: Partial<Patience> = {},
  limits: Partial<ReturnType<GateListener['limits']>> = {},
) => {
  const taken: Taken[] = []
  const refused: string[] = []
  let wake = (): void => {}
  const gate: GateListening = await listenGate(
    {
      handle(request, response, _continues, line) {
        if (request instanceof Readable) request.on('error', () => {})
        taken.push({ request, response, line })
        wake()
      },
      unparsed: (_, code) => void refused.push(code),
      limits: () => ({ header: 4096, connections: 1000, connectionsPerAddress: 1000, ...limits }),
      trusted: () => false,
    },
    { host: '127.0.0.1', port: 0 },
    undefined,
    { checkMs: 50, ...patience },
  )
  closing.push(() => gate.close())
  const open = async (raw: string): Promise<Wire> => {
    const wire = await dial(gate.url, raw)
    closing.push(() => wire.socket.destroy())
    return wire
  }
  const arrived = async (count: number): Promise<readonly Taken[]> => {
    while (taken.length < count) await new Promise<void>(resolve => (wake = resolve))
    return taken
  }
  return { gate, open, taken, refused, arrived }
}

/** The body of a request that came in pieces is read and thrown away. */
const resume = (request: CallerRequest | undefined): Readable => {
  if (!(request instanceof Readable)) throw new Error('its body came with its head')
  return request.resume()
}
const drained = (request: CallerRequest): Promise<unknown> => once(resume(request), 'end')

const get = 'GET /a HTTP/1.1\r\nHost: g\r\n\r\n'
const answer = ({ response }: Taken, body = 'ok'): void => {
  response.writeHead(200, ['Content-Length', String(body.length)])
  response.end(body)
}

test('heads that come in drops are cut off in time, and whoever is quick is served meanwhile', async () => {
  const { open, refused, arrived, taken } = await listening({ headMs: 400 })
  const slow = await Promise.all(Array.from({ length: 40 }, () => open('GET /a HTTP/1.1\r\nHost: g\r\n')))
  // One header line after the other, and never the last.
  const drops = setInterval(() => {
    for (const wire of slow) if (wire.socket.writable) wire.socket.write('X: y\r\n')
  }, 50)
  closing.push(() => clearInterval(drops))
  const quick = await open(get)
  answer((await arrived(1))[0] as Taken)
  await quick.until(text => text.endsWith('ok'))
  await Promise.all(slow.map(wire => wire.closed))
  expect(taken).toHaveLength(1)
  expect(refused).toEqual(slow.map(() => 'malformed'))
})

test('a body that stops coming is cut off; one that nobody reads yet is not', async () => {
  const { open, arrived } = await listening({ stallMs: 200 })
  const stopped = await open('POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nabc')
  const [first] = await arrived(1)
  resume(first?.request)
  await stopped.closed
  expect(stopped.text()).toBe('')

  const large = 'x'.repeat(4 * 1024 * 1024)
  const waiting = await open(`POST /b HTTP/1.1\r\nHost: g\r\nContent-Length: ${large.length}\r\n\r\n${large}`)
  const second = (await arrived(2))[1] as Taken
  await setTimeout(600)
  await drained(second.request)
  answer(second)
  await waiting.until(text => text.endsWith('ok'))
})

test('bodies that come in drops are cut off in time, however lively they are, and whoever is quick is served meanwhile', async () => {
  const { open, arrived } = await listening({ headMs: 400, requestMs: 500, stallMs: 60_000 })
  const slow = await Promise.all(
    Array.from({ length: 20 }, () => open('POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n')),
  )
  for (const { request } of await arrived(20)) resume(request)
  const drops = setInterval(() => {
    for (const wire of slow) if (wire.socket.writable) wire.socket.write('1\r\nx\r\n')
  }, 50)
  closing.push(() => clearInterval(drops))
  const quick = await open(get)
  answer((await arrived(21))[20] as Taken)
  await quick.until(text => text.endsWith('ok'))
  await Promise.all(slow.map(wire => wire.closed))
})

test('a connection is good for a thousand requests, however small and fast; others wait for nothing meanwhile', async () => {
  const { open, arrived } = await listening()
  const other = await open('GET /b HTTP/1.1\r\nHost: g\r\n\r\n')
  const [first] = await arrived(1)
  const flood = await open('')
  for (let sent = 0; sent < 1000; sent += 50) {
    flood.socket.write(get.repeat(50))
    for (const one of (await arrived(1 + sent + 50)).slice(1 + sent)) answer(one)
    if (sent === 0) {
      answer(first as Taken)
      expect(await other.until(text => text.endsWith('ok'))).toMatch(/^HTTP\/1\.1 200 /)
    }
  }
  await flood.closed
  expect(flood.text().match(/HTTP\/1\.1 200 /g)).toHaveLength(1000)
})

test('whoever does not take its answer is cut off; whoever waits for one is not', async () => {
  const { open, arrived } = await listening({ stallMs: 200 })
  const stuck = await open(get)
  const first = (await arrived(1))[0] as Taken
  stuck.socket.pause()
  first.response.writeHead(200, ['Content-Length', String(64 * 1024 * 1024)])
  first.response.write(Buffer.alloc(32 * 1024 * 1024))
  await new Promise<void>(resolve => first.response.once('close', () => resolve()))
  expect(first.response.writableFinished).toBe(false)

  const patient = await open(get)
  const second = (await arrived(2))[1] as Taken
  // Three times the patience.
  await setTimeout(600)
  answer(second)
  await patient.until(text => text.endsWith('ok'))
})

test('connections over the cap of an address are closed and counted; one that ends makes room', async () => {
  const { open, refused, arrived } = await listening({}, { connectionsPerAddress: 3 })
  const held = await Promise.all([open(get), open(get), open(get)])
  await arrived(3)
  const over = await Promise.all([open(get), open(get)])
  await Promise.all(over.map(wire => wire.closed))
  expect(refused).toEqual(['too_many_calls', 'too_many_calls'])
  const [first, ...others] = await arrived(3)
  first?.response.on('close', () => {})
  held[0]?.socket.destroy()
  await new Promise(resolve => first?.request.socket.once('close', resolve))
  const next = await open(get)
  answer((await arrived(4))[3] as Taken)
  await next.until(text => text.endsWith('ok'))
  for (const one of others) answer(one)
})

test('a flood over the global cap leaves those who are in alone', async () => {
  const { open, refused, arrived } = await listening({}, { connections: 20 })
  const inside = await open(get)
  await arrived(1)
  const flood = await Promise.all(Array.from({ length: 100 }, () => open(get)))
  await Promise.all(flood.slice(19).map(wire => wire.closed))
  expect(refused).toHaveLength(81)
  answer((await arrived(1))[0] as Taken)
  expect(await inside.until(text => text.endsWith('ok'))).toMatch(/^HTTP\/1\.1 200 /)
})

test('an idle connection is closed after a while', async () => {
  const { open, arrived } = await listening({ keepAliveMs: 100 })
  const idle = await open(get)
  answer((await arrived(1))[0] as Taken)
  await idle.closed
  expect(idle.text()).toMatch(/^HTTP\/1\.1 200 /)
})

test('who closes waits for the answers under way, and not for the connections that they leave open', async () => {
  const { gate, open, arrived } = await listening({ drainMs: 600_000, keepAliveMs: 600_000 })
  const caller = await open(get)
  const { response } = (await arrived(1))[0] as Taken
  response.writeHead(200, ['Content-Length', '2'])
  response.write('o')
  await caller.until(text => text.endsWith('o'))
  const closed = gate.close()
  response.end('k')
  await closed
  await caller.closed
  expect(caller.text()).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\nConnection: keep-alive\r\n[\s\S]*\r\n\r\nok$/)
})

test('who closes waits no longer than it has patience for, be it an answer or a tunnel that does not end', async () => {
  const { gate, open, arrived } = await listening({ drainMs: 100 })
  const waiting = await open(get)
  await arrived(1)
  const tunnel = await open(handshake('/ws', []))
  ;(await arrived(2))[1]?.line?.take()
  await gate.close()
  await Promise.all([waiting.closed, tunnel.closed])
})

test('garbage behind a request that is being answered gets no answer, and ends the connection after that one', async () => {
  const { open, arrived, refused } = await listening()
  const wire = await open(`${get}GET /b HTTP/9.9\r\n\r\n`)
  const [first] = await arrived(1)
  answer(first as Taken)
  await wire.closed
  expect(wire.text().match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
  expect(refused).toEqual(['malformed'])
})

test('a body that breaks off into garbage is refused once, or cut where the answer has begun', async () => {
  const { open, arrived } = await listening()
  const chunked = 'POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n'
  const early = await open(`${chunked}zz\r\n`)
  await early.closed
  expect(early.text().match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400'])
  const late = await open(chunked)
  const second = (await arrived(2))[1] as Taken
  second.response.writeHead(200, ['Content-Length', '4'])
  second.response.write('ok')
  await late.until(text => text.endsWith('ok'))
  late.socket.write('zz\r\n')
  await late.closed
  expect(late.text()).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\nok$/)
})

test('what is no request is refused by name: a head too large, CONNECT, other bytes', async () => {
  const { open, refused } = await listening()
  for (const [raw, status] of [
    [`GET /a HTTP/1.1\r\nHost: g\r\nX: ${'x'.repeat(5000)}\r\n\r\n`, 431],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n', 405],
    ['\x16\x03\x01\x02\x00', 400],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ] as const) {
    const wire = await open(raw)
    await wire.closed
    expect(wire.text()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  }
  expect(refused).toEqual(['head_too_large', 'method_not_allowed', 'malformed', 'malformed'])
})

test('whoever asks for CONNECT is let go of, whether it leaves politely or resets its connection', async () => {
  const { open, arrived } = await listening({}, { connectionsPerAddress: 1 })
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const wire = await open('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n')
    wire.socket.once('data', () => wire.socket[leave]())
    await wire.closed
  }
  const next = await open(get)
  answer((await arrived(1))[0] as Taken)
  await next.until(text => text.endsWith('ok'))
})

test('CONNECT behind a request that is not answered yet ends both, and gets no answer that would pass for the other’s', async () => {
  const { gate, open, arrived, refused } = await listening({ drainMs: 1e9 })
  const wire = await open(`${get}CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n`)
  const [first] = await arrived(1)
  await wire.closed
  expect(wire.text()).toBe('')
  expect(refused).toEqual(['method_not_allowed'])
  expect((first as Taken).response.destroyed).toBe(true)
  // Node does not count this connection any more, so nobody else would end it.
  await gate.close()
})

test('what follows an upgrade at once is refused with it', async () => {
  const { open, taken, refused } = await listening()
  const wire = await open(handshake('/ws', []) + get)
  await wire.closed
  expect(wire.text()).toMatch(/^HTTP\/1\.1 400 [\s\S]*Connection: close/)
  expect(refused).toEqual(['malformed'])
  expect(taken).toEqual([])
})

test('a refused upgrade whose answer is not taken is cut off', async () => {
  const { open, arrived } = await listening({ stallMs: 200 })
  const stuck = await open(handshake('/ws', []))
  const [first] = await arrived(1)
  stuck.socket.pause()
  first?.response.writeHead(200, ['Content-Length', String(64 * 1024 * 1024)])
  first?.response.write(Buffer.alloc(32 * 1024 * 1024))
  await new Promise<void>(resolve => first?.response.once('close', () => resolve()))
  expect(first?.response.writableFinished).toBe(false)
})

test('a client that leaves while its tunnel is asked for is noticed', async () => {
  const { open, arrived } = await listening()
  const caller = await open(handshake('/ws', []))
  const [first] = await arrived(1)
  const left = new Promise<void>(resolve => first?.response.once('close', () => resolve()))
  caller.socket.end()
  await left
  await caller.closed
})
