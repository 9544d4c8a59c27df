// The demo's identity provider: a real OpenID provider (oidc-provider) on loopback, with a sign-in page where you choose who you are.
// It is for the demo and the tests only: nobody proves anything, and everything is forgotten when it closes.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Adapter, AdapterPayload, Configuration, JWK, Provider } from 'oidc-provider'
import { startServer, text } from './server.ts'

/** Somebody who signs in at the page. `emailVerified` is true unless it says otherwise. */
export type Person = {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly groups: readonly string[]
  readonly emailVerified?: boolean
}

/** A program that gets tokens with client_credentials. `claims` go into its tokens last, so they may even replace `sub`. */
export type Client = {
  readonly id: string
  readonly secret: string
  readonly owner?: string
  readonly groups?: readonly string[]
  readonly claims?: { readonly [name: string]: unknown }
  readonly lifetimeS?: number
  /** Its tokens say nothing by themselves; the gate asks about them (RFC 7662). */
  readonly opaque?: boolean
}

export type IdpOptions = {
  readonly port?: number
  readonly people: readonly Person[]
  readonly clients: readonly Client[]
  /** Where the console lets the provider send people back to. */
  readonly consoleRedirect: readonly string[]
  readonly gateAudience: string
  readonly consoleAudience: string
}

export type Idp = {
  readonly issuer: string
  /** Signs with a new key from now on; `forget` also stops publishing the old ones. */
  rotate(forget?: boolean): void
  close(): Promise<void>
}

/** The console's own registration: a confidential client with authorization code, PKCE and refresh tokens. */
export const consoleClient = { id: 'holdpoint-console', secret: 'demo-console-secret' } as const

/** The gate's own registration, to ask about opaque tokens. */
export const gateClient = { id: 'holdpoint-gate', secret: 'demo-gate-secret' } as const

/** A command line tool of a reviewer: a public client whose tokens are for the console's API. */
export const reviewerClient = { id: 'holdpoint-cli', redirect: 'http://127.0.0.1/callback' } as const

const hourS = 3600

/** Starts the provider on 127.0.0.1; throws an Error that says what to do if oidc-provider is not installed or the port is taken. */
export const startIdp = async (options: IdpOptions): Promise<Idp> => {
  const { Provider, interactionPolicy } = await import('oidc-provider').catch((cause: unknown) => {
    throw new Error('The demo needs the optional dependency oidc-provider: run `npm install --include=optional`.', {
      cause,
    })
  })
  const adapter = memory()
  const cookieKey = randomBytes(32).toString('hex')
  let keys: JWK[] = [signingKey()]
  let provider: Provider | undefined

  const server = await startServer(options.port ?? 0, (request, response) => {
    if (provider === undefined) return void response.writeHead(503).end()
    if (!request.url?.startsWith('/sign-in/')) return void provider.callback()(request, response)
    signIn(provider, options.people, request, response).catch((error: unknown) => {
      response
        .writeHead(400, { 'content-type': 'text/plain' })
        .end(`Sign-in failed: ${String(error)}. Start again at the console.\n`)
    })
  })

  const build = (): Provider => {
    const built = new Provider(server.url, {
      ...configuration(options),
      adapter,
      jwks: { keys },
      cookies: { keys: [cookieKey] },
      interactions: { policy: interactionPolicy.base(), url: (_ctx, interaction) => `/sign-in/${interaction.uid}` },
    })
    built.on('server_error', (_ctx, error) => process.stderr.write(`demo identity provider: ${error.stack}\n`))
    return built
  }
  provider = build()

  return {
    issuer: server.url,
    rotate(forget = false) {
      keys = forget ? [signingKey()] : [signingKey(), ...keys]
      provider = build()
    },
    close: server.close,
  }
}

const signingKey = (): JWK => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return {
    ...privateKey.export({ format: 'jwk' }),
    use: 'sig',
    alg: 'RS256',
    kid: randomBytes(8).toString('hex'),
  } as JWK
}

