// The deciding vote re-qualifies the earlier ones: whoever gave one is looked up at their login again, and who has left what they
// qualified by does not count any more. Until a vote decides, nothing depends on the answer, so nobody is asked.
import type { Hold, HoldFacts, Reviewer, Verdict } from './nouns.ts'
import { qualifies, tally } from './people.ts'
import { countedVotes, nameOf } from './ready.ts'
import type { Rule, Settings } from './settings.ts'

/** Who gave an earlier verdict, as their login says now; undefined if it is asked and does not say. */
export type Again = (earlier: Reviewer) => Promise<Reviewer | undefined>

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
  again: Again,
): Promise<readonly Verdict[]> => {
  if (!enough({ ...hold, verdicts: [...hold.verdicts, given] }, rules, settings)) return []
  const entries = rules.flatMap(rule => rule.approve)
  const looked = hold.verdicts
    .filter(one => one.verdict === 'approve' && !hold.facts.dropped?.includes(nameOf(one)))
    .map(async one => {
      const now = await again(one.reviewer)
      const waitedMs = one.at - hold.head.openedAt
      const lost = entries.some(
        entry =>
          qualifies(one.reviewer, entry, settings, waitedMs) &&
          (now === undefined || !qualifies(now, entry, settings, waitedMs)),
      )
      return lost ? [one] : []
    })
  return (await Promise.all(looked)).flat()
}

/** A hold's facts when these votes have fallen. */
export const without = ({ facts }: Hold, votes: readonly Verdict[]): HoldFacts =>
  votes.length === 0 ? facts : { ...facts, dropped: [...(facts.dropped ?? []), ...votes.map(nameOf)] }
