// The match keys of one rule as compiled tests, cheap ones first and those that need the body last.
// Of several values one that fits is enough in a hold or deny rule; in an allow rule all must.
import { claimAt, isUnchecked } from '../claims.ts'
import type { Action, Body, Call, Caller, Json } from '../nouns.ts'
import { type PathTest, pathTest } from '../path.ts'
import type { Match, Rule, Upstream, ValueTest } from '../settings.ts'
import { caseless, compileTest, glob, isList, negate, regex, type Source, type Test, type Truth } from '../value.ts'
import { inAnotherCase } from './names.ts'
import { compileReach } from './reach.ts'
import { inTime } from './time.ts'
import { compileWhen } from './when.ts'

export type Subject = {
  readonly call: Call
  /** Every reading of the canonical path as the upstream sees it; the first is the plain one. */
  readonly paths: readonly string[]
  readonly upstream: Upstream
  readonly actions: readonly Action[]
  readonly body: Body
  readonly caller: Caller
  readonly at: number
}

/** One reading of one action of a subject. `action` is undefined when the upstream's kind named none. */
export type Context = Subject & {
  readonly path: string
  readonly action: Action | undefined
  /** Header names in lower case, once per call. */
  readonly headers: readonly (readonly [name: string, value: string])[]
}

/** `unread`: the body has to be read first. */
export type Answer = Truth | 'unread'

export type Key = { readonly key: string; readonly test: (context: Context) => Answer }

export type CompiledRule = {
  readonly rule: Rule
  readonly order: number
  readonly keys: readonly Key[]
  readonly method: Test | undefined
  readonly upstream: Test | undefined
}

/** `issuers` are the names that may qualify a group. */
export const compileRule = (rule: Rule, order: number, issuers: ReadonlySet<string>): CompiledRule => {
  const { match } = rule
  const fold: Fold = rule.then === 'allow' ? allOf : anyOf
  const method = compiled(match.method, 'text')
  const upstream = compiled(match.upstream, 'text')
  const keys = [
    one('upstream', upstream, ({ upstream }) => upstream.name),
    one('method', method, ({ call }) => call.method),
    one('host', compiled(lowerCase(match.host), 'text'), ({ call }) => call.host),
    ...path(rule),
    ...caller(match.caller, fold, issuers),
    ...action(match),
    ...time(match.time),
    ...query(match.query, fold),
    ...header(match.header, fold),
    ...bodyType(match.body?.type),
    ...bodySize(match.body?.size),
    ...json(match.json, fold),
    ...form(match.form, fold),
    ...when(match.when, rule.then),
  ].filter(key => key !== undefined)
  return { rule, order, keys, method, upstream }
}

// ---- several values

type Fold = (answers: Iterable<Answer>) => Answer

const anyOf: Fold = answers => {
  let answer: Answer = false
  for (const next of answers) {
    if (next === true) return true
    if (next !== false) answer = next
  }
  return answer
}

const allOf: Fold = answers => {
  let answer: Answer = true
  for (const next of answers) {
    if (next === false) return false
    if (next !== true) answer = next
  }
  return answer
}

const onValues = (fold: Fold, values: readonly (Json | undefined)[], test: Test): Answer =>
  values.length === 0 ? test(undefined) : values.length === 1 ? test(values[0]) : fold(values.map(test))

const compiled = (test: ValueTest | undefined, source: Source): Test | undefined =>
  test === undefined ? undefined : compileTest(test, source)

const one = (key: string, test: Test | undefined, value: (context: Context) => Json | undefined): Key | undefined =>
  test && { key, test: context => test(value(context)) }

type Pairs<V = Json> = readonly (readonly [name: string, value: V])[]
type Tests = { readonly [name: string]: ValueTest } | undefined

const valuesOf = <V>(pairs: Pairs<V>, name: string): V[] => {
  const values: V[] = []
  for (const pair of pairs) if (pair[0] === name) values.push(pair[1])
  return values
}

/** A name that is there in another case too adds a value that nobody can tell. */
const onNamed = (fold: Fold, pairs: Pairs, name: string, test: Test): Answer => {
  const values = valuesOf(pairs, name)
  if (pairs.length === 0 || !inAnotherCase(pairs, name)) return onValues(fold, values, test)
  return fold([...values.map(test), 'unknown'])
}

