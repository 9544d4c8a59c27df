// A fixed bearer token (RFC 6750).
import type { Credential } from './credential.ts'

/** Throws if the token could not be sent as it is. */
export const bearer = (token: string): Credential => {
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Error('credential.bearer: write the token as visible ASCII without spaces or line breaks')
  const headers = [['Authorization', `Bearer ${token}`]] as const
  return { fixed: headers, headers: async () => headers }
}
