// JSON with exactly one reading, or none. Two parsers never disagree about what passes here: only UTF-8 without BOM, no name given
// twice (nor in another case), no lone surrogates, no number that a double cannot hold, at most 64 levels deep.
import type { Json } from './nouns.ts'

export const maxDepth = 64

type Parsed = { readonly value: Json } | { readonly unknown: string }

class Unknown extends Error {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Parses strictly. `unknown` says why a value cannot be trusted to mean one thing; it never quotes the input. */
export const parseStrict = (bytes: Uint8Array): Parsed => {
  const text = decode(bytes)
  return typeof text === 'string' ? parseText(text) : text
}

/** One JSON value a line, as NDJSON and JSON Lines have them; a single line in doubt puts all of them in doubt. */
export const parseLines = (bytes: Uint8Array): { readonly values: readonly Json[] } | { readonly unknown: string } => {
  const text = decode(bytes)
  if (typeof text !== 'string') return text
  // To some readers a line ends there, even inside a string.
  if (/\r(?!\n)|[\u0085\u2028\u2029]/.test(text)) return { unknown: 'it has a line break other than LF and CRLF' }
  const values: Json[] = []
  for (const line of text.replace(/\r?\n$/, '').split(/\r?\n/)) {
    // Skipped by some, an error or the end to others.
    if (line.trim() === '') return { unknown: 'it has an empty line' }
    const parsed = parseText(line)
    if ('unknown' in parsed) return { unknown: `in a line, ${parsed.unknown}` }
    values.push(parsed.value)
  }
  return { values }
}

const decode = (bytes: Uint8Array): string | { readonly unknown: string } => {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return { unknown: 'it is not UTF-8' }
  }
  return text.charCodeAt(0) === 0xfeff ? { unknown: 'it begins with a byte order mark' } : text
}

const parseText = (text: string): Parsed => {
  try {
    const end = { at: 0 }
    skip(text, end)
    const value = read(text, end, 1)
    skip(text, end)
    if (end.at !== text.length) throw new Unknown('something follows the JSON value')
    return { value }
  } catch (error) {
    if (error instanceof Unknown) return { unknown: error.message }
    throw error
  }
}

/**
 * A text that `parseStrict` accepts without the strings and numbers under these names, one name within the other.
 * What is left differs wherever anything else does.
 */
export const withoutValues = (bytes: Uint8Array, paths: readonly (readonly string[])[]): Uint8Array => {
  const text = utf8.decode(bytes)
  const cuts = paths
    .map(path => spanOf(text, path))
    .filter(span => span !== undefined)
    .sort((one, other) => other.start - one.start)
  return cuts.length === 0
    ? bytes
    : Buffer.from(cuts.reduce((left, { start, end }) => left.slice(0, start) + left.slice(end), text))
}

const spanOf = (
  text: string,
  path: readonly string[],
): { readonly start: number; readonly end: number } | undefined => {
  const position = { at: 0 }
  skip(text, position)
  for (const [depth, name] of path.entries()) if (!enter(text, position, name, depth)) return undefined
  const start = position.at
  const value = read(text, position, path.length)
  return typeof value === 'string' || typeof value === 'number' ? { start, end: position.at } : undefined
}

/** Goes to the value of a name in the object here, if there is one. */
const enter = (text: string, position: Position, name: string, depth: number): boolean => {
  if (text.charCodeAt(position.at) !== 0x7b) return false
  for (;;) {
    position.at++
    skip(text, position)
    if (text.charCodeAt(position.at) === 0x7d) return false
    const found = readString(text, position)
    skip(text, position)
    position.at++
    skip(text, position)
    if (found === name) return true
    read(text, position, depth + 1)
    skip(text, position)
    if (text.charCodeAt(position.at) === 0x7d) return false
  }
}

/** A name as the laxest decoder compares it: `ſ` is an s there, and `K` (kelvin) a k. */
export const foldName = (name: string): string => name.toUpperCase().toLowerCase()

type Position = { at: number }

