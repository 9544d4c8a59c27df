// Answers as the HTTP/1.1 client reads them: tables/answers.json says what is read how, what is refused, and whether the connection may serve
// another call; node's own client is the oracle for what lies between. Whose answer it is, and for how long a connection is kept.
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, createServer } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import type { Header } from '../src/nouns.ts'
import { connection } from '../src/wire/connection.ts'
import { framing, readHead } from '../src/wire/head.ts'
import { writeHead } from '../src/wire/request.ts'
import {
  answeringOnce,
  ask,
  closing,
  type Heard,
  lined,
  linesOf,
  listen,
  listening,
  plain,
  plainHead,
  pooled,
  recording,
  served,
  speaking,
  turn,
} from './support/exchange.ts'
import { ok } from './support/recorder.ts'
import table from './tables/answers.json' with { type: 'json' }

// ---- answers

type Read = {
  readonly why: string
  readonly answer: string
  readonly body: string
  readonly kept: boolean
  readonly method?: string
  readonly status?: number
  readonly closes?: boolean
  readonly headers?: readonly Header[]
  readonly trailers?: readonly Header[]
}
type Refused = { readonly why: string; readonly answer: string; readonly method?: string; readonly begun?: boolean }

describe('an answer is read with', () => {
  test.each(table.read as readonly Read[])('$why', async row => {
    const recorder = await answeringOnce(row.answer, row.closes)
    const transport = pooled(recorder.url)
    const heard = await ask(transport, { method: row.method ?? 'GET' }).over
    expect(heard.words.at(-1)).toBe('end')
    expect(heard.status).toBe(row.status ?? 200)
    expect(heard.body).toBe(row.body)
    expect(heard.trailers).toEqual(row.trailers ?? [])
    if (row.headers !== undefined) expect(heard.headers).toEqual(row.headers)
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, row.kept ? 0 : 1])
  })

  test('nothing else, if it comes in drops', async () => {
    for (const { answer, body, method = 'GET', closes = false } of table.read as readonly Read[]) {
      const heard = listening()
      const { take, free } = await lined({ method }, heard.answering)
      for (const byte of answer) take(byte)
      if (closes) take(undefined)
      expect((await heard.over).body).toBe(body)
      free()
    }
  })
})

describe('an answer is refused for', () => {
  test.each(table.refused as readonly Refused[])('$why', async row => {
    const recorder = await answeringOnce(row.answer, true)
    const transport = pooled(recorder.url)
    const { words } = await ask(transport, { method: row.method ?? 'GET' }).over
    expect(words.at(-1)).toBe('failed')
    expect(words.includes('head 200')).toBe(row.begun ?? false)
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, 1])
  })

  const chunks = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  test.each([
    ['a head', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(9_000)}`],
    ['one line of a head', `HTTP/1.1 200 OK\r\nX-A: ${'b'.repeat(70_000)}`],
    ['a head that came whole', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(9_000)}Content-Length: 0\r\n\r\n`],
    ['a line that never was a head', 'b'.repeat(70_000)],
    ['an interim head', `HTTP/1.1 103 Early Hints\r\n${'X-A: b\r\n'.repeat(9_000)}`],
    ['the extension of a chunk', `${chunks}2;${'a'.repeat(20_000)}`],
    ['a chunk size', `${chunks}${'0'.repeat(20_000)}`],
    ['a trailer', `${chunks}0\r\nX-A: ${'b'.repeat(20_000)}`],
    ['trailers', `${chunks}0\r\n${'X-A: bcdef\r\n'.repeat(9_000)}`],
  ])('%s without end', async (_, answer) => {
    const url = await served(socket => socket.on('data', () => socket.write(answer)))
    expect((await ask(pooled(url)).over).words.at(-1)).toBe('failed')
  })

  test('a head in too many drops', async () => {
    const heard = listening()
    const { take, free } = await lined({}, heard.answering)
    for (const byte of `HTTP/1.1 200 OK\r\nX-A: ${'b'.repeat(2_000)}`) take(byte)
    expect((await heard.over).words.at(-1)).toBe('failed')
    free()
  })
})

