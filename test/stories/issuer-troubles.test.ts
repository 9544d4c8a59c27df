// What happens to an issuer while calls are under way: it rotates its keys, its clock is off, it goes down and comes back. Calls that
// can still be verified pass, all others are refused, and /readyz and a metric say which issuer is in trouble.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { eventually } from '../support/eventually.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { gateAudience, people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type Answered, callGate, type Desk, deskAt, financeRules, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let issuer: TestIssuer
let upstream: Upstream
let holdpoint: Program
let ana: Desk

beforeAll(async () => {
  idp = await startCast()
  issuer = await startIssuer()
  upstream = await startUpstream()
  const config = {
    ...(await stageConfig(idp.issuer, upstream.url)),
    issuers: [{ name: 'agents', issuer: issuer.url, audience: gateAudience, kind: 'agent' }],
  }
  holdpoint = await startHoldpoint({ config, rules: financeRules() })
  ana = deskAt(holdpoint.console, await signIn(idp.issuer, people.ana))
})
afterAll(async () => {
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
  await issuer.close()
  await idp.close()
})

const inS = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds
const token = (claims: object = {}, header: object = {}): Promise<string> =>
  issuer.token({ aud: gateAudience, sub: 'agent-7', owner: 'ben@acme.test', ...claims }, header)
const read = (shown: string): Promise<Answered> =>
  callGate(holdpoint.gate, 'GET', '/billing/v1/refunds', { token: shown })
const statuses = (answers: readonly Answered[]): readonly number[] => [...new Set(answers.map(({ status }) => status))]
/** What the program says of its issuers: in /readyz, and as a metric. */
const health = async ({
  admin,
}: Program): Promise<{ ready: boolean; ok: boolean; trouble: readonly string[]; gauge: number }> => {
  const { ready, issuers } = (await (await fetch(`${admin}/readyz`)).json()) as {
    readonly ready: boolean
    readonly issuers: { readonly ok: boolean; readonly trouble: readonly string[] }
  }
  const metrics = await (await fetch(`${admin}/metrics`)).text()
  return { ready, ...issuers, gauge: Number(/^holdpoint_issuers_in_trouble (\d+)$/m.exec(metrics)?.[1]) }
}

test('keys are rotated during traffic: every call passes, with old tokens and with new ones, and a held one is released', async () => {
  const old = await token()
  expect((await read(old)).status).toBe(200)
  const held = callGate(holdpoint.gate, 'POST', '/billing/v1/refunds', { token: old, body: 'refund' })
  held.catch(() => undefined)
  const { id } = await waiting(ana)
  const before = Array.from({ length: 20 }, () => read(old))
  await issuer.rotate({ keep: true })
  const made = await Promise.all(Array.from({ length: 20 }, () => token()))
  const fetched = issuer.fetched()
  expect(statuses(await Promise.all([...before, ...made.map(read), read(old)]))).toEqual([200])
  expect(issuer.fetched()).toBe(fetched + 1)
  await ana.approve(id)
  expect((await held).status).toBe(200)
})

test.each<[string, object, number]>([
  ['half a minute fast', { iat: inS(30), nbf: inS(30) }, 200],
  ['two minutes fast', { iat: inS(120), nbf: inS(120) }, 401],
  ['half a minute slow', { iat: inS(-330), exp: inS(-30) }, 200],
  ['two minutes slow', { iat: inS(-420), exp: inS(-120) }, 401],
])('its clock is %s', async (_, times, status) => {
  expect((await read(await token(times))).status).toBe(status)
})

test('a flood of made-up keys costs it one question', async () => {
  const fetched = issuer.fetched()
  const forged = await Promise.all(Array.from({ length: 30 }, (_, at) => token({}, { kid: `forged-${at}` })))
  expect(statuses(await Promise.all(forged.map(read)))).toEqual([401])
  expect(issuer.fetched() - fetched).toBeLessThanOrEqual(1)
})

test('an issuer that is down keeps out its own callers, unless a key of theirs is known: it is named, and let in when it is back', async () => {
  const late = await startIssuer()
  const config = {
    ...(await stageConfig(idp.issuer, upstream.url)),
    issuers: [
      { name: 'agents', issuer: issuer.url, audience: gateAudience, kind: 'agent' },
      { name: 'late', issuer: late.url, audience: gateAudience, kind: 'agent', staleFor: '12h' },
    ],
  }
  const program = await startHoldpoint({ config, rules: financeRules() })
  const get = async (shown: string): Promise<number> =>
    (await callGate(program.gate, 'GET', '/billing/v1/refunds', { token: shown })).status
  const made = (claims: object = {}): Promise<string> => late.token({ aud: gateAudience, sub: 'agent-9', ...claims })
  try {
    expect(await health(program)).toEqual({ ready: true, ok: true, trouble: [], gauge: 0 })
    late.down(true)
    expect([await get(await made()), await get(await token())]).toEqual([401, 200])
    const trouble = ['issuer late: it answered 503']
    expect(await health(program)).toEqual({ ready: true, ok: false, trouble, gauge: 1 })

    late.down(false)
    await eventually(async () => ((await get(await made())) === 200 ? true : undefined))
    expect(await health(program)).toEqual({ ready: true, ok: true, trouble: [], gauge: 0 })

    late.down(true)
    const known = await made({ jti: 'not shown before' })
    await late.rotate({ keep: true })
    const unknown = await made()
    expect([await get(unknown), await get(known)]).toEqual([401, 200])
    const told = await health(program)
    expect([told.ready, told.gauge]).toEqual([true, 1])
    const [, until = ''] =
      /^issuer late: it answered 503; its last keys serve until (.*)$/.exec(told.trouble[0] ?? '') ?? []
    expect(Math.abs(Date.parse(until) - Date.now() - 12 * 3_600_000)).toBeLessThan(60_000)
  } finally {
    await program[Symbol.asyncDispose]()
    await late.close()
  }
})
