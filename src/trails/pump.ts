// Carries the log from the store to the trails, in order, from where each trail stands. One replica does it at a time, by a lease;
// a trail that fails is tried again and holds up nobody but itself.
import { randomUUID } from 'node:crypto'
import { toError } from '../errors.ts'
import type { Log as ProgramLog } from '../log.ts'
import type { Store } from '../store/store.ts'
import type { Line, Trail } from './trail.ts'

const everyMs = 200
const leaseMs = 5_000
const batch = 500

export type Pump = {
  /** Carries what is there now. */
  flush(): Promise<void>
  close(): Promise<void>
}

export const pump = (store: Store, trails: readonly Trail[], log: ProgramLog): Pump => {
  const me = randomUUID()
  const cursors = new Map<string, number>()
  const failing = new Set<string>()
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let turn: Promise<void> = Promise.resolve()

  const leased = async (): Promise<boolean> => {
    const { shelf } = store
    if (await shelf.put('lease:trails', me, { ttlMs: leaseMs, when: 'absent' })) return true
    return shelf.put('lease:trails', me, { ttlMs: leaseMs, when: { is: me } })
  }
  const startOf = async (trail: Trail): Promise<number> => {
    const reached = await trail.reached()
    return reached ?? Number((await store.shelf.get(`trail:${trail.name}`)) ?? 0)
  }
  const carry = async (trail: Trail): Promise<void> => {
    let at = cursors.get(trail.name) ?? (await startOf(trail))
    cursors.set(trail.name, at)
    for (;;) {
      const entries = await store.log.read(at, batch)
      const last = entries.at(-1)
      if (last === undefined) return
      await trail.write(
        entries.map(
          ({ seq, at: time, json }): Line => ({
            seq,
            text: `{"seq":${seq},"at":"${new Date(time).toISOString()}",${json.slice(1)}`,
          }),
        ),
      )
      at = last.seq
      cursors.set(trail.name, at)
      await store.shelf.put(`trail:${trail.name}`, String(at))
      if (entries.length < batch) return
    }
  }
  const once = async (): Promise<void> => {
    try {
      if (!(await leased())) {
        // Another replica carries; where the trails stand is read again when it is our turn.
        cursors.clear()
        return
      }
    } catch {
      return
    }
    for (const trail of trails) {
      try {
        await carry(trail)
        failing.delete(trail.name)
      } catch (error) {
        cursors.delete(trail.name)
        if (!failing.has(trail.name))
          log.error(
            { err: toError(error), cause: error, trail: trail.name },
            'a trail does not take audit entries; they wait in the store',
          )
        failing.add(trail.name)
      }
    }
  }
  const loop = (): void => {
    turn = turn.then(once).finally(() => {
      if (!closed) timer = setTimeout(loop, everyMs).unref()
    })
  }
  if (trails.length > 0) loop()

  return {
    flush() {
      turn = turn.then(once)
      return turn
    },
    async close() {
      closed = true
      clearTimeout(timer)
      await turn
      if (trails.length > 0) await once()
      await store.shelf.take('lease:trails').catch(() => undefined)
    },
  }
}
