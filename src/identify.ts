// Call -> Caller: exactly one token, of one configured issuer, verified with that issuer's keys only or asked about only there.
// A token that was verified once is remembered by its hash; its times, and what proves that it is in its owner's hands, are checked
// again at every use. A token that is bound to a key is never taken without the proof.
import { hash as digest } from 'node:crypto'
import { callerOf } from './claims.ts'
import { checkProof, type FirstSeen, proofAlgorithms } from './dpop.ts'
import { HoldpointError } from './errors.ts'
import { valuesOf as linesOf } from './headers.ts'
import { type Introspect, introspect } from './introspect.ts'
import { type IssuerKeys, issuerKeys } from './issuer-keys.ts'
import type { Call, Caller } from './nouns.ts'
import type { Issuer, Settings, Upstream } from './settings.ts'
import type { Shelf } from './store/store.ts'
import { beginsAt, looksLikeJwt, type Refuse, readToken, refuseHuge, skewS, verifyToken } from './token.ts'

const rememberCount = 20_000

export type Identified = {
  readonly caller: Caller
  /** Lower-case names of the headers that carried the token and its proof: ours, never forwarded, never digested. */
  readonly own: ReadonlySet<string>
  /** The token, where only its issuer can say whether it is still good (RFC 7662). */
  readonly opaque: string | undefined
  /**
   * Is the token still good? Asked again at its issuer if it is opaque; undefined if it is not, or says something else now.
   * @throws unauthenticated if that cannot be told at present
   */
  again(settings: Settings): Promise<Caller | undefined>
}

export type Identify = {
  /** @throws unauthenticated (with RFC 9728 metadata), ambiguous_credentials, store_unavailable (for tokens with a proof) */
  (call: Call, upstream: Upstream | undefined, settings: Settings): Promise<Identified>
  /** The same at once, where nobody has to be asked; undefined otherwise. @throws what `identify` rejects with */
  known(call: Call, upstream: Upstream | undefined, settings: Settings): Identified | undefined
  /**
   * Whom a token stands for now that stood for `caller` when it was shown; undefined if it is no longer good, or for somebody else.
   * @throws unauthenticated if that cannot be told at present
   */
  again(token: string, caller: Caller, settings: Settings): Promise<Caller | undefined>
  /** Issuers whose keys or answers cannot be had at present, with the reason. */
  health(settings: Settings): readonly string[]
}

type Verified = { readonly caller: Caller; readonly issuer: Issuer }
type Remembered = Verified & { readonly notBefore: number; readonly keys: IssuerKeys; readonly edition: number }

