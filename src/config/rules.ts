// Rules as they are judged by: names of reviewers and groups resolved, defaults filled in, hashes made; and what rules must not say of
// things that do not exist. Reviewers and test callers are known in every file, defaults in their own.
import type { z } from 'zod'
import { isVolatile } from '../hold.ts'
import type { Approve, Match, PersonEntry, Rule, RuleTest, TestCaller, Upstream, ValueTest } from '../settings.ts'
import { glob, testValue } from '../value.ts'
import { canonical, hashOf } from './hash.ts'
import * as schema from './rules-schema.ts'
import type { Path, Source } from './source.ts'
import { nearest, type Reader } from './strict.ts'

/** One file with rules: its source, and its keys as far as they could be read, each with its place. */
export type RuleFile = {
  readonly source: Source
  readonly reader: Reader
  readonly reviewers: readonly Placed<z.output<typeof schema.approve>>[]
  readonly defaults: z.output<typeof schema.defaults>
  readonly callers: readonly Placed<z.output<typeof schema.caller>>[]
  readonly rules: readonly Placed<z.output<typeof schema.rule>>[]
  readonly tests: readonly Placed<z.output<typeof schema.test>>[]
  /** Names that are given, even if what they name could not be read: what refers to them is not wrong as well. */
  readonly given: {
    readonly reviewers: readonly string[]
    readonly callers: readonly string[]
    readonly rules: readonly string[]
  }
}

type Placed<T> = { readonly name: string; readonly value: T; readonly path: Path }

/** What rules may name. Names are given even if what they name could not be read; logins are undefined if they could not. */
export type Names = {
  readonly logins: readonly string[] | undefined
  readonly issuers: readonly string[]
  readonly upstreamNames: readonly string[]
  /** Those that could be read. */
  readonly upstreams: readonly Upstream[]
  readonly people: readonly PersonEntry[]
}

/** Reads the keys of a file that belong to rules. `value` is the whole file. */
export const ruleFile = (source: Source, reader: Reader, value: { readonly [key: string]: unknown }): RuleFile => {
  const list = <T extends z.ZodType>(key: string, item: T): Placed<z.output<T>>[] => {
    const items = value[key] ?? []
    if (!Array.isArray(items)) {
      reader.say([key], `${key} must be a list`)
      return []
    }
    return items.flatMap((one, index) =>
      placed(reader.read(item, one, [key, index]), (one as { name?: unknown } | null)?.name, [key, index]),
    )
  }
  const map = <T extends z.ZodType>(key: 'reviewers' | 'callers', item: T): Placed<z.output<T>>[] => {
    if (value[key] === undefined) return []
    const names = reader.read(schema.names, value[key], [key])
    return Object.entries(names ?? {}).flatMap(([name, one]) =>
      placed(reader.read(item, one, [key, name]), name, [key, name]),
    )
  }
  return {
    source,
    reader,
    reviewers: map('reviewers', schema.approve),
    defaults: reader.read(schema.defaults, value.defaults ?? {}, ['defaults']) ?? {},
    callers: map('callers', schema.caller),
    rules: list('rules', schema.rule),
    tests: list('tests', schema.test),
    given: {
      reviewers: Object.keys(value.reviewers ?? {}),
      callers: Object.keys(value.callers ?? {}),
      rules: Array.isArray(value.rules)
        ? value.rules.map(rule => String((rule as { name?: unknown } | null)?.name))
        : [],
    },
  }
}

const placed = <T>(value: T | undefined, name: unknown, path: Path): Placed<T>[] =>
  value === undefined ? [] : [{ name: String(name), value, path }]

export type Rules = {
  readonly rules: readonly Rule[]
  readonly callers: { readonly [name: string]: TestCaller }
  readonly tests: readonly RuleTest[]
}

