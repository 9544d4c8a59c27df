// Where a hold stands in a list, as text: fifteen digits of time, a colon, its id. Both stores order by it, so holds of one time have an order too.
import { HoldpointError } from '../errors.ts'
import { live } from '../states.ts'
import type { HoldQuery } from './store.ts'

/** The deadline of a hold that has none: after all others. */
export const never = 999_999_999_999_999

export type Place = { readonly at: number; readonly id: string }

export const placeText = ({ at, id }: Place): string => `${String(at).padStart(15, '0')}:${id}`

/**
 * Where a page begins (after this place), or undefined for the first page.
 * Throws `malformed` for a cursor that no list gave out, and TypeError for a question that has no answer.
 */
export const pageStart = ({ states, order, limit, after, beforeAt }: HoldQuery): Place | undefined => {
  const closed = states.find(state => !live.has(state))
  if (order === 'due' && closed !== undefined)
    throw new TypeError(`holds that are ${closed} have no deadline: list them by newest`)
  if (!Number.isSafeInteger(limit) || limit < 1) throw new TypeError(`limit is ${limit}: a list has at least one row`)
  if (after === undefined) return beforeAt === undefined || order === 'due' ? undefined : { at: beforeAt, id: '' }
  const [, at, id] = /^(\d{15}):([\x21-\x7e]{1,200})$/.exec(after) ?? []
  if (at === undefined || id === undefined)
    throw new HoldpointError('malformed', 'after is not a cursor of this list: leave it out to begin at the start')
  return { at: Number(at), id }
}
