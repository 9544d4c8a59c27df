// Where the bytes of a connection are read into. Node makes 64 KiB of memory for every reading and gives back what was not needed, which costs
// a small answer more than its bytes do. Here all connections read into one room, and what came is copied out of it at once. Only one that
// filled it reads on into a room of its own, which goes with the bytes and is never read into again.
import type { OnReadOpts } from 'node:net'

const roomBytes = 64 * 1024

const room = Buffer.allocUnsafeSlow(roomBytes)

/** For `connect`. @param take is given bytes that nobody else has */
export const reading = (take: (bytes: Buffer) => void): OnReadOpts => {
  let next = room
  return {
    buffer: () => next,
    callback(size, into) {
      next = size === roomBytes ? Buffer.allocUnsafeSlow(roomBytes) : room
      take(into === room ? copied(size) : (into as Buffer).subarray(0, size))
      return true
    },
  }
}

const copied = (size: number): Buffer => {
  const bytes = Buffer.allocUnsafe(size)
  room.copy(bytes, 0, 0, size)
  return bytes
}
