// Grants from their makers' side: what may be granted from a hold, what it would have let go, and taking it back. Grants are made by
// verdicts, in decide.ts; what they let go is judged in grant.ts, at every use.
import { commentOf } from './comment.ts'
import type { GrantPlan, GrantSaid, GrantView, GrantWord } from './console/desk.ts'
import { HoldpointError } from './errors.ts'
import {
  aboutGrant,
  type Grant,
  grantId,
  grantOf,
  grantRule,
  grantsPrefix,
  holdOfGrant,
  type Ledger,
  type Limits,
  ledgerKey,
  limitsOf,
  proposedIn,
  readLedger,
  revokedLedger,
} from './grant.ts'
import { callerIdentity, openView, readHold, verifiedHold, viewOf } from './hold.ts'
import { fitsResource, freeable, isLike } from './like.ts'
import { maskText, printable } from './mask.ts'
import type { GrantTerms, Hold, HoldHead, Part, Rate, Reviewer } from './nouns.ts'
import type { Parts } from './parts.ts'
import { inGroups, reviewerKeys, samePerson } from './people.ts'
import { aboutHold, whoReviews } from './record.ts'
import type { Settings } from './settings.ts'
import type { reading } from './show.ts'
import { states } from './states.ts'

const days = 7
const dayMs = 86_400_000
/** How many stored holds a plan looks at, and how many of them it names. */
const scanMax = 2_000
const namedMax = 10
const longest = 256
const iso = (at: number): string => new Date(at).toISOString()

// ---- durations and rates as words

const units = { s: 1_000, m: 60_000, h: 3_600_000, d: dayMs } as const
type Unit = keyof typeof units

const msOf = (text: string): number | undefined => {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const ms = unit === undefined ? 0 : Number(count) * units[unit as Unit]
  return ms > 0 ? ms : undefined
}

/** `90m`, `8h`: in the largest unit that says it whole. */
const spelled = (ms: number): string => {
  const unit = (['d', 'h', 'm', 's'] as const).find(one => ms % units[one] === 0)
  return unit === undefined ? `${ms}ms` : `${ms / units[unit]}${unit}`
}

const rateOf = (text: string): Rate | undefined => {
  const [, uses, unit] = /^([1-9]\d{0,3})\/([mhd])$/.exec(text) ?? []
  return unit === undefined ? undefined : { uses: Number(uses), perMs: units[unit as Unit] }
}

const rateText = ({ uses, perMs }: Rate): string => `${uses}/${spelled(perMs).replace(/^1/, '')}`

// ---- terms

const malformed = (detail: string, hold: string): HoldpointError => new HoldpointError('malformed', detail, { hold })

/**
 * The terms that words mean, if the rule and what is known of the call allow them.
 * @throws malformed, naming the field and what would do
 */
export const termsOf = (word: GrantWord, limits: Limits, parts: readonly Part[], head: HoldHead): GrantTerms => {
  const { id } = head
  const { uses, free, resource } = word
  if (!Number.isSafeInteger(uses) || uses < 1 || uses > limits.uses)
    throw malformed(`uses: must be a whole number from 1 to ${limits.uses}, the rule's limit.`, id)
  const forMs = msOf(word.for)
  if (forMs === undefined || forMs > limits.forMs)
    throw malformed(
      `for: must be a duration such as 30m or 1h, at most ${spelled(limits.forMs)}, the rule's limit.`,
      id,
    )
  const rate = word.rate === undefined ? undefined : rateOf(word.rate)
  if (word.rate !== undefined && rate === undefined) throw malformed('rate: must be a rate such as 5/m or 10/h.', id)
  for (const place of free) {
    if (!placesOf(parts).some(one => one.place === place && one.may_be_free))
      throw malformed(
        `free: "${printable(place.slice(0, longest))}" is no place of this call that may be left free.`,
        id,
      )
  }
  if (resource !== undefined) checkResource(resource, parts, head)
  return {
    ...{ uses, forMs },
    ...(rate === undefined ? {} : { rate }),
    free: [...new Set(free)].sort(),
    ...(resource === undefined || resource === head.action.resource ? {} : { resource }),
  }
}

