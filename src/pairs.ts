// `name=value` pairs joined by `&`, as queries and forms have them, with one reading only: what parsers are known to split or decode
// differently (a raw `;`, a bad escape, bytes that are not UTF-8, control characters) is named instead of read.

export type Pairs = readonly (readonly [name: string, value: string])[]

export const maxPairs = 1000

// Line breaks and tabs are ordinary in SQL and in text fields; no other control character is.
export const unprintable = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/

/** The decoded pairs of a text (`+` is a space, `%XX` is UTF-8), or in words what makes the text ambiguous. */
export const parsePairs = (text: string): Pairs | string => {
  if (text.includes(';')) return 'it has a raw ";", which some servers take for a separator: write %3B'
  const pairs: [string, string][] = []
  for (const piece of text.split('&')) {
    if (piece === '') continue
    if (pairs.length === maxPairs) return `it has more than ${maxPairs} name=value pairs`
    const equals = piece.indexOf('=')
    const name = decoded(equals < 0 ? piece : piece.slice(0, equals))
    const value = decoded(equals < 0 ? '' : piece.slice(equals + 1))
    if (name === undefined || value === undefined)
      return 'it has a "%" that does not begin the escape of a UTF-8 character: write %25'
    if (unprintable.test(name) || unprintable.test(value)) return 'it has a control character: remove it'
    pairs.push([name, value])
  }
  return pairs
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
