// What survives of a caller's head, what survives of an answer's head, and what we say of the caller's connection.
import { randomBytes } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { hopByHop, nameOf } from './names.ts'
import type { Call, Header } from './nouns.ts'
import { preferences } from './prefer.ts'
import type { Settings } from './settings.ts'

const none: ReadonlySet<string> = new Set()
const noValues: readonly string[] = []

/**
 * What of a caller's head may reach the upstream, in order.
 * @param own lower-case names of headers that carry the caller's credential for us
 */
export const endToEnd = (call: Call, own: readonly string[] = noValues): readonly Header[] => {
  const head: Header[] = []
  for (const header of call.headers) {
    const [name, value] = header
    const { lower, stripped, underscored } = nameOf(name)
    if (stripped || underscored || own.includes(lower)) continue
    const kept =
      lower === 'cookie' ? withoutOurCookies(value) : lower === 'prefer' ? withoutOurPreferences(value) : value
    if (kept === value) head.push(header)
    else if (kept !== '') head.push([name, kept])
  }
  return head
}

const withoutOurCookies = (value: string): string =>
  filtered(value.split(';'), '; ', value, cookie => /^(?:__(?:host|secure)-)?holdpoint/i.test(cookie.trim()))

const withoutOurPreferences = (value: string): string =>
  filtered(preferences(value), ', ', value, preference =>
    ['respond-async', 'wait'].includes(preference.split(/[=;]/, 1)[0]?.trim().toLowerCase() ?? ''),
  )

/** The text as it was, unless a part of it is ours. */
const filtered = (parts: readonly string[], glue: string, text: string, ours: (part: string) => boolean): string => {
  const theirs = parts.filter(part => !ours(part))
  if (theirs.length === parts.length) return text
  return theirs
    .map(part => part.trim())
    .filter(part => part !== '')
    .join(glue)
}

/** What of an upstream's head reaches the caller, in order: nothing meant for the connection, nothing that speaks for us. */
export const answerHeaders = (
  headers: readonly Header[],
  status: number,
  named: ReadonlySet<string> = nominated(headers),
): readonly Header[] => {
  const kept: Header[] = []
  for (const header of headers) {
    const { lower, answered } = nameOf(header[0])
    if (answered === 'dropped' || named.has(lower)) continue
    if (answered === 'kept' || (lower === 'set-cookie' ? !isOurCookie(header[1]) : status !== 204)) kept.push(header)
  }
  return kept
}

const isOurCookie = (value: string): boolean => /^\s*(?:__(?:host|secure)-)?holdpoint/i.test(value)

// RFC 9110 §6.5.1: a trailer must not change what was already said or done: framing, routing, authentication, how content is read, how
// an answer is controlled or kept; and nobody but us speaks for us. ETag, Content-Digest and gRPC's status may come late.
const neverTrailers =
  /^(?:holdpoint-|proxy-|access-control-|sec-|x-forwarded-|x-accel-|if-|content-(?!digest$)|set-cookie|cookie|www-auth|authenti|authori)/
const neverTrailer: ReadonlySet<string> = new Set([
  ...'accept age allow alt-svc cache-control clear-site-data date dpop dpop-nonce early-data expect expires forwarded host'.split(
    ' ',
  ),
  ...'link location max-forwards origin pragma range referer referrer-policy refresh retry-after'.split(' '),
  ...'strict-transport-security vary via warning x-content-type-options x-frame-options'.split(' '),
])

/** What of an upstream's trailers may reach a caller that asked for them, in order. */
export const answerTrailers = (trailers: readonly Header[], named: ReadonlySet<string> = none): readonly Header[] =>
  trailers.filter(([name, value]) => {
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || named.has(lower) || neverTrailer.has(lower) || neverTrailers.test(lower)) return false
    return /^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(lower) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
  })

/** The Trailer line that announces them: what the upstream announced and may send; none for an answer that cannot have any. */
export const announced = (headers: readonly Header[], status: number): readonly Header[] => {
  const has = (wanted: string): boolean => headers.some(([name]) => name.toLowerCase() === wanted)
  if (status === 204 || status === 304 || !has('trailer') || has('content-length')) return []
  const names = headers
    .filter(([name]) => name.toLowerCase() === 'trailer')
    .flatMap(([, value]) => value.split(','))
    .map((name): Header => [name.trim(), ''])
  const kept = answerTrailers(names, nominated(headers))
  return kept.length === 0 ? [] : [['Trailer', kept.map(([name]) => name).join(', ')]]
}

/** Does a caller want to hear trailers (RFC 9110 §10.1.4)? */
export const takesTrailers = (lines: readonly Header[]): boolean =>
  valuesOf(lines, 'te').some(value => value.split(',').some(token => token.trim().toLowerCase() === 'trailers'))

