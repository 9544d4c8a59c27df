// The console's socket: node:http underneath, with limits on how long a request may take to arrive and how large its head may be.
import { createServer } from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import type { Listen, ListenTls } from '../settings.ts'
import { refuseBadCertificates, serverTls } from '../tls.ts'
import type { ConsoleApp } from './app.ts'

const graceMs = 5_000

export type Listening = {
  readonly url: string
  /** From now on new connections get this certificate. */
  secure(tls: ListenTls): void
  close(): Promise<void>
}

/** Listens (plainly without `tls`) until `close`, which ends streams at once, lets other requests finish, and cuts what takes longer than five seconds. */
export const listenConsole = async (app: ConsoleApp, listen: Listen, tls?: ListenTls): Promise<Listening> => {
  const secured = tls === undefined ? {} : { ...serverTls(tls), handshakeTimeout: 10_000 }
  const server = createAdaptorServer({
    fetch: (request, env) => app.fetch(request, 'incoming' in env ? { incoming: env.incoming as never } : {}),
    overrideGlobalObjects: false,
    createServer: tls === undefined ? createServer : createTlsServer,
    serverOptions: {
      ...secured,
      maxHeaderSize: 32 * 1024,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      keepAliveTimeout: 65_000,
      connectionsCheckingInterval: 5_000,
    },
  })
  if (server instanceof TlsServer) refuseBadCertificates(server)
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(listen.port, listen.host, resolve)
  })
  const { address, port, family } = server.address() as AddressInfo
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    secure(next) {
      if (server instanceof TlsServer) server.setSecureContext(serverTls(next))
    },
    close: () =>
      new Promise<void>(resolve => {
        app.close()
        const idle = setInterval(() => {
          if ('closeIdleConnections' in server) server.closeIdleConnections()
        }, 50)
        const cut = setTimeout(() => {
          for (const socket of sockets) socket.destroy()
        }, graceMs)
        server.close(() => {
          clearInterval(idle)
          clearTimeout(cut)
          resolve()
        })
      }),
  }
}
