// The floor for a held caller: node:http that reads the request and never answers. Argument: port.
import { createServer } from 'node:http'

const server = createServer({ requestTimeout: 0 }, request => request.resume())
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
