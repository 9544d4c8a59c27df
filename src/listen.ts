// The gate's socket: Node's strict parser with our limits, and the raw refusal for what never becomes a request. Nothing here reads a
// request: it keeps clients from being slow, many or loud, and no answer of ours is ever put into the middle of another one.
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { rawRefusal } from './answer.ts'
import { type ErrorCode, HoldpointError } from './errors.ts'
import type { CallerRequest, CallerResponse } from './incoming.ts'
import { type PlainConnections, plainConnections } from './plain-connection.ts'
import type { Line } from './session.ts'
import type { Limits, Listen, ListenTls } from './settings.ts'
import { refuseBadCertificates, serverTls } from './tls.ts'

/** How long a client may take, and what one connection may ask. Milliseconds. */
const usual = {
  /** For its head, or the TLS handshake. */
  headMs: 10_000,
  /** For its whole request. */
  requestMs: 15 * 60_000,
  /** Between two pieces of its body, or of the answer it takes. */
  stallMs: 60_000,
  keepAliveMs: 65_000,
  checkMs: 2_000,
  /** For what is still being sent, and for open tunnels, after the end was asked for. */
  drainMs: 5_000,
}
const requestsPerSocket = 1_000
const probeMs = 30_000
const idleMs = 50
const ignore = (): void => {}
/** Connections that wait to be accepted: what comes when all callers come at once. Those beyond try again only after a second. */
const backlog = 4096

export type Patience = typeof usual

export type Listening = { readonly url: string; readonly port: number; close(): Promise<void> }

export type GateListener = {
  handle(request: CallerRequest, response: CallerResponse, continues?: boolean, line?: Line): void
  unparsed(address: string, code: ErrorCode): void
  /** The limits in force now; only `header` counts as it was at the start. */
  limits(): Pick<Limits, 'header' | 'connections' | 'connectionsPerAddress'>
  /** Is this one of our own proxies, behind which are many callers? */
  trusted(address: string): boolean
}

export type GateListening = Listening & {
  /** From now on new connections get this certificate. */
  secure(tls: ListenTls): void
}

/**
 * @param tls undefined: plain HTTP
 * @throws an Error that names the address if it cannot be listened on
 */
