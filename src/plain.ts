// Plain requests: those whose head, and body if there is one, came in one piece, with nothing in them that two readers could read in two
// ways and nothing behind them. They are most of what comes, and are read and answered here for less than Node's HTTP server takes. Any
// other byte is for that server: the connection is handed over to it as it is, for good. So what is taken here is only ever what Node's
// strict parser takes as well, and reads alike; what is refused, and how, is decided there and in receive.ts.
import { EventEmitter } from 'node:events'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { trimmed } from './headers.ts'
import type { CallerResponse } from './incoming.ts'
import { nameOf } from './names.ts'
import type { Header } from './nouns.ts'

/** What is kept of what comes while a call is answered; then the caller has to wait. */
export const mostBehind = 64 * 1024
/** Up to so many bytes go out in one text with the head. */
const smallBody = 4 * 1024

const empty = Buffer.alloc(0)

export class PlainRequest {
  readonly method: string
  readonly url: string
  readonly httpVersion = '1.1'
  readonly complete = true
  /** Trimmed, of visible ASCII, spaces and tabs only, with names that are valid. */
  readonly lines: readonly Header[]
  readonly socket: Socket
  readonly keepAlive: boolean
  private body: Buffer | undefined

  constructor(head: PlainHead, socket: Socket, body: Buffer | undefined) {
    this.method = head.method
    this.url = head.url
    this.lines = head.lines
    this.keepAlive = head.keepAlive
    this.socket = socket
    this.body = body
  }

  get rawHeaders(): string[] {
    return this.lines.flat()
  }

  /** The body, once; null if there is none, or no longer. */
  read(): Buffer | null {
    const { body } = this
    this.body = undefined
    return body ?? null
  }
}

export type PlainHead = {
  readonly method: string
  readonly url: string
  readonly lines: readonly Header[]
  readonly keepAlive: boolean
  /** Bytes, with its empty line. */
  readonly size: number
  /** Bytes of the body that the head speaks of. */
  readonly length: number
}

/** @returns the head that these bytes begin with; undefined if it is not all there, has more than `limit` bytes, or is not plain */
export const readPlain = (bytes: Buffer, limit: number): PlainHead | undefined => {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0 || end + 4 > limit) return undefined
  const text = bytes.toString('latin1', 0, end)
  const first = text.indexOf('\r\n')
  const [, method, url] =
    /^(GET|HEAD|POST|PUT|PATCH|DELETE) (\/[\x21-\x7e]*) HTTP\/1\.1$/.exec(first < 0 ? '' : text.slice(0, first)) ?? []
  if (method === undefined || url === undefined) return undefined
  const lines: Header[] = []
  let connection: string | undefined
  let length: string | undefined
  for (let at = first + 2; at < text.length; ) {
    const next = text.indexOf('\r\n', at)
    const until = next < 0 ? text.length : next
    const colon = text.indexOf(':', at)
    if (colon < 0 || colon >= until) return undefined
    const { name, lower, valid, plain } = nameOf(text.slice(at, colon))
    if (!valid || plain === 'never') return undefined
    const value = trimmed(text, colon + 1, until)
    // A line ends with CR and LF; either of them alone is found here.
    if (/[^\t\x20-\x7e]/.test(value)) return undefined
    if (plain === 'asked') {
      if (lower === 'connection') {
        if (connection !== undefined) return undefined
        connection = value.toLowerCase()
      } else {
        if (length !== undefined) return undefined
        length = value
      }
    }
    lines.push([name, value])
    at = until + 2
  }
  if (connection !== undefined && connection !== 'keep-alive' && connection !== 'close') return undefined
  if (length !== undefined && !/^(?:0|[1-9]\d{0,14})$/.test(length)) return undefined
  return { method, url, lines, keepAlive: connection !== 'close', size: end + 4, length: Number(length ?? 0) }
}

let dateMs = 0
let dateLine = ''

/** Now, as a Date line says it. */
const date = (): string => {
  const now = Date.now()
  if (now >= dateMs + 1000 || now < dateMs) {
    dateMs = now - (now % 1000)
    dateLine = new Date(dateMs).toUTCString()
  }
  return dateLine
}

/** The response to a plain request. Its bytes are those that Node's would have. */
export class PlainResponse extends EventEmitter implements CallerResponse {
  readonly req: PlainRequest
  readonly socket: Socket
  statusCode = 200
  headersSent = false
  destroyed = false
  writableEnded = false
  writableFinished = false
  /** The connection ends with it. */
  last: boolean
  private readonly kept: string
  private readonly done: () => void
  /** Not written yet. */
  private head = ''
  private hasBody = true
  private chunked = false
  /** Bytes that the head has promised and that were not given yet. */
  private left: number | undefined
  private trailers = ''

  /** @param kept the lines that tell a caller for how long the connection is kept @param done is told when the next request may be read */
  constructor(req: PlainRequest, kept: string, last: boolean, done: () => void) {
    super()
    this.req = req
    this.socket = req.socket
    this.kept = kept
    this.last = last
    this.done = done
  }

