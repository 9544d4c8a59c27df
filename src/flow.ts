// Gives memory back while large bodies pass. Node reads every piece of a stream into memory of its own outside of V8's heap, and V8 lets
// up to 100 MiB of used pieces lie before it looks; a young collection, where next to nothing is alive, takes a millisecond or two.
import { collectYoung } from './heap.ts'

const collectEvery = 16 * 1024 * 1024

let since = 0

/** So many bytes more have been passed on, and nothing of ours holds them any longer. */
export const flowed = (bytes: number): void => {
  since += bytes
  if (since < collectEvery) return
  since = 0
  collectYoung()
}
