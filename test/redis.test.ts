// What is particular to Redis: which server is refused, what happens while it is away, and what a confirmed move survives.
import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { serverOf } from '../src/store/link.ts'
import { redisStore } from '../src/store/redis.ts'
import type { Store, StoreEvent } from '../src/store/store.ts'
import { aHold, anOpening, move, moved } from './contracts/store/holds.ts'
import { type RedisOptions, type RedisServer, relayTo, startRedis } from './support/redis.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const serve = async (options: RedisOptions = {}): Promise<RedisServer> => {
  const server = await startRedis(options)
  ends.push(() => server.stop())
  return server
}
const open = async (url: string, options: { readonly durable?: 'always' } = {}): Promise<Store> => {
  const store = await redisStore({ url, ...options })
  ends.push(() => store.close())
  return store
}
const command = async (server: RedisServer, ...words: string[]): Promise<unknown> => {
  const redis = new Redis(server.url)
  const [name = '', ...args] = words
  return redis.call(name, ...args).finally(() => redis.disconnect())
}
const well = (store: Store): Promise<void> =>
  vi.waitFor(async () => expect(await store.health()).toMatchObject({ ok: true }), { timeout: 10_000, interval: 20 })

const durable = ['--appendonly', 'yes', '--appendfsync', 'always']
const everysec = ['--appendonly', 'yes', '--appendfsync', 'everysec']

describe('the address', () => {
  test.each([
    ['redis://h', { host: 'h', port: 6379, db: 0 }],
    ['redis://h:1/2', { host: 'h', port: 1, db: 2 }],
    ['rediss://u:p%40ss@h:1', { host: 'h', port: 1, db: 0, username: 'u', password: 'p@ss', tls: {} }],
    ['redis://:p@[::1]:1', { host: '::1', port: 1, db: 0, password: 'p' }],
  ])('%s is read', (url, server) => {
    expect(serverOf(url)).toEqual(server)
  })

  test.each([
    ['redis+sentinel://u:secret@h1:1,h2:2/name', 'not supported'],
    ['redis+cluster://h:1', 'not supported'],
    ['redis://u:secret@h1:1,h2:2', 'write redis://'],
    ['http://u:secret@h', 'write redis://'],
    ['h:6379', 'write redis://'],
    ['redis://', 'names no host'],
    ['redis://u:secret@h/name', 'not a database number'],
    ['redis://u:secret@h?tls=true', 'leave it out'],
    ['redis://u:%E0%A4secret@h', 'percent-encoded'],
  ])('%s is refused', (url, why) => {
    expect(() => serverOf(url)).toThrow(why)
    expect(() => serverOf(url)).not.toThrow('secret')
  })
})