const checkResource = (pattern: string, parts: readonly Part[], { id, action }: HoldHead): void => {
  if (!resourceMayBeFree(parts)) throw malformed('resource: of this call it has to be the same; leave it out.', id)
  if (pattern.length > longest || !/^[\x21-\x7e]+$/.test(pattern))
    throw malformed(`resource: must be at most ${longest} visible ASCII characters.`, id)
  if (pattern.includes('**')) throw malformed('resource: "*" stands for characters between two slashes; write one.', id)
  if (pattern !== action.resource && !fitsResource(pattern)(action.resource))
    throw malformed(`resource: must fit this call's own, ${printable(action.resource)}.`, id)
}

const resourceMayBeFree = (parts: readonly Part[]): boolean =>
  parts.some(([place, type]) => place === 'resource' && type === 'text') &&
  parts.some(([place, type]) => place === 'path' && type === 'plain')

const wordOf = ({ uses, forMs, rate, free, resource }: GrantTerms): GrantWord => ({
  ...{ uses, for: spelled(forMs), free },
  ...(rate === undefined ? {} : { rate: rateText(rate) }),
  ...(resource === undefined ? {} : { resource }),
})

/** What is let go, in sentences. */
const said = (terms: GrantTerms, limits: Limits | undefined, head: HoldHead): GrantSaid => {
  const { caller, behind, action } = head
  const rates = [...(limits?.rates ?? []), ...(terms.rate === undefined ? [] : [terms.rate])].map(rateText)
  const people = behind.known ? behind.labels.map(printable).join(', ') : 'somebody unknown'
  return {
    terms: wordOf(terms),
    words: [
      `${terms.uses} ${terms.uses === 1 ? 'call' : 'calls'} of ${printable(caller.name ?? caller.subject)} for ${people}, within ${spelled(terms.forMs)}${rates.length === 0 ? '' : `, at most ${rates.join(' and ')}`}, without asking anybody.`,
      `${printable(action.name)} on ${terms.resource === undefined ? `exactly ${printable(action.resource)}` : `any ${printable(terms.resource)}`} of ${head.upstream}, while the rule ${head.rules.map(({ name }) => name).join(', ')} stays as it is.`,
      terms.free.length === 0
        ? 'Everything else as in this call: query, headers and body.'
        : `${terms.free.map(freedWords).join('; ')}. Everything else as in this call.`,
    ],
  }
}

const freedWords = (place: string): string =>
  place === 'body' ? 'Any body whatsoever, unread' : `Any ${printable(place)}`

// ---- the desk's part

