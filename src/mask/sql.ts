// Secrets in SQL that only their place gives away: passwords of users, and the keys and passwords that functions and engines take to reach
// another server. Servers disagree on where a text ends, so in a doubt more is hidden rather than less. Every search is linear in the text.

type Range = { readonly start: number; readonly end: number }

export const sqlRanges = (text: string): Range[] => [...passwordRanges(text), ...setRanges(text), ...callRanges(text)]

// White space and comments, as they may stand between any two words.
const gap = '\\s{0,64}(?:(?:/\\*(?:[^*]|\\*(?!/)){0,80}\\*/|--[^\\n]{0,80}\\n)\\s{0,64}){0,4}'
const opening = "(?!\"\"\"|''')(?=['\"`$]|[eEnNxX]'|[uU]&')"

const word = (pattern: string): RegExp => new RegExp(pattern, 'gi')

const passwords = [
  word(`\\bidentified\\b${gap}(?:with\\b${gap}\\w{1,40}\\b${gap})?(?:by|as)\\b${gap}(?:password\\b${gap})?${opening}`),
  word(
    `(?<!["'\`\\w.])(?:password|passwd|authentication_string|secret|salt|credentials)\\b${gap}(?:by\\b|=)?${gap}${opening}`,
  ),
]

// `IDENTIFIED BY 'x', 'y'` names several.
const passwordRanges = (text: string): Range[] =>
  passwords.flatMap(pattern =>
    [...text.matchAll(pattern)].flatMap(match => {
      const ranges: Range[] = []
      let at = match.index + match[0].length
      for (let count = 0; count < 20; count += 1) {
        const range = literalAt(text, at)
        if (range === undefined) break
        ranges.push(range)
        more.lastIndex = range.end + 1
        if (!more.test(text)) break
        at = more.lastIndex
      }
      return ranges
    }),
  )
const more = new RegExp(`${gap},${gap}${opening}`, 'y')

const set = word(`\\bset\\b${gap}password\\b[^=;]{0,200}=${gap}(?:password\\b${gap}\\(${gap})?${opening}`)

const setRanges = (text: string): Range[] =>
  [...text.matchAll(set)].flatMap(match => literalAt(text, match.index + match[0].length) ?? [])

// From which argument on texts may be keys or passwords.
const calls: ReadonlyMap<string, number> = new Map(
  Object.entries({
    s3: 1,
    s3cluster: 2,
    gcs: 1,
    oss: 1,
    cosn: 1,
    s3queue: 1,
    deltalake: 1,
    iceberg: 1,
    icebergs3: 1,
    hudi: 1,
    azureblobstorage: 0,
    azureblobstoragecluster: 0,
    azurequeue: 0,
    mysql: 3,
    materializedmysql: 2,
    materializedpostgresql: 2,
    postgresql: 3,
    mongodb: 3,
    redis: 1,
    remote: 2,
    remotesecure: 2,
    headers: 0,
    encrypt: 1,
    decrypt: 1,
    aes_encrypt: 1,
    aes_decrypt: 1,
    aes_encrypt_mysql: 1,
    aes_decrypt_mysql: 1,
    pgp_sym_encrypt: 1,
    pgp_sym_decrypt: 1,
    crypt: 0,
    password: 0,
    hmac: 1,
  }),
)

const named = new RegExp(`\\b(\\w{2,30})["\`]?${gap}\\(`, 'g')

const callRanges = (text: string): Range[] => {
  const ranges: Range[] = []
  let read = 0
  for (const match of text.matchAll(named)) {
    const from = calls.get((match[1] ?? '').toLowerCase())
    if (from === undefined || match.index < read) continue
    read = argumentsFrom(text, match.index + match[0].length, from, ranges)
  }
  return ranges
}

/** Every text of a call from its argument `from` on; the end of the call. */
const argumentsFrom = (text: string, start: number, from: number, out: Range[]): number => {
  let depth = 0
  let argument = 0
  for (let at = start; at < text.length; at += 1) {
    const sign = text[at]
    const literal = sign === "'" || sign === '"' || sign === '$' ? literalAt(text, at) : undefined
    if (literal !== undefined) {
      if (argument >= from) out.push(literal)
      at = literal.end
    } else if (sign === '(') depth += 1
    else if (sign === ')' && --depth < 0) return at
    else if (sign === ',' && depth === 0) argument += 1
  }
  return text.length
}

/** What stands between the quotes that open at `at`: a doubled quote and one behind a backslash do not end it. */
const literalAt = (text: string, at: number): Range | undefined => {
  const tag = /^\$\w{0,30}\$/.exec(text.slice(at, at + 32))?.[0]
  if (tag !== undefined) {
    const end = text.indexOf(tag, at + tag.length)
    return { start: at + tag.length, end: end < 0 ? text.length : end }
  }
  const prefix = /^(?:[eEnNxX]|[uU]&)?(?=['"`])/.exec(text.slice(at, at + 3))?.[0]
  if (prefix === undefined) return undefined
  const start = at + prefix.length + 1
  const quote = text[start - 1]
  for (let end = start; end < text.length; end += 1) {
    if (text[end] === '\\') end += 1
    else if (text[end] === quote) {
      if (text[end + 1] !== quote) return { start, end }
      end += 1
    }
  }
  return { start, end: text.length }
}