describe('the server', () => {
  test('is refused if it may throw holds away', async () => {
    const { url } = await serve({ args: ['--maxmemory-policy', 'allkeys-lru'] })
    await expect(redisStore({ url })).rejects.toMatchObject({
      code: 'store_unavailable',
      detail: expect.stringContaining('noeviction'),
    })
  })

  test('is refused if it is too old', async () => {
    const { port } = await serve()
    const relay = await relayTo(port, text => text.replace(/redis_version:7\.0/, 'redis_version:6.9'))
    ends.push(() => relay.close())
    await expect(redisStore({ url: relay.url })).rejects.toMatchObject({
      detail: expect.stringContaining('7 or newer'),
    })
  })

  test('is refused if it is a replica, or one of a cluster', async () => {
    const primary = await serve()
    await open(primary.url)
    const replica = await serve({ args: ['--replicaof', '127.0.0.1', String(primary.port)] })
    await vi.waitFor(
      async () => expect(await command(replica, 'INFO', 'replication')).toContain('master_link_status:up'),
      { timeout: 10_000 },
    )
    await expect(redisStore({ url: replica.url })).rejects.toMatchObject({
      detail: expect.stringContaining('name the primary'),
    })
    const cluster = await serve({ args: ['--cluster-enabled', 'yes'] })
    await command(cluster, 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    await vi.waitFor(async () => expect(await command(cluster, 'CLUSTER', 'INFO')).toContain('cluster_state:ok'), {
      timeout: 10_000,
    })
    await expect(redisStore({ url: cluster.url })).rejects.toMatchObject({ detail: expect.stringContaining('Cluster') })
  })

  test('is refused if a newer Holdpoint wrote its data', async () => {
    const server = await serve()
    await command(server, 'SET', 'hp:{0}:schema', '2')
    await expect(redisStore({ url: server.url })).rejects.toMatchObject({
      detail: expect.stringContaining('schema version 2'),
    })
  })

  test('is named when it cannot be used, but never the password', async () => {
    const server = await serve({ args: ['--requirepass', 'right'] })
    for (const url of [
      server.url,
      `redis://:wrong-secret@127.0.0.1:${server.port}`,
      `rediss://:wrong-secret@127.0.0.1:${server.port}`,
    ]) {
      const error = await redisStore({ url }).catch((thrown: unknown) => thrown as { detail: string })
      expect(error).toMatchObject({
        code: 'store_unavailable',
        detail: expect.stringContaining(`127.0.0.1:${server.port} cannot be used`),
      })
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('secret')
    }
    await aHold(await open(`redis://:right@127.0.0.1:${server.port}`))
    await server.kill()
    await expect(redisStore({ url: server.url })).rejects.toMatchObject({
      detail: expect.stringContaining('ECONNREFUSED'),
    })
  })

  test('needs to let its user do no more than read and write hp:*, and tell INFO', async () => {
    const server = await serve({ args: durable })
    await command(server, 'ACL', 'SETUSER', 'holdpoint', 'on', '>pw', '~hp:*', '+@all', '-@dangerous', '+info')
    const store = await open(`redis://holdpoint:pw@127.0.0.1:${server.port}`)
    const id = await aHold(store, 'released')
    await moved(store, id, 'deliver', {
      answer: { sealed: 'a', untilAt: 9e12 },
      remember: true,
      denial: { keys: ['k'], windowMs: 1, limit: 1, pauseMs: 1 },
    })
    await store.shelf.put('key', 'value', { ttlMs: 1000 })
    const keys = (await command(server, 'KEYS', '*')) as string[]
    expect(keys.filter(key => !key.startsWith('hp:{0}:'))).toEqual([])
    expect(await store.health()).toMatchObject({
      durability: 'epoch',
      notes: [expect.stringContaining('appendfsync is not known')],
    })
  })

  test('when its memory is full, opens nothing, but lets be decided what is open', async () => {
    const server = await serve()
    const store = await open(server.url)
    const id = await aHold(store)
    await store.shelf.put('key', 'value')
    await command(server, 'CONFIG', 'SET', 'maxmemory', '1')
    await expect(store.holds.open(anOpening())).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(store.log.append(['{}'])).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(store.shelf.put('other', 'value')).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await store.shelf.take('key')).toBe('value')
    expect(await store.holds.read(id)).toMatchObject({ state: 'pending' })
    expect(await move(store, id, 'deny')).toMatchObject({ word: 'moved' })
    await command(server, 'CONFIG', 'SET', 'maxmemory', '0')
    await aHold(store)
  })
})

test('on a server that never saw our scripts, commands are carried out in their order', async () => {
  const store = await open((await serve()).url)
  await aHold(store)
  const stop = new AbortController()
  ends.push(() => stop.abort())
  const following = store.events(undefined, stop.signal)[Symbol.asyncIterator]()
  const id = await aHold(store)
  expect((await following.next()).value).toMatchObject({ kind: 'hold', hold: id })
})

describe('while the server is away', () => {
  test('every use fails at once; when it is back, all is as it was, and no event is lost', async () => {
    const server = await serve({ args: durable })
    const store = await open(server.url)
    const id = await aHold(store)
    const stop = new AbortController()
    ends.push(() => stop.abort())
    const following = store.events(undefined, stop.signal)[Symbol.asyncIterator]()
    await moved(store, id, 'vote')
    expect((await following.next()).value).toMatchObject({ rev: 2 })

    await server.kill()
    const began = performance.now()
    for (const act of [
      () => store.now(),
      () => store.holds.read(id),
      () => store.holds.open(anOpening()),
      () => move(store, id, 'approve', { rev: 2 }),
      () => move(store, id, 'approve', { rev: 2, durable: true }),
      () => store.log.read(0, 1),
      () => store.shelf.get('key'),
    ])
      await expect(act()).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(performance.now() - began).toBeLessThan(1000)
    expect(await store.health()).toMatchObject({ ok: false, notes: [expect.stringContaining('does not answer')] })

    await server.restart()
    await well(store)
    await moved(store, id, 'approve', { rev: 2, durable: true })
    expect((await following.next()).value).toMatchObject({ kind: 'hold', hold: id, rev: 3 })
  })

  test('who begins to follow then is told, once it is back, that events may be lost', async () => {
    const server = await serve({ args: durable })
    const store = await open(server.url)
    await server.kill()
    await expect(store.now()).rejects.toMatchObject({ code: 'store_unavailable' })
    const stop = new AbortController()
    ends.push(() => stop.abort())
    const following = store.events(undefined, stop.signal)[Symbol.asyncIterator]()
    const next = following.next()
    await server.restart()
    expect((await next).value).toMatchObject({ kind: 'gap' })
    await well(store)
    const id = await aHold(store)
    expect((await following.next()).value).toMatchObject({ kind: 'hold', hold: id })
  })

  test('a server that stands still is given up, and used again when it goes on', async () => {
    const server = await serve()
    const store = await open(server.url)
    server.freeze()
    await expect(store.now()).rejects.toMatchObject({ code: 'store_unavailable' })
    server.thaw()
    await well(store)
    await aHold(store)
  })

  test('a server that has become unfit is not used', async () => {
    const server = await serve({ args: durable })
    const store = await open(server.url)
    await server.restart([...durable, '--maxmemory-policy', 'allkeys-lru'])
    await vi.waitFor(async () => expect((await store.health()).notes[0]).toContain('noeviction'), { timeout: 10_000 })
    await expect(store.holds.open(anOpening())).rejects.toMatchObject({ code: 'store_unavailable' })
    await server.restart(durable)
    await well(store)
  })
})

