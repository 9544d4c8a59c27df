// S3's own framing inside a body (aws-chunked): undone before anything is judged, digested or shown, so that all of that is about the
// object. What comes out is an ordinary body; a checksum that came behind it becomes the header S3 takes as well.
import { HoldpointError } from '../../errors.ts'
import type { Header } from '../../nouns.ts'
import type { Plain } from '../upstream.ts'

const refuse: (detail: string) => never = detail => {
  throw new HoldpointError('malformed', detail)
}

const modes: { readonly [sentinel: string]: { readonly trailer: boolean } } = {
  'STREAMING-UNSIGNED-PAYLOAD-TRAILER': { trailer: true },
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD': { trailer: false },
  'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER': { trailer: true },
}

/** Is this the name of a header that may come behind a body? */
export const isChecksum = (name: string): boolean => /^x-amz-checksum-[a-z0-9]{3,20}$/i.test(name.trim())

const maxTrailers = 1024

const lineOf = (headers: readonly Header[], lower: string): string | undefined => {
  const found = headers.filter(([name]) => name.toLowerCase() === lower)
  if (found.length > 1) refuse(`${lower}: it was sent twice: send it once`)
  return found[0]?.[1]
}

const gone: ReadonlySet<string> = new Set(['x-amz-decoded-content-length', 'x-amz-trailer', 'x-amz-content-sha256'])

/** @throws malformed for a framing that is broken, unknown, or not what the head announces */
export const unchunked = (headers: readonly Header[], bytes: Buffer): Plain => {
  const sentinel = lineOf(headers, 'x-amz-content-sha256') ?? ''
  const coding = lineOf(headers, 'content-encoding')
  const codings = (coding ?? '').split(',').map(one => one.trim())
  const said = codings.some(one => one.toLowerCase() === 'aws-chunked')
  if (!/^STREAMING-/i.test(sentinel)) {
    if (said) refuse('Content-Encoding: aws-chunked without an x-amz-content-sha256 that begins with STREAMING-')
    return { headers, bytes }
  }
  const mode = Object.hasOwn(modes, sentinel) ? modes[sentinel] : undefined
  if (mode === undefined) return refuse(`x-amz-content-sha256: ${sentinel.slice(0, 60)} is not known here`)
  const { content, trailers } = unframed(bytes)
  const length = lineOf(headers, 'x-amz-decoded-content-length')
  if (length === undefined || !/^\d{1,15}$/.test(length) || Number(length) !== content.length)
    refuse('x-amz-decoded-content-length: it is not the length of the content')
  const announced = lineOf(headers, 'x-amz-trailer')?.trim().toLowerCase()
  if ((announced !== undefined) !== mode.trailer) refuse('x-amz-trailer: it does not go with x-amz-content-sha256')
  const [trailer, ...more] = trailers.filter(([name]) => name !== 'x-amz-trailer-signature')
  if (more.length > 0 || trailer?.[0] !== announced || (announced !== undefined && !isChecksum(announced)))
    refuse('x-amz-trailer: name the one checksum that follows the body')
  if (trailer !== undefined && lineOf(headers, trailer[0]) !== undefined)
    refuse(`${trailer[0]}: it is in the head and behind the body: send it once`)
  const rest = codings.filter(one => one !== '' && one.toLowerCase() !== 'aws-chunked').join(', ')
  const kept = headers.flatMap((header): readonly Header[] => {
    const lower = header[0].toLowerCase()
    if (gone.has(lower)) return []
    if (lower !== 'content-encoding' || !said) return [header]
    return rest === '' ? [] : [[header[0], rest]]
  })
  return { headers: trailer === undefined ? kept : [...kept, trailer], bytes: content }
}

type Unframed = { readonly content: Buffer; readonly trailers: readonly Header[] }

const broken = 'body: its aws-chunked framing is broken'

/** Chunks cost far more time than bytes. */
const maxChunks = 100_000

const unframed = (bytes: Buffer): Unframed => {
  const content = Buffer.allocUnsafe(bytes.length)
  let filled = 0
  for (let at = 0, chunks = 0; ; chunks += 1) {
    if (chunks > maxChunks) refuse(`body: it has more than ${maxChunks} chunks: make them larger`)
    const end = bytes.indexOf('\r\n', at)
    const line = end < 0 || end - at > 200 ? '' : bytes.toString('latin1', at, end)
    const [, size = ''] = /^([0-9a-fA-F]{1,8})(?:;chunk-signature=[0-9a-f]{64})?$/.exec(line) ?? refuse(broken)
    const length = Number.parseInt(size, 16)
    at = end + 2
    if (length === 0) return { content: content.subarray(0, filled), trailers: trailersIn(bytes.subarray(at)) }
    if (bytes.toString('latin1', at + length, at + length + 2) !== '\r\n') refuse(broken)
    filled += bytes.copy(content, filled, at, at + length)
    at += length + 2
  }
}

/** Lines up to an empty one, and nothing behind it. Some clients leave the empty line out. */
const trailersIn = (bytes: Buffer): readonly Header[] => {
  if (bytes.length > maxTrailers) refuse(broken)
  const lines = bytes.toString('latin1').split('\r\n')
  while (lines.at(-1) === '') lines.pop()
  return lines.map(line => {
    const [, name = '', value = ''] =
      /^([A-Za-z0-9-]{1,60}):[ \t]*([\x21-\x7e]{1,200})[ \t\n]*$/.exec(line) ?? refuse(broken)
    return [name.toLowerCase(), value]
  })
}
