// Where the bytes of a connection are read into. Node makes 64 KiB of memory for every reading and gives back what was not needed, which costs
// a small answer more than its bytes do, and a large one more than sending it. Here all connections read into one room, and what came is
// copied out of it at once. One to which much comes reads on into a room of its own, which is read into again once its bytes are spent.
import type { OnReadOpts } from 'node:net'
import { flowed } from '../flow.ts'

const roomBytes = 64 * 1024
/** As much is not copied. */
const muchBytes = 8 * 1024

const room = Buffer.allocUnsafeSlow(roomBytes)

/** Is given bytes that nobody else has. `spent`: to be called, if at all, when nobody will look at them any more. */
export type Take = (bytes: Buffer, spent?: () => void) => void

/** For `connect`. */
export const reading = (take: Take): OnReadOpts => {
  let next = room
  let spares: Buffer<ArrayBuffer>[] = []
  return {
    buffer: () => next,
    callback(size, into) {
      const own = into as Buffer<ArrayBuffer>
      const much = size >= muchBytes
      // What came last of much is little: then the room of its own goes, too.
      if (!much) spares = []
      next = much ? (spares.pop() ?? freshRoom()) : room
      if (much && own !== room) take(own.subarray(0, size), onceOnly(own))
      else take(copied(own, size))
      return true
    },
  }

  function onceOnly(own: Buffer<ArrayBuffer>): () => void {
    let spent = false
    return () => {
      // Twice among the spares, it would be read into while somebody still writes what it held before.
      if (!spent) spares.push(own)
      spent = true
    }
  }
}

// Those that nobody says are spent are for the collector, which does not hurry.
const freshRoom = (): Buffer<ArrayBuffer> => {
  flowed(roomBytes)
  return Buffer.allocUnsafeSlow(roomBytes)
}

const copied = (from: Buffer, size: number): Buffer => {
  const bytes = Buffer.allocUnsafe(size)
  from.copy(bytes, 0, 0, size)
  return bytes
}
