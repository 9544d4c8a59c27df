// The opening handshake of a WebSocket (RFC 6455 §4), as far as a gateway is concerned: did the upstream really agree, and what the
// caller is told then. Both sides have a key of their own, because the call that collects an approved one is not the one that is sent.
import { createHash } from 'node:crypto'
import type { Header } from './nouns.ts'

const valuesOf = (headers: readonly Header[], lower: string): readonly string[] =>
  headers.filter(([name]) => name.toLowerCase() === lower).map(([, value]) => value)

const keyOf = (headers: readonly Header[]): string => valuesOf(headers, 'sec-websocket-key')[0] ?? ''

/** The proof that `key` was understood (RFC 6455 §4.2.2). */
const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

/** Does this 101 answer the handshake that these request headers began? Everything must be there once. */
export const switched = (answer: readonly Header[], request: readonly Header[]): boolean => {
  const [accept, ...more] = valuesOf(answer, 'sec-websocket-accept')
  const [protocol, ...others] = valuesOf(answer, 'upgrade')
  return (
    more.length === 0 &&
    others.length === 0 &&
    protocol?.toLowerCase() === 'websocket' &&
    keyOf(request) !== '' &&
    accept === acceptOf(keyOf(request))
  )
}

/** The bytes that tell the caller so. `answer` is the upstream's head without what was meant for us; `own` is added to it. */
export const switching = (answer: readonly Header[], request: readonly Header[], own: readonly Header[]): string => {
  const replaced = new Set(['sec-websocket-accept', ...own.map(([name]) => name.toLowerCase())])
  const head = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'websocket'],
    ['Sec-WebSocket-Accept', acceptOf(keyOf(request))],
    ...answer.filter(([name]) => !replaced.has(name.toLowerCase()) && name.toLowerCase() !== 'content-length'),
    ...own,
  ]
  return `HTTP/1.1 101 Switching Protocols\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`
}
