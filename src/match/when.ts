// `when`: a CEL expression over the same data as the other match keys. Only `true` is yes and only `false` is no; an error, another
// value, or data that cannot be told is unknown, so that it fails closed (match.ts). Names are checked when it is loaded. Expressions
// have no clock, no network and no loops but CEL's own, which are bounded here.
import { createRequire } from 'node:module'
import { isUnchecked } from '../claims.ts'
import type { Call, Caller } from '../nouns.ts'
import type { Truth } from '../value.ts'
import { callerOf, isTold, knownSize, perStep, valuesOf, variables, type WhenSubject } from './sight.ts'

export type { WhenSubject }

export type When = {
  (subject: WhenSubject, then: 'allow' | 'hold' | 'deny'): Truth | 'unread'
  /** Top-level names that it reads. */
  readonly reads: ReadonlySet<string>
  /** Header names that it reads, lower case. */
  readonly headers: ReadonlySet<string>
}

const members = ['issuer', 'subject', 'client', 'kind', 'name', 'email', 'groups', 'claims', 'owner', 'actors'] as const

// Loaded with the first expression, which is when a configuration is read: most have none.
type Cel = typeof import('@bufbuild/cel')
let loaded: (Cel & { readonly env: ReturnType<Cel['celEnv']> }) | undefined
const cel = (): NonNullable<typeof loaded> => {
  if (loaded === undefined) {
    const found = createRequire(import.meta.url)('@bufbuild/cel') as Cel
    loaded = { ...found, env: found.celEnv() }
  }
  return loaded
}

const maxLength = 4000
const maxNesting = 2
/** How often the innermost part of an expression may be looked at, at most, for all actions of a call together. */
const maxSteps = 200_000

type Parsed = ReturnType<Cel['parse']>
type Expr = NonNullable<Parsed['expr']>

/** @throws Error that says what is wrong with the expression */
export const compileWhen = (text: string): When => {
  if (text.length > maxLength) throw new Error(`must not be longer than ${maxLength} characters`)
  const { env, isCelError, parse, plan } = cel()
  let parsed: Parsed
  try {
    parsed = parse(text)
  } catch (error) {
    throw new Error(`is no CEL expression: ${(error as Error).message.replace(/^<input>:/, 'at ')}`)
  }
  const found = survey(parsed.expr)
  if (found.nesting > maxNesting)
    throw new Error(`must not nest more than ${maxNesting} loops (all, exists, exists_one, filter, map)`)
  const run = plan(env, parsed)
  const ask = (values: { readonly [name: string]: unknown }): Truth => {
    const result = run(values as Parameters<typeof run>[0])
    return isCelError(result) || typeof result !== 'boolean' ? 'unknown' : result
  }
  const { reads, words } = found
  const ofAction = ['action', 'resource', 'access', 'fields'].some(name => reads.has(name))
  const readsMember = (name: string): boolean => reads.has('caller') && (found.callerWhole || words.has(name))

  const when = (subject: WhenSubject, then: 'allow' | 'hold' | 'deny'): Truth | 'unread' => {
    const { body, caller } = subject
    if (body.kind === 'unread' && (reads.has('json') || reads.has('form'))) return 'unread'
    if (body.kind === 'unread' && reads.has('body') && subject.call.contentLength === undefined) return 'unread'
    if (!isTold(subject, reads, words)) return 'unknown'
    if (readsMember('email') && caller.email !== undefined && isUnchecked(caller.claims)) return 'unknown'
    const values = { ...valuesOf(subject, reads), ...callerOf(caller, reads) }
    const times = ofAction ? (subject.actions ?? []).length : 1
    if (found.nesting > 0 && stepsOf(values, found) * Math.max(1, times) > maxSteps) return 'unknown'
    const answers = [ask(values)]
    // As with the other keys: in an act chain everybody counts, and of an actor's kind nobody knows anything.
    if (['subject', 'client', 'kind'].some(readsMember)) {
      for (const { subject: name, client } of caller.actors) {
        const actor = { ...caller, subject: name, client } as Caller
        answers.push(readsMember('kind') ? 'unknown' : ask({ ...values, ...callerOf(actor, reads) }))
      }
    }
    const decisive = then !== 'allow'
    if (answers.includes(decisive)) return decisive
    return answers.includes('unknown') ? 'unknown' : !decisive
  }
  return Object.assign(ofAction ? when : once(when), { reads, headers: found.headers })
}

