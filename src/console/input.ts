// Reads what a request says, strictly: one reading of every header, parameter and field, within bounds, nothing that is not known.
// Every refusal names the field and what would do.
import { HoldpointError } from '../errors.ts'
import { parseStrict } from '../json.ts'
import type { Json } from '../nouns.ts'

const bodyBytes = 64 * 1024
const textLength = 2_000
/** A call that somebody describes may have a longer body than any other text here. */
const bodyLength = 32_000

type Field =
  | 'comment'
  | 'view'
  | 'csrf'
  | 'what'
  | 'value'
  | 'reason'
  | 'until'
  | 'hours'
  | 'field'
  | 'also'
  | 'caller'
  | 'issuer'
  | 'subject'
  | 'kind'
  | 'client'
  | 'groups'
  | 'method'
  | 'url'
  | 'headers'
  | 'type'
  | 'body'
  | 'uses'
  | 'for'
  | 'rate'
  | 'free'
  | 'resource'

/** What somebody sent along: texts, and what is more than a text. */
export type Word = { readonly [name in Field]?: string } & {
  readonly outcome?: 'delivered' | 'failed'
  /** How many hidden values are approved without having been looked at. */
  readonly unseen?: number
}

const malformed = (detail: string): HoldpointError => new HoldpointError('malformed', detail)

/** Whole body as text. @throws body_too_large above 64 KiB, malformed if it is not UTF-8 */
const bodyText = async (request: Request): Promise<string> => {
  const tooLarge = (): HoldpointError =>
    new HoldpointError('body_too_large', `The console reads at most ${bodyBytes} bytes.`)
  if (Number(request.headers.get('content-length') ?? 0) > bodyBytes) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > bodyBytes) throw tooLarge()
    chunks.push(chunk)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch (cause) {
    throw new HoldpointError('malformed', 'The body is not UTF-8.', { cause })
  }
}

const ofType = (request: Request, type: string): void => {
  const given = request.headers.get('content-type') ?? ''
  if (!new RegExp(`^${type}\\s*(;\\s*charset="?utf-8"?\\s*)?$`, 'i').test(given)) {
    throw new HoldpointError('unreadable_body', `Send the body as Content-Type: ${type}.`)
  }
}

/** What was sent along, as far as it is allowed. @throws malformed */
export const word = (fields: { readonly [name: string]: unknown }, allowed: readonly string[]): Word => {
  const read: { [name: string]: string } = {}
  let unseen = {}
  for (const [name, value] of Object.entries(fields)) {
    if (!allowed.includes(name))
      throw malformed(`"${name.slice(0, 40)}" is not known here; send ${allowed.join(', ')}.`)
    // A view that is there but says nothing is a mistake of whoever sends it, never a verdict on whatever there is now.
    if (name === 'view' && (value === '' || value === null))
      throw malformed('"view" is empty: send the view of the hold that was looked at.')
    if (value === undefined || value === null) continue
    if (name === 'unseen') {
      unseen = { unseen: countOf(value) }
      continue
    }
    if (typeof value !== 'string') throw malformed(`"${name}" must be text.`)
    const longest = name === 'body' ? bodyLength : textLength
    if (value.length > longest) throw malformed(`"${name}" is longer than ${longest} characters.`)
    const text = name === 'comment' ? value.replace(/\r\n?/g, '\n').trim() : value
    if (text !== '') read[name] = text
  }
  if (read.outcome !== undefined && read.outcome !== 'delivered' && read.outcome !== 'failed') {
    throw malformed('"outcome" must be "delivered" or "failed".')
  }
  return { ...read, ...unseen }
}

/** A count: a number in JSON, digits in a form. */
const countOf = (value: unknown): number => {
  const count = typeof value === 'string' && /^\d{1,6}$/.test(value) ? Number(value) : value
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0)
    throw malformed('"unseen" must be a whole number: how many hidden values you have not looked at.')
  return count
}

