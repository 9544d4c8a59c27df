// What the texts in a test ask for, so that a test which can never fit is refused where that is certain: a deny rule that never fits
// lets through what it was written against.
import type { ValueTest } from '../settings.ts'
import { glob, regex } from '../value.ts'

export type Asked = {
  readonly how: 'glob' | 'is' | 'matches' | 'contains' | 'scalar'
  readonly written: string
  readonly fits: (text: string) => boolean
}

/** Everything that a test, its lists and its `not` compare a text with. What is no text (`method: 5`) fits none. */
export const askedOf = (test: ValueTest | undefined): readonly Asked[] => {
  if (test === undefined) return []
  if (typeof test === 'string') return [{ how: 'glob', written: test, fits: glob(test) }]
  if (test === null || typeof test !== 'object') return [scalar(test)]
  if (Array.isArray(test)) return test.flatMap(askedOf)
  const { is, not, matches, contains } = test as Exclude<typeof test, readonly ValueTest[]>
  return [
    ...(is === undefined ? [] : [is].flat().map(one => (typeof one === 'string' ? exact(one) : scalar(one)))),
    ...(matches === undefined ? [] : [{ how: 'matches', written: matches, fits: regex(matches) } as const]),
    ...(contains === undefined
      ? []
      : [
          {
            how: 'contains',
            written: String(contains),
            fits: (text: string) => text.includes(String(contains)),
          } as const,
        ]),
    ...askedOf(not),
  ]
}

const exact = (one: string): Asked => ({ how: 'is', written: one, fits: text => text === one })
const scalar = (one: unknown): Asked => ({ how: 'scalar', written: String(one), fits: () => false })

/** Of what a test asks, what none of `possible` fits. */
export const unfit = (test: ValueTest | undefined, possible: readonly string[]): readonly Asked[] =>
  askedOf(test).filter(({ fits }) => !possible.some(fits))

// ---- texts whose form is known

const mediaType = /^[!#$%&'*+.^_`|~0-9a-z-]+\/[!#$%&'*+.^_`|~0-9a-z-]+$/
const hostName = /^[a-z0-9_.-]*[a-z0-9_-]$|^\[[0-9a-f:.]+\]$/

/** Globs and exact texts that are none of a form: an ordinary letter in the place of `*` has to make one. */
const misshapen = (test: ValueTest | undefined, form: RegExp): readonly Asked[] =>
  askedOf(test).filter(({ how, written }) => {
    if (how !== 'glob' && how !== 'is') return how === 'scalar'
    const text = written.toLowerCase()
    if (how === 'is' || !text.includes('*')) return !form.test(text)
    return !['a', 'a/a', 'a.a', '[::1', '::1]', ''].some(filler => form.test(text.replaceAll('*', filler)))
  })

/** Hosts are compared without scheme, port and final dot. */
export const noHosts = (test: ValueTest | undefined): readonly Asked[] => misshapen(test, hostName)

/** Media types are compared without parameters. */
export const noMediaTypes = (test: ValueTest | undefined): readonly Asked[] => misshapen(test, mediaType)

/** Paths begin with a slash. */
export const noPaths = (test: ValueTest | undefined): readonly Asked[] =>
  askedOf(test).filter(({ how, written }) =>
    how === 'glob' ? !/^[/*]/.test(written) : how === 'is' ? !written.startsWith('/') : how === 'scalar',
  )