type Ask = (subject: WhenSubject, then: 'allow' | 'hold' | 'deny') => Truth | 'unread'

/** What does not depend on the action is asked once for all actions of a call. */
const once = (when: Ask): Ask => {
  type Asked = { readonly subject: WhenSubject; readonly then: string; readonly answer: Truth | 'unread' }
  const asked = new WeakMap<Call, Asked>()
  const same = ['path', 'upstream', 'headers', 'body', 'caller', 'at'] as const
  return (subject, then) => {
    const before = asked.get(subject.call)
    if (before?.then === then && same.every(part => before.subject[part] === subject[part])) return before.answer
    const answer = when(subject, then)
    asked.set(subject.call, { subject, then, answer })
    return answer
  }
}

/** How often the innermost part is looked at, at most: what is searched through in a loop is one more, quicker, loop. */
const stepsOf = (values: { readonly [name: string]: unknown }, { nesting, searched }: Survey): number => {
  const sizes = Object.entries(values).map(([name, value]) => ({ size: knownSize(value), through: searched.has(name) }))
  const sum = (some: typeof sizes): number => some.reduce((all, { size }) => all + size, 0)
  return (1 + sum(sizes)) ** nesting * Math.max(1, sum(sizes.filter(({ through }) => through)) / perStep)
}

// ---- the expression

type Survey = {
  readonly reads: Set<string>
  /** Every name after a dot and every text: what it may look up. */
  readonly words: Set<string>
  readonly headers: Set<string>
  /** Top-level names that are not only stepped into in a loop, but may be gone through from end to end. */
  readonly searched: Set<string>
  callerWhole: boolean
  nesting: number
}

const survey = (expr: Expr): Survey => {
  const [reads, words, headers, searched] = [new Set<string>(), new Set<string>(), new Set<string>(), new Set<string>()]
  const found: Survey = { reads, words, headers, searched, callerWhole: false, nesting: 0 }
  visit(expr, new Set(), 0, found)
  return found
}

const visit = (expr: Expr | undefined, bound: ReadonlySet<string>, depth: number, found: Survey): void => {
  const { exprKind: kind } = expr ?? { exprKind: { case: undefined, value: undefined } }
  const all = (parts: readonly (Expr | undefined)[], names = bound, deeper = depth): void => {
    for (const part of parts) visit(part, names, deeper, found)
  }
  const header = headerIn(expr, bound)
  if (header !== undefined) {
    if (header !== header.toLowerCase()) throw new Error(`must write the header "${header}" in lower case`)
    found.reads.add('header')
    found.headers.add(header)
    return
  }
  switch (kind.case) {
    case 'identExpr': {
      const { name } = kind.value
      if (bound.has(name)) return
      if (!(variables as readonly string[]).includes(name))
        throw new Error(`knows no "${name}"; it may read ${variables.join(', ')}`)
      if (name === 'header') throw new Error('must name the header it reads, as header["x-mode"] or "x-mode" in header')
      found.reads.add(name)
      if (name === 'caller') found.callerWhole = true
      return
    }
    case 'selectExpr': {
      const { operand, field } = kind.value
      found.words.add(field)
      const whole = found.callerWhole
      all([operand])
      const { exprKind: of } = operand ?? { exprKind: { case: undefined, value: undefined } }
      if (of.case !== 'identExpr' || of.value.name !== 'caller' || bound.has('caller')) return
      found.callerWhole = whole
      if (!(members as readonly string[]).includes(field))
        throw new Error(`knows no "caller.${field}"; of a caller it may read ${members.join(', ')}`)
      return
    }
    case 'callExpr': {
      const { function: name, target, args } = kind.value
      if (cel().env.funcs.find(name) === undefined && !isOperator(name)) throw new Error(`knows no function "${name}"`)
      if (name === 'matches') patternIn(args.at(-1))
      all([target, ...args])
      if (depth > 0 && !quick.has(name)) {
        const roots = [target, ...args].filter(part => part !== undefined).map(part => rootsOf(part, bound))
        // A comparison takes as long as the shorter of the two.
        if (!comparing.has(name) || roots.every(of => of.length > 0))
          for (const root of roots.flat()) found.searched.add(root)
      }
      return
    }
    case 'listExpr':
      all(kind.value.elements)
      return
    case 'structExpr':
      for (const { keyKind, value } of kind.value.entries)
        all(keyKind.case === 'mapKey' ? [keyKind.value, value] : [value])
      return
    case 'comprehensionExpr': {
      const { iterVar, iterVar2, iterRange, accuVar, accuInit, loopCondition, loopStep, result } = kind.value
      found.nesting = Math.max(found.nesting, depth + 1)
      all([iterRange, accuInit])
      const inside = new Set([...bound, accuVar, iterVar, ...(iterVar2 === '' ? [] : [iterVar2])])
      all([loopCondition, loopStep], inside, depth + 1)
      all([result], new Set([...bound, accuVar]))
      return
    }
    case 'constExpr':
      if (kind.value.constantKind.case === 'stringValue') found.words.add(kind.value.constantKind.value)
      return
  }
}

