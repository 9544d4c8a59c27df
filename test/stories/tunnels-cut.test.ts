// Two replicas on one Redis: a tunnel that is open at A is cut from B, by a reviewer or an operator; and a caller in a hurry is slowed down.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { newKey } from '../../src/seal.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, runHoldpoint, startHoldpoint } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { callGate, type Desk, deskAt, stageConfig, waiting } from '../support/stage.ts'
import { dial, handshake, type SocketUpstream, startSocketUpstream } from '../support/websocket.ts'

const rules = `
rules:
  - name: shells
    match: { upstream: billing, path: '/shell/**' }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
  - { name: the-rest, match: { upstream: billing }, then: allow }
`
let idp: Idp
let upstream: SocketUpstream
let redis: RedisServer
let a: Program
let b: Program
let tokens: { readonly agent: string; readonly other: string; readonly operator: string }
let ana: Desk

beforeAll(async () => {
  idp = await startCast()
  upstream = await startSocketUpstream()
  redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const keys = newKey('k1')
  const start = async () => {
    const config = (await stageConfig(idp.issuer, upstream.url)) as { gate: object; console: object }
    const gate = { ...config.gate, limits: { callsPerSecond: 20 } }
    const console = { ...config.console, operators: { groups: ['finance-leads'] } }
    return startHoldpoint({ config: { ...config, gate, console, store: redis.url, keys }, rules })
  }
  a = await start()
  b = await start()
  tokens = {
    agent: await agentToken(idp.issuer, clients.agent),
    other: await agentToken(idp.issuer, clients.other),
    operator: await signIn(idp.issuer, people.dora),
  }
  ana = deskAt(b.console, await signIn(idp.issuer, people.ana))
})
afterAll(async () => {
  await a[Symbol.asyncDispose]()
  await b[Symbol.asyncDispose]()
  await redis.stop()
  await upstream.close()
  await idp.close()
})

const open = (path: string) => dial(a.gate, handshake(`/billing${path}`, [`Authorization: Bearer ${tokens.agent}`]))
const freeze = (...args: readonly string[]) =>
  runHoldpoint(['freeze', ...args, '--console', b.console], { env: { HOLDPOINT_TOKEN: tokens.operator } })

test('held at A, approved and then revoked through B', async () => {
  const caller = await open('/shell/a')
  const { id } = await waiting(ana)
  await ana.approve(id)
  const other = await upstream.next('/shell/a')
  await caller.until(text => text.includes('\r\n\r\n'))
  expect(await ana.revoke(id)).toMatchObject({ json: { status: 'revoked' } })
  await Promise.all([caller.closed, other.closed])
})

test('a freeze at B cuts what is open at A, held or allowed, and nothing else', async () => {
  const held = await open('/shell/b')
  const { id } = await waiting(ana)
  await ana.approve(id)
  const allowed = await open('/free')
  const stranger = await dial(a.gate, handshake('/billing/stranger', [`Authorization: Bearer ${tokens.other}`]))
  const [one, two, three] = await Promise.all(['/shell/b', '/free', '/stranger'].map(upstream.next))
  const made = await freeze('caller', clients.agent.id, '--reason', 'incident 42')
  expect(made.code).toBe(0)
  await Promise.all([held.closed, allowed.closed, one?.closed, two?.closed])
  stranger.socket.write('still here')
  await three?.until(text => text.endsWith('still here'))
  stranger.socket.destroy()
  await freeze('lift', made.stdout.split(' ')[0] ?? '')
  expect(
    await eventually(async () => {
      const { status, delivery } = await ana.hold(id)
      return status === 'delivered' ? delivery : undefined
    }),
  ).toMatchObject({ status: 101 })
})

test('a caller over its rate is told when to come again; another one is not', async () => {
  const ask = (token: string) => callGate(a.gate, 'GET', '/.holdpoint/holds/h_AAAAAAAAAAAAAAAAAAAAAA', { token })
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(tokens.other)))
  const late = answers.filter(({ status }) => status === 429)
  expect(answers.filter(({ status }) => status === 404).length).toBeGreaterThanOrEqual(20)
  expect(late.length).toBeGreaterThan(0)
  for (const { headers, json } of late)
    expect([headers.get('retry-after'), json?.code]).toEqual(['1', 'too_many_calls'])
  expect((await ask(tokens.agent)).status).toBe(404)
})
