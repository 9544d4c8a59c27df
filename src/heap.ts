// What is asked of V8's memory.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// V8 learns, for each place in the code, whether what it makes lives on, from the first hundred that a collection finds alive. While a
// hundred callers wait for an answer all of it is alive, so V8 puts all that is made there among the old objects from then on, and never
// learns better: every later call is kept until a full collection.
setFlagsFromString('--no-allocation-site-pretenuring')

// After 8 s of rest V8 collects everything to give memory back, and lets go of what compiled code relies on: the next calls begin in slow
// code. Agents come in bursts, so only what many held calls have left behind is worth that. V8 14 has no such flag, and would say so.
const many = 1_000
/** What they leave behind is collected some 8 s after they left, sometimes later. */
const afterwardsMs = 60_000
const flagged = process.versions.v8.startsWith('13.')
let thorough = true
let ending: NodeJS.Timeout | undefined

const collectThoroughly = (on: boolean): void => {
  clearTimeout(ending)
  ending = undefined
  if (on === thorough) return
  thorough = on
  if (flagged) setFlagsFromString(on ? '--memory-reducer-favors-memory' : '--no-memory-reducer-favors-memory')
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
