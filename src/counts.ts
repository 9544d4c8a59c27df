// How the rules fared: of the newest holds, how many of each rule waited, were approved, denied or left to expire, how long a decision took,
// and what was hidden in them. Bounded by a number of holds, read in pages, and kept for a few seconds.
import type { Counts, RuleCounts } from './console/desk.ts'
import { verifiedHold } from './hold.ts'
import type { Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import { states } from './states.ts'

const holdsMax = 1_000
const pageMax = 200
const keptMs = 15_000
const pathsMax = 5

export const counting = ({ store, keys, clock }: Parts): (() => Promise<Counts>) => {
  let readAt = Number.NEGATIVE_INFINITY
  let known: Promise<Counts> | undefined

  const read = async (): Promise<Counts> => {
    const holds: Hold[] = []
    let looked = 0
    let after: string | undefined
    do {
      const page = await store.holds.list({
        ...{ states, order: 'newest' as const, limit: Math.min(pageMax, holdsMax - looked) },
        ...(after === undefined ? {} : { after }),
      })
      looked += page.holds.length
      holds.push(...page.holds.flatMap(stored => verifiedHold(keys, stored) ?? []))
      after = page.next
    } while (after !== undefined && looked < holdsMax)
    const names = new Set(holds.flatMap(({ head }) => head.rules.map(rule => rule.name)))
    return {
      of: looked,
      rules: Object.fromEntries(
        [...names].map(name => [
          name,
          countsOf(holds.filter(({ head }) => head.rules.some(rule => rule.name === name))),
        ]),
      ),
    }
  }

  return () => {
    if (known === undefined || clock() - readAt >= keptMs) {
      readAt = clock()
      const reading = read()
      known = reading
      reading.catch(() => {
        if (known === reading) known = undefined
      })
    }
    return known
  }
}

export const countsOf = (holds: readonly Hold[]): RuleCounts => {
  const waiting = holds.filter(({ state }) => state === 'pending').length
  const expired = holds.filter(({ state }) => state === 'expired').length
  const decisions = holds.flatMap(({ state, head, verdicts }) => {
    const last = state === 'pending' ? undefined : verdicts.at(-1)
    return last === undefined ? [] : [{ verdict: last.verdict, ms: last.at - head.openedAt }]
  })
  const denied = decisions.filter(({ verdict }) => verdict === 'deny').length
  const median = medianOf(decisions.map(({ ms }) => ms))
  return {
    held: holds.length,
    waiting,
    approved: decisions.length - denied,
    denied,
    expired,
    ...(holds.length === waiting ? {} : { expiry_rate: expired / (holds.length - waiting) }),
    ...(median === undefined ? {} : { median_decision_s: Math.round(median / 1000) }),
    partly_seen: holds.filter(({ head }) => head.unseen !== undefined).length,
    hidden_at: hiddenAt(holds),
  }
}

const medianOf = (values: readonly number[]): number | undefined => {
  const sorted = values.toSorted((one, other) => one - other)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? undefined : (low + high) / 2
}

// Elements of a list count as one path, as rules write it: `json./users/*/password`.
const hiddenAt = (holds: readonly Hold[]): RuleCounts['hidden_at'] => {
  const counted = new Map<string, number>()
  for (const { head } of holds) {
    const paths = new Set(
      head.unseen?.paths.map(path => (path.startsWith('json.') ? path.replace(/\/\d+(?=\/|$)/g, '/*') : path)),
    )
    for (const path of paths) counted.set(path, (counted.get(path) ?? 0) + 1)
  }
  return [...counted]
    .map(([path, holds]) => ({ path, holds }))
    .sort((one, other) => other.holds - one.holds)
    .slice(0, pathsMax)
}
