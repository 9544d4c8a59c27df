// The SQLite file: one process at a time, nothing lost when that is killed, and no file that is not ours.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, expect, test } from 'vitest'
import { sqliteStore } from '../src/store/sqlite.ts'
import { aHold, anOpening, moved } from './contracts/store/holds.ts'

const dir = mkdtempSync(join(tmpdir(), 'holdpoint-sqlite-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test('makes the file and its folder, readable for its owner only', async () => {
  const path = join(dir, 'new/folder/holdpoint.db')
  const store = await sqliteStore({ path })
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(statSync(join(dir, 'new/folder')).mode & 0o777).toBe(0o700)
  expect(await store.health()).toMatchObject({ ok: true, durability: 'disk' })
  await store.close()
})

test('a second start on the same file says that it is in use; after a close it is free', async () => {
  const path = join(dir, 'shared.db')
  const store = await sqliteStore({ path })
  await expect(sqliteStore({ path })).rejects.toMatchObject({
    code: 'store_unavailable',
    detail: expect.stringContaining('in use by another process'),
  })
  const id = await aHold(store)
  await store.close()
  const again = await sqliteStore({ path })
  expect(await again.holds.read(id)).toMatchObject({ state: 'pending' })
  await again.close()
})

test('a process that is killed leaves no lock, and all that it had answered', async () => {
  const path = join(dir, 'killed.db')
  const child = spawn(process.execPath, [new URL('support/keeper.ts', import.meta.url).pathname, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said] = await once(child.stdout, 'data')
  const id = String(said).trim()
  await expect(sqliteStore({ path })).rejects.toMatchObject({
    detail: expect.stringContaining('in use by another process'),
  })
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended

  const store = await sqliteStore({ path })
  expect(await store.holds.read(id)).toMatchObject({ state: 'released', fence: 1, rev: 3 })
  expect((await store.log.read(0, 10)).map(({ seq }) => seq)).toEqual([1, 2, 3])
  expect(await store.holds.sealed(id, 'request')).toBe(`request of ${id}`)
  await store.close()
})

test('events are kept over a restart: a reader goes on after what it saw last', async () => {
  const path = join(dir, 'events.db')
  const first = await sqliteStore({ path })
  const stop = new AbortController()
  const following = first.events(undefined, stop.signal)[Symbol.asyncIterator]()
  const id = await aHold(first)
  const seen = (await following.next()).value
  stop.abort()
  await moved(first, id, 'approve')
  await first.close()
  const second = await sqliteStore({ path })
  const next = await second.events(seen?.id, new AbortController().signal)[Symbol.asyncIterator]().next()
  expect(next.value).toMatchObject({ kind: 'hold', hold: id, state: 'approved' })
  await second.close()
})

test('goes on with a file of version 1, and makes it one of its own', async () => {
  const path = join(dir, 'older.db')
  await (await sqliteStore({ path })).close()
  const db = new DatabaseSync(path)
  db.exec('UPDATE schema SET version = 1')
  db.exec(`INSERT INTO log (at, json) VALUES (1, '{"kind":"a"}'), (2, '{"kind":"b"}')`)
  db.close()
  const store = await sqliteStore({ path })
  await store.log.append(['{"kind":"c"}', '{"kind":"d"}'])
  expect((await store.log.read(0, 10)).map(({ seq, json }) => [seq, json])).toEqual([
    [1, '{"kind":"a"}'],
    [2, '{"kind":"b"}'],
    [3, '{"kind":"c"}'],
    [4, '{"kind":"d"}'],
  ])
  await store.close()
  const after = new DatabaseSync(path)
  expect(after.prepare('SELECT version FROM schema').get()).toEqual({ version: 2 })
  after.close()
})

test('does not touch what a newer Holdpoint wrote', async () => {
  const path = join(dir, 'newer.db')
  await (await sqliteStore({ path })).close()
  const db = new DatabaseSync(path)
  db.exec('UPDATE schema SET version = 3')
  db.close()
  await expect(sqliteStore({ path })).rejects.toMatchObject({
    code: 'store_unavailable',
    detail: expect.stringContaining('schema version 3'),
  })
})

test("does not touch another program's file, and says what is wrong with a path", async () => {
  const path = join(dir, 'other.db')
  const db = new DatabaseSync(path)
  db.exec('CREATE TABLE songs (name TEXT)')
  db.close()
  await expect(sqliteStore({ path })).rejects.toMatchObject({
    detail: expect.stringContaining('belongs to another program'),
  })
  await expect(sqliteStore({ path: dir })).rejects.toMatchObject({
    code: 'store_unavailable',
    detail: expect.stringContaining(`store sqlite:${dir}`),
  })
  await expect(sqliteStore({ path: join(path, 'below/a/file.db') })).rejects.toMatchObject({
    code: 'store_unavailable',
  })
  expect(existsSync(join(dir, 'other.db-wal'))).toBe(false)
})

test('many steps at once are one write, and one that fails takes no other with it', async () => {
  const store = await sqliteStore({ path: join(dir, 'together.db') })
  const id = await aHold(store)
  const results = await Promise.allSettled([
    store.log.append(['{"n":1}']),
    store.holds.move({ hold: id, move: 'approve', rev: 1 }),
    store.shelf.put('key', 'value'),
    store.holds.move({ hold: id, move: 'deny', rev: 1, entry: '{"n":2}' }),
    store.log.append(['{"n":3}', null as unknown as string]),
    store.log.append(['{"n":4}']),
  ])
  expect(results.map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
    'rejected',
    'fulfilled',
  ])
  expect((await store.log.read(1, 10)).map(({ seq, json }) => `${seq} ${json}`)).toEqual([
    '2 {"n":1}',
    '3 {"n":2}',
    '4 {"n":4}',
  ])
  expect(await store.shelf.get('key')).toBe('value')
  await store.close()
})

test('what a disk does not confirm is not answered, and nothing counts after it until the file is opened again', async () => {
  const path = join(dir, 'unconfirmed.db')
  const store = await sqliteStore({ path })
  // The log is gone before anything was waited for: nobody can say what is on disk.
  unlinkSync(`${path}-wal`)
  const unavailable = { code: 'store_unavailable' }
  await expect(store.shelf.put('key', 'value')).rejects.toMatchObject(unavailable)
  await expect(store.holds.open(anOpening())).rejects.toMatchObject(unavailable)
  await expect(store.shelf.get('key')).rejects.toMatchObject(unavailable)
  expect(await store.health()).toMatchObject({ ok: false })
  await store.close()
})

test('a file of the first version still knows how many holds each caller has', async () => {
  const path = join(dir, 'counted.db')
  const opening = () => anOpening({ caller: 'one', caps: { perCaller: 2, holds: 100, bytes: 1000 } })
  const first = await sqliteStore({ path })
  const id = await aHold(first, 'pending', { caller: 'one' })
  await first.holds.open(opening())
  await first.close()
  const file = new DatabaseSync(path)
  file.exec('DROP TABLE callers; CREATE INDEX live_holds_by_caller ON holds (caller) WHERE live = 1')
  file.close()
  const second = await sqliteStore({ path })
  expect(await second.holds.open(opening())).toEqual({ word: 'full', scope: 'caller' })
  await moved(second, id, 'deny')
  expect(await second.holds.open(opening())).toMatchObject({ word: 'opened' })
  expect(await second.holds.open(opening())).toEqual({ word: 'full', scope: 'caller' })
  await second.close()
})
