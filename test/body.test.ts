import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { parseBody, readWhole } from '../src/body.ts'
import type { Header } from '../src/nouns.ts'
import bodies from './tables/bodies.json' with { type: 'json' }

type Row = {
  why: string
  type?: string
  types?: string[]
  encoding?: string
  encodings?: string[]
  body?: string
  /** Follows `body`: this text, so many times, and then this one. */
  repeat?: (string | number)[]
  base64?: string
  inspect?: number
  /** How the encoded bytes are spoilt. */
  asIs?: boolean
  after?: string
  cut?: number
  twice?: boolean
  flip?: number
  rawDeflate?: boolean
  kind: string
  value?: unknown
  /** The JSON text whose plain parse is the value, where JSON cannot say it otherwise. */
  text?: string
  pairs?: string[][]
  fields?: unknown[][]
  says?: string
}

const coders: { [coding: string]: (bytes: Buffer) => Buffer } = {
  gzip: gzipSync,
  'x-gzip': gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
}

const bytesOf = (row: Row): Buffer => {
  const [unit = '', times = 0, end = ''] = row.repeat ?? []
  const text = `${row.body ?? ''}${String(unit).repeat(Number(times))}${end}`
  let bytes: Buffer = row.base64 === undefined ? Buffer.from(text) : Buffer.from(row.base64, 'base64')
  const coder = row.asIs ? undefined : coders[row.encoding?.toLowerCase() ?? '']
  if (coder !== undefined) bytes = row.rawDeflate ? deflateRawSync(bytes) : coder(bytes)
  if (row.twice) bytes = Buffer.concat([bytes, gzipSync(row.body ?? '')])
  if (row.flip !== undefined) bytes[bytes.length + row.flip] = ~(bytes.at(row.flip) ?? 0) & 0xff
  return Buffer.concat([bytes.subarray(0, bytes.length - (row.cut ?? 0)), Buffer.from(row.after ?? '')])
}

/** Without prototypes, so that only what a rule can reach is compared. */
const bare = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

describe('bodies', () => {
  it.each((bodies as Row[]).map(row => [row.why, row] as const))('%s', (_, row) => {
    const headers: Header[] = [
      ...(row.types ?? (row.type === undefined ? [] : [row.type])).map((type): Header => ['content-Type', type]),
      ...(row.encodings ?? (row.encoding === undefined ? [] : [row.encoding])).map(
        (coding): Header => ['Content-encoding', coding],
      ),
    ]
    const bytes = bytesOf(row)
    const body = parseBody(headers, bytes, row.inspect ?? 1 << 20)
    if (row.kind !== 'none') expect(body).toMatchObject({ kind: row.kind, size: bytes.length })
    else expect(body).toEqual({ kind: 'none' })
    if (body.kind === 'unknown') expect(body.why).toContain(row.says)
    if (body.kind === 'json')
      expect(bare(body.value)).toEqual(row.text === undefined ? bare(row.value) : JSON.parse(row.text))
    if (body.kind === 'records') expect(bare(body.values)).toEqual(bare(row.value))
    if (body.kind === 'form') expect(body.pairs).toEqual(row.pairs)
    if (body.kind === 'multipart') expect(body.fields).toEqual(row.fields)
  })

  it('gives objects no prototype', () => {
    const body = parseBody([['Content-Type', 'application/json']], Buffer.from('{"a":{}}'), 100)
    expect(body.kind === 'json' && Object.getPrototypeOf(body.value)).toBeNull()
    expect(body.kind === 'json' && 'toString' in (body.value as object)).toBe(false)
  })

  it.each(['[', '{"a":'])('survives 200 000 levels of %s', open => {
    const body = parseBody([['Content-Type', 'application/json']], Buffer.from(open.repeat(200_000)), 1 << 24)
    expect(body).toMatchObject({ kind: 'unknown', why: expect.stringContaining('64 levels') })
  })

  // Long strings are read in another way than short ones.
  it('reads strings of any length as JSON.parse does, but for half a surrogate pair', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        'x'.repeat(70),
        '\\',
        '\\\\',
        '"',
        '\\"',
        '\\n',
        '\\u0022',
        '\\ud83d',
        '\\ude00',
        '\\q',
        '\u0001',
        '\t',
        '\u2028',
        'é',
      ),
      fc.string({ unit: 'binary' }),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), fc.array(piece, { maxLength: 8 }), (one, other) => {
        const bytes = Buffer.from(`["${one.join('')}", "${other.join('')}"]`)
        const body = parseBody([['Content-Type', 'application/json']], bytes, 1 << 20)
        let value: string[] | undefined
        try {
          value = JSON.parse(bytes.toString()) as string[]
        } catch {}
        if (value?.every(text => text.isWellFormed())) expect(body).toMatchObject({ kind: 'json', value })
        else expect(body.kind).toBe('unknown')
      }),
      { numRuns: 3000 },
    )
  })
})

