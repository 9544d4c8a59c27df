// What is allowed but probably not meant: warnings, never problems.
import type { Issuer, Match, Rule, Settings, Upstream } from '../settings.ts'
import { testValue } from '../value.ts'
import { canonical } from './hash.ts'
import { loopback } from './scalars.ts'

/** A warning about an issuer, an upstream or a rule, to be placed where that is written. */
export type Doubt =
  | { readonly issuer: string; readonly message: string }
  | { readonly upstream: string; readonly message: string }
  | { readonly rule: string; readonly message: string }

export const doubts = (settings: Pick<Settings, 'issuers' | 'upstreams' | 'rules' | 'console' | 'people'>): Doubt[] => [
  ...settings.issuers.filter(takesAny).map(({ name }) => ({
    issuer: name,
    message: `"${name}" names no audience: a token that its issuer gave to any other program is taken, if it names none either`,
  })),
  ...settings.upstreams.filter(sendsOpenly).map(({ name }) => ({
    upstream: name,
    message: `plain http: the credential of "${name}" can be read on the way; use https`,
  })),
  ...unreached(settings.rules),
  ...settings.rules.filter(allowsCredentials).map(({ name }) => ({
    rule: name,
    message: `"${name}" allows access to credentials without a person; hold it, or leave "credentials" out`,
  })),
  ...settings.rules
    .filter(rule => wantsUnsaidReason(rule, settings))
    .map(({ name }) => ({
      rule: name,
      message: `"${name}" requires a reason, and clients of kubernetes and aws send no Holdpoint-Reason; name the claim that has it (issuers[].claims.reason)`,
    })),
  ...settings.rules.flatMap(rule => deadEnds(rule, settings)),
]

const takesAny = ({ introspect, audience }: Issuer): boolean => introspect !== undefined && audience.length === 0

const sendsOpenly = ({ url, credential }: Upstream): boolean => {
  const { protocol, hostname } = new URL(url)
  return credential !== undefined && protocol === 'http:' && !loopback(hostname)
}

const allowsCredentials = ({ then, match }: Rule): boolean =>
  then === 'allow' && match.access !== undefined && testValue(match.access, 'credentials') === true

/** Kinds whose clients send the headers they send, and no others. */
const headerless: readonly Upstream['kind'][] = ['kubernetes', 'aws']

const wantsUnsaidReason = (
  { match, approve }: Rule,
  { issuers, upstreams }: Pick<Settings, 'issuers' | 'upstreams'>,
): boolean =>
  approve.some(({ reason }) => reason === 'required') &&
  !issuers.some(({ claims }) => claims.reason.length > 0) &&
  upstreams.some(({ kind, name }) => headerless.includes(kind) && testValue(match.upstream ?? '*', name) === true)

// ---- rules that an earlier one leaves nothing for

// An allow rule asks these of every value or actor, a hold or deny rule of any: the later rule still gets some calls.
const single: readonly string[] = ['upstream', 'method', 'host', 'path', 'action', 'resource', 'access', 'time']

const conditions = (match: Match): string[] =>
  Object.entries(match)
    .flatMap(([key, test]) => (key === 'path' && [test].flat().includes('/**') ? [] : [`${key}=${canonical(test)}`]))
    .sort()

const maxConditions = 10

/** A rule is not reached if an earlier one asks some of the same conditions and no others. */
const unreached = (rules: readonly Rule[]): Doubt[] => {
  const earlier = new Map<string, Rule>()
  const found: Doubt[] = []
  for (const rule of rules) {
    const asked = conditions(rule.match)
    const shadow = subsets(asked.slice(0, maxConditions))
      .map(subset => earlier.get(subset))
      .find(one => one !== undefined && covers(one, rule))
    if (shadow !== undefined)
      found.push({
        rule: rule.name,
        message: `"${rule.name}" is never reached: "${shadow.name}" (${shadow.where}) matches first`,
      })
    const key = asked.join('\n')
    if (!earlier.has(key)) earlier.set(key, rule)
  }
  return found
}

const covers = (one: Rule, other: Rule): boolean =>
  one.then !== 'allow' || other.then === 'allow' || Object.keys(one.match).every(key => single.includes(key))

