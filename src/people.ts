// One notion of *person* for both doors: who is behind a call, and whether a reviewer's verdict on it may count.
// To exclude we are generous (any shared key), to qualify we are strict (a qualified group, or an e-mail its own login vouches for).
// Pure functions over configuration and verified identities; nothing here has an exception for anybody.

import { domainToASCII } from 'node:url'
import { claimAt } from './claims.ts'
import type { ErrorCode } from './errors.ts'
import type { Behind, Caller, Json, Reviewer } from './nouns.ts'
import type { Approve, Rule, Settings } from './settings.ts'

// A domain that is its own ASCII form; most are, and lists fold many.
const plain = /^(?!.*xn--)(?:[a-z0-9-]+\.)+[a-z]+$/

/**
 * An e-mail address as it is compared for exclusion: NFKC, lower case, without invisible characters, a `+tag`, or a final dot,
 * and the domain in its ASCII form. Undefined if it is none.
 */
export const foldEmail = (address: string): string | undefined => {
  const text = address
    .normalize('NFKC')
    .replace(/[\p{Cf}\s]/gu, '')
    .toLowerCase()
    .replace(/\.+$/, '')
  const at = text.lastIndexOf('@')
  if (at < 1 || at === text.length - 1) return undefined
  const local = text.slice(0, at)
  const plus = local.indexOf('+')
  const domain = text.slice(at + 1)
  return `${plus > 0 ? local.slice(0, plus) : local}@${plain.test(domain) ? domain : domainToASCII(domain) || domain}`
}

/** Configuration and identities never change, so one answer about the two serves every row of a list. */
const remembered = <One extends object, Answer>(
  find: (one: One, settings: Settings) => Answer,
): ((one: One, settings: Settings) => Answer) => {
  const known = new WeakMap<Settings, WeakMap<One, Answer>>()
  return (one, settings) => {
    const before = known.get(settings) ?? new WeakMap<One, Answer>()
    known.set(settings, before)
    const found = before.get(one) ?? find(one, settings)
    before.set(one, found)
    return found
  }
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
  return [
    issuer,
    ...(directory === undefined ? [] : [directory]),
    ...(entry.issuer === undefined ? [] : [`iss:${entry.issuer}`]),
  ]
}

type Claims = { readonly [name: string]: Json }

/** Every text of these claims, be it one value or a list. */
const texts = (claims: Claims, names: Iterable<string>): string[] =>
  [...new Set(names)].flatMap(name => {
    const value = claimAt(claims, name)
    return (Array.isArray(value) ? value : [value]).flatMap(one =>
      typeof one === 'string' || typeof one === 'number' ? [String(one)] : [],
    )
  })

