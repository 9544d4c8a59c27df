// Call -> Caller: exactly one token, of one configured issuer, verified with that issuer's keys only.
// A token that was verified once is remembered by its hash; its times are checked again on every use.
import { createHash } from 'node:crypto'
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, errors as joseErrors, jwtVerify } from 'jose'
import { HoldpointError } from './errors.ts'
import { type IssuerKeys, issuerKeys } from './issuer-keys.ts'
import { parseStrict } from './json.ts'
import type { Actor, Call, Caller, CallerKind, Json } from './nouns.ts'
import type { Issuer, Settings, Upstream, ValueTest } from './settings.ts'
import { testValue } from './value.ts'

/** Clocks may differ by this much. */
const skewS = 60
/** A token that says it lives longer than this is refused (facts: exp as 1e300). */
const lifetimeS = 24 * 3600
const tokenBytes = 16 * 1024
const maxGroups = 200
const maxActors = 8
// A key that is withdrawn stops serving within this time, also for tokens verified before.
const rememberMs = 10 * 60_000
const rememberCount = 20_000

export type Identified = {
  readonly caller: Caller
  /** Lower-case header that carried the token: ours, never forwarded. */
  readonly source: string
}

export type Identify = {
  /** @throws unauthenticated (with RFC 9728 metadata), ambiguous_credentials */
  (call: Call, upstream: Upstream | undefined, settings: Settings): Promise<Identified>
  /** Issuers whose keys cannot be had at present, with the reason. */
  health(settings: Settings): readonly string[]
}

export const identifier = (options: {
  readonly clock: () => number
  readonly keys?: (issuer: Issuer) => IssuerKeys
}): Identify => {
  const keysOf = options.keys ?? (issuer => issuerKeys(issuer, options.clock))
  const keys = new Map<string, IssuerKeys>()
  let remembered = new Map<string, { caller: Caller; notBefore: number; until: number }>()
  let rememberedFor: Settings | undefined

  const keysFor = (issuer: Issuer): IssuerKeys => {
    const id = `${issuer.issuer} ${issuer.jwksUri ?? ''}`
    const found = keys.get(id) ?? keysOf(issuer)
    keys.set(id, found)
    return found
  }

  const identify = async (call: Call, upstream: Upstream | undefined, settings: Settings): Promise<Identified> => {
    const { token, source } = tokenOf(call, upstream, settings)
    if (rememberedFor !== settings) {
      rememberedFor = settings
      remembered = new Map()
    }
    const hash = createHash('sha256').update(token).digest('base64')
    const now = options.clock()
    const known = remembered.get(hash)
    if (
      known !== undefined &&
      now < known.until &&
      now >= known.notBefore &&
      now < known.caller.expiresAt + skewS * 1000
    ) {
      return { caller: known.caller, source }
    }
    const { caller, notBefore } = await verified(token, settings, now, keysFor)
    if (remembered.size >= rememberCount) remembered.delete(remembered.keys().next().value ?? '')
    remembered.set(hash, { caller, notBefore, until: now + rememberMs })
    return { caller, source }
  }

  return Object.assign(identify, {
    health: (settings: Settings) =>
      settings.issuers.flatMap(issuer => {
        const why = keys.get(`${issuer.issuer} ${issuer.jwksUri ?? ''}`)?.trouble()
        return why === undefined ? [] : [`issuer ${issuer.name}: ${why}`]
      }),
  })
}

const refusal = (
  settings: Settings,
  detail: string,
  error: 'invalid_token' | undefined,
  cause?: unknown,
): HoldpointError => {
  const metadata = `resource_metadata="${settings.gate.url}/.well-known/oauth-protected-resource"`
  return new HoldpointError('unauthenticated', detail, {
    cause,
    headers: {
      'WWW-Authenticate': error === undefined ? `Bearer ${metadata}` : `Bearer error="${error}", ${metadata}`,
    },
  })
}

const valuesOf = (call: Call, name: string): string[] =>
  call.headers.filter(([header]) => header.toLowerCase() === name).map(([, value]) => value)

/** Finds the one token of a call: DESIGN §6, "exactly one source". */
const tokenOf = (call: Call, upstream: Upstream | undefined, settings: Settings): { token: string; source: string } => {
  const own = valuesOf(call, 'holdpoint-authorization')
  // With Holdpoint-Authorization, Authorization belongs to the upstream.
  const standard = own.length > 0 ? [] : valuesOf(call, 'authorization')
  const named =
    upstream?.tokenHeader === undefined || upstream.tokenHeader === 'authorization'
      ? []
      : valuesOf(call, upstream.tokenHeader)
  const found = own.length + standard.length + named.length
  if (found === 0) throw refusal(settings, 'Send an access token as "Authorization: Bearer <token>".', undefined)
  if (found > 1) {
    throw new HoldpointError(
      'ambiguous_credentials',
      `Send exactly one of Authorization, Holdpoint-Authorization${upstream?.tokenHeader ? `, ${upstream.tokenHeader}` : ''}, once.`,
    )
  }
  if (named[0] !== undefined) return { token: plain(named[0], settings), source: upstream?.tokenHeader ?? '' }
  const value = own[0] ?? standard[0] ?? ''
  const source = own.length > 0 ? 'holdpoint-authorization' : 'authorization'
  const [, scheme = '', rest = ''] = /^([A-Za-z]+) +(\S+)$/.exec(value) ?? []
  if (scheme.toLowerCase() === 'bearer') return { token: rest, source }
  if (scheme.toLowerCase() === 'basic' && source === 'authorization') {
    const decoded = Buffer.from(rest, 'base64').toString('utf8')
    const colon = decoded.indexOf(':')
    return { token: plain(colon < 0 ? '' : decoded.slice(colon + 1), settings), source }
  }
  throw refusal(settings, `The ${source} header is not "Bearer <token>".`, 'invalid_token')
}

