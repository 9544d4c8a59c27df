// What a kind sees of a call, from a row of a table: the same readings as the gate makes, without a socket.
import { parseBody } from '../../src/body.ts'
import type { Call, Header } from '../../src/nouns.ts'
import { parsePairs } from '../../src/pairs.ts'
import type { Upstream } from '../../src/settings.ts'
import type { Seen } from '../../src/upstreams/upstream.ts'

export type SeenRow = {
  readonly method?: string
  readonly path?: string
  readonly query?: string
  readonly headers?: { readonly [name: string]: string }
  readonly json?: unknown
  readonly form?: string
  readonly type?: string
  readonly body?: string
  readonly body64?: string
  readonly upgrade?: 'websocket' | 'spdy/3.1'
  readonly upstream?: Partial<Upstream>
}

export const seenOf = (row: SeenRow, path = '/'): Seen => {
  const type =
    row.json !== undefined
      ? 'application/json'
      : row.form !== undefined
        ? 'application/x-www-form-urlencoded'
        : row.type
  const text = row.json !== undefined ? JSON.stringify(row.json) : (row.form ?? row.body ?? '')
  const bytes = row.body64 === undefined ? Buffer.from(text) : Buffer.from(row.body64, 'base64')
  const headers: Header[] = [
    ...Object.entries(row.headers ?? {}),
    ...(type === undefined ? [] : [['Content-Type', type] as const]),
  ]
  const query = row.query === undefined ? [] : parsePairs(row.query)
  if (typeof query === 'string') throw new Error(`the row's query: ${query}`)
  const at = row.path ?? path
  const call: Call = {
    id: 'c',
    receivedAt: 0,
    method: row.method ?? 'POST',
    target: row.query === undefined ? at : `${at}?${row.query}`,
    path: at,
    rawPath: at,
    rawQuery: row.query,
    query,
    host: 'gate.example',
    headers,
    address: '127.0.0.1',
    scheme: 'http',
    httpVersion: '1.1',
    contentLength: bytes.length,
    ...(row.upgrade === undefined ? {} : { upgrade: row.upgrade }),
  }
  return {
    call,
    path: at,
    body: parseBody(headers, bytes, 1 << 20),
    upstream: { name: 'up', ...row.upstream } as Upstream,
  }
}