describe('JSON lines', () => {
  const read = (text: string): unknown => {
    const body = parseBody([['Content-Type', 'application/x-ndjson']], Buffer.from(text), 1 << 20)
    return body.kind === 'records' ? bare(body.values) : undefined
  }

  it('read back as they were written', () => {
    const value = fc.oneof(
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.integer()),
    )
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        (values, end, last) => {
          const lines = values.map(one => JSON.stringify(one)).join(end) + (last ? end : '')
          expect(read(lines)).toEqual(bare(values))
        },
      ),
    )
  })

  it('read as readers with other ideas of a line do, or not at all', () => {
    const piece = fc.oneof(
      fc.jsonValue({ maxDepth: 1 }).map(value => JSON.stringify(value)),
      fc.constantFrom(
        '\n',
        '\r',
        '\r\n',
        '\u0085',
        '\u2028',
        '\v',
        '\f',
        '\x1e',
        ' ',
        '"',
        '1',
        '{',
        '}',
        '[',
        ']',
        ',',
      ),
    )
    const lenient = (text: string, ends: RegExp): unknown[] =>
      text.split(ends).flatMap(line => {
        try {
          return [JSON.parse(line) as unknown]
        } catch {
          return []
        }
      })
    let accepted = 0
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), pieces => {
        const text = pieces.join('')
        const ours = read(text)
        if (ours === undefined) return
        accepted++
        expect(ours).toEqual(bare(lenient(text, /\n/)))
        // What Python's splitlines and others take for the end of a line.
        expect(ours).toEqual(bare(lenient(text, /\r\n|[\n\r\v\f\x1c-\x1e\u0085\u2028\u2029]/)))
      }),
      { numRuns: 3_000 },
    )
    expect(accepted).toBeGreaterThan(200)
  })
})

describe('reading', () => {
  const closing: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })

  /** What becomes of a raw request in the hands of `read`. */
  const through = async <T>(
    raw: string,
    read: (request: IncomingMessage) => Promise<T>,
    then?: 'hang up',
  ): Promise<T> => {
    const done = Promise.withResolvers<T>()
    const server = createServer((request, response) => {
      read(request)
        .then(done.resolve, done.reject)
        .finally(() => response.end())
      if (then === 'hang up') socket.destroy()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => {
      server.closeAllConnections()
      return new Promise(resolve => server.close(resolve))
    })
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(raw)
    return done.promise.finally(() => socket.destroy())
  }

  const post = (framing: string, body: string): string => `POST / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${body}`

  it.each([
    ['of a known length', post('Content-Length: 6', 'abcdef'), 'abcdef'],
    ['in chunks', post('Transfer-Encoding: chunked', '3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'), 'abcdef'],
    ['of no length', post('X-A: 1', ''), ''],
    ['of no chunks', post('Transfer-Encoding: chunked', '0\r\n\r\n'), ''],
  ])('reads a body %s', async (_, raw, body) => {
    const read = await through(raw, async request => readWhole(request, 6))
    expect([read.bytes.toString(), read.complete]).toEqual([body, true])
  })

  it('stops above its limit and leaves the rest where it can be read', async () => {
    const size = 1 << 20
    const { first, more, rest } = await through(post(`Content-Length: ${size}`, 'x'.repeat(size)), async request => {
      const { bytes, complete } = await readWhole(request, 10)
      expect(complete).toBe(false)
      const next = await readWhole(request, 10)
      return { first: bytes.length, more: next.bytes.length, rest: (await readWhole(request, size)).bytes.length }
    })
    expect(first).toBeGreaterThan(10)
    expect(first).toBeLessThan(size)
    expect(more).toBeGreaterThan(10)
    expect(first + more + rest).toBe(size)
  })

  it.each(['Content-Length: 7', 'Transfer-Encoding: chunked'])(
    'rejects when the caller goes away (%s)',
    async framing => {
      const reading = through(post(framing, '3\r\nabc'), async request => readWhole(request, 100), 'hang up')
      await expect(reading).rejects.toThrow()
    },
  )
})
