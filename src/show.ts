// What a reviewer may see, and in which form: the queue, one hold, the history. Nothing here changes anything;
// what may not be seen does not exist, and everything shown of a call comes from its sealed, masked view.
import type { HoldsQuery, RuleView } from './console/desk.ts'
import { HoldpointError } from './errors.ts'
import { grantId, grantOf, limitsOf } from './grant.ts'
import { openView, readHold, verifiedHold, viewOf } from './hold.ts'
import { hiddenOf, looks } from './looks.ts'
import { printable } from './mask.ts'
import type { Hold, Reviewer } from './nouns.ts'
import type { Parts } from './parts.ts'
import {
  approversOf,
  glassStanding,
  inGroups,
  peopleBehind,
  reviewerKeys,
  type Standing,
  samePerson,
  standing,
  tally,
} from './people.ts'
import { countedVotes, stoppable } from './ready.ts'
import type { Rule, Settings } from './settings.ts'
import { live, type State, states } from './states.ts'
import { challengeOf, steppedUp } from './step-up.ts'
import { unreachedOf } from './told.ts'
import type { HoldRow, HoldView, Preview, View } from './views.ts'

const pageMax = 200
/** How many stored holds one list call looks at before it answers with what it has. */
const scanMax = 1_000
const iso = (at: number): string => new Date(at).toISOString()

/** Lines of holds that were shown lately. */
const linesKept = 2_000

/** Equal fingerprints tell equal values apart from others; the people behind a call are not to learn even that. */
export const withoutFingerprints = (view: View): View => JSON.parse(unprinted(JSON.stringify(view))) as View

