// The held body as text, decoded and read only for showing: what is forwarded stays as it was held.
// Whatever has no single reading as text is opaque, with the reason.
import { isUtf8 } from 'node:buffer'
import { decodeContent } from '../body.ts'
import { valuesOf } from '../headers.ts'
import { mediaType } from '../media-type.ts'
import { type Part, parseMultipart } from '../multipart.ts'
import type { Header } from '../nouns.ts'
import type { JsonNode } from './json.ts'
import { readJson } from './json.ts'

/** A body as it is shown. `size`: bytes as held; `bytes`: once decoded. */
export type Readable =
  | { readonly kind: 'none' }
  | { readonly kind: 'opaque'; readonly type: string; readonly size: number; readonly why: string }
  | (Text & { readonly kind: 'json'; readonly node: JsonNode })
  /** One JSON value a line, as bulk and log bodies are. */
  | (Text & { readonly kind: 'records'; readonly nodes: readonly JsonNode[] })
  | (Text & { readonly kind: 'form' })
  | (Omit<Text, 'text'> & { readonly kind: 'multipart'; readonly parts: readonly ShownPart[] })
  | (Text & { readonly kind: 'text' })

type Text = { readonly type: string; readonly size: number; readonly bytes: number; readonly text: string }

/** One part of a form; without `text` if it cannot be shown as text. */
export type ShownPart = {
  readonly name: string
  readonly filename: string | undefined
  readonly type: string | undefined
  readonly content: Buffer
  readonly text: string | undefined
}

/** What is longer is not looked at: nobody would read it. */
const longestRead = 256 * 1024
export const tooLong = 'it is too long to be shown whole'

/** Reads the body of a held call for showing. */
export const readBody = (headers: readonly Header[], base64: string): Readable => {
  const held = Buffer.from(base64, 'base64')
  const size = held.length
  if (size === 0) return { kind: 'none' }
  const types = valuesOf(headers, 'content-type')
  const declared = types.join(', ')
  const type = declared === '' ? 'unknown' : declared.slice(0, 200)
  const opaque = (why: string): Readable => ({ kind: 'opaque', type, size, why })
  if (types.length > 1) return opaque('it has several content types')

  // A character has at most four bytes.
  const plain = decodeContent(valuesOf(headers, 'content-encoding'), held, 4 * longestRead, 'can be shown')
  if (typeof plain === 'string') return opaque(plain)

  const media = mediaOf(declared)
  if (media === 'multipart/form-data') {
    const exact = mediaType(types)
    const parts = typeof exact === 'string' ? exact : parseMultipart(exact, plain)
    if (typeof parts === 'string') return opaque(parts)
    return { kind: 'multipart', type, size, bytes: plain.length, parts: parts.map(shownPart) }
  }
  const why = notText(declared, plain)
  if (why !== undefined) return opaque(why)
  const text = plain.toString('utf8')
  if (text.length > longestRead) return opaque(tooLong)

  const read = { type, size, bytes: plain.length, text }
  const node = readJson(text.replace(/^\ufeff/, ''))
  if (node === 'deep') return opaque('its JSON is nested too deeply to be read')
  if (node !== undefined) return { ...read, kind: 'json', node }
  if (media === 'application/x-www-form-urlencoded') return { ...read, kind: 'form' }
  const nodes = recordsIn(text)
  return nodes === undefined ? { ...read, kind: 'text' } : { ...read, kind: 'records', nodes }
}

const mediaOf = (declared: string): string => /^\s*([^;\s]*)/.exec(declared.toLowerCase())?.[1] ?? ''

/** Why some bytes are not shown as text. */
const notText = (declared: string, bytes: Buffer): string | undefined => {
  const media = mediaOf(declared)
  if (/^(?:multipart|image|audio|video|font)\/|protobuf|grpc|msgpack|cbor|avro|zip|\/pdf$/.test(media))
    return `${media} is not shown as text`
  // Wherever it stands, even inside another parameter's quotes: readers disagree about those.
  const charsets = [...declared.matchAll(/charset\*?\s*=\s*["']?([^"';,\s]*)/gi)].map(([, name = '']) =>
    name.toLowerCase(),
  )
  if (charsets.length > 1) return 'it names several character sets'
  if (!/^(?:utf-?8|us-ascii|ascii)$/.test(charsets[0] ?? 'utf-8')) return `its character set is ${charsets[0]}`
  return !isUtf8(bytes) || bytes.includes(0) ? 'it is not text' : undefined
}

const shownPart = ({ name, filename, type, content }: Part): ShownPart => {
  const shown = notText(type?.sent ?? '', content) === undefined && content.length <= longestRead
  return { name, filename, type: type?.sent, content, text: shown ? content.toString('utf8') : undefined }
}

const recordsIn = (text: string): readonly JsonNode[] | undefined => {
  if (!/^\s*[[{]/.test(text)) return undefined
  const nodes: JsonNode[] = []
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue
    const node = readJson(line)
    if (typeof node !== 'object') return undefined
    nodes.push(node)
  }
  return nodes
}
