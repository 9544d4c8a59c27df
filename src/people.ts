// One notion of *person* for both doors: who is behind a call, and whether a reviewer's verdict on it may count.
// To exclude we are generous (any shared key), to qualify we are strict (a qualified group, or an e-mail its own login vouches for).
// Pure functions over configuration and verified identities; nothing here has an exception for anybody.
import type { ErrorCode } from './errors.ts'
import type { Behind, Caller, Reviewer } from './nouns.ts'
import type { Approve, Rule, Settings } from './settings.ts'

/** An e-mail address as it is compared for exclusion: NFKC, lower case, without a `+tag`. Undefined if it is none. */
export const foldEmail = (address: string): string | undefined => {
  const text = address.normalize('NFKC').trim().toLowerCase()
  const at = text.lastIndexOf('@')
  if (at < 1 || at === text.length - 1) return undefined
  const local = text.slice(0, at)
  const plus = local.indexOf('+')
  return `${plus > 0 ? local.slice(0, plus) : local}${text.slice(at)}`
}

const account = (place: string, id: string): string => `account:${place}:${id}`

// An id that reads as an address is one as well: Okta's access tokens carry the login e-mail as `sub`.
const withEmail = (keys: Set<string>, id: string | undefined): void => {
  const folded = id === undefined ? undefined : foldEmail(id)
  if (folded !== undefined) keys.add(`email:${folded}`)
}

type People = Settings['people']

const accountKeys = (accounts: readonly string[]): Set<string> => {
  const keys = new Set<string>()
  for (const entry of accounts) {
    const colon = entry.indexOf(':')
    keys.add(account(entry.slice(0, colon), entry.slice(colon + 1)))
    withEmail(keys, entry.slice(colon + 1))
  }
  return keys
}

const meets = (some: Iterable<string>, others: ReadonlySet<string>): boolean => {
  for (const key of some) if (others.has(key)) return true
  return false
}

/** Adds every account that configuration links to one of `keys`, until nothing is added any more. */
const linked = (keys: Set<string>, people: People): Set<string> => {
  for (let grown = true; grown; ) {
    grown = false
    for (const person of people) {
      const theirs = accountKeys(person.accounts)
      if (!meets(theirs, keys)) continue
      for (const key of theirs) {
        grown ||= !keys.has(key)
        keys.add(key)
      }
    }
  }
  return keys
}

// The places in which an issuer's ids live: its own name, the login it shares a directory with, and the issuer's URL itself,
// so that one identity provider used at both doors is one place whatever its entries are called.
const placesOf = (settings: Settings, issuer: string): string[] => {
  const entry =
    settings.issuers.find(one => one.name === issuer) ?? settings.console.login.find(one => one.name === issuer)
  if (entry === undefined) return [issuer]
  const directory = 'directory' in entry ? entry.directory : undefined
  return [issuer, ...(directory === undefined ? [] : [directory]), `iss:${entry.issuer}`]
}

/**
 * The people behind a caller: itself if human, its owner, everybody in its `act` chain, and every account linked to those.
 * `known` is false for an agent or workload behind which no human is known.
 */
export const peopleBehind = (caller: Caller, settings: Settings): Behind => {
  const keys = new Set<string>()
  const labels = new Set<string>()
  let known = caller.kind === 'human'

  const add = (issuer: string, ids: readonly (string | undefined)[], email: string | undefined): void => {
    for (const id of ids) {
      if (id === undefined) continue
      for (const place of placesOf(settings, issuer)) keys.add(account(place, id))
      withEmail(keys, id)
    }
    withEmail(keys, email)
  }

  add(caller.issuer, [caller.subject, caller.person], caller.email)
  if (caller.kind === 'human') labels.add(caller.email ?? caller.name ?? caller.subject)
  for (const actor of caller.actors) add(actor.issuer, [actor.subject, actor.client], actor.email)
  // With an act chain the token's subject is who it acts for: a person, where anything says so.
  if (caller.actors.length > 0 && (caller.email !== undefined || caller.person !== undefined)) {
    known = true
    labels.add(caller.email ?? caller.name ?? caller.subject)
  }

  if (caller.owner !== undefined) {
    known = true
    labels.add(caller.owner)
    const colon = caller.owner.indexOf(':')
    if (colon > 0) keys.add(account(caller.owner.slice(0, colon), caller.owner.slice(colon + 1)))
    add(caller.issuer, [caller.owner], undefined)
  }

  const itself = new Set<string>()
  for (const id of [
    caller.subject,
    caller.person,
    caller.client,
    ...caller.actors.flatMap(actor => [actor.subject, actor.client]),
  ]) {
    if (id !== undefined) for (const place of placesOf(settings, caller.issuer)) itself.add(account(place, id))
  }
  for (const person of settings.people) {
    if (!meets(accountKeys(person.owns), itself)) continue
    known = true
    labels.add(person.name)
    for (const key of accountKeys(person.accounts)) keys.add(key)
  }

  linked(keys, settings.people)
  // The act chain may name a person whom only configuration knows as one.
  for (const person of settings.people) {
    if (!meets(accountKeys(person.accounts), keys)) continue
    known = true
    labels.add(person.name)
  }
  return { keys: [...keys].sort(), labels: [...labels], known }
}

