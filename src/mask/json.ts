// Reads JSON so that nothing of it is lost: members keep their order and their doubles, numbers their digits.
// (JSON.parse would show a reviewer one of two equal keys, and 2^53 for 2^53+1.)

export type JsonNode =
  | { readonly kind: 'object'; readonly members: readonly (readonly [key: string, value: JsonNode])[] }
  | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'literal'; readonly raw: string }

const deepest = 100
const space = /[ \t\r\n]*/y
const literal = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y

const notJson = new Error('not JSON')
const tooDeep = new Error('nested too deeply')

/** The one JSON value in `text`; undefined if it is not JSON, 'deep' if it is nested deeper than we look. */
export const readJson = (text: string): JsonNode | 'deep' | undefined => {
  let at = 0
  const skip = (): void => {
    space.lastIndex = at
    space.test(text)
    at = space.lastIndex
  }
  const take = (character: string): boolean => {
    skip()
    if (text[at] !== character) return false
    at += 1
    return true
  }
  const need = (character: string): void => {
    if (!take(character)) throw notJson
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
    return unquote(text.slice(start, at))
  }
  const value = (depth: number): JsonNode => {
    if (depth > deepest) throw tooDeep
    if (take('{')) {
      const members: [string, JsonNode][] = []
      if (take('}')) return { kind: 'object', members }
      do {
        skip()
        if (text[at] !== '"') throw notJson
        const key = string()
        need(':')
        members.push([key, value(depth + 1)])
      } while (take(','))
      need('}')
      return { kind: 'object', members }
    }
    if (take('[')) {
      const items: JsonNode[] = []
      if (take(']')) return { kind: 'array', items }
      do items.push(value(depth + 1))
      while (take(','))
      need(']')
      return { kind: 'array', items }
    }
    if (text[at] === '"') return { kind: 'string', value: string() }
    literal.lastIndex = at
    const raw = literal.exec(text)?.[0]
    if (raw === undefined) throw notJson
    at = literal.lastIndex
    return { kind: 'literal', raw }
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
