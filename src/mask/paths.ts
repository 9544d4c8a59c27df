// Where a value is (`json./card/number`, `header.x-foo`, `query.q`, `form.name`), and what a rule's `show` and `mask` say about it.
// `mask` fits whatever the case and wins over `show`: a doubt hides, it never shows.
import { foldName } from '../json.ts'

/** A place in a call. Inside JSON it has pointer segments; elsewhere the name says all. */
export type Spot = { readonly where: string; readonly place: Place; readonly segments: readonly string[] }

/** usual: patterns decide; shown: only certain secrets are hidden; named: below a secret name; masked: by the rule. */
export type Cover = 'usual' | 'shown' | 'named' | 'masked'

type Place = 'json' | 'header' | 'query' | 'form' | 'text'
export type Path = { readonly place: Place; readonly segments: readonly string[] }

/** Reads a path as rules write it; undefined if it is none. */
export const readPath = (text: string): Path | undefined => {
  const [, place, rest = ''] = /^(json|header|query|form)\.(.*)$/s.exec(text) ?? []
  if (place === 'json') {
    if (rest !== '' && !rest.startsWith('/')) return undefined
    const segments = rest.split('/').slice(1)
    return { place, segments: segments.map(segment => segment.replaceAll('~1', '/').replaceAll('~0', '~')) }
  }
  if (rest === '') return undefined
  if (place === 'header') return { place, segments: [rest.toLowerCase()] }
  return place === 'query' || place === 'form' ? { place, segments: [rest] } : undefined
}

/** The place of a named value outside JSON. `shown`: the name as it may be shown. */
export const spotOf = (place: 'header' | 'query' | 'form', name: string, shown: string): Spot => ({
  where: `${place}.${place === 'header' ? shown.toLowerCase() : shown}`,
  place,
  segments: [place === 'header' ? name.toLowerCase() : name],
})

export const jsonRoot: Spot = { where: 'json.', place: 'json', segments: [] }
export const freeText: Spot = { where: 'body', place: 'text', segments: [] }

/** The paths of one document, for a batch of such documents: an array at the root. */
export const inBatch = (paths: readonly Path[]): readonly Path[] =>
  paths.flatMap(path => (path.place === 'json' ? [path, { ...path, segments: ['*', ...path.segments] }] : [path]))

/** The place of a member or element. JSON inside a header, a query or a text has the place of what it is in. */
export const below = (spot: Spot, key: string, shown: string): Spot =>
  spot.place === 'json'
    ? {
        where: `${spot.where}/${shown.replaceAll('~', '~0').replaceAll('/', '~1')}`,
        place: 'json',
        segments: [...spot.segments, key],
      }
    : spot

export const fits = (path: Path, spot: Spot): boolean => fitsBy(path, spot, (segment, actual) => segment === actual)

/** Whatever the case, and in a query or form whatever is in brackets behind it: `name[]` and `name[a]` are parts of `name`. */
export const fitsLoosely = (path: Path, spot: Spot): boolean =>
  fitsBy(path, spot, (segment, actual) => {
    const [wanted, found] = [foldName(segment), foldName(actual)]
    const parts = path.place === 'query' || path.place === 'form'
    return wanted === found || (parts && found.startsWith(`${wanted}[`))
  })

const fitsBy = (path: Path, spot: Spot, same: (segment: string, actual: string) => boolean): boolean =>
  path.place === spot.place &&
  path.segments.length === spot.segments.length &&
  path.segments.every((segment, index) => segment === '*' || same(segment, spot.segments[index] ?? ''))
