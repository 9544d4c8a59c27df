// Which hidden values of a hold a reviewer has looked at. Kept signed on the store's shelf, so that every replica counts alike and nobody who
// writes to the store can make a value count as looked at. Nothing of a value is kept: only a hash of the path it was found at.
import { createHash } from 'node:crypto'
import { HoldpointError } from './errors.ts'
import { viewOf } from './hold.ts'
import type { Hold, HoldHead, Reviewer } from './nouns.ts'
import type { KeyRing } from './seal.ts'
import type { Rule } from './settings.ts'
import type { Shelf } from './store/store.ts'
import type { HoldView, View } from './views.ts'

const keptMs = 24 * 3_600_000

type Looks = { readonly version: 1; readonly fields: readonly string[] }

const hash = (text: string): string => createHash('sha256').update(text).digest('base64url').slice(0, 22)

export const looks = ({ shelf, keys }: { readonly shelf: Shelf; readonly keys: KeyRing }) => {
  // By hold, by what was shown of it, and by the account that looked: for anything else the count begins anew.
  const placeOf = (reviewer: Reviewer, head: HoldHead): string =>
    `look:${head.id}:${viewOf(head)}:${hash(JSON.stringify([reviewer.login, reviewer.subject]))}`

  const read = (place: string, kept: string | undefined): readonly string[] => {
    const payload = kept === undefined ? undefined : keys.verify(kept, place)
    if (payload === undefined) return []
    const known = JSON.parse(payload) as Looks
    return known.version === 1 ? known.fields : []
  }

  return {
    /** The paths among a view's `unseen` that this reviewer has looked at. */
    async of(reviewer: Reviewer, head: HoldHead, view: View): Promise<readonly string[]> {
      if (view.unseen.length === 0) return []
      const place = placeOf(reviewer, head)
      const fields = new Set(read(place, await shelf.get(place)))
      return view.unseen.filter(path => fields.has(hash(path)))
    },

    /** Remembers one more, until a day after the hold can no longer be decided. */
    async add(reviewer: Reviewer, { head, now }: Hold, path: string): Promise<void> {
      const place = placeOf(reviewer, head)
      for (;;) {
        const kept = await shelf.get(place)
        const fields = read(place, kept)
        if (fields.includes(hash(path))) return
        const next: Looks = { version: 1, fields: [...fields, hash(path)] }
        const written = await shelf.put(place, keys.sign(JSON.stringify(next), place), {
          ttlMs: Math.max(0, head.expiresAt - now) + keptMs,
          when: kept === undefined ? 'absent' : { is: kept },
        })
        if (written) return
      }
    },
  }
}

/** What a view says of its hidden values to one reviewer. */
export const hiddenOf = (
  view: View | undefined,
  looked: readonly string[],
  rules: readonly Rule[],
): HoldView['hidden'] => {
  const unseen = view?.unseen ?? []
  const left = unseen.length - looked.length
  const asks = rules.length === 0 || rules.some(rule => rule.approve.some(approve => !approve.approveUnseen))
  return {
    bytes: view?.hidden ?? 0,
    of: view?.total ?? 0,
    unseen,
    looked_at: looked,
    not_looked_at: left,
    must_confirm: asks && left > 0,
  }
}

/**
 * Nobody approves blindly: an approval says how many hidden values it was given without. `said` is what the approval says.
 * @throws values_unseen unless that is the number, or nothing was said and the rules do not ask
 */
export const confirmUnseen = (hidden: HoldView['hidden'], said: number | undefined, hold: string): void => {
  const { not_looked_at: left, must_confirm: asks } = hidden
  if (said === left || (said === undefined && !asks)) return
  throw new HoldpointError(
    'values_unseen',
    left === 0
      ? 'unseen: you have looked at all of its hidden values; leave it out, or send 0.'
      : `unseen: you have not looked at ${left} of its hidden values. Look at them, or confirm that you approve without: "unseen": ${left}.`,
    { hold },
  )
}
