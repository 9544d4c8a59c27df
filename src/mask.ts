// What a reviewer may see of a held call: made only from the held bytes, masked and printable. The one masking engine of every surface.
// What it hides it counts, and what it hides because it looks secret it names (`unseen`), so that nobody approves blindly.
// Method, path and action are never masked: a certain secret in a target is refused before (`certainSecretIn`).
import { readBody } from './mask/body.ts'
import type { JsonNode } from './mask/json.ts'
import { readJson } from './mask/json.ts'
import { lineOf, pathOf, short, summaryPaths } from './mask/line.ts'
import type { Cover, Path, Spot } from './mask/paths.ts'
import { freeText, jsonRoot, readPath, spotOf } from './mask/paths.ts'
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

// Of a text at most `longestRead` characters are looked at and `longestShown` are shown; what is beyond is `cut`.
const longestShown = 64 * 1024
const longestRead = 256 * 1024
// What begins in the last part of a text that goes on unread may be the torn half of a secret, so it is left out.
const torn = 2 * longestShown
const longestToken = 4096
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
  const engine = masker(mask, show, fingerprint)
  const tally: Tally = { total: 0, hidden: 0, unseen: new Set(), named: [] }

  const headers = held.headers.map(header => viewHeader(header, engine, tally))
  const target = viewTarget(held, engine, tally)
  const content = viewBody(held, engine, tally)
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

/** `complete`: all of the body was looked at, so what is not found in it is not there. */
type Content = { readonly body: ViewBody; readonly json?: JsonNode; readonly complete: boolean }

const viewBody = (held: HeldCall, engine: Masker, tally: Tally): Content => {
  const readable = readBody(held.headers, held.body)
  if (readable.kind === 'none') return { body: readable, complete: true }
  const { size } = readable
  const type = printable(readable.type)
  const opaque = (why: string, bytes: number): Content => {
    tally.total += bytes
    tally.hidden += bytes
    return { body: { kind: 'opaque', type, size, why: printable(why) }, complete: false }
  }
  if (readable.kind === 'opaque') return opaque(readable.why, size)

  const mark = readable.text.startsWith('\ufeff') ? 1 : 0
  const partial = readable.text.length > longestRead
  const json = readJson(readable.text.slice(mark, longestRead), partial)
  if (json === 'deep') return opaque('its JSON is nested too deeply to be read', readable.bytes)
  const { text, read } =
    json !== undefined
      ? jsonText(json, readable.text.slice(0, mark), partial, engine, tally)
      : readable.form
        ? formText(readable.text.slice(0, longestRead), partial, engine, tally)
        : plainText(readable.text, engine, tally)
  const end = Math.min(read ?? readable.text.length, longestRead)
  const shown = text.length > longestShown ? text.slice(0, longestShown).replace(/[\ud800-\udbff]$/, '') : text
  const cut = end < readable.text.length || shown.length < text.length
  tally.total += readable.bytes
  if (cut) tally.hidden += Buffer.byteLength(readable.text.slice(end)) + Buffer.byteLength(text.slice(shown.length))
  const body: ViewBody = { kind: 'shown', type, size, text: shown, cut }
  return json === undefined ? { body, complete: !cut } : { body, json, complete: !partial }
}

/** Printable text, and how much of the source it stands for; undefined for all of it. */
type Rendered = { readonly text: string; readonly read?: number }

const jsonText = (json: JsonNode, before: string, partial: boolean, engine: Masker, tally: Tally): Rendered => {
  const pieces: Piece[] = [{ text: before }]
  let counted = 0
  let length = 0
  let read: number | undefined
  const stop = (at: number): boolean => {
    for (; counted < pieces.length; counted += 1) length += pieceLength(pieces[counted])
    if (length > longestShown || (partial && at > longestRead - torn)) read ??= at + before.length
    return read !== undefined
  }
  engine.json(json, jsonRoot, engine.coverOf(jsonRoot, '', false), pieces, stop)
  const text = textOf(count(tally, pieces), printableLines)
  return read === undefined ? { text } : { text, read }
}

const pieceLength = (piece: Piece | undefined): number =>
  piece === undefined ? 0 : 'mark' in piece ? piece.mark.length : piece.text.length

const formText = (source: string, partial: boolean, engine: Masker, tally: Tally): Rendered => {
  let text = ''
  let read = 0
  for (const pair of source.split('&')) {
    if (text.length > longestShown || (partial && read > longestRead - torn)) return { text, read }
    read += pair.length + 1
    if (pair === '') continue
    const [name, value] = halves(pair)
    const shown = named('form', unescaped(name), unescaped(value ?? ''), engine, tally)
    text += `${textOf(shown.name, printable)} = ${textOf(shown.value, printable)}\n`
  }
  return { text }
}

// Twice of what is shown is looked at, so that a secret across the cut is still recognised.
const plainText = (source: string, engine: Masker, tally: Tally): Rendered => {
  const looked = source.slice(0, 2 * longestShown)
  const lines = looked.split('\n')
  // JSON lines (bulk and log bodies) are masked line by line, as JSON.
  const records = lines.length > 1 && /^\s*\{/.test(lines[0] ?? '') && typeof readJson(lines[0] ?? '') === 'object'
  const parts = (records ? lines : [looked]).map(part => [...engine.text(part, freeText, 'usual')])
  const last = parts.at(-1)?.at(-1)
  const whole = looked.length === source.length
  if (!whole && last !== undefined && 'text' in last)
    parts.at(-1)?.splice(-1, 1, { text: last.text.slice(0, -longestToken) })
  const text = parts.map(part => textOf(count(tally, part), printableLines)).join('\n')
  return whole ? { text } : { text, read: looked.length - longestToken }
}
