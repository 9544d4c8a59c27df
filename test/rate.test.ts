import fc from 'fast-check'
import { expect, test } from 'vitest'
import { callRate } from '../src/rate.ts'

const started = (windowMs = 1_000) => {
  let at = 1_000
  const rate = callRate(() => at, windowMs)
  return {
    rate,
    pass: (ms: number) => {
      at += ms
    },
  }
}

test('a second’s worth at once, then one at a time', () => {
  const { rate, pass } = started()
  expect(Array.from({ length: 12 }, () => rate.early('a', 10)).map(ms => ms > 0)).toEqual([
    ...Array(10).fill(false),
    true,
    true,
  ])
  expect(rate.early('b', 10)).toBe(0)
  pass(100)
  expect(rate.early('a', 10)).toBe(0)
  expect(rate.early('a', 10)).toBe(100)
})

test('0 is no limit, and one in a second is one', () => {
  const { rate, pass } = started()
  for (let count = 0; count < 1_000; count++) expect(rate.early('a', 0)).toBe(0)
  expect(rate.early('a', 1)).toBe(0)
  expect(rate.early('a', 1)).toBe(1_000)
  pass(1_000)
  expect(rate.early('a', 1)).toBe(0)
})

test('in no second does anybody get more than twice the rate, nor in a long time more than the rate and a second’s worth', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.array(fc.nat(200), { maxLength: 300 }), (perSecond, pauses) => {
      const { rate, pass } = started()
      let passed = 0
      let time = 0
      for (const ms of pauses) {
        pass(ms)
        time += ms
        if (rate.early('a', perSecond) === 0) passed++
      }
      expect(passed).toBeLessThanOrEqual(perSecond + (time * perSecond) / 1000 + 1)
    }),
    { numRuns: 50 },
  )
})

test('who stopped calling is forgotten, and a crowd does not fill the memory', () => {
  const { rate, pass } = started()
  for (let count = 0; count < 25_000; count++) expect(rate.early(`caller ${count}`, 1)).toBe(0)
  pass(1_000)
  expect(rate.early('caller 24999', 1)).toBe(0)
  expect(rate.early('caller 24999', 1)).toBeGreaterThan(0)
})

test('looking counts nothing, and says the same', () => {
  const { rate, pass } = started(60_000)
  for (let count = 0; count < 100; count++) expect(rate.look('a', 3)).toBe(0)
  expect([1, 2, 3].map(() => rate.early('a', 3))).toEqual([0, 0, 0])
  expect([rate.look('a', 3), rate.early('a', 3), rate.look('a', 3)]).toEqual([20_000, 20_000, 20_000])
  expect([rate.look('b', 3), rate.look('a', 0)]).toEqual([0, 0])
  pass(20_000)
  expect([rate.look('a', 3), rate.early('a', 3), rate.look('a', 3)]).toEqual([0, 0, 20_000])
})
