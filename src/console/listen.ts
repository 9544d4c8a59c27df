// The console's socket: node:http underneath, with limits on how long a request may take to arrive and how large its head may be.
import type { AddressInfo, Socket } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import type { Listen } from '../settings.ts'
import type { ConsoleApp } from './app.ts'

const graceMs = 5_000

export type Listening = { readonly url: string; close(): Promise<void> }

/** Listens until `close`, which ends streams at once, lets other requests finish, and cuts what takes longer than five seconds. */
export const listenConsole = async (app: ConsoleApp, listen: Listen): Promise<Listening> => {
  const server = createAdaptorServer({
    fetch: (request, env) => app.fetch(request, 'incoming' in env ? { incoming: env.incoming as never } : {}),
    overrideGlobalObjects: false,
    serverOptions: {
      maxHeaderSize: 32 * 1024,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      keepAliveTimeout: 65_000,
      connectionsCheckingInterval: 5_000,
    },
  })
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
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
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
