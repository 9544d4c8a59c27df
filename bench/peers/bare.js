// The floor: node:http in, undici out, nothing in between. No tokens, no rules, no log. Arguments: port, target.
import { createServer } from 'node:http'
import { Pool } from 'undici'

const [, , port, target] = process.argv
const pool = new Pool(target, { pipelining: 1 })
createServer((request, response) => {
  pool.dispatch(
    {
      method: request.method,
      path: request.url,
      headers: request.rawHeaders.slice(2),
      body: request.method === 'GET' ? null : request,
    },
    {
      onRequestStart() {},
      onResponseStart(controller, status) {
        response.writeHead(status, controller.rawHeaders.map(String))
      },
      onResponseData(_controller, chunk) {
        response.write(chunk)
      },
      onResponseEnd() {
        response.end()
      },
      onResponseError() {
        response.destroy()
      },
    },
  )
}).listen(Number(port), '127.0.0.1')
