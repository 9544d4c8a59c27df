// A denial reaches the agent with the reviewer's words, holds for a minute, and repeated asking is paused.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentToken, clients, people } from '../support/people.ts'
import { type Desk, type Stage, startStage, waiting } from '../support/stage.ts'

let stage: Stage
let ana: Desk

beforeAll(async () => {
  stage = await startStage()
  ana = await stage.desk(people.ana)
})
afterAll(() => stage.close())

const refund = (body: string, token = stage.token) => stage.call('POST', '/billing/v1/refunds', { body, token })

const denied = async (body: string, token?: string) => {
  const answer = refund(body, token)
  const { id } = await waiting(ana)
  expect(await ana.deny(id, 'no receipt')).toMatchObject({ status: 200 })
  return { id, answer: await answer }
}

test('the caller reads why, and the same call gets the same answer without paging anybody', async () => {
  const { id, answer } = await denied('one')
  expect([answer.status, answer.json?.code, answer.headers.get('holdpoint-hold')]).toEqual([403, 'hold_denied', id])
  expect(answer.json?.detail).toContain('no receipt')

  const again = await refund('one')
  expect([again.status, again.json?.code, again.headers.get('holdpoint-hold')]).toEqual([403, 'hold_denied', id])
  expect(again.json?.detail).toContain('no receipt')
  expect(await ana.pending()).toEqual([])
})

test('three denials under one rule pause the caller, and nobody else', async () => {
  await denied('two')
  await denied('three')
  const paused = await refund('four')
  expect([paused.status, paused.json?.code]).toEqual([429, 'denied_too_often'])
  expect(Number(paused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(await ana.pending()).toEqual([])

  const { answer } = await denied('five', await agentToken(stage.idp.issuer, clients.other))
  expect(answer.json?.code).toBe('hold_denied')
  expect(stage.upstream.seen).toEqual([])
})

test('what a rule denies or no rule allows needs nobody', async () => {
  const byRule = await stage.call('DELETE', '/billing/v1/customers/1')
  expect([byRule.status, byRule.json?.code, byRule.json?.rule]).toEqual([403, 'denied_by_rule', 'no-deletes'])
  const byNone = await stage.call('PUT', '/billing/v1/customers/1', { body: '{}' })
  expect([byNone.status, byNone.json?.code]).toEqual([403, 'no_rule'])
  expect(stage.upstream.seen).toEqual([])
})

test('a refusal does not cost the caller its connection', async () => {
  const kept: (string | null)[] = []
  // Only from the third call of a token on nothing has to be asked or waited for.
  for (let n = 0; n < 4; n++)
    kept.push((await stage.call('DELETE', '/billing/v1/customers/1')).headers.get('connection'))
  expect(kept).toEqual(['keep-alive', 'keep-alive', 'keep-alive', 'keep-alive'])
})
