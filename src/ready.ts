// May a hold's call go, as things are at this moment? The rules are asked again, every verdict is counted again from its signature,
// and nothing that is merely written in the store is believed.
import { parseBody } from './body.ts'
import type { Stoppable } from './freezes.ts'
import { viewOf } from './hold.ts'
import { judge } from './judge.ts'
import type { Caller, HeldCall, Hold, Verdict } from './nouns.ts'
import { glassStanding, peopleBehind, reviewerKeys, samePerson, tally, type Vote } from './people.ts'
import type { Rule, Settings, Upstream } from './settings.ts'
import { steppedUp } from './step-up.ts'

export type Readiness =
  | { readonly void: string }
  | { readonly upstream: Upstream; readonly untilAt: number; readonly glass: Verdict | undefined }

/** The rules that hold this call as they are now (`sole`: one, for certain, and nothing else), or why it would no longer be held by them. Also judges verdicts (decide.ts). */
export const rulesNow = (
  hold: Hold,
  held: HeldCall,
  settings: Settings,
  caller: Caller = hold.head.caller,
):
  | { readonly rules: readonly Rule[]; readonly sole: boolean; readonly upstream: Upstream }
  | { readonly void: string } => {
  const { head } = hold
  const upstream = settings.upstreams.find(one => one.name === head.upstream)
  if (upstream === undefined || upstream.hash !== head.upstreamHash)
    return { void: `The upstream ${head.upstream} is configured differently now.` }
  const bytes = Buffer.from(held.body, 'base64')
  const { judgement } = judge(settings, {
    call: { ...held.call, headers: held.headers },
    paths: held.paths,
    upstream,
    caller,
    body: parseBody(held.headers, bytes, upstream.limits.inspect),
    at: hold.now,
  })
  const same =
    judgement.outcome === 'hold' &&
    judgement.rules.length === head.rules.length &&
    head.rules.every(ref => judgement.rules.some(rule => rule.name === ref.name && rule.hash === ref.hash))
  const sole = judgement.sole !== undefined
  return same ? { rules: judgement.rules, sole, upstream } : { void: 'The rules say something else of this call now.' }
}

/** The verdicts that still count: signed approvals of people who are, as things are now, not behind the call. */
export const countedVotes = (hold: Hold, settings: Settings): readonly Vote[] => {
  const behind = new Set([...hold.head.behind.keys, ...peopleBehind(hold.head.caller, settings).keys])
  return given(hold, settings, 'approve')
    .filter(verdict => !hold.facts.dropped?.includes(nameOf(verdict)))
    .map(verdict => ({
      keys: [...new Set([...verdict.keys, ...reviewerKeys(verdict.reviewer, settings)])],
      reviewer: verdict.reviewer,
      waitedMs: verdict.at - hold.head.openedAt,
    }))
    .filter(vote => vote.reviewer.interactive && !samePerson(vote.keys, [...behind]))
}

/** What a verdict is called in `facts.dropped`. */
export const nameOf = ({ at, person }: Verdict): string => `${at} ${person}`

/** Verdicts of one kind that were given for this view, in time, and with the sign-in that the rules want. */
export const given = (hold: Hold, settings: Settings, kind: Verdict['verdict']): readonly Verdict[] => {
  const rules = settings.rules.filter(rule => hold.head.rules.some(ref => ref.name === rule.name))
  return hold.verdicts.filter(
    ({ verdict, view, at, reviewer }) =>
      verdict === kind && view === viewOf(hold.head) && at < hold.head.expiresAt && steppedUp(reviewer, rules, at),
  )
}

/** The verdict by which somebody broke the glass, while the rules still name them for it and they are not behind the call. */
export const brokenGlass = (hold: Hold, rules: readonly Rule[], settings: Settings): Verdict | undefined => {
  const { labels, known, keys } = hold.head.behind
  const behind = { labels, known, keys: [...keys, ...peopleBehind(hold.head.caller, settings).keys] }
  return given(hold, settings, 'break_glass').find(
    ({ reviewer, keys, comment }) =>
      comment !== undefined && !samePerson(keys, behind.keys) && glassStanding(reviewer, behind, rules, settings).may,
  )
}

/** What a freeze may say of a held call. Whoever approved it is concerned as well as whoever is behind it. */
export const stoppable = (hold: Hold, settings: Settings): Stoppable => ({
  caller: hold.head.caller,
  upstream: hold.head.upstream,
  people: () => [
    ...hold.head.behind.keys,
    ...peopleBehind(hold.head.caller, settings).keys,
    ...hold.verdicts.flatMap(verdict => [...verdict.keys, ...reviewerKeys(verdict.reviewer, settings)]),
  ],
})

/**
 * May this call be sent now? `collector` is the caller that waits for it; without one it is sent for an async caller. `grant` stands
 * for its verdicts, if one does.
 */
export const readiness = (
  hold: Hold,
  held: HeldCall,
  settings: Settings,
  collector: Caller | undefined,
  grant?: { readonly untilAt: number },
): Readiness => {
  const now = rulesNow(hold, held, settings)
  if ('void' in now) return now
  // The same caller may come with other groups or claims than it opened with: both must lead to the same rules.
  const collected = collector === undefined ? now : rulesNow(hold, held, settings, collector)
  if ('void' in collected) return collected
  const votes = countedVotes(hold, settings)
  const glass = brokenGlass(hold, now.rules, settings)
  const voted = glass !== undefined || !now.rules.some(rule => unmet(rule, votes, settings))
  if (now.rules.length === 0 || !(voted || (grant !== undefined && now.sole && collected.sole)))
    return { void: 'A vote for it no longer counts.' }
  if (!settings.issuers.some(issuer => issuer.name === hold.head.caller.issuer))
    return { void: "The caller's issuer is no longer trusted." }
  if (collector === undefined && (hold.facts.tokenUntilAt ?? 0) + settings.tokenGraceMs <= hold.now)
    return { void: "The caller's token ran out before the call could be sent." }
  const untilAt = voted || grant === undefined ? approvedUntil(hold, now.rules) : grantedUntil(hold, now.rules, grant)
  return { upstream: now.upstream, untilAt, glass }
}

const unmet = (rule: Rule, votes: readonly Vote[], settings: Settings): boolean => {
  const { have, needed } = tally(rule, votes, settings)
  return needed < 1 || have < needed
}

/** When an approval runs out: counted from the last signed verdict, not from anything that could be written into the store. */
export const approvedUntil = (hold: Hold, rules: readonly Rule[]): number =>
  Math.max(...hold.verdicts.map(verdict => verdict.at)) + shortest(rules, approve => approve.approvedForMs)

/** By a grant a call may go while the grant lasts, and no longer than an approval that was given when it was held. */
const grantedUntil = (hold: Hold, rules: readonly Rule[], grant: { readonly untilAt: number }): number =>
  Math.min(grant.untilAt, hold.head.openedAt + shortest(rules, approve => approve.approvedForMs))

/** The shortest of a duration over every entry of every rule. */
export const shortest = (rules: readonly Rule[], pick: (approve: Rule['approve'][number]) => number): number =>
  Math.min(...rules.flatMap(rule => rule.approve.map(pick)))
