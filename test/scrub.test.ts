// An upstream that says our credential back: it reaches nobody, wherever it stands and however it is cut.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { secretsIn } from '../src/credentials/credential.ts'
import type { Header } from '../src/nouns.ts'
import { scrubbed, scrubbedLines } from '../src/scrub.ts'
import { type Stage, startStage, upstreamKey } from './support/stage.ts'

/** @param told the last piece is announced as such */
const through = (chunks: readonly Buffer[], secrets: readonly string[], told = false) => {
  const out: Buffer[] = []
  const heads: unknown[] = []
  const sink = scrubbed(
    {
      head: (status: number, headers: readonly Header[], reason: string) => void heads.push([status, headers, reason]),
      data: (chunk: Buffer, _last?: boolean) => out.push(chunk) > 0,
      end: (trailers: readonly Header[]) => void heads.push(trailers),
    },
    secrets,
  )
  sink.head(200, [['X-Echo', `got ${secrets[0]}!`]], `OK ${secrets[0]}`)
  for (const [at, chunk] of chunks.entries()) sink.data(chunk, told && at === chunks.length - 1)
  sink.end([['X-Trailer', `${secrets[0]}`]])
  return { text: Buffer.concat(out).toString('latin1'), pieces: out.map(String), heads }
}

const secret = 'abcabcabd-key'

describe('bytes', () => {
  test('every cut in two gives the same', () => {
    const body = Buffer.from(`ab${secret}${secret}abcabc and ${secret.slice(0, -1)}`)
    const expected = body.toString().replaceAll(secret, '*'.repeat(secret.length))
    for (let at = 0; at <= body.length; at++)
      for (const told of [false, true])
        expect(through([body.subarray(0, at), body.subarray(at)], [secret], told).text).toBe(expected)
    expect(
      through(
        [...body].map(byte => Buffer.from([byte])),
        [secret],
      ).text,
    ).toBe(expected)
  })

  test('whatever stands around it, none comes through and the length stays', () => {
    const part = fc.oneof(fc.constant(secret), fc.constant('user:abcabcabd-key'), fc.stringMatching(/^[abcd-]{0,9}$/))
    fc.assert(
      fc.property(fc.array(part), fc.array(fc.nat(40)), (parts, cuts) => {
        const body = Buffer.from(parts.join(''))
        const places = [0, ...cuts.filter(cut => cut < body.length), body.length].sort((one, other) => one - other)
        const chunks = places.slice(1).map((end, index) => body.subarray(places[index], end))
        const { text } = through(chunks, [secret, `user:${secret}`])
        expect(text).toHaveLength(body.length)
        expect(text).not.toContain(secret)
        expect(text.replaceAll('*', '')).not.toContain('user:abcabcabd')
      }),
    )
  })

  test('one that repeats itself is covered wherever it overlaps, and little of it is kept back', () => {
    const same = 'a'.repeat(16)
    const { text, pieces } = through(Array(40).fill(Buffer.alloc(65_536, 'a')), [same])
    expect(text).toBe('*'.repeat(40 * 65_536))
    expect(pieces).toHaveLength(41)
    expect(through([Buffer.from('x'), Buffer.from(same), Buffer.from('aab')], [same]).text).toBe(`x${'*'.repeat(18)}b`)
  })

  test('what cannot be its beginning is not kept back', () => {
    expect(through([Buffer.from('data: 1\n\n'), Buffer.from('data: abc')], [secret]).pieces[0]).toBe('data: 1\n\n')
  })

  test('a body without it goes on as the very same bytes', () => {
    const sink = { head() {}, data: (chunk: Buffer) => chunk === body, end() {} }
    const body = Buffer.from('nothing here')
    expect(scrubbed(sink, [secret]).data(body)).toBe(true)
    expect(scrubbed(sink, ['short'])).toBe(sink)
  })
})

test('head, reason phrase and trailers', () => {
  const stars = '*'.repeat(secret.length)
  expect(through([], [secret]).heads).toEqual([
    [200, [['X-Echo', `got ${stars}!`]], `OK ${stars}`],
    [['X-Trailer', stars]],
  ])
  expect(scrubbedLines([['Sec-WebSocket-Protocol', secret]], [secret])).toEqual([['Sec-WebSocket-Protocol', stars]])
})

test.each<[string, readonly Header[], readonly string[]]>([
  ['a bearer token', [['Authorization', 'Bearer abc']], ['abc']],
  ['a password', [['Authorization', 'Basic dXNlcjpwYXNz']], ['dXNlcjpwYXNz', 'user:pass', 'pass']],
  [
    'a key in a header',
    [
      ['X-Api-Key', 'key'],
      ['X-Words', 'two words'],
    ],
    ['key', 'two words', 'words'],
  ],
  [
    'a session of AWS, but no signature',
    [
      ['Authorization', 'AWS4-HMAC-SHA256 Credential=A'],
      ['X-Amz-Security-Token', 's'],
    ],
    ['s'],
  ],
  [
    'nobody who is impersonated',
    [
      ['Impersonate-User', 'ana'],
      ['Host', 'h'],
      ['X-Amz-Date', 'd'],
    ],
    [],
  ],
])('secret is %s', (_, proof, secrets) => {
  expect(secretsIn(proof)).toEqual(secrets)
})

describe('through the gate', () => {
  let stage: Stage
  beforeAll(async () => {
    stage = await startStage({
      answer: ({ headers, target }) => ({
        status: target.includes('fail') ? 500 : 200,
        headers: { 'x-echo': String(headers.authorization) },
        body: `you sent ${headers.authorization}`,
      }),
    })
  })
  afterAll(() => stage.close())

  test.each(['/billing/v1/invoices', '/billing/fail'])('%s', async target => {
    const { body, headers } = await stage.call('GET', target)
    expect(body).toBe(`you sent Bearer ${'*'.repeat(upstreamKey.length)}`)
    expect(headers.get('x-echo')).toBe(`Bearer ${'*'.repeat(upstreamKey.length)}`)
  })
})
