// The part of a configuration that identify.ts reads, for tests without a whole file.
import type { Issuer, Settings } from '../../src/settings.ts'

/** An entry of `issuers` with the defaults of the configuration. */
export const issuerEntry = (name: string, issuer: string | undefined, more: Partial<Issuer> = {}): Issuer => ({
  name,
  issuer,
  directory: undefined,
  audience: ['api://holdpoint'],
  algorithms: ['RS256'],
  claims: {
    subject: ['sub'],
    person: ['uid', 'oid'],
    client: ['azp', 'client_id', 'cid', 'appid'],
    email: ['email'],
    groups: ['groups'],
    owner: ['owner'],
    name: ['name'],
    reason: [],
  },
  kind: 'auto',
  ownerless: 'refuse',
  jwksUri: undefined,
  ...more,
})

export const gateUrl = 'https://gate.example'

export const gateSettings = (...issuers: Issuer[]): Settings =>
  ({ gate: { url: gateUrl }, issuers }) as unknown as Settings
