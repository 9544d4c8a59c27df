// The deciding vote re-qualifies the earlier ones, and each use of a grant its makers: whoever gave a verdict is looked up at their login
// again, and who has left what they qualified by does not count any more. Until something depends on the answer nobody is asked.
import type { Hold, HoldFacts, Reviewer, Verdict } from './nouns.ts'
import type { Parts } from './parts.ts'
import { qualifies, tally } from './people.ts'
import { countedVotes, nameOf } from './ready.ts'
import type { Approve, Rule, Settings } from './settings.ts'

/** Do the hold's votes meet every rule? */
export const enough = (hold: Hold, rules: readonly Rule[], settings: Settings): boolean => {
  const votes = countedVotes(hold, settings)
  return (
    rules.length > 0 &&
    rules.every(rule => {
      const { have, needed } = tally(rule, votes, settings)
      return needed >= 1 && have >= needed
    })
  )
}

/** The earlier votes that fall when `given` would decide: an entry that their givers qualified for is not theirs any more. */
export const fallen = async (
  hold: Hold,
  given: Verdict,
  rules: readonly Rule[],
  settings: Settings,
  again: Parts['again'],
): Promise<readonly Verdict[]> => {
  if (!enough({ ...hold, verdicts: [...hold.verdicts, given] }, rules, settings)) return []
  const entries = rules.flatMap(rule => rule.approve)
  const looked = hold.verdicts
    .filter(one => one.verdict === 'approve' && !hold.facts.dropped?.includes(nameOf(one)))
    .map(async one =>
      (await stillOf(one.reviewer, one.at - hold.head.openedAt, entries, settings, again)) === 'stands' ? [] : [one],
    )
  return (await Promise.all(looked)).flat()
}

/** Is every entry that somebody qualified for, when the hold had waited so long, still theirs? `unheard`: their login does not say. */
export const stillOf = async (
  reviewer: Reviewer,
  waitedMs: number,
  entries: readonly Approve[],
  settings: Settings,
  again: Parts['again'],
): Promise<'stands' | 'left' | 'unheard'> => {
  const theirs = entries.filter(entry => qualifies(reviewer, entry, settings, waitedMs))
  if (theirs.length === 0) return 'stands'
  const now = await again(reviewer)
  if (now === undefined) return 'unheard'
  return theirs.every(entry => qualifies(now, entry, settings, waitedMs)) ? 'stands' : 'left'
}

/** A hold's facts when these votes have fallen. */
export const without = ({ facts }: Hold, votes: readonly Verdict[]): HoldFacts =>
  votes.length === 0 ? facts : { ...facts, dropped: [...(facts.dropped ?? []), ...votes.map(nameOf)] }
