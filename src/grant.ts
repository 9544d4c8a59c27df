// Grants: what reviewers let go in advance. A grant is nothing but the signed approvals of one hold that carry the same terms, counted
// again at every use, with rules, people and settings as they are then. Its ledger says which holds used it and whether it was revoked:
// one signed text on the shelf, which changes only in the same step as the release that it pays for.
import { callerIdentity, openView, readHold } from './hold.ts'
import { isLike } from './like.ts'
import type { GrantEntry, GrantTerms, Hold, HoldHead, Rate, Reviewer, Verdict } from './nouns.ts'
import type { Parts } from './parts.ts'
import { peopleBehind, samePerson, tally, type Vote } from './people.ts'
import { countedVotes } from './ready.ts'
import { aboutHold, whoReviews } from './record.ts'
import { stillOf } from './requalify.ts'
import type { KeyRing } from './seal.ts'
import type { Rule, Settings } from './settings.ts'
import type { State } from './states.ts'
import type { Store, Swap } from './store/store.ts'

/** A ledger stays this long after its grant has ended, to be looked at. */
const keptMs = 86_400_000
const page = 200

export type Limits = { readonly uses: number; readonly forMs: number; readonly rates: readonly Rate[] }

export type Grant = {
  readonly id: string
  /** The hold whose verdicts it is. */
  readonly origin: Hold
  readonly terms: GrantTerms
  /** Every rate that it has to keep: its own and the rule's. */
  readonly rates: readonly Rate[]
  readonly votes: readonly Vote[]
  readonly madeAt: number
  readonly untilAt: number
}

export type Ledger = {
  readonly version: 1
  readonly hold: string
  readonly uses: readonly (readonly [hold: string, at: number])[]
  readonly revoked?: { readonly by: string; readonly at: number; readonly comment?: string }
}

// ---- what a rule allows

/** The most that a grant under this rule may allow; undefined if there are none: every entry of `approve` has to say so. */
export const limitsOf = ({ approve }: Rule): Limits | undefined => {
  const limits = approve.flatMap(({ grant }) => (grant === undefined ? [] : [grant]))
  if (limits.length === 0 || limits.length < approve.length) return undefined
  return {
    uses: Math.min(...limits.map(({ uses }) => uses)),
    forMs: Math.min(...limits.map(({ forMs }) => forMs)),
    rates: limits.flatMap(({ rate }) => (rate === undefined ? [] : [rate])),
  }
}

/** The one rule of a hold, if it is in force as it was then. A tunnel has none: what goes through it is seen by nobody. */
export const grantRule = ({ rules, upgrade }: HoldHead, settings: Settings): Rule | undefined => {
  const [only, ...more] = rules
  if (only === undefined || more.length > 0 || upgrade !== undefined) return undefined
  return settings.rules.find(rule => rule.name === only.name && rule.hash === only.hash)
}

/** May there be a grant for this hold at all? Asked of every call that waits, before anything is read. */
export const grantable = ({ head }: Pick<Hold, 'head'>, settings: Settings): boolean => {
  const rule = grantRule(head, settings)
  return rule !== undefined && limitsOf(rule) !== undefined
}

// ---- what the verdicts of a hold make

export const grantId = (hold: string): string => `g_${hold.slice(2)}`
export const holdOfGrant = (id: string): string => `h_${id.slice(2)}`

/** Were these terms proposed by this verdict? */
export const sameTerms = (one: GrantTerms, other: GrantTerms | undefined): boolean =>
  other !== undefined && textOf(one) === textOf(other)

const textOf = ({ uses, forMs, rate, free, resource }: GrantTerms): string =>
  JSON.stringify([uses, forMs, rate === undefined ? null : [rate.uses, rate.perMs], free, resource ?? null])

// Of a hold that was denied, taken back or void nothing is left; of one that waits there is nothing yet.
const stands: ReadonlySet<State> = new Set<State>(['approved', 'released', 'delivered', 'failed', 'unknown', 'lapsed'])

/**
 * The grant that a hold's verdicts make, counted as things are now; `behind` are people behind the call that wants to use it. Undefined
 * if its rule or upstream is another one, or too few of those who agreed on the same terms still count.
 */
