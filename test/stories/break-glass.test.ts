// An emergency: somebody whom the rule names lets a call go alone. It is sent once, and the record says how it came about.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people, signIn } from '../support/people.ts'
import { deskAt, financeRules, type Stage, startStage, waiting } from '../support/stage.ts'

let stage: Stage

// Ana and Dora lead finance; for two votes both are needed. Ben is in the same group, and the agent is his.
beforeAll(async () => {
  stage = await startStage({ rules: financeRules('votes: 2, breakGlass: { groups: [finance-leads] }, wait: 30s') })
})
afterAll(() => stage.close())

const breakGlass = async (id: string, token: string, comment?: string) => {
  const answer = await fetch(`${stage.holdpoint.console}/api/holds/${id}/break-glass`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(comment === undefined ? {} : { comment }),
  })
  return [answer.status, ((await answer.json()) as { code?: string }).code]
}

test('the call goes at once, once, and never by somebody behind it', async () => {
  const answer = stage.call('POST', '/billing/v1/refunds', { body: 'refund' })
  const ana = await signIn(stage.idp.issuer, people.ana)
  const { id } = await waiting(deskAt(stage.holdpoint.console, ana))
  expect(await breakGlass(id, await signIn(stage.idp.issuer, people.ben), 'mine')).toEqual([403, 'own_call'])
  expect(await breakGlass(id, await signIn(stage.idp.issuer, people.benPlus), 'mine')).toEqual([403, 'own_call'])
  expect(await breakGlass(id, stage.token, 'mine')).toEqual([401, 'unauthenticated'])
  expect(await breakGlass(id, ana)).toEqual([400, 'malformed'])
  expect(stage.upstream.seen).toEqual([])
  expect(await breakGlass(id, ana, 'production is down')).toEqual([200, undefined])
  expect((await answer).status).toBe(200)
  expect(stage.upstream.seen).toHaveLength(1)
  await stage.holdpoint.stop()
  const steps = (await stage.holdpoint.audit()).filter(entry => entry.hold === id)
  expect(steps).toContainEqual(expect.objectContaining({ kind: 'verdict.break_glass', comment: 'production is down' }))
  expect(steps).toContainEqual(
    expect.objectContaining({
      kind: 'hold.released',
      detail: 'break_glass',
      reviewer: expect.objectContaining({ subject: 'ana' }),
    }),
  )
})
