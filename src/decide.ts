// A verdict's whole way, and the only place that approves. Whoever asks, through whatever door, ends here with a Reviewer:
// is the hold theirs to see, are they behind the call, do they qualify, is it still the call they saw, does it make enough votes.
// Judged on one revision and moved on that revision: if anything changed in between, it is judged again.

import { besides } from './beside.ts'
import { commentOf } from './comment.ts'
import type { Desk, GrantWord } from './console/desk.ts'
import { counting } from './counts.ts'
import { entries } from './entries.ts'
import { HoldpointError } from './errors.ts'
import { explainCall } from './explain.ts'
import { aboutGrant, grantOf, newLedger } from './grant.ts'
import { granting } from './granting.ts'
import { endToldMs, openRequest, openView, signVerdict, viewOf } from './hold.ts'
import { confirmUnseen, hiddenOf, looks } from './looks.ts'
import { printable } from './mask.ts'
import type { Hold, Reviewer, Verdict } from './nouns.ts'
import { coolDownMs, denialOf } from './open.ts'
import type { Parts } from './parts.ts'
import { reviewerKeys } from './people.ts'
import { rulesNow, shortest } from './ready.ts'
import { aboutHold, whoReviews } from './record.ts'
import { describedOf } from './rehearse.ts'
import { enough, fallen, without } from './requalify.ts'
import { revealing } from './reveal.ts'
import type { Rule, Settings } from './settings.ts'
import { reading } from './show.ts'
import { steppedUp, stepUpError } from './step-up.ts'
import { stopping } from './stop.ts'
import type { Move } from './store/store.ts'
import type { HoldView } from './views.ts'

