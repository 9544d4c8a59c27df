// Gives memory back while large bodies pass. Node reads every piece of a stream into memory of its own outside of V8's heap, and V8 lets
// up to 100 MiB of used pieces lie before it looks; a young collection, where next to nothing is alive, takes a millisecond or two.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const collectEvery = 16 * 1024 * 1024

type Collect = (options: { readonly type: 'minor' }) => void

/** V8's own collector, or undefined where an engine has none to call: then more memory lies about, and nothing else changes. */
const collector = (): Collect | undefined => {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('globalThis.gc')
  setFlagsFromString('--no-expose-gc')
  return typeof collect === 'function' ? (collect as Collect) : undefined
}

const collect = collector()
let since = 0

/** So many bytes more have been passed on, and nothing of ours holds them any longer. */
export const flowed = (bytes: number): void => {
  since += bytes
  if (since < collectEvery) return
  since = 0
  collect?.({ type: 'minor' })
}
