// An upstream in a process of its own (node endless.ts): it sends and takes bodies of any size as fast as they go, and says how much it
// took. Prints its port once it listens.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const piece = Buffer.alloc(1 << 16, 'x')

const server = createServer(async (request, response) => {
  if (request.method === 'GET') {
    const [, size = '0'] = /^\/(\d+)$/.exec(request.url ?? '') ?? []
    response.writeHead(200, { 'content-length': size })
    let left = Number(size)
    const pour = (): void => {
      while (left > 0) {
        const chunk = piece.subarray(0, left)
        left -= chunk.length
        if (!response.write(chunk)) return void response.once('drain', pour)
      }
      response.end()
    }
    return pour()
  }
  let taken = 0
  for await (const chunk of request) taken += chunk.length
  response.end(String(taken))
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