/** The tokens of a text that may name a person: addresses and ids, whatever stands around them. */
const named = (text: string): string[] => [
  text,
  ...text.split(/[\s,;<>"'()]+/).flatMap(part => (part === '' ? [] : [part, part.replace(/^mailto:/i, '')])),
]

/**
 * The people behind a caller: itself if human, its owner, everybody in its `act` chain, and every account linked to those.
 * `known` is false for an agent or workload behind which no human is known: an owner counts as known only if a reviewer could be
 * recognised as that person.
 */
export const peopleBehind = remembered((caller: Caller, settings: Settings): Behind => {
  const issuer = settings.issuers.find(one => one.name === caller.issuer)
  const claimed = issuer?.claims
  const keys = new Set<string>()
  const labels = new Set<string>()
  let known = caller.kind === 'human'

  const add = (
    places: readonly string[],
    ids: readonly (string | undefined)[],
    emails: readonly (string | undefined)[],
  ): void => {
    for (const id of ids) {
      if (id === undefined) continue
      for (const place of places) keys.add(account(place, id))
      withEmail(keys, id)
    }
    for (const email of emails) withEmail(keys, email)
  }
  const places = placesOf(settings, caller.issuer)
  const idNames = ['sub', ...(claimed?.subject ?? []), ...(claimed?.person ?? [])]
  const emailNames = ['email', ...(claimed?.email ?? [])]

  add(
    places,
    [caller.subject, caller.person, ...texts(caller.claims, idNames)],
    [caller.email, ...texts(caller.claims, emailNames)],
  )
  if (caller.kind === 'human') labels.add(caller.email ?? caller.name ?? caller.subject)

  // Everybody in the act chain, by whatever the chain says of them; an actor may be of another issuer than the token.
  const owners = [...(caller.owner === undefined ? [] : [caller.owner])]
  for (const actor of caller.actors) add(placesOf(settings, actor.issuer), [actor.subject, actor.client], [actor.email])
  for (let act = caller.claims.act; isObject(act); act = act.act) {
    const theirs = [...places, ...(typeof act.iss === 'string' ? [`iss:${act.iss}`] : [])]
    add(theirs, texts(act, [...idNames, ...(claimed?.client ?? [])]), texts(act, emailNames))
    owners.push(...texts(act, claimed?.owner ?? []))
  }
  // With an act chain the token's subject is who it acts for: a person, where anything says so.
  if (caller.actors.length > 0 && (caller.email !== undefined || caller.person !== undefined)) {
    known = true
    labels.add(caller.email ?? caller.name ?? caller.subject)
  }

  for (const owner of owners) {
    labels.add(owner)
    for (const token of named(owner)) {
      const colon = token.indexOf(':')
      if (colon > 0) add([token.slice(0, colon)], [token.slice(colon + 1)], [])
      add(places, [token], [])
      known ||= recognisable(token, places, settings)
    }
    for (const person of settings.people) {
      if (person.name.toLowerCase() === owner.trim().toLowerCase())
        for (const key of accountKeys(person.accounts)) keys.add(key)
    }
  }

  const itself = new Set<string>()
  for (const id of [caller.client, ...caller.actors.flatMap(actor => [actor.subject, actor.client])]) {
    if (id !== undefined) for (const place of places) itself.add(account(place, id))
  }
  // Whoever owns anything in the chain of ownership is behind the call as well.
  for (let grown = true; grown; ) {
    grown = false
    linked(keys, settings.people)
    for (const person of settings.people) {
      const owns = accountKeys(person.owns)
      const theirs = accountKeys(person.accounts)
      if (!meets(owns, itself) && !meets(owns, keys) && !meets(theirs, keys)) continue
      known = true
      labels.add(person.name)
      for (const key of theirs) {
        grown ||= !keys.has(key)
        keys.add(key)
      }
    }
  }
  return { keys: [...keys].sort(), labels: [...labels], known }
})

const isObject = (value: Json | undefined): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Could a reviewer be recognised by this id? By an address, or by an id at a place where people sign in. */
const recognisable = (token: string, places: readonly string[], settings: Settings): boolean => {
  if (token.trim() === '') return false
  if (foldEmail(token) !== undefined) return true
  const { login } = settings.console
  if (login.some(one => token.startsWith(`${one.name}:`))) return true
  return login.some(one => places.includes(one.name) || places.includes(`iss:${one.issuer}`))
}

/** Every key of a reviewer: all ids at their login, their e-mail whether verified or not, and linked accounts. */
export const reviewerKeys = remembered((reviewer: Reviewer, settings: Settings): readonly string[] => {
  const keys = new Set<string>()
  for (const id of [reviewer.subject, ...reviewer.ids]) {
    for (const place of placesOf(settings, reviewer.login)) keys.add(account(place, id))
    withEmail(keys, id)
  }
  withEmail(keys, reviewer.email)
  return [...linked(keys, settings.people)].sort()
})

/**
 * Every key of the person that somebody names: an entry of `people`, an e-mail address, or an account (`login or issuer:id`).
 * Undefined if it is none of these.
 */
export const namedPerson = (name: string, settings: Settings): readonly string[] | undefined => {
  const keys = new Set<string>()
  const entry = settings.people.find(person => person.name === name)
  if (entry !== undefined) for (const key of accountKeys(entry.accounts)) keys.add(key)
  const colon = name.indexOf(':')
  const place = name.slice(0, Math.max(0, colon))
  if ([...settings.issuers, ...settings.console.login].some(one => one.name === place)) {
    for (const at of placesOf(settings, place)) keys.add(account(at, name.slice(colon + 1)))
    withEmail(keys, name.slice(colon + 1))
  } else withEmail(keys, name)
  return keys.size === 0 ? undefined : [...linked(keys, settings.people)].sort()
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

/**
 * May this reviewer vote under this entry of a rule's `approve`? Strict: groups as their login says them, e-mail only if vouched for.
 * @param waitedMs how long the hold had waited, by its signed opening: whom the entry escalates to qualifies from then on.
 */
export const qualifies = (reviewer: Reviewer, approve: Approve, settings: Settings, waitedMs = 0): boolean => {
  const login = settings.console.login.find(one => one.name === reviewer.login)
  if (login === undefined) return false
  const { escalate } = approve
  if (escalate !== undefined && waitedMs >= escalate.afterMs && namedBy(reviewer, escalate, login, settings))
    return true
  return namedBy(reviewer, approve, login, settings)
}

const namedBy = (
  reviewer: Reviewer,
  by: Pick<Approve, 'groups' | 'people'>,
  login: Settings['console']['login'][number],
  settings: Settings,
): boolean => {
  if (inGroups(reviewer, by.groups, settings)) return true
  const email = reviewer.emailTrusted ? vouched(reviewer.email, login.emailDomains) : undefined
  return by.people.some(person =>
    person.includes('@') && !person.startsWith(`${reviewer.login}:`)
      ? email !== undefined && email === person.toLowerCase()
      : [reviewer.subject, ...reviewer.ids].some(id => person === `${reviewer.login}:${id}`),
  )
}

/** An address of a domain that the login vouches for now; only plain ASCII, so that none looks like another. */
const vouched = (email: string | undefined, domains: readonly string[]): string | undefined => {
  if (email === undefined || !/^[\x21-\x7e]+$/.test(email)) return undefined
  const lower = email.toLowerCase()
  return domains.some(domain => lower.endsWith(`@${domain.toLowerCase()}`)) ? lower : undefined
}

export type Standing =
  | { readonly may: true }
  | { readonly may: false; readonly code: ErrorCode; readonly detail: string }

/**
 * The one place that answers "may this reviewer's verdict on this call count?". `rules` are the hold's rules as they are now.
 * @returns own_call for anybody behind the call, whatever else they are; not_approver for whoever does not qualify.
 */
export const standing = (
  reviewer: Reviewer,
  behind: Behind,
  rules: readonly Rule[],
  settings: Settings,
  waitedMs = 0,
): Standing => {
  const barred = barredFrom(reviewer, behind, settings)
  if (barred !== undefined) return barred
  if (!rules.some(rule => rule.approve.some(approve => qualifies(reviewer, approve, settings, waitedMs)))) {
    return {
      may: false,
      code: 'not_approver',
      detail: `It takes somebody of ${approversOf(rules, waitedMs).join(', ') || "the rule's approvers"}.`,
    }
  }
  return { may: true }
}

/**
 * May this person let the call go alone (`breakGlass`)? Every rule has to name a group of theirs for it.
 * @returns own_call for anybody behind the call, as for any verdict; not_approver for whoever is not named
 */
export const glassStanding = (
  reviewer: Reviewer,
  behind: Behind,
  rules: readonly Rule[],
  settings: Settings,
): Standing => {
  const barred = barredFrom(reviewer, behind, settings)
  if (barred !== undefined) return barred
  const named = (rule: Rule): boolean =>
    rule.approve.some(({ breakGlass }) => breakGlass !== undefined && inGroups(reviewer, breakGlass.groups, settings))
  const signsIn = settings.console.login.some(({ name }) => name === reviewer.login)
  if (!signsIn || rules.length === 0 || !rules.every(named)) {
    return {
      may: false,
      code: 'not_approver',
      detail: 'The rules of this call do not name you for breaking the glass.',
    }
  }
  return { may: true }
}

/** Why no verdict of this person on this call counts, whatever they are named for. */
const barredFrom = (
  reviewer: Reviewer,
  behind: Behind,
  settings: Settings,
): Extract<Standing, { readonly may: false }> | undefined => {
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
  return undefined
}

/** The groups and people a hold waits for that has waited so long, readable, without duplicates. */
export const approversOf = (rules: readonly Rule[], waitedMs = 0): readonly string[] => [
  ...new Set(
    rules.flatMap(rule =>
      rule.approve.flatMap(({ escalate, groups, people }) => [
        ...[...groups, ...people],
        ...(escalate !== undefined && waitedMs >= escalate.afterMs ? [...escalate.groups, ...escalate.people] : []),
      ]),
    ),
  ),
]

/** A counted vote: whose keys, as whom they qualify, and how long the hold had waited for it. */
export type Vote = { readonly keys: readonly string[]; readonly reviewer: Reviewer; readonly waitedMs?: number }

/**
 * How many of a rule's votes are there. One person is one vote, for one entry of `approve` only; the best assignment counts.
 * @returns `have` of `needed`; the rule is met when they are equal.
 */
export const tally = (
  rule: Rule,
  votes: readonly Vote[],
  settings: Settings,
): { readonly have: number; readonly needed: number } => {
  const persons = personsOf(votes)
  // One seat per vote that is needed; a maximum matching of persons to seats (augmenting paths).
  const seats = rule.approve.flatMap(approve => Array.from({ length: approve.votes }, () => approve))
  const taken = new Map<number, number>()
  const seat = (person: number, tried: Set<number>): boolean => {
    for (const [index, approve] of seats.entries()) {
      const vote = persons[person]
      if (
        vote === undefined ||
        tried.has(index) ||
        !vote.some(one => qualifies(one.reviewer, approve, settings, one.waitedMs))
      )
        continue
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

/** The votes of each person together, whichever account they came from: accounts that share a key with one are that one's. */
const personsOf = (votes: readonly Vote[]): readonly (readonly Vote[])[] => {
  let persons: Vote[][] = []
  for (const vote of votes) {
    const same = persons.filter(person => person.some(one => samePerson(one.keys, vote.keys)))
    persons = [...persons.filter(person => !same.includes(person)), [vote, ...same.flat()]]
  }
  return persons
}
