// Connections over which plain requests come, one at a time: how they are read, kept, given time and ended. The first bytes that are no
// plain request hand a connection over, and nothing is known of it here any more.
import type { Socket } from 'node:net'
import { mostBehind, PlainRequest, PlainResponse, readPlain } from './plain.ts'

export type PlainPatience = {
  /** For the first byte. Milliseconds, like all of these. */
  readonly headMs: number
  /** For the next byte of an answer to be taken. */
  readonly stallMs: number
  readonly keepAliveMs: number
  /** How often times are looked at. */
  readonly checkMs: number
}

export type PlainConnections = {
  add(socket: Socket): void
  /** Ends those on which nothing is under way. */
  closeIdle(): void
  closeAll(): void
}

type Known = {
  /** @param ticks looks taken so far */
  check(ticks: number): void
  closeIfIdle(): void
}

export const plainConnections = (options: {
  readonly times: PlainPatience
  /** Of one connection. */
  readonly requests: number
  /** Bytes of a head. */
  readonly header: number
  readonly handle: (request: PlainRequest, response: PlainResponse) => void
  /** Takes a connection on; what was read of it is in it again. */
  readonly handOver: (socket: Socket) => void
  /** Nothing came in time. */
  readonly late: (socket: Socket) => void
}): PlainConnections => {
  const { times, requests, header, handle, handOver, late } = options
  const known = new Map<Socket, Known>()
  const kept = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(times.keepAliveMs / 1000)}, max=${requests}\r\n`
  // Times are counted in looks, and the one under way does not count: nobody is cut off early.
  let ticks = 0
  let timer: NodeJS.Timeout | undefined
  const ticksOf = (ms: number): number => Math.ceil(ms / times.checkMs) + 1
  const [headTicks, stallTicks, keepTicks] = [times.headMs, times.stallMs, times.keepAliveMs].map(ticksOf) as [
    number,
    number,
    number,
  ]
  const look = (): void => {
    ticks++
    for (const one of known.values()) one.check(ticks)
  }

  const add = (socket: Socket): void => {
    let response: PlainResponse | undefined
    let count = 0
    let since = ticks
    let sent = 0
    /** What came while a call is answered. */
    let behind: Buffer | undefined
    /** Nothing more is read. */
    let over = false

    const onData = (bytes: Buffer): void => {
      if (over) return
      if (response === undefined) {
        read(bytes)
        return
      }
      behind = behind === undefined ? bytes : Buffer.concat([behind, bytes])
      if (behind.length > mostBehind) socket.pause()
    }
    const read = (bytes: Buffer): void => {
      const head = readPlain(bytes, header)
      if (head === undefined || bytes.length !== head.size + head.length) {
        leave(bytes)
        return
      }
      count++
      since = ticks
      const request = new PlainRequest(head, socket, head.length === 0 ? undefined : bytes.subarray(head.size))
      response = new PlainResponse(request, kept, !head.keepAlive || count >= requests, answered)
      handle(request, response)
    }
    const answered = (): void => {
      const last = response?.last
      response = undefined
      since = ticks
      if (last === true) {
        over = true
        socket.destroySoon()
        return
      }
      if (behind !== undefined) setImmediate(next)
    }
    const next = (): void => {
      const bytes = behind
      if (bytes === undefined || over || response !== undefined || socket.destroyed) return
      behind = undefined
      socket.resume()
      read(bytes)
    }
    const leave = (bytes: Buffer): void => {
      forget()
      socket.pause()
      socket.off('data', onData).off('end', onEnd).off('drain', onDrain).off('close', onClose)
      socket.unshift(bytes)
      handOver(socket)
      // Whoever takes it on hears of its errors by now.
      socket.off('error', onError)
      socket.resume()
    }
    // Who stops sending does not wait for an answer either.
    const onEnd = (): void => void socket.end()
    const onDrain = (): void => void response?.emit('drain')
    const onError = (): void => void socket.destroy()
    const onClose = (): void => {
      forget()
      response?.cut()
    }
    const forget = (): void => {
      known.delete(socket)
      if (known.size > 0) return
      clearInterval(timer)
      timer = undefined
    }

    known.set(socket, {
      check(now) {
        const went = socket.bytesWritten - socket.writableLength
        if (response !== undefined || socket.writableLength > 0) {
          // Only who owes something is slow: bytes that it does not take.
          if (socket.writableLength === 0 || went !== sent) since = now
          sent = went
          if (now - since >= stallTicks) socket.destroy()
        } else if (over) {
          if (now - since >= stallTicks) socket.destroy()
        } else if (count === 0) {
          if (now - since < headTicks) return
          over = true
          since = now
          late(socket)
        } else if (now - since >= keepTicks) socket.destroy()
      },
      closeIfIdle() {
        if (count > 0 && response === undefined && behind === undefined && socket.writableLength === 0) socket.destroy()
      },
    })
    timer ??= setInterval(look, times.checkMs).unref()
    socket.on('data', onData).on('end', onEnd).on('drain', onDrain).on('error', onError).on('close', onClose)
  }

  return {
    add,
    closeIdle() {
      for (const one of known.values()) one.closeIfIdle()
    },
    closeAll() {
      for (const socket of known.keys()) socket.destroy()
    },
  }
}
