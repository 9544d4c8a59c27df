// The head of a request as it goes to an upstream: fresh Host, Connection and framing, everything else exactly as it was given.
import { nameOf } from '../names.ts'
import type { Header } from '../nouns.ts'
import type { Asked } from './exchange.ts'

/** Made here, or not meant for an upstream at all: nobody else may write them. Lower case. */
const ours: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Methods that expect content say its length even where there is none (RFC 9110 §8.6). */
const contentful: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY', 'PROPFIND', 'PROPPATCH'])

/**
 * Does this request sign its connection in, and not only itself? NTLM does, and Negotiate may (RFC 4559 §6): whoever came next on it would
 * be taken for the same person.
 */
export const bindsConnection = (headers: readonly Header[]): boolean =>
  headers.some(([name, value]) => name.length === 13 && binds(name.toLowerCase(), value))

const binds = (lower: string, value: string): boolean =>
  lower === 'authorization' && /^[\t ]*(?:ntlm|negotiate)/i.test(value)

/** A request's head; `binds`: it signs its connection in. */
export type WrittenHead = { readonly text: string; readonly binds: boolean }

/** @param host of the upstream, with its port where that is not the usual one. @throws if it could be read as anything but one head */
export const writeHead = (asked: Asked, host: string): WrittenHead => {
  const { method, target, upgrade, body } = asked
  const length = body instanceof Uint8Array ? body.length : asked.length
  // What follows an answer to CONNECT is no HTTP any more, whatever its head says.
  if (!/^(?!CONNECT$)[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method) || !/^\/[\x21-\x7e\x80-\xff]*$/.test(target))
    throw new Error('the request line cannot be sent as it is')
  if (length !== undefined && !(Number.isSafeInteger(length) && length >= 0))
    throw new Error('the length of the body is no number of bytes')
  let named: string | undefined
  let binding = false
  // Joined in the end: a head that grows line by line is a tree of strings, and costs twice its size again.
  const lines: string[] = []
  for (const [name, value] of asked.headers) {
    const { lower, valid } = nameOf(name)
    if (!valid || /[^\t\x20-\x7e\x80-\xff]/.test(value) || ours.has(lower))
      throw new Error(`the header ${JSON.stringify(name)} cannot be sent as it is`)
    if (binds(lower, value)) binding = true
    if (lower !== 'host') lines.push(name, ': ', value, '\r\n')
    else if (named === undefined) named = value
    else throw new Error('there are two Host lines')
  }
  const connection = upgrade === undefined ? (asked.fresh ? 'close' : 'keep-alive') : `upgrade\r\nupgrade: ${upgrade}`
  const framing =
    body === undefined
      ? contentful.has(method)
        ? 'content-length: 0\r\n'
        : ''
      : length === undefined
        ? 'transfer-encoding: chunked\r\n'
        : `content-length: ${length}\r\n`
  lines.push(framing, '\r\n')
  const text = `${method} ${target} HTTP/1.1\r\nhost: ${named ?? host}\r\nconnection: ${connection}\r\n${lines.join('')}`
  return { text, binds: binding }
}
