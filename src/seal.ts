// The key ring: everything the store keeps is sealed (AES-256-GCM) or signed (HMAC-SHA-256) with it.
// Keys are `id:base64` with 32 bytes each; the first one seals and signs, all of them open and verify. Each use has its own derived key.
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'

export type KeyRing = {
  /** Seals `plain`; `place` (hold id and field) is authenticated with it. What comes out may stand in an address as it is. */
  seal(plain: Uint8Array | string, place: string): string
  /** Opens what was sealed at the same place; throws if it was not sealed here, there, or with a known key. */
  open(sealed: string, place: string): Buffer
  /** `payload` with an HMAC in front: readable, but not forgeable. */
  sign(payload: string, place: string): string
  /** The payload of a signed text, or undefined if the signature is not ours. */
  verify(signed: string, place: string): string | undefined
  /** Keyed hashes of a text for looking it up, one per key, newest first. */
  fingerprints(text: string | Uint8Array, purpose: string): readonly string[]
  readonly ids: readonly string[]
}

type Key = {
  readonly id: string
  readonly sealing: KeyObject
  readonly signing: KeyObject
  readonly finding: KeyObject
}

// Drawn for many uses at once: each drawing by itself takes longer than sealing. What was handed out is never handed out again.
let drawn = Buffer.alloc(0)

/** So many random bytes. */
export const random = (bytes: number): Buffer => {
  if (drawn.length < bytes) drawn = randomBytes(Math.max(4096, bytes))
  const taken = drawn.subarray(0, bytes)
  drawn = drawn.subarray(bytes)
  return taken
}

// A key object is made once; plain bytes would be made into one at every use.
const derive = (secret: Buffer, use: string): KeyObject =>
  createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', `holdpoint ${use} v1`, 32)))

/** A fresh key in the form the configuration takes. */
export const newKey = (id: string): string => `${id}:${randomBytes(32).toString('base64')}`

/**
 * Reads `id:base64` keys separated by white space or commas, first one newest.
 * Throws an Error that says which key is wrong, without showing it.
 */
export const keyRing = (text: string): KeyRing => {
  const keys: Key[] = []
  for (const [index, part] of text
    .split(/[\s,]+/)
    .filter(Boolean)
    .entries()) {
    const colon = part.indexOf(':')
    const id = part.slice(0, colon)
    if (colon < 1 || !/^[A-Za-z0-9_-]{1,32}$/.test(id))
      throw new Error(`key ${index + 1} is not "id:base64" (an id of letters, digits, - or _)`)
    const secret = Buffer.from(part.slice(colon + 1), 'base64')
    if (secret.length !== 32)
      throw new Error(`key "${id}" has ${secret.length} bytes; 32 are needed (openssl rand -base64 32)`)
    if (keys.some(key => key.id === id)) throw new Error(`key id "${id}" is given twice`)
    keys.push({
      id,
      sealing: derive(secret, 'sealing'),
      signing: derive(secret, 'signing'),
      finding: derive(secret, 'finding'),
    })
  }
  const newest = keys[0]
  if (newest === undefined) throw new Error('there is no key: give at least one as "id:base64"')
  const byId = (id: string): Key | undefined => keys.find(key => key.id === id)
  const mac = (key: Key, payload: string, place: string): Buffer =>
    createHmac('sha256', key.signing)
      .update(`${Buffer.byteLength(place)}:${place}`)
      .update(payload)
      .digest()

  return {
    ids: keys.map(key => key.id),
    seal(plain, place) {
      const iv = random(12)
      const cipher = createCipheriv('aes-256-gcm', newest.sealing, iv).setAAD(Buffer.from(place))
      const body = Buffer.concat([cipher.update(plain), cipher.final()])
      return `${newest.id}.${Buffer.concat([iv, cipher.getAuthTag(), body]).toString('base64url')}`
    },
    open(sealed, place) {
      const dot = sealed.indexOf('.')
      const key = byId(sealed.slice(0, dot))
      if (key === undefined) throw new Error('sealed with a key that is not in the ring')
      const bytes = Buffer.from(sealed.slice(dot + 1), 'base64')
      const decipher = createDecipheriv('aes-256-gcm', key.sealing, bytes.subarray(0, 12), {
        authTagLength: 16,
      }).setAAD(Buffer.from(place))
      decipher.setAuthTag(bytes.subarray(12, 28))
      return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()])
    },
    sign(payload, place) {
      return `${newest.id}.${mac(newest, payload, place).toString('base64url')}.${payload}`
    },
    verify(signed, place) {
      const [id = '', signature = ''] = signed.split('.', 2)
      const key = byId(id)
      if (key === undefined) return undefined
      const payload = signed.slice(id.length + signature.length + 2)
      const given = Buffer.from(signature, 'base64url')
      const wanted = mac(key, payload, place)
      return given.length === wanted.length && timingSafeEqual(given, wanted) ? payload : undefined
    },
    fingerprints(text, purpose) {
      return keys.map(key =>
        createHmac('sha256', key.finding)
          .update(`${Buffer.byteLength(purpose)}:${purpose}`)
          .update(text)
          .digest('base64url'),
      )
    },
  }
}
