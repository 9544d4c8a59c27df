// What many waiting calls teach V8 must not outlast them.
import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'

// A thousand calls wait through some collections, and go; what is made for the next one should not be old from the start.
const burst = `
const call = number => ({ number, headers: [number, { number }] })
;%PrepareFunctionForOptimization(call)
for (let round = 0; round < 20; round++) {
  const waiting = Array.from({ length: 1000 }, (_, number) => call(number))
  gc({ type: 'minor' })
  if (round === 10) %OptimizeFunctionOnNextCall(call)
  waiting.length = 0
}
const next = call(1)
console.log(%InYoungGeneration(next), %InYoungGeneration(next.headers))`

const afterBurst = (before: string): string =>
  execFileSync(
    process.execPath,
    [
      '--allow-natives-syntax',
      '--expose-gc',
      '--max-semi-space-size=1',
      '--input-type=module',
      '--eval',
      `${before}\n${burst}`,
    ],
    { encoding: 'utf8', cwd: new URL('..', import.meta.url) },
  ).trim()

test('by itself V8 takes what many waiting calls have made for long-lived', () => {
  expect(afterBurst('')).toBe('false false')
})

test('a gate keeps young what a call makes', () => {
  expect(afterBurst(`import './src/heap.ts'`)).toBe('true true')
})
