// The key ring: what is sealed or signed with it cannot be read, forged, moved to another place or used for another purpose.
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { keyRing, newKey, random } from '../src/seal.ts'

const first = newKey('first')
const second = newKey('second')
const ring = keyRing(first)
/** After a rotation: the second key is the newest, the first one still opens. */
const rotated = keyRing(`${second} ${first}`)
const stranger = keyRing(newKey('first'))

describe('the text of a ring', () => {
  test('takes keys separated by white space or commas, the newest first', () => {
    expect(keyRing(` ${second},\n\t${first} `).ids).toEqual(['second', 'first'])
    expect(newKey('k')).toMatch(/^k:[A-Za-z0-9+/]{43}=$/)
    expect(newKey('k')).not.toBe(newKey('k'))
  })

  const short = randomBytes(31).toString('base64')
  const long = randomBytes(33).toString('base64')
  test.each([
    ['', 'there is no key'],
    [' ,\n', 'there is no key'],
    ['secretsecret', 'key 1 is not "id:base64"'],
    [`:${short}`, 'key 1 is not "id:base64"'],
    [`a.b:${short}`, 'key 1 is not "id:base64"'],
    [`${first},a b:${short}`, 'key 2 is not "id:base64"'],
    [`k:${short}`, 'key "k" has 31 bytes; 32 are needed'],
    [`k:${long}`, 'key "k" has 33 bytes; 32 are needed'],
    ['k:', 'key "k" has 0 bytes; 32 are needed'],
    [`${first} ${newKey('first')}`, 'key id "first" is given twice'],
  ])('%j is refused: %s', (text, why) => {
    expect(() => keyRing(text)).toThrow(why)
    expect(() => keyRing(text)).not.toThrow(/secretsecret/)
    expect(() => keyRing(text)).not.toThrow(short)
  })
})

describe('sealed', () => {
  test.each([['text'], [''], ['ünï 🙂 \u0000'], ['x'.repeat(100_000)]])('opens where it was sealed', plain => {
    const sealed = ring.seal(plain, 'hold 1 request')
    expect(ring.open(sealed, 'hold 1 request').toString()).toBe(plain)
    expect(sealed).toMatch(/^first\.[\w-]+$/)
    if (plain.length > 3) expect(sealed).not.toContain(plain)
  })

  test('bytes stay bytes, and the same plain text never looks the same', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
    expect(new Uint8Array(ring.open(ring.seal(bytes, 'p'), 'p'))).toEqual(bytes)
    expect(new Set(Array.from({ length: 100 }, () => ring.seal('same', 'p'))).size).toBe(100)
  })

  test('does not open in another place, or with another key of the same name', () => {
    const sealed = ring.seal('text', 'hold 1 request')
    for (const place of ['hold 2 request', 'hold 1 answer', '', 'hold 1 request '])
      expect(() => ring.open(sealed, place)).toThrow()
    expect(() => stranger.open(sealed, 'hold 1 request')).toThrow()
  })

  test('does not open if any byte of it was changed, or some are missing', () => {
    const bytes = Buffer.from(ring.seal('text', 'p').slice('first.'.length), 'base64')
    for (let index = 0; index < bytes.length; index++) {
      const changed = Buffer.from(bytes)
      changed[index] = (changed[index] ?? 0) ^ 1
      expect(() => ring.open(`first.${changed.toString('base64')}`, 'p'), `byte ${index}`).toThrow()
      expect(() => ring.open(`first.${bytes.subarray(0, index).toString('base64')}`, 'p'), `${index} bytes`).toThrow()
    }
  })

  test('after a rotation the newest key seals and every key opens; a key that was taken out opens no more', () => {
    expect(rotated.seal('text', 'p')).toMatch(/^second\./)
    expect(rotated.open(ring.seal('text', 'p'), 'p').toString()).toBe('text')
    expect(() => ring.open(rotated.seal('text', 'p'), 'p')).toThrow('not in the ring')
    for (const text of ['', '.', 'first', 'first.', 'nobody.AAAA', 'AAAA']) expect(() => ring.open(text, 'p')).toThrow()
  })
})

describe('signed', () => {
  const place = 'hold 1 head'

  test.each([['{"id":"1"}'], [''], ['a.b.c'], ['ünï 🙂']])(
    '%j can be read, and is verified where it was signed',
    payload => {
      const signed = ring.sign(payload, place)
      expect(signed.endsWith(`.${payload}`)).toBe(true)
      expect(ring.verify(signed, place)).toBe(payload)
      expect(rotated.verify(signed, place)).toBe(payload)
    },
  )

  test('is not ours in another place, with another payload, another signature or another key', () => {
    const signed = ring.sign('payload', place)
    const [id, signature = ''] = signed.split('.')
    const other = ring.sign('other', place).split('.')[1]
    for (const forged of [
      `${id}.${signature}.payloaD`,
      `${id}.${signature}.payload.`,
      `${id}.${signature}.`,
      `${id}.${other}.payload`,
      `${id}..payload`,
      `${id}.${signature.slice(0, -2)}.payload`,
      `${id}.${signature}AAAA.payload`,
      `second.${signature}.payload`,
      'payload',
      '',
      '..',
    ]) {
      expect(ring.verify(forged, place), forged).toBeUndefined()
      expect(rotated.verify(forged, place), forged).toBeUndefined()
    }
    expect(ring.verify(signed, 'hold 2 head')).toBeUndefined()
    expect(stranger.verify(signed, place)).toBeUndefined()
    expect(ring.verify(rotated.sign('payload', place), place)).toBeUndefined()
  })

  test('a signature does not move between place and payload', () => {
    const [id, signature] = ring.sign('bc', 'a').split('.')
    expect(ring.verify(`${id}.${signature}.c`, 'ab')).toBeUndefined()
    const [, tricky] = ring.sign('1:bc', 'a').split('.')
    expect(ring.verify(`${id}.${tricky}.c`, 'a1:b')).toBeUndefined()
  })
})

describe('fingerprints', () => {
  test('are the same for the same text, purpose and key, one per key, the newest first', () => {
    const [old] = ring.fingerprints('text', 'digest')
    expect(ring.fingerprints(Buffer.from('text'), 'digest')).toEqual([old])
    const both = rotated.fingerprints('text', 'digest')
    expect(both).toHaveLength(2)
    expect(both[1]).toBe(old)
    expect(both[0]).not.toBe(old)
  })

  test('differ by text, purpose and key, and are no signature', () => {
    const all = [
      ...ring.fingerprints('text', 'digest'),
      ...ring.fingerprints('texT', 'digest'),
      ...ring.fingerprints('text', 'caller'),
      ...ring.fingerprints('ttext', 'diges'),
      ...ring.fingerprints('', '6:digesttext'),
      ...stranger.fingerprints('text', 'digest'),
      ring.sign('text', 'digest').split('.')[1],
    ]
    expect(new Set(all).size).toBe(all.length)
  })
})

describe('random bytes', () => {
  test('are as many as were asked for, and never handed out twice', () => {
    const drawn = Array.from({ length: 2_000 }, (_, index) => random(12 + (index % 7)))
    expect(drawn.every((bytes, index) => bytes.length === 12 + (index % 7))).toBe(true)
    expect(new Set(drawn.map(bytes => bytes.subarray(0, 12).toString('hex'))).size).toBe(drawn.length)
    expect(random(10_000)).toHaveLength(10_000)
  })
})