const subsets = (items: readonly string[]): string[] => {
  let sets: string[][] = [[]]
  for (const item of items) sets = [...sets, ...sets.map(set => [...set, item])]
  return sets.map(set => set.join('\n'))
}

// ---- holds that nobody may be able to approve

const deadEnds = (
  rule: Rule,
  { issuers, console, people }: Pick<Settings, 'issuers' | 'console' | 'people'>,
): Doubt[] => {
  const domains = console.login.flatMap(({ emailDomains }) => emailDomains)
  const found: Doubt[] = []
  const doubt = (message: string): void => {
    found.push({ rule: rule.name, message: `"${rule.name}" may never be approved: ${message}` })
  }
  const anybody = (entry: Rule['approve'][number]): boolean =>
    entry.groups.length > 0 || (entry.escalate?.groups ?? []).length > 0
  for (const entry of rule.approve) {
    for (const person of peopleOf(entry)) {
      const domain = person.slice(person.lastIndexOf('@') + 1).toLowerCase()
      const address = person.includes('@') && !console.login.some(({ name }) => person.startsWith(`${name}:`))
      if (address && !domains.includes(domain))
        doubt(`no login vouches for ${person}; add "${domain}" to its emailDomains`)
    }
    const persons = distinct(peopleOf(entry), people)
    if (!anybody(entry) && entry.votes > persons)
      doubt(`it needs ${entry.votes} votes, and names ${persons} ${persons === 1 ? 'person' : 'persons'}`)
  }
  const needed = rule.approve.reduce((sum, { votes }) => sum + votes, 0)
  const persons = distinct(rule.approve.flatMap(peopleOf), people)
  if (rule.approve.length > 1 && !rule.approve.some(anybody) && needed > persons) {
    doubt(`its entries need ${needed} distinct persons together, and name ${persons}`)
  }
  const lists = rule.approve.flatMap(({ stepUp }) =>
    stepUp === undefined || stepUp.acr.length === 0 ? [] : [stepUp.acr],
  )
  const [first = []] = lists
  if (lists.length > 1 && !first.some(acr => lists.every(list => list.includes(acr))))
    doubt('its entries want sign-ins (stepUp.acr) that no single one can be; name one that all of them take')
  for (const owner of owners(rule, issuers, people)) {
    const others = (entry: Rule['approve'][number]): number =>
      distinct(
        peopleOf(entry).filter(one => !isOf(owner, one)),
        people,
      )
    if (rule.approve.some(entry => !anybody(entry) && entry.votes > others(entry)))
      doubt(`${owner.name} owns every caller it is for, so their vote does not count, and too few others are named`)
  }
  return found
}

/** Whom an entry names, at once or once it escalates. */
const peopleOf = (entry: Rule['approve'][number]): readonly string[] => [
  ...entry.people,
  ...(entry.escalate?.people ?? []),
]

const isOf = (person: Settings['people'][number], account: string): boolean =>
  person.accounts.some(
    one => one === account || one.slice(one.indexOf(':') + 1).toLowerCase() === account.toLowerCase(),
  )

/** People who own each of the callers a rule names one by one; none where it names them by a pattern, or not at all. */
const owners = (
  { match: { caller } }: Rule,
  issuers: readonly Issuer[],
  people: Settings['people'],
): readonly Settings['people'][number][] => {
  const subjects = [caller?.subject].flat()
  if (!subjects.every(subject => typeof subject === 'string' && !subject.includes('*'))) return []
  const places = issuers.map(({ name }) => name).filter(name => testValue(caller?.issuer ?? '*', name) === true)
  const callers = places.flatMap(place => subjects.map(subject => `${place}:${String(subject)}`))
  return callers.length === 0 ? [] : people.filter(({ owns }) => callers.every(one => owns.includes(one)))
}

/** How many persons these accounts and addresses are, as far as configuration links them. */
const distinct = (accounts: readonly string[], people: Settings['people']): number =>
  new Set(
    accounts.map(account => people.find(person => person.accounts.includes(account))?.name ?? account.toLowerCase()),
  ).size
