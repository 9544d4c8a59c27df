// From the store to the trails: everything, in order, whoever stops, dies or starts meanwhile, and whatever became of the store.
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Log, makeLog } from '../src/log.ts'
import { redisStore } from '../src/store/redis.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { Store } from '../src/store/store.ts'
import { fileTrail } from '../src/trails/file.ts'
import { type Pump, pump } from '../src/trails/pump.ts'
import type { Line, Trail } from '../src/trails/trail.ts'
import { type RedisServer, startRedis } from './support/redis.ts'

let dir: string
const ends: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-pump-'))
  wrong.length = 0
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
  await rm(dir, { recursive: true, force: true })
})

const file = (): string => join(dir, 'audit.jsonl')
const written = async (): Promise<string[]> => (await readFile(file(), 'utf8')).split('\n').slice(0, -1)
/** Number and name of every line in the file. */
const carried = async (): Promise<string[]> =>
  (await written()).map(line => JSON.parse(line) as { seq: number; n: string }).map(({ seq, n }) => `${seq} ${n}`)
const add = (store: Store, ...names: string[]): Promise<void> =>
  store.log.append(names.map(n => JSON.stringify({ kind: 'test', n })))

/** What the program's log said went wrong. */
const wrong: unknown[] = []
const log: Log = { ...makeLog('silent'), error: (...said: unknown[]) => void wrong.push(said.at(-1)) }

const start = (store: Store, trail: Trail = fileTrail(dir)): Pump => {
  const one = pump(store, [trail], log)
  ends.push(() => one.close())
  return one
}

/** A trail in memory that cannot tell where it stands, and whose next write can be kept waiting. */
const listTrail = () => {
  const lines: Line[] = []
  let wait: Promise<void> | undefined
  let begun = (): void => undefined
  return {
    lines,
    /** Keeps the next write waiting; resolves, once it has begun, to what lets it go on. */
    keep(): Promise<() => void> {
      const { promise, resolve } = Promise.withResolvers<void>()
      wait = promise
      return new Promise(said => {
        begun = () => said(resolve)
      })
    },
    trail: {
      name: 'list',
      tail: async () => undefined,
      async write(more: readonly Line[]) {
        const kept = wait
        wait = undefined
        begun()
        await kept
        lines.push(...more)
      },
    },
  }
}

describe('with SQLite', () => {
  // Time stands still: a lease of the process before would never end.
  const open = async (path = ':memory:'): Promise<Store> => {
    const store = await sqliteStore({ path, clock: () => 0 })
    ends.push(() => store.close())
    return store
  }

  it('carries more than one batch, in order, and what is added before it closes', async () => {
    const store = await open()
    const names = Array.from({ length: 1_201 }, (_, index) => `e${index}`)
    await add(store, ...names)
    const one = start(store)
    await one.flush()
    await add(store, 'last')
    await one.close()
    expect(await carried()).toEqual([...names, 'last'].map((name, index) => `${index + 1} ${name}`))
  })

  it('goes on at once after a crash, though the process that died had been carrying', async () => {
    const path = join(dir, 'holdpoint.db')
    const before = await open(path)
    await add(before, 'a')
    await start(before).flush()
    await add(before, 'b')
    await before.close()
    const after = await open(path)
    await start(after).close()
    expect(await carried()).toEqual(['1 a', '2 b'])
  })

  it('completes a line that a crash cut off', async () => {
    const store = await open()
    await add(store, 'a', 'b', 'c')
    await start(store).close()
    const [first = '', second = ''] = await written()
    await writeFile(file(), `${first}\n${second.slice(0, -5)}`)
    await start(store).close()
    expect(await carried()).toEqual(['1 a', '2 b', '3 c'])
  })

  it('finds its place behind an entry longer than what it reads at first', async () => {
    const store = await open()
    const long = 'x'.repeat(600_000)
    await add(store, 'a', long)
    await start(store).close()
    await add(store, 'c')
    await appendFile(file(), `{"seq":3,"n":"${long}`)
    await start(store).close()
    expect(await carried()).toEqual(['1 a', `2 ${long}`, '3 c'])
  })

  it('goes on behind a line that it cannot read', async () => {
    const store = await open()
    await add(store, 'a')
    await start(store).close()
    await appendFile(file(), 'd of a line"}\n')
    await add(store, 'b')
    await start(store).close()
    expect((await written()).map(line => line.slice(0, 8))).toEqual(['{"seq":1', 'd of a l', '{"seq":2'])
  })

  it('does not write into a file that is not its own', async () => {
    const store = await open()
    await add(store, 'a')
    await writeFile(file(), 'minutes of the meeting\n')
    await start(store).close()
    expect(await readFile(file(), 'utf8')).toBe('minutes of the meeting\n')
  })

  it('carries everything of a new store to the file of an earlier one', async () => {
    const before = await open()
    await add(before, 'a', 'b', 'c')
    await start(before).close()
    const after = await open()
    await add(after, 'd', 'e')
    await start(after).close()
    expect(await carried()).toEqual(['1 a', '2 b', '3 c', '1 d', '2 e'])
    await start(after).close()
    expect(await carried()).toHaveLength(5)
  })
})