const query = (tests: Tests, fold: Fold): Key[] =>
  Object.entries(tests ?? {}).map(([name, valueTest]) => {
    const test = compileTest(valueTest, 'text')
    return { key: `query ${name}`, test: ({ call }) => onNamed(fold, call.query, name, test) }
  })

// RFC 9110 §5.3: `X-Mode: safe, danger` is the same as two lines, so every part is a value like the whole.
const header = (tests: Tests, fold: Fold): Key[] =>
  Object.entries(tests ?? {}).map(([name, valueTest]) => {
    const test = compileTest(valueTest, 'text')
    const lower = name.toLowerCase()
    return {
      key: `header ${lower}`,
      test: ({ headers }) => onValues(fold, valuesOf(headers, lower).flatMap(wholeAndParts), test),
    }
  })

const wholeAndParts = (value: string): string[] =>
  value.includes(',') ? [value, ...value.split(',').map(part => part.trim())] : [value]

// ---- lower case, for what has no case: host names, e-mail addresses, media types

const lowerCase = (test: ValueTest | undefined): ValueTest | undefined => {
  if (typeof test === 'string') return test.toLowerCase()
  if (test === undefined || test === null || typeof test !== 'object') return test
  if (isList(test)) return test.map(item => lowerCase(item) as ValueTest)
  const { is, not, contains, matches } = test
  return {
    ...test,
    ...(matches === undefined ? {} : { matches: caseless(matches) }),
    ...(is === undefined ? {} : { is: lowerCase(is) as NonNullable<typeof is> }),
    ...(not === undefined ? {} : { not: lowerCase(not) as ValueTest }),
    ...(contains === undefined ? {} : { contains: lowerCase(contains) as typeof contains }),
  }
}

// ---- path and time

const path = (rule: Rule): Key[] => {
  if (rule.match.path === undefined) return []
  const globs = [rule.match.path].flat()
  const exact = pathTest(globs, rule.then, false)
  let folded: PathTest | undefined
  const test = ({ path, upstream }: Context): Answer => {
    if (upstream.caseSensitive) return exact(path)
    folded ??= pathTest(globs, rule.then, true)
    return folded(path)
  }
  return [{ key: 'path', test }]
}

const time = (when: Match['time']): Key[] => {
  if (when === undefined) return []
  const within = inTime(when)
  return [{ key: 'time', test: ({ at }) => within(at) }]
}

// ---- who calls

type CallerTests = NonNullable<Match['caller']>

const caller = (tests: CallerTests | undefined, fold: Fold, issuers: ReadonlySet<string>): (Key | undefined)[] => {
  if (tests === undefined) return []
  const subject = compiled(tests.subject, 'text')
  const client = compiled(tests.client, 'text')
  const group = tests.group === undefined ? undefined : membership(tests.group, issuers)
  return [
    one('caller.issuer', compiled(tests.issuer, 'text'), ({ caller }) => caller.issuer),
    kind(tests.kind, fold),
    subject && {
      key: 'caller.subject',
      test: ({ caller }) => onValues(fold, [caller.subject, ...caller.actors.map(actor => actor.subject)], subject),
    },
    client && {
      key: 'caller.client',
      test: ({ caller }) => onValues(fold, [caller.client, ...caller.actors.map(actor => actor.client)], client),
    },
    group && { key: 'caller.group', test: ({ caller }) => group(caller) },
    // An address that nobody checked may be anybody's: what it is cannot be told.
    one('caller.email', compiled(lowerCase(tests.email), 'text'), ({ caller }) =>
      caller.email !== undefined && isUnchecked(caller.claims) ? null : caller.email?.toLowerCase(),
    ),
    ...Object.entries(tests.claim ?? {}).map(([name, test]) =>
      one(`caller.claim ${name}`, compileTest(test), ({ caller }) => claimAt(caller.claims, name)),
    ),
  ]
}

// With an act chain the caller's kind is its current actor's; what the others are, the subject too, no token says.
const kind = (valueTest: ValueTest | undefined, fold: Fold): Key | undefined => {
  if (valueTest === undefined) return undefined
  const test = compileTest(valueTest, 'text')
  const possible = new Set(['agent', 'workload', 'human'].map(test))
  const others: Answer = possible.size === 1 ? ([...possible][0] as Answer) : 'unknown'
  return {
    key: 'caller.kind',
    test: ({ caller }) => (caller.actors.length === 0 ? test(caller.kind) : fold([test(caller.kind), others])),
  }
}

