// One exchange of the HTTP/1.1 client (src/wire/), and upstreams that say to it whatever they are told to. Closes behind each test what was
// opened, and takes a warning of node's, as of a listener too many, for a failure.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterAll, afterEach, expect } from 'vitest'
import type { Header } from '../../src/nouns.ts'
import { type Connection, connection } from '../../src/wire/connection.ts'
import type { Answering, Asked, CallOff, Transport } from '../../src/wire/exchange.ts'
import { type Place, pool } from '../../src/wire/pool.ts'
import { type Answers, ok, type Recorder, startRecorder } from './recorder.ts'

export const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const warnings: Error[] = []
const warned = (warning: Error): number => warnings.push(warning)
process.on('warning', warned)
afterAll(() => {
  process.off('warning', warned)
  // A listener too many is a leak.
  expect(warnings).toEqual([])
})

export type Heard = {
  /** `started`, `interim 103`, `head 200`, `data`, `end`, `upgraded`, `failed` or `timeout`, in order. */
  readonly words: readonly string[]
  readonly status: number
  readonly headers: readonly Header[]
  readonly body: string
  readonly trailers: readonly Header[]
  readonly cause: unknown
}

export type Listening = {
  readonly answering: Answering
  readonly over: Promise<Heard>
  said(word: string): Promise<void>
}

export const listening = (more: Partial<Answering> = {}): Listening => {
  const words: string[] = []
  const pieces: Buffer[] = []
  const waiting: { readonly word: string; readonly go: () => void }[] = []
  const ended = Promise.withResolvers<Heard>()
  let answered: { readonly status: number; readonly headers: readonly Header[] } = { status: 0, headers: [] }
  const say = (word: string): void => {
    words.push(word)
    for (const { go } of waiting.filter(one => one.word === word)) go()
  }
  const settle = (word: string, trailers: readonly Header[], cause: unknown): void => {
    say(word)
    ended.resolve({ words, ...answered, body: Buffer.concat(pieces).toString('latin1'), trailers, cause })
  }
  const answering: Answering = {
    started() {
      say('started')
      more.started?.()
    },
    interim(status, headers) {
      say(`interim ${status}`)
      more.interim?.(status, headers)
    },
    head(status, headers, reason, soon) {
      answered = { status, headers }
      say(`head ${status}`)
      more.head?.(status, headers, reason, soon)
    },
    data(chunk, resume, last, spent) {
      pieces.push(Buffer.from(chunk))
      say('data')
      return more.data?.(chunk, resume, last, spent) ?? true
    },
    end(trailers) {
      more.end?.(trailers)
      settle('end', trailers, undefined)
    },
    upgraded(headers, socket) {
      answered = { status: 101, headers }
      more.upgraded?.(headers, socket)
      settle('upgraded', [], undefined)
    },
    failed(cause, timeout) {
      settle(timeout ? 'timeout' : 'failed', [], cause)
      more.failed?.(cause, timeout)
    },
  }
  return {
    answering,
    over: ended.promise,
    said: word =>
      words.includes(word) ? Promise.resolve() : new Promise(resolve => waiting.push({ word, go: resolve })),
  }
}

export const plain: Asked = {
  method: 'GET',
  target: '/',
  headers: [],
  body: undefined,
  length: undefined,
  fresh: false,
  upgrade: undefined,
  headersMs: 0,
  idleMs: 0,
}

/** Of a request without a line. */
export const plainHead = { text: 'GET / HTTP/1.1\r\n\r\n', binds: false }

export const pooled = (url: string, more: Partial<Place> = {}): Transport => {
  const transport = pool({ url: new URL(url), connectMs: 5000, headersMs: 0, idleMs: 0, ...more })
  closing.push(() => transport.close())
  return transport
}

export type Asking = Listening & { readonly callOff: CallOff }

export const ask = (transport: Transport, asked: Partial<Asked> = {}, more: Partial<Answering> = {}): Asking => {
  const heard = listening(more)
  return { ...heard, callOff: transport.exchange({ ...plain, ...asked }, heard.answering) }
}

export const recording = async (answers: Answers = {}): Promise<Recorder> => {
  const recorder = await startRecorder(answers)
  closing.push(() => recorder.close())
  return recorder
}

/** Answers everything with `ok`; `line` is the connection on which it was asked last. */
export const speaking = async (): Promise<{ readonly recorder: Recorder; readonly line: () => Socket }> => {
  let last: Socket | undefined
  const recorder = await recording({
    answer(_, socket) {
      last = socket
      return ok
    },
  })
  const line = (): Socket => {
    if (last === undefined) throw new Error('nothing was asked yet')
    return last
  }
  return { recorder, line }
}

/** Answers the first request like this, and every other one with `ok`. */
export const answeringOnce = (first: string, closes = false): Promise<Recorder> => {
  let asked = 0
  return recording({
    answer(_, socket) {
      if (asked++ > 0) return ok
      socket.write(first, 'latin1')
      if (closes) socket.end()
      return undefined
    },
  })
}

export const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** On which connections the requests came. */
export const linesOf = (recorder: Recorder): readonly number[] => recorder.requests.map(request => request.connection)

export const served = async (serve: (socket: Socket, nth: number) => void): Promise<string> => {
  let connections = 0
  const server = createServer(socket => {
    socket.on('error', () => {})
    serve(socket, connections++)
  })
  return `http://127.0.0.1:${await listen(server)}`
}

export const listen = async (server: Server): Promise<number> => {
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const socket of open) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

/** A connection whose upstream says something only when it is told to, read by read. `undefined`: it closes. */
export const lined = async (asked: Partial<Asked>, answering: Answering) => {
  const accepted = Promise.withResolvers<Socket>()
  const server = createServer(accepted.resolve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  const upstream = await accepted.promise
  upstream.on('error', () => {})
  socket.on('error', () => {})
  const freed: Connection[] = []
  const one = connection(
    socket,
    back => freed.push(back),
    () => {},
  )
  socket.on('data', one.take)
  one.exchange({ ...plain, ...asked }, plainHead, answering)
  await turn()
  const free = (): void => {
    socket.destroy()
    upstream.destroy()
    server.close()
  }
  closing.push(free)
  return {
    one,
    socket,
    upstream,
    freed,
    free,
    /** As if it had come in one piece. */
    take(bytes: string | undefined): void {
      if (bytes === undefined) socket.emit('end')
      else socket.emit('data', Buffer.from(bytes, 'latin1'))
    },
  }
}
