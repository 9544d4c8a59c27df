// What an upstream is told of a call that passed, and can check by itself against the gate's keys.
import { createHash } from 'node:crypto'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people } from '../support/people.ts'
import { financeRules, type Stage, stageConfig, startStage, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let stage: Stage
let told: Upstream

beforeAll(async () => {
  told = await startUpstream()
  const { upstreams } = (await stageConfig('http://127.0.0.1:1', `${told.url}/base`)) as { upstreams: object[] }
  const always = { ...upstreams[0], name: 'ledger', at: { prefix: '/ledger' }, assertion: 'always' }
  stage = await startStage({
    rules: `${financeRules()}  - { name: ledger-reads, match: { upstream: ledger, method: GET }, then: allow }\n`,
    config: { upstreams: [...upstreams, always] },
  })
})
afterAll(async () => {
  await stage.close()
  await told.close()
})

const verify = (token: string, audience: string) =>
  jwtVerify(token, createRemoteJWKSet(new URL(`${stage.holdpoint.gate}/.holdpoint/jwks.json`)), {
    audience,
    issuer: stage.holdpoint.gate,
    algorithms: ['ES256'],
  })
const lastToken = (): string => String(told.seen.at(-1)?.headers['holdpoint-assertion'] ?? '')

test('a held call says who, why and by whom, and which bytes', async () => {
  const ana = await stage.desk(people.ana)
  const body = '{"amount":250}'
  const answer = stage.call('POST', '/billing/v1/refunds?a=%2F', {
    body,
    headers: { 'content-type': 'application/json', 'Holdpoint-Assertion': 'forged' },
  })
  const { id } = await waiting(ana)
  await ana.approve(id)
  const { status, headers } = await answer
  expect(status).toBe(200)
  expect([...headers.keys()]).not.toContain('holdpoint-assertion')
  expect((await verify(lastToken(), 'billing')).payload).toMatchObject({
    sub: 'agent-7',
    caller: { issuer: 'agents', kind: 'agent', owner: 'ben@acme.test' },
    rule: 'refunds',
    hold: id,
    approvers: [{ login: 'idp', subject: 'ana' }],
    method: 'POST',
    target: told.seen.at(-1)?.target,
    body_sha256: createHash('sha256').update(body).digest('base64url'),
  })
  expect(told.seen.at(-1)?.target).toBe('/base/v1/refunds?a=%2F')
})

test('an allowed call says so only where the upstream wants it', async () => {
  await stage.call('GET', '/billing/v1/refunds', { headers: { 'Holdpoint-Assertion': 'forged' } })
  expect(lastToken()).toBe('')
  await stage.call('GET', '/ledger/a', { headers: { 'Holdpoint-Assertion': 'forged' } })
  const first = lastToken()
  const { payload } = await verify(first, 'ledger')
  expect(payload).toMatchObject({ sub: 'agent-7', rule: 'ledger-reads' })
  expect(payload).not.toHaveProperty('target')
  await stage.call('GET', '/ledger/b')
  expect(lastToken()).toBe(first)
  await expect(verify(first, 'billing')).rejects.toThrow(/aud/)
})

test('the keys are for everybody, and only read', async () => {
  const url = `${stage.holdpoint.gate}/.holdpoint/jwks.json`
  const answer = await fetch(url)
  expect([answer.status, answer.headers.get('content-type'), answer.headers.get('cache-control')]).toEqual([
    200,
    'application/jwk-set+json',
    'public, max-age=300',
  ])
  expect((await fetch(url, { method: 'POST' })).status).toBe(405)
})
