// Secrets that only the place where they stand gives away, in the ways of writing everybody knows: command lines, SQL, .netrc, .pgpass,
// property lists. Where the end of a value is in doubt, more is hidden rather than less. Every search is linear in the text.
import { secretName } from './names.ts'
import type { Span } from './patterns.ts'
import { sqlRanges } from './sql.ts'

// A command line has white space, SQL has quotes or a call, an element has its brackets, a line of .pgpass its colons.
const possible = /[\s'"`$(<:]/

export const idiomSpans = (text: string): Span[] =>
  possible.test(text)
    ? [
        ...commands.flatMap(command => commandRanges(text, command)),
        ...sqlRanges(text),
        ...insertRanges(text),
        ...elementRanges(text),
        ...lines.flatMap(pattern => lastGroups(text, pattern)),
      ].flatMap(({ start, end }) => (start < end ? [{ start, end, kind: 'secret', rank: 1 }] : []))
    : []

type Range = { readonly start: number; readonly end: number }

// ---- command lines

// `flag` is looked for from the command on. `from`: only what stands behind it in the value is secret.
type Command = { readonly line: RegExp; readonly flag: RegExp; readonly from?: string }

const rest = '(?:\\\\\\r?\\n|[^\\r\\n]){0,2000}'
const restOfOne = '(?:\\\\\\r?\\n|[^\\r\\n|;]){0,2000}'
const gap = '(?:[ \\t]|\\\\\\r?\\n)'

const commands: readonly Command[] = [
  {
    line: new RegExp(`\\bcurl\\b${rest}`, 'g'),
    flag: new RegExp(`${gap}(?:-[A-Za-z]{0,8}[uU]|--(?:proxy-)?user(?![\\w-]))[ \\t=]{0,4}`, 'g'),
    from: ':',
  },
  {
    line: new RegExp(`\\b(?:mysql|mariadb)[a-z-]{0,16}\\b${restOfOne}`, 'g'),
    flag: new RegExp(`${gap}-p(?=\\S)`, 'g'),
  },
  { line: new RegExp(`\\bsshpass\\b${restOfOne}`, 'g'), flag: /(?<=^sshpass[ \t]{1,8})-p[ \t]{0,8}/g },
  {
    line: new RegExp(
      `\\b(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|registry|acr|az|oc|cf)[ \\t]{1,4}login\\b${restOfOne}`,
      'g',
    ),
    flag: new RegExp(`${gap}-p[ \\t=]{0,4}`, 'g'),
  },
  { line: new RegExp(`\\bredis-cli\\b${restOfOne}`, 'g'), flag: new RegExp(`${gap}-a[ \\t]{1,4}`, 'g') },
]

// Nothing has to follow a word, so its search never goes back.
const shellWord = /(?:'[^'\r\n]*'?|"(?:\\.|[^"\\\r\n])*"?|\\.|[^\s;|&<>()'"\\])+/y

const commandRanges = (text: string, { line, flag, from }: Command): Range[] =>
  [...text.matchAll(line)].flatMap(command =>
    [...command[0].matchAll(flag)].flatMap(match => {
      const start = command.index + match.index + match[0].length
      shellWord.lastIndex = start
      const word = shellWord.exec(text)?.[0] ?? ''
      const skipped = from === undefined ? 0 : word.indexOf(from) + 1
      return from !== undefined && skipped === 0 ? [] : [{ start: start + skipped, end: start + word.length }]
    }),
  )

// ---- SQL

const insert = /\binto\s{1,8}[^()]{1,200}\(([^()]{1,2000})\)\s{0,8}values\s{0,8}/gi
const nothing = /^(?:\?|[$:@]\w+|%s|%\(\w+\)s|null|default)?$/i

// The values of the columns whose names are secret.
const insertRanges = (text: string): Range[] => {
  const ranges: Range[] = []
  let read = 0
  for (const match of text.matchAll(insert)) {
    const columns = (match[1] ?? '').split(',').map(name => secretName(name.trim()))
    const start = match.index + match[0].length
    if (start < read || !columns.includes(true)) continue
    read = rowsFrom(text, start, columns, ranges)
  }
  return ranges
}

// Where dialects disagree (backslashes, dollar quotes, comments) nobody knows which value is which: all the rest is hidden.
const doubtful = /\\|\$\w*\$|--|\/\*|#/y
const comma = /\s{0,8},\s{0,8}/y

const rowsFrom = (text: string, start: number, columns: readonly boolean[], out: Range[]): number => {
  let row = start
  while (text[row] === '(') {
    let column = 0
    let value = row + 1
    let depth = 0
    let quote = ''
    let at = row + 1
    for (; at < text.length; at += 1) {
      const character = text[at] ?? ''
      doubtful.lastIndex = at
      if (character === '\\' || (quote === '' && doubtful.test(text))) break
      if (quote !== '') {
        if (character === quote) quote = ''
      } else if (/['"`]/.test(character)) quote = character
      else if (character === '(') depth += 1
      else if (character === ')' && depth > 0) depth -= 1
      else if (depth === 0 && (character === ',' || character === ')')) {
        const cell = text.slice(value, at)
        if (columns[column] && !nothing.test(cell.trim())) out.push({ start: at - cell.trimStart().length, end: at })
        column += 1
        value = at + 1
        if (character === ')') break
      }
    }
    if (text[at] !== ')') {
      out.push({ start: row, end: text.length })
      return text.length
    }
    comma.lastIndex = at + 1
    row = comma.test(text) ? comma.lastIndex : at + 1
  }
  return row
}

// ---- files

// A name and a value as neighbours: property lists, Hadoop's configuration.
const neighbours = /<(key|name)>\s{0,8}([^<>]{1,128})<\/\1>\s{0,64}<([A-Za-z]{1,16})>/gi

const elementRanges = (text: string): Range[] => {
  const ranges: Range[] = []
  for (const match of text.matchAll(neighbours)) {
    if (!secretName((match[2] ?? '').trim())) continue
    const start = match.index + match[0].length
    const end = text.indexOf('</', start)
    ranges.push({ start, end: end < 0 ? text.length : end })
    if (end < 0) break
  }
  return ranges
}

const lines = [
  // .netrc
  /\b(?:machine\s{1,8}\S{1,255}|default)(?:\s{1,8}(?:login|account)\s{1,8}\S{1,255}){0,2}\s{1,8}password\s{1,8}(\S+)/dg,
  // .pgpass: host, port, database, user; colons in the password have a backslash.
  /^[^:\s]{1,255}:(?:\d{4,5}|\*):(?!\d+:)[^:\s]{1,128}:[^:\s]{1,128}:((?:\\\S|[^:\s\\])+)[ \t]{0,8}\r?$/dgm,
]

const lastGroups = (text: string, pattern: RegExp): Range[] =>
  [...text.matchAll(pattern)].flatMap(match => {
    const [start, end] = match.indices?.[1] ?? [0, 0]
    return [{ start, end }]
  })