const skip = (text: string, position: Position): void => {
  for (;;) {
    const code = text.charCodeAt(position.at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
    position.at++
  }
}

const invalid = (): Unknown => new Unknown('it is not valid JSON')

const read = (text: string, position: Position, depth: number): Json => {
  if (depth > maxDepth) throw new Unknown(`it is nested more than ${maxDepth} levels deep`)
  switch (text.charCodeAt(position.at)) {
    case 0x7b:
      return readObject(text, position, depth)
    case 0x5b:
      return readArray(text, position, depth)
    case 0x22:
      return readString(text, position)
    case 0x74:
      return word(text, position, 'true', true)
    case 0x66:
      return word(text, position, 'false', false)
    case 0x6e:
      return word(text, position, 'null', null)
    default:
      return readNumber(text, position)
  }
}

const word = (text: string, position: Position, expected: string, value: Json): Json => {
  if (!text.startsWith(expected, position.at)) throw invalid()
  position.at += expected.length
  return value
}

const readObject = (text: string, position: Position, depth: number): Json => {
  const object: { [name: string]: Json } = Object.create(null)
  const seen = new Set<string>()
  position.at++
  skip(text, position)
  if (text.charCodeAt(position.at) === 0x7d) {
    position.at++
    return object
  }
  for (;;) {
    if (text.charCodeAt(position.at) !== 0x22) throw invalid()
    const name = readString(text, position)
    const folded = foldName(name)
    if (seen.has(folded)) throw new Unknown('a name is given twice, or in two cases, in one object')
    seen.add(folded)
    skip(text, position)
    if (text.charCodeAt(position.at) !== 0x3a) throw invalid()
    position.at++
    skip(text, position)
    object[name] = read(text, position, depth + 1)
    skip(text, position)
    const code = text.charCodeAt(position.at++)
    if (code === 0x7d) return object
    if (code !== 0x2c) throw invalid()
    skip(text, position)
  }
}

const readArray = (text: string, position: Position, depth: number): Json => {
  const array: Json[] = []
  position.at++
  skip(text, position)
  if (text.charCodeAt(position.at) === 0x5d) {
    position.at++
    return array
  }
  for (;;) {
    array.push(read(text, position, depth + 1))
    skip(text, position)
    const code = text.charCodeAt(position.at++)
    if (code === 0x5d) return array
    if (code !== 0x2c) throw invalid()
    skip(text, position)
  }
}

/** From so many characters on, asking the engine for one string is cheaper than reading it here. */
const longString = 64

const readString = (text: string, position: Position): string => {
  const start = ++position.at
  const quote = text.indexOf('"', start)
  if (quote < 0) throw invalid()
  // Nothing escapes this quote, so it is the last one.
  if (quote - start >= longString && text.charCodeAt(quote - 1) !== 0x5c) {
    position.at = quote + 1
    return unescaped(text.slice(start - 1, quote + 1))
  }
  let escaped = false
  for (;;) {
    const code = text.charCodeAt(position.at)
    if (code === 0x22) break
    // NaN (the end) fails the first comparison too.
    if (!(code >= 0x20)) throw invalid()
    if (code === 0x5c) {
      escaped = true
      position.at++
    }
    position.at++
  }
  const end = position.at++
  return escaped ? unescaped(text.slice(start - 1, end + 1)) : text.slice(start, end)
}

/** @param quoted a string with its quotes, none of which is inside */
const unescaped = (quoted: string): string => {
  let value: string
  try {
    value = JSON.parse(quoted) as string
  } catch {
    throw invalid()
  }
  if (!value.isWellFormed()) throw new Unknown('a string has half a surrogate pair')
  return value
}

/** Nobody writes longer ones, and what is said of their digits below takes the square of their length. */
const maxNumber = 100
const plainInteger = /^-?\d{1,15}$/
const lossy = 'a number is too large or too precise'
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

const readNumber = (text: string, position: Position): number => {
  number.lastIndex = position.at
  const found = number.exec(text)?.[0]
  if (found === undefined) throw invalid()
  position.at += found.length
  const value = Number(found)
  if (plainInteger.test(found)) return value
  if (found.length > maxNumber) throw new Unknown(lossy)
  const digits = found
    .replace(/[eE].*$/, '')
    .replace(/(?<=\.\d*?)0+$/, '')
    .replace(/[-.]/g, '')
    .replace(/^0+/, '')
  const lost =
    !Number.isFinite(value) ||
    (value === 0 && digits !== '') ||
    (Number.isInteger(value) ? !Number.isSafeInteger(value) : digits.length > 17) ||
    // A fraction too small to count for us may count for the upstream: 100.0000000000000001 is over 100.
    (Number.isInteger(value) && !/^-?\d+$/.test(found) && digits.length > 15)
  if (lost) throw new Unknown(lossy)
  return value
}
