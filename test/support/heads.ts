// Calls made from what node hands over of a head, without a server; and upstreams that opt in to as little as possible.
import type { IncomingMessage } from 'node:http'
import { HoldpointError } from '../../src/errors.ts'
import type { Call } from '../../src/nouns.ts'
import { receive } from '../../src/receive.ts'
import type { Upstream } from '../../src/settings.ts'

export type Head = {
  readonly method?: string
  readonly target?: string
  readonly version?: string
  /** null: no Host line. */
  readonly host?: string | null
  /** `Name: value` */
  readonly lines?: readonly string[]
  readonly address?: string
  readonly tls?: true
}

export const callOf = (head: Head, limit = 100_000): Call => {
  const { method = 'GET', target = '/', version = '1.1', host = 'gate', lines = [], address = '10.0.0.9', tls } = head
  const headers = lines.map(line => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)])
  const request = {
    method,
    url: target,
    httpVersion: version,
    rawHeaders: [...(host === null ? [] : ['Host', host]), ...headers.flat()],
    socket: { remoteAddress: address, ...(tls ? { encrypted: true } : {}) },
  }
  return receive(request as unknown as IncomingMessage, { header: limit })
}

/** The refusal that `run` must end with. */
export const refusalOf = (run: () => unknown): HoldpointError => {
  try {
    run()
  } catch (error) {
    if (error instanceof HoldpointError) return error
    throw error
  }
  throw new Error('it was let through')
}

let made = 0

export const upstreamOf = (more: Partial<Upstream> = {}): Upstream => ({
  name: 'u',
  kind: 'http',
  url: 'http://127.0.0.1:1',
  at: { prefix: '/' },
  credential: undefined,
  tokenHeader: undefined,
  timeouts: { connectMs: 2000, headersMs: 5000, idleMs: 5000, tunnelMs: 5000 },
  tls: undefined,
  http2: false,
  assertion: 'held',
  volatileHeaders: [],
  limits: { inspect: 1000, held: 1000 },
  encodedSlash: 'refuse',
  doubleSlash: 'refuse',
  pathParameters: 'refuse',
  caseSensitive: true,
  getBody: false,
  underscores: 'refuse',
  hash: `hash-${made++}`,
  ...more,
})