export const grantOf = (origin: Hold, settings: Settings, behind: readonly string[] = []): Grant | undefined => {
  const { head, verdicts, state } = origin
  const rule = grantRule(head, settings)
  const limits = rule === undefined ? undefined : limitsOf(rule)
  if (rule === undefined || limits === undefined || !stands.has(state)) return undefined
  if (!settings.upstreams.some(({ name, hash }) => name === head.upstream && hash === head.upstreamHash))
    return undefined
  const proposed = verdicts.flatMap(({ grant }) => (grant === undefined ? [] : [grant]))
  for (const terms of proposed.filter(one => within(one, limits))) {
    const agreed = verdicts.filter(({ grant }) => sameTerms(terms, grant))
    const votes = countedVotes({ ...origin, verdicts: agreed }, settings).filter(
      ({ keys }) => !samePerson(keys, behind),
    )
    const { have, needed } = tally(rule, votes, settings)
    if (needed < 1 || have < needed) continue
    const madeAt = Math.max(...agreed.map(({ at }) => at))
    return {
      ...{ id: grantId(head.id), origin, terms, votes, madeAt, untilAt: madeAt + terms.forMs },
      rates: [...limits.rates, ...(terms.rate === undefined ? [] : [terms.rate])],
    }
  }
  return undefined
}

const within = ({ uses, forMs }: GrantTerms, limits: Limits): boolean => uses <= limits.uses && forMs <= limits.forMs

export const makersOf = ({ votes }: Grant): readonly Reviewer[] => votes.map(({ reviewer }) => reviewer)

/** What the log says of a grant. */
export const aboutGrant = (grant: Grant): GrantEntry => ({
  id: grant.id,
  makers: makersOf(grant).map(reviewer => {
    const { login, subject, name } = whoReviews(reviewer)
    return { login, subject, name }
  }),
  uses: grant.terms.uses,
  until: new Date(grant.untilAt).toISOString(),
  free: grant.terms.free,
  ...(grant.terms.resource === undefined ? {} : { resource: grant.terms.resource }),
})

// ---- its ledger

export const grantsPrefix = 'grant:'

const ofCaller = (keys: KeyRing, { caller, behind }: HoldHead): string =>
  `${grantsPrefix}${keys.fingerprints(callerIdentity(caller, behind), 'caller').at(-1)}:`

export const ledgerKey = (keys: KeyRing, head: HoldHead): string => `${ofCaller(keys, head)}${head.id}`

/** A ledger that is ours and stands where it belongs. */
export const readLedger = (keys: KeyRing, key: string, text: string): Ledger | undefined => {
  const payload = keys.verify(text, key)
  const ledger = payload === undefined ? undefined : (JSON.parse(payload) as Ledger)
  return ledger?.version === 1 && key.endsWith(`:${ledger.hold}`) ? ledger : undefined
}

export const signLedger = (keys: KeyRing, key: string, ledger: Ledger): string => keys.sign(JSON.stringify(ledger), key)

const swap = (keys: KeyRing, grant: Grant, was: string | undefined, ledger: Ledger): Swap => {
  const { head } = grant.origin
  const key = ledgerKey(keys, head)
  return { key, was, becomes: signLedger(keys, key, ledger), untilAt: grant.untilAt + keptMs, from: head.id }
}

/** What the deciding verdict puts on the shelf. */
export const newLedger = (keys: KeyRing, grant: Grant): Swap =>
  swap(keys, grant, undefined, { version: 1, hold: grant.origin.head.id, uses: [] })

/** What revoking puts in the ledger's place, and for how long it stays. */
export const revokedLedger = (
  keys: KeyRing,
  key: string,
  ledger: Ledger,
  revoked: NonNullable<Ledger['revoked']>,
): { readonly text: string; readonly ttlMs: number } => ({
  text: signLedger(keys, key, { ...ledger, revoked }),
  ttlMs: keptMs,
})

// ---- a use

/** A grant that lets a hold go, and what its ledger becomes when it does. */
export type Use = { readonly grant: Grant; readonly swap: Swap }

/**
 * The grant that lets this hold go now, if there is one. A hold that used it already, and was given back because nothing could be sent,
 * uses nothing more. `stale`: ledgers that have proved to be out of date; they are passed over.
 */
