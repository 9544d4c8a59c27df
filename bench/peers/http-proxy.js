// http-proxy and http-proxy-3 as they are commonly used: a kept-alive agent, everything to one target. Arguments: package, port, target.
import { Agent, createServer } from 'node:http'

const [, , name, port, target] = process.argv
const { default: httpProxy } = await import(name)
const proxy = httpProxy.createProxyServer({ target, agent: new Agent({ keepAlive: true, maxSockets: 256 }) })
proxy.on('error', (_error, _request, response) => response.destroy())
createServer((request, response) => proxy.web(request, response)).listen(Number(port), '127.0.0.1')
