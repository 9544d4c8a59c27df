// Makes text safe to look at: whatever is invisible, moves other text or imitates a letter is written as `\u{…}`.
// Printable text stays as it is, so applying this twice changes nothing.

const escaped = (text: string): string => {
  let result = ''
  for (const character of text) result += `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
  return result
}

// Controls, formats (bidi, zero width, tags), lone surrogates, private and unassigned characters, separators, fillers that
// draw nothing, and strokes that cross the letter before them.
const invisible =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}|\u2800|[\u0334-\u0338]|[\u0488\u0489]|[\u20d0-\u20f0]/gu
// A combining mark belongs on a letter or digit, and three of them are enough.
const stray = /(?<![\p{L}\p{M}\p{N}])\p{M}+|(?<=\p{M}{3})\p{M}+/gu
const words = /\p{L}[\p{L}\p{M}]*/gu
const latin = /\p{Script=Latin}/u
const lookalikes = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/gu
const plain = /^[\x20-\x7e]*$/

/** One line of printable text: controls (line feeds too), bidi, invisible and look-alike characters become `\u{…}`. */
export const printable = (text: string): string =>
  plain.test(text)
    ? text
    : text
        .replace(invisible, escaped)
        .replace(stray, escaped)
        .replace(words, word => (latin.test(word) ? word.replace(lookalikes, escaped) : word))

/** The same, but line feeds stay. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n')
