// The one place that turns an error into an answer: problem+json (or the shape the upstream's clients expect), with Proxy-Status.
import { type ErrorCode, type HoldpointError, problem } from './errors.ts'
import type { CallerResponse } from './incoming.ts'
import type { Body, Call, Header } from './nouns.ts'
import { plainRefusal, type UpstreamKind } from './upstreams/upstream.ts'

// RFC 9209 §2.3: the error types that fit; everything else we refuse is http_request_denied.
const proxyErrors: Partial<Record<ErrorCode, string>> = {
  malformed: 'http_request_error',
  head_too_large: 'http_request_error',
  target_too_long: 'http_request_error',
  body_too_large: 'http_request_error',
  unreadable_body: 'http_request_error',
  internal: 'proxy_internal_error',
  store_unavailable: 'proxy_internal_error',
  audit_unavailable: 'proxy_internal_error',
  upstream_unreachable: 'destination_unavailable',
  upstream_timeout: 'http_response_timeout',
  no_route: 'destination_not_found',
}

// Whoever is told to come again later is told when.
const retryAfter = (error: HoldpointError): number | undefined =>
  error.extras.retryAfterS ?? (error.status === 503 ? 5 : undefined)

/** Head lines every answer of ours carries. */
const ownHead = (error: HoldpointError): Header[] => [
  ['Cache-Control', 'no-store'],
  ['Proxy-Status', `holdpoint; error=${proxyErrors[error.code] ?? 'http_request_denied'}; details="${error.code}"`],
  ...(error.extras.hold === undefined ? [] : [['Holdpoint-Hold', error.extras.hold] as const]),
  ...(retryAfter(error) === undefined ? [] : [['Retry-After', String(retryAfter(error))] as const]),
  ...Object.entries(error.extras.headers ?? {}),
]

/** Writes the answer of an error, if nothing was written yet; else ends the connection. */
export const answerError = (
  response: CallerResponse,
  error: HoldpointError,
  how: {
    /** In the shape that clients of this kind expect, for the call as far as it is known. */
    readonly like?: { readonly kind: UpstreamKind; readonly call: Call | undefined; readonly body?: Body | undefined }
    readonly task?: boolean
    readonly close?: boolean
  } = {},
): void => {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const document = problem(error, how.task)
  const { status, headers, body } = (how.like?.kind.refusal ?? plainRefusal)(
    error,
    document,
    how.like?.call,
    how.like?.body,
  )
  write(
    response,
    status ?? error.status,
    [...headers, ...ownHead(error), ...(how.close ? [['Connection', 'close'] as const] : [])],
    body,
  )
}

/** Writes a JSON answer of our own. */
export const answerJson = (
  response: CallerResponse,
  status: number,
  value: unknown,
  headers: readonly Header[] = [],
): void =>
  write(
    response,
    status,
    [['Content-Type', 'application/json'], ['Cache-Control', 'no-store'], ...headers],
    JSON.stringify(value),
  )

/** Writes a whole answer; the length is said, so that nothing is ever chunked by accident. */
export const write = (
  response: CallerResponse,
  status: number,
  headers: readonly Header[],
  body: string | Buffer,
): void => {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const lines = headers.flat()
  response.writeHead(status, [
    ...lines,
    ...(status === 204 || status === 304 ? [] : ['Content-Length', String(bytes.length)]),
  ])
  response.end(response.req.method === 'HEAD' ? undefined : bytes)
}

/** The raw answer to bytes that never became a request. */
export const rawRefusal = (error: HoldpointError): string => {
  const body = JSON.stringify(problem(error))
  const head = [
    ...ownHead(error),
    ['Content-Type', 'application/problem+json'],
    ['Content-Length', String(Buffer.byteLength(body))],
    ['Connection', 'close'],
  ]
  return `HTTP/1.1 ${error.status} Refused\r\n${head.map(([name, value]) => `${name}: ${value}`).join('\r\n')}\r\n\r\n${body}`
}
