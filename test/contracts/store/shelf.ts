// The shelf: small texts with an end, written under a condition, taken once.
import { describe, expect, test } from 'vitest'
import type { Bench } from '../store.ts'
import { hour } from './holds.ts'

export const shelf = (bench: () => Bench): void => {
  describe('the shelf', () => {
    test('keeps, replaces and hands out', async () => {
      const { store, twin } = bench()
      expect(await store.shelf.get('key')).toBeUndefined()
      expect(await store.shelf.take('key')).toBeUndefined()
      expect(await store.shelf.put('key', 'ünï 🙂 \u0000')).toBe(true)
      expect(await twin.shelf.get('key')).toBe('ünï 🙂 \u0000')
      expect(await store.shelf.put('key', '')).toBe(true)
      expect(await twin.shelf.get('key')).toBe('')
      expect(await twin.shelf.take('key')).toBe('')
      expect(await store.shelf.get('key')).toBeUndefined()
    })

    test('of fifty that put the same key at once, if absent, one does', async () => {
      const { store, twin } = bench()
      const put = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          (index % 2 ? store : twin).shelf.put('lease', `${index}`, { when: 'absent' }),
        ),
      )
      expect(put.filter(Boolean)).toHaveLength(1)
      expect(await store.shelf.get('lease')).toBe(`${put.indexOf(true)}`)
    })

    test('of fifty that take the same key at once, one gets it', async () => {
      const { store, twin } = bench()
      await store.shelf.put('code', 'secret')
      const taken = await Promise.all(
        Array.from({ length: 50 }, (_, index) => (index % 2 ? store : twin).shelf.take('code')),
      )
      expect(taken.filter(value => value !== undefined)).toEqual(['secret'])
    })

    test('writes only over what it is said to be', async () => {
      const { store } = bench()
      expect(await store.shelf.put('lease', 'b', { when: { is: 'a' } })).toBe(false)
      expect(await store.shelf.put('lease', 'b', { when: { is: '' } })).toBe(false)
      expect(await store.shelf.get('lease')).toBeUndefined()
      await store.shelf.put('lease', 'a')
      expect(await store.shelf.put('lease', 'c', { when: { is: 'b' } })).toBe(false)
      expect(await store.shelf.put('lease', 'b', { when: { is: 'a' } })).toBe(true)
      expect(await store.shelf.get('lease')).toBe('b')
    })

    test('what has ended is not there', async () => {
      const { store, advance } = bench()
      await store.shelf.put('short', '1', { ttlMs: hour })
      await store.shelf.put('long', '2', { ttlMs: 3 * hour })
      await store.shelf.put('kept', '3', { ttlMs: hour })
      await store.shelf.put('kept', '4')
      advance(hour - 60_000)
      expect(await store.shelf.get('short')).toBe('1')
      expect(await store.shelf.put('short', 'x', { when: 'absent' })).toBe(false)
      advance(60_000)
      expect(await store.shelf.get('short')).toBeUndefined()
      expect(await store.shelf.take('short')).toBeUndefined()
      expect(await store.shelf.list('')).toEqual([
        ['kept', '4'],
        ['long', '2'],
      ])
      await store.shelf.put('gone', '5', { ttlMs: 1000 })
      advance(1000)
      expect(await store.shelf.put('gone', '7', { when: { is: '5' } })).toBe(false)
      expect(await store.shelf.put('gone', '6', { when: 'absent' })).toBe(true)
      expect(await store.shelf.get('gone')).toBe('6')
      expect(await store.shelf.take('long')).toBe('2')
      advance(1000 * hour)
      expect(await store.shelf.get('kept')).toBe('4')
    })

    test('many that have ended are all gone', async () => {
      const { store, advance } = bench()
      for (let i = 0; i < 50; i++) await store.shelf.put(`lease ${i}`, 'old', { ttlMs: 1000 + i })
      advance(2000)
      expect(await store.shelf.put('lease 49', 'no', { when: { is: 'old' } })).toBe(false)
      expect(await store.shelf.put('lease 48', 'new', { when: 'absent' })).toBe(true)
      expect(await store.shelf.list('')).toEqual([['lease 48', 'new']])
    })

    test('lists what begins with a prefix, in order', async () => {
      const { store } = bench()
      for (const key of [
        'freeze:b',
        'freeze:a',
        'freeze',
        'freezer:a',
        'freeze:10',
        'freeze:9',
        'lease:a',
        'freeze:%_*',
        '__proto__',
      ])
        await store.shelf.put(key, `value of ${key}`)
      const keys = async (prefix: string) => (await store.shelf.list(prefix)).map(([key]) => key)
      expect(await store.shelf.list('freeze:a')).toEqual([['freeze:a', 'value of freeze:a']])
      expect(await keys('freeze:')).toEqual(['freeze:%_*', 'freeze:10', 'freeze:9', 'freeze:a', 'freeze:b'])
      expect(await keys('nothing')).toEqual([])
      expect(await keys('%')).toEqual([])
      expect(await keys('')).toHaveLength(9)
    })
  })
}
