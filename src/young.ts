// Keeps what a call makes in V8's young generation. V8 learns, for each place in the code, whether what it makes lives on, from the first
// hundred that a collection finds alive. While a hundred callers wait for an answer all of it is alive, so V8 puts all that is made
// there among the old objects from then on, and never learns better: every later call is kept until a full collection.
import { setFlagsFromString } from 'node:v8'

/** To be called before there are any calls. An engine that has no such setting says so and goes on. */
export const keepYoung = (): void => setFlagsFromString('--no-allocation-site-pretenuring')