  writeHead(status: number, reason: string | string[], lines?: string[]): void {
    if (this.headersSent) throw new Error('the head of this answer was written already')
    const text = typeof reason === 'string' ? reason : (STATUS_CODES[status] ?? 'unknown')
    const headers = (typeof reason === 'string' ? lines : reason) ?? []
    if (!Number.isInteger(status) || status < 200 || status > 999 || unwritable.test(text))
      throw new Error(`the status ${status} cannot be sent as it is`)
    let head = `HTTP/1.1 ${status} ${text}\r\n`
    let dated = false
    let connection = false
    let { last } = this
    let length: string | undefined
    for (let at = 0; at < headers.length; at += 2) {
      const name = headers[at] ?? ''
      const value = headers[at + 1] ?? ''
      const { lower, valid } = nameOf(name)
      if (!valid || unwritable.test(value) || lower === 'transfer-encoding')
        throw new Error(`the header ${JSON.stringify(name)} cannot be sent as it is`)
      head += `${name}: ${value}\r\n`
      if (lower === 'date') dated = true
      else if (lower === 'connection') {
        connection = true
        if (/close/i.test(value)) last = true
      } else if (lower === 'content-length') {
        if (length !== undefined || !/^\d{1,15}$/.test(value)) throw new Error('an answer has one length')
        length = value
      }
    }
    if (!dated) head += `Date: ${date()}\r\n`
    if (!connection) head += last ? 'Connection: close\r\n' : this.kept
    this.hasBody = status !== 204 && status !== 304 && this.req.method !== 'HEAD'
    this.chunked = this.hasBody && length === undefined
    if (this.chunked) head += 'Transfer-Encoding: chunked\r\n'
    if (length !== undefined) this.left = Number(length)
    this.last = last
    this.head = `${head}\r\n`
    this.statusCode = status
    this.headersSent = true
  }

  flushHeaders(): void {
    this.begin()
    this.put(this.head)
    this.head = ''
  }

  writeContinue(): void {
    throw new Error('nobody waits for a plain request to go on')
  }

  writeEarlyHints({ link }: { link: string[] }): void {
    const value = link.join(', ')
    if (this.headersSent || unwritable.test(value)) return
    this.put(`HTTP/1.1 103 Early Hints\r\nLink: ${value}\r\n\r\n`)
  }

  write(chunk: Buffer | string, written?: (error: Error | null | undefined) => void): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (this.gone() || this.writableEnded) {
      written?.(new Error('the connection is closed'))
      return true
    }
    this.begin()
    if (!this.hasBody || bytes.length === 0) {
      this.flushHeaders()
      written?.(null)
      return true
    }
    if (!this.counts(bytes.length)) {
      written?.(new Error('the connection is closed'))
      return true
    }
    const { socket } = this
    socket.cork()
    if (this.head !== '') socket.write(this.head, 'latin1')
    this.head = ''
    if (this.chunked) socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1')
    let more = written === undefined ? socket.write(bytes) : socket.write(bytes, written)
    if (this.chunked) more = socket.write('\r\n', 'latin1')
    socket.uncork()
    return more
  }

  addTrailers(trailers: [string, string][]): void {
    for (const [name, value] of trailers) {
      if (!nameOf(name).valid || unwritable.test(value))
        throw new Error(`the trailer ${JSON.stringify(name)} cannot be sent as it is`)
      this.trailers += `${name}: ${value}\r\n`
    }
  }

  end(chunk: Buffer | string = empty): void {
    if (this.writableEnded) return
    this.begin()
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (this.hasBody && bytes.length > smallBody) this.write(bytes)
    this.writableEnded = true
    // Its end comes with that of the connection.
    if (this.gone()) return
    const body = this.hasBody && bytes.length <= smallBody ? bytes : empty
    if (this.hasBody && !this.counts(body.length, true)) return
    let text = this.head
    this.head = ''
    if (body.length > 0) {
      const latin = body.toString('latin1')
      text += this.chunked ? `${body.length.toString(16)}\r\n${latin}\r\n` : latin
    }
    if (this.chunked) text += `0\r\n${this.trailers}\r\n`
    this.put(text)
    // What the system has taken at once is sent; else it is, once what comes behind it is.
    if (this.socket.writableLength === 0) this.finish()
    else this.socket.write(empty, error => (error ? this.cut() : this.finish()))
    this.done()
  }

  destroy(): void {
    this.destroyed = true
    this.socket.destroy()
  }

  /** Nobody takes anything any more, though the connection may not have closed yet. */
  private gone(): boolean {
    return this.destroyed || !this.socket.writable
  }

  /** The connection has closed, or closes before all of this was sent. */
  cut(): void {
    this.destroyed = true
    if (!this.writableFinished) this.emit('close')
  }

  private finish(): void {
    this.writableFinished = true
    if (this.listenerCount('close') > 0) process.nextTick(() => this.emit('close'))
  }

  private begin(): void {
    if (!this.headersSent) this.writeHead(this.statusCode, [])
  }

  private put(text: string): void {
    if (text !== '' && !this.gone()) this.socket.write(text, 'latin1')
  }

  /** Does the body keep to its length? If not, nobody may take what came for all of it, nor what follows for part of it. */
  private counts(bytes: number, ends = false): boolean {
    if (this.left === undefined) return true
    this.left -= bytes
    if (this.left >= 0 && (!ends || this.left === 0)) return true
    this.destroy()
    return false
  }
}

const unwritable = /[^\t\x20-\x7e\x80-\xff]/
