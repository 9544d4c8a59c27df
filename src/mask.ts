// What a reviewer may see of a held call: made only from the held bytes, masked and printable. The one masking engine of every surface.
// What it hides it counts, and what it hides because it looks secret it names (`unseen`), so that nobody approves blindly.
// Method, path and action are never masked: a certain secret in a target is refused before (`certainSecretIn`).
import type { Readable, ShownPart } from './mask/body.ts'
import { readBody, tooLong } from './mask/body.ts'
import type { JsonNode } from './mask/json.ts'
import { type Document, lineOf, pathOf, short, summaryPaths } from './mask/line.ts'
import type { Cover, Path, Spot } from './mask/paths.ts'
import { freeText, inBatch, jsonRoot, readPath, spotOf } from './mask/paths.ts'
import { printable, printableLines } from './mask/printable.ts'
import type { Masker, Piece } from './mask/values.ts'
import { masker, textOf } from './mask/values.ts'
import type { Action, Body, Header, HeldCall } from './nouns.ts'
import type { Rule } from './settings.ts'
import type { View, ViewBody } from './views.ts'

export { certainSecretIn } from './mask/patterns.ts'
export { printable } from './mask/printable.ts'

/**
 * `fingerprint`: 8 hex digits of a value, keyed per rule, so that equal values can be recognised and none can be guessed. `secrets`: paths
 * of what the upstream's kind knows to be secret; 'all': somewhere in the body. `idle`: paths of what is hidden and missed by nobody.
 */
export type ViewInput = {
  readonly held: HeldCall
  readonly action: Action
  readonly rules: readonly Rule[]
  readonly body: Body
  readonly secrets?: readonly string[] | 'all'
  readonly idle?: readonly string[]
  readonly fingerprint: (value: string) => string
}

// Characters of a body's text. What would be longer is not shown at all: half a text must not look like the whole.
const longestShown = 64 * 1024
// Of a reason or a comment.
const longestWords = 4_000
// Of the path of a hidden value: names can be of any length.
const longestPath = 1_000

/**
 * The view of a held call. Pure. Throws if a rule's `mask` or `show` is not a path, which configuration should have refused:
 * a mask that is not understood must not show what it was meant to hide.
 */
export const makeView = (input: ViewInput): View => looked(input).view

/**
 * What stands behind one `unseen` path of the view of the same input: every value hidden there, printable. A value that the rule's own
 * `mask` hides is never among them. Undefined if there is no such path.
 */
export const revealed = (input: ViewInput, field: string): readonly string[] | undefined => {
  const found = [...looked(input).unseen].filter(([path]) => fieldOf(path) === field)
  return found.length === 0 ? undefined : found.flatMap(([, values]) => values.map(value => printableLines(value)))
}

const fieldOf = (path: string): string => short(printable(path), longestPath)

const looked = ({
  held,
  action,
  rules,
  body,
  secrets = [],
  idle = [],
  fingerprint,
}: ViewInput): { readonly view: View; readonly unseen: Tally['unseen'] } => {
  const summary = rules.find(rule => rule.summary !== undefined)?.summary
  const mask = [
    ...rules.flatMap(rule => rule.mask.map(path => pathIn(rule, 'mask', path))),
    ...idle.map(path => readPath(path) ?? misread(path)),
  ]
  const show = rules.flatMap(rule => [
    ...rule.show.map(path => pathIn(rule, 'show', path)),
    ...summaryPaths(rule.summary ?? ''),
  ])
  const read = readBody(held.headers, held.body)
  const readable: Readable =
    secrets === 'all' && read.kind !== 'none' && read.kind !== 'opaque'
      ? { kind: 'opaque', type: read.type, size: read.size, why: 'it may hold secrets that cannot be told apart' }
      : read
  const secret = (secrets === 'all' ? [] : secrets).map(path => readPath(path) ?? misread(path))
  const batch = masker(inBatch(mask), show, fingerprint, secret)
  const single = masker(mask, show, fingerprint, secret)
  const engine = readable.kind === 'json' && readable.node.kind === 'array' ? batch : single
  const tally = newTally()

  const headers = held.headers.map(header => viewHeader(header, engine, tally))
  const target = viewTarget(held, engine, tally)
  const content = viewBody(readable, mask, { engine, single, batch }, tally)
  const line = lineOf(summary, {
    held,
    action,
    body,
    documents: content.documents,
    named: tally.named,
    complete: content.complete,
  })
  const view: View = {
    version: 1,
    line,
    ...(held.reason === undefined ? {} : { reason: maskText(held.reason, fingerprint) }),
    method: printable(held.call.method),
    target,
    headers,
    body: content.body,
    hidden: Math.min(tally.hidden, tally.total),
    total: tally.total,
    unseen: [...new Set([...tally.unseen.keys()].map(fieldOf))],
  }
  return { view, unseen: tally.unseen }
}