test('what ended a connection is told to its taker', async () => {
  const url = await served(socket => socket.once('data', () => socket.resetAndDestroy()))
  expect(await ask(pooled(url)).over).toMatchObject({ words: ['started', 'failed'], cause: { code: 'ECONNRESET' } })
})

describe('an answer that breaks off is never taken for whole', () => {
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-A: 1\r\n\r\n',
  ]
  test.each(['end', 'resetAndDestroy'] as const)('at any byte (%s)', async leave => {
    for (const answer of answers) {
      let until = 0
      const url = await served(socket =>
        socket.once('data', () => socket.write(answer.slice(0, until++), () => socket[leave]())),
      )
      const transport = pooled(url)
      for (let at = 0; at < answer.length; at++) {
        const { words, body } = await ask(transport).over
        expect(words.at(-1)).toBe('failed')
        expect('hello'.startsWith(body)).toBe(true)
      }
    }
  })
})

// ---- node's own client as the oracle

type Seen = Pick<Heard, 'status' | 'headers' | 'body' | 'trailers'>

/** What node's client makes of it; undefined: an error, or nothing whole. */
const byNode = (port: number, method: string): Promise<Seen | undefined> =>
  new Promise(resolve => {
    const request = httpRequest({ port, host: '127.0.0.1', method, agent: false }, (response: IncomingMessage) => {
      const pieces: Buffer[] = []
      response.on('error', () => resolve(undefined))
      response.on('data', piece => pieces.push(piece))
      response.on('end', () =>
        resolve(
          response.complete
            ? {
                status: response.statusCode ?? 0,
                headers: pairs(response.rawHeaders),
                body: Buffer.concat(pieces).toString('latin1'),
                trailers: pairs(response.rawTrailers),
              }
            : undefined,
        ),
      )
    })
    request.on('error', () => resolve(undefined))
    request.on('upgrade', (_, socket) => {
      socket.destroy()
      resolve(undefined)
    })
    request.end()
  })

const pairs = (raw: readonly string[]): Header[] =>
  raw.flatMap((name, at) => (at % 2 === 0 ? [[name, raw[at + 1] ?? ''] as const] : []))

const piecesOf = (bytes: string, cuts: readonly number[]): readonly string[] => {
  const places = [0, ...cuts.map(cut => cut % (bytes.length + 1)), bytes.length].sort((one, other) => one - other)
  return places.slice(1).map((end, at) => bytes.slice(places[at], end))
}

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/)
const text = fc
  .array(fc.oneof(fc.integer({ min: 0x21, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff }), fc.constant(0x20)))
  .map(codes => String.fromCharCode(...codes).replace(/^ +| +$/g, ''))
const said = new Set(
  'connection content-length expect host keep-alive te trailer transfer-encoding upgrade proxy-connection'.split(' '),
)
const lines = fc.array(
  fc.tuple(
    token.filter(name => !said.has(name.toLowerCase())),
    text,
  ),
  { maxLength: 5 },
)
const written = (headers: readonly Header[]): string => headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
const bytes = fc.uint8Array({ maxLength: 200 }).map(some => Buffer.from(some).toString('latin1'))
const inChunks = fc.tuple(fc.array(bytes.filter(some => some !== '')), lines).map(([chunks, trailers]) => {
  const body = chunks.map(chunk => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')
  return `Transfer-Encoding: chunked\r\n\r\n${body}0\r\n${written(trailers)}\r\n`
})
const inOne = bytes.map(body => `Content-Length: ${body.length}\r\n\r\n${body}`)
const answers = fc
  .tuple(fc.integer({ min: 205, max: 999 }), text, lines, fc.oneof(inChunks, inOne), fc.nat(2))
  .filter(([status]) => status !== 304)
  .map(
    ([status, reason, headers, rest, interim]) =>
      `${'HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n'.repeat(interim)}HTTP/1.1 ${status} ${reason}\r\n${written(headers)}${rest}`,
  )

/** Tells every request the same, cut at the same places. */
const parrot = async () => {
  let pieces: readonly string[] = []
  const server = createServer(socket => {
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', () => {
      const write = ([piece, ...more]: readonly string[]): void => {
        if (piece !== undefined) socket.write(piece, 'latin1', () => setImmediate(write, more))
      }
      write(pieces)
    })
  })
  const port = await listen(server)
  return {
    port,
    say(what: readonly string[]): void {
      pieces = what
    },
  }
}

