// Revealing one hidden value of a waiting hold, to somebody who may decide it. It is on record before the value is given, and the value leaves
// only in the answer to whoever asked: it is in no log, no event, no message and no store. What a rule's own `mask` hides stays hidden.
import type { Desk } from './console/desk.ts'
import { HoldpointError } from './errors.ts'
import { maskedPrint, openRequest, openView, viewOf } from './hold.ts'
import { kindOf, secretsOf } from './judge.ts'
import { looks } from './looks.ts'
import { revealed } from './mask.ts'
import type { HeldCall, Hold, Reviewer } from './nouns.ts'
import type { Parts } from './parts.ts'
import { reviewerKeys } from './people.ts'
import { rulesNow } from './ready.ts'
import { aboutHold, whoReviews } from './record.ts'
import type { Rule, Settings } from './settings.ts'
import type { reading } from './show.ts'
import { steppedUp, stepUpError } from './step-up.ts'
import type { View } from './views.ts'

export const revealing = (parts: Parts, read: ReturnType<typeof reading>): Desk['reveal'] => {
  const { store, keys, record } = parts
  const looked = looks({ shelf: store.shelf, keys })

  /** What there is to look into, if this reviewer may decide the hold as things are now. */
  const permitted = async (
    reviewer: Reviewer,
    hold: Hold,
    settings: Settings,
    asked: string,
  ): Promise<{
    readonly held: HeldCall
    readonly view: View
    readonly rules: readonly Rule[]
    readonly secrets: readonly string[] | 'all'
    readonly idle: readonly string[]
  }> => {
    const where = { hold: hold.head.id }
    const stands = read.standingOf(reviewer, hold, settings)
    if (!stands.may && !read.glassOf(reviewer, hold, settings).may)
      throw new HoldpointError(stands.code, stands.detail, where)
    const frozen = parts.freezes.ofPerson(reviewerKeys(reviewer, settings))
    if (frozen !== undefined) throw new HoldpointError('frozen', `An operator stopped you: ${frozen.reason}`, where)
    const over = (why: string) => new HoldpointError('already_decided', `${why} Nothing is revealed any more.`, where)
    if (hold.state !== 'pending') throw over(`It is ${hold.state}.`)
    if (hold.now >= hold.head.expiresAt) throw over('Its time is over.')
    if (asked !== viewOf(hold.head))
      throw new HoldpointError('view_changed', 'This was asked for something else. Look at the hold again.', where)
    const [held, view] = [await openRequest(store, keys, hold.head.id), await openView(store, keys, hold.head.id)]
    if (held === undefined || view === undefined) throw over('It is decided.')
    const now = rulesNow(hold, held, settings)
    if ('void' in now) throw new HoldpointError('view_changed', `${now.void} Nothing is revealed.`, where)
    if (!steppedUp(reviewer, now.rules, hold.now)) throw stepUpError(now.rules, hold.head.id)
    return {
      held,
      view,
      rules: now.rules,
      secrets: secretsOf(now.upstream, held),
      idle: kindOf(now.upstream).idlePaths ?? [],
    }
  }

  return async (reviewer, id, { field, view: shown }) => {
    const { hold, settings } = await read.seen(reviewer, id)
    const about = { ...aboutHold(hold.head), reviewer: whoReviews(reviewer) }
    const { held, view, rules, secrets, idle } = await permitted(reviewer, hold, settings, shown).catch(async error => {
      if (error instanceof HoldpointError && (error.status < 500 || error.code === 'frozen')) {
        record.note({ ...about, kind: 'reveal.refused', code: error.code })
        await record.flush()
      }
      throw error
    })
    const asked = {
      held,
      action: hold.head.action,
      rules,
      body: { kind: 'unread' },
      secrets,
      idle,
      // Of a path below a name that is hidden itself, the mark of that name is a part.
      fingerprint: maskedPrint(keys, rules),
    } as const
    const values = revealed(asked, field)
    if (values === undefined)
      throw new HoldpointError('malformed', "field: must be one of the hold's hidden.unseen.", { hold: id })
    if (values.length === 0)
      throw new HoldpointError(
        'malformed',
        "field: the rule's own mask hides a part of this one; it is not revealed.",
        {
          hold: id,
        },
      )
    await store.log.append([record.entry({ ...about, kind: 'hold.revealed', detail: field })])
    await looked.add(reviewer, hold, field)
    const seen = await looked.of(reviewer, hold.head, view)
    return { field, values, not_looked_at: view.unseen.length - seen.length }
  }
}
