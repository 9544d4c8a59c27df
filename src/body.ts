// A request's body: read whole up to a limit, and read for rules. What is forwarded are always the bytes as they came; decoding is
// only for looking. Whatever two readers could take for different things is `unknown`, with the reason, and never guessed.
import { Readable } from 'node:stream'
import { brotliDecompressSync, constants, crc32, inflateRawSync, inflateSync, zstdDecompressSync } from 'node:zlib'
import { valuesOf } from './headers.ts'
import type { CallerRequest } from './incoming.ts'
import { parseLines, parseStrict } from './json.ts'
import { type MediaType, mediaType } from './media-type.ts'
import { type Part, parseMultipart } from './multipart.ts'
import type { Body, Header, Json, Unread } from './nouns.ts'
import { parsePairs, unprintable } from './pairs.ts'

/** What of a body is here: all of it, or its beginning. */
export type Read = { readonly bytes: Buffer; readonly complete: boolean }

/**
 * Reads a body until it ends or more than `limit` bytes are there. With `complete: false` the rest is still unread in the request,
 * which no longer flows: it is sent on as `readAhead` and `body` of a Sending. At once if all of it is here; else it rejects if the caller
 * goes away first.
 */
export const readWhole = (request: CallerRequest, limit: number): Read | Promise<Read> => {
  // Most bodies come together with their head.
  if (request instanceof Readable && !request.complete) return gather(request, limit)
  const bytes = (request.read() as Buffer | null) ?? Buffer.alloc(0)
  return { bytes, complete: bytes.length <= limit }
}

const gather = async (request: Readable, limit: number): Promise<Read> => {
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

  const plain = decodeContent(
    valuesOf(headers, 'content-encoding'),
    bytes,
    inspect,
    `${inspect} bytes (limits.inspect)`,
  )
  if (typeof plain === 'string') return unknown(plain)
  const type = mediaType(valuesOf(headers, 'content-type'))
  return { ...(typeof type === 'string' ? unknown(type) : readAs(type, plain, size)), content: plain }
}

const readAs = (type: MediaType, plain: Buffer, size: number): Body => {
  const unknown = (why: string): Body => ({ kind: 'unknown', why, size })
  if (type.essence === 'application/json' || type.essence.endsWith('+json') || amzJson.test(type.essence)) {
    const parsed = parseStrict(plain)
    return 'unknown' in parsed ? unknown(parsed.unknown) : { kind: 'json', value: parsed.value, size }
  }
  if (/^application\/(?:(?:[^/]*[+])?yaml)$/.test(type.essence)) {
    const parsed = jsonInYaml(plain)
    return parsed === undefined ? { kind: 'other', size } : { kind: 'json', value: parsed, size }
  }
  if (type.essence === 'application/x-www-form-urlencoded') {
    const pairs = parseForm(plain)
    return typeof pairs === 'string' ? unknown(pairs) : { kind: 'form', pairs, size }
  }
  if (jsonLines.has(type.essence) || type.essence.endsWith('+x-ndjson')) {
    const parsed = parseLines(plain)
    return 'unknown' in parsed ? unknown(parsed.unknown) : { kind: 'records', values: parsed.values, size }
  }
  if (type.essence === 'multipart/form-data') {
    const parts = parseMultipart(type, plain)
    if (typeof parts === 'string') return unknown(parts)
    const fields = parts.map((part): readonly [string, string | Unread] => [part.name, fieldOf(part)])
    return namesCharset(fields) ? unknown(ownCharset) : { kind: 'multipart', fields, size }
  }
  if (type.essence.startsWith('multipart/')) return unknown('multipart bodies other than forms are not read')
  if (type.essence === 'application/json-seq') return unknown('JSON text sequences are not read')
  return { kind: 'other', size }
}

// What AWS calls its JSON.
const amzJson = /^application\/x-amz-json-1\.[01]$/

// YAML 1.2 §1.3: JSON is YAML, and many clients write nothing else. Not so where some reader of YAML takes it for something else: tabs,
// surrogates, line breaks that JSON does not have, a key that merges, and numbers with an exponent, which YAML 1.1 may take for text.
const jsonInYaml = (plain: Buffer): Json | undefined => {
  const parsed = parseStrict(plain)
  if ('unknown' in parsed) return undefined
  const text = plain.toString()
  return /[\t\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)|\\u[dD][89a-fA-F]|<<|\\u003[cC]/.test(text) ||
    hasExponent(text)
    ? undefined
    : parsed.value
}

/** In a number, not in a string. */
const hasExponent = (text: string): boolean => {
  let inString = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (char === '"') inString = !inString
    else if (inString && char === '\\') at++
    else if (!inString && (char === 'e' || char === 'E') && /\d/.test(text[at - 1] ?? '')) return true
  }
  return false
}

const jsonLines: ReadonlySet<string> = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/jsonlines',
  'application/x-jsonlines',
])

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

const textOf = (bytes: Buffer): string | undefined => {
  try {
    const text = utf8.decode(bytes)
    return text.startsWith('\ufeff') ? undefined : text
  } catch {
    return undefined
  }
}

// A form that names its own charset is decoded by that name (HTML §4.10.21.4, RFC 7578 §4.6), which we do not do.
const ownCharset = 'it names its own charset'
const namesCharset = (fields: readonly (readonly [name: string, ...unknown[]])[]): boolean =>
  fields.some(([name]) => name === '_charset_')

const parseForm = (bytes: Buffer): ReturnType<typeof parsePairs> => {
  const text = textOf(bytes)
  if (text === undefined) return 'it is not UTF-8, or begins with a byte order mark'
  if (/[^\x21-\x7e\x80-\uffff]/.test(text)) return 'it has a raw space or control character'
  const pairs = parsePairs(text)
  return typeof pairs !== 'string' && namesCharset(pairs) ? ownCharset : pairs
}

const fieldTypes: ReadonlySet<string> = new Set(['text/plain', 'application/json'])

// Some servers keep files apart from fields, and some take whatever has another type than text for a file.
const fieldOf = ({ filename, type, content }: Part): string | Unread => {
  if (filename !== undefined) return { unread: 'it is a file' }
  if (type !== undefined && !fieldTypes.has(type.essence)) return { unread: `it is ${type.essence}` }
  const text = textOf(content)
  return text === undefined || unprintable.test(text) ? { unread: 'it is not plain UTF-8 text' } : text
}