/** The fields of a posted form. @throws unreadable_body, body_too_large, malformed */
export const readForm = async (request: Request, allowed: readonly string[]): Promise<Word> => {
  ofType(request, 'application/x-www-form-urlencoded')
  const form = new URLSearchParams(await bodyText(request))
  const fields: { [name: string]: string } = {}
  for (const [name, value] of form) {
    if (Object.hasOwn(fields, name)) throw malformed(`"${name.slice(0, 40)}" was sent more than once.`)
    fields[name] = value
  }
  return word(fields, allowed)
}

/** One field of a form that may have others, which are nobody's concern here. @throws unreadable_body, body_too_large, malformed */
export const readField = async (request: Request, name: string): Promise<string> => {
  ofType(request, 'application/x-www-form-urlencoded')
  const [value, ...more] = new URLSearchParams(await bodyText(request)).getAll(name)
  if (value === undefined || more.length > 0) throw malformed(`"${name}" is needed, once.`)
  return value
}

/** The members of a posted JSON object; no body at all is an empty one. @throws unreadable_body, body_too_large, malformed */
export const readJson = async (request: Request, allowed: readonly string[]): Promise<Word> =>
  word(await readObject(request), allowed)

/** A posted JSON object, whatever is in it. @throws unreadable_body, body_too_large, malformed */
export const readObject = async (request: Request): Promise<{ readonly [name: string]: Json }> => {
  ofType(request, 'application/json')
  const text = await bodyText(request)
  const parsed = parseStrict(Buffer.from(text === '' ? '{}' : text))
  if ('unknown' in parsed) throw malformed(`The body is not JSON with one reading: ${parsed.unknown}.`)
  const { value } = parsed
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw malformed('The body must be a JSON object.')
  return value as { readonly [name: string]: Json }
}

/** Which hidden value somebody wants to see, and of what they saw. */
export const lookOf = ({ field, view }: Word): { readonly field: string; readonly view: string } => {
  if (field === undefined || view === undefined)
    throw malformed('"field" and "view" are needed: one of hidden.unseen, and the view of the hold that was looked at.')
  return { field, view }
}

/** The query's parameters, each at most once and every one of them known. */
export const readQuery = <Name extends string>(
  request: Request,
  allowed: readonly Name[],
): { readonly [K in Name]?: string } => {
  const found: { [name: string]: string } = {}
  for (const [name, value] of new URL(request.url).searchParams) {
    if (!(allowed as readonly string[]).includes(name)) {
      throw malformed(
        `"${name.slice(0, 40)}" is not a parameter of this address; it takes ${allowed.join(', ') || 'none'}.`,
      )
    }
    if (Object.hasOwn(found, name)) throw malformed(`"${name}" was given more than once.`)
    if (value.length > 256) throw malformed(`"${name}" is longer than 256 characters.`)
    if (value !== '') found[name] = value
  }
  return found as { readonly [K in Name]?: string }
}

/** A whole number within bounds. */
export const readNumber = (
  name: string,
  text: string | undefined,
  bounds: { min: number; max: number },
): number | undefined => {
  if (text === undefined) return undefined
  const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= bounds.min && number <= bounds.max))
    throw malformed(`"${name}" must be a whole number from ${bounds.min} to ${bounds.max}.`)
  return number
}

/** A day (UTC) or an instant, as the bound of a search: `fromAt` is the first that counts, `toAt` the first that does not. */
export const readInstant = <Name extends 'from' | 'to'>(
  name: Name,
  text: string | undefined,
): { readonly [K in `${Name}At`]?: number } => {
  if (text === undefined) return {}
  const day = /^\d{4}-\d\d-\d\d$/.test(text)
  const at =
    day || /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(at))
    throw malformed(`"${name}" must be a day such as 2026-01-31, or an instant such as 2026-01-31T09:30:00Z.`)
  // The last day of a search counts to its end.
  return { [`${name}At`]: name === 'to' && day ? at + 24 * 3_600_000 : at } as { readonly [K in `${Name}At`]?: number }
}

/** The id in a path. What cannot be one is as unknown as one that does not exist. */
export const readId = (text: string | undefined): string => {
  if (text === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new HoldpointError('unknown_hold')
  return text
}
