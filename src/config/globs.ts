// What must not stand in a rule's path glob, because no canonical path is like that, or because some paths would slip past it.
import { expand, maxExpansions } from '../path.ts'

const shape =
  'must be a glob on the canonical path: it begins with "/", and has no "//", dot segment, query, space or non-ASCII character'

/** minimatch throws when it is given more than four times as many. */
const maxLength = 16_384

/** Sentences, each once. Braces count as everything they stand for. */
export const globProblems = (glob: string): readonly string[] => {
  if (!/^\/[\x21-\x7e]*$/.test(glob)) return [shape]
  if (glob.length > maxLength) return [`must not be longer than ${maxLength} characters`]
  const stars: string[] = []
  if (glob.split('**').length > 5) stars.push('must not have more than four "**"')
  if (glob.split('/').some(segment => segment !== '**' && segment.split('*').length > 5))
    stars.push('must not have more than four "*" in one segment')
  const paths = expand(glob)
  if (paths.length >= maxExpansions)
    return [...stars, `its braces must stand for fewer than ${maxExpansions} paths: use "*", or several rules`]
  return [...new Set([...stars, ...paths.flatMap(pathProblems)])]
}

const pathProblems = (path: string): readonly string[] => {
  if (/\/\/|\/\.\.?(\/|$)|[#"<>|`]/.test(path)) return [shape]
  if (/[{}]/.test(path)) return ['never matches: no path has a brace; for a segment of any name write "*"']
  if (/\?[^/]*=/.test(path)) return ['never matches: a path has no query; write what is asked of it under "query"']
  return [...path.matchAll(/%[0-9A-Fa-f]{2}/g)].flatMap(([triplet]) => {
    const upper = triplet.toUpperCase()
    const character = decoded(upper)
    if (/[A-Za-z0-9._~-]/.test(character))
      return [`never matches: in the canonical path ${triplet} is written ${character}`]
    return triplet === upper ? [] : [`never matches: in the canonical path ${triplet} is written ${upper}`]
  })
}

const decoded = (triplet: string): string => String.fromCharCode(Number.parseInt(triplet.slice(1), 16))

/**
 * Delimiters that a hold or deny rule writes as escapes. A path is also read with these decoded, never with more of them encoded: only the
 * plain character covers both spellings.
 */
export const encodedDelimiters = (glob: string): readonly { readonly triplet: string; readonly plain: string }[] => {
  const found = expand(glob).flatMap(path => path.match(/%(?:2[146789ABC]|3[ABD]|40)/gi) ?? [])
  return [...new Set(found.map(triplet => triplet.toUpperCase()))].map(triplet => {
    const plain = decoded(triplet)
    return { triplet, plain: plain === '*' ? '[*]' : plain }
  })
}
