// What is asked of V8's memory.
import { availableParallelism } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// V8 learns, for each place in the code, whether what it makes lives on, from the first hundred that a collection finds alive. While a
// hundred callers wait for an answer all of it is alive, so V8 puts all that is made there among the old objects from then on, and never
// learns better: every later call is kept until a full collection.
setFlagsFromString('--no-allocation-site-pretenuring')

// Several threads collect what is young. On one core they only wait for each other.
if (availableParallelism() === 1) setFlagsFromString('--no-parallel-scavenge')

// A full collection takes a core from the calls for some 50 ms: what V8 marks beside them it marks on their core, where there is only one. By
// itself it has one after each rest of 8 s, to give memory back, and from then on lets the heap grow so little that one or two follow whenever
// calls come again. Agents come in bursts, so only what many held calls have left behind is worth that. Otherwise the heap may grow to three
// times of what was in use.
const many = 1_000
/** What they leave behind is collected some 8 s after they left, sometimes later. */
const afterwardsMs = 60_000
let thorough = true
let ending: NodeJS.Timeout | undefined

const collectThoroughly = (on: boolean): void => {
  clearTimeout(ending)
  ending = undefined
  if (on === thorough) return
  thorough = on
  // 2 and 0 are V8's own: collections after a rest, and that it chooses itself how far the heap grows.
  setFlagsFromString(`--memory-reducer-gc-count=${on ? 2 : 0}`)
  setFlagsFromString(`--heap-growing-percent=${on ? 0 : 200}`)
}
collectThoroughly(false)

/** So many callers are held now. */
export const heldCallers = (count: number): void => {
  if (count >= many) collectThoroughly(true)
  else if (thorough) ending ??= setTimeout(collectThoroughly, afterwardsMs, false).unref()
}

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
