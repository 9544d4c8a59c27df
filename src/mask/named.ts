// Secrets that only their name gives away, in text nobody has parsed: `password=…`, `"token": "…"`, `--secret …`, `<pin>…</pin>`,
// YAML blocks and environment files. Where the end of a value is in doubt, more is hidden rather than less.
import { secretName } from './names.ts'
import type { Span } from './patterns.ts'

const runs = /[\p{L}\p{M}\p{N}_$.-]+/gu
const sign = /(?:["'`\]\\]{0,4}[ \t]{0,8}(?:=>|:=|={1,3}|[:>：＝]|%3[DdAa])|[ \t]{1,4}is(?=[ \t]))[ \t]{0,8}/y
const flagGap = /[ \t]{1,4}(?=[^\s-])/y
const quoted = /[ \t]{1,4}(?:by[ \t]{1,4})?(?=['"])/iy
const opening = /\\{0,3}(?:"""|'''|["'`])/y
const scheme = /(?:bearer|basic|digest|dpop|token|negotiate|apikey|aws4-hmac-sha256) +/iy
const bare = /[^\s&;,"'`<>(){}[\]]+/y
const lineEnd = /[^\r\n]*/y
// One word on the next line, which is no name of another value (`password=`, and then `port=1`) and no mark such as `---`.
const wordBelow = /[ \t]{0,8}\r?\n[ \t]{0,64}(?=[^\s\p{P}\p{S}])([^\s=:]+)[ \t]{0,8}(?=\r?\n|$)/duy

// Between a name and its value there is at least one of these, in every way of writing below.
const between = /[\s=:>%：＝]/

/** Values in `text` whose names say that they are secret. `secretData`: `data` is such a name too (a Kubernetes Secret). */
export const namedSpans = (text: string): Span[] => {
  const spans: Span[] = []
  if (!between.test(text)) return spans
  const secretData = /^[ \t]{0,8}kind:[ \t]{0,8}["']?Secret(?:List)?["']?[ \t]{0,8}\r?$/m.test(text)
  const isSecret = (name: string): boolean => secretName(name) || (secretData && /^(?:data|stringData)$/.test(name))
  // True after a name without a value of its own, as in `name: DB_PASSWORD`, until the `value:` that follows.
  let label = false
  runs.lastIndex = 0
  for (let run = runs.exec(text); run !== null; run = runs.exec(text)) {
    const name = run[0].replace(/\.$/, '')
    const secret = isSecret(name)
    if (!secret && !(label && /^value$/i.test(name))) {
      label = false
      continue
    }
    const span = valueAfter(text, run.index, run.index + name.length)
    label = secret && span === undefined
    if (span === undefined || span.start >= span.end) continue
    spans.push({ ...span, kind: 'secret', rank: 1 })
    runs.lastIndex = Math.max(runs.lastIndex, span.end)
  }
  return spans
}

type Range = { readonly start: number; readonly end: number }

const after = (pattern: RegExp, text: string, at: number): number | undefined => {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : undefined
}

const valueAfter = (text: string, nameStart: number, nameEnd: number): Range | undefined => {
  const before = text.slice(Math.max(0, nameStart - 64), nameStart)
  if (/<\/[\w.:-]*$/.test(before)) return undefined
  const prefix = /<([\w.:-]*)$/.exec(before)?.[1]
  if (prefix !== undefined) return elementValue(text, nameEnd, prefix + text.slice(nameStart, nameEnd))
  const start =
    after(sign, text, nameEnd) ??
    after(quoted, text, nameEnd) ??
    (text.startsWith('--', nameStart) ? after(flagGap, text, nameEnd) : undefined)
  if (start === undefined) return undefined
  if (after(opening, text, start) !== undefined) return quotedValue(text, start)
  if (text[start] === '{' || text[start] === '[') return { start, end: closing(text, start) }
  const indent = /(?:^|\n)([ \t]*(?:- )?)["'`]?$/.exec(before)?.[1]?.length
  if (indent !== undefined && (nameStart <= 64 || before.includes('\n'))) {
    const rest = text.slice(start, start + 16)
    if (/^(?:[|>][-+\d]{0,2})?[ \t]*\r?(?:\n|$)/.test(rest)) {
      const block = blockValue(text, start, indent)
      if (text.slice(block.start, block.end).trim() !== '') return block
    }
    if (/[ \t]/.test(text[start - 1] ?? '') && !/[\r\n]/.test(text[start] ?? ''))
      return { start, end: after(lineEnd, text, start) ?? start }
  }
  const end = after(bare, text, after(scheme, text, start) ?? start)
  return end === undefined && text.slice(nameEnd, start).includes('=')
    ? lineBelow(text, start)
    : { start, end: end ?? start }
}

const lineBelow = (text: string, at: number): Range | undefined => {
  wordBelow.lastIndex = at
  const [start, end] = wordBelow.exec(text)?.indices?.[1] ?? []
  return start === undefined || end === undefined ? undefined : { start, end }
}

// The deeper lines that follow, and a list at the same depth.
const blockValue = (text: string, start: number, indent: number): Range => {
  let end = after(lineEnd, text, start) ?? start
  while (end < text.length) {
    const next = /^\r?\n/.exec(text.slice(end, end + 2))?.[0].length ?? 1
    const line = text.slice(end + next, after(lineEnd, text, end + next))
    const depth = /^[ \t]*/.exec(line)?.[0].length ?? 0
    const belongs = line.trim() === '' || depth > indent || (depth === indent && line.startsWith('- ', depth))
    if (!belongs) break
    end += next + line.length
  }
  return { start, end }
}

/** What stands in the quotes that open at `at`. */
export const quotedValue = (text: string, at: number): Range => {
  const start = after(opening, text, at) ?? at
  const quote = text.slice(at, start)
  let end = text.indexOf(quote, start)
  // An unescaped quote only: `\"` inside `"…"` is part of the value.
  while (quote.length === 1 && end >= 0 && text[end - 1] === '\\') end = text.indexOf(quote, end + 1)
  return { start, end: end < 0 ? text.length : end }
}

const closing = (text: string, start: number): number => {
  let depth = 0
  for (let at = start; at < text.length; at += 1) {
    const character = text[at]
    if (character === '{' || character === '[') depth += 1
    if ((character === '}' || character === ']') && --depth === 0) return at + 1
  }
  return text.length
}

// Everything in an XML element, whatever is nested in it.
const elementValue = (text: string, nameEnd: number, tag: string): Range | undefined => {
  const rest = text.slice(nameEnd, nameEnd + 512).indexOf('>')
  const close = nameEnd + rest
  if (rest < 0 || text[close - 1] === '/') return undefined
  const end = text.indexOf(`</${tag}`, close)
  return { start: close + 1, end: end < 0 ? text.length : end }
}
