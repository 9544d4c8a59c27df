// What somebody writes beside a decision, as it is kept and shown: trimmed, within bounds, secrets masked, every character visible.
import { HoldpointError } from './errors.ts'
import { maskText, printable } from './mask.ts'
import type { KeyRing } from './seal.ts'

const longest = 2_000
// Spaces, controls, formats, marks on nothing and fillers: whoever looks at it sees no comment.
const nothing = /^[\p{Z}\p{C}\p{M}\p{Default_Ignorable_Code_Point}\u2800]*$/u

/** Undefined if there is nothing in it. @throws malformed when it is too long; `name` is the field's */
export const commentOf = (keys: KeyRing, text: string | undefined, name = 'comment'): string | undefined => {
  if (text === undefined || nothing.test(text)) return undefined
  if (text.length > longest) throw new HoldpointError('malformed', `${name}: at most ${longest} characters.`)
  const print = keys.fingerprints('comment', 'mask')[0] ?? ''
  return printable(
    maskText(text.trim(), value =>
      Buffer.from(keys.fingerprints(value, `comment ${print}`)[0] ?? '', 'base64url')
        .toString('hex')
        .slice(0, 8),
    ),
  )
}
