// Nobody behind a call approves it: not its owner, not under a second address, not the agent itself, however they come.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { agentToken, clients, consoleAudience, gateAudience, people, signIn } from '../support/people.ts'
import { deskAt, type Stage, startStage, waiting } from '../support/stage.ts'

let stage: Stage
let id: string
let answer: ReturnType<Stage['call']>
const gone = new AbortController()

beforeAll(async () => {
  stage = await startStage()
  answer = stage.call('POST', '/billing/v1/refunds', { body: 'refund', signal: gone.signal })
  answer.catch(() => {})
  id = (await waiting(await stage.desk(people.ana))).id
})
afterAll(async () => {
  gone.abort()
  await stage.close()
})

const refused = async (
  token: string,
  verdict: 'approve' | 'deny',
): Promise<readonly [status: number, code: unknown]> => {
  const answer = await fetch(`${stage.holdpoint.console}/api/holds/${id}/${verdict}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ comment: 'me', view: (await view()).view }),
  })
  return [answer.status, ((await answer.json()) as { code?: unknown }).code]
}

const view = async () => (await stage.desk(people.ana)).hold(id)

describe.each(['approve', 'deny'] as const)('%s', verdict => {
  test('by Ben, who owns the agent and is in the right group', async () => {
    expect(await refused(await signIn(stage.idp.issuer, people.ben), verdict)).toEqual([403, 'own_call'])
  })

  test('by Ben under a second account whose address differs by a +tag and by case', async () => {
    expect(await refused(await signIn(stage.idp.issuer, people.benPlus), verdict)).toEqual([403, 'own_call'])
  })

  test('by Cleo, who is in no group: for her there is no such hold', async () => {
    expect(await refused(await signIn(stage.idp.issuer, people.cleo), verdict)).toEqual([404, 'unknown_hold'])
  })

  test("with the agent's own token", async () => {
    expect(await refused(stage.token, verdict)).toEqual([401, 'unauthenticated'])
  })

  test("with the agent's client-credentials token for the console's audience", async () => {
    const token = await agentToken(stage.idp.issuer, clients.agent, consoleAudience)
    expect(await refused(token, verdict)).toEqual([403, 'own_call'])
  })

  test('with a client-credentials token of a robot that is in the right group', async () => {
    const token = await agentToken(stage.idp.issuer, clients.robot, consoleAudience)
    expect(await refused(token, verdict)).toEqual([403, 'not_approver'])
  })

  test("with Ana's token for the gate", async () => {
    expect(await refused(await signIn(stage.idp.issuer, people.ana, gateAudience), verdict)).toEqual([
      401,
      'unauthenticated',
    ])
  })

  test('with no token at all', async () => {
    expect((await refused('', verdict))[0]).toBe(401)
  })
})

test('the owner sees that he may not decide, and why', async () => {
  const ben = deskAt(stage.holdpoint.console, await signIn(stage.idp.issuer, people.ben))
  expect((await ben.hold(id)).you).toMatchObject({ may_decide: false, because: 'own_call' })
})

test('after all of that it still waits, nothing was sent, and each attempt of those behind it stands in the audit log', async () => {
  expect((await view()).status).toBe('pending')
  expect(stage.upstream.seen).toEqual([])
  await stage.holdpoint.stop()
  const attempts = (await stage.holdpoint.audit()).filter(entry => entry.hold === id && entry.code === 'own_call')
  const names = attempts.map(entry => (entry.reviewer as { subject: string }).subject)
  expect(names.sort()).toEqual(['agent-7', 'agent-7', 'ben', 'ben', 'ben-2', 'ben-2'])
})
