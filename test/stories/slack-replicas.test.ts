// Two replicas on one Redis and one Slack: whoever has a hold tells of it once, and whoever is there in the end settles its message.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { newKey } from '../../src/seal.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { botToken, type Slack, signingSecret, startSlack, textsOf } from '../support/slack.ts'
import { callGate, deskAt, financeRules, stageConfig } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let upstream: Upstream
let redis: RedisServer
let slack: Slack
let a: Program
let b: Program
let token: string
let start: () => Promise<Program>

beforeAll(async () => {
  idp = await startCast()
  upstream = await startUpstream()
  slack = await startSlack()
  redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const keys = newKey('k1')
  const ops = {
    ...{ kind: 'slack', token: botToken, signingSecret, team: slack.team, channel: slack.channel },
    apiUrl: slack.apiUrl,
  }
  start = async () =>
    startHoldpoint({
      config: { ...(await stageConfig(idp.issuer, upstream.url)), store: redis.url, keys, channels: { ops } },
      rules: financeRules('wait: 1s').replace('then: hold\n', 'then: hold\n    notify: [ops]\n'),
    })
  a = await start()
  b = await start()
  token = await agentToken(idp.issuer, clients.agent)
})
afterAll(async () => {
  await a[Symbol.asyncDispose]()
  await b[Symbol.asyncDispose]()
  await redis.stop()
  await slack.close()
  await upstream.close()
  await idp.close()
})

const held = async (at: Program, body: string, by = token): Promise<string> => {
  const answer = await callGate(at.gate, 'POST', '/billing/v1/refunds', { token: by, body })
  return answer.headers.get('holdpoint-hold') ?? ''
}
const messagesOf = async (hold: string) => (await slack.messages()).filter(one => JSON.stringify(one).includes(hold))
const desk = async (at: Program) => deskAt(at.console, await signIn(idp.issuer, people.ana))

test('twelve holds at two replicas are twelve messages', async () => {
  const holds = await Promise.all(Array.from({ length: 12 }, (_, index) => held(index % 2 ? a : b, `nr ${index}`)))
  await eventually(async () => {
    const told = await Promise.all(holds.map(messagesOf))
    return told.every(messages => messages.length > 0) ? true : undefined
  })
  const anaAtB = await desk(b)
  for (const hold of holds) await anaAtB.deny(hold, 'no')
  for (const hold of holds) await slack.message(hold, message => textsOf(message).includes('Denied by Ana Ruiz'))
  for (const hold of holds) expect(await messagesOf(hold)).toHaveLength(1)
  expect((await slack.messages()).length).toBe(12)
})

test('told by A, which is killed; decided while nobody tells; settled by who comes after', async () => {
  // The first agent was denied too often by now.
  const hold = await held(a, 'before the crash', await agentToken(idp.issuer, clients.other))
  const message = await slack.message(hold)
  slack.fail = () => 'refused'
  await (await desk(b)).approve(hold)
  await a.kill()
  await b.kill()
  slack.fail = undefined
  b = await start()
  // It may have been killed in the middle of telling: then what it had is free once its lease is over.
  const settled = await eventually(
    async () => (await messagesOf(hold)).find(one => textsOf(one).includes('Approved by Ana Ruiz')),
    45_000,
  )
  expect(settled.ts).toBe(message.ts)
  expect(await messagesOf(hold)).toHaveLength(1)
}, 120_000)