describe('durability', () => {
  test('with appendfsync always a server that is killed loses nothing', async () => {
    const server = await serve({ args: durable })
    const store = await open(server.url)
    expect(await store.health()).toMatchObject({ durability: 'disk' })
    const id = await aHold(store, 'approved', { fingerprints: ['same'] })
    await moved(store, id, 'release', { durable: true })
    await moved(store, id, 'deliver', { remember: true, findableUntilAt: Date.now() + 3_600_000 })
    await server.kill()
    await server.restart()
    await well(store)
    expect(await store.holds.read(id)).toMatchObject({ state: 'delivered', rev: 4, fence: 1 })
    expect((await store.log.read(0, 10)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4])
    expect(await store.holds.open(anOpening({ fingerprints: ['same'] }))).toEqual({ word: 'attached', id })
    await moved(store, await aHold(store, 'approved'), 'release', { durable: true })
  })

  test('with WAITAOF a release that was answered is still there after a kill', async () => {
    const server = await serve({ program: 'valkey-server', args: everysec })
    const store = await open(server.url)
    expect(await store.health()).toMatchObject({ durability: 'confirmed' })
    const ids = await Promise.all(Array.from({ length: 20 }, () => aHold(store, 'approved')))
    const answers = await Promise.all(ids.map(id => move(store, id, 'release', { durable: true, rev: 2 })))
    await server.kill()
    expect(new Set(answers.map(({ word }) => word))).toEqual(new Set(['moved']))
    await server.restart()
    await well(store)
    for (const id of ids) expect(await store.holds.read(id)).toMatchObject({ state: 'released', rev: 3, fence: 1 })
    expect(await move(store, ids[0] ?? '', 'return')).toMatchObject({ word: 'moved' })
  })

  test('a release that WAITAOF does not confirm is not answered; what was refused anyway is', async () => {
    const server = await serve({ program: 'valkey-server', args: ['--appendonly', 'yes', '--appendfsync', 'no'] })
    const store = await open(server.url)
    const [id, denied] = [await aHold(store, 'approved'), await aHold(store, 'denied')]
    const [released, refused] = await Promise.allSettled([
      move(store, id, 'release', { durable: true, rev: 2 }),
      move(store, denied, 'release', { durable: true, rev: 2 }),
    ])
    expect(released).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } })
    expect(refused).toMatchObject({ value: { word: 'refused', state: 'denied' } })
    await moved(store, id, 'lose')
  })

  test('replicas have to confirm too, even with appendfsync always', async () => {
    const primary = await serve({ program: 'valkey-server', args: durable })
    const replica = await serve({
      program: 'valkey-server',
      args: [...everysec, '--replicaof', '127.0.0.1', String(primary.port)],
    })
    await vi.waitFor(
      async () => expect(await command(primary, 'INFO', 'replication')).toMatch(/slave0:.*state=online/),
      { timeout: 20_000 },
    )
    const store = await open(primary.url)
    expect(await store.health()).toMatchObject({
      durability: 'confirmed',
      notes: [expect.stringContaining('1 replica')],
    })
    await moved(store, await aHold(store, 'approved'), 'release', { durable: true })
    const id = await aHold(store, 'approved')
    replica.freeze()
    await expect(move(store, id, 'release', { durable: true })).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  test('the word of the operator is taken', async () => {
    const { url } = await serve()
    const store = await open(url, { durable: 'always' })
    expect(await store.health()).toMatchObject({
      durability: 'disk',
      notes: [expect.stringContaining('durable: always')],
    })
    await moved(store, await aHold(store, 'approved'), 'release', { durable: true })
  })
})