/** Free text such as a reason or a comment, at most 4 000 characters of it: secrets and personal data masked, printable, one line. */
export const maskText = (text: string, fingerprint: (value: string) => string): string => {
  const pieces = masker([], [], fingerprint).text(text.slice(0, 4 * longestWords), freeText, 'usual')
  return short(textOf(pieces, printable), longestWords)
}

/** `unseen`: paths of values that make the hold partly seen, and those of their values that may be revealed. */
type Tally = {
  total: number
  hidden: number
  readonly unseen: Map<string, string[]>
  readonly named: { readonly spot: Spot; readonly shown: string }[]
}

const newTally = (): Tally => ({ total: 0, hidden: 0, unseen: new Map(), named: [] })

const misread = (path: string): never => {
  throw new Error(`"${path}" is no path of a secret`)
}

const pathIn = (rule: Rule, key: 'mask' | 'show', text: string): Path => {
  const path = readPath(text)
  if (path === undefined) {
    throw new Error(
      `${rule.where}: ${key} of rule "${rule.name}": "${text}" is not json./pointer, header.name, query.name or form.name`,
    )
  }
  return path
}

const note = (tally: Tally, path: string, values: readonly string[]): void => {
  const known = tally.unseen.get(path)
  if (known === undefined) tally.unseen.set(path, [...values])
  else for (const value of values) known.push(value)
}

const count = (tally: Tally, pieces: readonly Piece[]): readonly Piece[] => {
  for (const piece of pieces) {
    if (!('mark' in piece)) continue
    tally.hidden += piece.bytes
    if (piece.unseen === undefined) continue
    note(tally, piece.unseen, piece.value === undefined ? [] : [piece.value])
  }
  return pieces
}

// One value with a name of its own: a header, or a pair of a query or a form.
const named = (
  place: 'header' | 'query' | 'form',
  name: string,
  value: string | Buffer,
  engine: Masker,
  tally: Tally,
): { readonly name: readonly Piece[]; readonly value: readonly Piece[] } => {
  // A name is text like any other: `?ghp_…`, or a whole document sent as a form.
  const names = engine.text(name, spotOf(place, '', ''), 'usual')
  const spot = spotOf(place, name, textOf(names))
  const cover = engine.coverOf(spot, name, typeof value === 'string' && /^\d+$/.test(value))
  const pieces =
    typeof value !== 'string'
      ? [engine.binary(value)]
      : place === 'header' && credentials.test(name)
        ? credential(value, spot, cover, engine)
        : engine.text(value, spot, cover)
  tally.named.push({ spot, shown: textOf(pieces, printable) })
  return { name: count(tally, names), value: count(tally, pieces) }
}

// Credentials stay hidden even where a rule shows them; their scheme tells what they are.
const credentials = /^(?:(?:proxy-)?authorization|(?:set-)?cookie2?)$/i

