// Says to the upstream what passed the gate: a short-lived ES256 JWT (RFC 7519, RFC 7515) beside the credential. Its keys are those of
// the configuration, or are made once, sealed, and shared by every replica through the store; what has been fetched stays in use while
// the store is away. A key is published before it signs and for a while afterwards, so that nobody who keeps a copy of the set is late.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { HoldpointError } from './errors.ts'
import type { Caller, Header } from './nouns.ts'
import type { KeyRing } from './seal.ts'
import type { Shelf } from './store/store.ts'

const livesS = 60
/** For this long the assertion of an allowed call is used again for the same caller, upstream and rule. */
const keptMs = 30_000
const keptMax = 10_000
const shelfKey = 'assertion-keys'
/** How often the set is read again, how long a made key signs, and how long before and after that it is published. */
const refreshMs = 60_000
const signsMs = 30 * 24 * 3600_000
const publishedMs = 3600_000
const triesMax = 5

/** `from`: when it begins to sign; a key signs until a later one begins. */
type SigningKey = { readonly key: KeyObject; readonly kid: string; readonly from: number }

export type PublicKeys = { readonly keys: readonly object[] }

/** What is asserted of every call. */
export type Passed = {
  /** The gate's url. */
  readonly issuer: string
  /** The upstream's name. */
  readonly audience: string
  readonly caller: Caller
  readonly rule: string
}

/** What is asserted of a held call as well. */
export type Approved = {
  readonly hold: string
  readonly approvers: readonly { readonly login: string; readonly subject: string }[]
  readonly method: string
  /** As the upstream receives it. */
  readonly target: string
  readonly body: Uint8Array
}

export type Assertions = {
  /** @param keys `gate.assertionKey` @throws store_unavailable if there was never a key */
  held(keys: string | undefined, passed: Passed, approved: Approved): Promise<Header>
  /** Without method, target and body: one for all calls of a caller under a rule, for a while. */
  allowed(keys: string | undefined, passed: Passed): Promise<Header>
  /** The JWK set for `/.holdpoint/jwks.json`. */
  publicKeys(keys: string | undefined): Promise<PublicKeys>
}

/**
 * The keys of a PEM text, first one first.
 * @throws an Error that says which one is no EC P-256 private key, without showing it
 */
export const pemKeys = (text: string): readonly KeyObject[] => {
  const blocks = text.match(/-----BEGIN [A-Z ]+-----[\s\S]*?-----END [A-Z ]+-----/g) ?? []
  if (blocks.length === 0) throw new Error('there is no key in PEM')
  return blocks.map((block, index) => {
    let key: KeyObject | undefined
    try {
      key = createPrivateKey(block)
    } catch {
      // Said below, without the text.
    }
    if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
      throw new Error(`key ${index + 1} is no EC P-256 private key (openssl ecparam -name prime256v1 -genkey -noout)`)
    return key
  })
}

