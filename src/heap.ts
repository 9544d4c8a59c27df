// What V8 assumes about memory and is wrong here.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

// V8 learns, for each place in the code, whether what it makes lives on, from the first hundred that a collection finds alive. While a
// hundred callers wait for an answer all of it is alive, so V8 puts all that is made there among the old objects from then on, and never
// learns better: every later call is kept until a full collection.
setFlagsFromString('--no-allocation-site-pretenuring')

// After 8 s of rest V8 collects everything to give memory back. By itself it then also lets go of what compiled code relies on: the first
// calls after that cost twice as much. Agents come in bursts, so only what many held calls have left behind is worth that.
const many = 1_000
let thorough = true

/** So many callers are held now. */
export const heldCallers = (count: number): void => {
  const enough = count >= many
  if (enough === thorough) return
  thorough = enough
  setFlagsFromString(thorough ? '--memory-reducer-favors-memory' : '--no-memory-reducer-favors-memory')
}
heldCallers(0)

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