export const useOf = async (
  parts: Parts,
  hold: Hold,
  settings: Settings,
  stale: ReadonlySet<string>,
): Promise<Use | undefined> => {
  const { store, keys, freezes, again } = parts
  const { head, now } = hold
  if (!grantable(hold, settings)) return undefined
  // Where the fate of the same call is not known, a person has to look first.
  if (hold.facts.earlier !== undefined) return undefined
  const found = await store.shelf.list(ofCaller(keys, head))
  if (found.length === 0) return undefined
  const view = await openView(store, keys, head.id)
  if (view?.parts === undefined) return undefined
  const behind = [...head.behind.keys, ...peopleBehind(head.caller, settings).keys]
  for (const [key, text] of found) {
    const ledger = stale.has(text) ? undefined : readLedger(keys, key, text)
    const origin = ledger === undefined || ledger.revoked ? undefined : await readHold(store, keys, ledger.hold)
    const grant = origin === undefined ? undefined : grantOf(origin, settings, behind)
    if (ledger === undefined || grant === undefined || !fits(grant, hold) || !isLeft(grant, ledger, hold)) continue
    if (grant.votes.some(({ keys: maker }) => freezes.ofPerson(maker) !== undefined)) continue
    const seen = await openView(store, keys, grant.origin.head.id)
    if (seen?.parts === undefined || !isLike(seen.parts, view.parts, grant.terms, head.action.resource)) continue
    // What is hidden has to be what its makers knew to be hidden.
    if (JSON.stringify(seen.unseen) !== JSON.stringify(view.unseen)) continue
    if (await isUncertain(store, grant, ledger)) continue
    const { approve = [] } = grantRule(head, settings) ?? {}
    const makers = await Promise.all(
      grant.votes.map(({ reviewer, waitedMs = 0 }) => stillOf(reviewer, waitedMs, approve, settings, again)),
    )
    if (makers.includes('left')) await end(parts, grant, ledger, text, now)
    if (makers.some(one => one !== 'stands')) continue
    const used = ledger.uses.some(([id]) => id === head.id)
    const next = used ? ledger : { ...ledger, uses: [...ledger.uses, [head.id, now] as const] }
    return { grant, swap: swap(keys, grant, text, next) }
  }
  return undefined
}

/** The same caller with the same people behind it, the same rule, in time; never the hold that it was made from. */
const fits = ({ origin, untilAt }: Grant, { head, now }: Hold): boolean =>
  origin.head.id !== head.id &&
  now < untilAt &&
  callerIdentity(origin.head.caller, origin.head.behind) === callerIdentity(head.caller, head.behind) &&
  JSON.stringify(origin.head.rules) === JSON.stringify(head.rules)

const isLeft = ({ terms, rates }: Grant, { uses }: Ledger, { head, now }: Hold): boolean =>
  uses.some(([id]) => id === head.id) ||
  (uses.length < terms.uses && rates.every(rate => uses.filter(([, at]) => at > now - rate.perMs).length < rate.uses))

/** Ends a grant for good: who is in the group again tomorrow, or cannot be asked about any more, does not bring it back. */
const end = async (
  { store, keys, record }: Parts,
  grant: Grant,
  ledger: Ledger,
  text: string,
  now: number,
): Promise<void> => {
  const { head } = grant.origin
  const comment = 'One of its makers does not qualify any more.'
  record.note({ ...aboutHold(head), kind: 'grant.revoked', detail: comment, grant: aboutGrant(grant) })
  const key = ledgerKey(keys, head)
  const ended = revokedLedger(keys, key, ledger, { by: 'Holdpoint', at: now, comment })
  await store.shelf.put(key, ended.text, { ttlMs: ended.ttlMs, when: { is: text } })
}

/** Does nobody know how one of its calls ended? A new idempotency key, or another free value, is no reason to send the next. */
const isUncertain = async (store: Store, { origin, madeAt }: Grant, { uses }: Ledger): Promise<boolean> => {
  const sent = new Set([origin.head.id, ...uses.map(([id]) => id)])
  for (let after: string | undefined; ; ) {
    const more = after === undefined ? {} : { after }
    const { holds, next } = await store.holds.list({ states: ['unknown'], order: 'newest', limit: page, ...more })
    if (holds.some(({ id }) => sent.has(id))) return true
    const { closedAt = madeAt } = holds.at(-1)?.facts ?? {}
    // Those before were lost before there was a grant.
    if (next === undefined || closedAt < madeAt) return false
    after = next
  }
}

/** The terms that a hold's verdicts propose so far, for the next reviewer to agree with. */
export const proposedIn = (verdicts: readonly Verdict[]): GrantTerms | undefined =>
  verdicts.findLast(({ grant }) => grant !== undefined)?.grant