// A group test asks for membership, so `not` means "in none of these", whatever the rule's outcome.
type Membership = (caller: Caller) => Truth

const membership = (test: ValueTest, issuers: ReadonlySet<string>): Membership => {
  if (typeof test === 'string') return member(test, glob(test), issuers)
  if (isList(test))
    return every(
      test.map(item => membership(item, issuers)),
      anyOf,
    )
  if (test === null || typeof test !== 'object') return () => 'unknown'
  const { is, not, matches, exists, over, under, contains } = test
  const parts: Membership[] = []
  if (exists !== undefined) parts.push(({ groups }) => groups.length > 0 === exists)
  if (is !== undefined)
    parts.push(
      every(
        [is].flat().map(name => member(String(name), group => group === name, issuers)),
        anyOf,
      ),
    )
  if (matches !== undefined) parts.push(member('', regex(matches), issuers))
  if (not !== undefined) {
    const inner = membership(not, issuers)
    parts.push(caller => negate(inner(caller)))
  }
  if (over !== undefined || under !== undefined || contains !== undefined) parts.push(() => 'unknown')
  return every(parts, allOf)
}

// A name that begins with an issuer's is looked for in that issuer's tokens only: another issuer may spell a group of its own like that.
const member = (name: string, fits: (group: string) => boolean, issuers: ReadonlySet<string>): Membership => {
  const colon = name.indexOf(':')
  return colon > 0 && issuers.has(name.slice(0, colon))
    ? ({ groups, issuer }) => groups.some(group => fits(`${issuer}:${group}`))
    : ({ groups }) => groups.some(fits)
}

const every =
  (parts: readonly Membership[], fold: Fold): Membership =>
  caller =>
    fold(parts.map(part => part(caller))) as Truth

// ---- what it would do

const action = (match: Match): (Key | undefined)[] => [
  ofAction('action', 'name', compiled(match.action, 'text'), action => action.name),
  resource(match.resource),
  access(match.access),
  ...Object.entries(match.fields ?? {}).map(([name, test]) =>
    ofAction(
      `fields ${name}`,
      `fields.${name}`,
      compileTest(test, 'text'),
      ({ fields }) => (Object.hasOwn(fields, name) ? fields[name] : undefined),
      isPositive(test),
    ),
  ),
]

const resource = (valueTest: ValueTest | undefined): Key | undefined => {
  if (valueTest === undefined) return undefined
  const reaching = compileReach(valueTest)
  const exact = compileTest(valueTest, 'text')
  const plain = ofAction('resource', 'resource', exact, action => action.resource, isPositive(valueTest))
  return (
    plain && {
      key: 'resource',
      test: context => {
        const { action } = context
        if (action?.reach === undefined || isUnknown(action, 'resource')) return plain.test(context)
        return reaching(action.resource, action.reach)
      },
    }
  )
}

const ofAction = (
  key: string,
  part: string,
  test: Test | undefined,
  value: (action: Action) => string | undefined,
  positive = false,
): Key | undefined =>
  test && {
    key,
    test: ({ action }) => {
      if (action === undefined || isUnknown(action, part)) return 'unknown'
      const answer = test(value(action))
      const isPattern = action.patterns?.includes(part.replace(/^fields\./, '')) === true
      return isPattern && !(positive && answer === true) ? 'unknown' : answer
    },
  }

/** Only globs and exact texts: whatever a pattern that fits them stands for fits them too. */
const isPositive = (test: ValueTest | undefined): boolean =>
  Array.isArray(test) ? test.every(isPositive) : typeof test === 'string'

const isUnknown = ({ unknown }: Action, part: string): boolean =>
  unknown !== undefined &&
  (unknown.includes(part) || unknown.includes('*') || unknown.includes(part.replace(/^fields\./, '')))

/** An access that nobody knows could be any: only a rule that names `unknown` means it. */
const access = (valueTest: ValueTest | undefined): Key | undefined => {
  if (valueTest === undefined) return undefined
  const test = compileTest(valueTest, 'text')
  const named = [valueTest].flat().includes('unknown')
  return ofAction(
    'access',
    'access',
    value => (value === 'unknown' && !named ? 'unknown' : test(value)),
    action => action.access,
  )
}

