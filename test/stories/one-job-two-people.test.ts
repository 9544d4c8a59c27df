// Ana and Ben start the same CI job: one subject, one client, the very same call; only the actor differs. Each has a hold of their own,
// and neither can attach to, read, collect or withdraw the other's, nor decide their own.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client, Idp } from '../../src/commands/demo/idp.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, gateAudience, people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type Answered, callGate, type Desk, deskAt, financeRules, stageConfig } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const job = (id: string, actor: string): Client => ({
  ...{ id, secret: 's' },
  claims: { sub: 'repo:acme-1/billing-2:environment:prod', client_id: undefined, repository_id: '2', actor },
})
const jobs = { ana: job('run-1', 'ana-ruiz'), ben: job('run-2', 'ben-okafor'), stranger: job('run-3', 'octocat') }
type Name = 'ana' | 'ben'

let idp: Idp
let github: Idp
let upstream: Upstream
let holdpoint: Program
let desks: { readonly [K in Name | 'dora']: Desk }
let tokens: { readonly [K in keyof typeof jobs]: string }
let answers: { readonly [K in Name]: Promise<Answered> }
let ids: { readonly [K in Name]: string }

const call = (token: string, headers: Record<string, string> = {}): Promise<Answered> =>
  callGate(holdpoint.gate, 'POST', '/billing/v1/refunds', {
    token,
    body: 'refund 250',
    headers: { 'idempotency-key': 'deploy-17', ...headers },
  })
const task = (token: string, method: string, id: string, more = ''): Promise<Answered> =>
  callGate(holdpoint.gate, method, `/.holdpoint/holds/${id}${more}`, { token })

beforeAll(async () => {
  idp = await startCast()
  github = await startCast({ clients: Object.values(jobs) })
  upstream = await startUpstream()
  const config = {
    ...(await stageConfig(idp.issuer, upstream.url)),
    issuers: [
      { name: 'github', issuer: github.issuer, audience: gateAudience, claims: { owner: 'actor' }, kind: 'workload' },
    ],
    people: [
      { name: 'Ana Ruiz', accounts: ['github:ana-ruiz', 'idp:ana'] },
      { name: 'Ben Okafor', accounts: ['github:ben-okafor', 'idp:ben'] },
    ],
  }
  holdpoint = await startHoldpoint({ config, rules: financeRules() })
  const desk = async (person: (typeof people)[Name | 'dora']): Promise<Desk> =>
    deskAt(holdpoint.console, await signIn(idp.issuer, person))
  desks = { ana: await desk(people.ana), ben: await desk(people.ben), dora: await desk(people.dora) }
  const [ana, ben, stranger] = await Promise.all(Object.values(jobs).map(one => agentToken(github.issuer, one)))
  tokens = { ana: ana ?? '', ben: ben ?? '', stranger: stranger ?? '' }
  answers = { ana: call(tokens.ana), ben: call(tokens.ben) }
  for (const answer of Object.values(answers)) answer.catch(() => undefined)
  const rows = await eventually(async () => {
    const found = await desks.dora.pending()
    return found.length === 2 ? found : undefined
  })
  const of = (name: string): string => rows.find(row => row.behind.people.includes(name))?.id ?? ''
  ids = { ana: of('Ana Ruiz'), ben: of('Ben Okafor') }
})
afterAll(async () => {
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
  await idp.close()
  await github.close()
})

test('the same call of two people is two holds, with the same caller and other people behind', async () => {
  expect(ids.ana).not.toBe(ids.ben)
  const [ana, ben] = await Promise.all([desks.dora.hold(ids.ana), desks.dora.hold(ids.ben)])
  // By all that the tokens say of the job itself; who started it is what differs.
  const { owner: hers, ...job } = ana.caller as typeof ana.caller & { owner?: string }
  expect({ ...job, owner: 'ben-okafor' }).toEqual(ben.caller)
  expect(hers).toBe('ana-ruiz')
  expect(ana.request).toEqual(ben.request)
  expect(ana.behind.people).not.toEqual(ben.behind.people)
})

test.each<[Name, Name]>([
  ['ana', 'ben'],
  ['ben', 'ana'],
])("%s's job has no hold of %s", async (mine, other) => {
  const token = tokens[mine]
  const tried = [
    await task(token, 'GET', ids[other]),
    await task(token, 'GET', ids[other], '/response'),
    await task(token, 'DELETE', ids[other]),
    await task(token, 'POST', ids[other], '/cancel'),
  ]
  expect(tried.map(({ status, json }) => [status, json?.code])).toEqual(tried.map(() => [404, 'unknown_hold']))
  expect((await task(token, 'GET', ids[mine])).status).toBe(200)
  // The very same call with the very same key attaches to one's own.
  const attached = await call(token, { prefer: 'wait=0' })
  expect([attached.status, attached.headers.get('holdpoint-hold')]).toEqual([503, ids[mine]])
})

test('neither may decide for their own job, and each may for the other', async () => {
  for (const name of ['ana', 'ben'] as const) {
    expect((await desks[name].approve(ids[name])).json.code).toBe('own_call')
    expect((await desks[name].deny(ids[name])).json.code).toBe('own_call')
  }
  expect((await desks.ana.hold(ids.ben)).you.may_decide).toBe(true)
})

test("an approval of Ben's is collected by Ben's job alone", async () => {
  expect((await desks.ana.approve(ids.ben)).status).toBe(200)
  const answer = await answers.ben
  expect([answer.status, answer.headers.get('holdpoint-hold')]).toEqual([200, ids.ben])
  expect(upstream.seen).toHaveLength(1)
  expect((await desks.dora.hold(ids.ana)).status).toBe('pending')
  expect((await task(tokens.ana, 'GET', ids.ben, '/response')).status).toBe(404)
  const waits = await call(tokens.ana, { prefer: 'wait=0' })
  expect([waits.status, waits.headers.get('holdpoint-hold')]).toEqual([503, ids.ana])
})

test('a job of somebody whom nobody here knows is not held: who could be kept from approving it?', async () => {
  const refused = await call(tokens.stranger, { prefer: 'wait=0' })
  expect([refused.status, refused.json?.code]).toEqual([403, 'no_owner'])
})

test("Ana's is withdrawn by Ana's job", async () => {
  expect((await task(tokens.ana, 'DELETE', ids.ana)).status).toBe(200)
  expect((await answers.ana).json?.code).toBe('hold_cancelled')
  expect(upstream.seen).toHaveLength(1)
})