export const identifier = (options: {
  readonly clock: () => number
  /** Where used proofs are noted, for all replicas. */
  readonly shelf: Pick<Shelf, 'put'>
}): Identify => {
  const { clock } = options
  const known = new Map<string, IssuerKeys>()
  // By entry and by snapshot: what one configuration made of a token is nothing to the next.
  const asking = new WeakMap<Issuer, Introspect>()
  const remembered = new WeakMap<Settings, Map<string, Remembered>>()
  const firstSeen: FirstSeen = (key, ttlMs) => options.shelf.put(`dpop ${key}`, '1', { ttlMs, when: 'absent' })

  const keysFor = (issuer: Issuer, url: string): IssuerKeys => {
    const { jwksUri, caFile, bearerTokenFile, staleForMs } = issuer
    const source = { issuer: url, jwksUri, caFile, bearerTokenFile, staleForMs }
    const id = JSON.stringify(source)
    const found = known.get(id) ?? issuerKeys(source, clock)
    known.set(id, found)
    return found
  }
  const askFor = (issuer: Issuer): Introspect | undefined => {
    if (issuer.introspect === undefined) return undefined
    const found = asking.get(issuer) ?? introspect(issuer, issuer.introspect, clock)
    asking.set(issuer, found)
    return found
  }

  const opaque = async (
    token: string,
    issuer: Issuer,
    ask: Introspect,
    settings: Settings,
    fresh: boolean,
    refuse: Refuse,
  ): Promise<Verified> => {
    const { claims, expiresAt } = await ask(token, fresh, settings.gate.url, refuse)
    return { caller: callerOf(claims, issuer, expiresAt, refuse), issuer }
  }

  const hashOf = (token: string): string => digest('sha256', token, 'base64')

  /** Who a token stands for that was verified before, if it still does. */
  const recall = (token: string, settings: Settings): Verified | undefined => {
    const found = remembered.get(settings)?.get(hashOf(token))
    if (found === undefined) return undefined
    const now = clock()
    // A key that its issuer withdraws stops serving with the next set of keys, also for tokens that were verified before.
    const stands = found.keys.stands(found.edition) && now >= found.notBefore && isLive(found.caller, now)
    return stands ? found : undefined
  }

  /** Who a token stands for. `fresh`: nothing that is only remembered of an opaque one counts. */
  const verify = async (token: string, settings: Settings, fresh: boolean, refuse: Refuse): Promise<Verified> => {
    const found = recall(token, settings)
    if (found !== undefined) return found
    const now = clock()
    refuseHuge(token, refuse)
    if (!looksLikeJwt(token)) {
      const issuer = issuerOfOpaque(token, settings)
      const ask = issuer && askFor(issuer)
      if (issuer === undefined || ask === undefined)
        throw refuse('The token is not a signed JWT, and no issuer here answers for tokens of its form.')
      return opaque(token, issuer, ask, settings, fresh, refuse)
    }
    const read = readToken(token, refuse)
    // The issuer is chosen by its exact name first; then nothing but its own keys, audience and algorithms count.
    const issuer = settings.issuers.find(one => one.issuer !== undefined && one.issuer === read.claims.iss)
    if (issuer?.issuer === undefined) throw refuse("The token's issuer is not one of those this gate trusts.")
    const ask = askFor(issuer)
    if (ask !== undefined) return opaque(token, issuer, ask, settings, fresh, refuse)
    const wanted = { ...issuer, issuer: issuer.issuer }
    const keys = keysFor(issuer, issuer.issuer)
    // As it was before: if new keys come meanwhile, the token is verified once more.
    const edition = keys.edition()
    const { claims, expiresAt } = await verifyToken(token, read, wanted, keys, now, refuse)
    const one: Remembered = {
      caller: callerOf(claims, issuer, expiresAt, refuse),
      issuer,
      notBefore: beginsAt(claims),
      keys,
      edition,
    }
    const known = remembered.get(settings) ?? new Map<string, Remembered>()
    remembered.set(settings, known)
    if (known.size >= rememberCount) known.delete(known.keys().next().value ?? '')
    known.set(hashOf(token), one)
    return one
  }

  const again = async (token: string, caller: Caller, settings: Settings): Promise<Caller | undefined> => {
    try {
      const { caller: other } = await verify(token, settings, true, refusing(settings, 'Bearer', 'invalid_token'))
      return sameCaller(caller, other) ? other : undefined
    } catch (error) {
      if (error instanceof HoldpointError && error.code === 'unauthenticated' && !error.extras.retryAfterS)
        return undefined
      throw error
    }
  }

  const told = (shown: Shown, { caller, issuer }: Verified, { scope }: Call): Identified => ({
    caller,
    own: scope === undefined ? shown.own : new Set([...shown.own, 'authorization']),
    opaque: issuer.introspect === undefined ? undefined : shown.token,
    again: now => again(shown.token, caller, now),
  })

  const identify = async (call: Call, upstream: Upstream | undefined, settings: Settings): Promise<Identified> => {
    const shown = tokenOf(call, upstream, settings)
    const refuse = refusing(settings, shown.scheme, 'invalid_token')
    const verified = await verify(shown.token, settings, false, refuse)
    const jkt = boundTo(verified.caller, verified.issuer, shown, call, settings)
    if (jkt !== undefined) {
      const refuseProof = refusing(settings, 'DPoP', 'invalid_dpop_proof')
      const [proof, ...more] = valuesOf(call, 'dpop')
      if (proof === undefined || more.length > 0) throw refuseProof('Send one DPoP header, with a proof for this call.')
      const asked = { method: call.method, origin: originOf(call, upstream, settings), path: call.path }
      await checkProof(proof, shown.token, jkt, asked, clock(), firstSeen, refuseProof)
    }
    return told(shown, verified, call)
  }

  const knownOne = (call: Call, upstream: Upstream | undefined, settings: Settings): Identified | undefined => {
    const shown = tokenOf(call, upstream, settings)
    const verified = recall(shown.token, settings)
    if (verified === undefined || boundTo(verified.caller, verified.issuer, shown, call, settings) !== undefined)
      return undefined
    return told(shown, verified, call)
  }

  return Object.assign(identify, {
    known: knownOne,
    again,
    health: (settings: Settings) =>
      settings.issuers.flatMap(issuer => {
        const why =
          askFor(issuer)?.trouble() ??
          (issuer.issuer === undefined ? undefined : keysFor(issuer, issuer.issuer).trouble())
        return why === undefined ? [] : [`issuer ${issuer.name}: ${why}`]
      }),
  })
}

