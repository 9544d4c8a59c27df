// Asks an issuer for a JSON document: over https (or on this very machine), bounded in time and size, never following a redirect.
// What an issuer's entry says of its own certificate authority and of our token for it is read anew each time: both are rotated.
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { parseStrict } from './json.ts'
import type { Json } from './nouns.ts'

const timeoutMs = 5_000

export type Question = {
  /** Largest answer, in bytes. */
  readonly limit: number
  /** A PEM file; then nobody else vouches for the issuer. */
  readonly caFile?: string | undefined
  /** A file with the bearer token that proves us to the issuer. */
  readonly bearerTokenFile?: string | undefined
  readonly authorization?: string | undefined
  /** Sent as a form with POST; without it the question is a GET. */
  readonly form?: { readonly [name: string]: string }
}

/** The JSON that `url` answers with 200. Throws an Error that says what went wrong, without showing what was sent. */
export const ask = async (url: string, question: Question): Promise<Json> => {
  if (!safeUrl(url)) throw new Error('its address is not https')
  const { caFile, bearerTokenFile, form } = question
  const ca = caFile === undefined ? undefined : await certificates(caFile)
  const token = bearerTokenFile === undefined ? undefined : await tokenIn(bearerTokenFile)
  const authorization = token === undefined ? question.authorization : `Bearer ${token}`
  const body = form === undefined ? undefined : new URLSearchParams(form).toString()
  const bytes = await exchange(url, {
    limit: question.limit,
    ca,
    body,
    headers: {
      accept: 'application/json',
      ...(authorization === undefined ? {} : { authorization }),
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/x-www-form-urlencoded', 'content-length': String(Buffer.byteLength(body)) }),
    },
  })
  const parsed = parseStrict(bytes)
  if ('unknown' in parsed) throw new Error(`its answer cannot be read: ${parsed.unknown}`)
  return parsed.value
}

/** Keys and answers about tokens come over https, or from this very machine. */
export const safeUrl = (text: string): boolean => {
  const url = URL.parse(text)
  if (url === null) return false
  return (
    url.protocol === 'https:' || (url.protocol === 'http:' && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname))
  )
}

// An empty list would mean the system's own authorities.
const certificates = async (file: string): Promise<string> => {
  const text = await contentOf(file, 'caFile')
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw new Error('its caFile has no certificate')
  return text
}

const tokenIn = async (file: string): Promise<string> => {
  const token = (await contentOf(file, 'bearerTokenFile')).trim()
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error('its bearerTokenFile has no token')
  return token
}

const contentOf = async (file: string, key: string): Promise<string> => {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new Error(`its ${key} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`)
  }
}

type Exchange = {
  readonly limit: number
  readonly ca: string | undefined
  readonly body: string | undefined
  readonly headers: { readonly [name: string]: string }
}

const exchange = (url: string, { limit, ca, body, headers }: Exchange): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const options = {
      method: body === undefined ? 'GET' : 'POST',
      headers,
      // The whole answer has this long, however slowly it drips.
      signal: AbortSignal.timeout(timeoutMs),
      ...(ca === undefined ? {} : { ca, agent: false as const }),
    }
    const receive = (response: IncomingMessage): void => {
      const fail = (why: string): void => {
        response.destroy()
        reject(new Error(why))
      }
      if (response.statusCode !== 200) return void fail(`it answered ${response.statusCode}`)
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > limit) return void fail(`its answer is larger than ${limit} bytes`)
        chunks.push(chunk)
      })
      response.on('error', error => fail(reason(error)))
      response.on('end', () => (response.complete ? resolve(Buffer.concat(chunks)) : fail('its answer broke off')))
    }
    const asked = url.startsWith('https:') ? requestHttps(url, options, receive) : requestHttp(url, options, receive)
    asked.on('error', error => reject(new Error(reason(error), { cause: error })))
    asked.end(body)
  })

const reason = (error: NodeJS.ErrnoException): string =>
  error.name === 'AbortError' || error.name === 'TimeoutError'
    ? 'it did not answer in time'
    : `it cannot be reached (${error.code ?? error.message})`