export const decide = (parts: Parts): Desk => {
  const { store, keys, record } = parts
  const read = reading(parts)
  const counts = counting(parts)
  const grants = granting(parts, read)
  const looked = looks({ shelf: store.shelf, keys })
  const { seen, viewFor, youOf, standingOf, glassOf, isBehind, voted } = read

  // ---- a verdict

  /** Puts a refused verdict on record, at once and before it is answered. */
  const refusedVerdict = async (
    reviewer: Reviewer,
    hold: Hold,
    verdict: Verdict['verdict'],
    error: HoldpointError,
  ): Promise<HoldpointError> => {
    record.note({
      ...aboutHold(hold.head),
      kind: 'verdict.refused',
      reviewer: whoReviews(reviewer),
      code: error.code,
      detail: verdict,
    })
    await record.flush()
    return error
  }

  /** One judgement on one revision; 'changed' asks for another. */
  const judged = async (
    reviewer: Reviewer,
    hold: Hold,
    settings: Settings,
    verdict: Verdict['verdict'],
    comment: string | undefined,
    { view, unseen: said }: Pick<Parameters<Desk['decide']>[3], 'view' | 'unseen'>,
    grant?: GrantWord,
  ): Promise<'done' | 'changed'> => {
    const { head } = hold
    const where = { hold: head.id }
    const alone = verdict === 'break_glass'
    const stands = (alone ? glassOf : standingOf)(reviewer, hold, settings)
    if (!stands.may)
      throw await refusedVerdict(reviewer, hold, verdict, new HoldpointError(stands.code, stands.detail, where))
    const frozen = parts.freezes.ofPerson(reviewerKeys(reviewer, settings))
    if (frozen !== undefined)
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('frozen', `An operator stopped you: ${frozen.reason}`, where),
      )
    if (hold.state !== 'pending')
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('already_decided', `It is ${hold.state} already.`, where),
      )
    const deadline = Math.min(hold.dueAt ?? head.expiresAt, head.expiresAt)
    if (hold.now >= deadline)
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('already_decided', 'Its time is over.', where),
      )
    if (view !== undefined && view !== viewOf(head))
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('view_changed', 'This verdict was given for something else. Look at the hold again.', where),
      )

    const [held, shown] = await Promise.all([
      openRequest(store, keys, head.id),
      verdict === 'deny' ? undefined : openView(store, keys, head.id),
    ])
    if (held === undefined) return 'changed'
    const now = rulesNow(hold, held, settings)
    if ('void' in now) {
      const moved = await store.holds.move({
        ...voidMove(hold, now.void),
        entry: record.entry({ ...aboutHold(head), kind: 'hold.void', detail: now.void }),
      })
      if (moved.word === 'changed') return 'changed'
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('approval_void', `${now.void} The hold is void; its caller has to ask again.`, where),
      )
    }
    if (verdict !== 'deny' && !steppedUp(reviewer, now.rules, hold.now))
      throw await refusedVerdict(reviewer, hold, verdict, stepUpError(now.rules, head.id))
    if (alone && comment === undefined)
      throw new HoldpointError('malformed', 'comment: say why it cannot wait for the reviewers.', where)
    if (comment === undefined && now.rules.some(rule => rule.approve.some(approve => approve.comment === 'required'))) {
      throw new HoldpointError('malformed', 'comment: this rule needs a comment with the verdict.', where)
    }
    if (verdict === 'approve' && voted(reviewer, hold, settings))
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('already_decided', 'You have approved it already; it needs somebody else as well.', where),
      )

    if (verdict !== 'deny' && shown === undefined)
      throw new HoldpointError('view_changed', 'What was shown of this call is gone; it can only be denied.', where)
    const hidden = hiddenOf(shown, shown === undefined ? [] : await looked.of(reviewer, head, shown), now.rules)
    if (verdict !== 'deny') confirmUnseen(hidden, said, head.id)
    const unseen = hidden.unseen.length === 0 ? {} : { unseen: hidden.not_looked_at }
    if (grant !== undefined && !now.sole)
      throw new HoldpointError(
        'malformed',
        'Calls like this cannot be granted: its rule is not for certain the outcome of all that it does. Approve this one alone.',
        where,
      )
    const terms = grant === undefined ? {} : { grant: await grants.terms(hold, settings, grant) }

    const given: Verdict = {
      version: 1,
      hold: head.id,
      verdict,
      reviewer: { ...reviewer, name: printable(reviewer.name) },
      person: reviewerKeys(reviewer, settings)[0] ?? '',
      keys: reviewerKeys(reviewer, settings),
      ...(comment === undefined ? {} : { comment }),
      ...unseen,
      ...terms,
      view: viewOf(head),
      at: hold.now,
    }
    const fell = verdict === 'approve' ? await fallen(hold, given, now.rules, settings, parts.again) : []
    const facts = without(hold, fell)
    const move = verdict === 'deny' ? denied(hold, given) : counted({ ...hold, facts }, given, now.rules, settings)
    const after: Hold = { ...hold, facts, state: 'approved', verdicts: [...hold.verdicts, given] }
    const made = move.move === 'approve' ? grantOf(after, settings) : undefined
    const log = made === undefined ? {} : { grant: aboutGrant(made) }
    const moved = await store.holds.move({
      ...move,
      hold: head.id,
      rev: hold.rev,
      beforeAt: deadline,
      verdict: signVerdict(keys, given),
      ...(made === undefined ? {} : { swap: newLedger(keys, made) }),
      entry: record.entry({
        ...aboutHold(head),
        kind: alone ? 'verdict.break_glass' : 'verdict.accepted',
        reviewer: whoReviews(reviewer),
        detail: move.move,
        ...(comment === undefined ? {} : { comment }),
        ...unseen,
        ...log,
      }),
      durable: true,
    })
    switch (moved.word) {
      case 'moved':
        for (const { reviewer: earlier } of fell)
          record.note({
            ...aboutHold(head),
            kind: 'verdict.dropped',
            reviewer: whoReviews(earlier),
            detail: 'no longer qualifies',
          })
        if (made !== undefined)
          record.note({ ...aboutHold(head), kind: 'grant.made', reviewer: whoReviews(reviewer), ...log })
        return 'done'
      case 'changed':
        return 'changed'
      case 'late':
        throw await refusedVerdict(
          reviewer,
          hold,
          verdict,
          new HoldpointError('already_decided', 'Its time is over.', where),
        )
      case 'refused':
        throw await refusedVerdict(
          reviewer,
          hold,
          verdict,
          new HoldpointError('already_decided', `It is ${moved.state} already.`, where),
        )
      case 'epoch': {
        const why = 'The store was restarted without keeping its data on disk.'
        await store.holds.move({
          ...voidMove(hold, why),
          entry: record.entry({ ...aboutHold(head), kind: 'hold.void', detail: why }),
        })
        throw new HoldpointError('approval_void', `${why} The caller has to ask again.`, where)
      }
      default:
        throw new HoldpointError('unknown_hold', 'The hold is gone.', where)
    }
  }

  const denied = (
    hold: Hold,
    given: Verdict,
  ): Pick<Move, 'move' | 'facts' | 'findableUntilAt' | 'denial' | 'dueAt'> => ({
    move: 'deny',
    facts: {
      closedAt: hold.now,
      decidedBy: given.reviewer.name,
      ...(given.comment === undefined ? {} : { comment: given.comment }),
    },
    findableUntilAt: hold.now + coolDownMs,
    dueAt: null,
    denial: denialOf(parts, hold.head),
  })

  /** The deciding vote re-qualifies the earlier ones: all of them are counted as people, groups and rules are now. */
  const counted = (
    hold: Hold,
    given: Verdict,
    rules: readonly Rule[],
    settings: Settings,
  ): Pick<Move, 'move' | 'facts' | 'dueAt'> => {
    const dropped = hold.facts.dropped === undefined ? {} : { dropped: hold.facts.dropped }
    const decides = enough({ ...hold, verdicts: [...hold.verdicts, given] }, rules, settings)
    if (!decides && given.verdict !== 'break_glass') return { move: 'vote', facts: dropped }
    const untilAt = given.at + shortest(rules, approve => approve.approvedForMs)
    return {
      move: 'approve',
      facts: {
        approvedAt: given.at,
        approvedUntilAt: untilAt,
        decidedBy: given.reviewer.name,
        ...dropped,
        ...(given.comment === undefined ? {} : { comment: given.comment }),
      },
      dueAt: untilAt,
    }
  }

  const voidMove = (hold: Hold, why: string): Omit<Move, 'entry'> => ({
    hold: hold.head.id,
    move: 'void',
    rev: hold.rev,
    facts: { why, closedAt: hold.now },
    findableUntilAt: null,
    dueAt: null,
  })

  /** Moves a hold outside a verdict, by whoever `may`; judged again when it changed. */
  const direct = async (
    reviewer: Reviewer,
    id: string,
    plan: (hold: Hold, settings: Settings) => Omit<Move, 'hold' | 'rev'>,
  ): Promise<HoldView> => {
    for (;;) {
      const { hold, settings } = await seen(reviewer, id)
      const moved = await store.holds.move({ ...plan(hold, settings), hold: id, rev: hold.rev, durable: true })
      if (moved.word === 'changed') continue
      if (moved.word === 'moved') return viewFor(reviewer, (await seen(reviewer, id)).hold, settings)
      throw new HoldpointError(
        'already_decided',
        `It is ${moved.word === 'refused' ? moved.state : hold.state} already.`,
        { hold: id },
      )
    }
  }

  /** The hold a verdict is tried on. That it exists is kept from whoever may not see it, that they tried is not kept from the log. */
  const tried = async (
    reviewer: Reviewer,
    id: string,
    verdict: Verdict['verdict'],
  ): Promise<{ hold: Hold; settings: Settings }> => {
    try {
      return await seen(reviewer, id)
    } catch (error) {
      if (error instanceof HoldpointError && error.code === 'unknown_hold') {
        const { code } = error
        // Whether there is such a hold or not: the answer takes the same time.
        record.note({ kind: 'verdict.refused', hold: id, reviewer: whoReviews(reviewer), code, detail: verdict })
        await record.flush()
      }
      throw error
    }
  }

  return {
    async show(reviewer, id) {
      const { hold, settings } = await seen(reviewer, id)
      return viewFor(reviewer, hold, settings)
    },

    async decide(reviewer, id, verdict, word) {
      const comment = commentOf(keys, word.comment)
      for (;;) {
        const { hold, settings } = await tried(reviewer, id, verdict)
        if ((await judged(reviewer, hold, settings, verdict, comment, word)) === 'done') {
          return viewFor(reviewer, (await seen(reviewer, id)).hold, settings)
        }
      }
    },

    revoke(reviewer, id, word) {
      const comment = commentOf(keys, word.comment)
      return direct(reviewer, id, (hold, settings) => {
        const you = youOf(reviewer, hold, settings)
        const own = isBehind(reviewer, hold, settings)
        if (!you.may_revoke) {
          const stands = standingOf(reviewer, hold, settings)
          throw hold.state !== 'approved' && hold.state !== 'pending'
            ? new HoldpointError('already_decided', `It is ${hold.state}; there is nothing left to take back.`, {
                hold: id,
              })
            : new HoldpointError(
                'not_approver',
                stands.may ? 'A pending hold is denied, not revoked.' : stands.detail,
                { hold: id },
              )
        }
        // What is only waiting is withdrawn by the people behind it, or by an operator.
        const move = hold.state === 'pending' ? 'cancel' : 'revoke'
        return {
          move,
          facts: {
            closedAt: hold.now,
            decidedBy: printable(reviewer.name),
            ...(comment === undefined ? {} : { comment }),
          },
          dueAt: null,
          findableUntilAt: move === 'revoke' ? hold.now + endToldMs : null,
          entry: record.entry({
            ...aboutHold(hold.head),
            kind: move === 'cancel' ? 'hold.cancelled' : 'hold.revoked',
            reviewer: whoReviews(reviewer),
            ...(own ? { detail: 'by a person behind the call' } : {}),
            ...(comment === undefined ? {} : { comment }),
          }),
        }
      })
    },

    resolve(reviewer, id, word) {
      const comment = commentOf(keys, word.comment)
      if (comment === undefined)
        return Promise.reject(new HoldpointError('malformed', 'comment: say what you found at the upstream.'))
      return direct(reviewer, id, (hold, settings) => {
        if (hold.state !== 'unknown')
          throw new HoldpointError('already_decided', `It is ${hold.state}; only an unknown delivery is resolved.`, {
            hold: id,
          })
        if (!youOf(reviewer, hold, settings).may_resolve) {
          const stands = standingOf(reviewer, hold, settings)
          throw new HoldpointError(
            stands.may ? 'not_approver' : stands.code,
            stands.may ? 'You may not resolve this hold.' : stands.detail,
            { hold: id },
          )
        }
        return {
          move: word.outcome === 'delivered' ? 'resolve_delivered' : 'resolve_failed',
          facts: {
            comment,
            closedAt: hold.now,
            delivery: { ...hold.facts.delivery, state: word.outcome, at: hold.now },
          },
          findableUntilAt: null,
          entry: record.entry({
            ...aboutHold(hold.head),
            kind: 'hold.resolved',
            reviewer: whoReviews(reviewer),
            detail: word.outcome,
            comment,
          }),
        }
      })
    },

    reveal: revealing(parts, read),

    async grant(reviewer, id, grant, word) {
      const comment = commentOf(keys, word.comment)
      for (;;) {
        const { hold, settings } = await tried(reviewer, id, 'approve')
        if ((await judged(reviewer, hold, settings, 'approve', comment, word, grant)) === 'done')
          return viewFor(reviewer, (await seen(reviewer, id)).hold, settings)
      }
    },
    planGrant: grants.planGrant,
    grants: grants.grants,
    showGrant: grants.showGrant,
    revokeGrant: grants.revokeGrant,

    list: read.list,
    audit: entries(parts),
    rules: read.rules,
    counts: async reviewer => ((await read.rules(reviewer)).length === 0 ? { of: 0, rules: {} } : counts()),
    beside: besides(parts, read),
    async explain(reviewer, call) {
      const settings = parts.settings()
      if ((await read.rules(reviewer)).length < settings.rules.length)
        throw new HoldpointError('not_approver', 'Only who may read the rules may ask what they would say.')
      return explainCall(settings, describedOf(call, settings))
    },

    ...stopping(parts),

    async note(entry) {
      record.note(entry)
    },
  }
}
