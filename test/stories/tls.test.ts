// TLS on every side: gate and console from files that are renewed under way, upstreams with a CA, a certificate and a name of their own.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile } from 'node:fs/promises'
import { createSecureServer } from 'node:http2'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { Agent, fetch } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Certificates, makeCertificates, type Pair } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { stageConfig } from '../support/stage.ts'
import { agree, dial, handshake } from '../support/websocket.ts'

const run = promisify(execFile)

let made: Certificates
let served: Pair
let renewed: Pair
let client: Pair
let stranger: Pair
let issuer: Awaited<ReturnType<typeof startCast>>
let token: string
let holdpoint: Program
let secure: Server
let port = 0
let trust: Agent
const opened = new Set<Socket>()
/** What the upstreams saw: protocol, name asked for, name of the client's certificate, and the call. */
const seen: string[] = []

const answering = async (certificate: Pair): Promise<Server> => {
  const server = createServer(
    {
      cert: await readFile(certificate.cert),
      key: await readFile(certificate.key),
      ca: made.caText,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      const socket = request.socket as TLSSocket
      seen.push(
        `${request.httpVersion} ${socket.servername} ${socket.getPeerCertificate().subject?.CN} ${request.headers['x-forwarded-proto']}`,
      )
      response.end('secure\n')
    },
  )
  server.on('upgrade', (request, socket) => {
    socket.write(agree(`sec-websocket-key: ${request.headers['sec-websocket-key']}\r\n\r\n`))
    socket.on('data', (chunk: Buffer) => socket.end(`echo ${chunk}`))
  })
  server.on('connection', (socket: Socket) => opened.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

const h2 = async (certificate: Pair) => {
  const server = createSecureServer({
    cert: await readFile(certificate.cert),
    key: await readFile(certificate.key),
    allowHTTP1: false,
  })
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = []
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      seen.push(`h2 ${headers[':method']} ${headers[':path']} ${Buffer.concat(chunks)} ${JSON.stringify(headers)}`)
      if (headers[':path'] === '/refuse') return stream.close(7)
      stream.respond({ ':status': 201, 'set-cookie': ['a=1', 'b=2'], 'x-case': 'Kept' })
      stream.write('two ')
      stream.end('parts\n')
    })
  })
  server.on('session', session => session.on('error', () => {}))
  server.on('connection', (socket: Socket) => opened.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
let modern: Awaited<ReturnType<typeof h2>>

beforeAll(async () => {
  made = await makeCertificates()
  served = await made.make('gate', ['127.0.0.1', 'localhost'])
  renewed = await made.make('renewed', ['127.0.0.1', 'localhost', 'renewed.test'])
  client = await made.make('client', ['client.test'])
  stranger = await made.make('stranger', ['stranger.test'], 'itself')
  const inside = await made.make('inside', ['billing.inside.test'])
  secure = await answering(inside)
  modern = await h2(inside)
  port = (secure.address() as AddressInfo).port
  issuer = await startCast()
  const url = `https://127.0.0.1:${port}`
  const config = (await stageConfig(issuer.issuer, url)) as {
    gate: { listen: string }
    console: { listen: string }
    upstreams: object[]
  }
  for (const part of ['cert', 'key'] as const) await copyFile(served[part], join(made.dir, `live.${part}`))
  const live = { cert: join(made.dir, 'live.cert'), key: join(made.dir, 'live.key') }
  const named = { ca: made.ca, serverName: 'billing.inside.test' }
  const upstream = (name: string, more: object) => ({
    ...config.upstreams[0],
    name,
    at: { prefix: `/${name}` },
    ...more,
  })
  holdpoint = await startHoldpoint({
    rules: 'rules:\n  - { name: all, match: { upstream: "*" }, then: allow }\n',
    config: {
      ...config,
      gate: { listen: config.gate.listen, tls: { ...live, clientCa: made.ca } },
      console: { ...config.console, url: undefined, tls: live },
      upstreams: [
        upstream('good', { tls: named }),
        upstream('mutual', { tls: { ...named, cert: client.cert, key: client.key } }),
        upstream('unnamed', { tls: { ca: made.ca } }),
        upstream('untrusted', { tls: { serverName: 'billing.inside.test' } }),
        upstream('modern', {
          url: `https://127.0.0.1:${(modern.address() as AddressInfo).port}`,
          tls: named,
          http2: true,
        }),
        upstream('old', { url: `https://127.0.0.1:${(modern.address() as AddressInfo).port}`, tls: named }),
      ],
    },
  })
  token = await agentToken(issuer.issuer, clients.agent)
  trust = new Agent({ connect: { ca: made.caText } })
})
afterAll(async () => {
  await holdpoint?.[Symbol.asyncDispose]()
  await trust?.close()
  for (const socket of opened) socket.destroy()
  await new Promise(resolve => secure.close(resolve))
  await new Promise(resolve => modern.close(() => resolve(undefined)))
  await issuer.close()
  await made.close()
})

const call = (path: string, init: object = {}) =>
  fetch(`${holdpoint.gate}${path}`, { dispatcher: trust, headers: { authorization: `Bearer ${token}` }, ...init })

/** What a TLS connection to the gate comes to: the protocol it agreed on, or the error. */
const greet = (
  options: ConnectionOptions,
  to = holdpoint.gate,
): Promise<{ alpn?: string | false | null; version?: string | null; names?: string; error?: string }> =>
  new Promise(resolve => {
    const socket = connect({ port: Number(new URL(to).port), host: '127.0.0.1', ca: made.caText, ...options })
    socket.once('error', error => resolve({ error: (error as { code?: string }).code ?? error.message }))
    socket.once('close', () => resolve({ error: 'closed' }))
    socket.once('secureConnect', () => {
      const about = {
        alpn: socket.alpnProtocol,
        version: socket.getProtocol(),
        names: socket.getPeerCertificate().subjectaltname ?? '',
      }
      // A client is told only afterwards that its certificate is no good (TLS 1.3).
      socket.write(`GET /.holdpoint/jwks.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
      socket.once('data', () => {
        resolve(about)
        socket.destroy()
      })
    })
  })

test('the gate speaks https, and tells its upstream so', async () => {
  expect(holdpoint.gate).toMatch(/^https:/)
  expect(holdpoint.console).toMatch(/^https:/)
  const answer = await call('/good/a')
  expect([answer.status, await answer.text()]).toEqual([200, 'secure\n'])
  expect(seen.at(-1)).toBe('1.1 billing.inside.test undefined https')
  expect((await fetch(`${holdpoint.console}/`, { dispatcher: trust, redirect: 'manual' })).status).toBeLessThan(400)
})

test('a client certificate, a CA and a name of the upstream’s own', async () => {
  expect((await call('/mutual/a')).status).toBe(200)
  expect(seen.at(-1)).toBe('1.1 billing.inside.test client.test https')
  const before = seen.length
  expect((await call('/unnamed/a')).status).toBe(502)
  expect((await call('/untrusted/a')).status).toBe(502)
  expect(seen).toHaveLength(before)
})

test.each([
  ['HTTP/2 first', { ALPNProtocols: ['h2', 'http/1.1'] }, { alpn: 'http/1.1' }],
  ['HTTP/2 only', { ALPNProtocols: ['h2'] }, { error: 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL' }],
  ['TLS 1.2', { maxVersion: 'TLSv1.2' as const }, { version: 'TLSv1.2' }],
  [
    'TLS 1.1',
    { minVersion: 'TLSv1.1' as const, maxVersion: 'TLSv1.1' as const, ciphers: 'DEFAULT@SECLEVEL=0' },
    { error: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' },
  ],
])('a client that offers %s', async (_, options, expected) => {
  expect(await greet(options)).toMatchObject(expected)
})

test('clients may show no certificate or a good one, but no other', async () => {
  const certificate = async ({ cert, key }: Pair) => ({ cert: await made.text(cert), key: await made.text(key) })
  expect(await greet({})).toMatchObject({ version: 'TLSv1.3' })
  expect(await greet(await certificate(client))).toMatchObject({ version: 'TLSv1.3' })
  expect(await greet(await certificate(stranger))).toHaveProperty('error')
  expect(await greet({ ...(await certificate(stranger)), maxVersion: 'TLSv1.2' })).toHaveProperty('error')
})

test('plain HTTP to the TLS port is closed without an answer', async () => {
  const plain = await dial(holdpoint.gate.replace('https', 'http'), 'GET / HTTP/1.1\r\nHost: g\r\n\r\n')
  await plain.closed
  expect(plain.text()).not.toMatch(/^HTTP/)
})

test('curl, with and without --http2, falls back to HTTP/1.1', async () => {
  for (const protocol of ['--http1.1', '--http2']) {
    const args = ['-sS', '--max-time', '10', protocol, '--cacert', made.ca, '-H', `Authorization: Bearer ${token}`]
    const { stdout } = await run('curl', [...args, '-w', '%{http_version} %{http_code}', `${holdpoint.gate}/good/curl`])
    expect(stdout).toBe('secure\n1.1 200')
  }
})

test('a WebSocket over TLS on both sides', async () => {
  const caller = await dial(holdpoint.gate, handshake('/good/ws', [`Authorization: Bearer ${token}`]), {
    ca: made.caText,
  })
  expect(await caller.until(text => text.includes('\r\n\r\n'))).toMatch(/^HTTP\/1\.1 101 /)
  caller.socket.write('hello')
  await caller.closed
  expect(caller.text()).toMatch(/echo hello$/)
})

test('an upstream that only speaks HTTP/2 is reached where http2 says so, with the same bytes', async () => {
  const body = 'exactly these bytes'
  const answer = await call('/modern/x%2Dy?b=1&a=2', {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${token}`, 'X-Mixed-Case': 'V', 'content-type': 'text/plain' },
  })
  expect([answer.status, await answer.text()]).toEqual([201, 'two parts\n'])
  expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
  const last = seen.at(-1) ?? ''
  expect(last).toContain(`h2 POST /x%2Dy?b=1&a=2 ${body} `)
  const headers = JSON.parse(last.slice(last.indexOf('{'))) as { readonly [name: string]: string }
  expect(headers).toMatchObject({ 'x-mixed-case': 'V', via: '1.1 holdpoint', 'content-length': String(body.length) })
  expect(Object.keys(headers).filter(name => /connection|transfer|upgrade|keep-alive/.test(name))).toEqual([])
  expect((await call('/old/x')).status).toBe(502)
})

test('a call that an HTTP/2 upstream refuses is not sent again by itself', async () => {
  for (const init of [{}, { method: 'POST', body: 'once' }]) {
    const before = seen.length
    expect((await call('/modern/refuse', { headers: { authorization: `Bearer ${token}` }, ...init })).status).toBe(502)
    expect(seen.slice(before)).toHaveLength(1)
  }
})

test('a renewed certificate is used by new connections; a bad one is not, and open connections stay', async () => {
  const slow = await dial(holdpoint.gate, '', { ca: made.caText })
  await copyFile(renewed.key, join(made.dir, 'live.key'))
  await holdpoint.logged(line => /bad; the last good one stays/.test(String(line.msg)))
  expect((await greet({})).names).not.toContain('renewed.test')
  await copyFile(renewed.cert, join(made.dir, 'live.cert'))
  for (const at of [holdpoint.gate, holdpoint.console])
    await eventually(async () => ((await greet({}, at)).names?.includes('renewed.test') ? true : undefined))
  slow.socket.write('GET /.holdpoint/jwks.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n')
  await slow.closed
  expect(slow.text()).toMatch(/^HTTP\/1\.1 200 /)
})
