// The table of states and moves: against its second writing in tables/moves.json, and the properties that deliveries rest on.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { live, type MoveName, moves, next, type State, states, taskStatus } from '../src/states.ts'

type Table = { readonly [state: string]: { readonly [move: string]: string } }
const { about: _, ...table } = JSON.parse(readFileSync(new URL('tables/moves.json', import.meta.url), 'utf8')) as Table
const names = Object.keys(moves) as MoveName[]

/** Every state that can be reached from one, by any number of moves. */
const reachable = (from: State, without: readonly MoveName[] = []): Set<State> => {
  const found = new Set<State>([from])
  for (const state of found) {
    for (const name of names) {
      const to = without.includes(name) ? undefined : next(name, state)
      if (to !== undefined) found.add(to)
    }
  }
  return found
}

describe('the table', () => {
  test('names every state and every move', () => {
    expect(Object.keys(table).sort()).toEqual([...states].sort())
    expect([...new Set(Object.values(table).flatMap(row => Object.keys(row)))].sort()).toEqual([...names].sort())
  })

  test.each(states.flatMap(state => names.map(name => [name, state, table[state]?.[name]] as const)))(
    '%s from %s: %s',
    (name, state, to) => {
      expect(next(name, state)).toBe(to)
    },
  )
})

describe('so that nothing is sent twice, or unasked', () => {
  test('every state can be reached, and only approve leads to approved, but for what a grant let go and was given back', () => {
    expect(reachable('pending')).toEqual(new Set(states))
    expect(reachable('pending', ['approve', 'grant']).has('approved')).toBe(false)
    expect(reachable('pending', ['approve', 'return']).has('approved')).toBe(false)
  })

  test('nothing is released but by release, from approved, or by a grant, while nobody has decided', () => {
    for (const state of states)
      for (const name of names)
        if (next(name, state) === 'released' && state !== 'released')
          expect([
            ['release', 'approved'],
            ['grant', 'pending'],
          ]).toContainEqual([name, state])
  })

  test('nothing closed is ever live again', () => {
    for (const state of states)
      if (!live.has(state)) for (const to of reachable(state)) expect(live.has(to), `${state} to ${to}`).toBe(false)
  })

  test('what was denied, expired, cancelled, lapsed, revoked, void or failed is over', () => {
    for (const state of ['denied', 'expired', 'cancelled', 'lapsed', 'revoked', 'void', 'failed'] as const)
      expect(reachable(state)).toEqual(new Set([state]))
  })
})

test('every live state can be ended by the clock', () => {
  expect(next('expire', 'pending')).toBe('expired')
  expect(next('lapse', 'approved')).toBe('lapsed')
  expect(next('lose', 'released')).toBe('unknown')
  expect([...live].sort()).toEqual(['approved', 'pending', 'released'])
})

test('every state has a status that a task may show; approved ones are never shown as pending', () => {
  expect(Object.keys(taskStatus).sort()).toEqual([...states].sort())
  for (const state of reachable('approved'))
    if (state !== 'void' && state !== 'failed') expect(taskStatus[state]).toBe('approved')
  expect(taskStatus.pending).toBe('pending')
})
