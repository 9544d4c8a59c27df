// Freezes: the list that every replica follows, who may make one, and what it stops.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Freezes, followFreezes } from '../src/freezes.ts'
import { makeLog } from '../src/log.ts'
import type { Caller, Freeze } from '../src/nouns.ts'
import { keyRing, newKey } from '../src/seal.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { Store } from '../src/store/store.ts'
import { type Browser, type ConsoleStage, startConsole, words } from './support/console.ts'
import { eventually } from './support/eventually.ts'
import { people as cast, consoleAudience, signIn } from './support/people.ts'

const hourMs = 3_600_000

const freeze = (more: Partial<Freeze>): Freeze => ({
  id: 'f_1',
  what: 'all',
  reason: 'incident 42',
  by: { login: 'idp', subject: 'olga', name: 'Olga' },
  madeAt: 0,
  ...more,
})

const caller: Caller = {
  issuer: 'agents',
  subject: 'agent-7',
  client: 'client-7',
  kind: 'agent',
  groups: [],
  actors: [{ issuer: 'agents', subject: 'inner', client: 'inner-client' }],
  claims: {},
  expiresAt: 0,
}
const seen = { caller, upstream: 'billing', people: () => ['account:idp:ben', 'email:ben@acme.test'] }

describe('the list', () => {
  let store: Store
  let clock = 1_000_000
  const keys = keyRing(newKey('a'))
  const open: Freezes[] = []
  const follow = async (ring = keys): Promise<Freezes> => {
    const freezes = await followFreezes(store.shelf, ring, () => clock, makeLog('silent'))
    open.push(freezes)
    return freezes
  }
  beforeEach(async () => {
    store = await sqliteStore({ path: ':memory:' })
  })
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close()
    await store.close()
  })

  test.each<[string, Partial<Freeze>, boolean]>([
    ['all', { what: 'all' }, true],
    ['its upstream', { what: 'upstream', value: 'billing' }, true],
    ['another upstream', { what: 'upstream', value: 'ledger' }, false],
    ['its subject with the issuer', { what: 'caller', value: 'agents:agent-7' }, true],
    ['its subject alone', { what: 'caller', value: 'agent-7' }, true],
    ['its client', { what: 'caller', value: 'agents:client-7' }, true],
    ['an actor', { what: 'caller', value: 'agents:inner' }, true],
    ["an actor's client", { what: 'caller', value: 'inner-client' }, true],
    ["another issuer's subject of that name", { what: 'caller', value: 'other:agent-7' }, false],
    ['another subject', { what: 'caller', value: 'agent-8' }, false],
    ['a person behind it', { what: 'person', value: 'x', keys: ['email:ben@acme.test'] }, true],
    ['another person', { what: 'person', value: 'x', keys: ['email:eva@acme.test'] }, false],
    ['something only a newer version knows', { what: 'planet' as 'all' }, true],
  ])('a freeze of %s: %o -> %s', async (_, more, stops) => {
    const freezes = await follow()
    await freezes.change(() => [freeze(more)])
    expect(freezes.stopping(seen) !== undefined).toBe(stops)
    if (stops) expect(() => freezes.refuse(seen)).toThrow(/incident 42/)
  })

  test('reaches everybody who follows it, and tells them', async () => {
    const [here, there] = [await follow(), await follow()]
    const told = new Promise<void>(resolve => there.follow(resolve))
    await here.change(before => [...before, freeze({})])
    expect(here.stopping(seen)?.id).toBe('f_1')
    const since = performance.now()
    await told
    expect(performance.now() - since).toBeLessThan(1_000)
    expect(there.stopping(seen)?.id).toBe('f_1')
    await there.change(() => [])
    await eventually(async () => here.stopping(seen) === undefined || undefined)
  })

  test('takes changes from several sides at once, none of them lost', async () => {
    const [here, there] = [await follow(), await follow()]
    await Promise.all(
      ['a', 'b', 'c', 'd'].map((id, index) => [here, there][index % 2]?.change(before => [...before, freeze({ id })])),
    )
    await here.read()
    expect(
      here
        .now()
        .map(({ id }) => id)
        .sort(),
    ).toEqual(['a', 'b', 'c', 'd'])
  })

  test('ends a freeze by itself', async () => {
    const freezes = await follow()
    await freezes.change(() => [freeze({ untilAt: clock + hourMs })])
    clock += hourMs - 1
    expect(freezes.stopping(seen)).toBeDefined()
    clock += 1
    expect(freezes.stopping(seen)).toBeUndefined()
  })

  test('stays in force while the store is away', async () => {
    const freezes = await follow()
    await freezes.change(() => [freeze({})])
    await store.close()
    await expect(freezes.read()).rejects.toThrow()
    expect(freezes.stopping(seen)).toBeDefined()
    store = await sqliteStore({ path: ':memory:' })
  })

  test('that the store lost, or turned back, is put back by whoever knows it', async () => {
    const freezes = await follow()
    await freezes.change(() => [freeze({ id: 'old' })])
    const old = await store.shelf.get('freezes')
    await freezes.change(() => [freeze({ id: 'new' })])
    const fresh = await store.shelf.get('freezes')
    for (const lost of [undefined, old]) {
      if (lost === undefined) await store.shelf.take('freezes')
      else await store.shelf.put('freezes', lost)
      await freezes.read()
      expect(await store.shelf.get('freezes')).toBe(fresh)
      expect(freezes.stopping(seen)?.id).toBe('new')
    }
  })

  test.each([
    [
      'is signed with a key that is not ours',
      () => keyRing(newKey('b')).sign('{"version":1,"rev":9,"freezes":[]}', 'freezes'),
    ],
    ['is of a newer version', () => keys.sign('{"version":2,"rev":9,"freezes":[]}', 'freezes')],
    ['is not signed', () => '{"version":1,"rev":9,"freezes":[]}'],
  ])('that %s stops everything until that is lifted', async (_, raw) => {
    const freezes = await follow()
    await store.shelf.put('freezes', raw())
    await freezes.read()
    expect(freezes.stopping(seen)?.id).toBe('unreadable')
    await freezes.change(before => before.filter(({ id }) => id !== 'unreadable'))
    expect(freezes.stopping(seen)).toBeUndefined()
    expect((await follow()).stopping(seen)).toBeUndefined()
  })
})