const configuration = ({
  people,
  clients,
  consoleRedirect,
  gateAudience,
  consoleAudience,
}: IdpOptions): Configuration => ({
  clients: [
    {
      client_id: consoleClient.id,
      client_secret: consoleClient.secret,
      redirect_uris: [...consoleRedirect],
      grant_types: ['authorization_code', 'refresh_token'],
      require_auth_time: true,
    },
    {
      client_id: reviewerClient.id,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: [reviewerClient.redirect],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      require_auth_time: true,
    },
    {
      client_id: gateClient.id,
      client_secret: gateClient.secret,
      redirect_uris: [],
      response_types: [],
      grant_types: [],
    },
    ...clients.map(client => ({
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials'],
    })),
  ],
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: false,
  findAccount: (_ctx, id) => {
    const person = people.find(one => one.id === id)
    return person && { accountId: id, claims: () => ({ sub: id, ...claimsOf(person) }) }
  },
  pkce: { required: () => true },
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: () => false,
  // Everybody has agreed to everything: only the sign-in page is ever shown.
  loadExistingGrant: async ctx => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client?.clientId ?? '',
      accountId: ctx.oidc.session?.accountId ?? '',
    })
    grant.addOIDCScope('openid profile email groups offline_access')
    await grant.save()
    return grant
  },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientId === gateClient.id },
    revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_ctx, client) => (client.grantTypeAllowed('client_credentials') ? gateAudience : []),
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, audience, client) => {
        if (audience !== gateAudience && audience !== consoleAudience) throw new Error(`unknown resource ${audience}`)
        const known = clients.find(one => one.id === client.clientId)
        return {
          scope: '',
          audience,
          accessTokenFormat: known?.opaque ? 'opaque' : 'jwt',
          accessTokenTTL: known?.lifetimeS ?? hourS,
          jwt: { sign: { alg: 'RS256' } },
        }
      },
    },
  },
  extraTokenClaims: (_ctx, token) => {
    const client = clients.find(one => one.id === token.clientId)
    return client?.opaque ? { owner: client.owner, groups: client.groups, ...client.claims } : undefined
  },
  formats: {
    customizers: {
      jwt: (ctx, token, jwt) => {
        const client = clients.find(one => one.id === token.clientId)
        const person = 'accountId' in token ? people.find(one => one.id === token.accountId) : undefined
        const source =
          ctx.oidc.entities.AuthorizationCode ?? ctx.oidc.entities.DeviceCode ?? ctx.oidc.entities.RefreshToken
        Object.assign(
          jwt.payload,
          client && { owner: client.owner, groups: client.groups, ...client.claims },
          person && { ...claimsOf(person), auth_time: source?.authTime, amr: source?.amr },
        )
      },
    },
  },
  ttl: {
    AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? hourS,
    ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? hourS,
    DeviceCode: 600,
    IdToken: hourS,
    Session: hourS,
    Interaction: hourS,
    Grant: 24 * hourS,
    RefreshToken: 24 * hourS,
  },
})

const claimsOf = ({ name, email, groups, emailVerified = true }: Person) => ({
  name,
  email,
  email_verified: emailVerified,
  groups: [...groups],
})

// GET shows who one may be; POST signs that person in. The provider's own interaction cookie says which sign-in this is.
const signIn = async (
  provider: Provider,
  people: readonly Person[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  await provider.interactionDetails(request, response)
  if (request.method !== 'POST') {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
    response.end(page(people))
    return
  }
  const chosen = new URLSearchParams(await text(request)).get('person')
  const person = people.find(one => one.id === chosen)
  if (person === undefined) throw new Error('no such person')
  await provider.interactionFinished(request, response, {
    login: { accountId: person.id, amr: ['pwd', 'mfa'], remember: false },
    consent: {},
  })
}

const escaped = (value: string): string => value.replace(/[&<>"']/g, character => `&#${character.charCodeAt(0)};`)

const page = (people: readonly Person[]): string => `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Demo sign-in</title>
<style>
:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem}
button{display:block;width:100%;margin:.6rem 0;padding:.8rem;font:inherit;text-align:left;cursor:pointer}small{opacity:.75}
</style>
<main><h1>Who are you?</h1><p>This is the demo's identity provider. Nobody has to prove anything here.</p><form method="post">
${people
  .map(
    ({ id, name, email, groups }) =>
      `<button name="person" value="${escaped(id)}">${escaped(name)}<br><small>${escaped(email)} · ${escaped(groups.join(', ') || 'no group')}</small></button>`,
  )
  .join('\n')}
</form></main></html>
`

// What the provider keeps, in memory and without its "development only" warning. Sessions of somebody are not kept: so the page
// asks every time who is there, and one browser can play several people.
const memory = (): ((model: string) => Adapter) => {
  const kept = new Map<string, { readonly payload: AdapterPayload; readonly untilAt: number }>()
  return model => {
    const key = (id: string): string => `${model}:${id}`
    const find = (id: string): AdapterPayload | undefined => {
      const one = kept.get(key(id))
      return one && one.untilAt > Date.now() ? one.payload : undefined
    }
    const search = async (field: 'uid' | 'userCode', value: string): Promise<AdapterPayload | undefined> => {
      for (const [name, { payload, untilAt }] of kept) {
        if (name.startsWith(`${model}:`) && payload[field] === value && untilAt > Date.now()) return payload
      }
      return undefined
    }
    return {
      async upsert(id, payload, expiresIn) {
        if (model === 'Session' && payload.accountId !== undefined) return
        kept.set(key(id), {
          payload,
          untilAt: expiresIn === undefined ? Number.POSITIVE_INFINITY : Date.now() + expiresIn * 1000,
        })
      },
      find: async id => find(id),
      findByUid: uid => search('uid', uid),
      findByUserCode: code => search('userCode', code),
      async consume(id) {
        const payload = find(id)
        if (payload) payload.consumed = Math.floor(Date.now() / 1000)
      },
      async destroy(id) {
        kept.delete(key(id))
      },
      async revokeByGrantId(grantId) {
        for (const [name, { payload }] of kept) if (payload.grantId === grantId) kept.delete(name)
      },
    }
  }
}
