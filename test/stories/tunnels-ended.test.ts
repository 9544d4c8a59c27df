// What ends a tunnel besides those at its ends: a gate that is stopped, and one that dies.
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { callGate, deskAt, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { dial, handshake, type SocketUpstream, startSocketUpstream, type Wire } from '../support/websocket.ts'

const rules = `
rules:
  - name: shells
    match: { upstream: live, path: '/shell/**' }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
  - { name: the-rest, match: { upstream: [billing, live] }, then: allow }
`
let idp: Idp
let plain: Upstream
let sockets: SocketUpstream
let holdpoint: Program
let token: string
let answerPlain: () => void

beforeEach(async () => {
  idp = await startCast()
  sockets = await startSocketUpstream()
  const answered = new Promise<void>(resolve => {
    answerPlain = resolve
  })
  plain = await startUpstream(() => answered.then(() => ({ body: 'done' })))
  const config = (await stageConfig(idp.issuer, plain.url)) as { upstreams: object[] }
  const [billing] = config.upstreams
  // A tunnel may last for less than a stopping gate waits for what is under way.
  const live = { ...billing, name: 'live', url: sockets.url, at: { prefix: '/live' }, timeouts: { tunnel: '14s' } }
  holdpoint = await startHoldpoint({ config: { ...config, upstreams: [billing, live] }, rules })
  token = await agentToken(idp.issuer, clients.agent)
})
afterEach(async () => {
  answerPlain()
  await holdpoint[Symbol.asyncDispose]()
  await Promise.all([plain.close(), sockets.close(), idp.close()])
})

const open = (path: string, lines: readonly string[] = []): Promise<Wire> =>
  dial(holdpoint.gate, handshake(`/live${path}`, [`Authorization: Bearer ${token}`, ...lines]))
const hasHead = (text: string): boolean => text.includes('\r\n\r\n')
const deskOf = async (person: (typeof people)[keyof typeof people]) =>
  deskAt(holdpoint.console, await signIn(idp.issuer, person))

test('a gate that stops finishes every other call first, and does not wait for its tunnels as long as for those', async () => {
  const caller = await open('/free')
  const other = await sockets.next('/free')
  await caller.until(hasHead)
  const slow = callGate(holdpoint.gate, 'GET', '/billing/slow', { token })
  await plain.arrived(1)

  const stopped = holdpoint.stop()
  await holdpoint.logged(line => line.msg === 'stopping')
  expect((await callGate(holdpoint.gate, 'GET', '/billing/next', { token })).json?.code).toBe('shutting_down')
  caller.socket.write('still here')
  await other.until(text => text.endsWith('still here'))
  answerPlain()
  expect(await slow).toMatchObject({ status: 200, body: 'done' })

  await Promise.all([caller.closed, other.closed])
  expect(await stopped).toBe(0)
  const ends = (await holdpoint.audit()).filter(entry => entry.kind === 'tunnel.closed')
  expect(ends).toMatchObject([{ detail: 'the gate was stopped', bytesUp: 10, bytesDown: 0 }])
})

test('who ends its tunnel while the gate stops has ended it', async () => {
  const caller = await open('/free')
  const other = await sockets.next('/free')
  await caller.until(hasHead)
  const slow = callGate(holdpoint.gate, 'GET', '/billing/slow', { token })
  await plain.arrived(1)
  const stopped = holdpoint.stop()
  await holdpoint.logged(line => line.msg === 'stopping')
  caller.socket.end('bye')
  await other.until(text => text.endsWith('bye'))
  other.socket.end()
  await caller.closed
  answerPlain()
  await slow
  expect(await stopped).toBe(0)
  const ends = (await holdpoint.audit()).filter(entry => entry.kind === 'tunnel.closed')
  expect(ends).toMatchObject([{ detail: 'the caller ended it', bytesUp: 3 }])
})

test('killed with a held tunnel open: its hold is unknown, a person resolves it, and nothing is sent twice', async () => {
  const caller = await open('/shell/1')
  const { id } = await waiting(await deskOf(people.ana))
  await (await deskOf(people.ana)).approve(id)
  const other = await sockets.next('/shell/1')
  await caller.until(hasHead)
  caller.socket.write('rm')
  await other.until(text => text.endsWith('rm'))
  await holdpoint.kill()
  await Promise.all([caller.closed, other.closed])

  holdpoint = await startHoldpoint({ config: '', dir: holdpoint.dir })
  const ana = await deskOf(people.ana)
  expect((await ana.hold(id)).status).toBe('released')
  // As long as its lease lasts somebody may still hold the tunnel open.
  const early = await open('/shell/1')
  await early.closed
  expect(early.text()).toMatch(/^HTTP\/1\.1 409 [\s\S]*"already_delivered"/)
  await eventually(async () => ((await ana.hold(id)).status === 'unknown' ? true : undefined), 50_000)
  // A session is never mistaken for a retry: asking again is a new hold, whose reviewers are told of this one.
  const late = await open('/shell/1', ['Prefer: wait=1'])
  await late.closed
  const again = /holdpoint-hold: (\S+)/i.exec(late.text())?.[1] ?? ''
  expect(again).not.toBe(id)
  expect((await ana.hold(again)).earlier).toMatchObject({ id, status: 'unknown' })

  expect((await (await deskOf(people.ben)).resolve(id, 'delivered', 'trust me')).status).toBe(403)
  expect(await ana.resolve(id, 'delivered', 'It is in the shell history.')).toMatchObject({
    status: 200,
    json: { status: 'delivered' },
  })
  expect(sockets.heads).toHaveLength(1)
  await holdpoint.stop()
  const kinds = (await holdpoint.audit()).filter(entry => entry.hold === id).map(entry => entry.kind)
  expect(kinds).toEqual(expect.arrayContaining(['tunnel.opened', 'hold.unknown', 'hold.resolved']))
}, 120_000)
