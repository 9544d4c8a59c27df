// An issuer's public keys: found by discovery or by `jwksUri`, fetched without redirects and within bounds, kept while the issuer is down.
// An unknown key id makes us look again at once, but only once in the cool-down: a rotation is followed as it happens, and a flood of
// forged ids costs the issuer nothing.
import type { JSONWebKeySet, JWK } from 'jose'
import { ask, safeUrl } from './ask.ts'

const freshMs = 10 * 60_000
const staleMs = 24 * 3600_000
const cooldownMs = 30_000
const maxBytes = 512 * 1024
const maxKeys = 100

/** Where an issuer's keys are, and how it is asked for them. */
export type KeySource = {
  readonly issuer: string
  readonly jwksUri?: string | undefined
  /** Where its discovery document is, if not below its name. */
  readonly metadataUrl?: string | undefined
  readonly caFile?: string | undefined
  readonly bearerTokenFile?: string | undefined
  /** For how long keys serve that cannot be fetched anew, counted from when they were fetched; 24 h unless it says less. */
  readonly staleForMs?: number | undefined
}

export type IssuerKeys = {
  /** The keys to try first. Throws when there have never been any, or none for too long. */
  current(): Promise<JSONWebKeySet>
  /** A newer set than the one given, or undefined if there is none or it is too soon to ask. */
  newer(than: JSONWebKeySet): Promise<JSONWebKeySet | undefined>
  /** Changes with every set of keys; what was verified before a change has to be verified again. */
  edition(): number
  /** May what was verified in this edition still count unlooked at? Not once its keys are due, unless they were asked for a moment ago. */
  stands(edition: number): boolean
  /** Why the issuer cannot be asked at present, if so. */
  trouble(): string | undefined
}

export const issuerKeys = (source: KeySource, clock: () => number): IssuerKeys => {
  const keptMs = Math.max(freshMs, source.staleForMs ?? staleMs)
  let set: JSONWebKeySet | undefined
  let fetchedAt = Number.NEGATIVE_INFINITY
  let askedAt = Number.NEGATIVE_INFINITY
  let lookedAt = Number.NEGATIVE_INFINITY
  let edition = 0
  let why: string | undefined
  let underWay: Promise<void> | undefined
  const tooOld = (): boolean => clock() - fetchedAt > keptMs

  const fetched = async (): Promise<void> => {
    askedAt = clock()
    try {
      set = usable(await keysOf(source))
      fetchedAt = clock()
      edition += 1
      why = undefined
    } catch (error) {
      why = error instanceof Error ? error.message : String(error)
      if (set === undefined || tooOld()) throw error
    }
  }
  const once = (): Promise<void> => {
    underWay ??= fetched().finally(() => {
      underWay = undefined
    })
    return underWay
  }

  return {
    edition: () => edition,
    stands: other =>
      other === edition && (clock() - fetchedAt <= freshMs || (clock() - askedAt <= cooldownMs && !tooOld())),
    trouble: () =>
      why === undefined || set === undefined
        ? why
        : `${why}; its last keys ${tooOld() ? 'served' : 'serve'} until ${new Date(fetchedAt + keptMs).toISOString()}`,
    async current() {
      if (set === undefined || tooOld()) {
        // Without any keys a failed attempt rests as well: an issuer that is down is not asked for every call.
        if (why !== undefined && clock() - askedAt < 1_000 && underWay === undefined) throw new Error(why)
        await once()
      } else if (clock() - fetchedAt > freshMs && clock() - askedAt > cooldownMs) {
        // The old keys serve while new ones are fetched; `trouble` tells if they cannot be.
        once().catch(() => undefined)
      }
      if (set === undefined) throw new Error(why ?? 'no keys')
      return set
    },
    async newer(than) {
      if (set !== than) return set
      if (clock() - lookedAt < cooldownMs && underWay === undefined) return undefined
      lookedAt = clock()
      await once().catch(() => undefined)
      return set === than ? undefined : set
    },
  }
}

// Our token for the issuer goes to the issuer, and to the place of its keys that configuration names: never where a document points to.
const keysOf = async ({ issuer, jwksUri, metadataUrl, caFile, bearerTokenFile }: KeySource): Promise<unknown> => {
  const how = { limit: maxBytes, caFile, bearerTokenFile }
  if (jwksUri !== undefined) return ask(jwksUri, how)
  const place = metadataUrl ?? `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const found = (await ask(place, how)) as {
    readonly issuer?: unknown
    readonly jwks_uri?: unknown
  } | null
  if (found?.issuer !== issuer) throw new Error('its discovery document names another issuer')
  const uri = found.jwks_uri
  if (typeof uri !== 'string' || !safeUrl(uri)) throw new Error('its discovery document has no usable jwks_uri')
  if (bearerTokenFile === undefined || new URL(uri).origin === new URL(issuer).origin) return ask(uri, how)
  try {
    return await ask(uri, { limit: maxBytes, caFile })
  } catch (cause) {
    throw new Error(
      `${(cause as Error).message} at ${new URL(uri).origin}, which is not the issuer's and so gets no token; say jwksUri`,
      { cause },
    )
  }
}

// Weak keys verify anything their finder likes (facts J7); symmetric ones have no place in a public set (J2).
const usable = (found: unknown): JSONWebKeySet => {
  const keys = (found as { keys?: unknown })?.keys
  if (!Array.isArray(keys)) throw new Error('its key set has no keys')
  if (keys.length > maxKeys) throw new Error(`its key set has more than ${maxKeys} keys`)
  return { keys: (keys as JWK[]).filter(strong) }
}

/** Is this a public key of a kind and a size that can be trusted to verify? One that shows its private part is no longer anybody's. */
export const strong = (key: JWK): boolean => {
  if (key === null || typeof key !== 'object' || (key.use !== undefined && key.use !== 'sig')) return false
  if (key.d !== undefined || key.k !== undefined) return false
  if (key.kty === 'EC' || key.kty === 'OKP') return true
  if (key.kty !== 'RSA' || typeof key.n !== 'string' || typeof key.e !== 'string') return false
  const modulus = number(key.n)
  const exponent = number(key.e)
  return modulus.bits >= 2048 && modulus.odd && exponent.odd && exponent.bits >= 17 && exponent.bits <= 64
}

// Zeros in front make a number longer, not larger. With 17 bits and an odd end an exponent is at least 65537.
const number = (text: string): { readonly bits: number; readonly odd: boolean } => {
  const bytes = Buffer.from(text, 'base64url')
  const first = bytes.findIndex(byte => byte !== 0)
  const bits = first < 0 ? 0 : (bytes.length - first) * 8 - Math.clz32(bytes[first] ?? 0) + 24
  return { bits, odd: ((bytes.at(-1) ?? 0) & 1) === 1 }
}
