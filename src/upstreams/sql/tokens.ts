// SQL taken apart into words, names, literals and signs. Servers disagree on where a text or a comment ends, so whatever two of them
// could read differently is not read at all: then the whole text is opaque.

export type Token =
  /** As it was written. */
  | { readonly kind: 'word'; readonly text: string }
  /** A quoted name, without its quotes. */
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'literal' }
  /** One character. */
  | { readonly kind: 'sign'; readonly text: string }

export const isSign = (token: Token | undefined, text: string): boolean => token?.kind === 'sign' && token.text === text

/** The keyword that a word may be; quoted names are none. */
export const upper = (token: Token | undefined): string => (token?.kind === 'word' ? token.text.toUpperCase() : '')

/** Whose rules of quoting count. `any`: only what every server reads alike. */
export type Dialect = 'any' | 'clickhouse' | 'influx'

const maxTokens = 20_000

/** The tokens, or why nobody can tell. */
export const tokens = (text: string, dialect: Dialect): readonly Token[] | string => {
  const found: Token[] = []
  // Control characters and white space that only some servers skip.
  if (/[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffd]/.test(text))
    return 'it has a control character'
  let at = 0
  // Where a name or a parameter ends for the servers that take it for one: they and the others must go on from there alike.
  let fences: readonly number[] = []
  while (at < text.length) {
    const step = next(text, at, dialect)
    if (typeof step === 'string') return step
    if (fences.some(fence => at < fence && fence < step.end)) return elsewhere
    if (dialect === 'any') {
      const fence = fenceAt(text, at)
      if (text[fence] === ']' && text[fence + 1] === ']') return elsewhere
      fences = [...fences.filter(one => one >= step.end), ...(fence < 0 ? [] : [fence])]
      if (fences.length > maxFences) return elsewhere
    }
    at = step.end
    if (step.token !== undefined) found.push(step.token)
    if (found.length > maxTokens) return `it has more than ${maxTokens} words and signs`
  }
  return found
}

const elsewhere = 'it has a name in brackets, or a parameter, that ends elsewhere for some servers'
const maxFences = 100
const parameterAt = /[:@](?:[\p{L}\p{N}_$]|::)+\(/uy

/** The end of `[a name]` of SQLite and SQL Server (where `]]` is a bracket in it), or of `:a(parameter)` of SQLite; -1: none begins here. */
const fenceAt = (text: string, at: number): number =>
  text[at] === '[' ? text.indexOf(']', at) : match(parameterAt, text, at) === undefined ? -1 : text.indexOf(')', at)

type Step = { readonly end: number; readonly token?: Token }

const wordAt = /[\p{L}_][\p{L}\p{N}_$]*/uy
const numberAt = /(?:0[xX][0-9a-fA-F]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?)(?![\p{L}_])/uy
const durationAt = /\d+(?:ns|us|u|µ|ms|s|m|h|d|w|y)\b/uy
const dollarAt = /\$(?:[A-Za-z_][A-Za-z_0-9]*)?\$/y

const match = (pattern: RegExp, text: string, at: number): string | undefined => {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0]
}

const next = (text: string, at: number, dialect: Dialect): Step | string => {
  const sign = text[at] ?? ''
  const two = text.slice(at, at + 2)
  if (/\s/.test(sign))
    return /[ \t\r\n\f]/.test(sign) ? { end: at + 1 } : 'it has white space that not every server skips'
  if (two === '--') return lineComment(text, at, dialect)
  if (two === '/*') return blockComment(text, at)
  if (sign === '#') return 'it has "#", which begins a comment for some servers only'
  if (sign === "'") return quoted(text, at, dialect, 'literal')
  if (sign === '"') return quoted(text, at, dialect, 'name')
  if (sign === '`') return dialect === 'clickhouse' ? quoted(text, at, dialect, 'name') : 'it has a back quote'
  if (sign === '$') return dollar(text, at, dialect)
  if (sign === '\\') return 'it has a backslash outside of a text'
  const word = match(wordAt, text, at)
  if (word !== undefined) {
    const after = text[at + word.length]
    // E'…' and U&'…' change what a backslash means; N, X and B do not.
    if (after === "'" && !/^[nxb]$/i.test(word)) return `it has a text that begins with ${word}'`
    if (/^u$/i.test(word) && after === '&') return 'it has a text or name with Unicode escapes'
    // There it may begin a quoted text, and in some versions it does not.
    if (dialect === 'clickhouse' && word.includes('$')) return 'it has "$" in a word'
    return { end: at + word.length, token: { kind: 'word', text: word } }
  }
  if (/\d/.test(sign)) {
    const number = match(numberAt, text, at) ?? (dialect === 'influx' ? match(durationAt, text, at) : undefined)
    return number === undefined
      ? 'it has a number that runs into a word'
      : { end: at + number.length, token: { kind: 'literal' } }
  }
  if (sign === '/' && dialect === 'influx') {
    const pattern = regexAt(text, at)
    if (pattern !== undefined) return pattern
  }
  return /[\x21-\x7e]/.test(sign)
    ? { end: at + 1, token: { kind: 'sign', text: sign } }
    : 'it has a character outside ASCII that is no letter'
}