test('a valid answer, cut anywhere, is read as node reads it, and its connection is kept', async () => {
  const { port, say } = await parrot()
  await fc.assert(
    fc.asyncProperty(answers, fc.array(fc.nat(), { maxLength: 6 }), async (answer, cuts) => {
      say([answer])
      const node = await byNode(port, 'GET')
      expect(node).toBeDefined()
      say(piecesOf(answer, cuts))
      const { freed, socket, over } = await single(port)
      const { words, status, headers, body, trailers } = await over
      expect(words.at(-1)).toBe('end')
      expect({ status, headers, body, trailers }).toEqual(node)
      expect(freed()).toBe(true)
      socket.destroy()
    }),
    { numRuns: 100 },
  )
})

/** One exchange on a connection of its own, and whether it could be used again. */
const single = async (port: number) => {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.on('error', () => {})
  let back = false
  const heard = listening()
  const one = connection(
    socket,
    () => {
      back = true
    },
    () => {},
  )
  socket.on('data', one.take)
  one.exchange(plain, writeHead(plain, 'a'), heard.answering)
  return { over: heard.over, freed: () => back && one.usable(performance.now()), socket }
}

test('of an answer with a few wrong bytes, a connection is kept only where node reads the same', async () => {
  const { port, say } = await parrot()
  // No tab: behind a coding it is a blank (RFC 9110 §5.5), but node then waits for the end of the connection.
  const wrong = fc.constantFrom('\r', '\n', '\r\n', '\0', ' ', ':', ',', ';', '0', '1', 'f', '-', '+', '\xa0', '')
  const spoilt = fc
    .tuple(answers, fc.array(fc.tuple(fc.nat(), wrong, fc.nat(1)), { minLength: 1, maxLength: 3 }))
    .map(([answer, changes]) =>
      changes.reduce((all, [at, put, cut]) => {
        const place = at % Math.min(all.length, 150)
        return all.slice(0, place) + put + all.slice(place + cut)
      }, answer),
    )
  await fc.assert(
    fc.asyncProperty(spoilt, async answer => {
      say([answer])
      const { freed, socket, over } = await single(port)
      // What waits for more than will come is as good as refused.
      socket.once('data', () => setImmediate(() => socket.listenerCount('data') > 0 && !freed() && socket.destroy()))
      const { words, status, headers, body, trailers } = await over
      if (!freed()) return void socket.destroy()
      expect(words.at(-1)).toBe('end')
      socket.destroy()
      expect({ status, headers, body, trailers }).toEqual(await byNode(port, 'GET'))
    }),
    { numRuns: 300 },
  )
})

// ---- whose answer it is

