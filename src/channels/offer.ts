// What a chat may offer of a call. A message is small and is read in a hurry: whatever could not be seen there in full is decided on the
// console, and so is what wants a sign-in of its own.
import type { ViewBody } from '../views.ts'

/** Why a call is not decided in a chat, to be shown there; undefined if it may be. */
export const openOnly = (call: {
  /** Hidden values that make it partly seen. */
  readonly unseen: number
  readonly body: ViewBody
  readonly stepUp: boolean
}): string | undefined => {
  if (call.unseen > 0) return 'Some of its values are hidden. Look at it on the console.'
  if (call.body.kind === 'opaque' || (call.body.kind === 'shown' && call.body.unshown !== undefined))
    return 'Its body cannot be shown. Look at it on the console.'
  if (call.stepUp) return 'Its rule wants a sign-in of its own. Decide on the console.'
  return undefined
}

/** What a button carries: which hold, and which view of it. */
export const buttonValue = (hold: string, view: string): string => `${hold}.${view}`

export const readValue = (value: unknown): { readonly hold: string; readonly view: string } | undefined => {
  const [, hold, view] =
    /^(h_[A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})$/.exec(typeof value === 'string' ? value : '') ?? []
  return hold === undefined || view === undefined ? undefined : { hold, view }
}
