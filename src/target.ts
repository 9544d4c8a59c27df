// A request target, taken apart: canonical path (RFC 3986 §6.2.2) and query. A path that servers are known to read in two ways is
// refused, never cleaned; the few forms that some upstreams really need are left to the upstream's opt-ins (receive.ts, `settle`),
// and then `readings` gives every path it may be taken for.
import { HoldpointError } from './errors.ts'
import type { Call } from './nouns.ts'
import { parsePairs } from './pairs.ts'

const maxPath = 8192
const maxSegments = 256

const refuse = (detail: string): never => {
  throw new HoldpointError('malformed', detail)
}

/** @throws malformed, target_too_long */
export const parseTarget = (target: string): Pick<Call, 'target' | 'path' | 'rawPath' | 'rawQuery' | 'query'> => {
  if (/[^\x21-\x7e]/.test(target)) refuse('target: it has a character that is not printable ASCII: percent-encode it')
  if (target.includes('#')) refuse('target: it has a "#": write %23, or leave the fragment out')
  const mark = target.indexOf('?')
  const rawPath = mark < 0 ? target : target.slice(0, mark)
  const rawQuery = mark < 0 ? undefined : target.slice(mark + 1)
  return {
    target,
    path: canonical(rawPath),
    rawPath,
    rawQuery,
    query: rawQuery === undefined ? [] : parseQuery(rawQuery),
  }
}

const parseQuery = (rawQuery: string): Call['query'] => {
  const pairs = parsePairs(rawQuery)
  if (typeof pairs === 'string') return refuse(`query: ${pairs}`)
  if (pairs.some(([name]) => name.toLowerCase() === 'access_token')) {
    refuse('query: access_token would end up in logs: send the token in the Authorization header')
  }
  return pairs
}

const canonical = (rawPath: string): string => {
  if (!rawPath.startsWith('/'))
    refuse('target: write it as a path that begins with "/"; full addresses are for forward proxies')
  if (rawPath.length > maxPath)
    throw new HoldpointError('target_too_long', `path: it is longer than ${maxPath} characters`)
  // Nothing here that could be escaped, dropped or taken for another character: there is one reading, itself.
  if (rawPath.length <= maxSegments && !/[^A-Za-z0-9\-_~/]/.test(rawPath)) return rawPath
  const odd = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]/.exec(rawPath)
  if (odd !== null)
    refuse(`path: it has a raw ${JSON.stringify(odd[0])}: percent-encode it (a backslash is refused in any form)`)
  let decoded: string
  try {
    decoded = decodeURIComponent(rawPath)
  } catch {
    return refuse('path: it has a "%" that does not begin the escape of a UTF-8 character: write %25')
  }
  const path = rawPath.replace(/%[0-9A-Fa-f]{2}/g, escaped => {
    const char = String.fromCharCode(Number.parseInt(escaped.slice(1), 16))
    return /[A-Za-z0-9\-._~]/.test(char) ? char : escaped.toUpperCase()
  })
  refuseTwoReadings(path, decoded)
  return path
}

