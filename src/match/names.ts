// Names in another case. Many decoders take `Amount` for `amount`: to them a name that is there in another case is there, to others it is
// not, so it is neither. The names of a call are folded once, however many rules ask.
import { foldName } from '../json.ts'

/** A JSON object, or the pairs of a query or a form. */
type Named = object | readonly (readonly [name: string, value: unknown])[]

/** The names that fold to one: that name, or `several`. */
type Folded = ReadonlyMap<string, string | typeof several>
const several = Symbol('several')

const seen = new WeakMap<Named, Folded>()

/** Is this name there, but not as it is written? Also true if it is there both ways. */
export const inAnotherCase = (named: Named, name: string): boolean => {
  const found = foldedOf(named).get(foldName(name))
  return found !== undefined && found !== name
}

const namesIn = (named: Named): readonly string[] =>
  Array.isArray(named) ? named.map(([name]) => name as string) : Object.keys(named)

const foldedOf = (named: Named): Folded => {
  const known = seen.get(named)
  if (known !== undefined) return known
  const folded = new Map<string, string | typeof several>()
  for (const name of namesIn(named)) {
    const key = foldName(name)
    const other = folded.get(key)
    folded.set(key, other === undefined || other === name ? name : several)
  }
  seen.set(named, folded)
  return folded
}
