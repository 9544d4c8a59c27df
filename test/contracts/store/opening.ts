// Opening a hold: what makes it attach, wait or be refused instead, in which order, and what it is told about an earlier one.
import { describe, expect, test } from 'vitest'
import type { Bench } from '../store.ts'
import { aHold, anOpening, day, hour, move, moved } from './holds.ts'

export const opening = (bench: () => Bench): void => {
  describe('opening', () => {
    test('writes the hold as it was given', async () => {
      const { store } = bench()
      const given = anOpening({ facts: { async: true, tokenUntilAt: 1234567890123 } })
      const before = await store.now()
      expect(await store.holds.open(given)).toEqual({ word: 'opened', id: given.id, rev: 1 })
      const { now, ...hold } = (await store.holds.read(given.id)) ?? { now: 0 }
      expect(hold).toEqual({
        id: given.id,
        head: given.head,
        state: 'pending',
        rev: 1,
        dueAt: given.dueAt,
        verdicts: [],
        fence: 0,
        facts: { async: true, tokenUntilAt: 1234567890123 },
      })
      expect(now).toBeGreaterThanOrEqual(before)
      expect(await store.holds.sealed(given.id, 'request')).toBe(given.sealed.request)
      expect(await store.holds.sealed(given.id, 'view')).toBe(given.sealed.view)
      expect(await store.holds.sealed(given.id, 'answer')).toBeUndefined()
    })

    test('keeps texts of any kind as they are', async () => {
      const { store } = bench()
      const odd = 'ünï "quoted" \\ \u0000 \u2028 {"json": [1]} 日本 🙂\r\n'
      const given = anOpening({
        head: odd,
        sealed: { request: odd, view: odd },
        facts: { comment: odd },
        entry: JSON.stringify({ detail: odd }),
      })
      await store.holds.open(given)
      expect(await store.holds.read(given.id)).toMatchObject({ head: odd, facts: { comment: odd } })
      expect(await store.holds.sealed(given.id, 'request')).toBe(odd)
      expect((await store.log.read(0, 1))[0]?.json).toBe(given.entry)
    })

    test('refuses an id that is taken, and leaves that hold alone', async () => {
      const { store } = bench()
      const id = await aHold(store)
      await expect(store.holds.open(anOpening({ id, head: 'other', fingerprints: ['other'] }))).rejects.toMatchObject({
        code: 'store_unavailable',
      })
      expect(await store.holds.read(id)).toMatchObject({ head: `head of ${id}`, rev: 1 })
      expect(await store.log.read(0, 10)).toHaveLength(1)
    })

    test('of fifty equal calls at once exactly one opens, the others attach to it', async () => {
      const { store, twin } = bench()
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          (index % 2 ? store : twin).holds.open(anOpening({ fingerprints: ['same'] })),
        ),
      )
      const [opened, ...more] = answers.filter(answer => answer.word === 'opened')
      expect(more).toEqual([])
      const attached = answers.filter(answer => answer.word === 'attached')
      expect(attached).toHaveLength(49)
      expect(new Set(attached.map(answer => answer.id))).toEqual(new Set([opened?.id]))
      expect(await store.log.read(0, 100)).toHaveLength(1)
    })

    test.each(['pending', 'approved', 'released'] as const)('attaches to a hold that is %s', async state => {
      const { store } = bench()
      const id = await aHold(store, state, { fingerprints: ['same'] })
      expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
    })

    test.each(['denied', 'delivered', 'unknown', 'void'] as const)(
      'does not attach to a hold that is %s',
      async state => {
        const { store } = bench()
        await aHold(store, state, { fingerprints: ['same'] })
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toMatchObject({ word: 'opened' })
      },
    )

    test('finds a hold by the fingerprint of any key, and is found by that of the newest', async () => {
      const { store } = bench()
      const old = await aHold(store, 'pending', { fingerprints: ['by old key'] })
      expect(await store.holds.open(anOpening({ fingerprints: ['by new key', 'by old key'] }))).toEqual({
        word: 'attached',
        id: old,
      })
      await moved(store, old, 'cancel')
      const fresh = await aHold(store, 'pending', { fingerprints: ['by new key', 'by old key'] })
      expect(await store.holds.open(anOpening({ fingerprints: ['by new key'] }))).toEqual({
        word: 'attached',
        id: fresh,
      })
      expect(await store.holds.open(anOpening({ fingerprints: ['by old key'] }))).toMatchObject({ word: 'opened' })
    })

    describe('with an Idempotency-Key', () => {
      const keyed = (keys: readonly string[], fingerprint: string, keepMs = day) =>
        anOpening({ idempotency: { keys, keepMs }, fingerprints: [fingerprint] })

      test('attaches for the same call, in whatever state its hold is', async () => {
        const { store } = bench()
        const first = keyed(['key'], 'call')
        await store.holds.open(first)
        expect(await store.holds.open(keyed(['key'], 'call'))).toEqual({ word: 'attached', id: first.id })
        await moved(store, first.id, 'deny')
        expect(await store.holds.open(keyed(['key'], 'call'))).toEqual({ word: 'attached', id: first.id })
        expect(await store.holds.open(keyed(['new key', 'key'], 'call'))).toEqual({ word: 'attached', id: first.id })
      })

      test('is a conflict for another call, even one that is held already', async () => {
        const { store } = bench()
        const first = keyed(['key'], 'call')
        await store.holds.open(first)
        await aHold(store, 'pending', { fingerprints: ['other call'] })
        expect(await store.holds.open(keyed(['key'], 'other call'))).toEqual({ word: 'conflict', id: first.id })
      })

      test('is forgotten after its time', async () => {
        const { store, advance } = bench()
        const first = keyed(['key'], 'call', hour)
        await store.holds.open(first)
        await moved(store, first.id, 'deny')
        advance(hour - 60_000)
        expect(await store.holds.open(keyed(['key'], 'call'))).toEqual({ word: 'attached', id: first.id })
        advance(60_000)
        expect(await store.holds.open(keyed(['key'], 'other call'))).toMatchObject({ word: 'opened' })
      })
    })

    describe('after a hold has closed', () => {
      test('attaches as long as it may be found', async () => {
        const { store, advance } = bench()
        const id = await aHold(store, 'pending', { fingerprints: ['same'] })
        const { now } = await moved(store, id, 'touch')
        await moved(store, id, 'deny', { findableUntilAt: now + hour })
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
        advance(hour - 60_000)
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
        advance(60_000)
        const again = await store.holds.open(anOpening({ fingerprints: ['same'] }))
        expect(again).toMatchObject({ word: 'opened' })
        expect((await store.holds.read((again as { id: string }).id))?.facts.earlier).toBeUndefined()
      })

      test('a later move may end or extend that', async () => {
        const { store, advance } = bench()
        const id = await aHold(store, 'released', { fingerprints: ['same'] })
        const now = await store.now()
        await moved(store, id, 'deliver', { findableUntilAt: now + hour })
        await moved(store, id, 'touch')
        advance(30 * 60_000)
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
        await moved(store, id, 'touch', { findableUntilAt: now + 3 * hour })
        advance(2 * hour)
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
        await moved(store, id, 'touch', { findableUntilAt: null })
        await moved(store, id, 'touch', { findableUntilAt: now + 4 * hour })
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
        await moved(store, id, 'touch', { findableUntilAt: null })
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toMatchObject({ word: 'opened' })
      })

      test('tells of one whose fate is not known, for a day, in the state it is in by then', async () => {
        const { store, advance } = bench()
        const earlierOf = async (fingerprint: string) => {
          const id = await aHold(store, 'pending', { fingerprints: [fingerprint] })
          const earlier = (await store.holds.read(id))?.facts.earlier
          await moved(store, id, 'cancel')
          return earlier
        }
        const id = await aHold(store, 'released', { fingerprints: ['same'], facts: { async: true } })
        const lost = await moved(store, id, 'lose', { remember: true, findableUntilAt: (await store.now()) + 600_000 })
        expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
        advance(600_000)
        expect(await earlierOf('another')).toBeUndefined()
        expect(await earlierOf('same')).toEqual({ id, state: 'unknown', at: lost.now })
        const resolved = await moved(store, id, 'resolve_delivered')
        expect(await earlierOf('same')).toEqual({ id, state: 'delivered', at: resolved.now })
        advance(day - 700_000)
        expect(await earlierOf('same')).toMatchObject({ id })
        advance(100_000)
        expect(await earlierOf('same')).toBeUndefined()
      })

      test('tells nothing once it was told to forget', async () => {
        const { store } = bench()
        const id = await aHold(store, 'released', { fingerprints: ['same'] })
        await moved(store, id, 'deliver', { remember: true })
        await moved(store, id, 'touch', { remember: false })
        const again = await aHold(store, 'pending', { fingerprints: ['same'] })
        expect((await store.holds.read(again))?.facts).toEqual({})
      })
    })

    describe('after denials', () => {
      const denial = { keys: ['pause'], windowMs: 600_000, limit: 3, pauseMs: 600_000 }
      const deny = async (times: number): Promise<void> => {
        for (let i = 0; i < times; i++) await moved(bench().store, await aHold(bench().store), 'deny', { denial })
      }
      const open = () => bench().store.holds.open(anOpening({ pauses: ['unknown', 'pause'] }))
      const pauseMs = async (): Promise<number> => {
        const answer = await open()
        return answer.word === 'paused' ? answer.untilAt - (await bench().store.now()) : 0
      }
      const about = (ms: number) => ({ asymmetricMatch: (found: number) => found > ms - 30_000 && found <= ms })

      test('pauses at the limit, twice as long each time, until a day has passed without', async () => {
        const { advance } = bench()
        await deny(2)
        expect(await pauseMs()).toBe(0)
        await deny(1)
        expect(await pauseMs()).toEqual(about(600_000))
        advance(599_000 - 30_000)
        expect((await open()).word).toBe('paused')
        advance(31_000)
        expect((await open()).word).toBe('opened')
        await deny(2)
        expect(await pauseMs()).toBe(0)
        await deny(1)
        expect(await pauseMs()).toEqual(about(1_200_000))
        advance(1_200_000)
        await deny(3)
        expect(await pauseMs()).toEqual(about(2_400_000))
        advance(2_400_000)
        const { store } = bench()
        const ids = [await aHold(store), await aHold(store), await aHold(store)]
        advance(day)
        for (const id of ids) await moved(store, id, 'deny', { denial })
        expect(await pauseMs()).toEqual(about(600_000))
      })

      test('a pause is never longer than a day', async () => {
        for (let i = 0; i < 12; i++) {
          await deny(3)
          bench().advance(await pauseMs())
        }
        await deny(3)
        expect(await pauseMs()).toEqual(about(day))
      })

      test('counts only what lies within the window', async () => {
        const { advance } = bench()
        await deny(2)
        advance(600_000)
        await deny(2)
        expect(await pauseMs()).toBe(0)
        await deny(1)
        expect(await pauseMs()).toEqual(about(600_000))
      })

      test('counts nothing for a denial that did not succeed', async () => {
        const { store } = bench()
        const id = await aHold(store, 'denied')
        for (let i = 0; i < 5; i++)
          expect(await move(store, id, 'deny', { denial })).toEqual({ word: 'refused', state: 'denied' })
        expect(await pauseMs()).toBe(0)
      })

      test('a paused caller still attaches to what is held', async () => {
        const { store } = bench()
        const id = await aHold(store, 'pending', { fingerprints: ['same'] })
        await deny(3)
        expect(await store.holds.open(anOpening({ fingerprints: ['same'], pauses: ['pause'] }))).toEqual({
          word: 'attached',
          id,
        })
      })
    })

    describe('within caps', () => {
      const caps = { perCaller: 2, holds: 3, bytes: 100 }

      test('a caller has so many live holds, and gets room when one closes', async () => {
        const { store } = bench()
        const mine = { caller: 'me', caps, bytes: 1 }
        const first = await aHold(store, 'pending', mine)
        await aHold(store, 'approved', mine)
        expect(await store.holds.open(anOpening(mine))).toEqual({ word: 'full', scope: 'caller' })
        expect(await store.holds.open(anOpening({ ...mine, caller: 'you' }))).toMatchObject({ word: 'opened' })
        await moved(store, first, 'deny')
        expect(await store.holds.open(anOpening(mine))).toMatchObject({ word: 'opened' })
      })

      test('there are so many live holds in all', async () => {
        const { store } = bench()
        const released = await aHold(store, 'released', { caps, bytes: 1 })
        for (let i = 0; i < 2; i++) await aHold(store, 'pending', { caps, bytes: 1 })
        expect(await store.holds.open(anOpening({ caps, bytes: 1 }))).toEqual({ word: 'full', scope: 'holds' })
        await moved(store, released, 'lose')
        await moved(store, released, 'resolve_failed')
        expect(await store.holds.open(anOpening({ caps, bytes: 1 }))).toMatchObject({ word: 'opened' })
        expect(await store.holds.open(anOpening({ caps, bytes: 1 }))).toEqual({ word: 'full', scope: 'holds' })
      })

      test('they have so many bytes', async () => {
        const { store } = bench()
        const large = await aHold(store, 'pending', { caps, bytes: 60 })
        expect(await store.holds.open(anOpening({ caps, bytes: 41 }))).toEqual({ word: 'full', scope: 'bytes' })
        expect(await store.holds.open(anOpening({ caps, bytes: 40 }))).toMatchObject({ word: 'opened' })
        await moved(store, large, 'cancel')
        expect(await store.holds.open(anOpening({ caps, bytes: 60 }))).toMatchObject({ word: 'opened' })
      })

      test('a hold without a body closes like any other', async () => {
        const { store } = bench()
        const empty = await aHold(store, 'pending', { caps: { ...caps, holds: 1 }, bytes: 0 })
        await moved(store, empty, 'deny')
        expect(await store.holds.read(empty)).toMatchObject({ state: 'denied' })
        expect(await store.holds.open(anOpening({ caps: { ...caps, holds: 1 }, bytes: 0 }))).toMatchObject({
          word: 'opened',
        })
      })

      test('a pause is told before a cap, and what attaches needs no room', async () => {
        const { store } = bench()
        const none = { perCaller: 0, holds: 0, bytes: 0 }
        const id = await aHold(store, 'pending', { fingerprints: ['same'] })
        const denial = { keys: ['pause'], windowMs: 1000, limit: 1, pauseMs: hour }
        await moved(store, await aHold(store), 'deny', { denial })
        expect(await store.holds.open(anOpening({ caps: none, pauses: ['pause'] }))).toMatchObject({ word: 'paused' })
        expect(await store.holds.open(anOpening({ caps: none, fingerprints: ['same'] }))).toEqual({
          word: 'attached',
          id,
        })
      })
    })
  })
}
