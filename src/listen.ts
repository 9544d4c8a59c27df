// The gate's socket: Node's strict parser with our limits, and the raw refusal for what never becomes a request.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { rawRefusal } from './answer.ts'
import { type ErrorCode, HoldpointError } from './errors.ts'
import type { Listen } from './settings.ts'

/** How long a client may take for its head and for its whole request, how long an idle connection is kept, and what one connection may ask. */
const headTimeoutMs = 10_000
const requestTimeoutMs = 15 * 60_000
const keepAliveMs = 65_000
const requestsPerSocket = 1_000
const drainMs = 5_000

export type Listening = { readonly url: string; readonly port: number; close(): Promise<void> }

export type GateListener = {
  handle(request: IncomingMessage, response: ServerResponse, continues?: boolean): void
  unparsed(address: string, code: ErrorCode): void
}

/** @throws an Error that names the address if it cannot be listened on */
export const listenGate = async (listener: GateListener, where: Listen, maxHeaderBytes: number): Promise<Listening> => {
  const server = createServer({
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: headTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: 2_000,
    insecureHTTPParser: false,
    // A missing Host is refused by receive, with a reason.
    requireHostHeader: false,
    // An upgrade is a call like any other.
    shouldUpgradeCallback: () => false,
  })
  server.maxRequestsPerSocket = requestsPerSocket
  // With a limit Node drops what is over it, unseen; receive counts instead.
  server.maxHeadersCount = 0
  server.on('request', (request, response) => listener.handle(request, response))
  server.on('checkContinue', (request, response) => listener.handle(request, response, true))
  server.on('checkExpectation', (request, response) => listener.handle(request, response))
  server.on('connect', (_request, socket: Socket) => refuse(socket, 'method_not_allowed', listener))
  server.on('clientError', (error: Error & { code?: string }, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
    refuse(socket as Socket, error.code === 'HPE_HEADER_OVERFLOW' ? 'head_too_large' : 'malformed', listener)
  })
  return listening(server, where, 'gate')
}

const refuse = (socket: Socket, code: ErrorCode, listener: GateListener): void => {
  listener.unparsed(socket.remoteAddress ?? '', code)
  const details: Partial<Record<ErrorCode, string>> = {
    malformed: 'request: these bytes are not one HTTP/1.1 request.',
    method_not_allowed: 'method: CONNECT is not served; this is not a forward proxy.',
    head_too_large: 'head: request line and headers are larger than limits.header.',
  }
  socket.end(rawRefusal(new HoldpointError(code, details[code])))
}

/** Listens and tells the real address. */
export const listening = async (server: Server, where: Listen, what: string): Promise<Listening> => {
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
    server.listen(where.port, where.host, resolve)
  })
  const { port } = server.address() as AddressInfo
  const host = where.host.includes(':') ? `[${where.host}]` : where.host
  return {
    url: `http://${host === '0.0.0.0' || host === '[::]' ? '127.0.0.1' : host}:${port}`,
    port,
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve())
        server.closeIdleConnections()
        // What is still being sent gets its time, then it ends.
        setTimeout(() => server.closeAllConnections(), drainMs).unref()
      }),
  }
}
