// Tests on values, compiled once and three-valued: what cannot be told is `unknown`, and unknown is never taken for a yes or a no.
// Absent is false (only `exists: false` asks for it); another JSON type than the test's is unknown; null is compared exactly.
import { RE2JS } from 're2js'
import type { Json } from './nouns.ts'
import type { ValueTest } from './settings.ts'

export type Truth = boolean | 'unknown'

export type Test = (value: Json | undefined) => Truth

/** `json` values have a type of their own; `text` values (query, headers, forms) are strings in which numbers and booleans are spelled. */
export type Source = 'json' | 'text'

type Operators = Exclude<ValueTest, string | number | boolean | null | readonly ValueTest[]>
type Scalar = string | number | boolean | null

/** A test on one value. Throws an Error that says what is wrong if `matches` is no regular expression. */
export const compileTest = (test: ValueTest, source: Source = 'json'): Test => {
  if (typeof test === 'string') return onText(glob(test))
  if (test === null || typeof test !== 'object') return equals(test, source)
  if (isList(test)) return anyOf(test.map(item => compileTest(item, source)))
  return allOf(operators(test, source))
}

/** One test on one value, where it is not worth keeping the compiled test. */
export const testValue = (test: ValueTest, value: Json | undefined): Truth => compileTest(test)(value)

/** `*` matches any characters, everything else itself. Linear: no backtracking, whatever the value. */
export const glob = (pattern: string): ((text: string) => boolean) => {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return text => text === pattern
  return text => {
    const end = text.length - last.length
    if (end < first.length || !text.startsWith(first) || !text.endsWith(last)) return false
    let at = first.length
    for (const part of rest) {
      const found = text.indexOf(part, at)
      if (found < 0 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  }
}

/** The same pattern for values whose letters have no case. */
export const caseless = (pattern: string): string => `(?i)${pattern}`

/** A linear-time regular expression over the whole value; `.` also matches a line break, so that none hides what follows it. */
export const regex = (pattern: string): ((text: string) => boolean) => {
  const compiled = RE2JS.compile(pattern, RE2JS.DOTALL)
  return text => compiled.matches(text)
}

export const negate = (truth: Truth): Truth => (truth === 'unknown' ? truth : !truth)

export const isList = (test: ValueTest | undefined): test is readonly ValueTest[] => Array.isArray(test)

const onText =
  (fits: (text: string) => boolean): Test =>
  value =>
    value === undefined ? false : typeof value === 'string' ? fits(value) : 'unknown'

/** The number that a text spells without any doubt, or undefined. */
const spelled = (text: string): number | undefined => {
  const number = /^-?(0|[1-9]\d{0,14})(\.\d{1,10})?$/.test(text) ? Number(text) : Number.NaN
  return Math.abs(number) <= Number.MAX_SAFE_INTEGER ? number : undefined
}

const equals = (wanted: Exclude<Scalar, string>, source: Source): Test => {
  if (wanted === null) return value => (value === undefined ? false : source === 'text' ? 'unknown' : value === null)
  if (typeof wanted === 'number') return onNumber(source, number => number === wanted)
  return value => {
    if (value === undefined) return false
    if (typeof value === 'boolean') return value === wanted
    return source === 'text' && (value === 'true' || value === 'false') ? value === String(wanted) : 'unknown'
  }
}

const onNumber =
  (source: Source, fits: (number: number) => boolean): Test =>
  value => {
    if (value === undefined) return false
    const number = source === 'text' && typeof value === 'string' ? spelled(value) : value
    return typeof number === 'number' ? fits(number) : 'unknown'
  }

const exactly = (wanted: Scalar, source: Source): Test =>
  typeof wanted === 'string' ? onText(text => text === wanted) : equals(wanted, source)

const contains =
  (wanted: string | number | boolean): Test =>
  value => {
    if (value === undefined) return false
    if (typeof value === 'string') return typeof wanted === 'string' ? value.includes(wanted) : 'unknown'
    if (!Array.isArray(value)) return 'unknown'
    if (value.includes(wanted)) return true
    return value.every(item => typeof item === typeof wanted) ? false : 'unknown'
  }

// An item never takes away from the others: what one of them cannot tell, no other's certain no can.
const anyOf =
  (tests: readonly Test[]): Test =>
  value => {
    let truth: Truth = false
    for (const test of tests) {
      const one = test(value)
      if (one === true) return true
      if (one === 'unknown') truth = one
    }
    return truth
  }

const allOf =
  (tests: readonly Test[]): Test =>
  value => {
    let truth: Truth = true
    for (const test of tests) {
      const one = test(value)
      if (one === false) return false
      if (one === 'unknown') truth = one
    }
    return truth
  }

const operators = (test: Operators, source: Source): Test[] => {
  const { is, not, over, under, matches, exists } = test
  const tests: Test[] = []
  if (exists !== undefined) tests.push(value => (value !== undefined) === exists)
  if (is !== undefined)
    tests.push(Array.isArray(is) ? anyOf(is.map(item => exactly(item, source))) : exactly(is as Scalar, source))
  if (over !== undefined) tests.push(onNumber(source, number => number > over))
  if (under !== undefined) tests.push(onNumber(source, number => number < under))
  if (matches !== undefined) tests.push(onText(regex(matches)))
  if (test.contains !== undefined) tests.push(contains(test.contains))
  if (not !== undefined) {
    const inner = compileTest(not, source)
    tests.push(value => (value === undefined ? false : negate(inner(value))))
  }
  return tests
}
