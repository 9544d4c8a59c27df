// From a parsed HTTP/1 head to a Call that has one reading, or a refusal that says which line is wrong and how to write it.
// Works on the raw lines only: node's `request.headers` joins, drops and picks. What an upstream may opt in to is a doubt, computed
// from the Call alone, that `settle` refuses or answers with every reading of the path.
import { createHash, randomUUID } from 'node:crypto'
import { isIPv4, isIPv6, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { HoldpointError } from './errors.ts'
import { nominated, trimmed, valuesOf } from './headers.ts'
import { type CallerRequest, linesOf } from './incoming.ts'
import { hopByHop, nameOf } from './names.ts'
import type { Call, Header } from './nouns.ts'
import { PlainRequest } from './plain.ts'
import type { Upstream } from './settings.ts'
import { parseTarget, readings } from './target.ts'

export { endToEnd } from './headers.ts'

/** TRACE and CONNECT are never served; COPY, MOVE, LOCK and their kin keep what they do in headers, so they are not either. */
export const methods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'QUERY',
  'PROPFIND',
  'PROPPATCH',
  'MKCOL',
  'REPORT',
  'SEARCH',
])

const maxHeaders = 100

const refuse: (detail: string) => never = detail => {
  throw new HoldpointError('malformed', detail)
}

/**
 * Reads a request's head. Nothing of the body is touched.
 * @param limits header: bytes of request line and header lines
 * @throws malformed, target_too_long, head_too_large, method_not_allowed
 */
export const receive = (request: CallerRequest, limits: { readonly header: number }): Call => {
  const { method = '', url: target = '', httpVersion } = request
  if (httpVersion !== '1.1' && httpVersion !== '1.0') refuse('request line: use HTTP/1.1')
  const lines = request instanceof PlainRequest ? request.lines : headerLines(linesOf(request))
  refuseTooLarge(target, method, lines, limits.header)
  if (!methods.has(method)) {
    const allow = [...methods].join(', ')
    throw new HoldpointError('method_not_allowed', `method: use one of ${allow}`, { headers: { Allow: allow } })
  }
  const values = refuseDuplicates(lines)
  const host = hostOf(values.get('host') ?? refuse('Host: send exactly one'))
  const contentLength = framing(values, httpVersion)
  if (contentLength !== 0 && (method === 'HEAD' || method === 'OPTIONS'))
    refuse(`body: ${method} has none; send it without`)
  const expect = values.get('expect')
  if (expect !== undefined && expect.toLowerCase() !== '100-continue')
    refuse('Expect: only 100-continue is known; leave it out')
  const named = nominated(lines)
  const upgrade = readUpgrade(method, httpVersion, lines, values, named, contentLength)
  const clientCertificate = certificateOf(request.socket)
  const { path, rawPath, rawQuery, query } = target === '*' && method === 'OPTIONS' ? wholeServer : parseTarget(target)
  const call: { -readonly [K in keyof Call]: Call[K] } = {
    id: randomUUID(),
    receivedAt: Date.now(),
    method,
    target,
    path,
    rawPath,
    rawQuery,
    query,
    host,
    headers: withoutNamed(lines, named),
    address: (request.socket.remoteAddress ?? refuse('connection: it is already closed')).replace(
      /^::ffff:(?=\d+\.)/,
      '',
    ),
    scheme: 'encrypted' in request.socket ? 'https' : 'http',
    httpVersion,
    contentLength,
  }
  if (clientCertificate !== undefined) call.clientCertificate = clientCertificate
  if (upgrade !== undefined) call.upgrade = upgrade
  return call
}

// A connection has one client certificate, or none, for as long as it lasts.
const certificates = new WeakMap<Socket, string | undefined>()

const certificateOf = (socket: Socket): string | undefined => {
  if (!(socket instanceof TLSSocket)) return undefined
  if (certificates.has(socket)) return certificates.get(socket)
  const { raw } = socket.getPeerCertificate()
  const thumbprint = raw === undefined ? undefined : createHash('sha256').update(raw).digest('base64url')
  certificates.set(socket, thumbprint)
  return thumbprint
}

