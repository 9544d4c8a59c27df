// An approval is taken back before it is used; and rules that change after an approval make it void.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people } from '../support/people.ts'
import { type Desk, financeRules, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
let ana: Desk

beforeAll(async () => {
  stage = await startStage({ rules: financeRules('wait: 1s') })
  ana = await stage.desk(people.ana)
})
afterAll(() => stage.close())

const refund = (body: string) => stage.call('POST', '/billing/v1/refunds', { body })

const approved = async (body: string): Promise<string> => {
  const id = (await refund(body)).headers.get('holdpoint-hold') ?? ''
  expect(await ana.approve(id)).toMatchObject({ status: 200, json: { status: 'approved' } })
  return id
}

test('what was revoked is not sent; the same call is told so', async () => {
  const id = await approved('one')
  expect(await ana.revoke(id, 'wrong customer')).toMatchObject({ status: 200, json: { status: 'revoked' } })
  const again = await refund('one')
  expect([again.status, again.json?.code, again.headers.get('holdpoint-hold')]).toEqual([403, 'hold_revoked', id])
  expect(again.json?.detail).toContain('wrong customer')
  expect((await ana.hold(id)).status).toBe('revoked')
  expect(stage.upstream.seen).toEqual([])
})

test('a rule that changed since voids the approval; asking again is a new hold', async () => {
  const id = await approved('two')
  await writeFile(join(stage.holdpoint.dir, 'rules.yaml'), financeRules('wait: 1s, votes: 2'))
  await stage.holdpoint.logged(line => line.msg === 'configuration loaded')
  const told = await refund('two')
  expect([told.status, told.json?.code, told.headers.get('holdpoint-hold')]).toEqual([403, 'approval_void', id])
  const again = await refund('two')
  expect([again.status, again.headers.get('holdpoint-hold') === id]).toEqual([503, false])
  expect(stage.upstream.seen).toEqual([])
})

test('two votes are two persons', async () => {
  const id = (await refund('three')).headers.get('holdpoint-hold') ?? ''
  const dora = await stage.desk(people.dora)
  expect(await ana.approve(id)).toMatchObject({
    status: 200,
    json: { status: 'pending', votes: { have: 1, needed: 2 } },
  })
  expect(await ana.approve(id)).toMatchObject({ status: 409, json: { code: 'already_decided' } })
  expect(stage.upstream.seen).toEqual([])
  expect(await dora.approve(id)).toMatchObject({ status: 200, json: { status: 'approved' } })
  expect((await refund('three')).status).toBe(200)
  expect(stage.upstream.seen).toHaveLength(1)
})