describe('without a file that keeps every write', () => {
  const epoch = { word: 'epoch' }

  test('a hold of an earlier run can only be voided, or lost once it is released', async () => {
    const server = await serve()
    const store = await open(server.url)
    expect(await store.health()).toMatchObject({
      durability: 'epoch',
      notes: [expect.stringContaining('keeps no append-only file')],
    })
    const [id, lost] = [await aHold(store, 'approved'), await aHold(store, 'released')]
    await command(server, 'SAVE')
    await moved(store, id, 'release', { durable: true })
    const swap = { key: 'grant:x', was: undefined, becomes: 'used', untilAt: Date.now() + 60_000, from: lost }
    await server.kill()
    await server.restart()
    await well(store)
    // A grant that was made in that run is worth nothing: its uses may be forgotten as well.
    expect(await move(store, await aHold(store), 'grant', { swap })).toEqual({ word: 'stale' })
    expect(
      await move(store, await aHold(store), 'grant', { swap: { ...swap, from: await aHold(store) } }),
    ).toMatchObject({
      word: 'moved',
    })
    // The release was forgotten. Were it not for the run, this hold would be sent a second time.
    expect(await store.holds.read(id)).toMatchObject({ state: 'approved', fence: 0 })
    for (const name of ['release', 'lapse', 'revoke', 'touch', 'approve'] as const) {
      expect(await move(store, id, name), name).toEqual(epoch)
      expect(await move(store, id, name, { durable: true }), name).toEqual(epoch)
    }
    expect(await move(store, id, 'void')).toMatchObject({ word: 'moved', state: 'void' })
    for (const name of ['deliver', 'return', 'renew', 'revoke'] as const)
      expect(await move(store, lost, name), name).toEqual(epoch)
    expect(await move(store, lost, 'lose')).toMatchObject({ word: 'moved', state: 'unknown' })
    expect(await store.holds.due(10)).toEqual([])
  })

  test('asking again opens a new hold, and says what is known of the old one', async () => {
    const server = await serve()
    const store = await open(server.url)
    const call = { fingerprints: ['same'], idempotency: { keys: ['key'], keepMs: 3_600_000 } }
    const id = await aHold(store, 'approved', call)
    const other = await aHold(store, 'pending', { fingerprints: ['other'] })
    await command(server, 'SAVE')
    await server.kill()
    await server.restart()
    await well(store)
    const again = await aHold(store, 'pending', call)
    expect((await store.holds.read(again))?.facts.earlier).toEqual({ id, state: 'approved', at: expect.any(Number) })
    expect(await store.holds.open(anOpening(call))).toEqual({ word: 'attached', id: again })
    const fresh = await aHold(store, 'pending', { fingerprints: ['other'] })
    expect((await store.holds.read(fresh))?.facts.earlier).toMatchObject({ id: other, state: 'pending' })
    for (const old of [id, other]) await moved(store, old, 'void')
    expect(await store.holds.open(anOpening({ fingerprints: ['other'] }))).toEqual({ word: 'attached', id: fresh })
    expect(await store.holds.open(anOpening(call))).toEqual({ word: 'attached', id: again })
    expect(await store.holds.open(anOpening({ ...call, fingerprints: ['unlike'] }))).toMatchObject({ word: 'conflict' })
    await moved(store, again, 'approve')
  })

  test('a hold from a run that kept its writes is no better', async () => {
    const server = await serve({ args: durable })
    const store = await open(server.url)
    const id = await aHold(store, 'approved')
    await command(server, 'SAVE')
    await server.kill()
    await server.restart([])
    await well(store)
    expect(await move(store, id, 'release', { durable: true })).toEqual(epoch)
    expect(await move(store, id, 'void')).toMatchObject({ word: 'moved' })
  })

  test('a hold stays bound to its run when the server learns to keep its writes', async () => {
    const server = await serve()
    const store = await open(server.url)
    const id = await aHold(store, 'pending')
    await command(server, 'CONFIG', 'SET', 'appendonly', 'yes')
    await vi.waitFor(
      async () =>
        expect(await command(server, 'INFO', 'persistence')).toMatch(/aof_enabled:1.*aof_rewrite_in_progress:0/s),
      { timeout: 10_000 },
    )
    await moved(store, id, 'approve')
    await server.restart(durable)
    await well(store)
    expect(await store.health()).toMatchObject({ durability: 'disk' })
    expect(await store.holds.read(id)).toMatchObject({ state: 'approved' })
    expect(await move(store, id, 'release')).toEqual(epoch)
  })

  test('whoever follows events is told that some may be lost', async () => {
    const server = await serve()
    const store = await open(server.url)
    const stop = new AbortController()
    ends.push(() => stop.abort())
    const following: AsyncIterator<StoreEvent> = store.events(undefined, stop.signal)[Symbol.asyncIterator]()
    await aHold(store)
    expect((await following.next()).value).toMatchObject({ kind: 'hold' })
    const next = following.next()
    await server.kill()
    await server.restart()
    expect((await next).value).toMatchObject({ kind: 'gap' })
    await well(store)
    const id = await aHold(store)
    expect((await following.next()).value).toMatchObject({ kind: 'hold', hold: id })
  })
})
