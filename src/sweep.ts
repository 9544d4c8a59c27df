// The clock's way: makes visible what the store's clock already decided (every move checks its own deadline), takes up approved
// async holds that nobody sends, and loses leases that nobody renews. Any replica may sweep; a hold moves once.
import { toError } from './errors.ts'
import { endToldMs, isNewer, uncertainMs, verifiedHold } from './hold.ts'
import type { Entry, Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import { aboutHold } from './record.ts'
import type { Move, StoredHold } from './store/store.ts'

const everyMs = 500
const batch = 200

export type Sweep = { close(): Promise<void> }

/** @param deliver sends an approved async hold; called for those that nobody has sent yet. */
export const sweep = (parts: Parts, deliver: (id: string) => Promise<void>): Sweep => {
  let closed = false
  let timer: NodeJS.Timeout
  let turn: Promise<void> = Promise.resolve()
  let turns = 0
  let down = false
  const stuck = new Set<string>()

  const once = async (): Promise<void> => {
    try {
      // Holds that cannot be moved stay at the front of the list: look past them.
      const due = await parts.store.holds.due(batch + stuck.size)
      // At once, so that a store that waits for its disk waits once for many.
      await Promise.all(
        due.map(async id => {
          try {
            if (await overdue(parts, id)) stuck.delete(id)
            else stuck.add(id)
          } catch (error) {
            stuck.add(id)
            parts.log.warn({ err: toError(error), hold: id }, 'an overdue hold could not be moved')
          }
        }),
      )
      if (turns++ % 10 === 0) await orphans(parts, deliver)
      down = false
    } catch (error) {
      if (!down) parts.log.warn({ err: toError(error) }, 'the sweep cannot reach the store')
      down = true
    }
  }
  const loop = (): void => {
    turn = once().finally(() => {
      if (!closed) timer = setTimeout(loop, everyMs)
    })
  }
  loop()
  return {
    async close() {
      closed = true
      clearTimeout(timer)
      await turn
    },
  }
}

/**
 * Moves one hold whose deadline has passed, if it still has. A record that is not signed by us, or does not read, can never be
 * approved: it is closed, so that it holds up nobody; one of a newer schema is left to newer replicas.
 * @returns false if it stays as it is
 */
export const overdue = async (parts: Parts, id: string): Promise<boolean> => {
  const stored = await parts.store.holds.read(id)
  if (stored === undefined) return true
  const hold = verifiedHold(parts.keys, stored)
  if (hold === undefined) return isNewer(parts.keys, stored) ? false : closeUnverified(parts, stored)
  if (hold.dueAt === undefined || hold.dueAt > hold.now) return true
  const moved = await parts.store.holds.move({
    ...over(hold),
    hold: id,
    rev: hold.rev,
    afterAt: hold.dueAt,
    dueAt: null,
    entry: parts.record.entry(entryOf(hold)),
  })
  if (moved.word !== 'epoch') return true
  const why = 'The store was restarted without keeping its data on disk.'
  await parts.store.holds.move({
    hold: id,
    move: 'void',
    rev: hold.rev,
    facts: { why, closedAt: hold.now },
    dueAt: null,
    findableUntilAt: null,
    entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.void', detail: why }),
  })
  return true
}

const closeUnverified = async (parts: Parts, stored: StoredHold): Promise<boolean> => {
  const detail =
    'its record does not verify: it was changed in the store, or signed with a key that is no longer in the ring'
  parts.log.error({ hold: stored.id, state: stored.state }, detail)
  const closed: Pick<Move, 'hold' | 'rev' | 'dueAt' | 'findableUntilAt' | 'facts'> = {
    hold: stored.id,
    rev: stored.rev,
    dueAt: null,
    findableUntilAt: null,
    facts: { closedAt: stored.now, why: detail },
  }
  const move = stored.state === 'released' ? 'lose' : 'void'
  const entry = parts.record.entry({ kind: move === 'lose' ? 'hold.unknown' : 'hold.void', hold: stored.id, detail })
  const moved = await parts.store.holds.move({ ...closed, move, entry })
  return moved.word === 'moved' || moved.word === 'missing'
}

const over = (hold: Hold): Pick<Move, 'move' | 'facts' | 'findableUntilAt' | 'remember' | 'fence'> => {
  const closedAt = hold.now
  switch (hold.state) {
    case 'pending':
      return { move: 'expire', facts: { closedAt }, findableUntilAt: closedAt + endToldMs }
    case 'approved':
      return { move: 'lapse', facts: { closedAt }, findableUntilAt: closedAt + endToldMs }
    default:
      // A lease that was not renewed: its holder is gone, and whether the upstream acted is not known.
      return {
        move: 'lose',
        fence: hold.fence,
        facts: { closedAt, delivery: { state: 'unknown', at: closedAt } },
        // A tunnel is opened anew at any time; what it did is no single call that could be done twice.
        findableUntilAt: hold.head.upgrade === undefined ? closedAt + uncertainMs : null,
        remember: true,
      }
  }
}

const entryOf = (hold: Hold): Entry => {
  const kind = hold.state === 'pending' ? 'hold.expired' : hold.state === 'approved' ? 'hold.lapsed' : 'hold.unknown'
  return { ...aboutHold(hold.head), kind }
}

const orphans = async (parts: Parts, deliver: (id: string) => Promise<void>): Promise<void> => {
  let after: string | undefined
  do {
    const page = await parts.store.holds.list({
      states: ['approved'],
      order: 'due',
      limit: batch,
      ...(after === undefined ? {} : { after }),
    })
    for (const hold of page.holds) if (hold.facts.async) void deliver(hold.id)
    after = page.next
  } while (after !== undefined)
}