/** Does a rule look at the action at all? If none does, one action stands for all. */
export const readsAction = ({ match }: Rule): boolean =>
  [match.action, match.resource, match.access, match.fields, match.when].some(test => test !== undefined)

/** Does a rule look at header lines? */
export const readsHeaders = ({ match }: Rule): boolean =>
  match.header !== undefined || match.body?.type !== undefined || match.when !== undefined

// ---- the body

const mediaType = /^[!#$%&'*+.^_`|~0-9a-z-]+\/[!#$%&'*+.^_`|~0-9a-z-]+$/

const bodyType = (valueTest: ValueTest | undefined): Key[] => {
  const test = compiled(lowerCase(valueTest), 'text')
  if (test === undefined) return []
  const answer = ({ headers }: Context): Answer => {
    const [type, ...more] = valuesOf(headers, 'content-type')
    if (type === undefined) return test(undefined)
    const essence = type.split(';', 1)[0]?.trim().toLowerCase() ?? ''
    return more.length === 0 && mediaType.test(essence) ? test(essence) : 'unknown'
  }
  return [{ key: 'body.type', test: answer }]
}

const bodySize = (valueTest: ValueTest | undefined): Key[] => {
  const test = compiled(valueTest, 'json')
  if (test === undefined) return []
  const answer = ({ body, call }: Context): Answer => {
    if (body.kind === 'none') return test(0)
    const size = (body.kind === 'unread' ? undefined : body.size) ?? call.contentLength
    return size !== undefined ? test(size) : body.kind === 'unread' ? 'unread' : 'unknown'
  }
  return [{ key: 'body.size', test: answer }]
}

/** A body of another kind than the test's may still be read as that kind by the upstream, so it is unknown; an empty one has no values. */
const ofNeither = (body: Body, test: Test): Answer => {
  if (body.kind === 'unread') return 'unread'
  return body.kind === 'none' || (body.kind === 'other' && body.size === 0) ? test(undefined) : 'unknown'
}

const form = (tests: Tests, fold: Fold): Key[] =>
  Object.entries(tests ?? {}).map(([name, valueTest]) => {
    const test = compileTest(valueTest, 'text')
    return {
      key: `form ${name}`,
      test: ({ body }) => {
        if (body.kind === 'form') return onNamed(fold, body.pairs, name, test)
        if (body.kind === 'multipart') return onNamed(fold, body.fields, name, test)
        return ofNeither(body, test)
      },
    }
  })

const json = (tests: Tests, fold: Fold): Key[] =>
  Object.entries(tests ?? {}).map(([pointer, valueTest]) => {
    const test = compileTest(valueTest)
    const segments = pointer.split('/').slice(1).map(unescapeSegment)
    return {
      key: `json ${pointer}`,
      test: ({ body }) => {
        if (body.kind === 'json') return at(body.value, segments, 0, test, fold)
        if (body.kind === 'records') return fold(body.values.map(value => at(value, segments, 0, test, fold)))
        return ofNeither(body, test)
      },
    }
  })

const when = (text: string | undefined, then: Rule['then']): Key[] => {
  if (text === undefined) return []
  const ask = compileWhen(text)
  return [{ key: 'when', test: context => ask(context, then) }]
}

/** RFC 6901 §4. */
const unescapeSegment = (segment: string): string => segment.replaceAll('~1', '/').replaceAll('~0', '~')

// Where the pointer expects a container and finds something else, the upstream may know how to read it (JSON in a string, a batch): unknown.
const at = (value: Json | undefined, segments: readonly string[], depth: number, test: Test, fold: Fold): Answer => {
  const segment = segments[depth]
  if (segment === undefined) return test(value)
  if (value === undefined || value === null) return test(undefined)
  if (typeof value !== 'object') return 'unknown'
  if (segment === '*') {
    const items = Object.values(value) as Json[]
    return items.length === 0 ? test(undefined) : fold(items.map(item => at(item, segments, depth + 1, test, fold)))
  }
  if (Array.isArray(value))
    return /^(0|[1-9]\d{0,8})$/.test(segment) ? at(value[Number(segment)], segments, depth + 1, test, fold) : 'unknown'
  if (Object.hasOwn(value, segment)) {
    return at((value as { [name: string]: Json })[segment], segments, depth + 1, test, fold)
  }
  return inAnotherCase(value, segment) ? 'unknown' : test(undefined)
}