/** Rules of all files, in order. */
export const buildRules = (files: readonly RuleFile[], names: Names): Rules => {
  const reviewers = collect(files, file => file.reviewers, 'reviewers')
  const rules = collect(files, file => file.rules, 'rule')
  const callers = collect(files, file => file.callers, 'caller')
  const tests = collect(files, file => file.tests, 'test')
  const approvers = new Map(
    reviewers.map(({ file, name, value, path }) => [name, resolveApprove(file.reader, value, path, names)]),
  )

  for (const { file, value, path } of callers) {
    if (!names.issuers.includes(value.issuer)) {
      file.reader.say(
        [...path, 'issuer'],
        `no issuer is called "${value.issuer}"${suggestion(value.issuer, names.issuers)}`,
      )
    }
  }
  const given = (kind: keyof RuleFile['given']): Set<string> => new Set(files.flatMap(file => file.given[kind]))
  const known = { reviewers: given('reviewers'), callers: given('callers'), rules: given('rules') }
  for (const { file, value, path } of tests) {
    const { caller } = value.call
    const { rule } = value.expect
    if (!known.callers.has(caller))
      file.reader.say(
        [...path, 'call', 'caller'],
        `no caller is called "${caller}"${suggestion(caller, [...known.callers])}`,
      )
    if (rule !== undefined && !known.rules.has(rule))
      file.reader.say([...path, 'expect', 'rule'], `no rule is called "${rule}"${suggestion(rule, [...known.rules])}`)
  }
  return {
    rules: rules.map(({ file, value, path }) =>
      buildRule(file, value, path, { approvers, reviewers: known.reviewers, names }),
    ),
    callers: Object.fromEntries(callers.map(({ name, value }) => [name, value as TestCaller])),
    tests: tests.map(({ file, value, path }) => ({ ...value, where: where(file.source, path) }) as RuleTest),
  }
}

const suggestion = (word: string, words: readonly string[]): string => {
  const meant = nearest(word, words)
  return meant === undefined ? '' : `; did you mean "${meant}"?`
}

const where = (source: Source, path: Path): string => `${source.file}:${source.finding(path, '').line}`

/** The things of one kind in all files, in order. A name that comes twice is a problem. */
const collect = <T>(
  files: readonly RuleFile[],
  pick: (file: RuleFile) => readonly Placed<T>[],
  kind: string,
): (Placed<T> & { readonly file: RuleFile })[] => {
  const first = new Map<string, string>()
  const all = files.flatMap(file => pick(file).map(one => ({ ...one, file })))
  for (const { file, name, path } of all) {
    const earlier = first.get(name)
    if (earlier === undefined) first.set(name, where(file.source, path))
    else file.reader.say(path, `the ${kind} "${name}" is already at ${earlier}; names are unique over all files`)
  }
  return all
}

type Known = {
  readonly approvers: ReadonlyMap<string, Approve>
  readonly reviewers: ReadonlySet<string>
  readonly names: Names
}

const buildRule = (file: RuleFile, value: z.output<typeof schema.rule>, path: Path, known: Known): Rule => {
  const { say } = file.reader
  checkMatch(file.reader, value.match as Match, [...path, 'match'], known.names)
  const approve = resolveApproval(file, value, path, known)
  const notify = value.notify ?? file.defaults.notify ?? []
  for (const channel of notify.filter(channel => channel !== 'none')) {
    const key = value.notify === undefined ? ['defaults', 'notify'] : [...path, 'notify']
    say(key, `"${channel}": channels are not built yet; only "none" is (reviewers find holds on the console)`)
  }
  const says = {
    name: value.name,
    match: value.match as Match,
    // biome-ignore lint/suspicious/noThenProperty: the key of a rule
    then: value.then,
    approve,
    notify: notify.filter(channel => channel !== 'none'),
    summary: value.summary,
    show: value.show,
    mask: value.mask,
    controls: value.controls ?? file.defaults.controls ?? [],
  }
  return { ...says, where: where(file.source, path), hash: hashOf(canonical(says)) }
}

type Approval = z.output<typeof schema.rule>['approve']