// `OPTIONS *` asks about the server itself (RFC 9110 §9.3.7): whoever answers it does so without an upstream.
const wholeServer = { path: '*', rawPath: '*', rawQuery: undefined, query: [] } as const

const headerLines = (raw: readonly Header[]): readonly Header[] =>
  raw.map(([written, text]) => {
    const { name, valid } = nameOf(written)
    // Node's parser leaves nothing to trim; whoever reads a value relies on it all the same.
    const value = trimmed(text)
    if (!valid) refuse('header: a name has a character that is not allowed in names')
    if (/[^\t\x20-\x7e]/.test(value)) refuse(`${name}: it has a control character or one outside ASCII: encode it`)
    return [name, value]
  })

const refuseTooLarge = (target: string, method: string, lines: readonly Header[], limit: number): void => {
  if (lines.length > maxHeaders) throw new HoldpointError('head_too_large', `headers: send at most ${maxHeaders} lines`)
  // The bytes on the wire: " HTTP/1.1\r\n" and a space; ": " and "\r\n" per line; the empty line.
  let size = method.length + target.length + 14
  for (const [name, value] of lines) size += name.length + value.length + 4
  if (size > limit)
    throw new HoldpointError('head_too_large', `headers: request line and headers may have ${limit} bytes together`)
}

/** Lower-case name -> value, for the names of which there may be one line only. */
const refuseDuplicates = (lines: readonly Header[]): ReadonlyMap<string, string> => {
  const values = new Map<string, string>()
  for (const [name, value] of lines) {
    const { lower, single } = nameOf(name)
    if (!single) continue
    if (values.has(lower)) refuse(`${name}: it was sent twice: send it once`)
    values.set(lower, value)
  }
  return values
}

// Nearly every call names one of the same few hosts; what callers make up must not fill the memory.
const knownHosts = new Map<string, string>()
const maxKnownHosts = 1000

const hostOf = (value: string): string => {
  const seen = knownHosts.get(value)
  if (seen !== undefined) return seen
  const host = parseHost(value)
  // A copy: what was cut out of a head keeps all of it alive.
  if (knownHosts.size < maxKnownHosts) knownHosts.set(Buffer.from(value, 'latin1').toString('latin1'), host)
  return host
}

/** The host name of a Host line (RFC 3986 §3.2.2, without user info, escapes or zones), lower case, without port and final dot. */
const parseHost = (value: string): string => {
  const parts = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9]\d{0,4}))?$/.exec(value)
  const [, name = '', port] = parts ?? refuse('Host: write a host name or an address, with a port if need be')
  if (port !== undefined && Number(port) > 65535) refuse('Host: the port is above 65535')
  if (name.startsWith('[')) {
    if (!isIPv6(name.slice(1, -1))) refuse('Host: what is in brackets is no IPv6 address')
    return new URL(`http://${name}`).hostname
  }
  const host = name.toLowerCase().replace(/\.$/, '')
  const labels = host.split('.')
  if (host.length > 253 || !labels.every(label => /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/.test(label)))
    refuse('Host: it is no valid host name')
  // Everything else that ends in a number is an IPv4 address to some (WHATWG URL §3.5), and not to others.
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '') && !isIPv4(host))
    refuse('Host: write the IPv4 address as four decimal numbers')
  return host
}

/** RFC 9112 §6, with everything refused that it merely discourages. How many bytes follow; undefined: chunked; 0: none. */
const framing = (values: ReadonlyMap<string, string>, httpVersion: string): number | undefined => {
  const coding = values.get('transfer-encoding')
  const length = values.get('content-length')
  if (coding !== undefined) {
    if (httpVersion !== '1.1') refuse('Transfer-Encoding: HTTP/1.0 has none; send Content-Length')
    if (coding.toLowerCase() !== 'chunked') refuse('Transfer-Encoding: only "chunked", once, is accepted')
    if (length !== undefined) refuse('Content-Length: it was sent together with Transfer-Encoding: send one of them')
    return undefined
  }
  if (length !== undefined && !/^(?:0|[1-9]\d{0,14})$/.test(length))
    refuse('Content-Length: write a plain decimal number of bytes')
  return Number(length ?? 0)
}

