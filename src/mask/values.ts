// Turns one value into what may be shown of it: pieces of text and marks in place of what is hidden. Looks into JSON and base64
// wherever they hide in a value, a few layers deep; what lies deeper is hidden whole.
import { isUtf8 } from 'node:buffer'
import { disguises } from './disguises.ts'
import { idiomSpans } from './idioms.ts'
import type { JsonNode } from './json.ts'
import { readJson } from './json.ts'
import { namedSpans } from './named.ts'
import { secretName } from './names.ts'
import type { Cover, Path, Spot } from './paths.ts'
import { below, fits, fitsLoosely } from './paths.ts'
import type { Span } from './patterns.ts'
import { certainSpans, isRandom, personalSpans } from './patterns.ts'

/**
 * A mark stands for `bytes` of the value; `unseen` is the path of a value that its name or its look made secret, and `value` that
 * value, where an eligible reviewer may have it revealed.
 */
export type Piece =
  | { readonly text: string }
  | { readonly mark: string; readonly bytes: number; readonly unseen?: string; readonly value?: string }

export type Masker = {
  /** What a rule says about a spot, or else what its name and its surroundings do. `counted`: its value is a bare number. */
  coverOf(spot: Spot, name: string, counted: boolean, outer?: Cover): Cover
  text(value: string, spot: Spot, cover: Cover): readonly Piece[]
  /** JSON, indented; `stop` is asked before every value whether to leave out the rest. */
  json(node: JsonNode, spot: Spot, cover: Cover, out: Piece[], stop?: () => boolean): void
  /** One value: a string without its quotes, anything else as compact JSON. */
  leaf(node: JsonNode, spot: Spot, cover: Cover): readonly Piece[]
  /** What stands for bytes that are not text. */
  binary(content: Buffer): Piece
  /** The members or elements of a value with their places and covers. */
  children(node: JsonNode, spot: Spot, cover: Cover): readonly Child[]
}

export type Child = { readonly key: string; readonly node: JsonNode; readonly spot: Spot; readonly cover: Cover }

// A span, and what to show instead of it where it can be opened.
type Found = Span & { readonly pieces?: readonly Piece[] }

const layers = 4
const number = /^-?\d[\d.eE+-]*$/

/**
 * `mask` and `show`: paths of the rules, and of the fields their summaries name. `secret`: paths that are secret whatever their names say.
 * `fingerprint`: 8 hex digits of a value, keyed.
 */
