// User and password (RFC 7617, in UTF-8).
import type { Credential } from './credential.ts'

/** Throws if user or password could not be told apart, or sent, as they are. */
export const basic = (user: string, password: string): Credential => {
  if (user.includes(':')) throw new Error('credential.basic.user: it must not contain ":", which ends the user name')
  if (/[\x00-\x1f\x7f]/.test(user))
    throw new Error('credential.basic.user: remove the control character (a line break?)')
  if (/[\x00-\x1f\x7f]/.test(password))
    throw new Error('credential.basic.password: remove the control character (a line break?)')
  const headers = [['Authorization', `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`]] as const
  return { fixed: headers, headers: async () => headers }
}