const isLive = (caller: Caller, now: number): boolean => now < caller.expiresAt + skewS * 1000

/** The one entry that answers for an opaque token: the one whose prefix it has, else the one without a prefix. */
const issuerOfOpaque = (token: string, { issuers }: Settings): Issuer | undefined => {
  const of = (fits: (prefix: string | undefined) => boolean): Issuer[] =>
    issuers.filter(({ introspect }) => introspect !== undefined && fits(introspect.prefix))
  const named = of(prefix => prefix !== undefined && token.startsWith(prefix))
  const found = named.length > 0 ? named : of(prefix => prefix === undefined)
  return found.length === 1 ? found[0] : undefined
}

// ---- where the token is

type Scheme = 'Bearer' | 'DPoP'

type Shown = { readonly token: string; readonly scheme: Scheme; readonly own: ReadonlySet<string> }

const valuesOf = (call: Call, name: string): readonly string[] => linesOf(call.headers, name)

const alone: ReadonlySet<string> = new Set(['holdpoint-authorization'])
const withProof = {
  authorization: new Set(['authorization', 'dpop']),
  'holdpoint-authorization': new Set(['holdpoint-authorization', 'dpop']),
} as const satisfies { readonly [source: string]: ReadonlySet<string> }

/** Finds the one token of a call: DESIGN §6, "exactly one source". */
const tokenOf = (call: Call, upstream: Upstream | undefined, settings: Settings): Shown => {
  const own = valuesOf(call, 'holdpoint-authorization')
  // With Holdpoint-Authorization, Authorization belongs to the upstream; with what an AWS client signs by, it is no token at all.
  const standard = own.length > 0 || call.scope !== undefined ? [] : valuesOf(call, 'authorization')
  const named =
    upstream?.tokenHeader === undefined || upstream.tokenHeader === 'authorization'
      ? []
      : valuesOf(call, upstream.tokenHeader)
  const found = own.length + standard.length + named.length
  if (found === 0) throw unshown(settings, upstream?.tokenHeader)
  if (found > 1) {
    throw new HoldpointError(
      'ambiguous_credentials',
      `Send exactly one of Authorization, Holdpoint-Authorization${upstream?.tokenHeader ? `, ${upstream.tokenHeader}` : ''}, once.`,
    )
  }
  const refuse = refusing(settings, 'Bearer', 'invalid_token')
  if (named[0] !== undefined) {
    const token = plain(named[0], refuse)
    return { token, scheme: 'Bearer', own: new Set([upstream?.tokenHeader ?? '', 'dpop']) }
  }
  const value = own[0] ?? standard[0] ?? ''
  const source = own.length > 0 ? 'holdpoint-authorization' : 'authorization'
  const [, word = '', rest = ''] = /^([A-Za-z]+) +([\x21-\x7e]+)$/.exec(value) ?? []
  switch (word.toLowerCase()) {
    case 'dpop':
      return { token: rest, scheme: 'DPoP', own: withProof[source] }
    case 'bearer':
      // Beside an Authorization that belongs to the upstream, so does the proof.
      return { token: rest, scheme: 'Bearer', own: own.length > 0 ? alone : withProof[source] }
    case 'basic': {
      if (own.length > 0) break
      const decoded = Buffer.from(rest, 'base64').toString('utf8')
      const colon = decoded.indexOf(':')
      const token = plain(colon < 0 ? '' : decoded.slice(colon + 1), refuse)
      return { token, scheme: 'Bearer', own: withProof[source] }
    }
  }
  throw refuse(`The ${source} header is not "Bearer <token>".`)
}

const plain = (value: string, refuse: Refuse): string => {
  const token = value.replace(/^Bearer +/i, '')
  if (!/^[\x21-\x7e]+$/.test(token))
    throw refuse('The token is empty, or has white space or characters outside ASCII in it.')
  return token
}

// ---- what proves that it is its owner's