describe('nobody hears an answer that is not theirs', () => {
  const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'

  test('one that comes while nobody has asked', async () => {
    const { recorder, line } = await speaking()
    const transport = pooled(recorder.url)
    await ask(transport).over
    line().write(poison)
    await recorder.idle()
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(linesOf(recorder)).toEqual([0, 1])
  })

  test('one that comes on a connection whose caller had gone before it was there', async () => {
    const accepted = Promise.withResolvers<void>()
    const gone = Promise.withResolvers<void>()
    const url = await served((socket, nth) => {
      if (nth > 0) return void socket.on('data', () => socket.write(ok))
      socket.on('data', () => socket.write(poison)).on('close', () => gone.resolve())
      socket.write(poison, () => accepted.resolve())
    })
    const transport = pooled(url)
    const first = ask(transport)
    first.callOff(new Error('gone'))
    expect((await first.over).words).toEqual(['failed'])
    await accepted.promise
    await gone.promise
    expect((await ask(transport).over).body).toBe('ok\n')
  })

  test('one to a request that is still being sent', async () => {
    const recorder = await recording({ onHead: head => (head.startsWith('POST') ? ok : undefined) })
    const transport = pooled(recorder.url)
    const more = Promise.withResolvers<void>()
    let finished = false
    async function* body() {
      try {
        yield Buffer.from('abc')
        await more.promise
        yield Buffer.from('def')
      } finally {
        finished = true
      }
    }
    const { words, body: said } = await ask(transport, { method: 'POST', body: body() }).over
    expect([words.at(-1), said]).toEqual(['end', 'ok\n'])
    await recorder.idle()
    more.resolve()
    while (!finished) await turn()
    expect((await ask(transport).over).body).toBe('ok\n')
    expect(recorder.connections.map(String).join('')).not.toContain('def')
    expect(recorder.connections).toHaveLength(2)
  })

  test('one to a request whose end the upstream has not taken', async () => {
    const url = await served((socket, nth) => {
      if (nth > 0) return void socket.on('data', () => socket.write(ok))
      socket.pause()
      socket.write(ok)
    })
    const transport = pooled(url)
    const large = Buffer.alloc(32 << 20)
    expect((await ask(transport, { method: 'POST', body: large, length: large.length }).over).body).toBe('ok\n')
    expect((await ask(transport).over).body).toBe('ok\n')
  })

  test.each([
    ['NTLM TlRMTVNTUAAB', 1],
    ['Negotiate YIIB', 1],
    ['\t negotiate YIIB', 1],
    ['Basic bmVnb3RpYXRl', 0],
    ['Bearer negotiate', 0],
  ])('on a connection that was signed in by %j', async (value, line) => {
    const recorder = await recording()
    const transport = pooled(recorder.url)
    await ask(transport, { headers: [['AUTHORIZATION', value]] }).over
    await ask(transport).over
    expect(linesOf(recorder)).toEqual([0, line])
  })

  test('on a connection of its own, nor on one that asked to be closed', async () => {
    const recorder = await recording()
    const transport = pooled(recorder.url)
    for (const fresh of [false, true, true, false]) await ask(transport, { fresh }).over
    expect(linesOf(recorder)).toEqual([0, 1, 2, 0])
  })
})

test('a connection that the upstream closed while nobody needed it is not used', async () => {
  const { recorder, line } = await speaking()
  const transport = pooled(recorder.url)
  await ask(transport).over
  line().end()
  await recorder.idle()
  expect((await ask(transport).over).words.at(-1)).toBe('end')
  expect(linesOf(recorder)).toEqual([0, 1])
})

test('nor is one that has ended, or has something to say, before anybody was told', async () => {
  const { one, take, socket, freed } = await lined({}, listening({ data: () => false }).answering)
  take('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n')
  socket.push('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison')
  take('0\r\n\r\n')
  expect(freed).toEqual([one])
  expect(one.usable(performance.now())).toBe(false)
  const next = await lined({}, listening().answering)
  next.take(ok)
  expect(next.one.usable(performance.now())).toBe(true)
  next.socket.destroy()
  expect(next.one.usable(performance.now())).toBe(false)
})

test('what an upstream says before it was asked is nobody’s answer', async () => {
  const first = listening()
  const { one, take, socket, freed } = await lined({}, first.answering)
  take(ok)
  expect(freed).toEqual([one])
  const second = listening()
  one.exchange(plain, plainHead, second.answering)
  take(ok)
  expect(await second.over).toMatchObject({ words: ['failed'], body: '' })
  expect(socket.destroyed).toBe(true)
  expect(freed).toEqual([one])
})

test('what was read for one caller is never written over for another', async () => {
  // Large enough that connections get rooms of their own, small enough that some readings share one, all under way at once.
  const sizes = [40, 3_000_000, 70_000, 500, 1_500_000, 65_536, 1, 200_000]
  const url = await served(socket => {
    socket.on('data', asked => {
      const which = Number(/ \/(\d)/.exec(asked.toString())?.[1])
      const size = sizes[which] ?? 0
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      socket.write(Buffer.alloc(size, 65 + which))
    })
  })
  const transport = pooled(url)
  const round = (): Promise<readonly Buffer[]>[] =>
    sizes.map(async (_, which) => {
      const kept: Buffer[] = []
      const heard = ask(transport, { target: `/${which}` }, { data: chunk => kept.push(chunk) > 0 })
      expect((await heard.over).words.at(-1)).toBe('end')
      return kept
    })
  const rounds = [await Promise.all(round()), await Promise.all(round())]
  for (const answers of rounds)
    for (const [which, kept] of answers.entries())
      expect(Buffer.concat(kept).equals(Buffer.alloc(sizes[which] ?? 0, 65 + which))).toBe(true)
})

