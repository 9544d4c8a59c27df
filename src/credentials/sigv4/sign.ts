// AWS Signature Version 4 in the head of a request (IAM user guide, "Create a signed AWS API request"). Works on the target as it is sent:
// S3 encodes a path once, every other service encodes it again. Pure: the time and the keys are given.
import { createHash, createHmac } from 'node:crypto'
import type { Header } from '../../nouns.ts'

export type AccessKeys = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

export type ToSign = {
  readonly method: string
  /** As it is sent, with its query. */
  readonly target: string
  /** All that are sent; those that AWS wants signed are: Host, Content-Type, Content-MD5 and X-Amz-*. */
  readonly headers: readonly Header[]
  /** SHA-256 of the body in hex, or the word that stands for it. */
  readonly payload: string
  readonly service: string
  readonly region: string
  readonly at: Date
}

const algorithm = 'AWS4-HMAC-SHA256'

export const sha256 = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text, 'utf8').digest()

/** RFC 3986 with nothing but unreserved characters left: what AWS calls UriEncode. */
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, one => `%${one.charCodeAt(0).toString(16).toUpperCase()}`)

// S3 encodes the name itself, so an encoded slash is a slash to it, and two in a row stay two; others encode what was sent once more.
const canonicalPath = (path: string, service: string): string =>
  (service === 's3' ? decodeURIComponent(path) : path.replace(/\/{2,}/g, '/')).split('/').map(encoded).join('/')

const canonicalQuery = (query: string): string =>
  query
    .split('&')
    .filter(pair => pair !== '')
    .map(pair => {
      const [name = '', ...value] = pair.split('=')
      return [name, value.join('=')].map(one => encoded(decodeURIComponent(one.replaceAll('+', ' ')))) as [
        string,
        string,
      ]
    })
    .sort(([oneName, one], [otherName, other]) => byText(oneName, otherName) || byText(one, other))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')

const byText = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0)

const isSigned = (name: string): boolean => /^(?:host|content-type|content-md5|x-amz-.*)$/.test(name)

/** Names in order, each with its values joined; white space inside a value counts as one space. */
const canonicalHeaders = (headers: readonly Header[]): readonly (readonly [string, string])[] => {
  const values = new Map<string, string[]>()
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (isSigned(lower)) values.set(lower, [...(values.get(lower) ?? []), value.trim().replace(/ +/g, ' ')])
  }
  return [...values].map(([name, list]) => [name, list.join(',')] as const).sort(([one], [other]) => byText(one, other))
}

/** `20260131T093000Z` */
export const amzDate = (at: Date): string => at.toISOString().replace(/[-:]|\.\d{3}/g, '')

/** The Authorization line. `headers` have Host, X-Amz-Date and, where keys have one, X-Amz-Security-Token already. */
export const authorization = (request: ToSign, keys: AccessKeys): string => {
  const { method, target, payload, service, region, at } = request
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const headers = canonicalHeaders(request.headers)
  const names = headers.map(([name]) => name).join(';')
  const canonical = [
    method,
    canonicalPath(path, service),
    mark < 0 ? '' : canonicalQuery(target.slice(mark + 1)),
    ...headers.map(([name, value]) => `${name}:${value}`),
    '',
    names,
    payload,
  ].join('\n')
  const date = amzDate(at)
  const scope = `${date.slice(0, 8)}/${region}/${service}/aws4_request`
  const key = scope.split('/').reduce<Buffer | string>(hmac, `AWS4${keys.secretAccessKey}`)
  const signature = hmac(key as Buffer, [algorithm, date, scope, sha256(canonical)].join('\n')).toString('hex')
  return `${algorithm} Credential=${keys.accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`
}
