// A request's body: read whole up to a limit, and read for rules. What is forwarded are always the bytes as they came; decoding is
// only for looking. Whatever two readers could take for different things is `unknown`, with the reason, and never guessed.
import type { IncomingMessage } from 'node:http'
import { brotliDecompressSync, constants, crc32, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib'
import { parseStrict } from './json.ts'
import type { Body, Header } from './nouns.ts'
import { parsePairs } from './pairs.ts'

/**
 * Reads a body until it ends or more than `limit` bytes are there. With `complete: false` the rest is still unread in the request,
 * which no longer flows: it is sent on as `readAhead` and `body` of a Sending. Rejects if the caller goes away first.
 */
export const readWhole = async (
  request: IncomingMessage,
  limit: number,
): Promise<{ readonly bytes: Buffer; readonly complete: boolean }> => {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > limit) return { bytes: Buffer.concat(chunks), complete: false }
  }
  return { bytes: Buffer.concat(chunks), complete: true }
}

/** The body as rules may read it. `inspect`: bytes that may be looked at, as they came and decoded. */
export const parseBody = (headers: readonly Header[], bytes: Buffer, inspect: number): Body => {
  const size = bytes.length
  if (size === 0) return { kind: 'none' }
  const unknown = (why: string): Body => ({ kind: 'unknown', why, size })
  if (size > inspect) return unknown(`it is larger than ${inspect} bytes (limits.inspect)`)

  const type = mediaType(linesOf(headers, 'content-type'))
  if (typeof type === 'string') return unknown(type)
  const plain = decodeContent(linesOf(headers, 'content-encoding'), bytes, inspect, `${inspect} bytes (limits.inspect)`)
  if (typeof plain === 'string') return unknown(plain)

  if (type.essence === 'application/json' || type.essence.endsWith('+json')) {
    const parsed = parseStrict(plain)
    return 'unknown' in parsed ? unknown(parsed.unknown) : { kind: 'json', value: parsed.value, size }
  }
  if (type.essence === 'application/x-www-form-urlencoded') {
    const pairs = parseForm(plain)
    return typeof pairs === 'string' ? unknown(pairs) : { kind: 'form', pairs, size }
  }
  if (type.essence.startsWith('multipart/')) return unknown('multipart bodies are not read')
  if (severalValues.has(type.essence)) return unknown('bodies of several JSON values are not read')
  return { kind: 'other', size }
}

const severalValues: ReadonlySet<string> = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/jsonlines',
  'application/x-jsonlines',
  'application/json-seq',
])

/** The values of every line of a header; `lower` is its name in lower case. */
export const linesOf = (headers: readonly Header[], lower: string): readonly string[] =>
  headers.flatMap(([name, value]) => (name.toLowerCase() === lower ? [value] : []))

// ---- media type (RFC 9110 §8.3.1)

const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const parameter = `[ \\t]*;[ \\t]*(${token})=(${token}|"[^"\\\\]*")`
const mediaTypes = new RegExp(`^(${token}/${token})((?:${parameter})*)[ \\t]*$`)

const mediaType = (lines: readonly string[]): { readonly essence: string } | string => {
  const [line] = lines
  if (line === undefined) return 'it has no Content-Type'
  const found = lines.length === 1 ? mediaTypes.exec(line) : null
  if (found === null) return 'its Content-Type is not one plain media type'
  const names = new Set<string>()
  for (const [, name = '', value = ''] of (found[2] ?? '').matchAll(new RegExp(parameter, 'g'))) {
    const lower = name.toLowerCase()
    if (names.has(lower)) return 'its Content-Type gives a parameter twice'
    names.add(lower)
    if (lower === 'charset' && !/^"?utf-8"?$/i.test(value)) return 'its charset is not utf-8'
  }
  return { essence: (found[1] ?? '').toLowerCase() }
}

// ---- content coding

type Inflated = { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } }

// Real texts do not shrink a hundredfold; what does is a bomb, or hides where its content is.
const maxRatio = 100
const ratioFloor = 64 * 1024

/** The decoded bytes, or why they cannot be had. `limit` says in words what `most` bytes are. */
export const decodeContent = (
  lines: readonly string[],
  bytes: Buffer,
  most: number,
  limit: string,
): Buffer | string => {
  const coding = lines.join(',').trim().toLowerCase()
  if (lines.length === 0 || coding === 'identity') return bytes
  const decode = decoders.get(coding)
  if (decode === undefined) return 'its Content-Encoding is not one of gzip, deflate, br, zstd'
  try {
    const plain = decode(bytes, { maxOutputLength: most, info: true })
    if (plain === undefined) return 'something follows the compressed content'
    if (plain.length > ratioFloor && plain.length > bytes.length * maxRatio)
      return `it grows more than ${maxRatio}-fold when decoded`
    return plain
  } catch (error) {
    const tooLarge = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE'
    return tooLarge ? `decoded it is larger than ${limit}` : 'it does not decode as its Content-Encoding says'
  }
}

type Options = { readonly maxOutputLength: number; readonly info: true }

/** Undefined if the content ends before its bytes do: another reader may go on, or not. */
type Decoder = (bytes: Buffer, options: Options) => Buffer | undefined

const wholly =
  (inflate: (bytes: Buffer, options: Options) => unknown): Decoder =>
  (bytes, options) => {
    const { buffer, engine } = inflate(bytes, options) as Inflated
    return engine.bytesWritten === bytes.length ? buffer : undefined
  }

// RFC 1952, one member: zlib's own reader joins several, others stop after the first.
const gunzip: Decoder = (bytes, options) => {
  const [one, two, method, flags] = bytes
  if (one !== 0x1f || two !== 0x8b || method !== 8 || (flags !== 0 && flags !== 8))
    throw new Error('not a plain gzip member')
  const start = flags === 8 ? bytes.indexOf(0, 10) + 1 : 10
  const { buffer, engine } = inflateRawSync(bytes.subarray(start), options) as unknown as Inflated
  const end = start + engine.bytesWritten
  if (bytes.length !== end + 8) return undefined
  if (bytes.readUInt32LE(end) !== crc32(buffer) || bytes.readUInt32LE(end + 4) !== buffer.length)
    throw new Error('wrong checksum')
  return buffer
}

const decoders: ReadonlyMap<string, Decoder> = new Map([
  ['gzip', gunzip],
  ['x-gzip', gunzip],
  ['deflate', wholly(inflateSync)],
  ['br', wholly(brotliDecompressSync)],
  // Windows of more than 8 MiB are refused, as RFC 9659 asks.
  [
    'zstd',
    wholly((bytes, options) =>
      zstdDecompressSync(bytes, { ...options, params: { [constants.ZSTD_d_windowLogMax]: 23 } }),
    ),
  ],
])

// ---- forms

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const parseForm = (bytes: Buffer): ReturnType<typeof parsePairs> => {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return 'it is not UTF-8'
  }
  if (/[^\x21-\x7e\x80-\uffff]/.test(text) || text.startsWith('\ufeff'))
    return 'it has a raw space, control character or byte order mark'
  const pairs = parsePairs(text)
  // A form that names its own charset is decoded by that name (HTML §4.10.21.4), which we do not do.
  if (typeof pairs !== 'string' && pairs.some(([name]) => name === '_charset_')) return 'it names its own charset'
  return pairs
}
