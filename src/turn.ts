// Puts together what many calls do in one turn of the event loop: first everything that has come is read, then each call goes its way, and
// what they write goes out in the end. By turns, a call costs a third to two thirds more (docs/performance.md): likely because whoever is at
// the other end is woken by each write, and because every step finds the processor's caches filled by another one.

type Work = () => void

/** Calls that are let wait for each other; the first of more than these need not wait for the last. */
const most = 100

let calls: Work[] = []
let writes: Work[] = []
let due = false

/** In this turn, when everything that has come was read; in the order of asking. */
export const withOthers = (call: Work): void => {
  calls.push(call)
  if (calls.length < most) later()
  else workOff()
}

/** At the end of this turn, in the order of asking. Whoever asks makes sure that nothing overtakes it. */
export const atTurnsEnd = (write: Work): void => {
  writes.push(write)
  later()
}

const later = (): void => {
  if (due) return
  due = true
  setImmediate(workOff)
}

const workOff = (): void => {
  const nowCalls = calls
  calls = []
  for (const call of nowCalls) alone(call)
  const nowWrites = writes
  writes = []
  for (const write of nowWrites) alone(write)
  due = false
  if (calls.length + writes.length > 0) later()
}

/** What one of them throws is nothing to the others; it ends the process as it would have without them. */
const alone = (work: Work): void => {
  try {
    work()
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}
