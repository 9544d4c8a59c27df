// What the rules say of a call. Pure: the same subject always gets the same judgement.
// Every test answers yes, no or unknown. The first rule that certainly matches ends the reading; a hold or deny rule that matches only
// because something is unknown is noted, an allow rule like that does not match. The strictest of the noted and the first certain one
// wins (deny > hold > allow), over every reading of the path and every action of the call. No rule is a deny.
import { type Candidates, candidates } from './match/candidates.ts'
import {
  type Answer,
  type CompiledRule,
  type Context,
  compileRule,
  readsAction,
  readsHeaders,
  type Subject,
} from './match/keys.ts'
import type { Action } from './nouns.ts'
import type { Outcome, Rule, Settings } from './settings.ts'

export type { Subject }

export type Judgement = {
  readonly outcome: Outcome
  /** The deciding rule; undefined if there is none. */
  readonly rule: Rule | undefined
  /** The one hold rule that certainly matched every reading of every action, if nothing else was even noted. */
  readonly sole?: Rule
  /** Every distinct hold rule, when the outcome is hold. */
  readonly rules: readonly Rule[]
  /** The body must be read first: nothing else here may be used. */
  readonly needsBody: boolean
}

/** Judges a call by the rules of `settings`, which are compiled once per snapshot. */
export const match = (settings: Settings, subject: Subject): Judgement => {
  const rules = compiled(settings)
  return strictest(contexts(rules, subject), context =>
    judge(rules.candidates(context.upstream, context.call.method, context.path), context),
  )
}

/** Compiles the rules of a snapshot before it is in force: of ten thousand that takes a moment, for which no call is to wait. */
export const prepare = (settings: Settings): void => {
  const rules = compiled(settings)
  for (const upstream of settings.upstreams) rules.candidates.prepare(upstream)
}

/** How one rule fared with one reading and action; `keys` in the order in which they are tested. */
export type Weighed = {
  readonly rule: Rule
  readonly result: 'matched' | 'noted' | 'failed' | 'unread' | 'not reached'
  readonly keys: readonly { readonly key: string; readonly answer: Answer }[]
}

export type Explanation = {
  readonly judgement: Judgement
  readonly readings: readonly {
    readonly path: string
    readonly action: Action | undefined
    readonly outcome: Outcome
    readonly rules: readonly Weighed[]
  }[]
}

/** Judges like `match`, over every rule instead of the indexed ones, and says of each why it matched or which key failed. */
export const explain = (settings: Settings, subject: Subject): Explanation => {
  const rules = compiled(settings)
  const readings: Explanation['readings'][number][] = []
  const judgement = strictest(contexts(rules, subject), context => {
    const results = new Map<CompiledRule, Weighed['result']>()
    const judged = judge(rules.all, context, (rule, result) => results.set(rule, result))
    const weighed = rules.all.map(rule => ({
      rule: rule.rule,
      result: results.get(rule) ?? 'not reached',
      keys: rule.keys.map(({ key, test }) => ({ key, answer: test(context) })),
    }))
    readings.push({ path: context.path, action: context.action, outcome: judged.outcome, rules: weighed })
    return judged
  })
  return { judgement, readings }
}

type Compiled = {
  readonly all: readonly CompiledRule[]
  readonly candidates: Candidates
  readonly readsAction: boolean
  readonly readsHeaders: boolean
}

const snapshots = new WeakMap<Settings, Compiled>()

const compiled = (settings: Settings): Compiled => {
  const known = snapshots.get(settings)
  if (known !== undefined) return known
  const issuers = new Set(settings.issuers.map(issuer => issuer.name))
  const all = settings.rules.map((rule, order) => compileRule(rule, order, issuers))
  const fresh = {
    all,
    candidates: candidates(all),
    readsAction: settings.rules.some(readsAction),
    readsHeaders: settings.rules.some(readsHeaders),
  }
  snapshots.set(settings, fresh)
  return fresh
}

