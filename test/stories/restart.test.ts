// A crash at the worst moment: what waits goes on waiting, and what may have been sent is never sent again.
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, runHoldpoint, startHoldpoint, trailFolder, workDir } from '../support/program.ts'
import { callGate, deskAt, financeRules, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let idp: Idp
let upstream: Upstream
let holdpoint: Program
let token: string
let answerUpstream: () => void

beforeEach(async () => {
  idp = await startCast()
  const held = new Promise<void>(resolve => {
    answerUpstream = resolve
  })
  upstream = await startUpstream(async seen => {
    if (seen.body === 'slow') await held
    return { body: 'done' }
  })
  holdpoint = await startHoldpoint({ config: await stageConfig(idp.issuer, upstream.url), rules: financeRules() })
  token = await agentToken(idp.issuer, clients.agent)
})
afterEach(async () => {
  answerUpstream()
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
  await idp.close()
})

const refund = (body: string) => callGate(holdpoint.gate, 'POST', '/billing/v1/refunds', { token, body })
const ana = async () => deskAt(holdpoint.console, await signIn(idp.issuer, people.ana))
const crash = async () => {
  await holdpoint.kill()
  holdpoint = await startHoldpoint({ config: '', dir: holdpoint.dir })
}

test('killed while a hold is pending: the same call finds it again, and it is delivered once', async () => {
  const lost = refund('quick').catch(error => error)
  const { id } = await waiting(await ana())
  await crash()
  expect(await lost).toBeInstanceOf(Error)

  const desk = await ana()
  expect((await desk.hold(id)).status).toBe('pending')
  const again = refund('quick')
  await desk.approve(id)
  expect(await again).toMatchObject({ status: 200, body: 'done' })
  expect((await again).headers.get('holdpoint-hold')).toBe(id)
  expect(upstream.seen).toHaveLength(1)
})

test('killed while the upstream works: the fate is unknown, the caller is told so, and nothing is sent again', async () => {
  const lost = refund('slow').catch(error => error)
  const { id } = await waiting(await ana())
  await (await ana()).approve(id)
  await upstream.arrived(1)
  await crash()
  expect(await lost).toBeInstanceOf(Error)

  // The lease of the dead process has to run out before anybody may say what became of the call.
  const desk = await ana()
  await eventually(async () => ((await desk.hold(id)).status === 'unknown' ? true : undefined), 50_000)
  const again = await refund('slow')
  expect([again.status, again.json?.code, again.headers.get('holdpoint-hold')]).toEqual([409, 'delivery_unknown', id])
  expect(upstream.seen).toHaveLength(1)

  const ben = deskAt(holdpoint.console, await signIn(idp.issuer, people.ben))
  expect((await ben.resolve(id, 'delivered', 'trust me')).status).toBe(403)
  expect(await desk.resolve(id, 'delivered', 'It is in the books.')).toMatchObject({
    status: 200,
    json: { status: 'delivered' },
  })
  expect(upstream.seen).toHaveLength(1)
})

test('asked to end: callers that wait are told to come again, and the hold lives on', async () => {
  const waits = refund('quick')
  const { id } = await waiting(await ana())
  expect(await holdpoint.stop()).toBe(0)
  const told = await waits
  expect([told.status, told.json?.code]).toEqual([503, 'shutting_down'])
  expect(Number(told.headers.get('retry-after'))).toBeGreaterThan(0)

  holdpoint = await startHoldpoint({ config: '', dir: holdpoint.dir })
  expect((await (await ana()).hold(id)).status).toBe('pending')
})

test('asked to end while it starts: it ends in good order, and that it had begun is on record', async () => {
  const never = '  - { name: never, match: { upstream: billing, method: GET }, then: deny }'
  const config = await stageConfig(idp.issuer, upstream.url)
  const cwd = await workDir({ config, rules: `${financeRules()}${never}` })
  const ended = await runHoldpoint(['serve', '-c', 'holdpoint.yaml'], { cwd, stopAt: 'is never reached' })
  expect(ended.code).toBe(0)
  expect(await readFile(join(cwd, trailFolder, 'audit.jsonl'), 'utf8')).toContain('"kind":"config.loaded"')
  await rm(cwd, { recursive: true })
})