const resolveApproval = (
  file: RuleFile,
  rule: z.output<typeof schema.rule>,
  path: Path,
  { approvers, reviewers, names }: Known,
): Approve[] => {
  const { say } = file.reader
  if (rule.then !== 'hold') {
    if (rule.approve !== undefined)
      say(
        [...path, 'approve'],
        `"approve" means nothing in a rule that says "${rule.then}"; remove it, or say "then: hold"`,
        'key',
      )
    return []
  }
  const approval: Approval = rule.approve ?? file.defaults.approve
  const at: Path = rule.approve === undefined ? ['defaults', 'approve'] : [...path, 'approve']
  if (approval === undefined) {
    say(
      path,
      `the rule "${rule.name}" holds, but nobody may approve: give it "approve", or its file "defaults.approve"`,
    )
    return []
  }
  return [approval].flat().flatMap((one, index) => {
    const place = Array.isArray(approval) ? [...at, index] : at
    if (typeof one !== 'string') return resolveApprove(file.reader, one, place, names)
    if (!reviewers.has(one))
      say(
        place,
        `no reviewers are called "${one}"${suggestion(one, [...reviewers]) || '; name them under "reviewers"'}`,
      )
    return approvers.get(one) ?? []
  })
}

const resolveApprove = (reader: Reader, value: z.output<typeof schema.approve>, path: Path, names: Names): Approve => ({
  groups: value.by.groups.map((group, index) =>
    qualifyGroup(reader, group, [...path, 'by', 'groups', index], names.logins),
  ),
  people: value.by.people.flatMap((person, index) =>
    qualifyPerson(reader, person, [...path, 'by', 'people', index], names),
  ),
  votes: value.votes,
  withinMs: value.within,
  approvedForMs: value.approvedFor,
  waitMs: value.wait,
  onDisconnect: value.onDisconnect,
  reason: value.reason,
  comment: value.comment,
  unreadable: value.unreadable,
  approveUnseen: value.approveUnseen,
})

/** `login:group`; a bare name is of the one login there is. */
export const qualifyGroup = (
  reader: Reader,
  group: string,
  path: Path,
  logins: readonly string[] | undefined,
): string => {
  if (logins === undefined) return group
  const colon = group.indexOf(':')
  if (colon > 0 && logins.includes(group.slice(0, colon)) && colon < group.length - 1) return group
  const [login, ...more] = logins
  if (login === undefined) reader.say(path, 'a group is a login\'s, and there is no login: add one to "console.login"')
  else if (more.length > 0)
    reader.say(path, `"${group}" does not say which login's group it is: write "${login}:${group}"`)
  else return `${login}:${group}`
  return group
}

/** An e-mail address, `login:subject`, or an entry of `people`, which stands for its accounts at logins. */
const qualifyPerson = (reader: Reader, person: string, path: Path, { logins, people }: Names): string[] => {
  if (logins === undefined) return [person]
  const atLogin = (account: string): boolean => logins.includes(account.slice(0, Math.max(0, account.indexOf(':'))))
  if (atLogin(person)) return [person]
  const entry = people.find(one => one.name === person)
  const accounts = entry?.accounts.filter(atLogin) ?? []
  if (accounts.length > 0) return accounts
  if (entry === undefined && /^[^@\s:]+@[^@\s]+$/.test(person)) return [person]
  reader.say(
    path,
    entry === undefined
      ? `"${person}" is no e-mail address, no account such as "login:subject", and no entry of "people"`
      : `"${person}" has no account at a login, so nobody can sign in as this person`,
  )
  return []
}

/** What a match names has to exist. */
const checkMatch = (reader: Reader, match: Match, path: Path, { upstreams, upstreamNames, issuers }: Names): void => {
  const exist = (test: ValueTest | undefined, at: Path, known: readonly string[], what: string): void => {
    for (const word of schema.textsOf(test)) {
      if (!known.some(glob(word))) reader.say(at, `no ${what} is called "${word}"${suggestion(word, known)}`)
    }
  }
  exist(match.upstream, [...path, 'upstream'], upstreamNames, 'upstream')
  exist(match.caller?.issuer, [...path, 'caller', 'issuer'], issuers, 'issuer')
  for (const header of Object.keys(match.header ?? {})) {
    const covered = upstreams.filter(
      ({ name }) => match.upstream === undefined || testValue(match.upstream, name) !== false,
    )
    const reading = covered.find(({ volatileHeaders }) => isVolatile(header.toLowerCase(), new Set(volatileHeaders)))
    if (reading !== undefined) {
      reader.say(
        [...path, 'header', header],
        `"${header}" is a volatile header (of upstream "${reading.name}"): it is not part of what is approved, so no rule may read it`,
        'key',
      )
    }
  }
}
