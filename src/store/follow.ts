// Follows a log of events from a position, for both stores: reads what is new, waits for the bell, reads again.
// The bell only says "look again". What is told comes from the log alone, so a ring that is lost loses no event.
import { HoldpointError } from '../errors.ts'
import type { StoreEvent } from './store.ts'

/** What a log says of a position: the events after it (none: it is the end), or that it no longer reaches back. `at` is where to go on. */
export type Reach =
  | { readonly word: 'from'; readonly at: string; readonly events: readonly StoreEvent[] }
  | { readonly word: 'gap'; readonly at: string }

export type Bell = { ring(): void; next(): Promise<void> }

export const newBell = (): Bell => {
  let turn = Promise.withResolvers<void>()
  return {
    ring() {
      turn.resolve()
      turn = Promise.withResolvers()
    },
    next: () => turn.promise,
  }
}

export type Following = {
  /** What the log holds after a position; undefined: where it ends now. */
  readonly read: (after: string | undefined) => Promise<Reach>
  readonly bell: Bell
  readonly after: string | undefined
  readonly signal: AbortSignal
  /** Aborts when the store closes. */
  readonly closing: AbortSignal
}

/** Begins at once, not at the first `next()`: whoever calls this and then reads a hold misses nothing in between. */
export const follow = ({ read, bell, after, signal, closing }: Following): AsyncIterable<StoreEvent> => {
  // The bell is taken before the log is read: a ring between the two then wakes at once.
  const look = (from: string | undefined) => ({ rung: bell.next(), reach: read(from).catch(unlessAway) })
  const first = look(after)
  first.reach.catch(() => undefined)

  return (async function* () {
    const stop = (): void => bell.ring()
    signal.addEventListener('abort', stop)
    closing.addEventListener('abort', stop)
    try {
      let position = after
      let lost = false
      for (let looked = first; ; looked = look(position)) {
        const reach = await looked.reach
        if (signal.aborted) return
        if (closing.aborted) throw new HoldpointError('store_unavailable', 'The store is closed.')
        // Nobody can say what happened before the first answer, if "from now on" could not be answered at once.
        if (reach === undefined && position === undefined) lost = true
        if (reach !== undefined) {
          position = reach.at
          if (reach.word === 'gap' || lost) yield { kind: 'gap', id: reach.at }
          lost = false
        }
        if (reach?.word === 'from' && reach.events.length > 0) {
          for (const event of reach.events) {
            if (signal.aborted) return
            yield event
          }
        } else if (reach?.word !== 'gap') await looked.rung
        if (signal.aborted) return
      }
    } finally {
      signal.removeEventListener('abort', stop)
      closing.removeEventListener('abort', stop)
    }
  })()
}

const unlessAway = (error: unknown): undefined => {
  if (error instanceof HoldpointError && error.code === 'store_unavailable') return undefined
  throw error
}
