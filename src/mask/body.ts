// The held body as text, decoded and unpacked only for showing: what is forwarded stays as it was held.
// Whatever has no single reading as text is opaque, with the reason.
import { isUtf8 } from 'node:buffer'
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib'
import type { Header } from '../nouns.ts'

export type Readable =
  | { readonly kind: 'none' }
  | { readonly kind: 'opaque'; readonly type: string; readonly size: number; readonly why: string }
  /** `bytes`: length once unpacked. */
  | {
      readonly kind: 'text'
      readonly type: string
      readonly form: boolean
      readonly size: number
      readonly bytes: number
      readonly text: string
    }

// More than can be held is more than anyone will read.
const maxUnpacked = 10 * 1024 * 1024

type Unpacked = { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } }

// With `info` the answer is the buffer and its engine (Node's zlib documentation); the types only know the buffer.
const unpacking = { maxOutputLength: maxUnpacked, info: true }
type Unpack = (packed: Buffer, options: typeof unpacking) => unknown

const codings: ReadonlyMap<string, readonly Unpack[]> = new Map([
  ['gzip', [gunzipSync]],
  ['x-gzip', [gunzipSync]],
  // RFC 9110 §8.4.1.2: deflate has a zlib header, and clients that forget it are not rare.
  ['deflate', [inflateSync, inflateRawSync]],
  ['br', [brotliDecompressSync]],
  ['zstd', [zstdDecompressSync]],
])

/** Reads the body of a held call for showing. `size` is always the number of held bytes. */
export const readBody = (headers: readonly Header[], base64: string): Readable => {
  const held = Buffer.from(base64, 'base64')
  const size = held.length
  if (size === 0) return { kind: 'none' }
  const values = (name: string): readonly string[] =>
    headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value)
  const types = values('content-type')
  const type = types.join(', ').slice(0, 200)
  const opaque = (why: string): Readable => ({ kind: 'opaque', type: type === '' ? 'unknown' : type, size, why })
  if (types.length > 1) return opaque('it has several content types')

  const encoding = values('content-encoding')
    .flatMap(value => value.split(','))
    .map(value => value.trim().toLowerCase())
    .filter(value => value !== '' && value !== 'identity')
  if (encoding.length > 1) return opaque('it is encoded more than once')
  const unpacked = encoding[0] === undefined ? held : unpack(held, encoding[0])
  if (typeof unpacked === 'string') return opaque(unpacked)

  const [, media = '', parameters = ''] = /^\s*([^;\s]*)\s*(.*)$/s.exec(type.toLowerCase()) ?? []
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/.exec(parameters)?.[1] ?? 'utf-8'
  if (/^(?:multipart|image|audio|video|font)\/|protobuf|grpc|msgpack|cbor|avro|zip|\/pdf$/.test(media))
    return opaque(`${media} is not shown as text`)
  if (!/^(?:utf-?8|us-ascii|ascii)$/.test(charset)) return opaque(`its character set is ${charset}`)
  if (!isUtf8(unpacked) || unpacked.includes(0)) return opaque('it is not text')
  const form = media === 'application/x-www-form-urlencoded'
  return {
    kind: 'text',
    type: type === '' ? 'unknown' : type,
    form,
    size,
    bytes: unpacked.length,
    text: unpacked.toString('utf8'),
  }
}

// The bytes, or why there are none. All of the input must belong to the encoded data: nothing may hide behind its end.
const unpack = (packed: Buffer, encoding: string): Buffer | string => {
  const ways = codings.get(encoding)
  if (ways === undefined) return `its encoding is ${encoding}`
  let why = `it is not valid ${encoding}`
  for (const way of ways) {
    try {
      const { buffer, engine } = way(packed, unpacking) as Unpacked
      if (engine.bytesWritten === packed.length) return buffer
      why = `bytes follow the end of the ${encoding} data`
    } catch (thrown) {
      if ((thrown as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE')
        return `it unpacks to more than ${maxUnpacked} bytes`
    }
  }
  return why
}
