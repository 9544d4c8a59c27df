// Real clients change one base URL and nothing else: curl, fetch, undici and WebSocket clients, over clear text and over TLS.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { request, WebSocket as UndiciSocket } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocketServer, WebSocket as WsSocket } from 'ws'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { type Stage, stageConfig, startStage, upstreamKey } from '../support/stage.ts'
import { dial } from '../support/websocket.ts'

const run = promisify(execFile)

const rules = `
rules:
  - { name: no-deletes, match: { upstream: [clear, live], method: DELETE }, then: deny }
  - { name: all, match: { upstream: [clear, live] }, then: allow }
`

let made: Certificates
let clear: Stage
let tls: Stage
const seen: { readonly line: string; readonly authorization: string | undefined; readonly body: string }[] = []
const heads: string[] = []

/** Answers what it was asked, and echoes over WebSockets. */
const echo = createServer(async (incoming, response) => {
  let body = ''
  for await (const chunk of incoming) body += chunk
  const { method, url, headers } = incoming
  heads.push(incoming.rawHeaders.join('\n'))
  seen.push({ line: `${method} ${url}`, authorization: headers.authorization, body })
  response.setHeader('Trailer', 'X-Sum')
  response.write(`${method} ${url} ${body}`)
  response.addTrailers({ 'X-Sum': String(body.length) })
  response.end()
})
const sockets = new WebSocketServer({ server: echo })
sockets.on('connection', (socket, { headers }) => {
  heads.push(JSON.stringify(headers))
  socket.on('message', (data, binary) => socket.send(data, { binary }))
})

beforeAll(async () => {
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const url = `http://127.0.0.1:${(echo.address() as AddressInfo).port}`
  made = await makeCertificates()
  const pair = await made.make('gate', ['127.0.0.1', 'localhost'])
  const config = (await stageConfig('http://127.0.0.1:1', url)) as { upstreams: object[] }
  const upstreams = [
    { ...config.upstreams[0], name: 'clear', at: { prefix: '/clear' } },
    // Callers of WebSockets in browsers and in Node's own client cannot set Authorization: a header of the upstream's, or a protocol.
    { ...config.upstreams[0], name: 'live', at: { prefix: '/live' }, token: { header: 'x-api-key' } },
  ]
  const [port] = await freePorts(1)
  clear = await startStage({ rules, config: { upstreams } })
  tls = await startStage({
    rules,
    config: { upstreams, gate: { listen: `127.0.0.1:${port}`, url: `https://127.0.0.1:${port}`, tls: pair } },
  })
})
afterAll(async () => {
  await clear.close()
  await tls.close()
  await made.close()
  sockets.close()
  echo.closeAllConnections()
  echo.close()
})

const last = () => seen.at(-1)
const curl = async (stage: Stage, path: string, ...more: string[]): Promise<string> => {
  const args = ['-sS', '--max-time', '20', '--cacert', made.ca, '-H', `Authorization: Bearer ${stage.token}`, ...more]
  return (await run('curl', [...args, `${stage.holdpoint.gate}${path}`])).stdout
}

test.each(['--http1.0', '--http1.1', '--http2', '--http2-prior-knowledge'])(
  'curl %s over clear text',
  async protocol => {
    const before = seen.length
    if (protocol === '--http2-prior-knowledge') {
      await expect(curl(clear, '/clear/a', protocol)).rejects.toMatchObject({ stdout: '' })
      expect(seen).toHaveLength(before)
      return
    }
    const version = protocol === '--http1.0' ? '1.0' : '1.1'
    // With --http2 curl offers to upgrade to h2c: it is answered in HTTP/1.1, and the upstream is never asked.
    expect(await curl(clear, '/clear/a?x=1', protocol, '-w', ' %{http_version} %{http_code}')).toMatch(
      /^GET \/a\?x=1 {2}1\.[01] 200$/,
    )
    expect(last()).toEqual({ line: 'GET /a?x=1', authorization: `Bearer ${upstreamKey}`, body: '' })
    expect(heads.at(-1)).not.toMatch(/upgrade|http2-settings|h2c/i)
    expect(version).toMatch(/^1\.[01]$/)
    expect(await curl(clear, '/clear/a', protocol, '-X', 'DELETE', '-o', '/dev/null', '-w', '%{http_code}')).toBe('403')
    expect(seen).toHaveLength(before + 1)
  },
)