describe('with Redis', () => {
  let server: RedisServer
  let admin: Redis
  let skew = 0
  beforeAll(async () => {
    server = await startRedis()
    admin = new Redis(server.url)
  })
  afterAll(async () => {
    admin.disconnect()
    await server.stop()
  })
  beforeEach(() => admin.flushall())

  const open = async (): Promise<Store> => {
    const store = await redisStore({ url: server.url, skewMs: () => skew })
    ends.push(() => store.close())
    return store
  }
  /** The server as it would be after a crash that took its newest entries. */
  const forget = async (count: number): Promise<void> => {
    for (const [id] of await admin.xrevrange('hp:{0}:log', '+', '-', 'COUNT', count)) await admin.xdel('hp:{0}:log', id)
    await admin.decrby('hp:{0}:seq', count)
    await admin.xsetid('hp:{0}:log', `${await admin.get('hp:{0}:seq')}-0`)
  }

  /** The same store; `asked` resolves when somebody asks it where the trails stand: whoever closes and did not get the lease. */
  const watched = (store: Store): { store: Store; asked: Promise<void> } => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const get: Store['shelf']['get'] = key => {
      resolve()
      return store.shelf.get(key)
    }
    return { store: { ...store, shelf: { ...store.shelf, get } }, asked: promise }
  }

  it('carries the rest when the lease of a process that died has ended', async () => {
    const { store, asked } = watched(await open())
    await store.shelf.put('lease:trails', 'dead', { ttlMs: 5_000 })
    await add(store, 'a')
    const closing = start(store).close()
    await asked
    skew += 5_000
    await closing
    expect(await carried()).toEqual(['1 a'])
  })

  it('leaves the lease to whoever has it, and does not wait once that one has carried everything', async () => {
    const store = await open()
    const one = start(store)
    await one.flush()
    const other = start(store)
    await other.flush()
    await add(store, 'a')
    await Promise.all([other.close(), one.flush()])
    expect(await carried()).toEqual(['1 a'])
    expect(wrong).toEqual([])
    expect(await store.shelf.put('lease:trails', 'third', { when: 'absent' })).toBe(false)
  })

  it('carries what comes while the one with the lease makes its last round', async () => {
    const store = await open()
    const { trail, lines, keep } = listTrail()
    const one = start(store, trail)
    await one.flush()
    const { store: others, asked } = watched(store)
    const other = start(others, trail)
    await other.flush()
    const begun = keep()
    await add(store, 'a')
    const closed = one.close()
    const letGo = await begun
    await add(store, 'b')
    const otherClosed = other.close()
    await asked
    letGo()
    await Promise.all([closed, otherClosed])
    expect(lines.map(({ seq }) => seq)).toEqual([1, 2])
  })

  it('stops after a batch if the lease has gone to another meanwhile', async () => {
    const store = await open()
    await add(store, ...Array.from({ length: 501 }, (_, index) => `e${index}`))
    const { trail, lines, keep } = listTrail()
    const begun = keep()
    const flushed = start(store, trail).flush()
    const letGo = await begun
    await store.shelf.put('lease:trails', 'other', { ttlMs: 1_000 })
    letGo()
    await flushed
    expect(lines).toHaveLength(500)
    skew += 1_000
  })

  it('writes nothing twice when others carried meanwhile', async () => {
    const store = await open()
    const one = start(store)
    await add(store, 'a')
    await one.flush()
    const other = start(store)
    await other.flush()
    skew += 5_000
    await add(store, 'b')
    await other.close()
    await add(store, 'c')
    await one.close()
    expect(await carried()).toEqual(['1 a', '2 b', '3 c'])
  })

  it.each([1, 2])('carries what has the number of an entry that the server forgot (%i new)', async count => {
    const store = await open()
    const one = start(store)
    await add(store, 'a', 'b', 'c')
    await one.flush()
    await forget(1)
    await add(store, ...['d', 'e'].slice(0, count))
    await one.flush()
    expect(await carried()).toEqual(['1 a', '2 b', '3 c', '3 d', '4 e'].slice(0, 3 + count))
  })

  it('sees after a start as well that the server forgot something', async () => {
    const store = await open()
    await add(store, 'a', 'b', 'c')
    await start(store).close()
    await forget(2)
    await add(store, 'd', 'e', 'f')
    await start(store).close()
    expect(await carried()).toEqual(['1 a', '2 b', '3 c', '2 d', '3 e', '4 f'])
    expect(wrong).toEqual([expect.stringContaining('the store has lost audit entries')])
  })

  it('begins again with a server that lost everything, also for a trail that cannot tell where it stands', async () => {
    const store = await open()
    const { trail, lines } = listTrail()
    const one = start(store, trail)
    await add(store, 'a', 'b')
    await one.flush()
    await admin.flushall()
    await add(store, 'c', 'd', 'e')
    await one.flush()
    expect(lines.map(({ text }) => (JSON.parse(text) as { n: string }).n)).toEqual(['a', 'b', 'c', 'd', 'e'])
  })
})
