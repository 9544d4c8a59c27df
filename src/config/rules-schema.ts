// The shape of rules, their reviewers, and their tests. Stands inside the configuration file or in files of their own.

import { METHODS } from 'node:http'
import { z } from 'zod'
import { days, hoursPattern } from '../match/time.ts'
import { compileWhen } from '../match/when.ts'
import type { ValueTest } from '../settings.ts'
import { regex } from '../value.ts'
import { noHosts, noMediaTypes, unfit } from './asked.ts'
import { globProblems } from './globs.ts'
import { count, duration, durationOrNone, flag, label, list, name, oneOf, oneOrMore, size, text } from './scalars.ts'
import { nearest, strict } from './strict.ts'

// ---- tests on values

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()], {
  error: 'must be a text, a number, true, false or null',
})

const pattern = text('a regular expression')
  .max(2000, 'must not be longer than 2000 characters')
  .superRefine((value, context) => {
    try {
      regex(value)
    } catch (error) {
      context.addIssue({
        code: 'custom',
        continue: false,
        message: `must be a regular expression (RE2 syntax): ${(error as Error).message.replace('(?s)', '')}`,
      })
    }
  })

const operators = {
  is: z.union([scalar, list(scalar).min(1, 'must not be empty')]).optional(),
  over: z.number({ error: 'must be a number' }).optional(),
  under: z.number({ error: 'must be a number' }).optional(),
  matches: pattern.optional(),
  exists: flag.optional(),
  contains: z
    .union([z.string(), z.number(), z.boolean()], { error: 'must be a text, a number, true or false' })
    .optional(),
}

const asked = <T extends z.ZodType>(schema: T) =>
  schema.refine(
    value => Object.keys(value as object).length > 0,
    'must ask something: is, not, over, under, matches, exists or contains',
  )

export const valueTest: z.ZodType<ValueTest, ValueTest> = z
  .lazy(() =>
    z.union(
      [
        scalar,
        list(valueTest).min(1, 'must not be empty: nothing would ever match'),
        asked(strict({ ...operators, not: denied.optional() })),
      ],
      {
        error: 'must be a text, a number, a list, or a mapping of is, not, over, under, matches, exists and contains',
      },
    ),
  )
  .meta({
    id: 'ValueTest',
    description: 'A glob, a number, a list of tests one of which must fit, or a mapping all of which must.',
  }) as z.ZodType<ValueTest, ValueTest>

// An absent value fails every test but `exists: false`; under `not` that would read the other way round.
const denied: z.ZodType<ValueTest, ValueTest> = z.lazy(() =>
  valueTest.refine(value => !asksExists(value), 'must not ask `exists`; write `exists: false` itself'),
) as z.ZodType<ValueTest, ValueTest>

const asksExists = (test: ValueTest): boolean =>
  Array.isArray(test) ? test.some(asksExists) : test !== null && typeof test === 'object' && 'exists' in test

const words = (allowed: readonly string[]) =>
  valueTest.superRefine((test, context) => {
    for (const { written } of unfit(test, allowed))
      context.addIssue({
        code: 'custom',
        message: `never fits: ${JSON.stringify(written)} is none of ${allowed.join(', ')}`,
      })
  })

const method = valueTest.superRefine((test, context) => {
  for (const { how, written } of unfit(test, METHODS)) {
    const meant = nearest(written, METHODS)
    const message =
      ['glob', 'is', 'contains'].includes(how) && written !== written.toUpperCase()
        ? 'must be upper case: methods are compared exactly'
        : `never fits: ${JSON.stringify(written)} is no HTTP method${meant === undefined ? '' : `; did you mean "${meant}"?`}`
    context.addIssue({ code: 'custom', message })
  }
})

const host = valueTest.superRefine((test, context) => {
  for (const { written } of noHosts(test))
    context.addIssue({
      code: 'custom',
      message: `never fits: ${JSON.stringify(written)} is no host; write the name alone, without scheme, port, path and final dot (IPv6 in brackets)`,
    })
})

const mediaType = valueTest.superRefine((test, context) => {
  for (const { written } of noMediaTypes(test))
    context.addIssue({
      code: 'custom',
      message: `never fits: ${JSON.stringify(written)} is no media type; write it as "application/json", without parameters`,
    })
})

const group = valueTest.superRefine((test, context) => {
  const asks = (one: ValueTest): boolean => {
    if (Array.isArray(one)) return one.some(asks)
    if (one === null || typeof one !== 'object') return typeof one !== 'string'
    const { over, under, contains, not } = one as { over?: number; under?: number; contains?: unknown; not?: ValueTest }
    return over !== undefined || under !== undefined || contains !== undefined || (not !== undefined && asks(not))
  }
  if (asks(test))
    context.addIssue({ code: 'custom', message: 'asks for membership: use a name, a list, is, not, matches or exists' })
})

