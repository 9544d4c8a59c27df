// What every store must do, whatever it is made of. Each test gets a fresh, empty store; the clock is moved, never waited for.
import { afterEach, beforeEach, describe } from 'vitest'
import type { Store } from '../../src/store/store.ts'
import { events } from './store/events.ts'
import { moving } from './store/moving.ts'
import { opening } from './store/opening.ts'
import { outbox } from './store/outbox.ts'
import { reading } from './store/reading.ts'
import { shelf } from './store/shelf.ts'

export type Bench = {
  readonly store: Store
  /** Another replica on the same data; the same store where there is only one process. */
  readonly twin: Store
  /** Moves the store's clock forward. */
  readonly advance: (ms: number) => void
  /** Breaks every connection that the stores have. */
  readonly cut: () => Promise<void>
  readonly end: () => Promise<void>
}

export const storeContract = (name: string, make: () => Promise<Bench>): void => {
  describe(`the store ${name}`, () => {
    let made: Bench | undefined
    const bench = (): Bench => {
      if (made === undefined) throw new Error('there is no store outside a test')
      return made
    }
    beforeEach(async () => {
      made = await make()
    })
    afterEach(() => made?.end())

    opening(bench)
    moving(bench)
    reading(bench)
    events(bench)
    shelf(bench)
    outbox(bench)
  })
}
