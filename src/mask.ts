// What a reviewer may see of a held call: made only from the held bytes, masked and printable. The one masking engine of every surface.
// What it hides it counts, and what it hides because it looks secret it names (`unseen`), so that nobody approves blindly.
// Method, path and action are never masked: a certain secret in a target is refused before (`certainSecretIn`).
import type { Readable } from './mask/body.ts'
import { readBody, tooLong } from './mask/body.ts'
import type { JsonNode } from './mask/json.ts'
import { lineOf, pathOf, short, summaryPaths } from './mask/line.ts'
import type { Cover, Path, Spot } from './mask/paths.ts'
import { freeText, inBatch, jsonRoot, readPath, spotOf } from './mask/paths.ts'
import { printable, printableLines } from './mask/printable.ts'
import type { Masker, Piece } from './mask/values.ts'
import { masker, textOf } from './mask/values.ts'
import type { Action, Body, Header, HeldCall, View, ViewBody } from './nouns.ts'
import type { Rule } from './settings.ts'

export { certainSecretIn } from './mask/patterns.ts'
export { printable } from './mask/printable.ts'

/** `fingerprint`: 8 hex digits of a value, keyed per rule, so that equal values can be recognised and none can be guessed. */
export type ViewInput = {
  readonly held: HeldCall
  readonly action: Action
  readonly rules: readonly Rule[]
  readonly body: Body
  readonly fingerprint: (value: string) => string
}

// Characters of a body's text. What would be longer is not shown at all: half a text must not look like the whole.
const longestShown = 64 * 1024
// Of a reason or a comment.
const longestWords = 4_000

/**
 * The view of a held call. Pure. Throws if a rule's `mask` or `show` is not a path, which configuration should have refused:
 * a mask that is not understood must not show what it was meant to hide.
 */
export const makeView = ({ held, action, rules, body, fingerprint }: ViewInput): View => {
  const summary = rules.find(rule => rule.summary !== undefined)?.summary
  const mask = rules.flatMap(rule => rule.mask.map(path => pathIn(rule, 'mask', path)))
  const show = rules.flatMap(rule => [
    ...rule.show.map(path => pathIn(rule, 'show', path)),
    ...summaryPaths(rule.summary ?? ''),
  ])
  const readable = readBody(held.headers, held.body)
  const batch = masker(inBatch(mask), show, fingerprint)
  const single = masker(mask, show, fingerprint)
  const engine = readable.kind === 'json' && readable.node.kind === 'array' ? batch : single
  const tally = newTally()

  const headers = held.headers.map(header => viewHeader(header, engine, tally))
  const target = viewTarget(held, engine, tally)
  const content = viewBody(readable, mask, { engine, single, batch }, tally)
  const line = lineOf(summary, {
    held,
    action,
    body,
    masker: engine,
    json: content.json,
    named: tally.named,
    complete: content.complete,
  })
  return {
    version: 1,
    line,
    ...(held.reason === undefined ? {} : { reason: maskText(held.reason, fingerprint) }),
    method: printable(held.call.method),
    target,
    headers,
    body: content.body,
    hidden: Math.min(tally.hidden, tally.total),
    total: tally.total,
    unseen: [...tally.unseen].map(printable),
  }
}

/** Free text such as a reason or a comment, at most 4 000 characters of it: secrets and personal data masked, printable, one line. */
export const maskText = (text: string, fingerprint: (value: string) => string): string => {
  const pieces = masker([], [], fingerprint).text(text.slice(0, 4 * longestWords), freeText, 'usual')
  return short(textOf(pieces, printable), longestWords)
}

type Tally = {
  total: number
  hidden: number
  readonly unseen: Set<string>
  readonly named: { readonly spot: Spot; readonly shown: string }[]
}

const newTally = (): Tally => ({ total: 0, hidden: 0, unseen: new Set(), named: [] })

const pathIn = (rule: Rule, key: 'mask' | 'show', text: string): Path => {
  const path = readPath(text)
  if (path === undefined) {
    throw new Error(
      `${rule.where}: ${key} of rule "${rule.name}": "${text}" is not json./pointer, header.name, query.name or form.name`,
    )
  }
  return path
}

const count = (tally: Tally, pieces: readonly Piece[]): readonly Piece[] => {
  for (const piece of pieces) {
    if (!('mark' in piece)) continue
    tally.hidden += piece.bytes
    if (piece.unseen !== undefined) tally.unseen.add(piece.unseen)
  }
  return pieces
}

// One value with a name of its own: a header, or a pair of a query or a form.
const named = (
  place: 'header' | 'query' | 'form',
  name: string,
  value: string,
  engine: Masker,
  tally: Tally,
): { readonly name: readonly Piece[]; readonly value: readonly Piece[] } => {
  // A name is text like any other: `?ghp_…`, or a whole document sent as a form.
  const names = engine.text(name, spotOf(place, '', ''), 'usual')
  const spot = spotOf(place, name, textOf(names))
  const cover = engine.coverOf(spot, name, /^\d+$/.test(value))
  const pieces =
    place === 'header' && credentials.test(name)
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
type Content = { readonly body: ViewBody; readonly json?: JsonNode; readonly complete: boolean }

type Shown = Exclude<Readable, { readonly kind: 'none' } | { readonly kind: 'opaque' }>

/** `single` is for one JSON document, `batch` for an array of them, `engine` is the one that fits the body. */
type Engines = { readonly engine: Masker; readonly single: Masker; readonly batch: Masker }

const viewBody = (readable: Readable, mask: readonly Path[], engines: Engines, tally: Tally): Content => {
  if (readable.kind === 'none') return { body: { kind: 'none' }, complete: true }
  if (readable.kind === 'opaque') return opaque(readable, readable.why, tally)
  if (missesMask(readable, mask)) return opaque(readable, 'a rule masks fields that cannot be found in it', tally)
  const seen = newTally()
  const text = bodyText(readable, engines, seen)
  const json = readable.kind === 'json' ? { json: readable.node } : {}
  if (text === undefined || text.length > longestShown)
    return { ...opaque(readable, tooLong, tally), ...json, complete: readable.kind === 'json' }
  tally.total += readable.bytes
  tally.hidden += seen.hidden
  for (const path of seen.unseen) tally.unseen.add(path)
  tally.named.push(...seen.named)
  const body: ViewBody = { kind: 'shown', type: printable(readable.type), size: readable.size, text, cut: false }
  return { body, ...json, complete: readable.kind !== 'records' }
}

const opaque = ({ type, size }: { type: string; size: number }, why: string, tally: Tally): Content => {
  tally.total += size
  tally.hidden += size
  return { body: { kind: 'opaque', type: printable(type), size, why: printable(why) }, complete: false }
}

// A mask for JSON says nothing about a form, a text or what is nearly JSON: there nobody knows where the field is that it hides.
const missesMask = ({ kind }: Shown, mask: readonly Path[]): boolean => {
  const masked = mask.map(({ place }) => place).filter(place => place === 'json' || place === 'form')
  const place = kind === 'records' ? 'json' : kind
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

const linesText = (parts: readonly string[], show: (part: string) => string | undefined): string | undefined => {
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
