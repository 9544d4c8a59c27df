// What operators have stopped: one signed list on the shelf, kept in memory and read again all the time, so that a call asks nobody.
//   - While the store is away the list last known stays in force; a freeze that ends by itself ends by this process's clock.
//   - A list that cannot be read (signed with another key, or by a newer version) stops everything until an operator lifts that.
//   - The list only ever grows in `rev`. One that vanished, or is older than one seen before, was lost by the store and is put back.
import { HoldpointError, toError } from './errors.ts'
import type { Log } from './log.ts'
import type { Caller, Freeze } from './nouns.ts'
import { samePerson } from './people.ts'
import type { KeyRing } from './seal.ts'
import type { Shelf } from './store/store.ts'

const everyMs = 400
const attempts = 10
const freezesMax = 200
const place = 'freezes'

/** What may be stopped: a call by this caller, with these people behind it or deciding it, to this upstream. */
export type Stoppable = {
  readonly caller: Caller
  readonly upstream: string
  /** Keys of every person concerned; asked for only if a person is frozen. */
  readonly people: () => readonly string[]
}

export type Freezes = {
  /** Those in force, as last read. */
  now(): readonly Freeze[]
  /** The freeze in force, as last read, that stops this. */
  stopping(what: Stoppable): Freeze | undefined
  /** @throws frozen if there is one */
  refuse(what: Stoppable, hold?: string): void
  /** The freeze that stops a person, as last read. */
  ofPerson(keys: readonly string[]): Freeze | undefined
  /** Reads the list now. @throws store_unavailable */
  read(): Promise<void>
  /** Replaces the list by what `change` makes of it, here at once and everywhere else within a second. @throws store_unavailable, too_many_calls */
  change(change: (freezes: readonly Freeze[]) => readonly Freeze[]): Promise<void>
  /** Calls `see` whenever the list has changed, until the returned function is called. */
  follow(see: () => void): () => void
  close(): Promise<void>
}

type List = { readonly version: 1; readonly rev: number; readonly freezes: readonly Freeze[] }

const unreadable: Freeze = {
  id: 'unreadable',
  what: 'all',
  reason:
    'The list of freezes cannot be read here: it is signed with a key that is not in the ring, or was not written by Holdpoint.',
  by: { login: '', subject: '', name: 'Holdpoint' },
  madeAt: 0,
}

/** Reads the list once, then goes on following it. @throws store_unavailable */
export const followFreezes = async (shelf: Shelf, keys: KeyRing, clock: () => number, log: Log): Promise<Freezes> => {
  let known: { readonly raw: string | undefined; readonly list: List } = {
    raw: undefined,
    list: { version: 1, rev: 0, freezes: [] },
  }
  let away = false
  let closed = false
  let timer: NodeJS.Timeout | undefined
  const seers = new Set<() => void>()

  const take = (raw: string | undefined, list: List): void => {
    known = { raw, list }
    for (const see of seers) see()
  }

  const parsed = (raw: string): List => {
    const payload = keys.verify(raw, place)
    const list = payload === undefined ? undefined : (JSON.parse(payload) as List)
    if (list?.version === 1) return list
    log.error(
      'the list of freezes cannot be read: everything is stopped until an operator lifts the freeze "unreadable"',
    )
    return { version: 1, rev: known.list.rev, freezes: [unreadable] }
  }

  const read = async (): Promise<void> => {
    const raw = await shelf.get(place)
    if (raw === known.raw) return
    const list = raw === undefined ? undefined : parsed(raw)
    if (list !== undefined && list.rev >= known.list.rev) return take(raw, list)
    // Nobody takes the list away or turns it back; the store lost it.
    if (known.raw !== undefined) await shelf.put(place, known.raw, { when: raw === undefined ? 'absent' : { is: raw } })
  }

  const follow = async (): Promise<void> => {
    try {
      await read()
      if (away) log.info('freezes can be read again')
      away = false
    } catch (error) {
      if (!away) log.warn({ err: toError(error) }, 'freezes cannot be read; those last known stay in force')
      away = true
    }
    if (!closed) timer = setTimeout(turn, everyMs).unref()
  }
  let following = Promise.resolve()
  const turn = (): void => {
    following = follow()
  }

  await read()
  timer = setTimeout(turn, everyMs).unref()

  const now = (): readonly Freeze[] =>
    known.list.freezes.filter(freeze => freeze.untilAt === undefined || clock() < freeze.untilAt)

  const stopping = (what: Stoppable): Freeze | undefined =>
    known.list.freezes.length === 0 ? undefined : now().find(freeze => stops(freeze, what))

  return {
    now,
    stopping,
    refuse(what, hold) {
      const freeze = stopping(what)
      if (freeze === undefined) return
      throw new HoldpointError('frozen', `An operator stopped ${spelled(freeze)}: ${freeze.reason}`, {
        retryAfterS: retryS(freeze, clock()),
        ...(hold === undefined ? {} : { hold }),
      })
    },
    ofPerson: person => now().find(({ keys = [], what }) => what === 'person' && samePerson(keys, person)),
    read,
    async change(change) {
      for (let attempt = 0; attempt < attempts; attempt++) {
        await read()
        const { raw, list } = known
        const freezes = change(now())
        if (freezes.length > freezesMax)
          throw new HoldpointError(
            'too_many_calls',
            `There are ${freezesMax} freezes already. Lift some, or freeze all.`,
          )
        const next: List = { version: 1, rev: list.rev + 1, freezes }
        const signed = keys.sign(JSON.stringify(next), place)
        if (await shelf.put(place, signed, { when: raw === undefined ? 'absent' : { is: raw } }))
          return take(signed, next)
      }
      throw new HoldpointError('store_unavailable', 'Others change the freezes at the same time. Try again.')
    },
    follow(see) {
      seers.add(see)
      return () => seers.delete(see)
    },
    async close() {
      closed = true
      clearTimeout(timer)
      await following
    },
  }
}

const retryS = ({ untilAt }: Freeze, now: number): number =>
  untilAt === undefined ? 30 : Math.max(1, Math.min(30, Math.ceil((untilAt - now) / 1000)))

/** `caller agents:agent-7`, `everything` */
export const spelled = ({ what, value }: Pick<Freeze, 'what' | 'value'>): string =>
  what === 'all' ? 'everything' : `${what === 'person' ? 'everything of' : what} ${value ?? ''}`

const stops = ({ what, value, keys = [] }: Freeze, { caller, upstream, people }: Stoppable): boolean => {
  switch (what) {
    case 'all':
      return true
    case 'upstream':
      return value === upstream
    case 'person':
      return samePerson(keys, people())
    // Whoever acts anywhere in the call, by subject or by client, with or without its issuer's name.
    case 'caller':
      return [caller, ...caller.actors].some(({ issuer, subject, client }) =>
        [subject, client].some(id => id !== undefined && (value === id || value === `${issuer}:${id}`)),
      )
    default:
      // Something a newer version knows: it stops something, and what is not known here.
      return true
  }
}
