// "Allow calls like this": a reviewer lets three more go in advance. Those pass, the fourth waits, and nothing else passes with them.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { GrantPlan, GrantView } from '../../src/console/desk.ts'
import { newKey } from '../../src/seal.ts'
import type { HoldView } from '../../src/views.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, signIn } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import {
  type Answered,
  callGate,
  deskAt,
  financeRules,
  type Stage,
  stageConfig,
  startStage,
  waiting,
} from '../support/stage.ts'

const rules = (approve = 'grant: { uses: 3, for: 1h }'): string => financeRules(`wait: 30s, ${approve}`)

/** Somebody at the API of grants. */
const grantsAt = (console: string, token: string) => {
  const ask = async (method: string, path: string, body?: object) => {
    const answer = await fetch(`${console}/api${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.status, json: (await answer.json()) as { readonly [name: string]: unknown } }
  }
  return {
    grant: (id: string, word: object) => ask('POST', `/holds/${id}/grant`, word),
    plan: async (id: string, word: object) => (await ask('POST', `/holds/${id}/grant/preview`, word)).json as GrantPlan,
    list: async () => (await ask('GET', '/grants')).json.grants as readonly GrantView[],
    show: async (id: string) => (await ask('GET', `/grants/${id}`)).json as GrantView,
    revoke: (id: string) => ask('POST', `/grants/${id}/revoke`, { comment: 'enough' }),
  }
}

const refund = (
  gate: string,
  token: string,
  json: object,
  headers: { readonly [name: string]: string } = {},
): Promise<Answered> =>
  callGate(gate, 'POST', '/billing/v1/refunds', {
    token,
    body: JSON.stringify(json),
    headers: { 'content-type': 'application/json', ...headers },
  })

const heldAt = (answer: Answered) => [answer.status, answer.json?.code]
const held = [503, 'hold_pending']
const soon = { prefer: 'wait=0' }

describe('of one process', () => {
  let stage: Stage
  let ana: Awaited<ReturnType<Stage['desk']>>
  let granting: ReturnType<typeof grantsAt>
  let customers = 0
  let customer: string

  beforeAll(async () => {
    stage = await startStage({ rules: rules() })
    const token = await signIn(stage.idp.issuer, people.ana)
    ana = deskAt(stage.holdpoint.console, token)
    granting = grantsAt(stage.holdpoint.console, token)
  })
  afterAll(() => stage.close())
  beforeEach(() => {
    customer = `cus-${++customers}`
  })

  const call = (json: object = {}, headers = {}) =>
    refund(stage.holdpoint.gate, stage.token, { amount: 250, customer, note: 'a', ...json }, headers)
  const waitingFor = (note: string): Promise<HoldView> =>
    eventually(async () => {
      for (const { id } of await ana.pending()) {
        const hold = await ana.hold(id)
        if (hold.request.body.kind === 'shown' && hold.request.body.text.includes(`"${note}"`)) return hold
      }
      return undefined
    })
  /** A call is held, Ana approves it with a grant, and it is answered. */
  const granted = async (word: object = {}): Promise<string> => {
    const answer = call()
    const { id, view } = await waitingFor(customer)
    const made = await granting.grant(id, { uses: 3, for: '1h', view, ...word })
    expect(made).toMatchObject({ status: 200, json: { status: expect.any(String), granted: `g_${id.slice(2)}` } })
    expect((await answer).status).toBe(200)
    return `g_${id.slice(2)}`
  }

  test('three more of the same go at once, each its own hold with the approver named upstream; the fourth waits', async () => {
    const id = await granted()
    const before = stage.upstream.seen.length
    const holds = new Set<string | null>()
    for (let use = 1; use <= 3; use++) {
      const answer = await call()
      expect(answer.status).toBe(200)
      holds.add(answer.headers.get('holdpoint-hold'))
      const assertion = decodeJwt(String(stage.upstream.seen.at(-1)?.headers['holdpoint-assertion']))
      expect(assertion).toMatchObject({
        hold: answer.headers.get('holdpoint-hold'),
        approvers: [{ login: 'idp', subject: 'ana' }],
      })
    }
    expect(holds.size).toBe(3)
    expect(heldAt(await call({}, soon))).toEqual(held)
    expect(stage.upstream.seen).toHaveLength(before + 3)
    expect(await granting.show(id)).toMatchObject({
      ...{ id, status: 'used_up', used: 3, terms: { uses: 3, for: '1h', free: [] } },
      made_by: [{ login: 'idp', name: people.ana.name }],
      holds: [...holds].map(hold => ({ id: hold, at: expect.any(String) })),
    })
    const [used] = holds
    expect(await ana.hold(used ?? '')).toMatchObject({ status: 'delivered', by_grant: { id, by: people.ana.name } })
  })

  test('an async call goes by a grant as well', async () => {
    await granted()
    const answer = await call({}, { prefer: 'respond-async' })
    expect(answer.status).toBe(202)
    const url = answer.headers.get('location') ?? ''
    const read = async () => fetch(`${url}/response`, { headers: { authorization: `Bearer ${stage.token}` } })
    await eventually(async () => ((await read()).status === 200 ? true : undefined))
  })

  test.each([
    ['another amount', { amount: 251 }],
    ['the same amount as a text', { amount: '250' }],
    ['one field more', { extra: 1 }],
    ['one field less', { note: undefined }],
    ['a list where there was a text', { note: ['a'] }],
  ])('%s is held', async (_, json) => {
    await granted({ free: ['json./note'] })
    expect(heldAt(await call(json, soon))).toEqual(held)
    expect((await call({ note: 'anything else' })).status).toBe(200)
  })

  test('another target, header or media type is held; another attempt of the same is not', async () => {
    await granted()
    const body = JSON.stringify({ amount: 250, customer, note: 'a' })
    const sent = (target: string, headers: object) =>
      callGate(stage.holdpoint.gate, 'POST', target, {
        ...{ token: stage.token, body },
        headers: { 'content-type': 'application/json', ...soon, ...headers },
      })
    expect(heldAt(await sent('/billing/v1/refunds?force=1', {}))).toEqual(held)
    expect(heldAt(await sent('/billing/v1/refunds', { 'x-mode': 'force' }))).toEqual(held)
    expect(heldAt(await sent('/billing/v1/refunds', { 'content-type': 'application/problem+json' }))).toEqual(held)
    expect(
      (await sent('/billing/v1/refunds', { 'idempotency-key': `try of ${customer}`.replaceAll(' ', '-') })).status,
    ).toBe(200)
  })

  test("another caller's call is held, whatever it says", async () => {
    await granted()
    const other = await agentToken(stage.idp.issuer, clients.other)
    const theirs = await refund(stage.holdpoint.gate, other, { amount: 250, customer, note: 'a' }, soon)
    expect(heldAt(theirs)).toEqual(held)
  })

  test('what it would have let go is said before', async () => {
    const answer = call()
    const { id } = await waitingFor(customer)
    const word = { uses: 2, for: '30m', rate: '2/m', free: ['json./note', 'json./customer'] }
    const plan = await granting.plan(id, word)
    expect(plan.terms).toEqual({ ...word, free: [...word.free].sort() })
    expect(plan.words.join(' ')).toMatch(
      /2 calls of .* within 30m, at most 2\/m.*Any json\.\/customer; Any json\.\/note/,
    )
    // Of earlier tests: some of them had another amount.
    expect(plan.matched).toMatchObject({ days: 7, all: true })
    expect(plan.matched.count).toBeGreaterThan(0)
    expect(plan.matched.count).toBeLessThan(plan.matched.of)
    expect((await granting.plan(id, { uses: 2, for: '30m' })).matched.count).toBe(0)
    await ana.approve(id)
    expect((await answer).status).toBe(200)
  })

  test.each([
    [{ uses: 4 }, /^uses: .*1 to 3/],
    [{ uses: 0 }, /^uses: /],
    [{ for: '2h' }, /^for: .*1h/],
    [{ for: '0s' }, /^for: /],
    [{ rate: 'often' }, /^rate: /],
    [{ free: ['json./nothing'] }, /^free: /],
    [{ free: ['header.content-type'] }, /^free: /],
    [{ free: ['method'] }, /^free: /],
    [{ resource: '/v1/**' }, /^resource: /],
    [{ resource: '/v1/charges/*' }, /^resource: /],
  ])('%j is more than the rule allows, or than there is', async (word, detail) => {
    const answer = call()
    const { id } = await waitingFor(customer)
    const refused = await granting.grant(id, { uses: 1, for: '1h', ...word })
    expect(refused).toMatchObject({ status: 400, json: { code: 'malformed', detail: expect.stringMatching(detail) } })
    expect(await ana.approve(id)).toMatchObject({ status: 200, json: { status: expect.any(String) } })
    expect((await answer).status).toBe(200)
  })

  test('nobody behind the caller makes one, and the attempt is on record', async () => {
    const answer = call()
    const { id } = await waitingFor(customer)
    for (const person of [people.ben, people.benPlus]) {
      const bens = grantsAt(stage.holdpoint.console, await signIn(stage.idp.issuer, person))
      expect(await bens.grant(id, { uses: 1, for: '1h' })).toMatchObject({ status: 403, json: { code: 'own_call' } })
    }
    const cleo = grantsAt(stage.holdpoint.console, await signIn(stage.idp.issuer, people.cleo))
    expect((await cleo.grant(id, { uses: 1, for: '1h' })).json.code).toBe('unknown_hold')
    const agent = grantsAt(stage.holdpoint.console, stage.token)
    expect((await agent.grant(id, { uses: 1, for: '1h' })).status).toBe(401)
    await ana.approve(id)
    expect((await answer).status).toBe(200)
    expect(await granting.list()).not.toContainEqual(expect.objectContaining({ hold: id }))
    await eventually(async () => {
      const attempts = (await stage.holdpoint.audit()).filter(entry => entry.hold === id && entry.code === 'own_call')
      return attempts.length === 2 ? true : undefined
    })
  })

  test('revoked by the people behind the caller, the next call is held', async () => {
    const id = await granted()
    expect((await call()).status).toBe(200)
    const ben = grantsAt(stage.holdpoint.console, await signIn(stage.idp.issuer, people.ben))
    expect(await ben.revoke(id)).toMatchObject({ status: 200, json: { status: 'revoked', used: 1 } })
    expect((await ben.revoke(id)).json.code).toBe('already_decided')
    expect(heldAt(await call({}, soon))).toEqual(held)
  })

  test('a crash in the middle gives no use back', async () => {
    const id = await granted({ free: ['json./note'] })
    expect((await call({ note: 'before' })).status).toBe(200)
    await stage.holdpoint.kill()
    Object.assign(stage.holdpoint, await startHoldpoint({ config: '', dir: stage.holdpoint.dir }))
    expect((await call({ note: 'after' })).status).toBe(200)
    expect((await call({ note: 'later' })).status).toBe(200)
    expect(heldAt(await call({ note: 'last' }, soon))).toEqual(held)
    expect((await granting.show(id)).used).toBe(3)
  })

  test('once its rule says something else, it lets nothing go', async () => {
    const id = await granted()
    const file = join(stage.holdpoint.dir, 'rules.yaml')
    await writeFile(file, (await readFile(file, 'utf8')).replace('within: 30m', 'within: 29m'))
    await eventually(async () => ((await granting.show(id)).status === 'void' ? true : undefined))
    expect(heldAt(await call({}, soon))).toEqual(held)
  })

  test('the log says who made it, each release that it paid for, and the rest', async () => {
    await stage.holdpoint.stop()
    const log = await stage.holdpoint.audit()
    const about = (kind: string) => log.filter(entry => entry.kind === kind)
    const made = about('grant.made')[0] as { grant: { id: string } }
    expect(made).toMatchObject({
      reviewer: { subject: 'ana' },
      grant: { uses: 3, free: [], makers: [{ login: 'idp', subject: 'ana', name: people.ana.name }] },
    })
    const paid = about('hold.released').filter(
      entry => (entry.grant as { id?: string } | undefined)?.id === made.grant.id,
    )
    expect(paid).toHaveLength(3)
    for (const entry of paid) expect(entry).toMatchObject({ detail: 'grant', grant: { makers: [{ subject: 'ana' }] } })
    expect(about('grant.revoked')).toEqual([
      expect.objectContaining({ reviewer: expect.objectContaining({ subject: 'ben' }), comment: 'enough' }),
    ])
  })
})

describe('under a rule of two votes', () => {
  let stage: Stage
  beforeAll(async () => {
    stage = await startStage({ rules: rules('votes: 2, grant: { uses: 2, for: 1h, rate: 1/h }') })
  })
  afterAll(() => stage.close())

  test('both have to say the same, and then the rate of the rule is kept', async () => {
    const [ana, dora] = await Promise.all([people.ana, people.dora].map(one => signIn(stage.idp.issuer, one)))
    const desk = deskAt(stage.holdpoint.console, ana ?? '')
    const [anas, doras] = [ana, dora].map(token => grantsAt(stage.holdpoint.console, token ?? ''))
    const call = (json: object, headers = {}) => refund(stage.holdpoint.gate, stage.token, json, headers)

    const first = call({ amount: 1 })
    const one = await waiting(desk)
    expect((await anas?.grant(one.id, { uses: 2, for: '1h' }))?.json.granted).toBeUndefined()
    expect((await doras?.plan(one.id, { uses: 1, for: '1h' }))?.proposed).toMatchObject({ uses: 2, for: '1h' })
    expect(await doras?.grant(one.id, { uses: 1, for: '1h' })).toMatchObject({
      status: 200,
      json: { votes: { have: 2 } },
    })
    expect((await first).status).toBe(200)
    expect(await anas?.list()).toEqual([])
    expect(heldAt(await call({ amount: 1 }, soon))).toEqual(held)

    const second = call({ amount: 2 })
    const two = await eventually(async () =>
      (await desk.pending()).find(({ votes, id }) => votes.have === 0 && id !== one.id && id),
    )
    const same = (await desk.pending()).map(({ id }) => id)
    for (const id of same) {
      await anas?.grant(id, { uses: 2, for: '1h' })
      await doras?.grant(id, { uses: 2, for: '1h' })
    }
    expect(two).toBeDefined()
    expect((await second).status).toBe(200)
    expect((await call({ amount: 2 })).status).toBe(200)
    expect(heldAt(await call({ amount: 2 }, soon))).toEqual(held)
  })
})

describe('of two replicas', () => {
  let stage: Stage
  let redis: RedisServer
  let b: Program
  beforeAll(async () => {
    redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    const shared = { store: redis.url, keys: newKey('k1') }
    stage = await startStage({ rules: rules('grant: { uses: 20, for: 1h }'), config: shared })
    const config = { ...(await stageConfig(stage.idp.issuer, stage.upstream.url)), ...shared }
    b = await startHoldpoint({ config, rules: rules('grant: { uses: 20, for: 1h }') })
  })
  afterAll(async () => {
    await b[Symbol.asyncDispose]()
    await stage.close()
    await redis.stop()
  })

  test('a race for the last uses sends no more than there are', async () => {
    const token = await signIn(stage.idp.issuer, people.ana)
    const granting = grantsAt(b.console, token)
    const answer = refund(stage.holdpoint.gate, stage.token, { amount: 1 })
    const { id } = await waiting(deskAt(b.console, token))
    await granting.grant(id, { uses: 10, for: '1h' })
    expect((await answer).status).toBe(200)
    const before = stage.upstream.seen.length
    const calls = Array.from({ length: 18 }, (_, index) =>
      refund(
        index % 2 ? b.gate : stage.holdpoint.gate,
        stage.token,
        { amount: 1 },
        {
          'idempotency-key': `k${index}`,
          ...soon,
        },
      ),
    )
    const answers = (await Promise.all(calls)).map(({ status }) => status).sort()
    expect(answers).toEqual([...Array(10).fill(200), ...Array(8).fill(503)])
    expect(stage.upstream.seen).toHaveLength(before + 10)
    expect((await granting.show(`g_${id.slice(2)}`)).used).toBe(10)
  })
})
