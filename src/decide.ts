// A verdict's whole way, and the only place that approves. Whoever asks, through whatever door, ends here with a Reviewer:
// is the hold theirs to see, are they behind the call, do they qualify, is it still the call they saw, does it make enough votes.
// Judged on one revision and moved on that revision: if anything changed in between, it is judged again.

import { coolDownMs, denialOf } from './attend.ts'
import type { AuditEntry, AuditQuery, Desk, HoldsQuery, RuleView } from './console/desk.ts'
import { HoldpointError } from './errors.ts'
import { endToldMs, openRequest, openView, readHold, signVerdict, verifiedHold, viewOf } from './hold.ts'
import { maskText, printable } from './mask.ts'
import type { Entry, Hold, HoldRow, HoldView, Reviewer, Verdict, View } from './nouns.ts'
import type { Parts } from './parts.ts'
import {
  approversOf,
  inGroups,
  peopleBehind,
  reviewerKeys,
  type Standing,
  samePerson,
  standing,
  tally,
} from './people.ts'
import { aboutHold, whoReviews } from './record.ts'
import { countedVotes, rulesNow, shortest } from './release.ts'
import type { Rule, Settings } from './settings.ts'
import { live, type State, states } from './states.ts'
import type { Move } from './store/store.ts'

const commentMax = 2_000
const pageMax = 200
/** How many stored holds one list call looks at before it answers with what it has. */
const scanMax = 2_000
const iso = (at: number): string => new Date(at).toISOString()

