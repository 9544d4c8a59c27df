// The opening handshake of a tunnel, as far as a gateway is concerned: did the upstream really agree, and what the caller is told then.
// Of a WebSocket (RFC 6455 §4) both sides have a key of their own, because the call that collects an approved one is not the one that is
// sent. SPDY/3.1, as Kubernetes speaks it, is agreed on by its name alone.
import { createHash } from 'node:crypto'
import type { Call, Header } from './nouns.ts'

const valuesOf = (headers: readonly Header[], lower: string): readonly string[] =>
  headers.filter(([name]) => name.toLowerCase() === lower).map(([, value]) => value)

const keyOf = (headers: readonly Header[]): string => valuesOf(headers, 'sec-websocket-key')[0] ?? ''

/** The proof that `key` was understood (RFC 6455 §4.2.2). */
const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

type Protocol = NonNullable<Call['upgrade']>

/** As it is written in `Upgrade`. */
export const spelledOut: { readonly [protocol in Protocol]: string } = {
  websocket: 'websocket',
  'spdy/3.1': 'SPDY/3.1',
}

/** Does this 101 answer the handshake that these request headers began? Everything must be there once. */
export const switched = (protocol: Protocol, answer: readonly Header[], request: readonly Header[]): boolean => {
  const [said, ...others] = valuesOf(answer, 'upgrade')
  if (others.length > 0 || said?.toLowerCase() !== protocol) return false
  const accepts = valuesOf(answer, 'sec-websocket-accept')
  if (protocol === 'spdy/3.1') return accepts.length === 0
  return keyOf(request) !== '' && accepts.length === 1 && accepts[0] === acceptOf(keyOf(request))
}

/** The bytes that tell the caller so. `answer` is the upstream's head without what was meant for us; `own` is added to it. */
export const switching = (
  protocol: Protocol,
  answer: readonly Header[],
  request: readonly Header[],
  own: readonly Header[],
): string => {
  const replaced = new Set(['sec-websocket-accept', ...own.map(([name]) => name.toLowerCase())])
  const head = [
    ['Connection', 'Upgrade'],
    ['Upgrade', spelledOut[protocol]],
    ...(protocol === 'websocket' ? [['Sec-WebSocket-Accept', acceptOf(keyOf(request))] as const] : []),
    ...answer.filter(([name]) => !replaced.has(name.toLowerCase()) && name.toLowerCase() !== 'content-length'),
    ...own,
  ]
  return `HTTP/1.1 101 Switching Protocols\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
}
