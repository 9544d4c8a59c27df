// What a reviewer may want to know besides the hold itself: what its caller did lately, and whether the very same call waits several times.
// Both are looked for among the newest holds only, so that a page costs the same however many there are.
import type { Desk } from './console/desk.ts'
import { verifiedHold, viewOf } from './hold.ts'
import type { Caller, Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import type { reading } from './show.ts'
import { type State, states } from './states.ts'

const recentMax = 200
const latelyMax = 5
const sameMax = 20

export const besides = ({ store, keys }: Parts, read: ReturnType<typeof reading>): Desk['beside'] => {
  const newest = async (wanted: readonly State[]): Promise<readonly Hold[]> => {
    const { holds } = await store.holds.list({ states: wanted, order: 'newest', limit: recentMax })
    return holds.flatMap(stored => verifiedHold(keys, stored) ?? [])
  }

  return async (reviewer, id) => {
    const { hold, settings } = await read.seen(reviewer, id)
    const { head, state } = hold
    const [recent, waiting] = await Promise.all([newest(states), state === 'pending' ? newest(['pending']) : []])
    const lately = recent
      .filter(other => other.head.id !== id && sameCaller(other.head.caller, head.caller))
      .filter(other => read.maySee(reviewer, other, settings))
      .slice(0, latelyMax)
    // A partly seen call is looked at one by one.
    const same = waiting.filter(
      other =>
        head.unseen === undefined && other.head.id !== id && isSame(other, hold) && other.now < other.head.expiresAt,
    )
    return {
      lately: await Promise.all(
        lately.map(async other => {
          const { line, status, opened_at } = await read.row(reviewer, other, settings)
          return { id: other.head.id, line, status, opened_at }
        }),
      ),
      same: same
        .filter(other => read.youOf(reviewer, other, settings).may_decide)
        .slice(0, sameMax)
        .map(other => ({
          id: other.head.id,
          view: viewOf(other.head),
          opened_at: new Date(other.head.openedAt).toISOString(),
        })),
    }
  }
}

const sameCaller = (one: Caller, other: Caller): boolean =>
  one.issuer === other.issuer && one.subject === other.subject && one.client === other.client

/** The same caller, target, headers and bytes, held by the same rules. */
const isSame = (one: Hold, other: Hold): boolean =>
  one.head.same !== '' &&
  one.head.same === other.head.same &&
  JSON.stringify(one.head.rules) === JSON.stringify(other.head.rules)
