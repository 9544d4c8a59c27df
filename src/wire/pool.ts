// The HTTP/1.1 connections to one upstream. A call takes one that is free or opens one; there is no queue, and nothing is ever sent twice.
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type Connection, connection } from './connection.ts'
import type { Answering, Asked, CallOff, Transport } from './exchange.ts'
import { reading, type Take } from './reading.ts'
import { type WrittenHead, writeHead } from './request.ts'

export type Place = {
  readonly url: URL
  readonly connectMs: number
  /** A quarter of the shorter one is how often connections are looked at; 0: without end. */
  readonly headersMs: number
  readonly idleMs: number
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  /** The name its certificate must have, if not that of the url. */
  readonly serverName?: string | undefined
}

const probeMs = 30_000
/** As long as a timer can wait. */
const longest = 2 ** 31 - 1

export const pool = (place: Place): Transport => {
  const free: Connection[] = []
  const all = new Set<Connection>()
  const opening = new Set<Socket>()
  let sweep: NodeJS.Timeout | undefined
  let session: Buffer | undefined
  const shortest = Math.min(...[place.headersMs, place.idleMs].filter(ms => ms > 0))
  const everyMs = Math.min(1000, Math.max(10, shortest / 4))

  const look = (): void => {
    const now = performance.now()
    for (const one of all) one.check(now)
  }
  const forget = (one: Connection): void => {
    if (!all.delete(one)) return
    const at = free.indexOf(one)
    if (at >= 0) free.splice(at, 1)
    if (all.size > 0) return
    clearInterval(sweep)
    sweep = undefined
  }

  /** @param take is given what is read; undefined: the socket is to be read as a stream */
  const begin = (take: Take | undefined): Socket => {
    const { url } = place
    const host = url.hostname.replace(/^\[|\]$/g, '')
    if (url.protocol === 'http:')
      return connect({
        host,
        port: Number(url.port || 80),
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: probeMs,
        ...(take === undefined ? {} : { onread: reading(take) }),
      })
    const name = place.serverName ?? (isIP(host) === 0 ? host : undefined)
    const socket = connectTls({
      host,
      port: Number(url.port || 443),
      ALPNProtocols: ['http/1.1'],
      // Said out loud, so that no environment variable can switch it off.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ...(name === undefined ? {} : { servername: name }),
      ...(place.ca === undefined ? {} : { ca: place.ca }),
      ...(place.cert === undefined ? {} : { cert: place.cert }),
      ...(place.key === undefined ? {} : { key: place.key }),
      ...(session === undefined ? {} : { session }),
    })
    socket.setNoDelay(true)
    socket.setKeepAlive(true, probeMs)
    socket.on('session', ticket => {
      session = ticket
    })
    return socket
  }

  /** @param streamed it may become a tunnel. @returns what gives up on it. @throws what TLS settings that are none throw */
  const open = (
    streamed: boolean,
    done: (opened: Connection | undefined, cause?: unknown) => void,
  ): ((reason: Error) => void) => {
    let one: Connection | undefined
    const fed = !streamed && place.url.protocol === 'http:'
    const socket = begin(fed ? (bytes, spent) => one?.take(bytes, spent) : undefined)
    opening.add(socket)
    let settled = false
    const settle = (opened: Connection | undefined, cause?: unknown): void => {
      if (settled) return
      settled = true
      clearTimeout(late)
      opening.delete(socket)
      done(opened, cause)
    }
    const late = setTimeout(
      () => socket.destroy(new Error(`no connection within ${place.connectMs} ms`)),
      place.connectMs === 0 ? longest : place.connectMs,
    )
    socket.on('error', cause => settle(undefined, cause))
    socket.on('close', () => settle(undefined, new Error('the connection was closed')))
    socket.once(place.url.protocol === 'http:' ? 'connect' : 'secureConnect', () => {
      if (settled) return
      one = connection(socket, back => free.push(back), forget)
      if (!fed) socket.on('data', one.take)
      all.add(one)
      sweep ??= setInterval(look, everyMs).unref()
      settle(one)
    })
    return reason => socket.destroy(reason)
  }

  const taken = (): Connection | undefined => {
    const now = performance.now()
    for (let one = free.pop(); one !== undefined; one = free.pop()) {
      if (one.usable(now)) return one
      one.end(new Error('it was kept for too long'))
    }
    return undefined
  }

  const exchange = (asked: Asked, answering: Answering): CallOff => {
    try {
      const head = writeHead(asked, place.url.host)
      const kept = asked.fresh || asked.upgrade !== undefined ? undefined : taken()
      if (kept === undefined) return exchangeOnNew(asked, head, answering)
      kept.exchange(asked, head, answering)
      return reason => kept.callOff(answering, reason)
    } catch (cause) {
      answering.failed(cause, false)
      return () => {}
    }
  }

  const exchangeOnNew = (asked: Asked, head: WrittenHead, answering: Answering): CallOff => {
    let one: Connection | undefined
    let over = false
    const giveUp = open(asked.upgrade !== undefined, (opened, cause) => {
      if (over) {
        // Whoever asked for it has gone: the next call takes it.
        if (opened !== undefined) free.push(opened)
        return
      }
      one = opened
      if (opened !== undefined) return opened.exchange(asked, head, answering)
      over = true
      answering.failed(cause, false)
    })
    return reason => {
      if (one !== undefined) return one.callOff(answering, reason)
      if (over) return
      over = true
      if (asked.fresh) giveUp(reason)
      answering.failed(reason, false)
    }
  }

  return {
    exchange,
    async close() {
      const reason = new Error('the connection was closed')
      for (const socket of opening) socket.destroy(reason)
      for (const one of all) one.end(reason)
    },
  }
}
