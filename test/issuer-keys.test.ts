// An issuer's keys: whom we ask, whom we show our token, what we believe, and what serves while nobody answers.
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttp, type RequestListener } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { issuerKeys, type KeySource } from '../src/issuer-keys.ts'
import { type Certificates, makeCertificates, type Pair } from './support/certificates.ts'
import { startIssuer, type TestIssuer } from './support/issuer.ts'

let dir: string
let certificates: Certificates
let served: Pair
const servers: Server[] = []
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-keys-'))
  certificates = await makeCertificates()
  const pair = await certificates.make('server', ['127.0.0.1'])
  served = { cert: await certificates.text(pair.cert), key: await certificates.text(pair.key) }
  await copyFile(certificates.ca, join(dir, 'ca.crt'))
  await copyFile((await certificates.make('other', ['other.test'], 'itself')).cert, join(dir, 'other.crt'))
  await writeFile(join(dir, 'empty.crt'), '')
  await writeFile(join(dir, 'token'), 'cluster-token\n')
})
afterAll(() => Promise.all([certificates.close(), rm(dir, { recursive: true })]))
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise(resolve => server.close(resolve))
})

const listen = async (scheme: 'http' | 'https', answer: RequestListener): Promise<string> => {
  const close: RequestListener = (request, response) =>
    answer(request, response.setHeader('connection', 'close') as never)
  const server = scheme === 'http' ? createHttp(close) : createHttps(served, close)
  servers.push(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const key = { kty: 'EC', crv: 'P-256', kid: 'k', x: 'x', y: 'y' }

/** A cluster that shows its keys only to those with a token, and writes down who came with which. */
const cluster = async (scheme: 'http' | 'https', jwksUri?: string): Promise<{ url: string; seen: string[] }> => {
  const seen: string[] = []
  const url = await listen(scheme, (request, response) => {
    seen.push(`${request.url} ${request.headers.authorization ?? 'nobody'}`)
    if (request.headers.authorization !== 'Bearer cluster-token') return void response.writeHead(403).end()
    const found = request.url === '/keys' ? { keys: [key] } : { issuer: url, jwks_uri: jwksUri ?? `${url}/keys` }
    response.end(JSON.stringify(found))
  })
  return { url, seen }
}

const keysOf = (source: KeySource, clock = Date.now) => issuerKeys(source, clock)

describe('with a certificate authority of its own', () => {
  const at = (name: string): string => join(dir, name)
  it.each<[string, string | undefined, RegExp | undefined]>([
    ['the right one', 'ca.crt', undefined],
    ['none', undefined, /cannot be reached \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\)/],
    ['another', 'other.crt', /cannot be reached/],
    ['one without certificates', 'empty.crt', /its caFile has no certificate/],
    ['one that is not there', 'missing.crt', /its caFile cannot be read \(ENOENT\)/],
  ])('%s', async (_, file, why) => {
    const { url } = await cluster('https')
    const caFile = file && at(file)
    const keys = keysOf({ issuer: url, caFile, bearerTokenFile: at('token') })
    if (why === undefined) expect(await keys.current()).toEqual({ keys: [key] })
    else await expect(keys.current()).rejects.toThrow(why)
    expect(keys.trouble() === undefined).toBe(why === undefined)
  })
})

describe('our token for the issuer', () => {
  const token = (): string => join(dir, 'token')

  it('is shown to the issuer and to the place of keys that configuration names', async () => {
    const { url, seen } = await cluster('http')
    await keysOf({ issuer: url, bearerTokenFile: token() }).current()
    await keysOf({ issuer: 'https://nowhere.example', jwksUri: `${url}/keys`, bearerTokenFile: token() }).current()
    expect(seen).toEqual([
      '/.well-known/openid-configuration Bearer cluster-token',
      '/keys Bearer cluster-token',
      '/keys Bearer cluster-token',
    ])
  })

  it('is never shown to where a document points, and that is said', async () => {
    const elsewhere = await cluster('http')
    const { url } = await cluster('http', `${elsewhere.url}/keys`)
    const keys = keysOf({ issuer: url, bearerTokenFile: token() })
    await expect(keys.current()).rejects.toThrow(
      /answered 403 at .*, which is not the issuer's and so gets no token; say jwksUri/,
    )
    expect(elsewhere.seen).toEqual(['/keys nobody'])
  })

  it('is read anew each time', async () => {
    let now = 0
    const { url, seen } = await cluster('http')
    const file = join(dir, 'rotated')
    await writeFile(file, 'old')
    const keys = keysOf({ issuer: url, jwksUri: `${url}/keys`, bearerTokenFile: file }, () => now)
    await expect(keys.current()).rejects.toThrow('it answered 403')
    await writeFile(file, 'cluster-token')
    now += 1_000
    await keys.current()
    expect(seen).toEqual(['/keys Bearer old', '/keys Bearer cluster-token'])
  })

  it('of an empty file is no token', async () => {
    const { url, seen } = await cluster('http')
    await expect(keysOf({ issuer: url, bearerTokenFile: join(dir, 'empty.crt') }).current()).rejects.toThrow(
      'has no token',
    )
    expect(seen).toEqual([])
  })
})

describe('an answer', () => {
  it.each<[string, (url: string) => string | number, RegExp]>([
    [
      'of another issuer',
      url => JSON.stringify({ issuer: `${url}/`, jwks_uri: `${url}/keys` }),
      /names another issuer/,
    ],
    ['without keys', url => JSON.stringify({ issuer: url }), /no usable jwks_uri/],
    [
      'with keys over plain http',
      url => JSON.stringify({ issuer: url, jwks_uri: 'http://keys.example/' }),
      /no usable jwks_uri/,
    ],
    [
      'with keys in a file',
      url => JSON.stringify({ issuer: url, jwks_uri: 'file:///etc/passwd' }),
      /no usable jwks_uri/,
    ],
    ['that is null', () => 'null', /names another issuer/],
    [
      'that says a thing twice',
      url => `{"issuer":"https://x.example","issuer":"${url}","jwks_uri":"${url}/keys"}`,
      /cannot be read/,
    ],
    ['that is too large', () => `"${'x'.repeat(513 * 1024)}"`, /larger than 524288 bytes/],
    ['that is elsewhere', () => 302, /it answered 302/],
  ])('%s is none', async (_, answer, why) => {
    const url = await listen('http', (_request, response) => {
      const said = answer(url)
      if (typeof said === 'number') response.writeHead(said, { location: `${url}/keys` }).end()
      else response.end(said)
    })
    await expect(keysOf({ issuer: url }).current()).rejects.toThrow(why)
  })

  it('over plain http is not even asked for', async () => {
    await expect(keysOf({ issuer: 'https://i.example', jwksUri: 'http://keys.example/' }).current()).rejects.toThrow(
      'its address is not https',
    )
  })

  it('with more than a hundred keys is none', async () => {
    const url = await listen('http', (_request, response) =>
      response.end(JSON.stringify({ keys: Array(101).fill(key) })),
    )
    await expect(keysOf({ issuer: url, jwksUri: url }).current()).rejects.toThrow('more than 100 keys')
  })
})

describe('while the issuer is away', () => {
  const hourMs = 3600_000
  const minuteMs = 60_000
  it.each<[string, number | undefined, number, boolean]>([
    ['its keys serve for a day', undefined, 23 * hourMs, true],
    ['and not longer', undefined, 25 * hourMs, false],
    ['or for as long as its entry says', hourMs, 59 * minuteMs, true],
    ['and not longer than that', hourMs, 61 * minuteMs, false],
    ['or not at all, once they are due', 0, 9 * minuteMs, true],
    ['or not at all, once they are no longer fresh', 0, 11 * minuteMs, false],
  ])('%s: %#', async (_, staleForMs, passed, serves) => {
    const issuer: TestIssuer = await startIssuer()
    try {
      let now = Date.now()
      const keys = keysOf({ issuer: issuer.url, staleForMs }, () => now)
      const first = await keys.current()
      issuer.down(true)
      now += passed
      if (serves) expect(await keys.current()).toBe(first)
      else await expect(keys.current()).rejects.toThrow('it answered 503')
    } finally {
      await issuer.close()
    }
  })

  it('the trouble says until when they serve', async () => {
    const issuer = await startIssuer()
    try {
      let now = Date.now()
      const until = new Date(now + hourMs).toISOString()
      const keys = keysOf({ issuer: issuer.url, staleForMs: hourMs }, () => now)
      await keys.current()
      issuer.down(true)
      now += 11 * minuteMs
      await keys.current()
      await expect.poll(() => keys.trouble()).toBe(`it answered 503; its last keys serve until ${until}`)
    } finally {
      await issuer.close()
    }
  })
})
