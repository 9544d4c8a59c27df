// A hold in the words of a channel: what there is to tell of it by now, and the notice of each. Made from the sealed, masked view that the
// console shows, without fingerprints: a chat is read by whoever is in it, the people behind the call too.
import { createHash } from 'node:crypto'
import type { Notice, Occasion, Shown } from './channels/channel.ts'
import { openOnly } from './channels/offer.ts'
import { viewOf } from './hold.ts'
import { printable } from './mask.ts'
import type { Caller, Hold } from './nouns.ts'
import { approversOf, tally } from './people.ts'
import { countedVotes } from './ready.ts'
import type { Rule, Settings } from './settings.ts'
import { withoutFingerprints } from './show.ts'
import { challengeOf } from './step-up.ts'
import type { View } from './views.ts'

/** How long a hold of a rule with grants waits before channels hear of it. */
const grantMs = 1_000

/** One thing to tell, and since when (or from when on) by the store's clock. `key` names it once and for all within its hold. */
export type Step = { readonly key: string; readonly occasion: Occasion; readonly at: number }

export const rulesOf = ({ head }: Hold, settings: Settings): readonly Rule[] =>
  settings.rules.filter(rule => head.rules.some(ref => ref.name === rule.name))

const escalationsOf = (rules: readonly Rule[]) =>
  rules.flatMap(rule => rule.approve.flatMap(({ escalate }) => (escalate === undefined ? [] : [escalate])))

/** The channels that rules name, at once or when they escalate. */
export const channelsOf = (rules: readonly Rule[]): readonly string[] => [
  ...new Set([...rules.flatMap(rule => rule.notify), ...escalationsOf(rules).flatMap(({ notify }) => notify)]),
]

/**
 * What one channel is told of a hold, in order. While it is pending some of it lies in the future; once it is decided nothing does, and
 * a channel that would only have heard of it later (`escalate`) hears nothing.
 */
export const stepsOf = (hold: Hold, rules: readonly Rule[], channel: string): readonly Step[] => {
  const { head, facts, state, now } = hold
  const pending = state === 'pending'
  const first = rules.some(rule => rule.notify.includes(channel))
  const escalations = escalationsOf(rules)
    .filter(({ notify }) => first || notify.includes(channel))
    .map(({ afterMs }) => head.openedAt + afterMs)
  const from = first ? head.openedAt : Math.min(...escalations)
  const decidedAt = pending ? Number.POSITIVE_INFINITY : (facts.approvedAt ?? facts.closedAt ?? now)
  if (!first && from >= decidedAt) return []
  const steps: Step[] = []
  // A call that a grant lets go is gone at once, and nobody is to be called for it.
  const granted = pending && rules.some(rule => rule.approve.some(({ grant }) => grant !== undefined))
  if (first) steps.push({ key: 'opened', occasion: 'opened', at: from + (granted ? grantMs : 0) })
  if (pending) {
    for (const at of new Set(escalations))
      steps.push({ key: `escalated ${at - head.openedAt}`, occasion: 'escalated', at })
    if (first) steps.push({ key: 'reminded', occasion: 'reminded', at: (head.openedAt + head.expiresAt) / 2 })
    for (const [index, { at }] of hold.verdicts.entries())
      steps.push({ key: `voted ${index + 1}`, occasion: 'voted', at: Math.max(at, from) })
    return steps.sort((one, other) => one.at - other.at)
  }
  if (!first) steps.push({ key: `escalated ${from - head.openedAt}`, occasion: 'escalated', at: from })
  if (facts.approvedAt !== undefined) steps.push({ key: 'approved', occasion: 'approved', at: decidedAt })
  if (state !== 'approved' && state !== 'released') steps.push({ key: state, occasion: state, at: decidedAt })
  return steps
}

/** `view` is undefined for a channel that is told the minimum. */
export const noticeOf = (
  channel: string,
  step: Step,
  hold: Hold,
  view: View | undefined,
  settings: Settings,
): Notice => {
  const { head, facts } = hold
  const rules = rulesOf(hold, settings)
  const votes = countedVotes(hold, settings)
  const tallies = rules.map(rule => tally(rule, votes, settings))
  const needed = Math.max(1, ...tallies.map(one => one.needed))
  const missing = Math.max(0, ...tallies.map(one => one.needed - one.have))
  return {
    id: `msg_${createHash('sha256')
      .update(JSON.stringify([head.id, channel, step.key]))
      .digest('base64url')
      .slice(0, 27)}`,
    occasion: step.occasion,
    at: hold.now,
    hold: head.id,
    state: hold.state,
    url: `${settings.console.url}/holds/${head.id}`,
    rules: head.rules.map(({ name }) => name),
    upstream: head.upstream,
    approvers: approversOf(rules, hold.now - head.openedAt),
    openedAt: head.openedAt,
    expiresAt: head.expiresAt,
    votes: { have: needed - missing, needed },
    verdicts: hold.verdicts.map(({ reviewer, verdict, at }) => ({ reviewer: printable(reviewer.name), verdict, at })),
    ...(facts.decidedBy === undefined ? {} : { by: printable(facts.decidedBy) }),
    ...(facts.delivery?.status === undefined ? {} : { status: facts.delivery.status }),
    ...(view === undefined ? {} : { shown: shownOf(hold, withoutFingerprints(view), rules) }),
  }
}

const shownOf = (hold: Hold, view: View, rules: readonly Rule[]): Shown => {
  const { head, facts } = hold
  const barred = openOnly({
    unseen: view.unseen.length,
    body: view.body,
    stepUp: challengeOf(rules) !== undefined,
  })
  return {
    view: viewOf(head),
    line: view.line,
    action: head.action,
    caller: callerOf(head.caller),
    people: head.behind.labels.map(printable),
    ...(view.reason === undefined ? {} : { reason: view.reason }),
    request: { method: view.method, target: view.target, headers: view.headers, body: view.body },
    hidden: { bytes: view.hidden, of: view.total },
    digest: head.digest,
    ...(facts.comment === undefined ? {} : { comment: printable(facts.comment) }),
    commentRequired: rules.some(rule => rule.approve.some(({ comment }) => comment === 'required')),
    ...(barred === undefined ? {} : { openOnly: barred }),
    ...(facts.earlier === undefined ? {} : { earlier: { state: facts.earlier.state, at: facts.earlier.at } }),
  }
}

const callerOf = ({ name, subject, issuer, kind }: Caller): string =>
  printable(
    name === undefined || name === subject
      ? `${kind} ${subject} (${issuer})`
      : `${kind} ${name}, ${subject} (${issuer})`,
  )
