// Strict mappings and what is said of a value that a schema refuses. An unknown key is a problem with a suggestion;
// a key of the design that is not built yet says so, so that nobody believes it works.
import { z } from 'zod'
import type { Path, Source } from './source.ts'

/** A mapping with exactly these keys. `unbuilt`: keys that are planned. */
export const strict = <T extends z.core.$ZodLooseShape>(shape: T, unbuilt: readonly string[] = []) =>
  z.strictObject(shape, {
    // The message carries the keys to `problems`, which knows the path and says one sentence per key.
    error: issue =>
      issue.code === 'unrecognized_keys'
        ? JSON.stringify({ known: Object.keys(shape), unbuilt })
        : 'must be a mapping (key: value)',
  })

export type Problem = { readonly path: Path; readonly message: string; readonly at?: 'key' }

/** Everything that a schema says against a value. */
export const problems = (issues: readonly z.core.$ZodIssue[], base: Path): Problem[] =>
  issues.flatMap(issue => problemsOf(issue, base))

const problemsOf = (issue: z.core.$ZodIssue, base: Path): Problem[] => {
  const path = [...base, ...issue.path.map(segment => (typeof segment === 'symbol' ? String(segment) : segment))]
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(key => ({
      path: [...path, key],
      message: unknownKey([...path, key], issue.message),
      at: 'key',
    }))
  }
  if (['invalid_type', 'invalid_union', 'invalid_value'].includes(issue.code) && issue.input === undefined) {
    return [{ path, message: `${spell(path)} is missing` }]
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const branch = closest(issue.errors)
    if (branch !== undefined) return problems(branch, path)
    return [
      {
        path,
        message: `${spell(path)} ${issue.errors
          .flat()
          .map(one => one.message)
          .filter(unique)
          .join(', or ')}`,
      },
    ]
  }
  if (issue.code === 'invalid_key')
    return [
      { path, message: `${spell(path)}: this key ${issue.issues.map(one => one.message).join(' and ')}`, at: 'key' },
    ]
  return [{ path, message: `${spell(path)} ${issue.message}` }]
}

// Of a union's branches the one that was meant is the one whose shape fits: it complains of something inside, not of the whole.
const closest = (branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] | undefined =>
  branches.find(
    branch =>
      branch.length > 0 &&
      branch.every(
        ({ code, path }) =>
          path.length > 0 || code === 'unrecognized_keys' || code === 'custom' || code === 'too_small',
      ),
  )

const unique = (value: string, index: number, all: readonly string[]): boolean => all.indexOf(value) === index

const unknownKey = (path: Path, carried: string): string => {
  const { known, unbuilt } = JSON.parse(carried) as { known: string[]; unbuilt: string[] }
  const key = String(path.at(-1))
  if (unbuilt.includes(key)) return `"${spell(path)}" is not built yet; remove it`
  const meant = nearest(key, known)
  return `unknown key "${spell(path)}"${meant === undefined ? `; here may stand: ${known.join(', ')}` : `; did you mean "${meant}"?`}`
}

/** The word most like `word`, if one is like it at all. */
export const nearest = (word: string, words: readonly string[]): string | undefined => {
  const limit = word.length > 4 ? 2 : 1
  let best: { readonly word: string; readonly distance: number } | undefined
  for (const candidate of words) {
    const distance =
      candidate.toLowerCase() === word.toLowerCase() ? 0 : edits(word.toLowerCase(), candidate.toLowerCase())
    if (distance <= limit && distance < (best?.distance ?? 3)) best = { word: candidate, distance }
  }
  return best?.word
}

/** A sentence if none of `known` is called that. */
export const unknownName = (kind: string, name: string, known: readonly string[]): string | undefined => {
  if (known.includes(name)) return undefined
  const meant = nearest(name, known)
  return `no ${kind} is called "${name}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`
}

/** Levenshtein distance. */
const edits = (one: string, other: string): number => {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (const [index, letter] of [...one].entries()) {
    const next = [index + 1]
    for (const [at, against] of [...other].entries()) {
      next.push(Math.min((next[at] ?? 0) + 1, (row[at + 1] ?? 0) + 1, (row[at] ?? 0) + (letter === against ? 0 : 1)))
    }
    row = next
  }
  return row.at(-1) ?? 0
}

/** `upstreams[0].at.prefix`, `rules[2].match.json["/amount"]`. */
export const spell = (path: Path): string =>
  path.reduce<string>((spelled, segment) => {
    if (typeof segment === 'number') return `${spelled}[${segment}]`
    if (!/^[A-Za-z_][\w-]*$/.test(segment)) return `${spelled}[${JSON.stringify(segment)}]`
    return spelled === '' ? segment : `${spelled}.${segment}`
  }, '')

export type Reader = {
  /** The value under `path` as the schema reads it, or undefined after saying what is wrong. Unknown keys do not hide other problems. */
  read<T extends z.ZodType>(schema: T, value: unknown, path: Path): z.output<T> | undefined
  say(path: Path, message: string, at?: 'key'): void
}

/** Reads parts of one file; `say` takes what is wrong, with its place. */
export const reader = (source: Source, say: (finding: ReturnType<Source['finding']>) => void): Reader => ({
  say: (path, message, at) => say(source.finding(path, message, at)),
  read(schema, value, path) {
    const first = schema.safeParse(value, { reportInput: true })
    if (first.success) return first.data
    const said = problems(first.error.issues, path)
    for (const { path, message, at } of said) say(source.finding(path, message, at))
    const again = schema.safeParse(
      without(
        value,
        said.filter(({ at }) => at === 'key').map(problem => problem.path.slice(path.length)),
      ),
    )
    return again.data
  },
})

/** A copy without the keys at these paths. */
const without = (value: unknown, paths: readonly Path[]): unknown => {
  const copy = structuredClone(value)
  for (const path of paths) {
    let at: unknown = copy
    for (const segment of path.slice(0, -1)) at = (at as Record<string | number, unknown> | undefined)?.[segment]
    if (at !== null && typeof at === 'object') delete (at as Record<string | number, unknown>)[path.at(-1) as string]
  }
  return copy
}
