// The head of an upstream's answer, and where its body ends, with one reading or none. Stricter than the standard where two readers could
// differ (RFC 9112): no folded lines, no bare CR or LF, one length at most, never a length beside chunks, no coding but chunked.
import { trimmed } from '../headers.ts'
import { nameOf } from '../names.ts'
import type { Header } from '../nouns.ts'

export type Head = {
  readonly status: number
  readonly reason: string
  readonly version: '1.0' | '1.1'
  readonly headers: readonly Header[]
}

/** @param text status line and header lines, with CRLF between them. @throws if it is not exactly that */
export const readHead = (text: string): Head => {
  const end = text.indexOf('\r\n')
  const first = end < 0 ? text : text.slice(0, end)
  const [line, minor, code = '', reason = ''] =
    /^HTTP\/1\.([01]) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(first) ?? []
  // There are no answers before the answer in HTTP/1.0.
  if (line === undefined || (minor === '0' && code < '2')) throw new Error('the upstream did not answer in HTTP/1')
  const headers: Header[] = []
  for (let at = end < 0 ? text.length : end + 2; at < text.length; ) {
    const next = text.indexOf('\r\n', at)
    const until = next < 0 ? text.length : next
    headers.push(readLine(text, at, until))
    at = until + 2
  }
  return { status: Number(code), reason, version: minor === '1' ? '1.1' : '1.0', headers }
}

/** One header or trailer line. @throws if it is none */
export const readLine = (text: string, from = 0, until = text.length): Header => {
  const colon = text.indexOf(':', from)
  const name = colon < 0 || colon > until ? '' : text.slice(from, colon)
  const value = text.slice(colon + 1, until)
  if (!nameOf(name).valid || /[^\t\x20-\x7e\x80-\xff]/.test(value))
    throw new Error('the upstream answered with a header line that is none')
  return [name, trimmed(value)]
}

/** Bytes; `chunked`; or `rest`: everything until the connection closes. */
export type Length = number | 'chunked' | 'rest'

export type Framing = {
  readonly length: Length
  /** So long the connection may be kept for another call. Milliseconds; 0: not at all. */
  readonly keepMs: number
}

/** Servers that say nothing of it keep idle connections for five seconds and more. */
const usualKeepMs = 4_000
const longestKeepMs = 60_000
/** So much earlier than the upstream does we let go, or a call might just miss it. */
const earlierMs = 1_000

/** RFC 9112 §6.3 and §9.3. @throws if where the body ends can be read in two ways */
export const framing = ({ status, version, headers }: Head, method: string): Framing => {
  let coding: string | undefined
  let length: string | undefined
  let keepMs = version === '1.1' ? usualKeepMs : 0
  for (const [name, value] of headers) {
    switch (name.length) {
      case 10:
        if (name.toLowerCase() === 'connection') {
          if (/(?:^|,)[\t ]*close[\t ]*(?:,|$)/i.test(value)) keepMs = 0
        } else if (name.toLowerCase() === 'keep-alive' && keepMs > 0) keepMs = promised(value)
        break
      case 14:
        if (name.toLowerCase() !== 'content-length') break
        if (length !== undefined) throw new Error('the upstream gave two lengths')
        length = value
        break
      case 17:
        if (name.toLowerCase() !== 'transfer-encoding') break
        if (coding !== undefined || value.toLowerCase() !== 'chunked' || version === '1.0')
          throw new Error('the upstream answered in a transfer coding other than chunked')
        coding = value
    }
  }
  if (length !== undefined && !/^\d{1,15}$/.test(length))
    throw new Error('the upstream gave a length that is no number')
  if (coding !== undefined && length !== undefined) throw new Error('the upstream gave a length beside chunks')
  // Some send a body where none may be, behind HEAD above all: the next call on this connection would have it for its answer.
  if (method === 'HEAD') return { length: 0, keepMs: 0 }
  if (status === 204) return { length: 0, keepMs: coding === undefined && Number(length ?? 0) === 0 ? keepMs : 0 }
  if (status === 304) return { length: 0, keepMs }
  if (coding !== undefined) return { length: 'chunked', keepMs }
  return length === undefined ? { length: 'rest', keepMs: 0 } : { length: Number(length), keepMs }
}

const promised = (value: string): number => {
  const [, seconds] = /(?:^|[,\t ])timeout=(\d{1,6})/i.exec(value) ?? []
  return seconds === undefined ? usualKeepMs : Math.min(longestKeepMs, Math.max(0, Number(seconds) * 1000 - earlierMs))
}
