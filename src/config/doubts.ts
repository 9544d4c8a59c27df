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
  ...settings.rules.flatMap(rule => deadEnds(rule, settings)),
]

const takesAny = ({ introspect, audience }: Issuer): boolean => introspect !== undefined && audience.length === 0

const sendsOpenly = ({ url, credential }: Upstream): boolean => {
  const { protocol, hostname } = new URL(url)
  return credential !== undefined && protocol === 'http:' && !loopback(hostname)
}

const allowsCredentials = ({ then, match }: Rule): boolean =>
  then === 'allow' && match.access !== undefined && testValue(match.access, 'credentials') === true

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

const deadEnds = (rule: Rule, { console, people }: Pick<Settings, 'console' | 'people'>): Doubt[] => {
  const domains = console.login.flatMap(({ emailDomains }) => emailDomains)
  const found: Doubt[] = []
  const doubt = (message: string): void => {
    found.push({ rule: rule.name, message: `"${rule.name}" may never be approved: ${message}` })
  }
  const anybody = (entry: Rule['approve'][number]): boolean => entry.groups.length > 0
  for (const entry of rule.approve) {
    for (const person of entry.people) {
      const domain = person.slice(person.lastIndexOf('@') + 1).toLowerCase()
      const address = person.includes('@') && !console.login.some(({ name }) => person.startsWith(`${name}:`))
      if (address && !domains.includes(domain))
        doubt(`no login vouches for ${person}; add "${domain}" to its emailDomains`)
    }
    const persons = distinct(entry.people, people)
    if (!anybody(entry) && entry.votes > persons)
      doubt(`it needs ${entry.votes} votes, and names ${persons} ${persons === 1 ? 'person' : 'persons'}`)
  }
  const needed = rule.approve.reduce((sum, { votes }) => sum + votes, 0)
  const persons = distinct(
    rule.approve.flatMap(entry => entry.people),
    people,
  )
  if (rule.approve.length > 1 && !rule.approve.some(anybody) && needed > persons) {
    doubt(`its entries need ${needed} distinct persons together, and name ${persons}`)
  }
  return found
}

/** How many persons these accounts and addresses are, as far as configuration links them. */
const distinct = (accounts: readonly string[], people: Settings['people']): number =>
  new Set(
    accounts.map(account => people.find(person => person.accounts.includes(account))?.name ?? account.toLowerCase()),
  ).size
