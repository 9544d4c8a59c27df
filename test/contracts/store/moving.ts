// Moving a hold: the whole grid of states and moves, what is compared before, and what happens in the same step.
import { describe, expect, test } from 'vitest'
import { live, type MoveName, moves, next, states } from '../../../src/states.ts'
import type { Store } from '../../../src/store/store.ts'
import type { Bench } from '../store.ts'
import { aHold, anOpening, hour, move, moved, ways } from './holds.ts'

const names = Object.keys(moves) as MoveName[]

export const moving = (bench: () => Bench): void => {
  describe('moving', () => {
    test.each(states)('from %s every move leads where the table says, or changes nothing', async state => {
      const { store } = bench()
      for (const name of names) {
        const id = await aHold(store, state)
        const before = await store.holds.read(id)
        const logged = (await store.log.newest(undefined, 1))[0]?.seq
        const answer = await move(store, id, name)
        const after = await store.holds.read(id)
        const to = next(name, state)
        if (to === undefined) {
          expect(answer, `${name} from ${state}`).toEqual({ word: 'refused', state })
          expect({ ...after, now: 0 }).toEqual({ ...before, now: 0 })
          expect((await store.log.newest(undefined, 1))[0]?.seq).toBe(logged)
        } else {
          expect(answer, `${name} from ${state}`).toMatchObject({
            word: 'moved',
            state: to,
            rev: ways[state].length + 2,
          })
          expect(after).toMatchObject({ state: to, rev: ways[state].length + 2 })
        }
        const now = to ?? state
        expect(after?.dueAt === undefined, `${now} has no deadline`).toBe(!live.has(now))
        expect(await store.holds.sealed(id, 'request')).toBe(live.has(now) ? `request of ${id}` : undefined)
        expect(await store.holds.sealed(id, 'view')).toBe(`view of ${id}`)
      }
    })

    test('of a hundred verdicts at once, one counts', async () => {
      const { store, twin } = bench()
      const id = await aHold(store)
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, index) =>
          move(index % 2 ? store : twin, id, index % 3 ? 'approve' : 'deny', {
            rev: 1,
            verdict: `verdict ${index}`,
            durable: index % 5 === 0,
          }),
        ),
      )
      expect(answers.filter(answer => answer.word === 'moved')).toHaveLength(1)
      expect(new Set(answers.map(answer => answer.word))).toEqual(new Set(['moved', 'refused']))
      const hold = await store.holds.read(id)
      expect(hold?.rev).toBe(2)
      expect(hold?.verdicts).toHaveLength(1)
      expect(answers.findIndex(answer => answer.word === 'moved')).toBe(Number(hold?.verdicts[0]?.slice(8)))
      expect(await store.log.read(0, 200)).toHaveLength(2)
    })

    test('votes add up in their order, each judged on what the one before left', async () => {
      const { store, twin } = bench()
      const id = await aHold(store)
      expect(await move(store, id, 'vote', { rev: 1, verdict: 'first' })).toMatchObject({
        word: 'moved',
        rev: 2,
        state: 'pending',
      })
      expect(await move(twin, id, 'vote', { rev: 1, verdict: 'stale' })).toEqual({ word: 'changed' })
      expect(await move(twin, id, 'vote', { rev: 2, verdict: 'second' })).toMatchObject({ word: 'moved', rev: 3 })
      expect(await move(store, id, 'approve', { rev: 3, verdict: 'third' })).toMatchObject({
        word: 'moved',
        rev: 4,
        state: 'approved',
      })
      expect((await twin.holds.read(id))?.verdicts).toEqual(['first', 'second', 'third'])
    })

    test('who comes too late with an old revision learns what was decided', async () => {
      const { store } = bench()
      const id = await aHold(store, 'denied')
      expect(await move(store, id, 'approve', { rev: 1 })).toEqual({ word: 'refused', state: 'denied' })
      expect(await move(store, 'no such hold', 'approve', { rev: 1 })).toEqual({ word: 'missing' })
    })

    test('deadlines are judged by the clock of the store', async () => {
      const { store, advance } = bench()
      const now = await store.now()
      const id = await aHold(store, 'pending', { dueAt: now + hour })
      expect(await store.holds.due(10)).toEqual([])
      expect(await move(store, id, 'expire', { afterAt: now + hour })).toEqual({ word: 'early' })
      expect(await move(store, id, 'touch', { beforeAt: now + hour })).toMatchObject({ word: 'moved' })
      advance(hour)
      expect(await store.holds.due(10)).toEqual([id])
      expect(await move(store, id, 'approve', { beforeAt: now + hour })).toEqual({ word: 'late' })
      expect(await move(store, id, 'expire', { afterAt: now + hour })).toMatchObject({
        word: 'moved',
        state: 'expired',
      })
      expect(await store.holds.due(10)).toEqual([])
    })

    test('the very instant is too late, and no longer too early', async () => {
      const { store } = bench()
      const id = await aHold(store)
      const now = await store.now()
      expect(await move(store, id, 'approve', { beforeAt: now })).toEqual({ word: 'late' })
      expect(await move(store, id, 'expire', { afterAt: now })).toMatchObject({ word: 'moved' })
    })

    test('every release has a number of its own, and only its holder may end it', async () => {
      const { store } = bench()
      const id = await aHold(store, 'approved')
      expect(await move(store, id, 'release', { fence: 0 })).toMatchObject({ word: 'moved', fence: 1 })
      expect(await move(store, id, 'return', { fence: 1 })).toMatchObject({
        word: 'moved',
        fence: 1,
        state: 'approved',
      })
      expect(await move(store, id, 'release', { fence: 0 })).toEqual({ word: 'fenced' })
      expect(await move(store, id, 'release')).toMatchObject({ word: 'moved', fence: 2 })
      expect(await move(store, id, 'deliver', { fence: 1 })).toEqual({ word: 'fenced' })
      expect(await move(store, id, 'renew', { fence: 1 })).toEqual({ word: 'fenced' })
      expect(await move(store, id, 'lose', { fence: 2 })).toMatchObject({ word: 'moved', state: 'unknown' })
      expect(await move(store, id, 'deliver', { fence: 2 })).toMatchObject({
        word: 'moved',
        state: 'delivered',
        fence: 2,
      })
      expect((await store.holds.read(id))?.fence).toBe(2)
    })

    test('of several reasons to refuse, the first in order is told', async () => {
      const { store } = bench()
      const id = await aHold(store, 'released')
      const now = await store.now()
      const wrong = { rev: 1, fence: 7, beforeAt: now - hour, afterAt: now + hour }
      expect(await move(store, 'no such hold', 'deliver', wrong)).toEqual({ word: 'missing' })
      expect(await move(store, id, 'approve', wrong)).toEqual({ word: 'refused', state: 'released' })
      expect(await move(store, id, 'deliver', wrong)).toEqual({ word: 'changed' })
      expect(await move(store, id, 'deliver', { ...wrong, rev: 3 })).toEqual({ word: 'fenced' })
      expect(await move(store, id, 'deliver', { ...wrong, rev: 3, fence: 1 })).toEqual({ word: 'late' })
      expect(await move(store, id, 'deliver', { rev: 3, fence: 1, afterAt: now + hour })).toEqual({ word: 'early' })
    })

    describe('that swaps a text on the shelf', () => {
      const key = 'grant:of a test'

      test('changes both, or neither', async () => {
        const { store, advance } = bench()
        const from = await aHold(store, 'delivered')
        const [first, second] = [await aHold(store), await aHold(store)]
        const untilAt = (await store.now()) + hour
        const swap = { key, was: undefined, becomes: 'one use', untilAt, from }
        await moved(store, first, 'grant', { swap })
        expect(await store.shelf.get(key)).toBe('one use')
        const before = await store.holds.read(second)
        const logged = (await store.log.newest(undefined, 1))[0]?.seq
        for (const was of [undefined, 'no use'])
          expect(await move(store, second, 'grant', { swap: { ...swap, was } })).toEqual({ word: 'stale' })
        expect(await move(store, second, 'grant', { swap: { ...swap, was: 'one use', from: 'no hold' } })).toEqual({
          word: 'stale',
        })
        expect({ ...(await store.holds.read(second)), now: 0 }).toEqual({ ...before, now: 0 })
        expect((await store.log.newest(undefined, 1))[0]?.seq).toBe(logged)
        expect(await store.shelf.get(key)).toBe('one use')
        for (const wrong of [{ rev: 7 }, { beforeAt: 1 }, { afterAt: untilAt + hour }]) {
          const asked = { ...wrong, swap: { ...swap, was: 'one use', becomes: 'two uses' } }
          expect((await move(store, second, 'grant', asked)).word).not.toBe('moved')
          expect(await store.shelf.get(key)).toBe('one use')
        }
        expect(await moved(store, second, 'grant', { swap: { ...swap, was: 'one use' } })).toMatchObject({
          fence: 1,
          state: 'released',
        })
        advance(hour)
        expect(await store.shelf.get(key)).toBeUndefined()
      })

      test('what was taken from the shelf is stale, and so is what has ended there', async () => {
        const { store, advance } = bench()
        const from = await aHold(store)
        const id = await aHold(store)
        const untilAt = (await store.now()) + 2 * hour
        await store.shelf.put(key, 'no use', { ttlMs: hour })
        const swap = { key, was: 'no use', becomes: 'one use', untilAt, from }
        advance(hour)
        expect(await move(store, id, 'grant', { swap })).toEqual({ word: 'stale' })
        await store.shelf.put(key, 'no use')
        await store.shelf.take(key)
        expect(await move(store, id, 'grant', { swap })).toEqual({ word: 'stale' })
        await store.shelf.put(key, 'no use')
        expect(await move(store, id, 'grant', { swap })).toMatchObject({ word: 'moved' })
        expect(await store.shelf.list('grant:')).toEqual([[key, 'one use']])
      })

      test('of a hundred uses at once of twenty, twenty go', async () => {
        const { store, twin } = bench()
        const from = await aHold(store)
        const untilAt = (await store.now()) + hour
        await store.shelf.put(key, '0')
        const use = async (at: Store): Promise<boolean> => {
          const id = await aHold(at)
          for (;;) {
            const was = await at.shelf.get(key)
            if (Number(was) >= 20) return false
            const answer = await move(at, id, 'grant', {
              swap: { key, was, becomes: String(Number(was) + 1), untilAt, from },
              durable: true,
            })
            if (answer.word === 'moved') return true
            expect(answer).toEqual({ word: 'stale' })
          }
        }
        const used = await Promise.all(Array.from({ length: 100 }, (_, index) => use(index % 2 ? store : twin)))
        expect(used.filter(Boolean)).toHaveLength(20)
        expect(await store.shelf.get(key)).toBe('20')
        const released = await store.holds.list({ states: ['released'], order: 'newest', limit: 200 })
        expect(released.holds).toHaveLength(20)
      })
    })

    test('sets, keeps and takes away the deadline', async () => {
      const { store } = bench()
      const id = await aHold(store)
      const dueAt = async () => (await store.holds.read(id))?.dueAt
      const [first] = [await dueAt()]
      await moved(store, id, 'vote')
      expect(await dueAt()).toBe(first)
      await moved(store, id, 'approve', { dueAt: 1234567890123 })
      expect(await dueAt()).toBe(1234567890123)
      expect(await store.holds.due(10)).toEqual([id])
      await moved(store, id, 'release', { dueAt: null })
      expect(await dueAt()).toBeUndefined()
      expect(await store.holds.due(10)).toEqual([])
      expect((await store.holds.list({ states: ['released'], order: 'due', limit: 5 })).holds).toHaveLength(1)
      await moved(store, id, 'renew', { dueAt: 1234567890124 })
      expect(await store.holds.due(10)).toEqual([id])
      await moved(store, id, 'deliver', { dueAt: 1234567890125 })
      expect(await dueAt()).toBeUndefined()
      expect(await store.holds.due(10)).toEqual([])
    })

    test('sets, replaces and removes facts, and leaves the others', async () => {
      const { store } = bench()
      const id = await aHold(store, 'pending', { facts: { async: true, tokenUntilAt: 5 } })
      await moved(store, id, 'touch', { facts: { tokenUntilAt: 7, comment: 'why not' } })
      await moved(store, id, 'approve', { facts: { async: null, approvedAt: 1, why: null } })
      expect((await store.holds.read(id))?.facts).toEqual({ tokenUntilAt: 7, comment: 'why not', approvedAt: 1 })
      const delivery = { state: 'delivered', status: 201, answered: true, at: 1234567890123 } as const
      await moved(store, id, 'release')
      await moved(store, id, 'deliver', { facts: { delivery } })
      expect((await store.holds.read(id))?.facts.delivery).toEqual(delivery)
    })

    test('keeps what it was shown of a token while it lives, and no longer', async () => {
      const { store } = bench()
      for (const state of states) {
        const id = await aHold(store, state, { facts: { async: true, token: 'sealed token' } })
        expect((await store.holds.read(id))?.facts, state).toEqual({
          async: true,
          ...(live.has(state) ? { token: 'sealed token' } : {}),
        })
      }
    })

    test('keeps a sealed answer until its time', async () => {
      const { store, advance } = bench()
      const id = await aHold(store, 'released')
      const now = await store.now()
      await moved(store, id, 'deliver', { answer: { sealed: 'sealed answer', untilAt: now + hour } })
      expect(await store.holds.sealed(id, 'answer')).toBe('sealed answer')
      advance(hour - 60_000)
      expect(await store.holds.sealed(id, 'answer')).toBe('sealed answer')
      advance(60_000)
      expect(await store.holds.sealed(id, 'answer')).toBeUndefined()
      expect(await store.holds.sealed(id, 'view')).toBe(`view of ${id}`)
    })

    test('does not move without an entry for the log, but for the quiet moves', async () => {
      const { store } = bench()
      const id = await aHold(store)
      for (const name of names.filter(name => name !== 'touch' && name !== 'renew'))
        await expect(store.holds.move({ hold: id, move: name, rev: 1 })).rejects.toThrow(TypeError)
      expect(await store.holds.read(id)).toMatchObject({ state: 'pending', rev: 1 })
      expect(await store.holds.move({ hold: id, move: 'touch', rev: 1 })).toMatchObject({ word: 'moved' })
      expect(await store.log.read(0, 10)).toHaveLength(1)
    })

    test('the log numbers every step without a gap, in order, whoever takes it', async () => {
      const { store, twin } = bench()
      const ids = await Promise.all(Array.from({ length: 20 }, (_, index) => aHold(index % 2 ? store : twin)))
      await Promise.all([
        ...ids.map((id, index) =>
          moved(index % 3 ? store : twin, id, index % 2 ? 'approve' : 'deny', { durable: index % 4 === 0 }),
        ),
        ...ids.map(id => move(store, id, 'return')),
        store.log.append(['{"n":1}', '{"n":2}', '{"n":3}']),
        twin.log.append(['{"n":4}']),
        store.log.append([]),
        store.holds.open(
          anOpening({ fingerprints: [`fingerprint of ${ids[0]}`], caps: { perCaller: 0, holds: 0, bytes: 0 } }),
        ),
      ])
      const entries = await twin.log.read(0, 1000)
      expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 44 }, (_, index) => index + 1))
      expect(entries.map(({ at }) => at)).toEqual(entries.map(({ at }) => at).sort((a, b) => a - b))
      const texts = entries.map(({ json }) => json)
      expect(texts.filter(json => json.startsWith('{"n"')).sort()).toEqual(['{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}'])
      const first = texts.indexOf('{"n":1}')
      expect(texts.slice(first, first + 3)).toEqual(['{"n":1}', '{"n":2}', '{"n":3}'])

      expect((await store.log.read(40, 2)).map(({ seq }) => seq)).toEqual([41, 42])
      expect(await store.log.read(44, 2)).toEqual([])
      expect((await store.log.newest(undefined, 2)).map(({ seq }) => seq)).toEqual([44, 43])
      expect((await store.log.newest(3, 9)).map(({ seq }) => seq)).toEqual([2, 1])
      expect(await store.log.newest(1, 9)).toEqual([])
    })

    test.each([99, 100, 101, 260])('%i entries of one step keep their order', async count => {
      const { store, twin } = bench()
      const texts = Array.from({ length: count }, (_, n) => `{"n":${n}}`)
      await Promise.all([store.log.append(texts), store.log.append(texts)])
      const entries = await twin.log.read(0, 1000)
      expect(entries.map(({ json }) => json)).toEqual([...texts, ...texts])
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1))
    })
  })
}