test('memory is read into again only when it was said to be spent, and once for each time', async () => {
  const size = 4 << 20
  const body = Buffer.from(Uint32Array.from({ length: size / 4 }, (_, at) => at).buffer)
  const url = await served(socket => {
    socket.on('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      socket.write(body)
    })
  })
  const used = async (spend: (nth: number, spent: () => void) => void) => {
    const all: Buffer[] = []
    const rooms: unknown[] = []
    const transport = pooled(url)
    const data = (chunk: Buffer, _: () => void, __: boolean, spent?: () => void): boolean => {
      all.push(chunk)
      if (spent !== undefined) {
        rooms.push(chunk.buffer)
        spend(all.length, spent)
      }
      return true
    }
    expect((await ask(transport, {}, { data }).over).words.at(-1)).toBe('end')
    return { all, rooms }
  }
  const { rooms } = await used((_, spent) => spent())
  expect(new Set(rooms).size).toBeLessThan(rooms.length / 2)
  // Said twice of one, and of no other: its memory is used once more.
  let second: number | undefined
  const { all: few, rooms: once } = await used((nth, spent) => {
    second ??= nth
    if (nth !== second) return
    spent()
    spent()
  })
  expect(new Set(once).size).toBeGreaterThanOrEqual(once.length - 1)
  const whole = Buffer.concat(few)
  const lost = few[(second ?? 0) - 1] ?? Buffer.alloc(0)
  const at = few.slice(0, (second ?? 0) - 1).reduce((sum, { length }) => sum + length, 0)
  expect(whole.subarray(0, at).equals(body.subarray(0, at))).toBe(true)
  expect(whole.subarray(at + lost.length).equals(body.subarray(at + lost.length))).toBe(true)
})

test('a connection that was kept for too long is not used', async () => {
  const recorder = await recording()
  const transport = pooled(recorder.url)
  await ask(transport).over
  const now = performance.now() + 10_000
  const clock = vi.spyOn(performance, 'now').mockReturnValue(now)
  closing.push(() => clock.mockRestore())
  await ask(transport).over
  expect(linesOf(recorder)).toEqual([0, 1])
})

test.each([
  ['', 4_000],
  ['Keep-Alive: timeout=2\r\n', 1_000],
  ['Keep-Alive: timeout=9999999999\r\n', 60_000],
  ['Keep-Alive: xtimeout=1\r\n', 4_000],
  ['Keep-Alive: timeout=-1\r\n', 4_000],
  ['Keep-Alive: max=1,timeout=3\r\n', 2_000],
  ['Keep-Alive: timeout=0\r\nKeep-Alive: timeout=60\r\n', 0],
])('an answer with %j lets its connection be kept for %d ms', (line, ms) => {
  expect(framing(readHead(`HTTP/1.1 200 OK\r\n${line}Content-Length: 0`), 'GET').keepMs).toBe(ms)
})

test('a connection is not used for longer than the upstream keeps it, and then closed', async () => {
  const heard = listening()
  const { one, take, freed, socket } = await lined({}, heard.answering)
  take('HTTP/1.1 200 OK\r\nKeep-Alive: timeout=11\r\nContent-Length: 0\r\n\r\n')
  const now = performance.now()
  expect(freed).toEqual([one])
  expect([one.usable(now + 9_000), one.usable(now + 10_000)]).toEqual([true, false])
  one.check(now + 9_000)
  expect(socket.destroyed).toBe(false)
  one.check(now + 10_000)
  expect(socket.destroyed).toBe(true)
  expect((await heard.over).words.at(-1)).toBe('end')
})
