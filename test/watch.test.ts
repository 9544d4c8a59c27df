// Who waits for a hold is told of what happens to it, by revision, and of nothing else.
import { expect, test } from 'vitest'
import { makeLog } from '../src/log.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { StoreEvent } from '../src/store/store.ts'
import { watchStore } from '../src/watch.ts'
import { aHold, moved } from './contracts/store/holds.ts'

test('each is told the revisions of its own hold, however many wait for it, until it listens no more', async () => {
  const store = await sqliteStore({ path: ':memory:' })
  const watch = watchStore(store, makeLog('silent'))
  const [first, second] = [await aHold(store), await aHold(store)]
  const told: { readonly [who: string]: number[] } = { one: [], other: [], left: [] }
  // Of its opening it may hear or not.
  const listening = Object.values(told).map(revs => watch.on(first, rev => void (rev > 1 && revs.push(rev))))
  listening[2]?.()
  // What is told last has told everybody before it.
  const last = new Promise<void>(resolve => {
    watch.follow(event => event.kind === 'hold' && event.state === 'denied' && resolve())
  })
  await moved(store, first, 'approve')
  await moved(store, first, 'revoke')
  await moved(store, second, 'deny')
  await last
  expect(told).toEqual({ one: [2, 3], other: [2, 3], left: [] })
  await watch.close()
  await store.close()
})

test('after a gap everybody is told, with a revision above all', async () => {
  const store = await sqliteStore({ path: ':memory:' })
  const gap: StoreEvent = { kind: 'gap', id: '1' }
  const gone = Promise.withResolvers<void>()
  const watch = watchStore(
    {
      ...store,
      async *events(_, signal) {
        await gone.promise
        yield gap
        await new Promise(resolve => signal.addEventListener('abort', resolve))
      },
    },
    makeLog('silent'),
  )
  const revs = ['h_1', 'h_2'].map(id => new Promise<number>(resolve => watch.on(id, resolve)))
  gone.resolve()
  expect(await Promise.all(revs)).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY])
  await watch.close()
  await store.close()
})
