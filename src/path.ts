// Path globs of rules (minimatch dialect) on canonical paths. An allow rule means exactly what it says; in hold and deny rules one
// trailing slash is ignored on both sides and `/x/**` also means `/x`, so that no spelling of a path slips past them.
import { Minimatch, minimatch } from 'minimatch'
import type { Outcome } from './settings.ts'
import { foldCase } from './target.ts'

/** The most paths that braces may stand for; a glob that reaches it is refused, since the rest of it would be lost. */
export const maxExpansions = 1000

const options = {
  dot: true,
  nonegate: true,
  nocomment: true,
  noext: true,
  nobrace: true,
  preserveMultipleSlashes: true,
  platform: 'linux',
} as const

export type PathTest = (path: string) => boolean

/** Compiles a rule's path globs. `folded`: the upstream does not tell upper from lower case. */
export const pathTest = (globs: readonly string[], then: Outcome, folded: boolean): PathTest => {
  const tests = globs
    .flatMap(expand)
    .map(glob => (folded ? foldCase(glob) : glob))
    .flatMap(glob => (then === 'allow' ? [strict(glob, folded)] : generous(glob, folded)))
  const [only] = tests
  const test = tests.length === 1 && only !== undefined ? only : (path: string) => tests.some(test => test(path))
  return folded ? path => test(foldCase(path)) : test
}

/** The alternatives of a glob with braces. */
export const expand = (glob: string): string[] => minimatch.braceExpand(glob, { braceExpandMax: maxExpansions })

/** The segments a glob begins with that have no magic in them; `exact` if those are all. For the index of rules. */
export const literalPrefix = (glob: string): { readonly segments: readonly string[]; readonly exact: boolean } => {
  if (!glob.startsWith('/')) return { segments: [], exact: false }
  const segments = glob.slice(1).split('/')
  const magic = segments.findIndex(segment => /[*?[\]{}\\]/.test(segment))
  return magic < 0 ? { segments, exact: true } : { segments: segments.slice(0, magic), exact: false }
}

const one = (glob: string, folded: boolean): PathTest => {
  if (!folded && literalPrefix(glob).exact) return path => path === glob
  // Compiled by the first path that comes so far: of ten thousand globs most are never asked.
  let compiled: Minimatch | undefined
  return path => {
    compiled ??= new Minimatch(glob, { ...options, nocase: folded })
    return compiled.match(path)
  }
}

// minimatch lets `/x` match `/x/`; for an upstream these may be two things.
const strict = (glob: string, folded: boolean): PathTest => {
  const test = one(glob, folded)
  if (glob.endsWith('/') || glob === '**' || glob.endsWith('/**')) return test
  return path => (path === '/' || !path.endsWith('/')) && test(path)
}

const withoutSlash = (path: string): string => (path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path)

const generous = (glob: string, folded: boolean): PathTest[] => {
  const bare = withoutSlash(glob)
  const tests = [one(bare, folded)]
  if (bare.endsWith('/**') && bare !== '/**') tests.push(one(bare.slice(0, -3), folded))
  return tests.map(test => path => test(path) || test(withoutSlash(path)))
}