export const decide = (parts: Parts): Desk => {
  const { store, keys, record } = parts

  // ---- reading

  const rulesOf = (hold: Hold, settings: Settings): readonly Rule[] =>
    settings.rules.filter(rule => hold.head.rules.some(ref => ref.name === rule.name))

  /** Everybody whom the call itself or the people list of today puts behind it. */
  const behindNow = (hold: Hold, settings: Settings): Hold['head']['behind'] => {
    const now = peopleBehind(hold.head.caller, settings)
    return { ...hold.head.behind, keys: [...new Set([...hold.head.behind.keys, ...now.keys])] }
  }

  const isBehind = (reviewer: Reviewer, hold: Hold, settings: Settings): boolean =>
    samePerson(reviewerKeys(reviewer, settings), behindNow(hold, settings).keys)

  const standingOf = (reviewer: Reviewer, hold: Hold, settings: Settings): Standing =>
    standing(reviewer, behindNow(hold, settings), rulesOf(hold, settings), settings)

  const mayDirect = (reviewer: Reviewer, settings: Settings): boolean =>
    reviewer.interactive && inGroups(reviewer, settings.console.operators, settings)

  const maySee = (reviewer: Reviewer, hold: Hold, settings: Settings): boolean =>
    isBehind(reviewer, hold, settings) ||
    standing(
      { ...reviewer, interactive: true },
      { keys: [], labels: [], known: true },
      rulesOf(hold, settings),
      settings,
    ).may ||
    inGroups(reviewer, settings.console.auditors, settings) ||
    inGroups(reviewer, settings.console.operators, settings) ||
    hold.verdicts.some(verdict => samePerson(verdict.keys, reviewerKeys(reviewer, settings)))

  const seen = async (reviewer: Reviewer, id: string): Promise<{ hold: Hold; settings: Settings }> => {
    const settings = parts.settings()
    const hold = await readHold(store, keys, id)
    if (hold === undefined || !maySee(reviewer, hold, settings))
      throw new HoldpointError('unknown_hold', 'There is no hold with this id that you may see.')
    return { hold, settings }
  }

  const votesOf = (hold: Hold, settings: Settings): HoldView['votes'] => {
    const votes = countedVotes(hold, settings)
    const tallies = rulesOf(hold, settings).map(rule => tally(rule, votes, settings))
    const needed = Math.max(1, ...tallies.map(one => one.needed))
    const missing = Math.max(0, ...tallies.map(one => one.needed - one.have))
    return { have: needed - missing, needed }
  }

  const youOf = (reviewer: Reviewer, hold: Hold, settings: Settings): HoldView['you'] => {
    const own = isBehind(reviewer, hold, settings)
    const stands = standingOf(reviewer, hold, settings)
    const qualifiedOrOperator = stands.may || mayDirect(reviewer, settings)
    const may_revoke =
      (hold.state === 'approved' && (qualifiedOrOperator || own)) ||
      (hold.state === 'pending' && reviewer.interactive && (own || mayDirect(reviewer, settings)))
    const may_resolve = hold.state === 'unknown' && qualifiedOrOperator && !own
    if (!stands.may) return { may_decide: false, because: stands.code, detail: stands.detail, may_revoke, may_resolve }
    if (hold.state !== 'pending')
      return { may_decide: false, because: 'already_decided', detail: `It is ${hold.state}.`, may_revoke, may_resolve }
    if (voted(reviewer, hold, settings))
      return {
        may_decide: false,
        because: 'already_decided',
        detail: 'You have approved it; it needs somebody else as well.',
        may_revoke,
        may_resolve,
      }
    return { may_decide: true, may_revoke, may_resolve }
  }

  const voted = (reviewer: Reviewer, hold: Hold, settings: Settings): boolean =>
    countedVotes(hold, settings).some(vote => samePerson(vote.keys, reviewerKeys(reviewer, settings)))

  const lineOf = (hold: Hold, view: View | undefined): string =>
    view?.line ?? `${hold.head.action.name} ${hold.head.action.resource}`

  const rowOf = (reviewer: Reviewer, hold: Hold, view: View | undefined, settings: Settings): HoldRow => {
    const { head, facts } = hold
    const { caller } = head
    return {
      id: head.id,
      status: hold.state,
      line: lineOf(hold, view),
      action: head.action,
      upstream: head.upstream,
      caller: {
        issuer: caller.issuer,
        subject: printable(caller.subject),
        kind: caller.kind,
        ...(caller.name === undefined ? {} : { name: printable(caller.name) }),
        ...(caller.email === undefined ? {} : { email: printable(caller.email) }),
        ...(caller.client === undefined ? {} : { client: printable(caller.client) }),
      },
      behind: { people: head.behind.labels.map(printable), known: head.behind.known },
      rules: head.rules.map(rule => rule.name),
      votes: votesOf(hold, settings),
      opened_at: iso(head.openedAt),
      expires_at: iso(head.expiresAt),
      ...(facts.closedAt === undefined ? {} : { closed_at: iso(facts.closedAt) }),
      ...(facts.delivery === undefined
        ? {}
        : {
            delivery: {
              state: facts.delivery.state,
              ...(facts.delivery.status === undefined ? {} : { status: facts.delivery.status }),
              at: iso(facts.delivery.at),
            },
          }),
      you: youOf(reviewer, hold, settings),
    }
  }

  // Equal fingerprints tell equal values apart from others; the people behind a call are not to learn even that.
  const withoutFingerprints = (view: View): View =>
    JSON.parse(JSON.stringify(view).replaceAll(/, #[0-9a-f]{8}›/g, '›')) as View

  const viewFor = async (reviewer: Reviewer, hold: Hold, settings: Settings): Promise<HoldView> => {
    const sealed = await openView(store, keys, hold.head.id)
    const view = sealed !== undefined && isBehind(reviewer, hold, settings) ? withoutFingerprints(sealed) : sealed
    const { facts, head } = hold
    const rules = rulesOf(hold, settings)
    return {
      ...rowOf(reviewer, hold, view, settings),
      view: viewOf(head),
      ...(view?.reason === undefined ? {} : { reason: view.reason }),
      approvers: approversOf(rules),
      request: {
        method: head.method,
        target: view?.target ?? head.action.resource,
        headers: view?.headers ?? [],
        body: view?.body ?? { kind: 'none' },
      },
      hidden: { bytes: view?.hidden ?? 0, of: view?.total ?? 0, unseen: view?.unseen ?? [] },
      digest: head.digest,
      verdicts: hold.verdicts.map(verdict => ({
        reviewer: printable(verdict.reviewer.name),
        login: verdict.reviewer.login,
        verdict: verdict.verdict,
        ...(verdict.comment === undefined ? {} : { comment: verdict.comment }),
        at: iso(verdict.at),
      })),
      comment_required: rules.some(rule => rule.approve.some(approve => approve.comment === 'required')),
      ...(facts.approvedUntilAt === undefined ? {} : { approved_until: iso(facts.approvedUntilAt) }),
      ...(facts.earlier === undefined
        ? {}
        : { earlier: { id: facts.earlier.id, status: facts.earlier.state, at: iso(facts.earlier.at) } }),
      ...(facts.why === undefined ? {} : { why: facts.why }),
    }
  }

  // ---- a verdict

  /** Puts a refused verdict on record, at once and before it is answered. */
  const refusedVerdict = async (
    reviewer: Reviewer,
    hold: Hold,
    verdict: 'approve' | 'deny',
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
    verdict: 'approve' | 'deny',
    comment: string | undefined,
    view: string | undefined,
  ): Promise<'done' | 'changed'> => {
    const { head } = hold
    const where = { hold: head.id }
    const stands = standingOf(reviewer, hold, settings)
    if (!stands.may)
      throw await refusedVerdict(reviewer, hold, verdict, new HoldpointError(stands.code, stands.detail, where))
    if (hold.state !== 'pending')
      throw await refusedVerdict(
        reviewer,
        hold,
        verdict,
        new HoldpointError('already_decided', `It is ${hold.state} already.`, where),
      )
    if (hold.dueAt !== undefined && hold.now >= hold.dueAt)
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

    const held = await openRequest(store, keys, head.id)
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
    if (comment === undefined && now.rules.some(rule => rule.approve.some(approve => approve.comment === 'required'))) {
      throw new HoldpointError('malformed', 'comment: this rule needs a comment with the verdict.', where)
    }
    if (verdict === 'approve' && voted(reviewer, hold, settings))
      throw new HoldpointError(
        'already_decided',
        'You have approved it already; it needs somebody else as well.',
        where,
      )

    const given: Verdict = {
      version: 1,
      hold: head.id,
      verdict,
      reviewer: { ...reviewer, name: printable(reviewer.name) },
      person: reviewerKeys(reviewer, settings)[0] ?? '',
      keys: reviewerKeys(reviewer, settings),
      ...(comment === undefined ? {} : { comment }),
      view: viewOf(head),
      at: hold.now,
    }
    const move = verdict === 'deny' ? denied(hold, given) : counted(hold, given, now.rules, settings)
    const moved = await store.holds.move({
      ...move,
      hold: head.id,
      rev: hold.rev,
      ...(hold.dueAt === undefined ? {} : { beforeAt: hold.dueAt }),
      verdict: signVerdict(keys, given),
      entry: record.entry({
        ...aboutHold(head),
        kind: 'verdict.accepted',
        reviewer: whoReviews(reviewer),
        detail: move.move,
        ...(comment === undefined ? {} : { comment }),
      }),
      durable: true,
    })
    switch (moved.word) {
      case 'moved':
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

  /** The deciding vote re-qualifies the earlier ones: all of them are counted as people and rules are now. */
  const counted = (
    hold: Hold,
    given: Verdict,
    rules: readonly Rule[],
    settings: Settings,
  ): Pick<Move, 'move' | 'facts' | 'dueAt'> => {
    const votes = countedVotes({ ...hold, verdicts: [...hold.verdicts, given] }, settings)
    const enough =
      rules.length > 0 &&
      rules.every(rule => {
        const { have, needed } = tally(rule, votes, settings)
        return needed >= 1 && have >= needed
      })
    if (!enough) return { move: 'vote' }
    const untilAt = given.at + shortest(rules, approve => approve.approvedForMs)
    return {
      move: 'approve',
      facts: {
        approvedAt: given.at,
        approvedUntilAt: untilAt,
        decidedBy: given.reviewer.name,
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

  const commentOf = (comment: string | undefined): string | undefined => {
    if (comment === undefined || comment.trim() === '') return undefined
    if (comment.length > commentMax) throw new HoldpointError('malformed', `comment: at most ${commentMax} characters.`)
    const print = keys.fingerprints('comment', 'mask')[0] ?? ''
    return printable(
      maskText(comment.trim(), value =>
        Buffer.from(keys.fingerprints(value, `comment ${print}`)[0] ?? '', 'base64url')
          .toString('hex')
          .slice(0, 8),
      ),
    )
  }

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

  return {
    async show(reviewer, id) {
      const { hold, settings } = await seen(reviewer, id)
      return viewFor(reviewer, hold, settings)
    },

    async decide(reviewer, id, verdict, word) {
      const comment = commentOf(word.comment)
      for (;;) {
        const { hold, settings } = await seen(reviewer, id)
        if ((await judged(reviewer, hold, settings, verdict, comment, word.view)) === 'done') {
          return viewFor(reviewer, (await seen(reviewer, id)).hold, settings)
        }
      }
    },

    revoke(reviewer, id, word) {
      const comment = commentOf(word.comment)
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
      const comment = commentOf(word.comment)
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

    async list(reviewer, query) {
      const settings = parts.settings()
      const wanted = statesOf(query.status)
      const waiting = wanted.every(state => live.has(state))
      const holds: HoldRow[] = []
      const limit = Math.min(Math.max(1, query.limit), pageMax)
      let after = query.after
      for (let scanned = 0; scanned < scanMax; ) {
        const page = await store.holds.list({
          states: wanted,
          order: waiting ? 'due' : 'newest',
          limit: limit - holds.length,
          ...(after === undefined ? {} : { after }),
        })
        scanned += page.holds.length
        for (const stored of page.holds) {
          const hold = verifiedHold(keys, stored)
          if (hold === undefined || !fits(hold, query) || !maySee(reviewer, hold, settings)) continue
          holds.push(rowOf(reviewer, hold, await openView(store, keys, hold.head.id), settings))
        }
        after = page.next
        if (after === undefined || holds.length >= limit) break
      }
      return { holds, ...(after === undefined ? {} : { next: after }) }
    },

    async audit(reviewer, query: AuditQuery) {
      const settings = parts.settings()
      if (!inGroups(reviewer, settings.console.auditors, settings))
        throw new HoldpointError('not_approver', 'The audit log is for auditors (console.auditors).')
      const limit = Math.min(Math.max(1, query.limit), 1_000)
      const rows =
        query.after === undefined
          ? await store.log.newest(query.before, limit)
          : await store.log.read(query.after, limit)
      const entries = rows.map(
        ({ seq, at, json }): AuditEntry => ({ ...(JSON.parse(json) as Entry), seq, at: iso(at) }),
      )
      const last = entries.at(-1)
      return { entries, ...(entries.length === limit && last !== undefined ? { next: last.seq } : {}) }
    },

    async rules(): Promise<readonly RuleView[]> {
      return parts.settings().rules.map(rule => ({
        name: rule.name,
        then: rule.then,
        where: rule.where,
        hash: rule.hash,
        line: rule.then === 'hold' ? `hold for ${approversOf([rule]).join(', ')}` : rule.then,
      }))
    },

    async note(entry) {
      record.note(entry)
    },
  }
}

const statesOf = (status: HoldsQuery['status']): readonly State[] => {
  if (status === 'open') return [...live]
  if (status === 'closed') return states.filter(state => !live.has(state))
  return [status]
}

const fits = (hold: Hold, query: HoldsQuery): boolean =>
  (query.caller === undefined ||
    hold.head.caller.subject === query.caller ||
    hold.head.caller.client === query.caller) &&
  (query.rule === undefined || hold.head.rules.some(rule => rule.name === query.rule)) &&
  (query.upstream === undefined || hold.head.upstream === query.upstream) &&
  (query.reviewer === undefined ||
    hold.verdicts.some(
      verdict => verdict.reviewer.name === query.reviewer || verdict.reviewer.subject === query.reviewer,
    ))