/** The name of the header that `header["x"]`, `header.x` or `"x" in header` asks for. */
const headerIn = (expr: Expr | undefined, bound: ReadonlySet<string>): string | undefined => {
  if (bound.has('header')) return undefined
  const { exprKind: kind } = expr ?? { exprKind: { case: undefined, value: undefined } }
  const isHeader = (one: Expr | undefined): boolean =>
    one?.exprKind.case === 'identExpr' && one.exprKind.value.name === 'header'
  if (kind.case === 'selectExpr') return isHeader(kind.value.operand) ? kind.value.field : undefined
  if (kind.case !== 'callExpr') return undefined
  const [one, other] = kind.value.args
  const name =
    kind.value.function === '_[_]' && isHeader(one)
      ? other
      : kind.value.function === '@in' && isHeader(other)
        ? one
        : undefined
  const constant = name?.exprKind.case === 'constExpr' ? name.exprKind.value.constantKind : undefined
  return constant?.case === 'stringValue' ? constant.value : undefined
}

/** What takes no longer for a long value than for a short one; the others go through what they are given. */
const quick: ReadonlySet<string> = new Set(['_&&_', '_||_', '!_', '_?_:_', '_[_]', '@not_strictly_false', '-_'])
const comparing: ReadonlySet<string> = new Set(['_==_', '_!=_', '_<_', '_<=_', '_>_', '_>=_'])

/** The top-level names that the value of an expression may be a part of. */
const rootsOf = (expr: Expr | undefined, bound: ReadonlySet<string>): readonly string[] => {
  const { exprKind: kind } = expr ?? { exprKind: { case: undefined, value: undefined } }
  switch (kind.case) {
    case 'identExpr':
      return bound.has(kind.value.name) ? [] : [kind.value.name]
    case 'selectExpr':
      return rootsOf(kind.value.operand, bound)
    case 'callExpr':
      return [kind.value.target, ...kind.value.args].flatMap(part => rootsOf(part, bound))
    case 'listExpr':
      return kind.value.elements.flatMap(part => rootsOf(part, bound))
    case 'comprehensionExpr':
      return rootsOf(kind.value.iterRange, bound)
    default:
      return []
  }
}

/** A pattern is part of the rule: one from a call could be made to take long, and a wrong one is found when the rule is loaded. */
const patternIn = (expr: Expr | undefined): void => {
  const constant = expr?.exprKind.case === 'constExpr' ? expr.exprKind.value.constantKind : undefined
  if (constant?.case !== 'stringValue') throw new Error('must write the pattern of matches() in quotes')
  const { env, isCelError, parse, plan } = cel()
  if (isCelError(plan(env, parse('"".matches(pattern)'))({ pattern: constant.value })))
    throw new Error(`knows no such pattern: "${constant.value}" (RE2 syntax)`)
}

// What the parser makes of operators is not found among the functions where the planner knows it by itself.
const isOperator = (name: string): boolean => /^[_@!-]/.test(name)
