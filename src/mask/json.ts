// Reads JSON so that nothing of it is lost: members keep their order and their doubles, numbers their digits.
// (JSON.parse would show a reviewer one of two equal keys, and 2^53 for 2^53+1.)

export type JsonNode = { readonly at: number } & (
  | { readonly kind: 'object'; readonly members: readonly (readonly [key: string, value: JsonNode])[] }
  | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'literal'; readonly raw: string }
)

const deepest = 100
const space = /[ \t\r\n]*/y
const literal = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

const notJson = new Error('not JSON')
const tooDeep = new Error('nested too deeply')

/**
 * The one JSON value in `text`; undefined if it is not JSON, 'deep' if it is nested deeper than we look.
 * `partial`: the text is only a beginning, so what is open at its end is closed there.
 */
export const readJson = (text: string, partial = false): JsonNode | 'deep' | undefined => {
  let at = 0
  const skip = (): void => {
    space.lastIndex = at
    space.test(text)
    at = space.lastIndex
  }
  const ended = (): boolean => partial && at >= text.length
  const take = (character: string): boolean => {
    skip()
    if (text[at] !== character) return false
    at += 1
    return true
  }
  const string = (): string => {
    const start = at
    at += 1
    for (; at < text.length; at += 1) {
      const code = text.charCodeAt(at)
      if (code === 0x22) break
      if (code === 0x5c) at += 1
      else if (code < 0x20) throw notJson
    }
    at += 1
    const raw = text.slice(start, at)
    if (at > text.length) {
      if (!partial) throw notJson
      at = text.length
      return unquoteStart(raw)
    }
    return unquote(raw)
  }
  const value = (depth: number): JsonNode => {
    if (depth > deepest) throw tooDeep
    skip()
    const start = at
    if (ended()) return { at, kind: 'literal', raw: '' }
    if (take('{')) {
      const members: [string, JsonNode][] = []
      if (take('}')) return { at: start, kind: 'object', members }
      do {
        skip()
        if (ended()) break
        if (text[at] !== '"') throw notJson
        const key = string()
        if (!take(':') && !ended()) throw notJson
        members.push([key, value(depth + 1)])
      } while (take(','))
      if (!take('}') && !ended()) throw notJson
      return { at: start, kind: 'object', members }
    }
    if (take('[')) {
      const items: JsonNode[] = []
      if (take(']')) return { at: start, kind: 'array', items }
      do items.push(value(depth + 1))
      while (take(','))
      if (!take(']') && !ended()) throw notJson
      return { at: start, kind: 'array', items }
    }
    if (text[at] === '"') return { at: start, kind: 'string', value: string() }
    literal.lastIndex = at
    const found = literal.exec(text)
    if (found !== null) at = literal.lastIndex
    else if (partial && text.length - at < 5) at = text.length
    else throw notJson
    return { at: start, kind: 'literal', raw: found?.[0] ?? '' }
  }
  try {
    const node = value(0)
    skip()
    return at === text.length ? node : undefined
  } catch (thrown) {
    if (thrown === tooDeep) return 'deep'
    if (thrown === notJson) return undefined
    throw thrown
  }
}

const unquote = (raw: string): string => {
  try {
    return JSON.parse(raw) as string
  } catch {
    throw notJson
  }
}

// A string cut off inside an escape (at most six characters) is read up to it.
const unquoteStart = (raw: string): string => {
  for (let end = raw.length; end > 0 && end > raw.length - 6; end -= 1) {
    try {
      return unquote(`${raw.slice(0, end)}"`)
    } catch {}
  }
  throw notJson
}
