// What V8 assumes about memory and is wrong here.
import { setFlagsFromString } from 'node:v8'

/** To be called before there are any calls. An engine that has no such setting says so and goes on. */
export const setUpHeap = (): void => {
  // V8 learns, for each place in the code, whether what it makes lives on, from the first hundred that a collection finds alive. While a
  // hundred callers wait for an answer all of it is alive, so V8 puts all that is made there among the old objects from then on, and never
  // learns better: every later call is kept until a full collection.
  setFlagsFromString('--no-allocation-site-pretenuring')
  // After a rest of 8 s V8 collects everything, twice, to give memory back. The first calls after the first such rest cost twice as much,
  // and agents come in bursts: a minute is rest enough.
  setFlagsFromString('--gc-memory-reducer-start-delay-ms=60000')
}
