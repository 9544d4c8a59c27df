// Carries the log from the store to the trails, in order, from where each trail stands. One replica does it at a time, by a lease; a trail
// that fails is tried again and holds up nobody but itself. A store that went back in time (a server without its newest writes, a file put
// back from a backup) gives numbers a second time: so a trail stands at an entry, not at a number.
import { randomUUID } from 'node:crypto'
import { toError } from '../errors.ts'
import type { Log as ProgramLog } from '../log.ts'
import type { LogEntry, Store } from '../store/store.ts'
import type { Line, Trail } from './trail.ts'

const everyMs = 200
const leaseMs = 5_000
/** So long a closing replica waits for whoever has the lease: if that one has died, its lease has ended by then. */
const closeMs = leaseMs + 1_000
const batch = 500

export type Pump = {
  /** Carries what is there now. */
  flush(): Promise<void>
  /** Everything that is in the store by now is carried, by this replica or by another, unless the store or a trail is away. */
  close(): Promise<void>
}

/** The entry that a trail was given last; `text` is not known of a trail that cannot tell. */
type Place = { readonly seq: number; readonly text?: string }

export const pump = (store: Store, trails: readonly Trail[], log: ProgramLog): Pump => {
  const { shelf } = store
  const me = randomUUID()
  const places = new Map<string, Place>()
  const failing = new Set<string>()
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let turn: Promise<unknown> = Promise.resolve()

  // A SQLite file has one process. After a crash nobody has to wait for the lease of the one that died.
  const alone = store.kind === 'sqlite'
  const renewed = async (): Promise<boolean> =>
    alone || shelf.put('lease:trails', me, { ttlMs: leaseMs, when: { is: me } })
  const leased = async (): Promise<boolean> => {
    if (await renewed()) return true
    // Others carry or have carried: where the trails stand is read again when it is our turn.
    places.clear()
    return shelf.put('lease:trails', me, { ttlMs: leaseMs, when: 'absent' })
  }

  const shelved = async (trail: Trail): Promise<number> => Number((await shelf.get(`trail:${trail.name}`)) ?? 0)
  const placeOf = async (trail: Trail): Promise<Place> => {
    const tail = await trail.tail()
    return tail === undefined ? { seq: await shelved(trail) } : (tail.at(-1) ?? { seq: 0 })
  }
  /** The newest entry that both have. */
  const common = async (trail: Trail): Promise<Place> => {
    const tail = await trail.tail()
    if (tail === undefined) return { seq: await shelved(trail) }
    for (const line of tail.toReversed()) {
      const [entry] = await store.log.read(line.seq - 1, 1)
      if (entry !== undefined && lineOf(entry).text === line.text) return line
    }
    return { seq: 0 }
  }

  const carry = async (trail: Trail): Promise<void> => {
    let place = places.get(trail.name) ?? (await placeOf(trail))
    for (;;) {
      // What was carried last is read once more, to see that it is still there.
      const known = place.text !== undefined
      const lines = (await store.log.read(known ? place.seq - 1 : place.seq, batch)).map(lineOf)
      const full = lines.length === batch
      if (known && lines.shift()?.text !== place.text) {
        log.error(
          { trail: trail.name, seq: place.seq },
          'the store has lost audit entries that this trail has; what the store has after the newest common entry is carried again',
        )
        place = await common(trail)
        continue
      }
      const last = lines.at(-1)
      if (last !== undefined) {
        await trail.write(lines)
        place = last
      }
      places.set(trail.name, place)
      if (last === undefined) return
      await shelf.put(`trail:${trail.name}`, String(last.seq))
      if (!full || !(await renewed())) return
    }
  }

  /** False if another replica carries. */
  const once = async (): Promise<boolean> => {
    try {
      if (!(await leased())) return false
    } catch {
      return true
    }
    for (const trail of trails) {
      try {
        await carry(trail)
        failing.delete(trail.name)
      } catch (error) {
        places.delete(trail.name)
        if (!failing.has(trail.name))
          log.error(
            { err: toError(error), cause: error, trail: trail.name },
            'a trail does not take audit entries; they wait in the store',
          )
        failing.add(trail.name)
      }
    }
    return true
  }
  const loop = (): void => {
    turn = turn.then(once).finally(() => {
      if (!closed) timer = setTimeout(loop, everyMs).unref()
    })
  }
  if (trails.length > 0) loop()

  /** Carries the rest, or waits until another replica has. */
  const finish = async (): Promise<void> => {
    const [newest] = await store.log.newest(undefined, 1)
    const carried = async (): Promise<boolean> => {
      for (const trail of trails) if ((await shelved(trail)) < (newest?.seq ?? 0)) return false
      return true
    }
    const untilAt = performance.now() + closeMs
    while (!(await once()) && !(await carried())) {
      if (performance.now() > untilAt) {
        log.error('another replica has the trails and does not carry the newest audit entries; they wait in the store')
        return
      }
      await new Promise(resolve => setTimeout(resolve, everyMs / 2))
    }
    if (!alone) await shelf.put('lease:trails', me, { ttlMs: 0, when: { is: me } })
  }

  return {
    async flush() {
      turn = turn.then(once)
      await turn
    },
    async close() {
      closed = true
      clearTimeout(timer)
      await turn
      // With the store away nothing can be carried: it goes on from here at the next start.
      if (trails.length > 0) await finish().catch(() => undefined)
    },
  }
}

const lineOf = ({ seq, at, json }: LogEntry): Line => ({
  seq,
  text: `{"seq":${seq},"at":"${new Date(at).toISOString()}",${json.slice(1)}`,
})
