// One reader of the store's events per process, fanned out to whoever waits for a hold. Woken means: read the hold again.
import type { Log } from './log.ts'
import type { Store, StoreEvent } from './store/store.ts'

export type Wake = (rev: number) => void

export type Watch = {
  /**
   * Calls `wake` with the revision of every event of this hold, until the returned function is called; whenever events may have been
   * missed, with a revision above all.
   */
  on(hold: string, wake: Wake): () => void
  /** Sees every event, in order. */
  follow(see: (event: StoreEvent) => void): () => void
  close(): Promise<void>
}

export const watchStore = (store: Store, log: Log): Watch => {
  const stop = new AbortController()
  // Nearly always one waits for a hold, and a set for each of ten thousand weighs more than they do.
  const wakers = new Map<string, Wake | Set<Wake>>()
  const seers = new Set<(event: StoreEvent) => void>()

  const tell = (event: StoreEvent): void => {
    if (event.kind === 'hold') wakeAll(wakers.get(event.hold), event.rev)
    else for (const waiting of wakers.values()) wakeAll(waiting, Number.POSITIVE_INFINITY)
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
      const others = wakers.get(hold)
      if (others === undefined) wakers.set(hold, wake)
      else if (others instanceof Set) others.add(wake)
      else wakers.set(hold, new Set([others, wake]))
      return () => {
        const waiting = wakers.get(hold)
        if (waiting instanceof Set) waiting.delete(wake)
        if (waiting === wake || (waiting instanceof Set && waiting.size === 0)) wakers.delete(hold)
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

const wakeAll = (waiting: Wake | Set<Wake> | undefined, rev: number): void => {
  if (waiting instanceof Set) for (const wake of waiting) wake(rev)
  else waiting?.(rev)
}
