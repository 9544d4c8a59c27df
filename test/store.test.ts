// Both stores keep one contract; Redis also in each of the ways in which it may be durable, and as Valkey.
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe } from 'vitest'
import { redisStore } from '../src/store/redis.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import { storeContract } from './contracts/store.ts'
import { type RedisServer, startRedis } from './support/redis.ts'

storeContract('sqlite', async () => {
  let skew = 0
  const store = await sqliteStore({ path: ':memory:', clock: () => Date.now() + skew })
  return {
    store,
    twin: store,
    advance: ms => {
      skew += ms
    },
    cut: async () => undefined,
    end: () => store.close(),
  }
})

for (const [name, program, args] of [
  ['redis that keeps nothing', 'redis-server', []],
  ['redis with appendfsync always', 'redis-server', ['--appendonly', 'yes', '--appendfsync', 'always']],
  ['valkey', 'valkey-server', []],
] as const) {
  describe(name, () => {
    let server: RedisServer
    let admin: Redis
    beforeAll(async () => {
      server = await startRedis({ program, args })
      admin = new Redis(server.url)
    })
    afterAll(async () => {
      admin.disconnect()
      await server.stop()
    })
    storeContract(name, async () => {
      await admin.flushall()
      let skew = 0
      const open = () => redisStore({ url: server.url, skewMs: () => skew })
      const [store, twin] = await Promise.all([open(), open()])
      return {
        store,
        twin,
        advance: ms => {
          skew += ms
        },
        cut: async () => void (await admin.call('CLIENT', 'KILL', 'SKIPME', 'yes', 'TYPE', 'normal')),
        end: async () => void (await Promise.all([store.close(), twin.close()])),
      }
    })
  })
}
