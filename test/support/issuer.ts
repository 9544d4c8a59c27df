// An issuer of tokens for the gate: discovery, keys that rotate, and tokens that say whatever a test wants.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from 'jose'

export type TestIssuer = {
  readonly url: string
  /** A token that is good for five minutes; `claims` replace what is in it, undefined leaves one out. */
  token(claims?: { readonly [name: string]: unknown }, header?: Partial<JWTHeaderParameters>): Promise<string>
  /** Signs with a new key, and publishes only that; `keep`: the old ones as well. */
  rotate(how?: { readonly keep: boolean }): Promise<void>
  /** Publishes these keys instead. */
  publish(keys: readonly object[]): void
  /** Answers 503 to everything, or no longer. */
  down(is: boolean): void
  /** How often the keys were asked for. */
  fetched(): number
  close(): Promise<void>
}

export const startIssuer = async (): Promise<TestIssuer> => {
  let made = 0
  let fetched = 0
  let isDown = false
  let signing: { readonly key: CryptoKey; readonly kid: string }
  let published: readonly object[] = []

  const rotate = async ({ keep } = { keep: false }): Promise<void> => {
    const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
    made += 1
    signing = { key: privateKey, kid: `k${made}` }
    const old = keep ? published : []
    published = [
      ...old,
      { ...((await exportJWK(publicKey)) satisfies JWK), kid: signing.kid, alg: 'RS256', use: 'sig' },
    ]
  }
  await rotate()

  const server = createServer((request, response) => {
    const json = (value: object): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    }
    if (isDown) return void response.writeHead(503).end()
    if (request.url === '/.well-known/openid-configuration') return json({ issuer: url, jwks_uri: `${url}/keys` })
    if (request.url !== '/keys') return void response.writeHead(404).end()
    fetched += 1
    json({ keys: published })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    url,
    token(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000)
      const all = { iss: url, aud: 'api://holdpoint', sub: 'somebody', iat: now, exp: now + 300, ...claims }
      const said = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
      return new SignJWT(said)
        .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: signing.kid, ...header })
        .sign(signing.key)
    },
    rotate,
    publish: keys => {
      published = keys
    },
    down: is => {
      isDown = is
    },
    fetched: () => fetched,
    async close() {
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}
