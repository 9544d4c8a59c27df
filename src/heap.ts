// What is asked of V8's memory.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// V8 learns, for each place in the code, whether what it makes lives on, from the first hundred that a collection finds alive. While a
// hundred callers wait for an answer all of it is alive, so V8 puts all that is made there among the old objects from then on, and never
// learns better: every later call is kept until a full collection.
setFlagsFromString('--no-allocation-site-pretenuring')

type Collect = (options: { readonly type: 'minor' }) => void

const collector = (): Collect | undefined => {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('globalThis.gc')
  setFlagsFromString('--no-expose-gc')
  return typeof collect === 'function' ? (collect as Collect) : undefined
}
const collect = collector()

/** Collects what is young and dead. An engine that has nothing to call for it goes on as it is, with more memory lying about. */
export const collectYoung = (): void => collect?.({ type: 'minor' })
