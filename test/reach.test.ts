// Whether two globs meet, against trying out every short text.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { globsMeet } from '../src/match/reach.ts'
import { glob } from '../src/value.ts'

const texts = ['']
for (const text of texts) if (text.length < 7) texts.push(`${text}a`, `${text}b`)

test('globs meet where there is a text that fits both', () => {
  const short = fc.stringMatching(/^[ab*]{0,4}$/)
  fc.assert(
    fc.property(short, short, (one, other) => {
      const both = texts.some(text => glob(one)(text) && glob(other)(text))
      expect(globsMeet(one, other)).toBe(both)
    }),
  )
})
