// An upstream that keeps every byte it was sent. Its parser is its own and strict: what it cannot read for sure is recorded as such.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export type Recorded = {
  readonly method: string
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The head exactly as it came, latin1. */
  readonly head: string
  readonly body: Buffer
  /** Which connection it came on, from 0. */
  readonly connection: number
  /** Says why the bytes are no single request, if they are none. */
  readonly broken?: string
}

export type Recorder = {
  readonly port: number
  readonly url: string
  readonly requests: readonly Recorded[]
  /** Connections so far; each as the bytes it brought. */
  readonly connections: readonly Buffer[]
  /** Resolves when `count` whole requests have come. */
  arrived(count: number): Promise<readonly Recorded[]>
  /** Resolves when every connection so far has been closed. */
  idle(): Promise<void>
  close(): Promise<void>
}

export type Answers = {
  /** Raw bytes for a whole request; undefined: none by itself. */
  readonly answer?: (request: Recorded, socket: Socket) => string | Buffer | undefined
  /** Raw bytes as soon as a head is there, before its body; then the body is only recorded, not parsed. */
  readonly onHead?: (head: string, socket: Socket) => string | undefined
}

export const ok = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n'

/** @param port 0: any that is free */
export const startRecorder = async ({ answer = () => ok, onHead }: Answers = {}, port = 0): Promise<Recorder> => {
  const requests: Recorded[] = []
  const connections: Buffer[] = []
  const open = new Set<Socket>()
  const server = createServer(socket => {
    const connection = connections.push(Buffer.alloc(0)) - 1
    open.add(socket)
    socket.on('close', () => {
      open.delete(socket)
      server.emit('gone')
    })
    socket.on('error', () => {})
    let pending = Buffer.alloc(0)
    let answeredEarly = false
    socket.on('data', chunk => {
      connections[connection] = Buffer.concat([connections[connection] ?? Buffer.alloc(0), chunk])
      pending = Buffer.concat([pending, chunk])
      while (!answeredEarly) {
        const end = pending.indexOf('\r\n\r\n')
        if (end < 0) return
        const early = onHead?.(pending.toString('latin1', 0, end + 4), socket)
        if (early !== undefined) {
          answeredEarly = true
          socket.write(early, 'latin1')
          return
        }
        const taken = readRequest(pending, connection)
        if (taken === undefined) return
        pending = pending.subarray(taken.used)
        requests.push(taken.request)
        const said = answer(taken.request, socket)
        if (said !== undefined) socket.write(said)
        server.emit('recorded')
      }
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as AddressInfo
  return {
    port: address.port,
    url: `http://127.0.0.1:${address.port}`,
    requests,
    connections,
    async arrived(count) {
      while (requests.length < count) await once(server, 'recorded')
      return requests
    },
    async idle() {
      while (open.size > 0) await once(server, 'gone')
    },
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

type Taken = { readonly request: Recorded; readonly used: number }

/** The request at the front of `bytes` by the letter of RFC 9112, or undefined while it is not all there. */
export const readRequest = (bytes: Buffer, connection = 0): Taken | undefined => {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const headEnd = end + 4
  const head = bytes.toString('latin1', 0, headEnd)
  const [requestLine = '', ...rest] = head.slice(0, -4).split('\r\n')
  const [, method = '', target = ''] = /^([A-Z]+) +(\S+) +HTTP\/1\.[01]$/.exec(requestLine) ?? []
  const headers = rest.map(line => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).trim()] as const
  })
  const request = { method, target, headers, head, connection }
  const broken = (why: string): Taken => ({
    request: { ...request, body: bytes.subarray(headEnd), broken: why },
    used: bytes.length,
  })
  if (method === '') return broken('no request line')
  if (!rest.every(line => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/.test(line)))
    return broken('a bad header line')
  const values = (lower: string): string[] =>
    headers.filter(([name]) => name.toLowerCase() === lower).map(([, value]) => value)
  const lengths = values('content-length')
  const codings = values('transfer-encoding')
  if (lengths.length + codings.length > 1) return broken('two framings')
  if (codings.length === 1) {
    if (codings[0]?.toLowerCase() !== 'chunked') return broken('a strange coding')
    return dechunk(bytes, headEnd, request)
  }
  const length = Number(lengths[0] ?? 0)
  if (bytes.length < headEnd + length) return undefined
  return { request: { ...request, body: bytes.subarray(headEnd, headEnd + length) }, used: headEnd + length }
}

const dechunk = (bytes: Buffer, start: number, request: Omit<Recorded, 'body'>): Taken | undefined => {
  const parts: Buffer[] = []
  for (let at = start; ; ) {
    const line = bytes.indexOf('\r\n', at)
    if (line < 0) return undefined
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (!Number.isInteger(size))
      return { request: { ...request, body: bytes.subarray(start), broken: 'a bad chunk' }, used: bytes.length }
    at = line + 2
    if (bytes.length < at + size + 2) return undefined
    if (size === 0) return { request: { ...request, body: Buffer.concat(parts) }, used: at + 2 }
    parts.push(bytes.subarray(at, at + size))
    at += size + 2
  }
}
