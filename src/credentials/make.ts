// From the configuration to the credential.
import type { Header } from '../nouns.ts'
import type { CredentialSettings, Upstream } from '../settings.ts'
import { basic } from './basic.ts'
import { bearer } from './bearer.ts'
import type { Credential } from './credential.ts'
import { exec } from './exec.ts'
import { headers } from './headers.ts'
import { kubernetes } from './kubernetes.ts'
import { oauth2 } from './oauth2.ts'
import { sigv4 } from './sigv4.ts'

// Made once for each upstream of a snapshot; what it says is asked for anew with every call.
const made = new WeakMap<CredentialSettings, Credential>()

const none: readonly Header[] = []
const nothing: Credential = { fixed: none, headers: async () => none }

/** The credential of an upstream. */
export const credentialOf = (upstream: Upstream): Credential => {
  const settings = upstream.credential
  if (settings === undefined) return credential(undefined)
  const known = made.get(settings)
  if (known !== undefined) return known
  const fresh = credential(settings)
  made.set(settings, fresh)
  return fresh
}

/** Throws an Error that names the field if the credential cannot be sent as it is. No settings: nothing is added. */
export const credential = (settings: CredentialSettings | undefined): Credential => {
  switch (settings?.kind) {
    case undefined:
      return nothing
    case 'bearer':
      return bearer(settings.token)
    case 'basic':
      return basic(settings.user, settings.password)
    case 'headers':
      return headers(settings.headers)
    case 'oauth2':
      return oauth2(settings)
    case 'exec':
      return exec(settings)
    case 'sigv4':
      return sigv4(settings)
    case 'kubernetes':
      return kubernetes(settings.tokenFile, settings.impersonate)
  }
}
