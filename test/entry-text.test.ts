// The text of an allowed call's entry is put together from parts; it must be, byte for byte, what JSON.stringify makes of the entry.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { makeLog } from '../src/log.ts'
import { recorder } from '../src/record.ts'
import { aboutCall, type Known } from '../src/way.ts'

type Rule = { readonly name: string; readonly hash: string; readonly controls: readonly string[] }
type Who = { readonly issuer: string; readonly subject: string; readonly kind: string; readonly client?: string }
type Made = {
  readonly call: { readonly id: string; readonly method: string; readonly address: string; readonly headers: [] }
  readonly caller: Who & { readonly groups: readonly string[] }
  readonly settings: { readonly hash: string }
  readonly upstream: { readonly name: string } | undefined
  readonly action: { readonly name: string; readonly resource: string; readonly access: string } | undefined
  readonly rule: Rule | undefined
  readonly trace: string | undefined
  readonly end: { readonly status?: number; readonly code?: string }
}

const at = Date.UTC(2026, 0, 2, 3, 4, 5, 6)

/** What the log was given of these calls, in order. */
const written = async (calls: readonly Made[]): Promise<readonly string[]> => {
  const lines: string[] = []
  const log = {
    append: async (texts: readonly string[]) => void lines.push(...texts),
    read: async () => [],
    newest: async () => [],
  }
  const record = recorder({
    log,
    spool: undefined,
    strict: () => false,
    clock: () => at,
    report: makeLog('silent'),
  })
  for (const { end, ...way } of calls) {
    const entry = record.allowed(aboutCall(way as unknown as Known, 'call.allowed'))
    if (end.status !== undefined) entry.answered(end.status)
    if (end.code !== undefined) entry.failed(end.code)
  }
  await record.close()
  return lines
}

const wanted = ({ call, caller, settings, upstream, action, rule, trace, end }: Made, number: number, line: string) => {
  const { replica, boot } = JSON.parse(line) as { replica: string; boot: string }
  return JSON.stringify({
    kind: 'call.allowed',
    call: call.id,
    method: call.method,
    address: call.address,
    upstream: upstream?.name,
    action,
    trace,
    caller: { issuer: caller.issuer, subject: caller.subject, kind: caller.kind, client: caller.client },
    config: settings.hash,
    rule: rule?.name,
    ruleHash: rule?.hash,
    controls: rule === undefined || rule.controls.length === 0 ? undefined : rule.controls,
    ...end,
    replica,
    boot,
    number,
    recordedAt: '2026-01-02T03:04:05.006Z',
  })
}

const expectWritten = async (calls: readonly Made[]): Promise<void> => {
  const lines = await written(calls)
  expect(lines).toEqual(calls.map((call, index) => wanted(call, index + 1, lines[index] ?? '{}')))
}

const hostile = [
  '',
  '"',
  '\\',
  'a","kind":"call.denied","b":"',
  '"},"status":200,"x":{"y":"',
  'GET","address":"10.0.0.1',
  'line\nfeed\r\t\b\f',
  '\u0000\u001f',
  '\u007f\u0080',
  '\u2028\u2029',
  '\ud800',
  '\udc00\ud800 x',
  'größe 😀',
  'undefined',
  '/'.repeat(40_000),
]

const plainCall: Made = {
  call: { id: 'c1', method: 'GET', address: '10.0.0.1', headers: [] },
  caller: { issuer: 'agents', subject: 'agent@acme', kind: 'agent', client: 'client', groups: [] },
  settings: { hash: 'abc' },
  upstream: { name: 'api' },
  action: { name: 'http:GET', resource: '/v1', access: 'read' },
  rule: { name: 'reads', hash: 'def', controls: ['SOC2 CC6.3'] },
  trace: '0af7651916cd43dd8448eb211c80319c',
  end: { status: 200 },
}
const { call, caller, action, rule } = plainCall
const places: { readonly [field: string]: (text: string) => Made } = {
  call: id => ({ ...plainCall, call: { ...call, id } }),
  method: method => ({ ...plainCall, call: { ...call, method } }),
  address: address => ({ ...plainCall, call: { ...call, address } }),
  upstream: name => ({ ...plainCall, upstream: { name } }),
  'action name': name => ({ ...plainCall, action: action && { ...action, name } }),
  resource: resource => ({ ...plainCall, action: action && { ...action, resource } }),
  access: access => ({ ...plainCall, action: action && { ...action, access } }),
  trace: trace => ({ ...plainCall, trace }),
  issuer: issuer => ({ ...plainCall, caller: { ...caller, issuer } }),
  subject: subject => ({ ...plainCall, caller: { ...caller, subject } }),
  client: client => ({ ...plainCall, caller: { ...caller, client } }),
  config: hash => ({ ...plainCall, settings: { hash } }),
  rule: name => ({ ...plainCall, rule: rule && { ...rule, name } }),
  'rule hash': hash => ({ ...plainCall, rule: rule && { ...rule, hash } }),
  control: control => ({ ...plainCall, rule: rule && { ...rule, controls: [control, 'b'] } }),
  code: code => ({ ...plainCall, end: { status: 502, code } }),
}

test.each(Object.keys(places))('nothing in the field "%s" breaks out of it', async field => {
  await expectWritten([plainCall, ...hostile.map(text => places[field]?.(text) ?? plainCall), plainCall])
})

test.each(['upstream', 'action', 'rule', 'trace'] as const)('a call without %s has no such member', async field => {
  await expectWritten([{ ...plainCall, [field]: undefined }])
})

test('whatever is shared between calls, and whatever is not known of one', async () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom(...hostile),
    fc.array(fc.nat(0xffff), { maxLength: 8 }).map(codes => String.fromCharCode(...codes)),
  )
  const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
  const who = fc
    .record({ issuer: text, subject: text, kind: text, client: maybe(text), groups: fc.constant([]) })
    .map(({ client, ...rest }) => ({ ...rest, ...(client === undefined ? {} : { client }) }))
  // Two rules may even have the same hash.
  const rules = fc.record({ name: text, hash: fc.constantFrom('a', 'b'), controls: fc.array(text, { maxLength: 2 }) })
  const all = fc
    .record({
      callers: fc.array(who, { minLength: 1, maxLength: 3 }),
      rules: fc.array(rules, { minLength: 1, maxLength: 3 }),
    })
    .chain(shared =>
      fc.array(
        fc.record({
          call: fc.record({ id: text, method: text, address: text, headers: fc.constant([] as []) }),
          caller: fc.constantFrom(...shared.callers),
          settings: fc.record({ hash: fc.constantFrom('1', '2') }),
          upstream: maybe(fc.record({ name: text })),
          action: maybe(fc.record({ name: text, resource: text, access: text })),
          rule: maybe(fc.constantFrom(...shared.rules)),
          trace: maybe(text),
          end: fc.oneof(
            fc.constant({}),
            fc.record({ status: fc.integer({ min: 100, max: 599 }) }),
            fc.record({ code: text }),
          ),
        }),
        { maxLength: 8 },
      ),
    )
  await fc.assert(fc.asyncProperty(all, expectWritten), { numRuns: 300 })
})
