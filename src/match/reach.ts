// Tests on a resource that stands for several: a list reaches every object in it, and of what is created nobody knows the name yet. What
// fits its text fits; what fits only some of what it reaches is unknown; only what fits none of it is a no.
import type { ValueTest } from '../settings.ts'
import { compileTest, glob, isList, negate, type Truth } from '../value.ts'

/** @param reach a glob that everything it stands for fits */
export type ReachTest = (text: string, reach: string) => Truth

export const compileReach = (test: ValueTest): ReachTest => {
  if (typeof test === 'string') {
    const fits = glob(test)
    return (text, reach) => fits(text) || (globsMeet(test, reach) ? 'unknown' : false)
  }
  if (isList(test)) {
    const items = test.map(compileReach)
    return (text, reach) => strongest(items.map(item => item(text, reach)))
  }
  if (test !== null && typeof test === 'object' && test.not !== undefined) {
    const { not, ...rest } = test
    const [inner, others] = [compileReach(not), Object.keys(rest).length === 0 ? undefined : compileReach(rest)]
    return (text, reach) => {
      const answers = [negate(inner(text, reach)), others?.(text, reach) ?? true]
      return answers.includes(false) ? false : answers.includes('unknown') ? 'unknown' : true
    }
  }
  const exact = compileTest(test, 'text')
  return text => exact(text) === true || 'unknown'
}

const strongest = (answers: readonly Truth[]): Truth =>
  answers.includes(true) ? true : answers.includes('unknown') ? 'unknown' : false

/** Is there a text that fits both globs? */
export const globsMeet = (one: string, other: string): boolean => {
  if (!beginAlike(one, other)) return false
  // `below[j]`: can what is left of `one` meet what is left of `other` from j on?
  let below: boolean[] = []
  for (let i = one.length; i >= 0; i--) {
    const row: boolean[] = []
    for (let j = other.length; j >= 0; j--) {
      const [a, b] = [one[i], other[j]]
      row[j] =
        (a === undefined && b === undefined) ||
        (a !== undefined && a === b && below[j + 1] === true) ||
        (a === '*' && (below[j] === true || (b !== undefined && row[j + 1] === true))) ||
        (b === '*' && (row[j + 1] === true || (a !== undefined && below[j] === true)))
    }
    below = row
  }
  return below[0] === true
}

/** Nearly all that do not meet differ before their first star. */
const beginAlike = (one: string, other: string): boolean => {
  for (let at = 0; at < one.length && at < other.length; at++) {
    if (one[at] === '*' || other[at] === '*') return true
    if (one[at] !== other[at]) return false
  }
  return true
}