export const assertions = (parts: {
  readonly shelf: Shelf
  readonly keys: KeyRing
  readonly clock: () => number
}): Assertions => {
  const { shelf, keys: ring, clock } = parts
  const configured = new Map<string, readonly SigningKey[]>()
  let made: { readonly keys: readonly SigningKey[]; readonly readAt: number } | undefined
  let reading: Promise<readonly SigningKey[]> | undefined
  const kept = new Map<string, { readonly token: string; readonly untilAt: number }>()

  const keysOf = async (text: string | undefined): Promise<readonly SigningKey[]> => {
    if (text === undefined) return madeKeys()
    let known = configured.get(text)
    if (known === undefined) {
      // The first one signs; nothing is known of when.
      known = pemKeys(text).map((key, index) => ({ key, kid: kidOf(key), from: -index }))
      configured.clear()
      configured.set(text, known)
    }
    return known
  }

  const madeKeys = async (): Promise<readonly SigningKey[]> => {
    if (made !== undefined && clock() - made.readAt < refreshMs) return made.keys
    reading ??= fromShelf().finally(() => {
      reading = undefined
    })
    try {
      made = { keys: await reading, readAt: clock() }
    } catch (error) {
      if (made === undefined) throw error
      made = { keys: made.keys, readAt: clock() }
    }
    return made.keys
  }

  /** The set of all replicas, after adding to it what is due. */
  const fromShelf = async (): Promise<readonly SigningKey[]> => {
    for (let tries = 0; tries < triesMax; tries++) {
      const sealed = await shelf.get(shelfKey)
      const now = sealed === undefined ? [] : opened(ring, sealed)
      const next = rotated(now, clock())
      if (next === now) return now
      const text = JSON.stringify(next.map(({ key, from }) => ({ from, pem: pemOf(key) })))
      const stored = await shelf.put(shelfKey, ring.seal(text, shelfKey), {
        when: sealed === undefined ? 'absent' : { is: sealed },
      })
      if (stored) return next
    }
    throw new HoldpointError('store_unavailable', 'Other replicas change the keys of assertions at the same time.')
  }

  const signed = async (text: string | undefined, claims: object): Promise<string> => {
    const { key, kid } = signer(await keysOf(text), clock())
    const now = Math.floor(clock() / 1000)
    const payload = { ...claims, iat: now, exp: now + livesS, jti: randomBytes(16).toString('base64url') }
    const input = `${json64({ alg: 'ES256', typ: 'JWT', kid })}.${json64(payload)}`
    // RFC 7518 §3.4: the two numbers of the signature, one after the other.
    const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
    return `${input}.${signature.toString('base64url')}`
  }

  return {
    async held(text, passed, { hold, approvers, method, target, body }) {
      const sha256 = createHash('sha256').update(body).digest('base64url')
      return header(await signed(text, { ...claimsOf(passed), hold, approvers, method, target, body_sha256: sha256 }))
    },
    async allowed(text, passed) {
      const claims = claimsOf(passed)
      const about = JSON.stringify([text, claims])
      const known = kept.get(about)
      if (known !== undefined && clock() < known.untilAt) return header(known.token)
      const token = await signed(text, claims)
      if (kept.size >= keptMax) kept.clear()
      kept.set(about, { token, untilAt: clock() + keptMs })
      return header(token)
    },
    async publicKeys(text) {
      const all = await keysOf(text)
      return {
        keys: all.map(({ key, kid }) => ({ ...jwkOf(key), kid, alg: 'ES256', use: 'sig' })),
      }
    },
  }
}

const header = (token: string): Header => ['Holdpoint-Assertion', token]

const json64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

const claimsOf = ({ issuer, audience, caller, rule }: Passed): object => ({
  iss: issuer,
  aud: audience,
  sub: caller.subject,
  caller: {
    issuer: caller.issuer,
    subject: caller.subject,
    kind: caller.kind,
    ...(caller.client === undefined ? {} : { client: caller.client }),
    ...(caller.owner === undefined ? {} : { owner: caller.owner }),
  },
  ...actOf(caller.actors),
  rule,
})

/** RFC 8693 §4.1: the current actor outside, those before it inside. */
const actOf = ([actor, ...before]: Caller['actors']): object => {
  if (actor === undefined) return {}
  const { issuer: iss, subject: sub, client } = actor
  return { act: { iss, sub, ...(client === undefined ? {} : { client_id: client }), ...actOf(before) } }
}

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string

const jwkOf = (key: KeyObject): object => {
  const { kty, crv, x, y } = createPublicKey(pemOf(key)).export({ format: 'jwk' })
  return { kty, crv, x, y }
}

/** RFC 7638. */
const kidOf = (key: KeyObject): string => {
  const { crv, kty, x, y } = jwkOf(key) as { readonly [name: string]: string }
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
}

/** The key whose time began last, or will begin first. */
const signer = (keys: readonly SigningKey[], now: number): SigningKey => {
  const begun = keys.filter(({ from }) => from <= now).sort((one, other) => other.from - one.from)
  const key = begun[0] ?? [...keys].sort((one, other) => one.from - other.from)[0]
  if (key === undefined)
    throw new HoldpointError('internal', undefined, { cause: new Error('there is no assertion key') })
  return key
}

/** The set as it has to be now; the same object if nothing is due. */
const rotated = (keys: readonly SigningKey[], now: number): readonly SigningKey[] => {
  const newest = keys.reduce((latest, { from }) => Math.max(latest, from), Number.NEGATIVE_INFINITY)
  const current = keys.length === 0 ? undefined : signer(keys, now)
  const needed = keys.filter(key => key === current || key.from > now || (current?.from ?? 0) + publishedMs > now)
  const due = newest + signsMs - publishedMs <= now
  if (!due) return needed.length === keys.length ? keys : needed
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const from = keys.length === 0 ? now : now + publishedMs
  return [...needed, { key: privateKey, kid: kidOf(privateKey), from }]
}

const opened = (ring: KeyRing, sealed: string): readonly SigningKey[] => {
  const stored = JSON.parse(ring.open(sealed, shelfKey).toString('utf8')) as readonly {
    readonly from: number
    readonly pem: string
  }[]
  return stored.map(({ from, pem }) => {
    const key = createPrivateKey(pem)
    return { key, kid: kidOf(key), from }
  })
}
