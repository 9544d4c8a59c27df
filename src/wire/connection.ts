// One HTTP/1.1 connection to an upstream, one exchange at a time. It is used again only after an exchange of which every byte is accounted
// for: the request wholly sent, the answer ended where its head said, nothing behind it. Whatever else happens ends it.
import type { Socket } from 'node:net'
import { atTurnsEnd } from '../turn.ts'
import { type Chunked, chunked } from './chunked.ts'
import type { Answering, Asked } from './exchange.ts'
import { framing, readHead } from './head.ts'
import type { Take } from './reading.ts'
import type { WrittenHead } from './request.ts'

const longestHead = 64 * 1024
/** An upstream that sends its head byte by byte costs us a copy each time. */
const mostPieces = 1_000
/** So long a connection waits for its first exchange. */
const unusedMs = 4_000

/** Up to so many bytes go out in one text with the head: one write costs less than two. */
const smallBody = 4 * 1024

const empty = Buffer.alloc(0)
const latin1 = ({ buffer, byteOffset, length }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, length).toString('latin1')
const nothing = (): void => {}

export type Connection = {
  /** Is to be given all that is read from the socket, until it is handed over for a tunnel. Without `this`. Never throws. */
  readonly take: Take
  /** Sends a request, whose head is written already. Only while there is none under way. */
  exchange(asked: Asked, head: WrittenHead, answering: Answering): void
  /** Ends the connection, if it still serves this exchange. */
  callOff(answering: Answering, reason: Error): void
  /** Ends it, and with it the exchange under way. */
  end(reason: Error): void
  /** May it serve another call? */
  usable(now: number): boolean
  /** Ends it where the upstream has taken too long, or nobody has needed it for too long. */
  check(now: number): void
}

/**
 * @param socket open
 * @param free is told when the connection may be used again, `closed` when it is no more
 */
