// What is known about each login's identity provider: discovered once, read again every hour, an old answer serving while it is down.
// Its answers are read up to a size and within a time, redirects are not followed; plain http only on loopback addresses.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Configuration, CustomFetch } from 'openid-client'
import { safeUrl } from '../ask.ts'
import { HoldpointError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Login } from '../settings.ts'

// Loaded with the first sign-in.
const oidc = (): typeof import('openid-client') => createRequire(import.meta.url)('openid-client')

const freshMs = 3_600_000
const retryMs = 2_000
const timeoutS = 10
const answerBytes = 1024 * 1024

export type Providers = {
  /** @throws unauthenticated when the provider has never been reached and cannot be now */
  of(login: Login): Promise<Configuration>
}

const boundedFetch: CustomFetch = async (url, options) => {
  const response = await fetch(url, options as RequestInit)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > answerBytes) throw new Error(`the answer of ${new URL(url).host} is larger than ${answerBytes} bytes`)
    chunks.push(chunk)
  }
  const headers = new Headers(response.headers)
  // The bytes are decoded by now.
  for (const name of ['content-encoding', 'content-length']) headers.delete(name)
  const bodiless = [204, 205, 304].includes(response.status)
  return new Response(bodiless ? null : Buffer.concat(chunks), { status: response.status, headers })
}

export const discover = async (login: Pick<Login, 'issuer' | 'clientId' | 'clientSecret'>): Promise<Configuration> => {
  const client = oidc()
  const { allowInsecureRequests, ClientSecretBasic, ClientSecretPost, None } = client
  const issuer = new URL(login.issuer)
  const insecure = issuer.protocol === 'http:'
  if (!safeUrl(login.issuer)) throw new Error('an http issuer is allowed on loopback addresses only')
  const found = await client.discovery(issuer, login.clientId, undefined, None(), {
    timeout: timeoutS,
    [client.customFetch]: boundedFetch,
    ...(insecure ? { execute: [allowInsecureRequests] } : {}),
  })
  const server = found.serverMetadata()
  // OIDC Discovery §3: what is not said is client_secret_basic.
  const basic = server.token_endpoint_auth_methods_supported?.includes('client_secret_basic') ?? true
  const secret = login.clientSecret
  const auth = secret === undefined ? None() : basic ? ClientSecretBasic(secret) : ClientSecretPost(secret)
  const configuration = new client.Configuration(server, login.clientId, undefined, auth)
  configuration.timeout = timeoutS
  configuration[client.customFetch] = boundedFetch
  if (insecure) allowInsecureRequests(configuration)
  // ID tokens are verified by their signature as well, not only by the connection they came over.
  client.enableNonRepudiationChecks(configuration)
  return configuration
}

export const providers = (clock: () => number, log: Log): Providers => {
  type Known = { configuration?: Configuration; readAt: number; failedAt: number; reading?: Promise<void> }
  const known = new Map<string, Known>()

  const read = async (login: Login, entry: Known): Promise<void> => {
    try {
      entry.configuration = await discover(login)
      entry.readAt = clock()
    } catch (error) {
      entry.failedAt = clock()
      log.warn({ err: error, login: login.name }, 'the identity provider cannot be read')
    } finally {
      delete entry.reading
    }
  }

  return {
    async of(login) {
      const secret = createHash('sha256')
        .update(login.clientSecret ?? '')
        .digest('base64')
      const id = JSON.stringify([login.issuer, login.clientId, secret])
      const entry: Known = known.get(id) ?? { readAt: 0, failedAt: Number.NEGATIVE_INFINITY }
      known.set(id, entry)
      const stale = clock() - entry.readAt > freshMs
      if ((entry.configuration === undefined || stale) && clock() - entry.failedAt > retryMs) {
        entry.reading ??= read(login, entry)
      }
      if (entry.configuration === undefined) await entry.reading
      if (entry.configuration === undefined) {
        throw new HoldpointError(
          'unauthenticated',
          `The identity provider "${login.name}" cannot be reached. Try again in a moment.`,
        )
      }
      return entry.configuration
    },
  }
}