describe('at the console', () => {
  const olga = { id: 'olga', name: 'Olga Ops', email: 'olga@acme.test', groups: ['platform'] }
  const cleo = { ...cast.cleo, groups: ['security'] }
  let stage: ConsoleStage
  let ops: Browser
  beforeAll(async () => {
    stage = await startConsole({ people: [...Object.values(cast).filter(({ id }) => id !== 'cleo'), cleo, olga] })
    ops = await stage.browserOf(olga)
  })
  afterAll(() => stage.close())

  const api = async (token: string, method: string, path: string, body?: object) => {
    const answer = await fetch(`${stage.url}/api/freezes${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.status, json: (await answer.json()) as Record<string, unknown> }
  }
  const tokenOf = (person: { readonly id: string }) => signIn(stage.idp.issuer, person as never, consoleAudience)

  test('operators make and lift, with every step on record', async () => {
    const token = await tokenOf(olga)
    const until = new Date(stage.now() + hourMs).toISOString()
    const made = await api(token, 'POST', '', {
      what: 'caller',
      value: 'agents:agent-7',
      reason: 'bad\u202e deletes',
      until,
    })
    expect(made).toMatchObject({
      status: 200,
      json: {
        what: 'caller',
        value: 'agents:agent-7',
        reason: 'bad\\u{202e} deletes',
        until,
        by: { name: 'Olga Ops' },
      },
    })
    expect(await api(token, 'GET', '')).toMatchObject({ status: 200, json: { freezes: [made.json] } })
    expect(await api(token, 'DELETE', `/${made.json.id}`)).toEqual({ status: 200, json: { freezes: [] } })
    expect((await api(token, 'DELETE', `/${made.json.id}`)).json.code).toBe('not_found')
    const steps = (await stage.entries()).filter(({ kind }) => kind.startsWith('freeze.'))
    expect(steps).toMatchObject([
      { kind: 'freeze.made', comment: 'bad\\u{202e} deletes', reviewer: { subject: 'olga' } },
      { kind: 'freeze.lifted', detail: expect.stringContaining('agents:agent-7') },
    ])
  })

  test('nobody else does; auditors read', async () => {
    const [ana, auditor] = [await tokenOf(cast.ana), await tokenOf(cleo)]
    const word = { what: 'all', reason: 'because' }
    expect((await api(ana, 'POST', '', word)).json.code).toBe('not_approver')
    expect((await api(auditor, 'POST', '', word)).json.code).toBe('not_approver')
    expect((await api(ana, 'GET', '')).json.code).toBe('not_approver')
    expect((await api(auditor, 'GET', '')).status).toBe(200)
    expect((await api(ana, 'DELETE', '/f_1')).json.code).toBe('not_approver')
  })

  test('a token that may only read makes none', async () => {
    const token = await tokenOf(olga)
    const before = stage.settings
    const [login] = before.console.login
    if (login === undefined) throw new Error('no login')
    stage.settings = { ...before, console: { ...before.console, login: [{ ...login, interactive: undefined }] } }
    expect((await api(token, 'POST', '', { what: 'all', reason: 'x' })).json.code).toBe('not_approver')
    stage.settings = before
  })

  test.each([
    [{ what: 'planet', reason: 'x' }, 'what:'],
    [{ what: 'all' }, 'reason:'],
    [{ what: 'all', value: 'x', reason: 'x' }, 'value:'],
    [{ what: 'caller', reason: 'x' }, 'value:'],
    [{ what: 'upstream', value: 'biling', reason: 'x' }, 'there are billing'],
    [{ what: 'person', value: 'nobody in particular', reason: 'x' }, 'value:'],
    [{ what: 'all', reason: 'x', until: '2020-01-01T00:00:00Z' }, 'until:'],
    [{ what: 'all', reason: 'x', until: 'tomorrow' }, 'until:'],
    [{ what: 'all', reason: 'x', forever: 'yes' }, 'forever'],
  ])('%o is refused: %s', async (word, said) => {
    const { status, json } = await api(await tokenOf(olga), 'POST', '', word)
    expect([status, String(json.detail)]).toEqual([400, expect.stringContaining(said)])
  })

  test('the page does the same, and the hold says so', async () => {
    const id = await stage.hold()
    const ana = await stage.browserOf(cast.ana)
    const { csrf = '' } = await ops.fields('/freezes')
    const wrong = await ops.visit(`${stage.url}/freezes`, {
      form: { csrf, what: 'upstream', value: 'x', reason: 'kept words' },
    })
    expect([wrong.status, wrong.text.includes('kept words')]).toEqual([400, true])
    const form = { csrf, what: 'upstream', value: 'billing', reason: 'restoring a backup', hours: '2' }
    const after = await ops.visit(`${stage.url}/freezes`, { form })
    expect(words(after.text)).toMatch(/upstream billing restoring a backup/)
    expect(words((await ana.visit(`${stage.url}/holds/${id}`)).text)).toContain('restoring a backup')
    expect((await ana.visit(`${stage.url}/freezes`)).status).toBe(403)
    const lift = /action="(\/freezes\/[^"]+\/lift)"/.exec(after.text)?.[1] ?? ''
    expect((await ops.visit(`${stage.url}${lift}`, { form: {} })).status).toBe(403)
    expect(words((await ops.visit(`${stage.url}${lift}`, { form: { csrf } })).text)).toContain('Nothing is frozen')
    expect((await ana.visit(`${stage.url}/holds/${id}`)).text).not.toContain('restoring a backup')
  })

  test('a frozen person decides nothing and lifts nothing', async () => {
    const id = await stage.hold()
    const operator = await tokenOf(olga)
    const { json } = await api(operator, 'POST', '', {
      what: 'person',
      value: 'ana@acme.test',
      reason: 'laptop stolen',
    })
    const ana = await stage.browserOf(cast.ana)
    const tried = await ana.visit(`${stage.url}/holds/${id}/approve`, { form: await ana.fields(`/holds/${id}`) })
    expect(tried.status).toBe(503)
    expect((await stage.read(id)).state).toBe('pending')
    await api(operator, 'DELETE', `/${json.id}`)
    await ana.visit(`${stage.url}/holds/${id}/approve`, { form: await ana.fields(`/holds/${id}`) })
    expect((await stage.read(id)).state).toBe('approved')
    const own = await api(operator, 'POST', '', { what: 'person', value: 'idp:olga', reason: 'me' })
    expect((await api(operator, 'DELETE', `/${own.json.id}`)).json.code).toBe('frozen')
  })
})
