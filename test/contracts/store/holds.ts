// Holds for the store's contract: how one is opened, and how it gets into each state.
import { expect } from 'vitest'
import type { MoveName, State } from '../../../src/states.ts'
import { type Move, type Moved, type Opening, quiet, type Store } from '../../../src/store/store.ts'

export const hour = 3_600_000
export const day = 24 * hour

let count = 0

/** An opening that differs from every other one, unless `over` says otherwise. */
export const anOpening = (over: Partial<Opening> = {}): Opening => {
  const id = over.id ?? `hold-${String(++count).padStart(6, '0')}`
  return {
    id,
    caller: `caller of ${id}`,
    fingerprints: [`fingerprint of ${id}`],
    pauses: [],
    caps: { perCaller: 1000, holds: 100_000, bytes: 1e12 },
    head: `head of ${id}`,
    facts: {},
    sealed: { request: `request of ${id}`, view: `view of ${id}` },
    bytes: 10,
    dueAt: Date.now() + 1000 * hour,
    entry: JSON.stringify({ kind: 'hold.opened', hold: id }),
    ...over,
  }
}

/** A move on a hold as it is now, or as `over` says. */
export const move = async (store: Store, hold: string, name: MoveName, over: Partial<Move> = {}): Promise<Moved> => {
  const rev = over.rev ?? (await store.holds.read(hold))?.rev ?? 0
  const entry = quiet.has(name) ? {} : { entry: JSON.stringify({ kind: `hold.${name}`, hold }) }
  return store.holds.move({ hold, move: name, rev, ...entry, ...over })
}

/** As `move`, and it must succeed. */
export const moved = async (
  store: Store,
  hold: string,
  name: MoveName,
  over: Partial<Move> = {},
): Promise<Extract<Moved, { word: 'moved' }>> => {
  const answer = await move(store, hold, name, over)
  if (answer.word !== 'moved') expect.fail(`${name} was answered ${JSON.stringify(answer)}`)
  return answer
}

/** How a hold gets into each state. */
export const ways: Record<State, readonly MoveName[]> = {
  pending: [],
  approved: ['approve'],
  released: ['approve', 'release'],
  delivered: ['approve', 'release', 'deliver'],
  failed: ['approve', 'release', 'fail'],
  unknown: ['approve', 'release', 'lose'],
  denied: ['deny'],
  expired: ['expire'],
  cancelled: ['cancel'],
  lapsed: ['approve', 'lapse'],
  revoked: ['approve', 'revoke'],
  void: ['void'],
}

/** Opens a hold, brings it into a state, and answers its id. */
export const aHold = async (store: Store, state: State = 'pending', over: Partial<Opening> = {}): Promise<string> => {
  const opening = anOpening(over)
  expect(await store.holds.open(opening)).toEqual({ word: 'opened', id: opening.id, rev: 1 })
  for (const name of ways[state]) await moved(store, opening.id, name)
  return opening.id
}
