// Rules as they are judged by: names of reviewers and groups resolved, defaults filled in, hashes made; and what rules must not say of
// things that do not exist. Reviewers and test callers are known in every file, defaults in their own.
import type { z } from 'zod'
import type { Approve, Match, Rule, RuleTest, TestCaller } from '../settings.ts'
import { checkChannel, type Names, resolveApprove } from './approvers.ts'
import { canonical, hashOf } from './hash.ts'
import { checkMatch } from './matches.ts'
import * as schema from './rules-schema.ts'
import type { Path, Source } from './source.ts'
import { type Reader, unknownName } from './strict.ts'

/** One file with rules: its source, and its keys as far as they could be read, each with its place. */
export type RuleFile = {
  readonly source: Source
  readonly reader: Reader
  readonly reviewers: readonly Entry<z.output<typeof schema.approve>>[]
  readonly defaults: z.output<typeof schema.defaults>
  readonly callers: readonly Entry<z.output<typeof schema.caller>>[]
  readonly rules: readonly Entry<z.output<typeof schema.rule>>[]
  readonly tests: readonly Entry<z.output<typeof schema.test>>[]
}

/** Something with a name; its value is undefined if it could not be read: what refers to it is not wrong as well. */
type Entry<T> = { readonly name: string; readonly value: T | undefined; readonly path: Path }

/** Reads the keys of a file that belong to rules. `value` is the whole file. */
export const ruleFile = (source: Source, reader: Reader, value: { readonly [key: string]: unknown }): RuleFile => {
  const list = <T extends z.ZodType>(key: string, item: T): Entry<z.output<T>>[] => {
    const items = value[key] ?? []
    if (!Array.isArray(items)) {
      reader.say([key], `${key} must be a list`)
      return []
    }
    return items.map((one, index) => {
      const path = [key, index]
      return { name: String((one as { name?: unknown } | null)?.name), value: reader.read(item, one, path), path }
    })
  }
  const map = <T extends z.ZodType>(key: 'reviewers' | 'callers', item: T): Entry<z.output<T>>[] => {
    if (value[key] === undefined) return []
    const names = reader.read(schema.names, value[key], [key])
    return Object.entries(names ?? {}).map(([name, one]) => ({
      name,
      value: reader.read(item, one, [key, name]),
      path: [key, name],
    }))
  }
  return {
    source,
    reader,
    reviewers: map('reviewers', schema.approve),
    defaults: reader.read(schema.defaults, value.defaults ?? {}, ['defaults']) ?? {},
    callers: map('callers', schema.caller),
    rules: list('rules', schema.rule),
    tests: list('tests', schema.test),
  }
}

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
    reviewers.named.map(({ file, name, value, path }) => [name, resolveApprove(file.reader, value, path, names)]),
  )
  for (const { file, value, path } of callers.named) {
    const message = unknownName('issuer', value.issuer, names.issuers)
    if (message !== undefined) file.reader.say([...path, 'issuer'], message)
  }
  for (const { file, value, path } of tests.named) {
    const caller = unknownName('caller', value.call.caller, callers.names)
    if (caller !== undefined) file.reader.say([...path, 'call', 'caller'], caller)
    const rule = value.expect.rule === undefined ? undefined : unknownName('rule', value.expect.rule, rules.names)
    if (rule !== undefined) file.reader.say([...path, 'expect', 'rule'], rule)
  }
  return {
    rules: rules.named.map(({ file, value, path }) =>
      buildRule(file, value, path, { approvers, reviewers: reviewers.names, names }),
    ),
    callers: Object.fromEntries(callers.named.map(({ name, value }) => [name, value as TestCaller])),
    tests: tests.named.map(({ file, value, path }) => ({ ...value, where: where(file.source, path) }) as RuleTest),
  }
}

const where = (source: Source, path: Path): string => `${source.file}:${source.finding(path, '').line}`

type Collected<T> = {
  readonly named: readonly { readonly file: RuleFile; readonly name: string; readonly value: T; readonly path: Path }[]
  readonly names: readonly string[]
}

/** The things of one kind in all files, in order. A name that comes twice is a problem. */
const collect = <T>(
  files: readonly RuleFile[],
  pick: (file: RuleFile) => readonly Entry<T>[],
  kind: string,
): Collected<T> => {
  const first = new Map<string, string>()
  const all = files.flatMap(file => pick(file).map(one => ({ ...one, file })))
  for (const { file, name, path } of all) {
    const earlier = first.get(name)
    if (earlier === undefined) first.set(name, where(file.source, path))
    else file.reader.say(path, `the ${kind} "${name}" is already at ${earlier}; names are unique over all files`)
  }
  return {
    named: all.flatMap(({ value, ...one }) => (value === undefined ? [] : [{ ...one, value }])),
    names: [...first.keys()],
  }
}

type Known = {
  readonly approvers: ReadonlyMap<string, Approve>
  readonly reviewers: readonly string[]
  readonly names: Names
}

const buildRule = (file: RuleFile, value: z.output<typeof schema.rule>, path: Path, known: Known): Rule => {
  const { say } = file.reader
  const match = value.match as Match
  checkMatch(file.reader, { match, then: value.then }, [...path, 'match'], known.names)
  if (value.then !== 'hold' && value.mask.length > 0)
    say(
      [...path, 'mask'],
      `"mask" means nothing in a rule that says "${value.then}": nobody is shown such a call; remove it`,
      'key',
    )
  const approve = resolveApproval(file, value, path, known)
  const notify = value.notify ?? file.defaults.notify ?? []
  for (const [index, channel] of notify.entries()) {
    const key = value.notify === undefined ? ['defaults', 'notify'] : [...path, 'notify']
    if (channel !== 'none') checkChannel(file.reader, channel, [...key, index], known.names)
  }
  if (value.then !== 'hold' && value.notify !== undefined && notify.some(channel => channel !== 'none'))
    say(
      [...path, 'notify'],
      `"notify" means nothing in a rule that says "${value.then}": nobody is asked; remove it`,
      'key',
    )
  const says = {
    name: value.name,
    match,
    then: value.then,
    approve,
    notify: notify.filter(channel => channel !== 'none'),
    summary: value.summary,
    show: value.show,
    mask: value.mask,
    controls: value.controls ?? file.defaults.controls ?? [],
    ...(value.preview ? { preview: true as const } : {}),
  }
  if (value.preview && value.then !== 'hold')
    say(
      [...path, 'preview'],
      `"preview" means nothing in a rule that says "${value.then}": nobody is asked; remove it`,
      'key',
    )
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
    const message = unknownName('list of reviewers', one, reviewers)
    if (message !== undefined) say(place, `${message}; lists stand under "reviewers"`)
    return approvers.get(one) ?? []
  })
}