const credential = (value: string, spot: Spot, cover: Cover, engine: Masker): readonly Piece[] => {
  const scheme = /^(?:bearer|basic|digest|dpop|negotiate|token|aws4-hmac-sha256) +(?=\S)/i.exec(value)?.[0] ?? ''
  const hidden = engine.text(value.slice(scheme.length), spot, cover === 'masked' ? 'masked' : 'named')
  return scheme === '' ? hidden : [{ text: scheme }, ...hidden]
}

const viewHeader = ([name, value]: Header, engine: Masker, tally: Tally): Header => {
  tally.total += Buffer.byteLength(value)
  return [printable(name), textOf(named('header', name, value, engine, tally).value, printable)]
}

// Values stay as they were sent unless something in them is hidden; then the rest is percent-encoded anew.
const viewTarget = (held: HeldCall, engine: Masker, tally: Tally): string => {
  const path = pathOf(held)
  if (held.upstreamTarget.length === path.length) return printable(path)
  const pairs = held.upstreamTarget
    .slice(path.length + 1)
    .split('&')
    .map(pair => {
      const [rawName, rawValue] = halves(pair)
      const shown = named('query', unescaped(rawName), unescaped(rawValue ?? ''), engine, tally)
      tally.total += Buffer.byteLength(unescaped(rawValue ?? '') || unescaped(rawName))
      const name = encoded(rawName, shown.name)
      return rawValue === undefined ? name : `${name}=${encoded(rawValue, shown.value)}`
    })
  return `${printable(path)}?${pairs.join('&')}`
}

const encoded = (raw: string, pieces: readonly Piece[]): string =>
  pieces.some(piece => 'mark' in piece)
    ? textOf(pieces, text => encodeURIComponent(text.toWellFormed()))
    : textOf([{ text: raw }], printable)

const halves = (pair: string): readonly [name: string, value: string | undefined] => {
  const equals = pair.indexOf('=')
  return equals < 0 ? [pair, undefined] : [pair.slice(0, equals), pair.slice(equals + 1)]
}

// WHATWG form decoding: a percent sign that encodes nothing stays.
const unescaped = (text: string): string =>
  text
    .replaceAll('+', ' ')
    .replace(/(?:%[0-9a-fA-F]{2})+/g, run => Buffer.from(run.replaceAll('%', ''), 'hex').toString())

// ---- the body

/** `complete`: all of the body was looked at, so what is not found in it is not there. */
type Content = { readonly body: ViewBody; readonly documents: readonly Document[]; readonly complete: boolean }

type Shown = Exclude<Readable, { readonly kind: 'none' } | { readonly kind: 'opaque' }>

/** `single` is for one JSON document, `batch` for an array of them, `engine` is the one that fits the body. */
type Engines = { readonly engine: Masker; readonly single: Masker; readonly batch: Masker }

const viewBody = (readable: Readable, mask: readonly Path[], engines: Engines, tally: Tally): Content => {
  if (readable.kind === 'none') return { body: { kind: 'none' }, documents: [], complete: true }
  if (readable.kind === 'opaque') return opaque(readable, readable.why, tally)
  if (missesMask(readable, mask)) return opaque(readable, 'a rule masks fields that cannot be found in it', tally)
  const seen = newTally()
  const text = bodyText(readable, engines, seen)
  const nodes = readable.kind === 'json' ? [readable.node] : readable.kind === 'records' ? readable.nodes : []
  const documents = nodes.map(node => ({ node, masker: node.kind === 'array' ? engines.batch : engines.single }))
  if (text === undefined || text.length > longestShown)
    return { ...opaque(readable, tooLong, tally), documents, complete: documents.length > 0 }
  tally.total += readable.bytes
  tally.hidden += seen.hidden
  for (const [path, values] of seen.unseen) note(tally, path, values)
  tally.named.push(...seen.named)
  const unshown =
    readable.kind === 'multipart' && readable.parts.some(part => part.text === undefined)
      ? { unshown: 'a part of it is not shown as text' }
      : {}
  const body: ViewBody = { kind: 'shown', type: printable(readable.type), size: readable.size, text, ...unshown }
  return { body, documents, complete: true }
}

