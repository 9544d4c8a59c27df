// Takes `100 Continue` out of what an upstream answers. Every client must be able to pass over it, asked for or not (RFC 9110 §15.2), and
// undici ends the connection instead. Only the very first bytes of an answer are looked at, and only this one head is ever left out.
import type { Socket } from 'node:net'

const opening = Buffer.from('HTTP/1.1 100')
/** A longer head is left to the parser, which refuses it. */
const maxHead = 16 * 1024

/**
 * Changes what is read from a connection over which one request at a time is sent.
 * @returns to be called before each request: the next bytes are the beginning of its answer
 */
export const withoutContinue = (socket: Pick<Socket, 'read'>): (() => void) => {
  const read = socket.read.bind(socket)
  let atStart = false
  let kept: Buffer | undefined

  socket.read = (size?: number): Buffer | null => {
    const chunk = read(size) as Buffer | null
    if (!atStart || chunk === null) return chunk
    kept = kept === undefined ? chunk : Buffer.concat([kept, chunk])
    for (;;) {
      const length = continueLength(kept)
      if (length === 'unknown') return null
      if (length === 0) break
      kept = kept.subarray(length)
      if (kept.length === 0) {
        kept = undefined
        return null
      }
    }
    const answer = kept
    atStart = false
    kept = undefined
    return answer
  }
  return () => {
    atStart = true
  }
}

/** Bytes of the `100 Continue` at the front; 0: there is none; unknown: there are too few bytes to tell. */
const continueLength = (bytes: Buffer): number | 'unknown' => {
  const seen = Math.min(bytes.length, opening.length)
  if (bytes.compare(opening, 0, seen, 0, seen) !== 0) return 0
  const next = bytes[opening.length]
  if (next === undefined) return 'unknown'
  if (next !== 0x20 && next !== 0x0d) return 0
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return bytes.length < maxHead ? 'unknown' : 0
  return end + 4
}
