// One YAML file as plain values that remember where they stand. Strict: one document, no tags, no merge keys, no key twice, string keys
// only, no number that a double cannot hold; every warning of the parser is a problem. Anchors and aliases work within bounds.
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'

/** One thing wrong (or doubtful) in a file. Lines and columns begin at 1. Never shows a value that may be a secret. */
export type Finding = {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly message: string
}

export type Path = readonly (string | number)[]

export type Source = {
  /** As it is shown in findings. */
  readonly file: string
  readonly text: string
  /** The file's content; undefined if it could not be read as YAML. */
  readonly value: unknown
  readonly problems: readonly Finding[]
  /** A finding at the value under `path`, or at the nearest thing around it that exists; with `key`, at the key itself. */
  finding(path: Path, message: string, at?: 'key'): Finding
}

const aliasLimit = 100

/** Reads YAML text. */
export const readSource = (file: string, text: string): Source => {
  const lines = new LineCounter()
  const place = (offset: number, message: string): Finding => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(line, 1), column: Math.max(col, 1), message }
  }
  const failed = (message: string): Source => {
    const problem = { file, line: 1, column: 1, message }
    return { file, text, value: undefined, problems: [problem], finding: (_, message) => ({ ...problem, message }) }
  }
  let document: Document.Parsed
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      stringKeys: true,
      uniqueKeys: true,
      strict: true,
    })
  } catch {
    return failed('this cannot be read as YAML (is it nested too deeply?)')
  }
  const problems = [...document.errors, ...document.warnings].map(({ pos, code, message }) =>
    place(pos[0], explained(text, pos[0], code, message)),
  )
  if (document.directives?.yaml.explicit) problems.push(place(0, 'a %YAML directive is not allowed here; remove it'))
  const reading = plain(document, text, problems.length === 0, (offset, message) =>
    problems.push(place(offset, message)),
  )

  return {
    file,
    text,
    value: problems.length === 0 ? reading : undefined,
    problems,
    finding: (path, message, at) => place(locate(document, path, at === 'key'), message),
  }
}

const quote = 'quote it: a value that begins with `*`, `!`, `@` or `&` means something else in YAML'

const explained = (text: string, offset: number, code: string, message: string): string => {
  if ('*!@&'.includes(text[offset] || ' ')) return quote
  if (code === 'DUPLICATE_KEY') return 'this key is given twice'
  if (code === 'MULTIPLE_DOCS') return 'a second YAML document begins here; a configuration is one document'
  if (code === 'NON_STRING_KEY') return 'a key must be a string'
  return message
}

/** The document as plain objects and lists. Says what it does not like; `check` is off where the parser already failed. */
const plain = (
  document: Document.Parsed,
  text: string,
  check: boolean,
  say: (offset: number, message: string) => void,
): unknown => {
  const anchors = new Map<string, Node>()
  const used = new Set<string>()
  let aliases = 0

  const read = (node: unknown, within: readonly Node[]): unknown => {
    if (isAlias(node)) {
      const target = anchors.get(node.source)
      const offset = node.range?.[0] ?? 0
      used.add(node.source)
      aliases++
      if (target === undefined) say(offset, quote)
      else if (within.includes(target)) say(offset, 'an alias must not contain itself')
      else if (aliases > aliasLimit) {
        if (aliases === aliasLimit + 1)
          say(offset, `more than ${aliasLimit} aliases are resolved from here on; write the values out`)
      } else return read(target, within)
      return undefined
    }
    if (!isScalar(node) && !isMap(node) && !isSeq(node)) return undefined
    const offset = node.range?.[0] ?? 0
    if (node.anchor !== undefined) anchors.set(node.anchor, node)
    if (node.tag !== undefined && node.tag !== null)
      say(offset, `a YAML tag is not allowed; if it is meant as text, ${quote}`)
    if (isScalar(node)) {
      if (typeof node.value === 'number' && !holds(node.value))
        say(offset, 'this number is too large to be compared exactly')
      return node.value
    }
    if (isSeq(node)) return node.items.map(item => read(item, [...within, node]))
    const object: { [key: string]: unknown } = {}
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : ''
      const at = isScalar(key) ? (key.range?.[0] ?? 0) : offset
      if (name === '<<') say(at, 'merge keys (<<) are not allowed; write the keys out')
      else if (name === '__proto__') say(at, 'this key is not allowed')
      else object[name] = read(value, [...within, node])
    }
    return object
  }
  if (!check) return undefined
  const value = read(document.contents, [])
  for (const [anchor, node] of anchors) {
    if (!used.has(anchor)) say(Math.max(0, text.lastIndexOf(`&${anchor}`, node.range?.[0] ?? 0)), quote)
  }
  return value
}

const holds = (number: number): boolean =>
  Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number))

/** Offset of the value (or key) under `path`, as deep as it exists. */
const locate = (document: Document.Parsed, path: Path, key: boolean): number => {
  let node: unknown = document.contents
  let offset = document.contents?.range?.[0] ?? 0
  for (const [depth, segment] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isSeq(node)) node = node.items[Number(segment)]
    else if (isMap(node)) {
      const pair = node.items.find(item => isScalar(item.key) && String(item.key.value) === String(segment))
      if (pair === undefined) return offset
      if (isScalar(pair.key) && (key || !hasText(pair.value)) && depth === path.length - 1)
        return pair.key.range?.[0] ?? offset
      node = pair.value
    } else return offset
    offset = (node as Node | null)?.range?.[0] ?? offset
  }
  return offset
}

const hasText = (node: unknown): boolean => !(isScalar(node) && node.source === '')
