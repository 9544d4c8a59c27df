// Sign-in for whoever has no browser of their own: a person opens an address elsewhere and types a code there (RFC 8628). The client is a
// public one; what comes back is a bearer token for the console's API and, if the provider likes, one to renew it with.
import {
  initiateDeviceAuthorization,
  pollDeviceAuthorizationGrant,
  refreshTokenGrant,
  type TokenEndpointResponse,
  tokenRevocation,
} from 'openid-client'
import { safeUrl } from '../ask.ts'
import { discover } from './provider.ts'

/** A public client at an issuer, and the audience its tokens are wanted for (RFC 8707), where the issuer asks for that. */
export type DeviceClient = {
  readonly issuer: string
  readonly clientId: string
  readonly resource?: string
}

export type Tokens = { readonly access: string; readonly refresh?: string; readonly expiresAt: number }

export type Started = {
  /** Where the person goes, what they type there, and the same in one address if the provider has one. */
  readonly uri: string
  readonly code: string
  readonly complete?: string
  /** Waits until they have signed in. Throws if they say no, or take too long. */
  done(): Promise<Tokens>
}

const unsaidS = 300

const tokensOf = (answer: TokenEndpointResponse, now: number): Tokens => ({
  access: answer.access_token,
  ...(answer.refresh_token === undefined ? {} : { refresh: answer.refresh_token }),
  expiresAt: now + (answer.expires_in ?? unsaidS) * 1000,
})

const resourceOf = ({ resource }: DeviceClient): { readonly resource?: string } =>
  resource === undefined ? {} : { resource }

/** @throws an Error that says what is in the way */
export const startDevice = async (client: DeviceClient, scope: string): Promise<Started> => {
  const provider = await discover({ ...client, clientSecret: undefined })
  if (provider.serverMetadata().device_authorization_endpoint === undefined)
    throw new Error(`${client.issuer} has no device sign-in (RFC 8628); enable it there`)
  const asked = await initiateDeviceAuthorization(provider, { scope, ...resourceOf(client) })
  const { verification_uri: uri, verification_uri_complete: complete, user_code: code } = asked
  if (!safeUrl(uri) || (complete !== undefined && !safeUrl(complete)))
    throw new Error(`${client.issuer} names a sign-in page that is not https`)
  return {
    uri,
    code,
    ...(complete === undefined ? {} : { complete }),
    async done() {
      try {
        return tokensOf(await pollDeviceAuthorizationGrant(provider, asked, resourceOf(client)), Date.now())
      } catch (cause) {
        const { error } = cause as { error?: unknown }
        throw typeof error === 'string' ? new Error(`${client.issuer} says ${error}`, { cause }) : cause
      }
    },
  }
}

/** New tokens for old ones. A provider that gives no new `refresh` means the old one to stay good. */
export const renew = async (client: DeviceClient, refresh: string): Promise<Tokens> => {
  const provider = await discover({ ...client, clientSecret: undefined })
  return { refresh, ...tokensOf(await refreshTokenGrant(provider, refresh, resourceOf(client)), Date.now()) }
}

/** Makes a token worthless at its provider, where that can be done. */
export const revoke = async (client: DeviceClient, token: string): Promise<void> => {
  const provider = await discover({ ...client, clientSecret: undefined })
  if (provider.serverMetadata().revocation_endpoint !== undefined) await tokenRevocation(provider, token)
}
