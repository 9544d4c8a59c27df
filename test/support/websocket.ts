// Raw WebSocket ends: a client that writes every byte of its handshake itself, and an upstream that answers as a test wants. Neither knows
// of frames: what is sent through a tunnel is bytes.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export const handshakeKey = 'dGhlIHNhbXBsZSBub25jZQ=='

/** RFC 6455 §4.2.2; of `handshakeKey` it is the one in the RFC. */
export const acceptOf = (key: string): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

export type Wire = {
  readonly socket: Socket
  /** Everything that came so far, latin1. */
  text(): string
  /** Resolves with what came as soon as it fits; rejects if the other side ends before. */
  until(fits: (text: string) => boolean): Promise<string>
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>
}

const wired = (socket: Socket): Wire => {
  let text = ''
  let over = false
  const wakers = new Set<() => void>()
  const wake = (): void => {
    for (const one of wakers) one()
  }
  socket.on('error', () => {})
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
    wake()
  })
  const closed = new Promise<void>(resolve => {
    socket.once('close', () => {
      over = true
      wake()
      resolve()
    })
  })
  return {
    socket,
    text: () => text,
    closed,
    until: fits =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!fits(text) && !over) return
          wakers.delete(look)
          if (fits(text)) resolve(text)
          else reject(new Error(`it ended with ${JSON.stringify(text)}`))
        }
        wakers.add(look)
        look()
      }),
  }
}

/** Opens a connection to the gate and writes `raw` to it. */
export const dial = async (gate: string, raw: string, tls: object = {}): Promise<Wire> => {
  const { protocol, port } = new URL(gate)
  const socket =
    protocol === 'https:'
      ? connectTls({ port: Number(port), host: '127.0.0.1', ...tls })
      : connect({ port: Number(port), host: '127.0.0.1' })
  const wire = wired(socket)
  await once(socket, protocol === 'https:' ? 'secureConnect' : 'connect')
  if (raw !== '') socket.write(raw, 'latin1')
  return wire
}

/** The head of a handshake, each line as it is written; `lines` are added. */
export const handshake = (target: string, lines: readonly string[]): string =>
  [
    `GET ${target} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    ...(lines.some(line => line.startsWith('Sec-WebSocket-Key:')) ? [] : [`Sec-WebSocket-Key: ${handshakeKey}`]),
    ...lines,
    '',
    '',
  ].join('\r\n')

export type SocketUpstream = {
  readonly url: string
  /** Heads in the order in which they came. */
  readonly heads: readonly string[]
  /** The connection of the next head for this target, or of the earliest that nobody took. */
  next(target: string): Promise<Wire>
  close(): Promise<void>
}

/** What a real server says to this head: 101 with the right proof. */
export const agree = (head: string, more: readonly string[] = []): string => {
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1] ?? ''
  return [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${acceptOf(key)}`,
    ...more,
    '',
    '',
  ].join('\r\n')
}

/** An upstream on a free port. @param answer raw bytes for a head */
export const startSocketUpstream = async (answer: (head: string) => string = agree): Promise<SocketUpstream> => {
  const heads: string[] = []
  const ready: { readonly target: string; readonly wire: Wire }[] = []
  const waiting: { readonly target: string; readonly take: (wire: Wire) => void }[] = []
  const open = new Set<Socket>()
  const server = createServer(async socket => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    const wire = wired(socket)
    const text = await wire.until(all => all.includes('\r\n\r\n')).catch(() => undefined)
    if (text === undefined) return
    heads.push(text.slice(0, text.indexOf('\r\n\r\n') + 4))
    socket.write(answer(text), 'latin1')
    const target = text.split(' ')[1] ?? ''
    const at = waiting.findIndex(one => one.target === target)
    if (at < 0) ready.push({ target, wire })
    else waiting.splice(at, 1)[0]?.take(wire)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    heads,
    next: target => {
      const at = ready.findIndex(one => one.target === target)
      const [found] = at < 0 ? [] : ready.splice(at, 1)
      return found === undefined ? new Promise(take => waiting.push({ target, take })) : Promise.resolve(found.wire)
    },
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