/** What may be a regular expression or a division: signs either way, if nothing in it means anything else in one of the two. */
const regexAt = (text: string, at: number): string | undefined => {
  const end = text.indexOf('/', at + 1)
  return end >= 0 && /['"`;\\]|--|\/[*/]/.test(text.slice(at, end + 2))
    ? 'it has a "/" that may begin a regular expression'
    : undefined
}

// MySQL wants white space after `--`; without it the rest is an expression there.
const lineComment = (text: string, at: number, dialect: Dialect): Step | string => {
  if (dialect === 'any' && !/^--(\s|$)/.test(text.slice(at, at + 3))) return 'it has "--" without a space after it'
  const line = text.slice(at).search(/\n/)
  const end = line < 0 ? text.length : at + line
  // For some it ends the comment.
  return /\r(?!\n)/.test(text.slice(at, end + 1)) ? 'it has a carriage return in a comment' : { end }
}

// Some servers nest them, and MySQL runs what is in `/*! … */`.
const blockComment = (text: string, at: number): Step | string => {
  const end = text.indexOf('*/', at + 2)
  if (end < 0) return 'it has a comment without an end'
  const inside = text.slice(at + 2, end)
  if (inside.includes('/*')) return 'it has a comment in a comment'
  if (/^[!M]/.test(inside)) return 'it has a comment that some servers run'
  return { end: end + 2 }
}

const quoted = (text: string, at: number, dialect: Dialect, kind: 'literal' | 'name'): Step | string => {
  const quote = text[at] ?? ''
  let value = ''
  for (let end = at + 1; end < text.length; end += 1) {
    const sign = text[end] ?? ''
    if (sign === '\\') {
      // To some servers a backslash is a letter, and the quote after it ends the text.
      if (dialect === 'any') {
        if (text[end + 1] === quote || text[end + 1] === '\\') return 'it has a backslash before a quote'
        value += sign
        continue
      }
      value += text[end + 1] ?? ''
      // What an escape stands for matters in names only.
      if (kind === 'name' && /[a-zA-Z0-9]/.test(text[end + 1] ?? '')) return 'it has a name with escapes'
      end += 1
    } else if (sign === quote) {
      if (text[end + 1] !== quote) return { end: end + 1, token: kind === 'literal' ? { kind } : { kind, text: value } }
      value += quote
      end += 1
    } else value += sign
  }
  return 'it has a text or name without an end'
}

/** `$tag$ … $tag$`, or the number of a parameter. */
const dollar = (text: string, at: number, dialect: Dialect): Step | string => {
  // ClickHouse has no such parameters, and takes everything up to the next `$` for the tag.
  const parameter = dialect === 'clickhouse' ? undefined : /^\$\d+(?![\w$])/.exec(text.slice(at, at + 12))?.[0]
  if (parameter !== undefined) return { end: at + parameter.length, token: { kind: 'literal' } }
  const tag = match(dollarAt, text, at)
  if (dialect !== 'clickhouse' || tag === undefined) return 'it has "$", which quotes for some servers only'
  const end = text.indexOf(tag, at + tag.length)
  return end < 0 ? 'it has a text without an end' : { end: end + tag.length, token: { kind: 'literal' } }
}