/** A tunnel that we know how to carry; any other Upgrade is ignored, as RFC 9110 §7.8 allows, and never forwarded. */
const readUpgrade = (
  method: string,
  httpVersion: string,
  lines: readonly Header[],
  values: ReadonlyMap<string, string>,
  named: ReadonlySet<string>,
  contentLength: number | undefined,
): Call['upgrade'] => {
  if (!named.has('upgrade') || httpVersion !== '1.1') return undefined
  const asked = valuesOf(lines, 'upgrade')
  if (asked.length === 0) return undefined
  if (contentLength !== 0) refuse('Upgrade: a request with a body cannot change protocols: leave Upgrade out')
  const protocol = asked.length === 1 ? asked[0]?.toLowerCase() : undefined
  if (protocol === 'spdy/3.1') return protocol
  if (protocol !== 'websocket') return undefined
  // RFC 6455 §4.2.1
  if (method !== 'GET') refuse('Upgrade: a WebSocket is opened with GET')
  if (values.get('sec-websocket-version') !== '13') refuse('Sec-WebSocket-Version: it must be 13')
  // 16 bytes of base64: the last of 22 characters carries four bits.
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(values.get('sec-websocket-key') ?? ''))
    refuse('Sec-WebSocket-Key: it must be 16 bytes in base64')
  return protocol
}

/**
 * RFC 9110 §7.6.1: what Connection names is for us and goes no further, so no rule may be shown it either: it is not part of the call.
 * A header that decides something must not disappear in this way.
 */
const withoutNamed = (lines: readonly Header[], named: ReadonlySet<string>): readonly Header[] => {
  for (const token of named) {
    if (hopByHop.has(token) || token === 'close' || token === '') continue
    if (nameOf(token).single || nameOf(token).stripped)
      refuse(`Connection: it names ${token}, which is not for this connection alone: remove it`)
  }
  return named.size === 0
    ? lines
    : lines.filter(([name]) => hopByHop.has(name.toLowerCase()) || !named.has(name.toLowerCase()))
}

// ---- doubts

/** Something that most upstreams should never be sent, and the key of their configuration that lets it through. */
export type Doubt = {
  readonly key: 'encodedSlash' | 'doubleSlash' | 'pathParameters' | 'getBody' | 'underscores'
  readonly detail: string
}

/** What is doubtful about a call: a function of the call alone, so a held call has the same doubts when it is read back. */
export const doubts = (call: Call): readonly Doubt[] => {
  const found: Doubt[] = []
  if (call.path.includes('%2F'))
    found.push({ key: 'encodedSlash', detail: 'path: it has an encoded slash: use another name' })
  if (call.path.includes('//'))
    found.push({ key: 'doubleSlash', detail: 'path: it has two slashes in a row: write one' })
  if (call.path.includes(';'))
    found.push({ key: 'pathParameters', detail: 'path: it has a raw ";": write %3B, or use the query' })
  if (call.method === 'GET' && call.contentLength !== 0)
    found.push({ key: 'getBody', detail: 'body: GET has none; send it without' })
  const odd = call.headers.find(([name]) => nameOf(name).underscored)
  if (odd !== undefined) found.push({ key: 'underscores', detail: `${odd[0]}: write "-" for "_" in header names` })
  return found
}

/**
 * Settles the doubts of a call for the upstream it goes to.
 * @returns every reading of its path, the canonical one first; a prefix of the upstream stays in front of each, as it is configured
 * @throws malformed for a doubt that the upstream (or nobody, if there is none) does not opt in to
 */
export const settle = (call: Call, upstream: Upstream | undefined): readonly string[] => {
  for (const { key, detail } of doubts(call)) {
    const accepted = upstream !== undefined && upstream[key] !== false && upstream[key] !== 'refuse'
    if (!accepted) refuse(`${detail} (an upstream can accept it: ${key})`)
  }
  const prefix = upstream !== undefined && 'prefix' in upstream.at ? upstream.at.prefix.replace(/\/$/, '') : ''
  const rests = readings(call.path.slice(prefix.length), { caseSensitive: upstream?.caseSensitive ?? true })
  return prefix === '' ? rests : rests.map(rest => prefix + rest)
}