const tests = (what: string, key: z.ZodString = text(what)) =>
  z
    .record(key, valueTest, { error: `must be a mapping of ${what} to tests` })
    .refine(value => Object.keys(value).length > 0, 'must not be empty')

const pointer = z.string().regex(/^(\/([^~/]|~[01])*)*$/, 'must be a JSON pointer such as /amount or /items/*/price')

const bytes = z.union([z.number(), size], { error: 'must be a size such as 1MiB, or a number of bytes' })

// ---- match

const path = text('a path').superRefine((value, context) => {
  for (const message of globProblems(value)) context.addIssue({ code: 'custom', message })
})

const when = text('a CEL expression').superRefine((value, context) => {
  try {
    compileWhen(value)
  } catch (error) {
    context.addIssue({ code: 'custom', continue: false, message: (error as Error).message })
  }
})

const zone = text('a time zone').refine(value => {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: value }) !== undefined
  } catch {
    return false
  }
}, 'must be an IANA time zone such as Europe/Berlin')

/** A mapping of tests: an empty one would look like a condition and be none. */
const asking = <T extends z.core.$ZodLooseShape>(shape: T) =>
  strict(shape).refine(
    value => Object.keys(value as object).length > 0,
    `must ask something: ${Object.keys(shape).join(', ')}`,
  )

export const match = strict(
  {
    upstream: valueTest.optional(),
    method: method.optional(),
    host: host.optional(),
    path: z.union([path, list(path).min(1, 'must not be empty')]).optional(),
    query: tests('query names').optional(),
    header: tests(
      'header names',
      text('a header name').regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'must be a header name'),
    ).optional(),
    json: tests('JSON pointers', pointer).optional(),
    form: tests('form fields').optional(),
    body: asking({
      type: mediaType.optional(),
      size: z
        .union([bytes, strict({ is: bytes.optional(), over: bytes.optional(), under: bytes.optional() })])
        .optional(),
    }).optional(),
    action: valueTest.optional(),
    resource: valueTest.optional(),
    access: words(['read', 'write', 'permissions', 'credentials', 'unknown']).optional(),
    fields: tests('field names').optional(),
    caller: asking({
      kind: words(['agent', 'workload', 'human']).optional(),
      subject: valueTest.optional(),
      client: valueTest.optional(),
      group: group.optional(),
      issuer: valueTest.optional(),
      email: valueTest.optional(),
      claim: tests('claim names').optional(),
    }).optional(),
    time: strict({
      days: list(oneOf(days)).min(1, 'must not be empty').optional(),
      hours: text()
        .regex(hoursPattern, 'must be hours such as "09:00-17:00"')
        .refine(
          value => value.slice(0, 5) !== value.slice(6),
          'must not begin and end at the same time; for the whole day leave hours out',
        )
        .optional(),
      zone: zone.optional(),
    })
      .refine(({ days, hours }) => days !== undefined || hours !== undefined, 'must have days or hours')
      .optional(),
    when: when.optional().describe('A CEL expression over the same data; only true fits.'),
  },
  ['rate'],
)

// ---- approve

const approvers = strict({
  groups: list(text('a group')).prefault([]),
  people: list(text('a person')).prefault([]),
}).refine(({ groups, people }) => groups.length + people.length > 0, 'must name at least one group or person')

const rateMessage = 'must be a rate such as 5/m, 10/h or 20/d'

export const approve = strict({
  by: approvers,
  votes: count(1, 'distinct persons').max(100, 'must be 100 or less (distinct persons)').prefault(1),
  within: duration.prefault('30m').describe('Then the hold expires.'),
  approvedFor: duration.prefault('15m').describe('How long an approval may be used.'),
  wait: durationOrNone.prefault('55s').describe('How long a call blocks before it is asked to try again.'),
  onDisconnect: oneOf(['keep', 'cancel']).prefault('keep'),
  reason: oneOf(['required', 'optional']).prefault('optional').describe("The caller's Holdpoint-Reason."),
  comment: oneOf(['required', 'optional']).prefault('optional').describe("The reviewer's comment."),
  unreadable: oneOf(['deny', 'digest'])
    .prefault('deny')
    .describe('Whether a body that cannot be shown may be approved by its digest.'),
  approveUnseen: flag
    .prefault(false)
    .describe('Whether a hold with hidden values may be approved without looking at them.'),
  stepUp: strict({
    acr: oneOrMore(
      text('an acr value').regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be an acr value, without spaces and quotes'),
    ).optional(),
    maxAge: duration.optional(),
  })
    .refine(({ acr, maxAge }) => acr !== undefined || maxAge !== undefined, 'must have acr, maxAge or both')
    .optional()
    .describe('What the sign-in of whoever lets a call go must be: one of these acr, and not older than maxAge.'),
  breakGlass: strict({ groups: list(text('a group')).min(1, 'must name at least one group') })
    .optional()
    .describe('Who may let a call go alone, with a comment, in an emergency.'),
  escalate: strict({ after: duration, notify: list(name).prefault([]), by: approvers.optional() })
    .refine(({ notify, by }) => notify.length > 0 || by !== undefined, 'must have notify, by or both')
    .optional()
    .describe('Who is told, and may approve as well, once a hold has waited this long.'),
  grant: strict({
    uses: count(1, 'calls').max(1000, 'must be 1000 or less (calls)'),
    for: duration,
    rate: z
      .string({ error: rateMessage })
      .regex(/^[1-9]\d{0,3}\/[mhd]$/, rateMessage)
      .optional(),
  })
    .optional()
    .describe('The most that a reviewer may let go in advance: so many calls like the one held, for so long, so fast.'),
})