const opaque = ({ type, size }: { type: string; size: number }, why: string, tally: Tally): Content => {
  tally.total += size
  tally.hidden += size
  return { body: { kind: 'opaque', type: printable(type), size, why: printable(why) }, documents: [], complete: false }
}

// A mask for JSON says nothing about a form, a text or what is nearly JSON: there nobody knows where the field is that it hides.
const missesMask = ({ kind }: Shown, mask: readonly Path[]): boolean => {
  const masked = mask.map(({ place }) => place).filter(place => place === 'json' || place === 'form')
  const place = kind === 'records' ? 'json' : kind === 'multipart' ? 'form' : kind
  return masked.length > 0 && !masked.some(one => one === place)
}

/** Printable text; undefined or a text that is too long if it cannot be shown whole. */
const bodyText = (readable: Shown, engines: Engines, tally: Tally): string | undefined => {
  switch (readable.kind) {
    case 'json':
      return jsonText(readable.node, readable.text.startsWith('\ufeff') ? '\ufeff' : '', engines.engine, tally)
    case 'records':
      return linesText(readable.text.trimEnd().split('\n'), line => recordText(line, engines, tally))
    case 'form':
      return linesText(readable.text.split('&'), pair => pairText(pair, engines.engine, tally))
    case 'multipart':
      return linesText(readable.parts, part => partText(part, engines.engine, tally))
    case 'text':
      return textOf(count(tally, engines.engine.text(readable.text, freeText, 'usual')), printableLines)
  }
}

const jsonText = (json: JsonNode, before: string, engine: Masker, tally: Tally): string | undefined => {
  const pieces: Piece[] = [{ text: before }]
  let counted = 0
  let length = 0
  const full = (): boolean => {
    for (; counted < pieces.length; counted += 1) length += pieceLength(pieces[counted])
    return length > longestShown
  }
  engine.json(json, jsonRoot, engine.coverOf(jsonRoot, '', false), pieces, full)
  return full() ? undefined : textOf(count(tally, pieces), printableLines)
}

const pieceLength = (piece: Piece | undefined): number =>
  piece === undefined ? 0 : 'mark' in piece ? piece.mark.length : piece.text.length

const linesText = <T>(parts: readonly T[], show: (part: T) => string | undefined): string | undefined => {
  let text = ''
  for (const part of parts) {
    const shown = show(part)
    if (shown !== undefined) text += `${shown}\n`
    if (text.length > longestShown + 1) return undefined
  }
  return text
}

const recordText = (line: string, { single, batch }: Engines, tally: Tally): string => {
  const engine = /^\s*\[/.test(line) ? batch : single
  return textOf(count(tally, engine.text(line, jsonRoot, engine.coverOf(jsonRoot, '', false))), printable)
}

const pairText = (pair: string, engine: Masker, tally: Tally): string | undefined => {
  if (pair === '') return undefined
  const [name, value] = halves(pair)
  const shown = named('form', unescaped(name), unescaped(value ?? ''), engine, tally)
  return `${textOf(shown.name, printable)} = ${textOf(shown.value, printable)}`
}

// A line for each part; what follows in its own lines is indented, so that no value looks like another part.
const partText = ({ name, filename, type, content, text }: ShownPart, engine: Masker, tally: Tally): string => {
  const field = named('form', name, text ?? content, engine, tally)
  const file =
    filename === undefined
      ? []
      : [`file "${textOf(count(tally, engine.text(filename, freeText, 'usual')), printable)}"`]
  const about = [...file, ...(type === undefined ? [] : [printable(type)]), `${content.length} bytes`]
  const said = filename === undefined && type === undefined ? '' : ` (${about.join(', ')})`
  return `${textOf(field.name, printable)}${said} = ${textOf(field.value, printableLines).replaceAll('\n', '\n    ')}`
}
