// One reader of the store's events per process, fanned out to whoever waits for a hold. Woken means: read the hold again.
import type { Log } from './log.ts'
import type { Store, StoreEvent } from './store/store.ts'

export type Watch = {
  /** Calls `wake` at every event of this hold (and whenever events may have been missed), until the returned function is called. */
  on(hold: string, wake: () => void): () => void
  /** Sees every event, in order. */
  follow(see: (event: StoreEvent) => void): () => void
  close(): Promise<void>
}

export const watchStore = (store: Store, log: Log): Watch => {
  const stop = new AbortController()
  const wakers = new Map<string, Set<() => void>>()
  const seers = new Set<(event: StoreEvent) => void>()

  const tell = (event: StoreEvent): void => {
    if (event.kind === 'gap') for (const set of wakers.values()) for (const wake of set) wake()
    else for (const wake of wakers.get(event.hold) ?? []) wake()
    for (const see of seers) see(event)
  }
  const read = async (): Promise<void> => {
    let last: string | undefined
    while (!stop.signal.aborted) {
      try {
        for await (const event of store.events(last, stop.signal)) {
          last = event.id
          tell(event)
        }
      } catch (error) {
        if (stop.signal.aborted) return
        log.error({ err: error }, 'events of the store cannot be read')
        await new Promise(resolve => setTimeout(resolve, 500).unref())
      }
    }
  }
  const following = read()

  return {
    on(hold, wake) {
      const set = wakers.get(hold) ?? new Set()
      wakers.set(hold, set.add(wake))
      return () => {
        set.delete(wake)
        if (set.size === 0 && wakers.get(hold) === set) wakers.delete(hold)
      }
    },
    follow(see) {
      seers.add(see)
      return () => seers.delete(see)
    },
    async close() {
      stop.abort()
      await following
    },
  }
}