export const listenGate = async (
  listener: GateListener,
  where: Listen,
  tls?: ListenTls,
  patience: Partial<Patience> = {},
): Promise<GateListening> => {
  const times = { ...usual, ...patience }
  // What is not answered yet on a connection, and how many requests came over it.
  const open = new WeakMap<Duplex, { readonly unanswered: Set<ServerResponse>; count: number }>()
  const options = {
    maxHeaderSize: listener.limits().header,
    headersTimeout: times.headMs,
    requestTimeout: times.requestMs,
    keepAliveTimeout: times.keepAliveMs,
    connectionsCheckingInterval: times.checkMs,
    keepAlive: true,
    keepAliveInitialDelay: probeMs,
    insecureHTTPParser: false,
    // A request without a body is over with its head: no stream of it has to be begun and ended.
    optimizeEmptyRequests: true,
    // A missing Host is refused by receive, with a reason.
    requireHostHeader: false,
    // A WebSocket or SPDY is a call like any other; only its connection is taken from Node. Anything else that asks for an upgrade is a plain
    // request, and so is one whose connection is still in use: receive says what is wrong with it.
    shouldUpgradeCallback: (request: IncomingMessage) =>
      /^(?:websocket|spdy\/3\.1)$/i.test(request.headers.upgrade ?? '') &&
      (open.get(request.socket)?.unanswered.size ?? 0) === 0,
  }
  const server =
    tls === undefined
      ? createServer(options)
      : createTlsServer({ ...options, ...serverTls(tls), handshakeTimeout: times.headMs })
  server.maxRequestsPerSocket = requestsPerSocket
  // With a limit Node drops what is over it, unseen; receive counts instead.
  server.maxHeadersCount = 0
  server.setTimeout(times.stallMs)

  function answered(this: ServerResponse): void {
    open.get(this.req.socket)?.unanswered.delete(this)
  }
  const take = (request: IncomingMessage, response: ServerResponse, continues = false): void => {
    const { socket } = request
    let line = open.get(socket)
    if (line === undefined) {
      line = { unanswered: new Set(), count: 0 }
      open.set(socket, line)
    }
    const { unanswered } = line
    // Node counts from where it took the connection on. Behind the last answer nothing is answered, so nothing may be done either.
    if (++line.count > requestsPerSocket) return
    unanswered.add(response)
    // Node says "close" in its last answer, but leaves the connection open.
    if (line.count === requestsPerSocket) response.shouldKeepAlive = false
    response.on('close', answered)
    response.on('error', ignore)
    listener.handle(request, response, continues)
  }
  // Only who owes something is slow: bytes that we wait for, or bytes that it does not take.
  server.on('timeout', (socket: Socket) => {
    const [first] = open.get(socket)?.unanswered ?? []
    const owes =
      first === undefined || (!first.req.complete && first.req.readableLength < first.req.readableHighWaterMark)
    if (owes || socket.writableLength > 0) socket.destroy()
  })
  server.on('request', (request, response) => take(request, response))
  server.on('checkContinue', (request, response) => take(request, response, true))
  server.on('checkExpectation', (request, response) => take(request, response))
  server.on('connect', (_request, socket) => {
    // Node has let go of this connection: nobody else hears of its errors, and nobody reads to its end.
    socket.on('error', () => {})
    if ((open.get(socket)?.unanswered.size ?? 0) === 0) {
      refuse(socket as Socket, 'method_not_allowed', listener)
      ;(socket as Socket).destroySoon()
      return
    }
    // An answer to it would be taken for the answer to the request before it, and nobody would hear of a caller that leaves meanwhile.
    listener.unparsed((socket as Socket).remoteAddress ?? '', 'method_not_allowed')
    socket.destroy()
  })
  const lines = new Set<Duplex>()
  server.on('upgrade', (request, socket, early) => {
    lines.add(socket)
    socket.once('close', () => lines.delete(socket))
    offer(request, socket as Socket, early, listener, times.stallMs)
  })
  server.on('clientError', (error: Error & { code?: string }, socket) => {
    const unanswered = [...(open.get(socket)?.unanswered ?? [])]
    const [only] = unanswered
    // A broken TLS handshake, or a connection that is gone: there is nobody to answer.
    if (!socket.writable || !/^(HPE_|ERR_HTTP_)/.test(error.code ?? '')) return void socket.destroy()
    if (only !== undefined && (unanswered.length > 1 || only.headersSent || only.req.complete)) {
      // Garbage behind a request that is being answered: an answer to it would be taken for the answer to that one.
      listener.unparsed((socket as Socket).remoteAddress ?? '', 'malformed')
      if (unanswered.some(response => !response.req.complete)) return void socket.destroy()
      const last = unanswered.at(-1)
      last?.once('close', () => (socket as Socket).destroySoon())
      return
    }
    refuse(socket as Socket, codeOf(error.code), listener, error.code)
  })
  // Node's own server takes on what is not plain.
  const opened = server instanceof TlsServer ? 'secureConnection' : 'connection'
  const theirs = server.listeners(opened) as ((this: Server, socket: Socket) => void)[]
  server.removeAllListeners(opened)
  capped(server, listener)
  const plain = plainConnections({
    times,
    requests: requestsPerSocket,
    header: listener.limits().header,
    handle: listener.handle,
    handOver(socket, count) {
      open.set(socket, { unanswered: new Set(), count })
      for (const take of theirs) take.call(server, socket)
    },
    late: socket => refuse(socket, 'malformed', listener, 'ERR_HTTP_REQUEST_TIMEOUT'),
  })
  server.on(opened, plain.add)
  if (server instanceof TlsServer) refuseBadCertificates(server)
  const listening = await listen(server, where, 'gate', tls === undefined ? 'http' : 'https', times.drainMs, plain)
  return {
    ...listening,
    secure(next) {
      if (server instanceof TlsServer) server.setSecureContext(serverTls(next))
    },
    close: async () => {
      const cut = setTimeout(() => {
        for (const socket of lines) socket.destroy()
      }, times.drainMs).unref()
      await listening.close()
      clearTimeout(cut)
    },
  }
}

