// An issuer's public keys: found by discovery or by `jwksUri`, fetched without redirects and within bounds, kept while the issuer is down.
// An unknown key id makes us look again, but not more often than the cool-down, so a flood of forged ids costs the issuer nothing.
import type { JSONWebKeySet, JWK } from 'jose'
import type { Issuer } from './settings.ts'

const freshMs = 10 * 60_000
const staleMs = 24 * 3600_000
const cooldownMs = 30_000
const timeoutMs = 5_000
const maxBytes = 512 * 1024
const maxKeys = 100

export type IssuerKeys = {
  /** The keys to try first. Throws when there have never been any, or none for 24 h. */
  current(): Promise<JSONWebKeySet>
  /** A newer set than the one given, or undefined if there is none or it is too soon to ask. */
  newer(than: JSONWebKeySet): Promise<JSONWebKeySet | undefined>
  /** Why the issuer cannot be asked at present, if so. */
  trouble(): string | undefined
}

type Fetch = (url: string) => Promise<unknown>

/** @param fetchJson for tests of this file only; the real one is bounded in time and size and follows no redirect. */
export const issuerKeys = (
  issuer: Pick<Issuer, 'issuer' | 'jwksUri'>,
  clock: () => number,
  fetchJson: Fetch = boundedJson,
): IssuerKeys => {
  let set: JSONWebKeySet | undefined
  let fetchedAt = Number.NEGATIVE_INFINITY
  let askedAt = Number.NEGATIVE_INFINITY
  let why: string | undefined
  let underWay: Promise<void> | undefined

  const ask = async (): Promise<void> => {
    askedAt = clock()
    try {
      const uri = issuer.jwksUri ?? (await discovered(issuer.issuer, fetchJson))
      set = usable(await fetchJson(uri))
      fetchedAt = clock()
      why = undefined
    } catch (error) {
      why = error instanceof Error ? error.message : String(error)
      if (set === undefined || clock() - fetchedAt > staleMs) throw error
    }
  }
  const once = (): Promise<void> => {
    underWay ??= ask().finally(() => {
      underWay = undefined
    })
    return underWay
  }

  return {
    trouble: () => why,
    async current() {
      if (set === undefined || clock() - fetchedAt > staleMs) {
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
      if (clock() - askedAt < cooldownMs && underWay === undefined) return undefined
      await once().catch(() => undefined)
      return set === than ? undefined : set
    },
  }
}

const discovered = async (issuer: string, fetchJson: Fetch): Promise<string> => {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const found = (await fetchJson(url)) as { issuer?: unknown; jwks_uri?: unknown }
  if (found?.issuer !== issuer) throw new Error('its discovery document names another issuer')
  if (typeof found.jwks_uri !== 'string' || !safeUrl(found.jwks_uri))
    throw new Error('its discovery document has no usable jwks_uri')
  return found.jwks_uri
}

/** Keys come over https, or from this very machine. */
export const safeUrl = (text: string): boolean => {
  const url = URL.parse(text)
  if (url === null) return false
  return (
    url.protocol === 'https:' || (url.protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname))
  )
}

// Weak keys verify anything their finder likes (facts J7); symmetric ones have no place in a public set (J2).
const usable = (found: unknown): JSONWebKeySet => {
  const keys = (found as { keys?: unknown })?.keys
  if (!Array.isArray(keys)) throw new Error('its key set has no keys')
  if (keys.length > maxKeys) throw new Error(`its key set has more than ${maxKeys} keys`)
  return { keys: (keys as JWK[]).filter(strong) }
}

const strong = (key: JWK): boolean => {
  if (key === null || typeof key !== 'object' || (key.use !== undefined && key.use !== 'sig')) return false
  if (key.kty === 'EC' || key.kty === 'OKP') return true
  if (key.kty !== 'RSA' || typeof key.n !== 'string' || typeof key.e !== 'string') return false
  const exponent = Buffer.from(key.e, 'base64url')
  const modulus = Buffer.from(key.n, 'base64url')
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24
  const odd = ((exponent.at(-1) ?? 0) & 1) === 1
  return bits >= 2048 && odd && exponent.length <= 8 && BigInt(`0x${exponent.toString('hex') || '0'}`) >= 65537n
}

const boundedJson: Fetch = async url => {
  const response = await fetch(url, {
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
    headers: { accept: 'application/json' },
  })
  if (!response.ok) throw new Error(`it answered ${response.status}`)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > maxBytes) throw new Error('its answer is larger than 512 KiB')
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
}