const plain = (value: string, settings: Settings): string => {
  const token = value.replace(/^Bearer +/i, '')
  if (!/^\S+$/.test(token)) throw refusal(settings, 'The token is empty or has white space in it.', 'invalid_token')
  return token
}

const verified = async (
  token: string,
  settings: Settings,
  now: number,
  keysFor: (issuer: Issuer) => IssuerKeys,
): Promise<{ caller: Caller; notBefore: number }> => {
  const invalid = (detail: string, cause?: unknown): HoldpointError => refusal(settings, detail, 'invalid_token', cause)
  if (token.length > tokenBytes) throw invalid('The token is longer than 16 KiB.')
  const parts = token.split('.')
  if (parts.length !== 3) throw invalid('The token is not a signed JWT (three parts).')
  const header = part(parts[0] ?? '')
  const claims = part(parts[1] ?? '')
  if (header === undefined || claims === undefined) throw invalid('The token cannot be read.')
  // The issuer is chosen by its exact name first; then nothing but its own keys, audience and algorithms count.
  const issuer = settings.issuers.find(one => one.issuer === claims.iss)
  if (issuer === undefined) throw invalid("The token's issuer is not one of those this gate trusts.")
  const kind = String(header.typ ?? 'jwt')
    .toLowerCase()
    .replace(/^application\//, '')
  if (!['jwt', 'at+jwt'].includes(kind)) throw invalid("The token's typ is not that of an access token.")
  if (header.crit !== undefined || header.b64 !== undefined)
    throw invalid('The token asks for an extension that is not known here.')
  if (typeof header.kid === 'string' && header.kid.length > 256) throw invalid("The token's kid is too long.")

  const payload = await check(token, issuer, keysFor(issuer), now, invalid)
  const { exp, iat, nbf } = payload
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw invalid('The token has no end (exp).')
  for (const [name, time] of [
    ['iat', iat],
    ['nbf', nbf],
  ] as const) {
    if (time !== undefined && (typeof time !== 'number' || !Number.isFinite(time) || time > now / 1000 + skewS))
      throw invalid(`The token's ${name} lies in the future.`)
  }
  if (exp - (iat ?? now / 1000) > lifetimeS + skewS) throw invalid('The token lives longer than 24 h.')
  // ID tokens are for clients, not for APIs.
  if (payload.nonce !== undefined || payload.at_hash !== undefined || payload.c_hash !== undefined)
    throw invalid('This is an ID token; send an access token.')
  if (payload.token_use !== undefined && payload.token_use !== 'access')
    throw invalid('This is not an access token (token_use).')
  return {
    caller: callerOf(payload as { [name: string]: Json }, issuer, exp * 1000, invalid),
    notBefore: Math.max(iat ?? 0, nbf ?? 0) * 1000 - skewS * 1000,
  }
}

const check = async (
  token: string,
  issuer: Issuer,
  keys: IssuerKeys,
  now: number,
  invalid: (detail: string, cause?: unknown) => HoldpointError,
): Promise<JWTPayload> => {
  const attempt = async (set: JSONWebKeySet): Promise<JWTPayload> => {
    const { payload } = await jwtVerify(token, createLocalJWKSet(set), {
      issuer: issuer.issuer,
      audience: [...issuer.audience],
      algorithms: [...issuer.algorithms],
      requiredClaims: ['exp'],
      clockTolerance: skewS,
      currentDate: new Date(now),
    })
    return payload
  }
  try {
    const set = await keys.current()
    try {
      return await attempt(set)
    } catch (error) {
      if (!(error instanceof joseErrors.JWKSNoMatchingKey)) throw error
      const newer = await keys.newer(set)
      if (newer === undefined) throw error
      return await attempt(newer)
    }
  } catch (error) {
    if (error instanceof joseErrors.JWTExpired) throw invalid('The token has expired.', error)
    if (error instanceof joseErrors.JWTClaimValidationFailed)
      throw invalid(`The token's ${error.claim} is not what this gate needs.`, error)
    if (error instanceof joseErrors.JWKSNoMatchingKey)
      throw invalid('The token is signed with a key that its issuer does not publish.', error)
    if (error instanceof joseErrors.JOSEError) throw invalid("The token's signature or form is not valid.", error)
    throw invalid("The issuer's keys cannot be had, so the token cannot be verified.", error)
  }
}

// Header and claims as strict JSON: a name given twice has two readings.
const part = (text: string): { readonly [name: string]: Json } | undefined => {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return undefined
  const parsed = parseStrict(Buffer.from(text, 'base64url'))
  if ('unknown' in parsed || parsed.value === null || typeof parsed.value !== 'object' || Array.isArray(parsed.value))
    return undefined
  return parsed.value as { readonly [name: string]: Json }
}

/** The first of the named claims that is there, as text. */
const text = (claims: { readonly [name: string]: Json }, names: readonly string[]): string | undefined => {
  for (const name of names) {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined
    if (typeof value === 'string' && value !== '') return value
    if (typeof value === 'number') return String(value)
  }
  return undefined
}

const callerOf = (
  claims: { readonly [name: string]: Json },
  issuer: Issuer,
  expiresAt: number,
  invalid: (detail: string) => HoldpointError,
): Caller => {
  const subject = text(claims, issuer.claims.subject)
  if (subject === undefined) throw invalid(`The token has no ${issuer.claims.subject.join(' or ')}.`)
  const groups: string[] = []
  for (const name of issuer.claims.groups) {
    const value = claims[name]
    if (value === undefined) continue
    for (const group of Array.isArray(value) ? value : [value]) if (typeof group === 'string') groups.push(group)
    break
  }
  if (groups.length > maxGroups) throw invalid(`The token names more than ${maxGroups} groups.`)
  const client = text(claims, issuer.claims.client)
  const person = text(claims, issuer.claims.person)
  const email = text(claims, issuer.claims.email)
  const owner = text(claims, issuer.claims.owner)
  const name = text(claims, issuer.claims.name)
  const reason = text(claims, issuer.claims.reason)
  const actors = actorsOf(claims.act, issuer, invalid)
  return {
    issuer: issuer.name,
    ...(issuer.directory === undefined ? {} : { directory: issuer.directory }),
    subject,
    ...(person === undefined ? {} : { person }),
    ...(client === undefined ? {} : { client }),
    kind: kindOf(claims, issuer, { subject, client, person, email, owner }, actors.length > 0),
    ...(name === undefined ? {} : { name }),
    ...(email === undefined ? {} : { email }),
    groups,
    ...(owner === undefined ? {} : { owner }),
    ...(reason === undefined ? {} : { reason }),
    actors,
    claims,
    expiresAt,
  }
}

// RFC 8693 §4.1: the outermost act is the current actor, deeper ones are history. All of them are behind the call.
const actorsOf = (act: Json | undefined, issuer: Issuer, invalid: (detail: string) => HoldpointError): Actor[] => {
  const actors: Actor[] = []
  for (let at = act; at !== undefined; ) {
    if (at === null || typeof at !== 'object' || Array.isArray(at)) throw invalid("The token's act is not an object.")
    const claims = at as { readonly [name: string]: Json }
    const subject = text(claims, ['sub'])
    if (subject === undefined) throw invalid("An actor in the token's act has no sub.")
    if (actors.length === maxActors) throw invalid(`The token's act chain is longer than ${maxActors}.`)
    const client = text(claims, issuer.claims.client)
    const email = text(claims, ['email'])
    actors.push({
      issuer: issuer.name,
      subject,
      ...(client === undefined ? {} : { client }),
      ...(email === undefined ? {} : { email }),
    })
    at = claims.act
  }
  return actors
}

const kindOf = (
  claims: { readonly [name: string]: Json },
  issuer: Issuer,
  who: {
    subject: string
    client: string | undefined
    person: string | undefined
    email: string | undefined
    owner: string | undefined
  },
  delegated: boolean,
): CallerKind => {
  const kind = issuerKind(claims, issuer, who)
  // A token with an act chain is used by its actor, who is never a human at the keyboard.
  return delegated && kind === 'human' ? 'agent' : kind
}

const issuerKind = (
  claims: { readonly [name: string]: Json },
  issuer: Issuer,
  who: {
    subject: string
    client: string | undefined
    person: string | undefined
    email: string | undefined
    owner: string | undefined
  },
): CallerKind => {
  if (issuer.kind === 'auto') {
    if (who.owner !== undefined) return 'agent'
    if (who.client !== undefined && who.client === who.subject) return 'workload'
    return who.person !== undefined || who.email !== undefined ? 'human' : 'workload'
  }
  if (typeof issuer.kind === 'string') return issuer.kind
  const fits = ([name, test]: [string, ValueTest]): boolean =>
    testValue(test, Object.hasOwn(claims, name) ? claims[name] : undefined) === true
  return issuer.kind.find(({ when }) => Object.entries(when).every(fits))?.kind ?? 'workload'
}
