// Following events: all of them, in order, from a position, across lost connections, and a gap where the log no longer reaches back.
import { describe, expect, test } from 'vitest'
import type { StoreEvent } from '../../../src/store/store.ts'
import type { Bench } from '../store.ts'
import { aHold, anOpening, move, moved } from './holds.ts'

export const events = (bench: () => Bench): void => {
  describe('following', () => {
    /** Collects events until there are so many, and then stops following. */
    const collect = async (count: number, after?: string): Promise<StoreEvent[]> => {
      const stop = new AbortController()
      const seen: StoreEvent[] = []
      for await (const event of bench().store.events(after, stop.signal)) if (seen.push(event) >= count) stop.abort()
      return seen
    }
    const words = (seen: readonly StoreEvent[]) =>
      seen.map(event =>
        event.kind === 'hold' ? `${event.hold} ${event.state} ${event.rev} ${event.async}` : event.kind,
      )

    test('tells every step of every hold once, in order, but not the quiet ones', async () => {
      const { store, twin } = bench()
      const seen = collect(6)
      const id = await aHold(store, 'pending', { facts: { async: true } })
      await moved(store, id, 'touch')
      await moved(store, id, 'vote')
      await moved(store, id, 'approve', { facts: { async: null } })
      await move(store, id, 'deny')
      await moved(twin, id, 'release', { durable: true })
      await moved(store, id, 'renew')
      await moved(store, id, 'deliver')
      const other = await aHold(store)
      const wanted = [
        `${id} pending 1 true`,
        `${id} pending 3 true`,
        `${id} approved 4 false`,
        `${id} released 5 false`,
        `${id} delivered 7 false`,
        `${other} pending 1 false`,
      ]
      expect(words(await seen)).toEqual(wanted)
    })

    test('begins when it is called, not when it is first read', async () => {
      const { store } = bench()
      await aHold(store)
      const stop = new AbortController()
      const following = store.events(undefined, stop.signal)
      const id = await aHold(store)
      for await (const event of following) {
        expect(event).toMatchObject({ kind: 'hold', hold: id })
        stop.abort()
      }
    })

    test('goes on after the event that was seen last, for each reader by itself', async () => {
      const { store } = bench()
      const first = collect(3)
      const ids = [await aHold(store), await aHold(store), await aHold(store)]
      const seen = await first
      expect(words(await collect(2, seen[0]?.id))).toEqual(words(seen).slice(1))
      expect(words(await collect(1, seen[1]?.id))).toEqual([`${ids[2]} pending 1 false`])
      const waiting = collect(1, seen[2]?.id)
      const late = await aHold(store)
      expect(words(await waiting)).toEqual([`${late} pending 1 false`])
    })

    test('a reader that loses its connection in the middle loses no event', async () => {
      const { store, twin, cut } = bench()
      const ids: string[] = []
      const stop = new AbortController()
      const seen: StoreEvent[] = []
      const half = Promise.withResolvers<void>()
      const all = (async () => {
        for await (const event of store.events(undefined, stop.signal)) {
          if (seen.push(event) === 10) half.resolve()
          if (seen.length === 30) stop.abort()
        }
      })()
      for (let i = 0; i < 10; i++) ids.push(await aHold(store))
      await half.promise
      await cut()
      const open = async (): Promise<string> => {
        const opening = anOpening()
        for (;;) {
          const answer = await twin.holds.open(opening).catch(() => undefined)
          if (answer?.word === 'opened') return opening.id
          await new Promise(resolve => setImmediate(resolve))
        }
      }
      for (let i = 0; i < 10; i++) ids.push(await open())
      await cut()
      for (let i = 0; i < 10; i++) ids.push(await open())
      await all
      expect(seen.map(event => event.kind === 'hold' && event.hold)).toEqual(ids)
    })

    test.each(['0-1', '99999999999999-0', '999999999', 'x', '-1', '1.5', '99999999999999999999-9'])(
      'an event it does not know (%s) is a gap, and then it goes on',
      async unknown => {
        const { store } = bench()
        await aHold(store)
        const stop = new AbortController()
        const following = store.events(unknown, stop.signal)[Symbol.asyncIterator]()
        expect((await following.next()).value).toMatchObject({ kind: 'gap' })
        const id = await aHold(store)
        expect((await following.next()).value).toMatchObject({ kind: 'hold', hold: id })
        stop.abort()
        expect(await following.next()).toMatchObject({ done: true })
      },
    )

    test('a position that the log no longer reaches is a gap', async () => {
      const { store } = bench()
      const following = collect(2)
      await aHold(store)
      await aHold(store)
      const [first, second] = await following
      await Promise.all(Array.from({ length: 10_300 }, () => store.holds.open(anOpening())))
      const [gap] = await collect(1, second?.id)
      expect(gap?.kind).toBe('gap')
      expect((await collect(1, first?.id))[0]).toEqual(gap)
    })

    test('ends when it is told to, also while it waits, and throws when the store closes', async () => {
      const { store } = bench()
      const stop = new AbortController()
      const following = store.events(undefined, stop.signal)[Symbol.asyncIterator]()
      const next = following.next()
      stop.abort()
      expect(await next).toMatchObject({ done: true })
      const another = store.events(undefined, new AbortController().signal)[Symbol.asyncIterator]()
      const waiting = another.next()
      await store.close()
      await expect(waiting).rejects.toMatchObject({ code: 'store_unavailable' })
      await expect(
        store.events(undefined, new AbortController().signal)[Symbol.asyncIterator]().next(),
      ).rejects.toMatchObject({ code: 'store_unavailable' })
    })
  })
}
