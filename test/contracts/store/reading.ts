// Reading holds: lists in both orders, page by page, what is due, and what a store says that is closed.
import { describe, expect, test } from 'vitest'
import type { HoldQuery } from '../../../src/store/store.ts'
import type { Bench } from '../store.ts'
import { aHold, anOpening, hour, moved } from './holds.ts'

export const reading = (bench: () => Bench): void => {
  describe('reading', () => {
    const pages = async (query: HoldQuery): Promise<string[]> => {
      const ids: string[] = []
      let after: string | undefined
      do {
        const page = await bench().store.holds.list({ ...query, ...(after === undefined ? {} : { after }) })
        expect(page.holds.length).toBeLessThanOrEqual(query.limit)
        ids.push(...page.holds.map(({ id }) => id))
        after = page.next
      } while (after !== undefined)
      return ids
    }

    test('what is not there is undefined', async () => {
      const { store } = bench()
      for (const id of ['no such hold', '', 'x:request', '__proto__']) {
        expect(await store.holds.read(id)).toBeUndefined()
        for (const part of ['request', 'view', 'answer'] as const)
          expect(await store.holds.sealed(id, part)).toBeUndefined()
      }
      expect(await store.holds.list({ states: ['pending'], order: 'due', limit: 5 })).toEqual({ holds: [] })
      expect(await store.holds.list({ states: [], order: 'due', limit: 5 })).toEqual({ holds: [] })
      expect(await store.log.read(0, 5)).toEqual([])
      expect(await store.log.newest(undefined, 5)).toEqual([])
    })

    test('a row of a list is the hold as it is read', async () => {
      const { store } = bench()
      const id = await aHold(store, 'approved', { facts: { async: true } })
      const { holds } = await store.holds.list({ states: ['approved'], order: 'due', limit: 5 })
      expect(holds.map(hold => ({ ...hold, now: 0 }))).toEqual([{ ...(await store.holds.read(id)), now: 0 }])
    })

    test('by deadline: the nearest first, every page once, also where deadlines are equal', async () => {
      const { store } = bench()
      const now = await store.now()
      const ids: string[] = []
      for (const at of [5, 1, 3, 3, 3, 3, 3, 2, 4])
        ids.push(await aHold(store, at === 4 ? 'approved' : 'pending', { dueAt: now + at * hour }))
      const [five, one, ...rest] = ids
      const [four, two, ...threes] = rest.reverse()
      const wanted = [one, two, ...threes.sort(), four, five]
      for (const limit of [1, 2, 4, 9, 100])
        expect(await pages({ states: ['pending', 'approved', 'released'], order: 'due', limit })).toEqual(wanted)
      expect(await pages({ states: ['approved'], order: 'due', limit: 2 })).toEqual([four])
    })

    test('newest first: those that came into their state last', async () => {
      const { store, advance } = bench()
      const ids: string[] = []
      for (const state of ['denied', 'delivered', 'denied', 'expired'] as const) {
        ids.push(await aHold(store, state))
        advance(1000)
      }
      const [first, second, third, fourth] = ids
      await aHold(store, 'pending')
      expect(await pages({ states: ['denied', 'delivered', 'expired'], order: 'newest', limit: 3 })).toEqual([
        fourth,
        third,
        second,
        first,
      ])
      expect(await pages({ states: ['denied'], order: 'newest', limit: 1 })).toEqual([third, first])
      await moved(store, second ?? '', 'touch')
      expect(await pages({ states: ['denied', 'delivered', 'expired'], order: 'newest', limit: 2 })).toEqual([
        fourth,
        third,
        second,
        first,
      ])
      expect(await pages({ states: ['pending'], order: 'newest', limit: 2 })).toHaveLength(1)
    })

    test('newest first, before an instant: only those that came into their state before it, page by page', async () => {
      const { store, advance } = bench()
      const ids: string[] = []
      const times: number[] = []
      for (const state of ['denied', 'expired', 'denied', 'denied'] as const) {
        times.push(await store.now())
        ids.push(await aHold(store, state))
        advance(1000)
      }
      const [first, second] = ids
      for (const limit of [1, 2, 10])
        expect(await pages({ states: ['denied', 'expired'], order: 'newest', limit, beforeAt: times[2] ?? 0 })).toEqual(
          [second, first],
        )
      expect(await pages({ states: ['denied'], order: 'newest', limit: 5, beforeAt: times[0] ?? 0 })).toEqual([])
    })

    test('many of one instant: every page once, newest first', async () => {
      const { store } = bench()
      const ids = await Promise.all(Array.from({ length: 30 }, () => aHold(store)))
      const found = await pages({ states: ['pending'], order: 'newest', limit: 7 })
      expect(found).toHaveLength(30)
      expect(new Set(found)).toEqual(new Set(ids))
    })

    test('refuses a cursor that it did not give, and a question without an answer', async () => {
      const { store } = bench()
      for (const after of ['', '12', 'x:y', '000000000000001:', "000000000000001:' OR 1=1 --", '+', '['])
        await expect(store.holds.list({ states: ['pending'], order: 'due', limit: 1, after })).rejects.toMatchObject({
          code: 'malformed',
        })
      await expect(store.holds.list({ states: ['pending', 'denied'], order: 'due', limit: 1 })).rejects.toThrow(
        'list them by newest',
      )
      for (const limit of [0, -1, 1.5, Number.NaN])
        await expect(store.holds.list({ states: ['pending'], order: 'due', limit })).rejects.toThrow('limit')
    })

    test('what is due: live holds only, longest overdue first, so many at most', async () => {
      const { store, advance } = bench()
      const now = await store.now()
      const late = await aHold(store, 'released', { dueAt: now + 1000 })
      const later = await aHold(store, 'pending', { dueAt: now + 3000 })
      const middle = await aHold(store, 'approved', { dueAt: now + 2000 })
      await aHold(store, 'denied', { dueAt: now + 500 })
      await aHold(store, 'pending', { dueAt: now + 2 * hour })
      advance(hour)
      expect(await store.holds.due(10)).toEqual([late, middle, later])
      expect(await store.holds.due(2)).toEqual([late, middle])
    })

    test('its clock is the clock of its holds', async () => {
      const { store, advance } = bench()
      const before = await store.now()
      advance(hour)
      const id = await aHold(store)
      expect((await store.holds.read(id))?.now).toBeGreaterThanOrEqual(before + hour)
      expect((await store.log.read(0, 1))[0]?.at).toBeGreaterThanOrEqual(before + hour)
    })

    test('says that it is well, and how far a move survives', async () => {
      const { ok, durability, notes } = await bench().store.health()
      expect(ok).toBe(true)
      expect(['disk', 'confirmed', 'epoch']).toContain(durability)
      expect(notes[0]).toMatch(/\w/)
    })

    test('closed, it answers nothing', async () => {
      const { store } = bench()
      const id = await aHold(store)
      await store.close()
      await store.close()
      const entry = '{}'
      for (const act of [
        () => store.now(),
        () => store.holds.open(anOpening()),
        () => store.holds.move({ hold: id, move: 'approve', rev: 1, entry }),
        () => store.holds.move({ hold: id, move: 'approve', rev: 1, entry, durable: true }),
        () => store.holds.read(id),
        () => store.holds.list({ states: ['pending'], order: 'due', limit: 1 }),
        () => store.holds.due(1),
        () => store.holds.sealed(id, 'view'),
        () => store.log.append([entry]),
        () => store.log.read(0, 1),
        () => store.log.newest(undefined, 1),
        () => store.shelf.get('key'),
        () => store.shelf.put('key', 'value'),
        () => store.shelf.take('key'),
        () => store.shelf.list(''),
      ])
        await expect(act(), String(act)).rejects.toMatchObject({ code: 'store_unavailable' })
      expect(await store.health()).toMatchObject({ ok: false })
    })
  })
}