const refuseTwoReadings = (path: string, decoded: string): void => {
  if (/%25(?:[0-9A-F]{2}|u[0-9A-F]{4})/i.test(path)) refuse('path: it is percent-encoded twice: encode it once')
  if (/[\x00-\x1f\x7f-\x9f]/.test(decoded)) refuse('path: it has an encoded control character: remove it')
  if (decoded.includes('\\'))
    refuse('path: it has an encoded backslash, which some servers take for "/": use another name')
  if (/[^\x00-\x7f]/.test(decoded)) {
    for (const char of decoded)
      if (standsForAscii(char))
        refuse('path: it has a Unicode form of a dot, slash or other delimiter: use the plain character')
  }
  const segments = decoded.split('/')
  if (segments.length - 1 > maxSegments)
    throw new HoldpointError('target_too_long', `path: it has more than ${maxSegments} segments`)
  segments.forEach((segment, index) => {
    // A path parameter must not hide a dot segment: `..;` is `..` to whoever cuts parameters first.
    const pieces = segment.split(';')
    if (pieces.some(isDotSegment))
      refuse('path: it has a segment "." or "..", or one that ends in "..": write the path that is meant')
    const inside = index < segments.length - 1
    if (inside && pieces.some(piece => ending(piece).dots > 0))
      refuse('path: a segment ends in a dot, which some servers drop: remove the dot')
  })
  if (/\/(?:https?|wss?|ftp|file):\//i.test(decoded))
    refuse('path: it has a full address inside: percent-encode it and put it into the query')
}

/** How many dots a name ends with, and whether it is nothing else; spaces between them count, since the same servers drop both. */
const ending = (name: string): { readonly dots: number; readonly all: boolean } => {
  let at = name.length
  let dots = 0
  for (; at > 0 && (name[at - 1] === '.' || name[at - 1] === ' '); at--) if (name[at - 1] === '.') dots++
  return { dots, all: at === 0 }
}

const isDotSegment = (piece: string): boolean => {
  const { dots, all } = ending(piece)
  return dots > 1 || (dots === 1 && all)
}

// Compatibility forms (NFKC), and three slashes that have none but that Windows maps ("best fit") all the same.
const standsForAscii = (char: string): boolean =>
  char > '\x7f' && (/[\x00-\x1f./\\%;?#]/.test(char.normalize('NFKC')) || /[\u2044\u2215\u2216]/.test(char))

type Reader = (path: string) => string

// What servers do to a path before they look at it. Sub-delimiters, ":" and "@" mean the same encoded or not for nearly all of them,
// and some drop dots and spaces from the end of a name, so these two are always read.
const decodeDelimiters: Reader = path => path.replace(/%(?:2[146789ABC]|3[ABD]|40)/g, decodeURIComponent)
const dropEnds: Reader = path =>
  path
    .split('/')
    .map(name => name.slice(0, name.length - endLength(name)))
    .join('/')
const decodeSlashes: Reader = path => path.replaceAll('%2F', '/')
const mergeSlashes: Reader = path => path.replace(/\/{2,}/g, '/')
const cutParameters: Reader = path => path.replace(/;[^/]*/g, '')
/** As a reader that does not tell upper from lower case; escapes that are not whole characters (in a glob) stay as they are. */
export const foldCase: Reader = path =>
  path.replace(/(?:%[89A-F][0-9A-F])+|%[0-9A-F]{2}|[A-Z]+/g, part => {
    if (!part.startsWith('%')) return part.toLowerCase()
    if (part < '%8') return part
    try {
      return encodeURIComponent(decodeURIComponent(part).toLowerCase())
    } catch {
      return part
    }
  })

const endLength = (path: string): number => {
  let at = path.length
  for (;;) {
    if (path[at - 1] === '.') at--
    else if (path.endsWith('%20', at)) at -= 3
    else return path.length - at
  }
}

/** How an upstream's own configuration says that it reads paths. */
export type Leniency = { readonly caseSensitive: boolean }

/** Every path that an upstream may take a canonical path for, the path itself first. Rules are matched against all of them. */
export const readings = (path: string, { caseSensitive }: Leniency): readonly string[] => {
  const readers = caseSensitive ? alwaysRead : caselessRead
  if (caseSensitive && !/[%;]|\/\/|\.$/.test(path)) return [path]
  // A set visits what is added while it is walked, so this is the closure under all readers, in any order.
  const found = new Set([path])
  for (const known of found) for (const reader of readers) found.add(reader(known))
  return [...found]
}

const alwaysRead: readonly Reader[] = [decodeDelimiters, dropEnds, decodeSlashes, mergeSlashes, cutParameters]
const caselessRead: readonly Reader[] = [...alwaysRead, foldCase]
