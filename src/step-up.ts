// What sign-in rules want of whoever lets a call go (`approve.stepUp`): how strong it was (`acr`) and how long ago (`auth_time`).
// Of several rules all count. A deny needs no step-up: whoever may stop a call may do so at once.
import { HoldpointError } from './errors.ts'
import type { Reviewer } from './nouns.ts'
import type { Rule } from './settings.ts'

/** Clocks of identity providers may be this far ahead of ours. */
const skewMs = 60_000

/** What to ask an identity provider for. */
export type Challenge = {
  /** In order of preference; empty: any. */
  readonly acr: readonly string[]
  readonly maxAgeS?: number
}

const demands = (rules: readonly Rule[]) =>
  rules.flatMap(rule => rule.approve.flatMap(({ stepUp }) => (stepUp === undefined ? [] : [stepUp])))

/** Was the reviewer signed in as all of these rules want it, at this instant? What the provider did not say is not met. */
export const steppedUp = (
  { acr, authAt }: Pick<Reviewer, 'acr' | 'authAt'>,
  rules: readonly Rule[],
  at: number,
): boolean =>
  demands(rules).every(
    wanted =>
      (wanted.acr.length === 0 || (acr !== undefined && wanted.acr.includes(acr))) &&
      (wanted.maxAgeMs === undefined ||
        (authAt !== undefined && authAt <= at + skewMs && at - authAt <= wanted.maxAgeMs)),
  )

/** What these rules want together; undefined if they want nothing. */
export const challengeOf = (rules: readonly Rule[]): Challenge | undefined => {
  const wanted = demands(rules)
  if (wanted.length === 0) return undefined
  const lists = wanted.map(({ acr }) => acr).filter(acr => acr.length > 0)
  // One that all of them take is enough; where there is none, the provider is asked for any of them and the verdict says what is missing.
  const common = (lists[0] ?? []).filter(acr => lists.every(list => list.includes(acr)))
  const ages = wanted.flatMap(({ maxAgeMs }) => (maxAgeMs === undefined ? [] : [maxAgeMs]))
  return {
    acr: common.length > 0 ? common : [...new Set(lists.flat())],
    ...(ages.length === 0 ? {} : { maxAgeS: Math.floor(Math.min(...ages) / 1000) }),
  }
}

/** RFC 9470 §3: the challenge to whoever shows a token, and the words for everybody else. */
export const stepUpError = (rules: readonly Rule[], hold: string): HoldpointError => {
  const { acr, maxAgeS } = challengeOf(rules) ?? { acr: [] }
  const parameters = [
    'realm="holdpoint console"',
    'error="insufficient_user_authentication"',
    'error_description="The rule wants a newer or stronger sign-in"',
    ...(acr.length === 0 ? [] : [`acr_values="${acr.join(' ')}"`]),
    ...(maxAgeS === undefined ? [] : [`max_age=${maxAgeS}`]),
  ]
  const wishes = [
    ...(acr.length === 0 ? [] : [`of strength ${acr.join(' or ')} (acr)`]),
    ...(maxAgeS === undefined ? [] : [`not older than ${maxAgeS} s (auth_time)`]),
  ]
  return new HoldpointError(
    'insufficient_user_authentication',
    `The rule wants a sign-in ${wishes.join(', ')}. Sign in again, then decide.`,
    { hold, headers: { 'WWW-Authenticate': `Bearer ${parameters.join(', ')}` } },
  )
}
