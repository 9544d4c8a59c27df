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
  /** Takes a connection on, after so many requests; what was read and not answered is in it again. */
  readonly handOver: (socket: Socket, count: number) => void
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
    /** What came while a call was answered, or its answer was not taken, until that is read. */
    let behind: Buffer[] = []
    let behindBytes = 0
    /** Nothing more is read here. */
    let over = false
    let watched = false

    const onData = (bytes: Buffer): void => {
      if (over) return
      // What came before is read before.
      if (response === undefined && behind.length === 0 && !socket.writableNeedDrain) {
        read(bytes)
        return
      }
      behind.push(bytes)
      behindBytes += bytes.length
      if (behindBytes > mostBehind) socket.pause()
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
      if (behind.length > 0) setImmediate(next)
    }
    const next = (): void => {
      // Who does not take its answers gets no more of them made.
      if (over || behind.length === 0 || socket.destroyed || socket.writableNeedDrain) return
      const bytes = Buffer.concat(behind)
      behind = []
      behindBytes = 0
      socket.resume()
      read(bytes)
    }
    const leave = (bytes: Buffer): void => {
      over = true
      forget()
      watch(false)
      socket.pause()
      socket.off('data', onData).off('end', onEnd).off('drain', onDrain).off('close', onClose).off('timeout', onStall)
      socket.unshift(bytes)
      handOver(socket, count)
      // Whoever takes it on hears of its errors by now.
      socket.off('error', onError)
      socket.resume()
    }
    // Who stops sending does not wait for an answer either.
    const onEnd = (): void => void socket.end()
    const onDrain = (): void => {
      if (response === undefined) next()
      else response.emit('drain')
    }
    const onStall = (): void => {
      if (socket.writableLength > 0) socket.destroy()
    }
    // Node sees whether a part of a write was taken, which nobody else can.
    const watch = (on: boolean): void => {
      if (on === watched) return
      watched = on
      socket.setTimeout(on ? times.stallMs : 0)
    }
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
        // Only who owes something is slow: bytes that it does not take.
        watch(socket.writableLength > 0)
        if (response !== undefined || socket.writableLength > 0) since = now
        else if (over) {
          if (now - since >= stallTicks) socket.destroy()
        } else if (count === 0) {
          if (now - since < headTicks) return
          over = true
          since = now
          late(socket)
        } else if (now - since >= keepTicks) socket.destroy()
      },
      closeIfIdle() {
        if (count > 0 && response === undefined && behind.length === 0 && socket.writableLength === 0) socket.destroy()
      },
    })
    timer ??= setInterval(look, times.checkMs).unref()
    socket
      .on('data', onData)
      .on('end', onEnd)
      .on('drain', onDrain)
      .on('error', onError)
      .on('close', onClose)
      .on('timeout', onStall)
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