export const granting = (parts: Parts, read: ReturnType<typeof reading>) => {
  const { store, keys, record } = parts
  const { seen, maySee, viewFor, youOf, standingOf, isBehind } = read

  /** What a grant from this hold may say at most. @throws not_found if it can have none */
  const basis = async (hold: Hold, settings: Settings): Promise<{ limits: Limits; places: readonly Part[] }> => {
    const rule = grantRule(hold.head, settings)
    const limits = rule === undefined ? undefined : limitsOf(rule)
    const view = await openView(store, keys, hold.head.id)
    if (limits === undefined || view?.parts === undefined)
      throw new HoldpointError(
        'not_found',
        'The rule of this call allows no grants, or did not when it was held, or several rules hold it.',
        { hold: hold.head.id },
      )
    return { limits, places: view.parts }
  }

  /** Checked words. @throws not_found, malformed */
  const terms = async (hold: Hold, settings: Settings, word: GrantWord): Promise<GrantTerms> => {
    const { limits, places } = await basis(hold, settings)
    return termsOf(word, limits, places, hold.head)
  }

  const matched = async (
    reviewer: Reviewer,
    { head, now }: Hold,
    settings: Settings,
    terms: GrantTerms,
    places: readonly Part[],
  ): Promise<GrantPlan['matched']> => {
    const mine = callerIdentity(head.caller, head.behind)
    const [rule] = head.rules
    const alike: Hold[] = []
    let [of, scanned] = [0, 0]
    let after: string | undefined
    do {
      const page = await store.holds.list({
        ...{ states: [...states], order: 'newest', limit: 200 },
        ...(after === undefined ? {} : { after }),
      })
      for (const stored of page.holds) {
        const hold = verifiedHold(keys, stored)
        if (hold === undefined || hold.head.id === head.id || hold.head.openedAt < now - days * dayMs) continue
        if (callerIdentity(hold.head.caller, hold.head.behind) !== mine || hold.head.upstream !== head.upstream)
          continue
        if (hold.head.rules.length !== 1 || hold.head.rules[0]?.name !== rule?.name) continue
        if (!maySee(reviewer, hold, settings)) continue
        of += 1
        const view = await openView(store, keys, hold.head.id)
        if (view?.parts !== undefined && isLike(places, view.parts, terms, hold.head.action.resource)) alike.push(hold)
      }
      scanned += page.holds.length
      after = page.next
    } while (after !== undefined && scanned < scanMax)
    const rows = await Promise.all(alike.slice(0, namedMax).map(hold => viewFor(reviewer, hold, settings)))
    return {
      ...{ days, of, all: after === undefined, count: alike.length },
      holds: rows.map(({ id, line, status, opened_at }) => ({ id, line, status, opened_at })),
    }
  }

  /** A grant that this reviewer may see. @throws not_found */
  const found = async (
    reviewer: Reviewer,
    id: string,
  ): Promise<{ hold: Hold; ledger: Ledger; text: string; key: string; settings: Settings }> => {
    const missing = (): HoldpointError =>
      new HoldpointError('not_found', 'There is no grant with this id that you may see.')
    const { hold, settings } = await seen(reviewer, holdOfGrant(id)).catch((error: unknown) => {
      throw error instanceof HoldpointError && error.code === 'unknown_hold' ? missing() : error
    })
    const key = ledgerKey(keys, hold.head)
    const text = await store.shelf.get(key)
    const ledger = text === undefined ? undefined : readLedger(keys, key, text)
    if (text === undefined || ledger === undefined || grantId(hold.head.id) !== id) throw missing()
    return { hold, ledger, text, key, settings }
  }

  const mayRevoke = (reviewer: Reviewer, hold: Hold, settings: Settings): boolean =>
    isBehind(reviewer, hold, settings) ||
    standingOf(reviewer, hold, settings).may ||
    (reviewer.interactive && inGroups(reviewer, settings.console.operators, settings)) ||
    hold.verdicts.some(
      ({ grant, keys: maker }) => grant !== undefined && samePerson(maker, reviewerKeys(reviewer, settings)),
    )

  const statusOf = (grant: Grant | undefined, made: GrantTerms, ledger: Ledger, untilAt: number, now: number) => {
    if (ledger.revoked !== undefined) return 'revoked'
    if (now >= untilAt) return 'ended'
    if (grant === undefined) return 'void'
    return ledger.uses.length >= made.uses ? 'used_up' : 'live'
  }

  const viewed = async (
    reviewer: Reviewer,
    hold: Hold,
    ledger: Ledger,
    settings: Settings,
  ): Promise<GrantView | undefined> => {
    const grant = grantOf(hold, settings)
    const made = grant?.terms ?? proposedIn(hold.verdicts)
    if (made === undefined) return undefined
    const rule = grantRule(hold.head, settings)
    const by = hold.verdicts.filter(one => one.grant !== undefined)
    const madeAt = Math.max(...by.map(({ at }) => at))
    const untilAt = madeAt + made.forMs
    const status = statusOf(grant, made, ledger, untilAt, hold.now)
    const { line, caller, behind } = await viewFor(reviewer, hold, settings)
    const { revoked } = ledger
    return {
      ...said(made, rule === undefined ? undefined : limitsOf(rule), hold.head),
      ...{ id: grantId(hold.head.id), hold: hold.head.id, status, line, caller, behind },
      rule: hold.head.rules.map(({ name }) => name).join(', '),
      upstream: hold.head.upstream,
      made_by: by.map(({ reviewer: { login, name } }) => ({ login, name: printable(name) })),
      made_at: iso(madeAt),
      until: iso(untilAt),
      used: ledger.uses.length,
      holds: ledger.uses.map(([id, at]) => ({ id, at: iso(at) })),
      ...(revoked === undefined
        ? {}
        : {
            revoked: {
              by: revoked.by,
              at: iso(revoked.at),
              ...(revoked.comment === undefined ? {} : { comment: revoked.comment }),
            },
          }),
      you: { may_revoke: status === 'live' && mayRevoke(reviewer, hold, settings) },
    }
  }

  const shown = async (reviewer: Reviewer, id: string): Promise<GrantView> => {
    const { hold, ledger, settings } = await found(reviewer, id)
    const view = await viewed(reviewer, hold, ledger, settings)
    if (view === undefined) throw new HoldpointError('not_found', 'There is no grant with this id.')
    return view
  }

  return {
    terms,

    async planGrant(reviewer: Reviewer, id: string, word: GrantWord | undefined): Promise<GrantPlan> {
      const { hold, settings } = await seen(reviewer, id)
      const you = youOf(reviewer, hold, settings)
      if (!you.may_decide) {
        const stands = standingOf(reviewer, hold, settings)
        throw new HoldpointError(stands.may ? 'already_decided' : stands.code, you.detail, { hold: id })
      }
      const { limits, places } = await basis(hold, settings)
      const earlier = proposedIn(hold.verdicts)
      const wanted =
        word === undefined
          ? (earlier ?? { uses: 1, forMs: Math.min(limits.forMs, units.h), free: [] })
          : termsOf(word, limits, places, hold.head)
      const view = await viewFor(reviewer, hold, settings)
      const { line, hidden, comment_required } = view
      return {
        ...said(wanted, limits, hold.head),
        hold: { id, line, view: viewOf(hold.head), hidden, comment_required, you },
        limits: { uses: limits.uses, for: spelled(limits.forMs), rates: limits.rates.map(rateText) },
        resource: { value: hold.head.action.resource, may_be_free: resourceMayBeFree(places) },
        places: placesOf(places),
        ...(earlier === undefined ? {} : { proposed: wordOf(earlier) }),
        matched: await matched(reviewer, hold, settings, wanted, places),
      }
    },

    async grants(reviewer: Reviewer): Promise<readonly GrantView[]> {
      const settings = parts.settings()
      const views: GrantView[] = []
      for (const [key, text] of await store.shelf.list(grantsPrefix)) {
        const ledger = readLedger(keys, key, text)
        const hold = ledger === undefined ? undefined : await readHold(store, keys, ledger.hold)
        if (ledger === undefined || hold === undefined || !maySee(reviewer, hold, settings)) continue
        const view = await viewed(reviewer, hold, ledger, settings)
        if (view !== undefined) views.push(view)
      }
      return views.sort((one, other) => (one.made_at < other.made_at ? 1 : -1))
    },

    showGrant: shown,

    async revokeGrant(reviewer: Reviewer, id: string, word: { readonly comment?: string }): Promise<GrantView> {
      const comment = commentOf(keys, word.comment)
      for (;;) {
        const { hold, ledger, text, key, settings } = await found(reviewer, id)
        if (ledger.revoked !== undefined) throw new HoldpointError('already_decided', 'It was revoked already.')
        if (!mayRevoke(reviewer, hold, settings))
          throw new HoldpointError(
            'not_approver',
            'A grant is revoked by its makers, the approvers of its rule, the people behind its caller, or an operator.',
          )
        const grant = grantOf(hold, settings)
        record.note({
          ...aboutHold(hold.head),
          kind: 'grant.revoked',
          reviewer: whoReviews(reviewer),
          ...(grant === undefined ? { detail: id } : { grant: aboutGrant(grant) }),
          ...(comment === undefined ? {} : { comment }),
        })
        await record.flush()
        const revoked = {
          ...{ by: printable(reviewer.name), at: hold.now },
          ...(comment === undefined ? {} : { comment }),
        }
        const next = revokedLedger(keys, key, ledger, revoked)
        // A use that came in between changed the ledger: it is read again, and then revoked.
        if (await store.shelf.put(key, next.text, { ttlMs: next.ttlMs, when: { is: text } })) return shown(reviewer, id)
      }
    },
  }
}

const placesOf = (parts: readonly Part[]): GrantPlan['places'] => {
  const known = new Map<string, GrantPlan['places'][number]>()
  for (const part of parts) {
    const [place, type] = part
    // A name may be a secret as well as a value: such a place stays as it is, and is not named.
    if (type !== 'members' && type !== 'list' && maskText(place, () => '') === place)
      known.set(place, { place, type, may_be_free: freeable(part) })
  }
  return [...known.values()]
}