test('curl over TLS falls back to HTTP/1.1 by ALPN, and sends what it sends', async () => {
  for (const protocol of ['--http1.1', '--http2']) {
    const args = [protocol, '--data-binary', 'a=b', '-H', 'TE: trailers', '-w', ' %{http_version} %{http_code}']
    expect(await curl(tls, '/clear/form', ...args)).toBe('POST /form a=b 1.1 200')
  }
  expect(await curl(tls, '/clear/a', '-X', 'DELETE', '-o', '/dev/null', '-w', '%{http_code}')).toBe('403')
})

test('curl uploads with Expect: 100-continue, and in chunks', async () => {
  const body = 'x'.repeat(5000)
  expect(await curl(clear, '/clear/up', '-H', 'Expect: 100-continue', '-d', body)).toBe(`POST /up ${body}`)
  expect(await curl(clear, '/clear/up', '-H', 'Transfer-Encoding: chunked', '-d', body)).toBe(`POST /up ${body}`)
})

test('no byte of HTTP/2 opens a second door', async () => {
  const before = seen.length
  const preface = await dial(clear.holdpoint.gate, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0')
  await preface.closed
  expect(preface.text()).toMatch(/^(?:HTTP\/1\.1 400 |$)/)
  const upgrade = await dial(
    clear.holdpoint.gate,
    `GET /clear/b HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${clear.token}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
  )
  expect(await upgrade.until(text => text.endsWith('0\r\n\r\n'))).toMatch(/^HTTP\/1\.1 200 /)
  upgrade.socket.destroy()
  expect(seen.slice(before).map(({ line }) => line)).toEqual(['GET /b'])
  expect(heads.at(-1)).not.toMatch(/upgrade|http2-settings|h2c/i)
})

test('fetch, with a body that streams', async () => {
  const { gate } = clear.holdpoint
  const headers = { authorization: `Bearer ${clear.token}` }
  const pieces = new ReadableStream({
    start(controller) {
      for (const piece of ['one ', 'two']) controller.enqueue(new TextEncoder().encode(piece))
      controller.close()
    },
  })
  const answer = await fetch(`${gate}/clear/f`, { method: 'PUT', headers, body: pieces, duplex: 'half' } as RequestInit)
  expect([answer.status, await answer.text()]).toEqual([200, 'PUT /f one two'])
  const denied = await fetch(`${gate}/clear/f`, { method: 'DELETE', headers })
  expect([denied.status, ((await denied.json()) as { code: string }).code]).toEqual([403, 'denied_by_rule'])
})

test('undici, with trailers that it asks for', async () => {
  const headers = { authorization: `Bearer ${clear.token}`, te: 'trailers' }
  const { statusCode, body, trailers } = await request(`${clear.holdpoint.gate}/clear/t`, {
    method: 'POST',
    headers,
    body: 'abc',
  })
  expect([statusCode, await body.text()]).toEqual([200, 'POST /t abc'])
  expect(trailers).toEqual({ 'x-sum': '3' })
})

test.each(['ws', 'undici'])('a WebSocket of %s: what goes in comes back', async which => {
  const url = `${clear.holdpoint.gate.replace('http', 'ws')}/live/chat`
  const headers = { 'x-api-key': clear.token }
  const text = 'é'.repeat(70_000)
  const answered = new Promise<string>((resolve, reject) => {
    if (which === 'ws') {
      const socket = new WsSocket(url, { headers })
      socket.on('error', reject)
      socket.on('open', () => socket.send(text))
      socket.on('message', data => {
        resolve(String(data))
        socket.close()
      })
    } else {
      const socket = new UndiciSocket(url, { headers })
      socket.onerror = reject
      socket.onopen = () => socket.send(text)
      socket.onmessage = ({ data }: { data: unknown }) => {
        resolve(String(data))
        socket.close()
      }
    }
  })
  expect(await answered).toBe(text)
  expect(heads.at(-1)).toContain(`Bearer ${upstreamKey}`)
  expect(heads.at(-1)).not.toContain(clear.token)
})

test("Node's own WebSocket, which can carry no header, is refused for want of a token", async () => {
  const before = heads.length
  const socket = new WebSocket(`${clear.holdpoint.gate.replace('http', 'ws')}/live/chat`)
  await new Promise(resolve => socket.addEventListener('error', resolve, { once: true }))
  expect(socket.readyState).toBe(WebSocket.CLOSED)
  expect(heads).toHaveLength(before)
})