/**
 * A value without the spaces and tabs around it, and nothing else: a byte that `trim` takes for a space may be the end of a letter in
 * UTF-8.
 */
export const trimmed = (text: string, start = 0, end = text.length): string => {
  let from = start
  let until = end
  while (from < until && isBlank(text.charCodeAt(from))) from++
  while (until > from && isBlank(text.charCodeAt(until - 1))) until--
  return text.slice(from, until)
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

/** Lower-case names that Connection lines list. */
export const nominated = (headers: readonly Header[]): ReadonlySet<string> => {
  const lines = valuesOf(headers, 'connection')
  if (lines.length === 0 || (lines.length === 1 && lines[0] === 'keep-alive')) return none
  return new Set(lines.flatMap(value => value.split(',')).map(token => token.trim().toLowerCase()))
}

/** The values of the lines of one name, in order. Every head is searched for several names; only names of the same length are looked at. */
export const valuesOf = (headers: readonly Header[], lower: string): readonly string[] => {
  let found: string[] | undefined
  for (const [name, value] of headers) {
    if (name.length !== lower.length || name.toLowerCase() !== lower) continue
    if (found === undefined) found = [value]
    else found.push(value)
  }
  return found ?? noValues
}

/**
 * What we tell the upstream of the caller's side: X-Forwarded-*, Via and the trace context, made fresh.
 * @param trace headers of the call that collects an approved one; its trace context then goes before the opening call's
 */
export const rebuilt = (
  call: Call,
  gate: Pick<Settings['gate'], 'trustedProxies'>,
  trace: readonly Header[] = [],
): readonly Header[] => {
  const trusted = isTrusted(call.address, gate.trustedProxies)
  const from = trusted ? [...earlierHops(call), call.address].join(', ') : call.address
  const scheme = (trusted ? forwardedScheme(call) : undefined) ?? call.scheme
  const host = one(call.headers, 'host') ?? call.host
  const after = host.slice(host.lastIndexOf(':') + 1)
  const port = after !== host && /^\d+$/.test(after) ? after : scheme === 'https' ? '443' : '80'
  return [
    ['X-Forwarded-For', from],
    ['X-Forwarded-Proto', scheme],
    ['X-Forwarded-Host', host],
    ['X-Forwarded-Port', port],
    ['Via', '1.1 holdpoint'],
    ...traceContext(trace.length > 0 ? trace : call.headers),
  ]
}

const one = (headers: readonly Header[], lower: string): string | undefined => {
  const found = valuesOf(headers, lower)
  return found.length === 1 ? found[0] : undefined
}

/** The addresses a trusted proxy reports, or none if one of them is no address: half a list would name the wrong caller. */
const earlierHops = (call: Call): readonly string[] => {
  const listed = valuesOf(call.headers, 'x-forwarded-for')
    .flatMap(value => value.split(','))
    .map(hop => hop.trim())
  return listed.every(hop => isIP(hop) !== 0) ? listed : []
}

const forwardedScheme = (call: Call): 'http' | 'https' | undefined => {
  const said = one(call.headers, 'x-forwarded-proto')?.toLowerCase()
  return said === 'http' || said === 'https' ? said : undefined
}

// A snapshot's list is made into a BlockList once.
const trustedLists = new WeakMap<readonly string[], BlockList>()

/** Is this one of our own proxies? */
export const isTrusted = (address: string, proxies: readonly string[]): boolean => {
  const family = isIP(address)
  if (proxies.length === 0 || family === 0) return false
  let list = trustedLists.get(proxies)
  if (list === undefined) {
    list = new BlockList()
    for (const proxy of proxies) {
      const [net = '', bits] = proxy.split('/')
      const kind = isIP(net) === 6 ? 'ipv6' : 'ipv4'
      if (bits === undefined) list.addAddress(net, kind)
      else list.addSubnet(net, Number(bits), kind)
    }
    trustedLists.set(proxies, list)
  }
  return list.check(address, family === 6 ? 'ipv6' : 'ipv4')
}

// W3C Trace Context §3.2: a context that is not valid starts a new trace, and its tracestate is worth nothing.
const traceContext = (headers: readonly Header[]): readonly Header[] => {
  const parent = one(headers, 'traceparent')
  if (parent !== undefined && /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.test(parent)) {
    return [['traceparent', parent], ...headers.filter(([name]) => name.toLowerCase() === 'tracestate')]
  }
  return [['traceparent', `00-${randomHex(16)}-${randomHex(8)}-00`]]
}

// Random bytes are fetched for many calls at once; each is used once.
let pool = ''
const randomHex = (bytes: number): string => {
  if (pool.length < bytes * 2) pool = randomBytes(4096).toString('hex')
  const taken = pool.slice(0, bytes * 2)
  pool = pool.slice(bytes * 2)
  return taken
}
