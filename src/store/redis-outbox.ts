// The outbox of the replicas' store: a hash per item and one sorted set of when each is due; each method is one script.
import type { Claimed, NextTurn, Outbox } from './store.ts'

type Ask = (
  script: 'outboxAdd' | 'outboxGet' | 'outboxClaim' | 'outboxWrite' | 'outboxWake',
  ...args: readonly (string | number)[]
) => Promise<unknown>

export const redisOutbox = (ask: Ask): Outbox => ({
  add: async (key, value) => (await ask('outboxAdd', key, value)) === 1,
  get: async key => ((await ask('outboxGet', key)) as string | null) ?? undefined,
  async claim(limit, leaseMs) {
    const flat = (await ask('outboxClaim', limit, leaseMs)) as readonly (string | number)[]
    return Array.from({ length: flat.length / 3 }, (_, index): Claimed => {
      const [key = '', value = '', token] = flat.slice(3 * index)
      return { key: String(key), value: String(value), token: Number(token) }
    })
  },
  write: async ({ key, token }, value, next) => (await ask('outboxWrite', key, token, value, ...turn(next))) === 1,
  async wake(key = '') {
    await ask('outboxWake', key)
  },
})

const turn = (next: NextTurn): readonly [word: string, at: number | ''] => {
  if (typeof next === 'string') return [next, '']
  return 'leaseMs' in next ? ['lease', next.leaseMs] : ['due', next.dueAt]
}