/** Closes connections over the caps as they come; whoever opens them is counted, not answered. */
const capped = (server: Server | TlsServer, { limits, trusted, unparsed }: GateListener): void => {
  const counts = new Map<string, number>()
  let all = 0
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? ''
    const count = (counts.get(address) ?? 0) + 1
    const { connections, connectionsPerAddress } = limits()
    if (all >= connections || (count > connectionsPerAddress && !trusted(address))) {
      unparsed(address, 'too_many_calls')
      return void socket.destroy()
    }
    all++
    counts.set(address, count)
    socket.once('close', () => {
      all--
      const left = (counts.get(address) ?? 1) - 1
      if (left > 0) counts.set(address, left)
      else counts.delete(address)
    })
  })
}

/**
 * Hands over a request whose connection Node has let go of: it is answered, or becomes a tunnel; in both cases nothing that came behind
 * it is ever read as a request.
 */
const offer = (
  request: IncomingMessage,
  socket: Socket,
  early: Buffer,
  listener: GateListener,
  stallMs: number,
): void => {
  socket.on('error', () => {})
  // A client that talks before it is answered means something else than we do.
  if (early.length > 0) {
    refuse(socket, 'malformed', listener)
    socket.destroySoon()
    return
  }
  const tooEarly = (): void => {
    listener.unparsed(socket.remoteAddress ?? '', 'malformed')
    socket.destroy()
  }
  const gone = (): void => void socket.destroy()
  const stalled = (): void => {
    if (socket.writableLength > 0) socket.destroy()
  }
  socket.setTimeout(stallMs, stalled)
  socket.on('data', tooEarly)
  socket.on('end', gone)
  const response = new ServerResponse(request)
  response.on('error', ignore)
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  response.once('finish', () => {
    response.detachSocket(socket)
    socket.destroySoon()
  })
  listener.handle(request, response, false, {
    socket,
    take() {
      response.detachSocket(socket)
      socket.setTimeout(0)
      socket.off('timeout', stalled)
      socket.pause()
      socket.off('data', tooEarly)
      socket.off('end', gone)
    },
  })
}

const codeOf = (code: string | undefined): ErrorCode =>
  code === 'HPE_HEADER_OVERFLOW' ? 'head_too_large' : 'malformed'

const refuse = (socket: Socket, code: ErrorCode, listener: GateListener, cause?: string): void => {
  listener.unparsed(socket.remoteAddress ?? '', code)
  const details: Partial<Record<ErrorCode, string>> = {
    malformed:
      cause === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request: it did not arrive in time.'
        : 'request: these bytes are not one HTTP/1.1 request.',
    method_not_allowed: 'method: CONNECT is not served; this is not a forward proxy.',
    head_too_large: 'head: request line and headers are larger than limits.header.',
  }
  socket.end(rawRefusal(new HoldpointError(code, details[code])))
}

/** Listens and tells the real address. */
export const listening = (server: Server, where: Listen, what: string): Promise<Listening> =>
  listen(server, where, what, 'http', usual.drainMs)

const listen = async (
  server: Server | TlsServer,
  where: Listen,
  what: string,
  scheme: 'http' | 'https',
  drainMs: number,
  plain?: PlainConnections,
): Promise<Listening> => {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: Error & { code?: string }) =>
      reject(
        new Error(
          cause.code === 'EADDRINUSE'
            ? `${what}.listen: port ${where.port} of ${where.host} is taken; give ${what} another one, or stop what listens there`
            : `${what}.listen: cannot listen on ${where.host}:${where.port} (${cause.code ?? cause.message})`,
          { cause },
        ),
      ),
    )
    server.listen({ port: where.port, host: where.host, backlog }, resolve)
  })
  const { port } = server.address() as AddressInfo
  const host = where.host.includes(':') ? `[${where.host}]` : where.host
  return {
    url: `${scheme}://${host === '0.0.0.0' || host === '[::]' ? '127.0.0.1' : host}:${port}`,
    port,
    close: () =>
      new Promise<void>(resolve => {
        // A connection whose answer ends later is idle only then.
        const closeIdle = (): void => {
          server.closeIdleConnections()
          plain?.closeIdle()
        }
        const idle = setInterval(closeIdle, idleMs).unref()
        server.close(() => {
          clearInterval(idle)
          resolve()
        })
        closeIdle()
        // What is still being sent gets its time, then it ends.
        setTimeout(() => {
          server.closeAllConnections()
          plain?.closeAll()
        }, drainMs).unref()
      }),
  }
}