const approval = z.union([name, approve, list(z.union([name, approve])).min(1, 'must not be empty')], {
  error: 'must be the name of reviewers, a mapping with `by`, or a list of either',
})

const notify = list(name)
const controls = list(label)

/** Where a value stands in a call, for `show` and `mask`: a typing error must not hide nothing. */
const valuePaths = /^(json\.(\/([^~/]|~[01])*)*|(query|header|form)\..+)$/

const valuePath = text('a path').regex(valuePaths, 'must be json./pointer, query.name, header.name or form.name')

/** The line that reviewers see first: a value that it names has to be one. */
const summary = text()
  .max(500, 'must not be longer than 500 characters')
  .superRefine((value, context) => {
    for (const [, field = ''] of value.matchAll(/\{([^{}]*)\}/g)) {
      if (!/^(method|path|action|resource|path\.[1-9]\d?)$/.test(field) && !valuePaths.test(field))
        context.addIssue({
          code: 'custom',
          message: `names no value by {${field}}: write {json./pointer}, {query.name}, {header.name}, {form.name}, {method}, {path}, {path.1}, {action} or {resource}`,
        })
    }
    if (/[{}]/.test(value.replace(/\{[^{}]*\}/g, '')))
      context.addIssue({ code: 'custom', message: 'has a brace without its other half' })
  })

export const rule = strict(
  {
    name: label,
    match,
    then: oneOf(['allow', 'deny', 'hold']),
    approve: approval.optional(),
    notify: notify.optional(),
    summary: summary.optional(),
    show: list(valuePath).prefault([]),
    mask: list(valuePath).prefault([]),
    controls: controls.optional(),
    preview: flag.prefault(false).describe('Show reviewers what the call would change (kubernetes).'),
  },
  ['observe'],
)

// ---- tests

const json = z.json({ error: 'must be JSON' })

export const caller = strict({
  issuer: name,
  subject: text(),
  kind: oneOf(['agent', 'workload', 'human']).prefault('workload'),
  client: text().optional(),
  groups: list(text()).prefault([]),
  owner: text().optional(),
  email: text().optional(),
  claims: z.record(z.string(), json, { error: 'must be a mapping' }).prefault({}),
})

export const test = strict({
  name: label,
  call: strict({
    caller: name,
    method: text('a method')
      .regex(/^[A-Z]+$/, 'must be an upper-case method')
      .prefault('GET'),
    url: text('a path or a URL').regex(
      /^(\/|https?:\/\/)[\x21-\x7e]*$/,
      "must be the gate's path, such as /billing/v1/refunds, or a URL with its host",
    ),
    headers: z.record(text(), z.string({ error: 'must be a text' }), { error: 'must be a mapping' }).prefault({}),
    json: json.optional(),
    form: z.record(z.string(), z.string({ error: 'must be a text' }), { error: 'must be a mapping' }).optional(),
    body: z.string({ error: 'must be a text' }).optional(),
    at: z.iso.datetime({ offset: true, error: 'must be an instant such as 2026-01-31T09:30:00Z' }).optional(),
  }).refine(
    call => [call.json, call.form, call.body].filter(part => part !== undefined).length < 2,
    'must have one of json, form and body at most',
  ),
  expect: strict({ outcome: oneOf(['allow', 'deny', 'hold']), rule: label.optional() }),
})

const named = <T extends z.ZodType>(schema: T) => z.record(name, schema, { error: 'must be a mapping of names' })

export const defaults = strict({
  approve: approval.optional(),
  notify: notify.optional(),
  controls: controls.optional(),
})

/** What may stand beside rules, in the configuration file and in a file of rules. */
export const sections = {
  reviewers: named(approve).prefault({}).describe('Named, to be used as `approve: name`.'),
  defaults: defaults.prefault({}).describe('For the rules of this file.'),
  callers: named(caller).prefault({}).describe('For tests.'),
  tests: list(test).prefault([]),
}

/** A file of rules. */
export const file = strict({ rules: list(rule).prefault([]), ...sections })

/** Its keys alone, as in the configuration file. */
export const keys = strict({
  rules: z.unknown().optional(),
  ...Object.fromEntries(Object.keys(sections).map(key => [key, z.unknown().optional()])),
})

/** A mapping whose values are read one by one. */
export const names = named(z.unknown())
