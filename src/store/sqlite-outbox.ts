// The outbox of the embedded store: one table, each method one step. A lease is a time before which the item is not due.
import type { Database } from './database.ts'
import { never } from './place.ts'
import type { Claimed, NextTurn, Outbox } from './store.ts'

/** Made where it is missing: files of the first version had none. */
export const outboxTable = `
  CREATE TABLE IF NOT EXISTS outbox (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, due_at INTEGER NOT NULL, token INTEGER NOT NULL, leased INTEGER NOT NULL, woken INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS outbox_by_due ON outbox (due_at, key);`

export const sqliteOutbox = ({ row, rows, write, step, look }: Database, clock: () => number): Outbox => ({
  add: (key, value) =>
    step(() => write('INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, 0, 0, 0)', key, value, clock()) === 1),
  get: key => look(() => row<{ value: string }>('SELECT value FROM outbox WHERE key = ?', key)?.value),
  claim: (limit, leaseMs) =>
    step(() => {
      const now = clock()
      const due = rows<Claimed>(
        'SELECT key, value, token + 1 AS token FROM outbox WHERE due_at <= ? ORDER BY due_at, key LIMIT ?',
        now,
        limit,
      )
      for (const { key, token } of due)
        write('UPDATE outbox SET due_at = ?, token = ?, leased = 1, woken = 0 WHERE key = ?', now + leaseMs, token, key)
      return due.map(({ key, value, token }) => ({ key, value, token }))
    }),
  write: ({ key, token }, value, next) =>
    step(() => {
      const now = clock()
      const item = row<{ woken: number }>(
        'SELECT woken FROM outbox WHERE key = ? AND token = ? AND leased = 1 AND due_at > ?',
        ...[key, token, now],
      )
      if (item === undefined) return false
      if (next === 'done' && item.woken === 0) write('DELETE FROM outbox WHERE key = ?', key)
      else if (typeof next === 'object' && 'leaseMs' in next)
        write('UPDATE outbox SET value = ?, due_at = ? WHERE key = ?', value, now + next.leaseMs, key)
      else
        write(
          'UPDATE outbox SET value = ?, due_at = ?, leased = 0, woken = 0 WHERE key = ?',
          ...[value, item.woken === 1 ? now : dueOf(next), key],
        )
      return true
    }),
  wake: key =>
    step(() => {
      const now = clock()
      const [which, keys] = key === undefined ? ['', []] : ['AND key = ?', [key]]
      write(`UPDATE outbox SET woken = 1 WHERE leased = 1 AND due_at > ? ${which}`, now, ...keys)
      write(`UPDATE outbox SET due_at = ? WHERE leased = 0 AND due_at > ? ${which}`, now, now, ...keys)
    }),
})

const dueOf = (next: NextTurn): number => (typeof next === 'object' && 'dueAt' in next ? next.dueAt : never)
