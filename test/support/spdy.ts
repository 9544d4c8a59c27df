// As much SPDY/3.1 as a `kubectl exec` needs that only listens: streams are taken as they come (first how it ends, then output and errors),
// one text is written, and everything is closed.
import type { Socket } from 'node:net'
import { constants, deflateSync } from 'node:zlib'

const control = { synStream: 1, synReply: 2, rstStream: 3, settings: 4, ping: 6, goAway: 7 } as const

/** Agrees to speak SPDY and says `text` on the second stream that is opened. */
export const spdyShell = (socket: Socket, text: string): void => {
  socket.write(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n',
  )
  let rest = Buffer.alloc(0)
  const streams: number[] = []
  socket.on('data', chunk => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 8) {
      const length = rest.readUIntBE(5, 3)
      if (rest.length < 8 + length) return
      const frame = rest.subarray(0, 8 + length)
      rest = rest.subarray(8 + length)
      if ((frame.readUInt8(0) & 0x80) === 0) continue
      const type = frame.readUInt16BE(2)
      if (type === control.ping) socket.write(frame)
      if (type !== control.synStream) continue
      const id = frame.readUInt32BE(8) & 0x7fffffff
      socket.write(reply(id, streams.length === 0))
      if (streams.push(id) < 3) continue
      const [error = 0, out = 0, errors = 0] = streams
      socket.write(data(out, text))
      socket.write(data(errors, ''))
      socket.write(data(error, '{"metadata":{},"status":"Success"}'))
    }
  })
}

const frameOf = (head: readonly number[], flags: number, content: Buffer): Buffer => {
  const bytes = Buffer.alloc(8)
  Buffer.from(head).copy(bytes)
  bytes.writeUInt8(flags, 4)
  bytes.writeUIntBE(content.length, 5, 3)
  return Buffer.concat([bytes, content])
}

/** No headers: compressed in one stream over the whole connection, of which this is the beginning or a later piece. */
const none = (first: boolean): Buffer => {
  const whole = deflateSync(Buffer.alloc(4), { finishFlush: constants.Z_SYNC_FLUSH, level: 0 })
  return first ? whole : whole.subarray(2)
}

const reply = (id: number, first: boolean): Buffer => {
  const stream = Buffer.alloc(4)
  stream.writeUInt32BE(id)
  return frameOf([0x80, 3, 0, control.synReply], 0, Buffer.concat([stream, none(first)]))
}

/** Everything a stream has to say; then it is closed. */
const data = (id: number, text: string): Buffer => {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(id)
  return frameOf([...head], 1, Buffer.from(text))
}