const unprinted = (text: string): string => text.replaceAll(/, #[0-9a-f]{8}›/g, '›')

/** It was asked with the gate's credential, for somebody whom the rules may not let read what was answered. */
const notTheirs: Preview = { kind: 'none', why: 'what the upstream answers is shown to reviewers only' }

export const reading = (parts: Parts) => {
  const { store, keys } = parts
  const looked = looks({ shelf: store.shelf, keys })

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
    standing(reviewer, behindNow(hold, settings), rulesOf(hold, settings), settings, hold.now - hold.head.openedAt)

  const mayDirect = (reviewer: Reviewer, settings: Settings): boolean =>
    reviewer.interactive && inGroups(reviewer, settings.console.operators, settings)

  const glassOf = (reviewer: Reviewer, hold: Hold, settings: Settings): Standing =>
    glassStanding(reviewer, behindNow(hold, settings), rulesOf(hold, settings), settings)

  const maySee = (reviewer: Reviewer, hold: Hold, settings: Settings): boolean =>
    isBehind(reviewer, hold, settings) ||
    [standing, glassStanding].some(
      named =>
        named(
          { ...reviewer, interactive: true },
          { keys: [], labels: [], known: true },
          rulesOf(hold, settings),
          settings,
          hold.now - hold.head.openedAt,
        ).may,
    ) ||
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
    const glass = glassOf(reviewer, hold, settings).may
    const qualifiedOrOperator = stands.may || glass || mayDirect(reviewer, settings)
    const may_revoke =
      ((hold.state === 'approved' || (hold.state === 'released' && hold.facts.tunnel === true)) &&
        (qualifiedOrOperator || own)) ||
      (hold.state === 'pending' && reviewer.interactive && (own || mayDirect(reviewer, settings)))
    const may_resolve = hold.state === 'unknown' && qualifiedOrOperator && !own
    const waits = hold.state === 'pending'
    const may_reveal = waits && (stands.may || glass) && steppedUp(reviewer, rulesOf(hold, settings), hold.now)
    const besides = { may_revoke, may_resolve, may_break_glass: waits && glass, may_reveal }
    if (!stands.may) return { may_decide: false, because: stands.code, detail: stands.detail, ...besides }
    if (hold.state !== 'pending')
      return { may_decide: false, because: 'already_decided', detail: `It is ${hold.state}.`, ...besides }
    if (voted(reviewer, hold, settings))
      return {
        may_decide: false,
        because: 'already_decided',
        detail: 'You have approved it; it needs somebody else as well.',
        ...besides,
      }
    return { may_decide: true, ...besides }
  }

  const voted = (reviewer: Reviewer, hold: Hold, settings: Settings): boolean =>
    countedVotes(hold, settings).some(vote => samePerson(vote.keys, reviewerKeys(reviewer, settings)))

  const rowOf = (reviewer: Reviewer, hold: Hold, line: string | undefined, settings: Settings): HoldRow => {
    const { head, facts } = hold
    const { caller } = head
    return {
      id: head.id,
      status: hold.state,
      line: line ?? `${head.action.name} ${head.action.resource}`,
      action: head.action,
      upstream: head.upstream,
      caller: {
        issuer: caller.issuer,
        subject: printable(caller.subject),
        kind: caller.kind,
        ...(caller.name === undefined ? {} : { name: printable(caller.name) }),
        ...(caller.email === undefined ? {} : { email: printable(caller.email) }),
        ...(caller.client === undefined ? {} : { client: printable(caller.client) }),
        ...(caller.owner === undefined ? {} : { owner: printable(caller.owner) }),
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
      ...(hold.verdicts.some(({ verdict }) => verdict === 'break_glass') ? { break_glass: true } : {}),
      ...(head.unseen === undefined ? {} : { partly_seen: head.unseen.count }),
    }
  }

  // A view never changes, and a list shows a line of each: to open them all again for whoever looks at the queue is most of its cost.
  const lines = new Map<string, string>()
  const lineFor = async (reviewer: Reviewer, hold: Hold, settings: Settings): Promise<string | undefined> => {
    const { id } = hold.head
    const line = lines.get(id) ?? (await openView(store, keys, id))?.line
    if (line === undefined) return undefined
    lines.set(id, line)
    if (lines.size > linesKept) lines.delete(lines.keys().next().value ?? '')
    return isBehind(reviewer, hold, settings) ? unprinted(line) : line
  }

  /** The one place that opens a whole view for somebody. */
  const openFor = async (reviewer: Reviewer, hold: Hold, settings: Settings): Promise<View | undefined> => {
    const view = await openView(store, keys, hold.head.id)
    if (view === undefined || !isBehind(reviewer, hold, settings)) return view
    const { preview, ...own } = withoutFingerprints(view)
    return preview === undefined ? own : { ...own, preview: notTheirs }
  }

  const row = async (reviewer: Reviewer, hold: Hold, settings: Settings): Promise<HoldRow> =>
    rowOf(reviewer, hold, await lineFor(reviewer, hold, settings), settings)

  const viewFor = async (reviewer: Reviewer, hold: Hold, settings: Settings): Promise<HoldView> => {
    const view = await openFor(reviewer, hold, settings)
    const { facts, head } = hold
    const rules = rulesOf(hold, settings)
    const challenge = hold.state === 'pending' ? challengeOf(rules) : undefined
    const frozen = live.has(hold.state) ? parts.freezes.stopping(stoppable(hold, settings)) : undefined
    const unreached = await unreachedOf(parts, hold, [...new Set(rules.flatMap(rule => rule.notify))])
    return {
      ...rowOf(reviewer, hold, view?.line, settings),
      view: viewOf(head),
      ...(view?.reason === undefined ? {} : { reason: view.reason }),
      approvers: approversOf(rules, hold.now - head.openedAt),
      policy: { config: head.configHash, rules: head.rules.map(rule => rule.hash) },
      request: {
        method: head.method,
        target: view?.target ?? head.action.resource,
        headers: view?.headers ?? [],
        body: view?.body ?? { kind: 'none' },
      },
      ...(view?.preview === undefined ? {} : { preview: view.preview }),
      hidden: hiddenOf(view, view === undefined ? [] : await looked.of(reviewer, head, view), rules),
      digest: head.digest,
      verdicts: hold.verdicts.map(verdict => ({
        reviewer: printable(verdict.reviewer.name),
        login: verdict.reviewer.login,
        verdict: verdict.verdict,
        ...(verdict.comment === undefined ? {} : { comment: verdict.comment }),
        ...(verdict.unseen === undefined ? {} : { unseen: verdict.unseen }),
        at: iso(verdict.at),
      })),
      ...(rules.length === 1 && rules.every(rule => limitsOf(rule) !== undefined) && view?.parts !== undefined
        ? { may_grant: true as const }
        : {}),
      ...(grantOf(hold, settings) === undefined ? {} : { granted: grantId(head.id) }),
      ...(facts.grant === undefined ? {} : { by_grant: { id: facts.grant, by: facts.decidedBy ?? '' } }),
      comment_required: rules.some(rule => rule.approve.some(approve => approve.comment === 'required')),
      ...(challenge === undefined
        ? {}
        : {
            step_up: {
              acr_values: challenge.acr,
              ...(challenge.maxAgeS === undefined ? {} : { max_age: challenge.maxAgeS }),
              met: steppedUp(reviewer, rules, hold.now),
            },
          }),
      ...(frozen === undefined ? {} : { frozen: frozen.reason }),
      ...(unreached === undefined ? {} : { unreached }),
      ...(facts.approvedUntilAt === undefined ? {} : { approved_until: iso(facts.approvedUntilAt) }),
      ...(facts.earlier === undefined
        ? {}
        : { earlier: { id: facts.earlier.id, status: facts.earlier.state, at: iso(facts.earlier.at) } }),
      ...(facts.why === undefined ? {} : { why: facts.why }),
    }
  }

  // The store's cursor names the last hold that was looked at, which may be one that the reviewer may not see: it leaves sealed.
  const cursorIn = (sealed: string, place: string): string => {
    try {
      return keys.open(sealed, place).toString('utf8')
    } catch {
      throw new HoldpointError('malformed', '"after" must be the "next" of an earlier answer to the same list.')
    }
  }

  const list = async (
    reviewer: Reviewer,
    query: HoldsQuery,
  ): Promise<{ readonly holds: readonly HoldRow[]; readonly next?: string }> => {
    const settings = parts.settings()
    const wanted = statesOf(query.status)
    const waiting = wanted.every(state => live.has(state))
    if (waiting && (query.fromAt !== undefined || query.toAt !== undefined))
      throw new HoldpointError('malformed', '"from" and "to" say when a hold closed: ask for a status of closed holds.')
    const found: Hold[] = []
    const limit = Math.min(Math.max(1, query.limit), pageMax)
    const place = `list:${query.status}:${reviewer.login}:${reviewer.subject}`
    let after = query.after === undefined ? undefined : cursorIn(query.after, place)
    for (let scanned = 0; scanned < scanMax; ) {
      const ask = (count: number) =>
        store.holds.list({
          states: wanted,
          order: waiting ? 'due' : 'newest',
          limit: count,
          ...(after === undefined ? {} : { after }),
          ...(query.toAt === undefined ? {} : { beforeAt: query.toAt }),
        })
      const page = await ask(scanned === 0 ? limit : pageMax)
      let at = 0
      let older = false
      for (; at < page.holds.length && found.length < limit && !older; at += 1) {
        const stored = page.holds[at]
        const hold = stored === undefined ? undefined : verifiedHold(keys, stored)
        if (hold === undefined) continue
        // Newest first: what follows is older still.
        older = query.fromAt !== undefined && endOf(hold) < query.fromAt
        if (!older && fits(hold, query) && maySee(reviewer, hold, settings)) found.push(hold)
      }
      scanned += at
      if (older) after = undefined
      else after = at === page.holds.length ? page.next : (await ask(at)).next
      if (after === undefined || found.length >= limit) break
    }
    const holds = await Promise.all(found.map(hold => row(reviewer, hold, settings)))
    return { holds, ...(after === undefined ? {} : { next: keys.seal(after, place) }) }
  }

  // Rules name people and limits: they are for those who work with them, and for anybody else there are none.
  const mayReadRules = (reviewer: Reviewer, settings: Settings): boolean =>
    inGroups(reviewer, [...settings.console.auditors, ...settings.console.operators], settings) ||
    settings.rules.some(rule =>
      [standing, glassStanding].some(
        stands =>
          stands(
            { ...reviewer, interactive: true },
            { keys: [], labels: [], known: true },
            [rule],
            settings,
            Number.POSITIVE_INFINITY,
          ).may,
      ),
    )

  const rules = async (reviewer: Reviewer): Promise<readonly RuleView[]> => {
    const settings = parts.settings()
    if (!mayReadRules(reviewer, settings)) return []
    return settings.rules.map(rule => ({
      name: rule.name,
      then: rule.then,
      where: rule.where,
      hash: rule.hash,
      line: rule.then === 'hold' ? `hold for ${approversOf([rule]).join(', ')}` : rule.then,
    }))
  }

  return { seen, maySee, row, viewFor, youOf, standingOf, glassOf, isBehind, voted, list, rules }
}

const statesOf = (status: HoldsQuery['status']): readonly State[] => {
  if (status === 'open') return [...live]
  if (status === 'closed') return states.filter(state => !live.has(state))
  return [status]
}

/** When a closed hold closed; one that does not say fits any time. */
const endOf = ({ facts }: Hold): number => facts.closedAt ?? Number.POSITIVE_INFINITY

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
