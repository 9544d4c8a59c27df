// multipart/form-data (RFC 7578) with one reading, or none: parts as browsers and fetch write them (WHATWG HTML §4.10.21.8) and nothing
// else. No text before the first part or behind the last, nothing that looks like a boundary inside a part, no header but the three that
// clients send, no escape, no second spelling of a name. What is refused here some server takes for other fields than the next one.
import { type MediaType, mediaType } from './media-type.ts'
import { maxPairs } from './pairs.ts'

export type Part = {
  readonly name: string
  /** There for a file, also if it is empty. */
  readonly filename: string | undefined
  /** As it was sent, and as it reads. */
  readonly type: (MediaType & { readonly sent: string }) | undefined
  readonly content: Buffer
}

/** The parts of a form in order, or in words why there may be others. `type` is that of the whole body. */
export const parseMultipart = ({ parameters }: MediaType, bytes: Buffer): readonly Part[] | string => {
  const boundary = parameters.get('boundary') ?? ''
  // Some readers end a boundary at a comma, a semicolon or an equals sign, whatever stands around it.
  if (!/^[0-9A-Za-z_.+-]{1,70}$/.test(boundary) || !/[^-]/.test(boundary))
    return 'its boundary is not 1 to 70 letters, digits and any of _ . + -'
  for (const name of parameters.keys())
    if (name !== 'boundary' && name !== 'charset') return 'its Content-Type has a parameter besides its boundary'

  const text = bytes.toString('latin1')
  const [before, ...pieces] = `\r\n${text}`.split(`\r\n--${boundary}`, maxPairs + 3)
  if (before !== '') return 'it does not begin with its boundary'
  if (pieces.length > maxPairs + 1) return `it has more than ${maxPairs} parts`
  const end = pieces.pop()
  if (end !== '--' && end !== '--\r\n') return 'it does not end with its boundary'
  // Lines may end at a line feed for others, quotes may be part of the boundary, or its case may not count: it must stand nowhere else.
  const mark = boundary.replace(/^-+|-+$/g, '').toLowerCase()
  if (standsMoreThan(pieces.length + 1, mark, text.toLowerCase())) return 'its boundary stands inside a part'

  const parts: Part[] = []
  for (const piece of pieces) {
    const part = parsePart(piece)
    if (typeof part === 'string') return part
    parts.push(part)
  }
  return parts
}

const standsMoreThan = (times: number, mark: string, text: string): boolean => {
  let found = 0
  for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) if (++found > times) return true
  return false
}

const disposition = /^form-data; name="([^"\\;]+)"(?:; filename="([^"\\;]*)")?$/

/** `piece`: what stands between two boundaries, bytes as latin1. */
const parsePart = (piece: string): Part | string => {
  const end = piece.indexOf('\r\n\r\n')
  if (!piece.startsWith('\r\n') || end < 0) return 'a part has no headers, or something follows a boundary on its line'
  const content = Buffer.from(piece.slice(end + 4), 'latin1')
  const headers = new Map<string, string>()
  for (const line of piece.slice(2, end).split('\r\n')) {
    const [, name = '', value = ''] = /^(content-(?:disposition|type|length)): ?([^\0-\x1f\x7f]*)$/i.exec(line) ?? []
    if (name === '') return 'a part has a header besides Content-Disposition, Content-Type and Content-Length'
    if (headers.has(name.toLowerCase())) return 'a part has a header twice'
    headers.set(name.toLowerCase(), value)
  }
  if ((headers.get('content-length') ?? String(content.length)) !== String(content.length))
    return 'a part has another length than it says'

  const named = disposition.exec(utf8(headers.get('content-disposition') ?? ''))
  if (named === null)
    return 'the Content-Disposition of a part is not form-data with a name in quotes, and a filename if it is a file'
  const [, name = '', filename] = named
  // Browsers write `%22` where others write `\"`; `=?…?=` (RFC 2047) and what is no UTF-8 some readers decode, and others do not.
  if ([name, filename ?? ''].some(text => /%[0-9a-f]{2}|=\?|\ufffd/i.test(text)))
    return 'the name of a part or of its file is encoded'

  const sent = headers.get('content-type')
  const type = sent === undefined ? undefined : mediaType([sent])
  if (typeof type === 'string') return `a part of it: ${type}`
  if (type !== undefined && /^(?:multipart|message)\//.test(type.essence)) return 'a part of it has parts of its own'
  return { name, filename, type: type && { ...type, sent: sent ?? '' }, content }
}

const utf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8')
