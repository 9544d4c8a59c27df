// A small HTTP server on loopback, for the demo's own parts.
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Server = { readonly url: string; close(): Promise<void> }

/** Listens on 127.0.0.1; port 0 takes any free one. Rejects with the system's error (EADDRINUSE). */
export const startServer = async (port: number, listener: RequestListener): Promise<Server> => {
  const server = createServer(listener)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

/** The whole body of a request as text. */
export const text = async (request: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
