// The outbox: work with a time, that one at a time has.
import { describe, expect, test } from 'vitest'
import type { Bench } from '../store.ts'

// Leases are long and margins wide: a clock that is moved goes on by itself as well.
const minute = 60_000

export const outbox = (bench: () => Bench): void => {
  describe('the outbox', () => {
    const keysOf = async (store = bench().store, limit = 10) =>
      (await store.outbox.claim(limit, 30 * minute)).map(({ key }) => key)
    const claimed = async () => {
      const [item] = await bench().store.outbox.claim(1, 30 * minute)
      if (item === undefined) throw new Error('nothing is due')
      return item
    }

    test('an item is added once, and is due at once', async () => {
      const { store, twin } = bench()
      expect(await store.outbox.claim(10, minute)).toEqual([])
      expect(await store.outbox.get('a')).toBeUndefined()
      expect(await store.outbox.add('a', 'first ünï')).toBe(true)
      expect(await twin.outbox.add('a', 'second')).toBe(false)
      expect(await twin.outbox.get('a')).toBe('first ünï')
      expect(await twin.outbox.claim(10, minute)).toEqual([{ key: 'a', value: 'first ünï', token: 1 }])
    })

    test('of fifty that claim at once, one has it', async () => {
      const { store, twin } = bench()
      await store.outbox.add('a', '')
      const found = await Promise.all(
        Array.from({ length: 50 }, (_, index) => (index % 2 ? store : twin).outbox.claim(5, minute)),
      )
      expect(found.flat()).toHaveLength(1)
    })

    test('the longest overdue come first, as many as are asked for', async () => {
      const { store, advance } = bench()
      for (const key of ['c', 'a', 'b']) {
        await store.outbox.add(key, key)
        advance(minute)
      }
      expect(await keysOf(store, 2)).toEqual(['c', 'a'])
      expect(await keysOf()).toEqual(['b'])
      expect(await keysOf()).toEqual([])
    })

    test('a lease that ends gives it to the next, and the one before can write no more', async () => {
      const { store, advance } = bench()
      await store.outbox.add('a', 'x')
      const first = await claimed()
      advance(29 * minute)
      expect(await keysOf()).toEqual([])
      expect(await store.outbox.write(first, 'kept', { leaseMs: 30 * minute })).toBe(true)
      advance(29 * minute)
      expect(await keysOf()).toEqual([])
      advance(minute)
      expect(await store.outbox.write(first, 'late', 'done')).toBe(false)
      const other = await claimed()
      expect(other).toMatchObject({ value: 'kept', token: first.token + 1 })
      for (const next of ['done', 'parked', { leaseMs: 1 }, { dueAt: 1 }] as const)
        expect(await store.outbox.write(first, 'stolen', next)).toBe(false)
      expect(await store.outbox.get('a')).toBe('kept')
    })

    test('given back it is due when it says, and not before', async () => {
      const { store, advance } = bench()
      await store.outbox.add('a', 'x')
      const dueAt = (await store.now()) + 10 * minute
      const item = await claimed()
      expect(await store.outbox.write(item, 'y', { dueAt })).toBe(true)
      expect(await store.outbox.write(item, 'z', { dueAt })).toBe(false)
      advance(9 * minute)
      expect(await keysOf()).toEqual([])
      advance(minute)
      expect(await claimed()).toMatchObject({ key: 'a', value: 'y' })
    })

    test('parked it waits to be woken; done it is gone', async () => {
      const { store, twin, advance } = bench()
      await store.outbox.add('a', 'x')
      expect(await store.outbox.write(await claimed(), 'y', 'parked')).toBe(true)
      advance(1000 * 1440 * minute)
      expect(await keysOf()).toEqual([])
      await twin.outbox.wake('a')
      expect(await store.outbox.write(await claimed(), 'z', 'done')).toBe(true)
      expect(await store.outbox.get('a')).toBeUndefined()
      await store.outbox.wake('a')
      expect(await keysOf()).toEqual([])
      expect(await store.outbox.add('a', 'anew')).toBe(true)
    })

    test('all of them are woken at once', async () => {
      const { store, twin, advance } = bench()
      for (const key of ['parked', 'later', 'leased']) {
        await store.outbox.add(key, key)
        const item = await claimed()
        if (key === 'parked') await store.outbox.write(item, key, 'parked')
        if (key === 'later') await store.outbox.write(item, key, { dueAt: (await store.now()) + 90 * minute })
      }
      await twin.outbox.wake()
      expect((await keysOf()).toSorted()).toEqual(['later', 'parked'])
      expect(await keysOf()).toEqual([])
      advance(31 * minute)
      expect((await keysOf()).toSorted()).toEqual(['later', 'leased', 'parked'])
    })

    test.each(['done', 'parked', { dueAt: Number.MAX_SAFE_INTEGER }] as const)(
      'woken while somebody has it, it is nobody else’s, and due once it is given back (%j)',
      async next => {
        const { store, twin } = bench()
        await store.outbox.add('a', 'x')
        const item = await claimed()
        await twin.outbox.wake('a')
        expect(await keysOf(twin)).toEqual([])
        expect(await store.outbox.write(item, 'kept', { leaseMs: 30 * minute })).toBe(true)
        expect(await keysOf(twin)).toEqual([])
        expect(await store.outbox.write(item, 'y', next)).toBe(true)
        expect(await twin.outbox.claim(1, minute)).toEqual([{ key: 'a', value: 'y', token: item.token + 1 }])
      },
    )
  })
}
