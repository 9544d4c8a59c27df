// The one line that says what would happen: the rule's summary with values of the held call filled in.
// No value can push the others out of the line, and a value that cannot be read is never silently left out.
import type { Action, Body, HeldCall } from '../nouns.ts'
import type { JsonNode } from './json.ts'
import type { Cover, Path, Spot } from './paths.ts'
import { fits, jsonRoot, readPath } from './paths.ts'
import { printable } from './printable.ts'
import type { Masker } from './values.ts'
import { textOf } from './values.ts'

const longestLine = 200
const longestValue = 80
const field = /\{([^{}]*)\}/g

export type Document = { readonly node: JsonNode; readonly masker: Masker }

/** What a call has for a summary: its named values, already masked, and its JSON. */
export type Values = {
  readonly held: HeldCall
  readonly action: Action
  readonly body: Body
  /** The JSON of the body, each document with the masker that fits it. */
  readonly documents: readonly Document[]
  readonly named: readonly { readonly spot: Spot; readonly shown: string }[]
  /** False if a body is there and not all of it was looked at. */
  readonly complete: boolean
}

/** The values that a summary names; they count as shown. */
export const summaryPaths = (summary: string): readonly Path[] =>
  [...summary.matchAll(field)].flatMap(match => readPath(match[1] ?? '') ?? [])

/** Fills in a summary, or says action and resource (for plain HTTP: method and path). */
export const lineOf = (summary: string | undefined, values: Values): string => {
  const { held, action } = values
  const path = held.paths[0] ?? pathOf(held)
  const usual = action.name.startsWith('http:') ? `${held.call.method} ${path}` : `${action.name} ${action.resource}`
  const line =
    summary === undefined
      ? printable(usual)
      : summary
          .split(field)
          .map((part, index) => (index % 2 === 0 ? printable(part) : short(fill(part, path, values), longestValue)))
          .join('')
  return short(line, longestLine)
}

/** The path as the upstream receives it. */
export const pathOf = (held: HeldCall): string => held.upstreamTarget.split('?', 1)[0] ?? ''

export const short = (text: string, most: number): string => {
  if (text.length <= most) return text
  const kept = text.slice(0, most - 1)
  return `${/[\ud800-\udbff]$/.test(kept) ? kept.slice(0, -1) : kept}…`
}

const fill = (name: string, path: string, values: Values): string => {
  const { action, held } = values
  if (name === 'method') return printable(held.call.method)
  if (name === 'path') return printable(path)
  if (name === 'action') return printable(action.name)
  if (name === 'resource') return printable(action.resource)
  const segment = /^path\.([1-9]\d?)$/.exec(name)?.[1]
  if (segment !== undefined) return printable(path.split('/')[Number(segment)] ?? '') || '‹absent›'
  const wanted = readPath(name)
  if (wanted === undefined) return '‹absent›'
  const inBody = wanted.place === 'json' || wanted.place === 'form'
  if (inBody && values.body.kind === 'unknown') return '‹unreadable›'
  const found =
    wanted.place === 'json'
      ? values.documents.flatMap(document => select(document, wanted))
      : values.named.filter(({ spot }) => fits(wanted, spot)).map(({ shown }) => shown)
  if (found.length > 0) return found.join(', ')
  return inBody && !values.complete ? '‹unreadable›' : '‹absent›'
}

const select = ({ node, masker }: Document, wanted: Path): readonly string[] => {
  let found: readonly { readonly node: JsonNode; readonly spot: Spot; readonly cover: Cover }[] = [
    { node, spot: jsonRoot, cover: masker.coverOf(jsonRoot, '', false) },
  ]
  for (const segment of wanted.segments) {
    found = found.flatMap(({ node, spot, cover }) =>
      masker.children(node, spot, cover).filter(({ key }) => segment === '*' || segment === key),
    )
  }
  return found.map(({ node, spot, cover }) => textOf(masker.leaf(node, spot, cover), printable))
}