/** The thumbprint for which a DPoP proof is due, if the token is bound to a key. @throws unauthenticated for a binding that is not kept */
const boundTo = (caller: Caller, issuer: Issuer, shown: Shown, call: Call, settings: Settings): string | undefined => {
  const refuse = refusing(settings, shown.scheme, 'invalid_token')
  const { cnf } = caller.claims
  if (cnf !== undefined && (cnf === null || typeof cnf !== 'object' || Array.isArray(cnf)))
    throw refuse("The token's cnf is not an object.")
  const { jkt, 'x5t#S256': thumbprint, ...others } = (cnf ?? {}) as { readonly [method: string]: unknown }
  // RFC 7800 §3.1: what is not understood of a binding cannot be kept.
  if (cnf !== undefined && (Object.keys(others).length > 0 || (jkt === undefined && thumbprint === undefined)))
    throw refuse('The token is bound to a key in a way that cannot be proven here (cnf).')
  if (thumbprint !== undefined && (typeof thumbprint !== 'string' || thumbprint !== call.clientCertificate))
    throw refuse('The token is bound to a client certificate that this connection does not show (cnf x5t#S256).')
  // RFC 9449 §7.2: never as Bearer, whatever the entry says.
  const refuseUnproven = refusing(settings, 'DPoP', 'invalid_token')
  if (jkt !== undefined && (typeof jkt !== 'string' || shown.scheme !== 'DPoP'))
    throw refuseUnproven('The token is bound to a key: send it as "Authorization: DPoP <token>", with a proof.')
  if (jkt === undefined && shown.scheme === 'DPoP')
    throw refuse('The token is not bound to a key (cnf.jkt), so nothing proves whose it is.')
  if (issuer.dpop === 'required' && jkt === undefined)
    throw refuseUnproven('Tokens of this issuer have to be bound to a key (DPoP).')
  if (issuer.mtls === 'required' && thumbprint === undefined)
    throw refuse('Tokens of this issuer have to be bound to a client certificate (cnf x5t#S256).')
  return jkt
}

// Callers of an upstream with a host of its own write that host, everybody else writes the gate's.
const originOf = (call: Call, upstream: Upstream | undefined, { gate }: Settings): string => {
  const host = valuesOf(call, 'host')[0]
  if (upstream === undefined || 'prefix' in upstream.at || host === undefined) return new URL(gate.url).origin
  return URL.parse(`${new URL(gate.url).protocol}//${host}`)?.origin ?? ''
}

/** Is it still the same caller, with the same people behind? What else is said of them now is for the rules to judge. */
const sameCaller = (one: Caller, other: Caller): boolean => {
  const who = ({ issuer, directory, subject, person, client, email, owner, actors }: Caller): string =>
    JSON.stringify([issuer, directory, subject, person, client, email, owner, actors])
  return who(one) === who(other)
}

// ---- how it is refused

const metadataOf = ({ gate }: Settings): string =>
  `resource_metadata="${gate.url}/.well-known/oauth-protected-resource"`

const dpopHint = `algs="${proofAlgorithms.join(' ')}"`

const refusing =
  (settings: Settings, scheme: Scheme, error: 'invalid_token' | 'invalid_dpop_proof'): Refuse =>
  (detail, cause, retryAfterS) => {
    const hint = scheme === 'DPoP' ? `, ${dpopHint}` : ''
    return new HoldpointError('unauthenticated', detail, {
      cause,
      headers: { 'WWW-Authenticate': `${scheme} error="${error}"${hint}, ${metadataOf(settings)}` },
      ...(retryAfterS === undefined ? {} : { retryAfterS }),
    })
  }

// RFC 6750 §3.1: whoever showed nothing is told where to ask, and of no error.
const unshown = (settings: Settings, tokenHeader: string | undefined): HoldpointError => {
  const bearer = `Bearer ${metadataOf(settings)}`
  const bound = settings.issuers.some(({ dpop }) => dpop === 'required')
  const elsewhere = tokenHeader === undefined ? '' : `, or in ${tokenHeader}`
  return new HoldpointError('unauthenticated', `Send an access token as "Authorization: Bearer <token>"${elsewhere}.`, {
    headers: { 'WWW-Authenticate': bound ? `${bearer}, DPoP ${dpopHint}, ${metadataOf(settings)}` : bearer },
  })
}
