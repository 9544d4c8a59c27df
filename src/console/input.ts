// Reads what a request says, strictly: one reading of every header, parameter and field, within bounds, nothing that is not known.
// Every refusal names the field and what would do.
import { HoldpointError } from '../errors.ts'
import { parseStrict } from '../json.ts'

const bodyBytes = 64 * 1024
const commentLength = 2_000

/** The words that come with a verdict. */
export type Word = {
  readonly comment?: string
  readonly view?: string
  readonly outcome?: 'delivered' | 'failed'
  readonly csrf?: string
  readonly what?: string
  readonly value?: string
  readonly reason?: string
  readonly until?: string
  readonly hours?: string
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

const word = (fields: { readonly [name: string]: unknown }, allowed: readonly string[]): Word => {
  const read: { [name: string]: string } = {}
  for (const [name, value] of Object.entries(fields)) {
    if (!allowed.includes(name))
      throw malformed(`"${name.slice(0, 40)}" is not known here; send ${allowed.join(', ')}.`)
    // A view that is there but says nothing is a mistake of whoever sends it, never a verdict on whatever there is now.
    if (name === 'view' && (value === '' || value === null))
      throw malformed('"view" is empty: send the view of the hold that was looked at.')
    if (value === undefined || value === null) continue
    if (typeof value !== 'string') throw malformed(`"${name}" must be text.`)
    if (value.length > commentLength) throw malformed(`"${name}" is longer than ${commentLength} characters.`)
    const text = name === 'comment' ? value.replace(/\r\n?/g, '\n').trim() : value
    if (text !== '') read[name] = text
  }
  if (read.outcome !== undefined && read.outcome !== 'delivered' && read.outcome !== 'failed') {
    throw malformed('"outcome" must be "delivered" or "failed".')
  }
  return read as Word
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
export const readJson = async (request: Request, allowed: readonly string[]): Promise<Word> => {
  ofType(request, 'application/json')
  const text = await bodyText(request)
  const parsed = parseStrict(Buffer.from(text === '' ? '{}' : text))
  if ('unknown' in parsed) throw malformed(`The body is not JSON with one reading: ${parsed.unknown}.`)
  const { value } = parsed
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw malformed('The body must be a JSON object.')
  return word(value as { [name: string]: unknown }, allowed)
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

/** The id in a path. What cannot be one is as unknown as one that does not exist. */
export const readId = (text: string | undefined): string => {
  if (text === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new HoldpointError('unknown_hold')
  return text
}