const contexts = (rules: Compiled, subject: Subject): Context[] => {
  const headers = rules.readsHeaders
    ? subject.call.headers.map(([name, value]) => [name.toLowerCase(), value] as const)
    : []
  const [first] = subject.actions
  const actions = first === undefined ? [undefined] : rules.readsAction ? subject.actions : [first]
  return subject.paths.flatMap(path => actions.map(action => ({ ...subject, path, action, headers })))
}

/** What one reading of one action comes to: `rule` decides, `holds` are the hold rules that want a say. */
type Judged = {
  readonly outcome: Outcome
  readonly rule: Rule | undefined
  readonly holds: readonly CompiledRule[]
  /** It is held by a rule that certainly matched. */
  readonly clear: boolean
  readonly needsBody: boolean
}

const none: readonly Rule[] = []
const severity = { allow: 0, hold: 1, deny: 2 } as const satisfies Record<Outcome, number>

const noRule: Judged = { outcome: 'deny', rule: undefined, holds: [], clear: false, needsBody: false }
const unread: Judged = { ...noRule, needsBody: true }

const judge = (
  rules: Iterable<CompiledRule>,
  context: Context,
  weighed?: (rule: CompiledRule, result: Weighed['result']) => void,
): Judged => {
  const noted: CompiledRule[] = []
  for (const compiled of rules) {
    const answer = weigh(compiled, context)
    const result =
      answer === true ? 'matched' : answer === 'unread' ? 'unread' : answer === 'unknown' ? 'noted' : 'failed'
    weighed?.(compiled, result)
    if (answer === 'unread') return unread
    if (answer === 'unknown') noted.push(compiled)
    if (answer === true) return settle(noted, compiled)
  }
  return settle(noted, undefined)
}

/** Do all keys of a rule fit? An allow rule that cannot tell does not match. */
const weigh = ({ rule, keys }: CompiledRule, context: Context): Answer => {
  let answer: Answer = true
  for (const { test } of keys) {
    const one = test(context)
    if (one === false || (one === 'unknown' && rule.then === 'allow')) return false
    if (one === 'unread' || (one === 'unknown' && answer === true)) answer = one
  }
  return answer
}

const settle = (noted: readonly CompiledRule[], certain: CompiledRule | undefined): Judged => {
  const deciding = [...noted, ...(certain === undefined ? [] : [certain])]
  const denying = deciding.find(({ rule }) => rule.then === 'deny')
  if (denying !== undefined) return { ...noRule, rule: denying.rule }
  if (certain === undefined) return noRule
  const holds = deciding.filter(({ rule }) => rule.then === 'hold')
  const clear = certain.rule.then === 'hold'
  const outcome = holds.length > 0 ? 'hold' : 'allow'
  return { outcome, rule: (holds[0] ?? certain).rule, holds, clear, needsBody: false }
}

const strictest = (subjects: readonly Context[], judgeOne: (context: Context) => Judged): Judgement => {
  let worst: Judged | undefined
  let holds: Set<CompiledRule> | undefined
  let clear = true
  for (const context of subjects) {
    const judged = judgeOne(context)
    if (judged.needsBody) return { outcome: 'deny', rule: undefined, rules: [], needsBody: true }
    for (const hold of judged.holds) holds = (holds ?? new Set()).add(hold)
    clear &&= judged.clear
    if (worst === undefined || severity[judged.outcome] > severity[worst.outcome]) worst = judged
  }
  const { outcome, rule } = worst ?? noRule
  if (outcome !== 'hold' || holds === undefined) return { outcome, rule, rules: none, needsBody: false }
  const rules = [...holds].sort((one, other) => one.order - other.order).map(({ rule }) => rule)
  const [sole] = rules
  const judgement = { outcome, rule, rules, needsBody: false }
  return clear && sole !== undefined && rules.length === 1 ? { ...judgement, sole } : judgement
}
