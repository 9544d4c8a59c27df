// The audit log in SQLite is written in packs; whoever reads it never sees where one ends.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { LogEntry, Store } from '../src/store/store.ts'
import { anOpening } from './contracts/store/holds.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdpoint-sqlite-log-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let files = 0
const newPath = (): string => join(dir, `${++files}.db`)

/** Changes the file as somebody else might, while no store has it. */
const changed = (path: string, sql: string): void => {
  const file = new DatabaseSync(path)
  file.exec(sql)
  file.close()
}
const packsOf = (path: string): number => {
  const file = new DatabaseSync(path, { readOnly: true })
  try {
    return Number(file.prepare('SELECT count(*) AS n FROM log').get()?.n)
  } finally {
    file.close()
  }
}

/** What a plain array answers. */
const oracle = (all: readonly LogEntry[]): Pick<Store['log'], 'read' | 'newest'> => ({
  read: async (after, limit) => all.filter(({ seq }) => seq > after).slice(0, limit),
  newest: async (before = Number.MAX_SAFE_INTEGER, limit) =>
    all
      .filter(({ seq }) => seq < before)
      .toReversed()
      .slice(0, limit),
})

const expectAll = async (log: Store['log'], all: readonly LogEntry[], limits: readonly number[]): Promise<void> => {
  const wanted = oracle(all)
  for (const limit of limits) {
    expect(await log.newest(undefined, limit)).toEqual(await wanted.newest(undefined, limit))
    for (let place = 0; place <= all.length + 2; place++) {
      expect(await log.read(place, limit)).toEqual(await wanted.read(place, limit))
      expect(await log.newest(place, limit)).toEqual(await wanted.newest(place, limit))
    }
  }
}

type Step = { readonly kind: 'append'; readonly sizes: readonly number[] } | { readonly kind: 'open' | 'reopen' }
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('append' as const), sizes: fc.array(fc.nat(9), { maxLength: 12 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      sizes: fc.oneof(
        fc.integer({ min: 98, max: 210 }).map(count => Array<number>(count).fill(2)),
        fc.array(fc.integer({ min: 20_000, max: 70_000 }), { maxLength: 6 }),
      ),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('open' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
)

test('reads from every place what was written, whatever came together, before and after a restart', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 8 }), async steps => {
      const path = newPath()
      let now = 1_000
      const start = () => sqliteStore({ path, clock: () => now })
      let store = await start()
      const all: LogEntry[] = []
      const note = (json: string): void => void all.push({ seq: all.length + 1, at: now, json })
      for (const one of steps) {
        now++
        if (one.kind === 'append') {
          const texts = one.sizes.map((size, index) => JSON.stringify({ index, text: 'é\n'.repeat(size) }))
          await store.log.append(texts)
          texts.forEach(note)
        } else if (one.kind === 'open') {
          const opening = anOpening()
          await store.holds.open(opening)
          note(opening.entry)
        } else {
          await store.close()
          store = await start()
        }
      }
      await expectAll(store.log, all, [1, 3, 120])
      await store.close()
    }),
    { numRuns: 20 },
  )
})

describe('packs', () => {
  const texts = (count: number, length = 0): string[] =>
    Array.from({ length: count }, (_, n) => JSON.stringify({ n, text: 'x'.repeat(length) }))

  test.each([
    ['nothing', [], 0],
    ['one entry', texts(1), 1],
    ['a hundred', texts(100), 1],
    ['one more', texts(101), 2],
    ['what fits into 64 KiB', texts(3, 21_000), 1],
    ['what does not', texts(4, 21_000), 2],
    ['an entry that does not by itself, between small ones', [...texts(1), ...texts(1, 70_000), ...texts(1)], 3],
  ] as const)('%s', async (_, entries, packs) => {
    const path = newPath()
    const store = await sqliteStore({ path })
    await store.log.append(entries)
    expect((await store.log.read(0, 1_000)).map(({ json }) => json)).toEqual(entries)
    await store.close()
    expect(packsOf(path)).toBe(packs)
  })

  test('an entry of several lines is refused, and nothing that came with it is written', async () => {
    const store = await sqliteStore({ path: newPath() })
    await expect(store.log.append(['{"n":1}', '{\n"n":2}'])).rejects.toThrow('one line')
    await expect(store.holds.open(anOpening({ entry: '{}\n{}' }))).rejects.toThrow('one line')
    await store.log.append(['{"n":"a\u2028b\\nc\r"}'])
    expect(await store.log.read(0, 10)).toMatchObject([{ seq: 1, json: '{"n":"a\u2028b\\nc\r"}' }])
    await store.close()
  })

  test('rows of the first version are packs of one', async () => {
    const path = newPath()
    await (await sqliteStore({ path })).close()
    changed(path, `INSERT INTO log (at, json) VALUES (5, '{"n":0}'), (6, '{"n":1}')`)
    const store = await sqliteStore({ path, clock: () => 7 })
    await store.log.append(['{"n":2}', '{"n":3}'])
    const all = [5, 6, 7, 7].map((at, n) => ({ seq: n + 1, at, json: `{"n":${n}}` }))
    await expectAll(store.log, all, [1, 2, 9])
    await store.close()
  })

  test('no number is used twice, not even if the newest rows are gone', async () => {
    const path = newPath()
    const first = await sqliteStore({ path })
    await first.log.append(texts(3))
    await first.log.append(texts(4))
    await first.close()
    changed(path, 'DELETE FROM log WHERE seq > 3')
    const second = await sqliteStore({ path })
    await second.log.append(texts(2))
    await second.holds.open(anOpening())
    expect((await second.log.read(0, 100)).map(({ seq }) => seq)).toEqual([1, 2, 3, 8, 9, 10])
    await second.close()
    changed(path, "DELETE FROM sqlite_sequence WHERE name = 'log'")
    const third = await sqliteStore({ path })
    await third.log.append(texts(2))
    expect((await third.log.newest(undefined, 3)).map(({ seq }) => seq)).toEqual([12, 11, 10])
    await third.close()
  })

  test.each([
    ['more lines than entries', "json || char(10) || '{}' || char(10) || '{}'", ['2 {}', '3 {}']],
    ['fewer lines', "'{}'", ['3 {}']],
    ['no line', "''", ['3 ']],
  ] as const)('a row that was changed under our hands takes no number of another: %s', async (_, value, wanted) => {
    const path = newPath()
    const first = await sqliteStore({ path })
    await first.log.append(['{"n":1}'])
    await first.log.append(texts(2))
    await first.log.append(['{"n":4}'])
    await first.close()
    changed(path, `UPDATE log SET json = ${value} WHERE seq = 3`)
    const store = await sqliteStore({ path })
    const upwards = await store.log.read(0, 100)
    expect(upwards.map(({ seq, json }) => `${seq} ${json}`)).toEqual(['1 {"n":1}', ...wanted, '4 {"n":4}'])
    expect(await store.log.newest(undefined, 100)).toEqual(upwards.toReversed())
    for (const entry of upwards) {
      expect(await store.log.read(entry.seq - 1, 1)).toEqual([entry])
      expect(await store.log.newest(entry.seq + 1, 1)).toEqual([entry])
    }
    await store.close()
  })
})