export const connection = (
  socket: Socket,
  free: (connection: Connection) => void,
  closed: (connection: Connection) => void,
): Connection => {
  let asked: Asked | undefined
  let taker: Answering | undefined
  let stage: 'head' | 'sized' | 'chunked' | 'rest' = 'head'
  /** Of a head, what has come. */
  let begun: Buffer | undefined
  let pieces = 0
  /** Bytes of the answer's body that have not come yet. */
  let left = 0
  let chunks: Chunked | undefined
  /** A request without a body, or with a whole one, goes out at the end of the turn. */
  let unwritten = false
  /** Every byte of the request is the socket's. */
  let sent = false
  /** The request under way signs this connection in. */
  let bound = false
  let keepMs = 0
  /** When the upstream has taken too long, or an idle connection has been kept long enough. */
  let dueAt = performance.now() + unusedMs
  let paused = false
  /** What the taker under way resumes with, once it was handed something. */
  let resuming: (() => void) | undefined
  let broken: unknown

  const within = (ms: number): number => (ms === 0 ? Number.POSITIVE_INFINITY : performance.now() + ms)

  const fail = (cause: unknown, timeout = false): void => {
    const hearing = taker
    taker = undefined
    asked = undefined
    socket.destroy()
    hearing?.failed(cause, timeout)
  }

  /** @param behind bytes that came behind the answer: there should be none, and whose they are nobody knows */
  const finish = (behind: number): void => {
    const hearing = taker
    const trailers = chunks?.trailers ?? []
    taker = undefined
    asked = undefined
    chunks = undefined
    resuming = undefined
    stage = 'head'
    flow()
    if (!sent || behind > 0 || keepMs === 0 || socket.writableLength > 0) socket.destroy()
    try {
      hearing?.end(trailers)
    } catch (cause) {
      socket.destroy()
      hearing?.failed(cause, false)
    }
    if (socket.destroyed) return
    dueAt = performance.now() + keepMs
    free(self)
  }

  const flow = (): void => {
    if (!paused) return
    paused = false
    if (asked !== undefined) dueAt = within(asked.idleMs)
    socket.resume()
  }

  /** One that comes late must not let loose what another taker has held up. */
  const resumeOf = (hearing: Answering) => (): void => {
    if (taker === hearing) flow()
  }

  const give = (piece: Buffer, last: boolean, spent: (() => void) | undefined): void => {
    if (taker === undefined || asked === undefined) return
    dueAt = within(asked.idleMs)
    resuming ??= last ? nothing : resumeOf(taker)
    if (taker.data(piece, resuming, last, spent) || paused) return
    paused = true
    // It is not the upstream that keeps us waiting.
    dueAt = Number.POSITIVE_INFINITY
    socket.pause()
  }

  const keepHead = (bytes: Buffer): void => {
    const line = bytes.indexOf(0x0a)
    if (line === 0 || (line > 0 && bytes[line - 1] !== 0x0d)) throw new Error('the upstream ended a line without CR')
    if (bytes.length > longestHead || ++pieces > mostPieces) throw new Error('the upstream sent a head without end')
    begun = bytes
  }

  /** @returns what lies behind the head; undefined: it has not come to its end */
  const takeHead = (
    more: Buffer,
    { method, upgrade, fresh, idleMs }: Asked,
    hearing: Answering,
  ): Buffer | undefined => {
    const bytes = begun === undefined ? more : Buffer.concat([begun, more])
    const end = bytes.indexOf('\r\n\r\n')
    if (end < 0) return void keepHead(bytes)
    if (end > longestHead) throw new Error('the upstream sent a head without end')
    begun = undefined
    pieces = 0
    const head = readHead(bytes.toString('latin1', 0, end))
    const rest = bytes.subarray(end + 4)
    if (head.status === 101) {
      if (upgrade === undefined) throw new Error('the upstream switched to no protocol that was asked for')
      if (!sent) throw new Error('the upstream switched protocols in the middle of the request')
      hand(head.headers, rest, hearing)
      return undefined
    }
    if (head.status < 200) {
      hearing.interim(head.status, head.headers)
      return rest
    }
    const framed = framing(head, method)
    keepMs = fresh || bound ? 0 : framed.keepMs
    if (typeof framed.length === 'number') {
      stage = 'sized'
      left = framed.length
    } else {
      stage = framed.length
      if (framed.length === 'chunked') chunks = chunked()
    }
    dueAt = within(idleMs)
    const bare = stage === 'sized' && left === 0
    hearing.head(head.status, head.headers, head.reason, bare || rest.length > 0)
    if (bare) {
      finish(rest.length)
      return undefined
    }
    return rest
  }

  /** The connection becomes the taker's. */
  const hand = (headers: Asked['headers'], rest: Buffer, hearing: Answering): void => {
    taker = undefined
    asked = undefined
    socket.pause()
    socket.off('data', take).off('end', onEnd).off('error', onError).off('close', onClose)
    closed(self)
    if (rest.length > 0) socket.unshift(rest)
    try {
      hearing.upgraded(headers, socket)
    } catch (cause) {
      socket.destroy()
      hearing.failed(cause, false)
    }
  }

  /** What one reading brought of a body in chunks is handed over at once, however small they are. */
  const takeChunks = (read: Buffer, reading: Chunked, promised: boolean, spent: (() => void) | undefined): void => {
    const pieces: Buffer[] = []
    const behind = reading.take(read, pieces)
    const ended = behind !== undefined
    if (pieces.length > 0 || (promised && !ended)) {
      const bytes = pieces.length > 1 ? Buffer.concat(pieces) : (pieces[0] ?? empty)
      give(bytes, ended && reading.trailers.length === 0, spent)
    }
    if (ended) finish(behind)
  }

  const read = (bytes: Buffer, spent: (() => void) | undefined): void => {
    if (unwritten) throw new Error('the upstream answered before it was asked')
    const headed = stage === 'head'
    let rest: Buffer | undefined = bytes
    while (rest !== undefined && stage === 'head' && taker !== undefined && asked !== undefined) {
      if (rest.length === 0) return
      rest = takeHead(rest, asked, taker)
    }
    if (rest === undefined || rest.length === 0) return
    // Bytes that nobody asked for.
    if (taker === undefined) return void socket.destroy()
    // The head waits for what comes right behind it: a chunk of which there is not a byte yet must not keep it waiting.
    if (chunks !== undefined) takeChunks(rest, chunks, headed, spent)
    else if (stage === 'sized') {
      const piece = rest.length <= left ? rest : rest.subarray(0, left)
      left -= piece.length
      give(piece, left === 0, spent)
      if (left === 0) finish(rest.length - piece.length)
    } else give(rest, false, spent)
  }

  const take: Take = (bytes, spent) => {
    try {
      read(bytes, spent)
    } catch (cause) {
      fail(cause)
    }
  }
  const onEnd = (): void => {
    if (taker !== undefined && stage === 'rest') finish(0)
    else fail(new Error('the upstream closed the connection'))
  }
  const onError = (cause: Error): void => {
    broken = cause
  }
  const onClose = (): void => {
    closed(self)
    fail(broken ?? new Error('the upstream closed the connection'))
  }
  socket.on('end', onEnd).on('error', onError).on('close', onClose)

  const starts = (answering: Answering): boolean => {
    try {
      answering.started()
      return true
    } catch (cause) {
      fail(cause)
      return false
    }
  }

  const put = (head: string, body: Uint8Array | undefined): void => {
    unwritten = false
    sent = true
    if (body === undefined) return void socket.write(head, 'latin1')
    if (body.length <= smallBody) return void socket.write(head + latin1(body), 'latin1')
    socket.cork()
    socket.write(head, 'latin1')
    socket.write(body)
    socket.uncork()
  }

  // ---- the request's body, as it comes

  const drained = (): Promise<void> =>
    new Promise(resolve => {
      const go = (): void => {
        socket.off('drain', go)
        socket.off('close', go)
        resolve()
      }
      socket.on('drain', go)
      socket.on('close', go)
    })

  const pour = async (body: AsyncIterable<Uint8Array>, request: Asked, hearing: Answering): Promise<void> => {
    const ours = (): boolean => taker === hearing
    const answerWithin = (ms: number): void => {
      if (ours() && stage === 'head') dueAt = within(ms)
    }
    let due = request.length
    answerWithin(0)
    try {
      for await (const piece of body) {
        if (!ours()) return
        if (piece.length === 0) continue
        answerWithin(request.headersMs)
        let flowing: boolean
        if (due === undefined) {
          socket.cork()
          socket.write(`${piece.length.toString(16)}\r\n`, 'latin1')
          socket.write(piece)
          flowing = socket.write('\r\n', 'latin1')
          socket.uncork()
        } else {
          due -= piece.length
          if (due < 0) throw new Error('the body is longer than was said')
          flowing = socket.write(piece)
        }
        if (!flowing) await drained()
        // It is not the upstream that keeps us waiting for the next piece.
        answerWithin(0)
      }
      if (!ours()) return
      if (due !== undefined && due > 0) throw new Error('the body is shorter than was said')
      if (due === undefined) socket.write('0\r\n\r\n', 'latin1')
      sent = true
      answerWithin(request.headersMs)
    } catch (cause) {
      // A request that is cut short must never look like a whole one: its connection ends in the middle of it.
      if (ours()) fail(cause)
    }
  }

  const self: Connection = {
    take,
    exchange(request, head, answering) {
      asked = request
      taker = answering
      sent = false
      bound = head.binds
      dueAt = within(request.headersMs)
      const { body } = request
      if (body === undefined || body instanceof Uint8Array) {
        unwritten = true
        atTurnsEnd(() => {
          if (taker === answering && starts(answering)) put(head.text, body)
        })
      } else if (starts(answering)) {
        socket.write(head.text, 'latin1')
        void pour(body, request, answering)
      }
    },
    callOff(answering, reason) {
      if (taker === answering) fail(reason)
    },
    end: reason => fail(reason),
    usable: now =>
      taker === undefined && now < dueAt && socket.writable && !socket.readableEnded && socket.readableLength === 0,
    check(now) {
      if (now < dueAt) return
      fail(new Error('the upstream took too long'), true)
    },
  }
  return self
}