/** Every key of a reviewer: all ids at their login, their e-mail whether verified or not, and linked accounts. */
export const reviewerKeys = (reviewer: Reviewer, settings: Settings): readonly string[] => {
  const keys = new Set<string>()
  for (const id of [reviewer.subject, ...reviewer.ids]) {
    for (const place of placesOf(settings, reviewer.login)) keys.add(account(place, id))
    withEmail(keys, id)
  }
  withEmail(keys, reviewer.email)
  return [...linked(keys, settings.people)].sort()
}

/** Do two key sets belong to one person? */
export const samePerson = (one: readonly string[], other: readonly string[]): boolean => meets(one, new Set(other))

/** Is the reviewer named by one of these groups? A bare name counts only where there is one login. */
export const inGroups = (reviewer: Reviewer, groups: readonly string[], settings: Settings): boolean => {
  const single = settings.console.login.length === 1
  return groups.some(wanted =>
    reviewer.groups.some(
      group => wanted === `${reviewer.login}:${group}` || (single && !wanted.includes(':') && wanted === group),
    ),
  )
}

/** May this reviewer vote under this entry of a rule's `approve`? Strict: groups as their login says them, e-mail only if vouched for. */
export const qualifies = (reviewer: Reviewer, approve: Approve, settings: Settings): boolean => {
  if (inGroups(reviewer, approve.groups, settings)) return true
  return approve.people.some(person =>
    person.includes('@') && !person.startsWith(`${reviewer.login}:`)
      ? reviewer.emailTrusted && reviewer.email?.toLowerCase() === person.toLowerCase()
      : [reviewer.subject, ...reviewer.ids].some(id => person === `${reviewer.login}:${id}`),
  )
}

export type Standing =
  | { readonly may: true }
  | { readonly may: false; readonly code: ErrorCode; readonly detail: string }

/**
 * The one place that answers "may this reviewer's verdict on this call count?". `rules` are the hold's rules as they are now.
 * @returns own_call for anybody behind the call, whatever else they are; not_approver for whoever does not qualify.
 */
export const standing = (reviewer: Reviewer, behind: Behind, rules: readonly Rule[], settings: Settings): Standing => {
  if (samePerson(reviewerKeys(reviewer, settings), behind.keys)) {
    return {
      may: false,
      code: 'own_call',
      detail: 'You are one of the people behind this call. Somebody else has to decide it; you may withdraw it.',
    }
  }
  if (!reviewer.interactive) {
    return {
      may: false,
      code: 'not_approver',
      detail:
        "This sign-in may read but not decide. Decide on the console, or with a token that meets the login's `interactive`.",
    }
  }
  if (!rules.some(rule => rule.approve.some(approve => qualifies(reviewer, approve, settings)))) {
    return {
      may: false,
      code: 'not_approver',
      detail: `It takes somebody of ${approversOf(rules).join(', ') || "the rule's approvers"}.`,
    }
  }
  return { may: true }
}

/** The groups and people a hold waits for, readable, without duplicates. */
export const approversOf = (rules: readonly Rule[]): readonly string[] => [
  ...new Set(rules.flatMap(rule => rule.approve.flatMap(approve => [...approve.groups, ...approve.people]))),
]

/** A counted vote: whose keys, and as whom they qualify. */
export type Vote = { readonly keys: readonly string[]; readonly reviewer: Reviewer }

/**
 * How many of a rule's votes are there. One person is one vote, for one entry of `approve` only; the best assignment counts.
 * @returns `have` of `needed`; the rule is met when they are equal.
 */
export const tally = (
  rule: Rule,
  votes: readonly Vote[],
  settings: Settings,
): { readonly have: number; readonly needed: number } => {
  const persons: Vote[] = []
  for (const vote of votes) if (!persons.some(one => samePerson(one.keys, vote.keys))) persons.push(vote)
  // One seat per vote that is needed; a maximum matching of persons to seats (augmenting paths).
  const seats = rule.approve.flatMap(approve => Array.from({ length: approve.votes }, () => approve))
  const taken = new Map<number, number>()
  const seat = (person: number, tried: Set<number>): boolean => {
    for (const [index, approve] of seats.entries()) {
      const vote = persons[person]
      if (vote === undefined || tried.has(index) || !qualifies(vote.reviewer, approve, settings)) continue
      tried.add(index)
      const holder = taken.get(index)
      if (holder === undefined || seat(holder, tried)) {
        taken.set(index, person)
        return true
      }
    }
    return false
  }
  const have = persons.filter((_, index) => seat(index, new Set())).length
  return { have, needed: seats.length }
}
