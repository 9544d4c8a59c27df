// The shape of an entry of `issuers`: whose tokens the gate accepts, how they are verified, and what their claims mean.
import { z } from 'zod'
import { asymmetric } from '../token.ts'
import * as rules from './rules-schema.ts'
import { duration, durationOrNone, list, name, oneOf, oneOrMore, secureUrl, text } from './scalars.ts'
import { strict } from './strict.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs

const claim = oneOrMore(text('a claim name'))

const kinds = ['human', 'agent', 'workload'] as const

const claimTests = z
  .record(text(), rules.valueTest, { error: 'must be a mapping of claim names to tests' })
  .refine(tests => Object.keys(tests).length > 0, 'must ask something: without a test every caller is of this kind')

export const issuer = strict({
  name,
  issuer: secureUrl.optional().describe('Exactly the iss of its tokens. Needed, except beside `introspect`.'),
  introspect: secureUrl.optional().describe('Where its opaque tokens are asked about (RFC 7662).'),
  clientId: text().optional().describe('Who we are at `introspect`.'),
  clientSecret: text().optional(),
  prefix: text('the beginning of a token')
    .regex(/^[\x21-\x7e]{2,64}$/, 'must be 2 to 64 visible ASCII characters')
    .refine(value => !/^ey/i.test(value), 'must not be the beginning of a JWT')
    .optional()
    .describe('What its opaque tokens begin with, where several entries have `introspect`.'),
  cacheFor: duration
    .refine(ms => ms <= 5 * minuteMs, 'must not be longer than 5m')
    .prefault('30s')
    .describe('How long an answer of `introspect` is remembered.'),
  directory: name.optional().describe('The login whose person ids this issuer shares.'),
  audience: oneOrMore(text('an audience')).optional().describe('Needed, except beside `introspect`.'),
  algorithms: list(z.enum(asymmetric, { error: `must be an asymmetric algorithm: ${asymmetric.join(', ')}` }))
    .min(1, 'must not be empty')
    .prefault(['RS256']),
  typ: z
    .literal('at+jwt', { error: 'must be "at+jwt", or be left out' })
    .optional()
    .describe('Only tokens that say they are access tokens (RFC 9068).'),
  claims: strict({
    subject: claim.prefault('sub'),
    person: claim.prefault(['uid', 'oid']),
    client: claim.prefault(['azp', 'client_id', 'cid', 'appid']),
    email: claim.prefault('email'),
    groups: claim.prefault('groups'),
    owner: claim.prefault('owner'),
    name: claim.prefault('name'),
    reason: claim.optional(),
  })
    .prefault({})
    .describe('Claim names, or JSON pointers such as /realm_access/roles; of a list the first present.'),
  kind: z
    .union([
      oneOf(['auto', ...kinds]),
      list(strict({ when: claimTests, kind: oneOf(kinds) })).min(1, 'must not be empty'),
    ])
    .prefault('auto'),
  ownerless: oneOf(['refuse', 'accept']).prefault('refuse'),
  jwksUri: secureUrl.optional().describe("Where the issuer's keys are, if its discovery does not say."),
  caFile: text('a path').optional().describe('CAs that vouch for the issuer instead of the usual ones, PEM.'),
  bearerTokenFile: text('a path').optional().describe('Our token for the issuer, where its keys are not public.'),
  staleFor: durationOrNone
    .refine(ms => ms <= 24 * hourMs, 'must not be longer than 24h')
    .prefault('24h')
    .describe('How long its keys serve while it is away.'),
  dpop: oneOf(['required']).optional().describe('Only tokens that are bound to a key (RFC 9449).'),
  mtls: oneOf(['required']).optional().describe('Only tokens that are bound to a client certificate (RFC 8705).'),
})