export const masker = (
  mask: readonly Path[],
  show: readonly Path[],
  fingerprint: (value: string) => string,
  secret: readonly Path[] = [],
): Masker => {
  const disguised = disguises()

  // What was hidden as a whole may hold something that the rule's own mask hides; then none of it is ever revealed.
  const holdsMasked = (spot: Spot): boolean =>
    mask.some(
      path =>
        path.segments.length > spot.segments.length &&
        fitsLoosely({ ...path, segments: path.segments.slice(0, spot.segments.length) }, spot),
    )

  const hide = (kind: string, value: string, spot?: Spot): Piece => ({
    mark: `‹${kind} ${value.length}, #${fingerprint(value)}›`,
    bytes: Buffer.byteLength(value),
    ...(spot === undefined ? {} : { unseen: spot.where }),
    ...(spot === undefined || holdsMasked(spot) ? {} : { value }),
  })

  const coverOf: Masker['coverOf'] = (spot, name, counted, outer = 'usual') => {
    if (outer === 'masked' || mask.some(path => fitsLoosely(path, spot))) return 'masked'
    if (show.some(path => fits(path, spot))) return 'shown'
    return secretName(name, counted) || secret.some(path => fitsLoosely(path, spot)) ? 'named' : outer
  }

  const text = (value: string, spot: Spot, cover: Cover, layer = 0): readonly Piece[] => {
    if (value === '') return []
    if (cover === 'masked') return [hide(kindOf(value) ?? 'masked', value)]
    if (cover === 'named') return [hide(kindOf(value) ?? 'secret', value, spot)]
    const inner = unwrap(value, spot, cover, layer)
    if (inner !== undefined) return inner
    const certain = certainSpans(value)
    const spans: Found[] =
      cover === 'usual' ? [...certain, ...namedSpans(value), ...idiomSpans(value), ...personalSpans(value)] : certain
    for (const run of value.matchAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g)) {
      const span = { start: run.index, end: run.index + run[0].length }
      const pieces = unwrapBase64(run[0], spot, cover, layer)
      if (pieces !== undefined) spans.push({ ...span, kind: 'base64', rank: 4, pieces })
      else if (cover === 'usual' && isRandom(run[0])) spans.push({ ...span, kind: 'random', rank: 3 })
    }
    return cut(value, spans, spot)
  }

  const cut = (value: string, spans: readonly Found[], spot: Spot): Piece[] => {
    const pieces: Piece[] = []
    let at = 0
    for (const span of joined(spans)) {
      if (span.start > at) pieces.push({ text: value.slice(at, span.start) })
      const hidden = value.slice(span.start, span.end)
      if (span.pieces === undefined) pieces.push(hide(span.kind, hidden, span.rank < 2 ? spot : undefined))
      else append(pieces, span.pieces)
      at = span.end
    }
    if (at < value.length) pieces.push({ text: value.slice(at) })
    return pieces
  }

  // A name stays readable, but it may carry a secret like any other text.
  const nameOf = (key: string, spot: Spot): readonly Piece[] => text(key, spot, 'usual')

  // A value that is JSON or base64 as a whole. JSON is shown as it was written unless something in it is hidden.
  const unwrap = (value: string, spot: Spot, cover: Cover, layer: number): readonly Piece[] | undefined => {
    if (/^\s*[[{"]/.test(value)) {
      const node = readJson(value)
      if (node !== undefined) {
        if (node === 'deep' || layer >= layers) return [hide('encoded', value, spot)]
        const pieces: Piece[] = []
        json(node, spot, cover, pieces, () => false, layer + 1)
        return pieces.some(piece => 'mark' in piece) ? pieces : [{ text: value }]
      }
    }
    const packed = value.replace(/\s+/g, '')
    return /^(?:[A-Za-z0-9+/_-]{16,}={0,2}|[A-Za-z0-9+/_-]{6,}={1,2})$/.test(packed)
      ? unwrapBase64(packed, spot, cover, layer)
      : undefined
  }

  const unwrapBase64 = (packed: string, spot: Spot, cover: Cover, layer: number): readonly Piece[] | undefined => {
    const decoded = base64Text(packed)
    if (decoded === undefined) return undefined
    if (layer >= layers) return [hide('encoded', packed, spot)]
    return [{ mark: '‹base64›', bytes: 0 }, ...text(decoded, spot, cover, layer + 1), { mark: '‹/base64›', bytes: 0 }]
  }

  const children: Masker['children'] = (node, spot, cover) => {
    const hidden = disguised(node)
    if (node.kind === 'array')
      return node.items.map((item, index) => {
        const key = String(index)
        const place = below(spot, key, key)
        return { key, node: item, spot: place, cover: coverOf(place, hidden(key, item) ? 'secret' : '', false, cover) }
      })
    if (node.kind !== 'object') return []
    return node.members.map(([key, value]) => {
      const place = below(spot, key, textOf(nameOf(key, spot)))
      const counted = value.kind === 'literal'
      const name = hidden(key, value) ? 'secret' : key
      return { key, node: value, spot: place, cover: coverOf(place, name, counted, cover) }
    })
  }

  const leaf = (node: JsonNode, spot: Spot, cover: Cover, layer = 0): readonly Piece[] => {
    if (node.kind === 'string') return text(node.value, spot, cover, layer)
    if (node.kind !== 'literal') {
      const pieces: Piece[] = []
      json(node, spot, cover, pieces, () => false, 1)
      return pieces
    }
    if (cover === 'masked' || (cover === 'named' && number.test(node.raw))) return text(node.raw, spot, cover, layer)
    return cover === 'usual' && number.test(node.raw)
      ? cut(node.raw, joined(personalSpans(node.raw)), spot)
      : [{ text: node.raw }]
  }

  const json = (
    node: JsonNode,
    spot: Spot,
    cover: Cover,
    out: Piece[],
    stop: () => boolean,
    layer = 0,
    indent = '\n',
  ): void => {
    if (stop()) return
    if (node.kind === 'literal' || node.kind === 'string') {
      const pieces = leaf(node, spot, cover, layer)
      // A string that is hidden as a whole needs no quotes.
      const bare = node.kind === 'literal' || (pieces.length === 1 && pieces[0] !== undefined && 'mark' in pieces[0])
      append(out, bare ? pieces : [{ text: '"' }, ...quoted(pieces), { text: '"' }])
      return
    }
    const [open, close] = node.kind === 'object' ? ['{', '}'] : ['[', ']']
    const inside = layer === 0 ? `${indent}  ` : ''
    const all = children(node, spot, cover)
    out.push({ text: open })
    for (const [index, child] of all.entries()) {
      if (stop()) return
      out.push({ text: `${index === 0 ? '' : ','}${inside}` })
      if (node.kind === 'object') {
        append(out, [{ text: '"' }, ...quoted(nameOf(child.key, spot)), { text: layer === 0 ? '": ' : '":' }])
      }
      json(child.node, child.spot, child.cover, out, stop, layer, inside)
    }
    out.push({ text: `${layer === 0 && all.length > 0 ? indent : ''}${close}` })
  }

  return {
    coverOf,
    text: (value, spot, cover) => text(value, spot, cover),
    json: (node, spot, cover, out, stop = () => false) => json(node, spot, cover, out, stop),
    leaf: (node, spot, cover) => leaf(node, spot, cover),
    binary: content => ({ ...hide('binary', content.toString('latin1')), bytes: content.length }),
    children,
  }
}

/** Pieces as one string. Only marks have angle quotes, so nobody can forge one: those of the value itself are escaped. */
export const textOf = (pieces: readonly Piece[], encode: (text: string) => string = text => text): string =>
  pieces.map(piece => ('mark' in piece ? piece.mark : unforged(encode(piece.text)))).join('')

const unforged = (text: string): string =>
  /[‹›]/.test(text) ? text.replace(/‹/g, '\\u{2039}').replace(/›/g, '\\u{203a}') : text

// One by one: as arguments, too many would overflow the stack.
const append = (out: Piece[], pieces: readonly Piece[]): void => {
  for (const piece of pieces) out.push(piece)
}

const quoted = (pieces: readonly Piece[]): Piece[] =>
  pieces.map(piece => ('text' in piece ? { text: JSON.stringify(piece.text).slice(1, -1) } : piece))

/** The kind of a value that is a secret or a personal value as a whole. */
const kindOf = (value: string): string | undefined => {
  if (value.length > 16_384) return undefined
  return joined([...certainSpans(value), ...personalSpans(value)]).find(
    ({ start, end }) => start === 0 && end === value.length,
  )?.kind
}

// Overlapping spans become one: it is named by the lowest rank and hides what any of them hides.
const joined = (spans: readonly Found[]): readonly Found[] => {
  const result: Found[] = []
  for (const span of spans.toSorted((a, b) => a.start - b.start || a.rank - b.rank)) {
    const last = result.at(-1)
    if (last === undefined || span.start >= last.end) {
      result.push(span)
      continue
    }
    // What follows the password in an address is its host, not the rest of a mailbox.
    if (last.kind === 'password' && span.kind === 'email') continue
    const { kind, rank } = span.rank < last.rank ? span : last
    // Readable text that can no longer be shown apart is more than a personal value.
    const lost = span.pieces !== undefined || last.pieces !== undefined
    result[result.length - 1] = {
      kind,
      rank: lost ? Math.min(rank, 1) : rank,
      start: last.start,
      end: Math.max(last.end, span.end),
    }
  }
  return result
}

// Text in base64 or base64url: it must encode back to what was there, and read as UTF-8 (or as PowerShell's UTF-16) with few controls.
const base64Text = (packed: string): string | undefined => {
  const bare = packed.replace(/=+$/, '')
  const bytes = Buffer.from(bare, 'base64')
  if (bytes.length < 4 || bytes.toString('base64url') !== bare.replaceAll('+', '-').replaceAll('/', '_'))
    return undefined
  const wide = bytes.length % 2 === 0 && bytes.every((byte, index) => index % 2 === 0 || byte === 0)
  if (!wide && !isUtf8(bytes)) return undefined
  const decoded = bytes.toString(wide ? 'utf16le' : 'utf8')
  const odd = decoded.match(/[^\P{C}\t\r\n]/gu)?.length ?? 0
  return odd * 10 <= decoded.length ? decoded : undefined
}
