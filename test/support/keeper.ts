// A process of its own that keeps a SQLite store open until it is killed: opens and releases one hold, says its id, and waits.
import { sqliteStore } from '../../src/store/sqlite.ts'

const store = await sqliteStore({ path: process.argv[2] ?? '' })
const id = 'kept-hold'
await store.holds.open({
  id,
  caller: 'caller',
  fingerprints: ['fingerprint'],
  pauses: [],
  caps: { perCaller: 1, holds: 1, bytes: 1 },
  head: 'head',
  facts: {},
  sealed: { request: `request of ${id}`, view: 'view' },
  bytes: 1,
  dueAt: Date.now() + 3_600_000,
  entry: '{}',
})
await store.holds.move({ hold: id, move: 'approve', rev: 1, entry: '{}' })
await store.holds.move({ hold: id, move: 'release', rev: 2, entry: '{}', durable: true })
process.stdout.write(`${id}\n`)
setInterval(() => undefined, 60_000)
