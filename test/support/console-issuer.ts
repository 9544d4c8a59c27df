// An OpenID provider that says whatever a test wants it to, true or not. The honest one is src/commands/demo/idp.ts.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from 'jose'

export type Issuer = {
  readonly issuer: string
  /** What the next answers are; an endpoint without one answers 404. */
  answers: {
    token?: (form: URLSearchParams) => object | Promise<object>
    userinfo?: () => object
    keys?: () => readonly JWK[]
  }
  /** Every request so far, as `METHOD path`. */
  readonly seen: readonly string[]
  /** A JWT signed with the published key; times are filled in unless given (undefined leaves them out). */
  sign(claims: { readonly [name: string]: unknown }, header?: Partial<JWTHeaderParameters>): Promise<string>
  close(): Promise<void>
}

export const startConsoleIssuer = async (options: { readonly userinfo?: false } = {}): Promise<Issuer> => {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const published: JWK = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
  const seen: string[] = []
  const answers: Issuer['answers'] = {}
  const server = createServer(async (request, response) => {
    const path = request.url?.split('?')[0] ?? ''
    seen.push(`${request.method} ${path}`)
    let text = ''
    for await (const chunk of request) text += chunk
    const json = (body: object | undefined): void => {
      const status = body === undefined ? 404 : 'error' in body ? 400 : 200
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body ?? {}))
    }
    if (path === '/.well-known/openid-configuration') {
      return json({
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        ...(options.userinfo === false ? {} : { userinfo_endpoint: `${issuer}/userinfo` }),
        jwks_uri: `${issuer}/keys`,
        response_types_supported: ['code'],
        id_token_signing_alg_values_supported: ['ES256'],
        authorization_response_iss_parameter_supported: true,
      })
    }
    if (path === '/keys') {
      try {
        return json({ keys: answers.keys?.() ?? [published] })
      } catch {
        // A test plays an issuer that is away.
        return void response.destroy()
      }
    }
    if (path === '/token') return json(await answers.token?.(new URLSearchParams(text)))
    return json(path === '/userinfo' ? answers.userinfo?.() : undefined)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    issuer,
    answers,
    seen,
    sign: (claims, header = {}) => {
      const now = Math.floor(Date.now() / 1000)
      const payload = { iss: issuer, iat: now, exp: now + 600, ...claims }
      return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: 'one', ...header }).sign(privateKey)
    },
    close: async () => {
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}
