// A proof that whoever sends a bound token holds its key (DPoP, RFC 9449 §4.3): for this method and address, made now, used once.
// Nothing of a proof is believed before its signature, and nothing is written down before everything else is right.
import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, EmbeddedJWK, type JWK, jwtVerify } from 'jose'
import { strong } from './issuer-keys.ts'
import { parseTarget } from './target.ts'
import { asymmetric, type Claims, type Refuse, readToken, skewS } from './token.ts'

/** What proofs may be signed with. */
export const proofAlgorithms: readonly string[] = asymmetric
/** A proof is good for this long before and after the moment it names, so that clocks may differ. */
const windowS = skewS

export type Asked = {
  readonly method: string
  /** `https://host[:port]`, as callers write it. */
  readonly origin: string
  /** Canonical, without query. */
  readonly path: string
}

/** Notes a proof for `ttlMs`; false if it was there already. */
export type FirstSeen = (key: string, ttlMs: number) => Promise<boolean>

/**
 * Checks the proof that came with a token.
 * @param jkt thumbprint of the key the token is bound to
 * @throws what `refuse` makes of a proof that is not good; whatever `firstSeen` throws
 */
export const checkProof = async (
  proof: string,
  token: string,
  jkt: string,
  asked: Asked,
  now: number,
  firstSeen: FirstSeen,
  refuse: Refuse,
): Promise<void> => {
  const { header, claims } = readToken(proof, detail => refuse(`The DPoP proof is not one: ${detail}`))
  if (header.typ !== 'dpop+jwt') throw refuse("The DPoP proof's typ is not dpop+jwt.")
  if (!strong(header.jwk as JWK)) throw refuse("The DPoP proof's jwk is not a public key that can be relied on.")
  try {
    await jwtVerify(proof, EmbeddedJWK, { algorithms: [...proofAlgorithms], currentDate: new Date(now) })
  } catch (cause) {
    throw refuse("The DPoP proof's signature or form is not valid.", cause)
  }
  if ((await calculateJwkThumbprint(header.jwk as JWK, 'sha256')) !== jkt)
    throw refuse('The DPoP proof is made with another key than the one the token is bound to.')
  if (claims.ath !== createHash('sha256').update(token).digest('base64url'))
    throw refuse('The DPoP proof is for another token (ath).')
  if (claims.htm !== asked.method) throw refuse('The DPoP proof is for another method (htm).')
  if (!isFor(claims.htu, asked)) throw refuse(`The DPoP proof is for another address (htu); ours is ${asked.origin}.`)
  const { iat } = claims
  if (typeof iat !== 'number' || Math.abs(iat - now / 1000) > windowS)
    throw refuse(`The DPoP proof was not made within the last ${windowS} s (iat).`)
  await refuseAgain(claims, jkt, firstSeen, refuse)
}

// RFC 9449 §4.3: compared after normalisation (RFC 3986 §6.2.2), ignoring query and fragment.
const isFor = (htu: Claims[string] | undefined, { origin, path }: Asked): boolean => {
  if (typeof htu !== 'string') return false
  const [, base = '', rest = ''] = /^(https?:\/\/[^/?#@\\]+)([^?#]*)/i.exec(htu) ?? []
  if (URL.parse(base)?.origin !== origin) return false
  try {
    return parseTarget(rest === '' ? '/' : rest).path === path
  } catch {
    return false
  }
}

const refuseAgain = async ({ jti }: Claims, jkt: string, firstSeen: FirstSeen, refuse: Refuse): Promise<void> => {
  if (typeof jti !== 'string' || jti === '') throw refuse('The DPoP proof has no jti.')
  const key = createHash('sha256').update(`${jkt} ${jti}`).digest('base64url')
  // Twice the window, and a little for the store's clock.
  if (!(await firstSeen(key, 3 * windowS * 1000))) throw refuse('The DPoP proof was used before (jti). Make a new one.')
}
