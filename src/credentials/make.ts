// From the configuration to the credential.
import type { CredentialSettings } from '../settings.ts'
import { basic } from './basic.ts'
import { bearer } from './bearer.ts'
import type { Credential } from './credential.ts'
import { headers } from './headers.ts'

/** Throws an Error that names the field if the credential cannot be sent as it is. No settings: nothing is added. */
export const credential = (settings: CredentialSettings | undefined): Credential => {
  switch (settings?.kind) {
    case undefined:
      return { headers: async () => [] }
    case 'bearer':
      return bearer(settings.token)
    case 'basic':
      return basic(settings.user, settings.password)
    case 'headers':
      return headers(settings.headers)
  }
}
