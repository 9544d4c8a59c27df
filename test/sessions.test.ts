// Staying signed in, and signing out: facts O5 to O9.
import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { browser } from '../src/commands/demo/browser.ts'
import { consoleApp } from '../src/console/app.ts'
import { sessions } from '../src/console/sessions.ts'
import { makeLog } from '../src/log.ts'
import { keyRing, newKey } from '../src/seal.ts'
import { sqliteStore } from '../src/store/sqlite.ts'
import type { Shelf } from '../src/store/store.ts'
import {
  type Browser,
  type ConsoleStage,
  hidden,
  returningTo,
  signInAt,
  startConsole,
  words,
} from './support/console.ts'
import { people } from './support/people.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs

const visit = (
  stage: ConsoleStage,
  path: string,
  headers: { readonly [name: string]: string } = {},
): Promise<Response> => fetch(`${stage.url}${path}`, { redirect: 'manual', headers })

const withSession = (id: string) => ({ cookie: `holdpoint_session=${id}` })

/** Is a browser with this session id signed in? */
const signedIn = async (stage: ConsoleStage, id: string): Promise<boolean> =>
  (await visit(stage, '/rules', withSession(id))).status === 200

describe('a session', () => {
  let stage: ConsoleStage
  beforeAll(async () => {
    stage = await startConsole()
  })
  afterAll(() => stage.close())

  describe('in its life', () => {
    let ana: Browser
    beforeEach(async () => {
      ana = await signInAt(stage.url, people.ana)
    })

    test('has a new id at every sign-in, and the old one ends', async () => {
      const first = ana.session()
      const { jar, callback } = await returningTo(stage.url, people.ana)
      const headers = withSession(first)
      const signin =
        (await jar.visit(`${stage.url}/login`, { until: stage.idp.issuer })).headers.get('set-cookie') ?? ''
      const cookie = `${headers.cookie}; ${signin.split(';')[0]}`
      const done = await fetch(callback, { redirect: 'manual', headers: { cookie } })
      expect(done.status).toBe(303)
      const second = /holdpoint_session=([\w-]+)/.exec(done.headers.get('set-cookie') ?? '')?.[1] ?? ''
      expect(second).not.toBe(first)
      expect(await signedIn(stage, second)).toBe(true)
      expect(await signedIn(stage, first)).toBe(false)
    })

    test('is in the store under a hash, signed, with its tokens sealed', async () => {
      const kept = (await stage.store.shelf.list('session:')).flat().join(' ')
      expect(kept).not.toContain(ana.session())
      expect(kept).toContain('ana@acme.test')
      expect(kept).not.toMatch(/"(refresh|access)"/)
    })

    test('is nothing if the store was written to by somebody else', async () => {
      const { shelf } = stage.store
      const [key = '', kept = ''] = (await shelf.list('session:')).at(-1) ?? []
      const forge = async (value: string): Promise<boolean> => {
        await shelf.put(key, value)
        return signedIn(stage, ana.session())
      }
      for (const [other, value] of await shelf.list('session:')) {
        await shelf.put(other, value.replaceAll('finance-leads', 'platform'))
      }
      expect(await signedIn(stage, ana.session())).toBe(false)
      expect(await forge(kept.split('.').slice(2).join('.'))).toBe(false)
      const other = keyRing(newKey('test'))
      expect(await forge(other.sign(kept.split('.').slice(2).join('.'), key))).toBe(false)
    })

    test('cannot be moved to another id', async () => {
      const dora = await signInAt(stage.url, people.dora)
      const keyOf = (id: string): string => `session:${createHash('sha256').update(id).digest('base64url')}`
      await stage.store.shelf.put(keyOf(dora.session()), (await stage.store.shelf.get(keyOf(ana.session()))) ?? '')
      expect(await signedIn(stage, dora.session())).toBe(false)
      expect(await signedIn(stage, ana.session())).toBe(true)
    })

    test('ends after eight idle hours, and lives on when used', async () => {
      stage.pass(7 * hourMs)
      expect(await signedIn(stage, ana.session())).toBe(true)
      stage.pass(4 * hourMs)
      expect(await signedIn(stage, ana.session())).toBe(true)
      const dora = await signInAt(stage.url, people.dora)
      stage.pass(8 * hourMs)
      expect(await signedIn(stage, dora.session())).toBe(false)
    })

    test('ends after twelve hours, used or not', async () => {
      for (const hours of [4, 4, 3]) {
        stage.pass(hours * hourMs)
        expect(await signedIn(stage, ana.session())).toBe(true)
      }
      stage.pass(hourMs)
      expect(await signedIn(stage, ana.session())).toBe(false)
    })

    test('ends when its login is configured away, or becomes another client', async () => {
      const before = stage.settings
      const [login] = before.console.login
      for (const other of [[], [{ ...login, clientId: 'other' }], [{ ...login, issuer: 'https://other.example' }]]) {
        stage.settings = { ...before, console: { ...before.console, login: other as typeof before.console.login } }
        expect(await signedIn(stage, ana.session())).toBe(false)
      }
      stage.settings = before
      expect(await signedIn(stage, ana.session())).toBe(true)
    })

    test.each([
      ['two of that name', (id: string) => `holdpoint_session=${id}; holdpoint_session=${id}`],
      ['a tossed one in front', (id: string) => `holdpoint_session=x; holdpoint_session=${id}`],
      ['an empty one', () => 'holdpoint_session='],
      ['a broken one', () => 'holdpoint_session=%00%ff; ;;=; a'],
      ['an endless one', () => `holdpoint_session=${'a'.repeat(8_000)}`],
      ['one of another name', (id: string) => `__Host-holdpoint=${id}`],
    ])('is nobody with %s', async (_, cookie) => {
      const answer = await visit(stage, '/rules', { cookie: cookie(ana.session()) })
      expect([answer.status, answer.headers.get('location')]).toEqual([303, '/login?to=%2Frules'])
    })

    test('ends at sign-out, for whoever kept the cookie as well, and only by the form', async () => {
      const forged = await ana.visit(`${stage.url}/logout`, { form: { csrf: 'x' } })
      expect(forged.status).toBe(403)
      expect(await signedIn(stage, ana.session())).toBe(true)
      const out = await ana.visit(`${stage.url}/logout`, { form: { csrf: (await ana.fields('/')).csrf ?? '' } })
      expect([out.status, out.url]).toEqual([200, `${stage.url}/login?out=1`])
      expect(words(out.text)).toContain('Signed out')
      expect(await signedIn(stage, ana.session())).toBe(false)
    })

    test('leaves entries in the audit log: in, out, refused', async () => {
      await ana.visit(`${stage.url}/logout`, { form: { csrf: (await ana.fields('/')).csrf ?? '' } })
      const { jar, callback } = await returningTo(stage.url, people.ana)
      callback.searchParams.set('code', 'forged')
      await jar.visit(callback.href)
      const entries = (await stage.entries()).filter(({ kind }) => /^sign/.test(kind))
      expect(entries.at(-3)).toMatchObject({
        kind: 'signin',
        reviewer: { login: 'idp', subject: 'ana', name: 'Ana Ruiz', via: 'console' },
        address: '127.0.0.1',
      })
      expect(entries.at(-2)).toMatchObject({ kind: 'signout', reviewer: { subject: 'ana' } })
      expect(entries.at(-1)).toMatchObject({ kind: 'signin.refused', code: 'unauthenticated' })
    })
  })

  test('a flood of refused sign-ins does not flood the audit log', async () => {
    // Begins with a minute, so that it fits into one.
    stage.pass(minuteMs - (stage.now() % minuteMs))
    const before = (await stage.entries()).length
    for (let count = 0; count < 35; count += 1) {
      const jar = browser()
      const chosen = await jar.visit(`${stage.url}/login`, { until: stage.idp.issuer })
      const state = new URL(chosen.url).searchParams.get('state') ?? ''
      await jar.visit(`${stage.url}/login/callback/idp?${new URLSearchParams({ state, error: 'x' })}`)
    }
    const noted = (await stage.entries()).slice(before).filter(({ count }) => count === undefined)
    expect(noted).toHaveLength(30)
  })
})

describe('an earlier vote, when the deciding one comes', () => {
  let stage: ConsoleStage
  const lead = (id: string) => ({ id, name: id, email: `${id}@acme.test`, groups: ['finance-leads'] as string[] })
  const [first, second, third] = [lead('first'), lead('second'), lead('third')] as const
  let id: string
  let early: Browser
  beforeEach(async () => {
    first.groups = ['finance-leads']
    stage = await startConsole({
      people: [first, second, third],
      settings: one => ({
        ...one,
        rules: one.rules.map(rule => ({ ...rule, approve: rule.approve.map(approve => ({ ...approve, votes: 2 })) })),
      }),
    })
    id = await stage.hold()
    early = await stage.browserOf(first)
    await approve(early)
  })
  afterEach(() => stage.close())

  const approve = async (one: Browser) =>
    one.visit(`${stage.url}/holds/${id}/approve`, { form: { ...(await one.fields(`/holds/${id}`)) } })
  const state = async () => (await stage.read(id)).state

  test('counts while its groups are new enough to decide by', async () => {
    first.groups = []
    stage.pass(14 * minuteMs)
    await approve(await stage.browserOf(second))
    expect(await state()).toBe('approved')
  })

  test('counts if its login says the same when it is asked again', async () => {
    first.groups = ['others', 'finance-leads']
    stage.pass(20 * minuteMs)
    await approve(await stage.browserOf(second))
    expect(await state()).toBe('approved')
  })

  test('falls if whoever gave it has left the group, and somebody else has to make up for it', async () => {
    first.groups = ['others']
    stage.pass(20 * minuteMs)
    const seconds = await stage.browserOf(second)
    await approve(seconds)
    expect(await state()).toBe('pending')
    expect(words((await seconds.visit(`${stage.url}/holds/${id}`)).text)).toContain('1 of 2')
    expect(await stage.entries()).toContainEqual(
      expect.objectContaining({
        kind: 'verdict.dropped',
        hold: id,
        reviewer: expect.objectContaining({ subject: 'first' }),
      }),
    )
    // Who comes back to the group may vote again.
    first.groups = ['finance-leads']
    await approve(await stage.browserOf(first))
    expect(await state()).toBe('approved')
  })

  test('falls if its login cannot be asked', async () => {
    stage.pass(20 * minuteMs)
    const seconds = await stage.browserOf(second)
    await stage.idp.close()
    await approve(seconds)
    expect(await state()).toBe('pending')
  })

  test('counts as it was given if its session has ended: nobody is there to be asked', async () => {
    stage.pass(20 * minuteMs)
    await early.visit(`${stage.url}/logout`, { form: { csrf: (await early.fields('/')).csrf ?? '' } })
    first.groups = []
    await approve(await stage.browserOf(second))
    expect(await state()).toBe('approved')
  })

  test('is one vote, however often it is given', async () => {
    const { csrf = '' } = await early.fields('/')
    const again = await early.visit(`${stage.url}/holds/${id}/approve`, { form: { csrf } })
    expect([again.status, await state(), (await stage.read(id)).verdicts.length]).toEqual([409, 'pending', 1])
    expect(await stage.entries()).toContainEqual(
      expect.objectContaining({ kind: 'verdict.refused', hold: id, code: 'already_decided' }),
    )
  })

  test('is void with its hold when the rule says something else by then', async () => {
    const { settings } = stage
    stage.settings = { ...settings, rules: settings.rules.map(rule => ({ ...rule, hash: 'another' })) }
    const refused = await approve(await stage.browserOf(second))
    expect([refused.status, await state()]).toEqual([403, 'void'])
  })

  test('shows its session to nobody, and keeps it sealed', async () => {
    const { verdicts } = await stage.read(id)
    const ticket = verdicts[0]?.reviewer.session ?? ''
    expect(ticket).not.toBe('')
    expect(JSON.stringify(verdicts)).not.toContain(early.session())
    const shown = [
      (await early.visit(`${stage.url}/holds/${id}`)).text,
      (await early.visit(`${stage.url}/api/holds/${id}`)).text,
      JSON.stringify(await stage.entries()),
    ]
    for (const text of shown) {
      expect(text).not.toContain(ticket)
      expect(text).not.toContain(early.session())
    }
  })
})

describe('groups at a verdict', () => {
  let stage: ConsoleStage
  const ana = { ...people.ana, groups: ['finance-leads'] as string[] }
  beforeEach(async () => {
    ana.groups = ['finance-leads']
    stage = await startConsole({ people: [ana] })
  })
  afterEach(() => stage.close())

  const approve = async (one: Browser, id: string) =>
    one.visit(`${stage.url}/holds/${id}/approve`, { form: { ...(await one.fields(`/holds/${id}`)) } })

  test('are those of the sign-in for fifteen minutes', async () => {
    const signed = await stage.browserOf(ana)
    ana.groups = []
    stage.pass(15 * minuteMs - 5_000)
    expect((await approve(signed, await stage.hold())).status).toBe(200)
  })

  test('are read again after fifteen minutes: who left the group does not decide', async () => {
    const signed = await stage.browserOf(ana)
    const id = await stage.hold()
    ana.groups = ['others']
    stage.pass(15 * minuteMs + 1)
    const page = await signed.visit(`${stage.url}/holds/${id}`)
    expect(page.text).toContain('>Approve<')
    const refused = await signed.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(page.text) })
    expect(stage.deciders.map(one => one.groups)).toEqual([['others']])
    expect([refused.status, (await stage.read(id)).state]).toEqual([404, 'pending'])
  })

  test('are read again once for several verdicts at the same time', async () => {
    const signed = await stage.browserOf(ana)
    const ids = await Promise.all([stage.hold(), stage.hold(), stage.hold(), stage.hold()])
    const fields = await signed.fields(`/holds/${ids[0]}`)
    stage.pass(20 * minuteMs)
    const verdicts = ids.map(id =>
      signed.visit(`${stage.url}/holds/${id}/approve`, { form: { csrf: fields.csrf ?? '' } }),
    )
    expect((await Promise.all(verdicts)).map(answer => answer.status)).toEqual([200, 200, 200, 200])
    expect(new Set(stage.deciders.map(one => one.groupsAt)).size).toBe(1)
    expect(stage.deciders[0]?.groupsAt).toBeGreaterThan(stage.now() - minuteMs)
  })

  test('that cannot be read again mean: sign in again, and nothing is decided', async () => {
    const signed = await stage.browserOf(ana)
    const id = await stage.hold()
    const { csrf = '', view = '' } = await signed.fields(`/holds/${id}`)
    stage.pass(20 * minuteMs)
    await stage.idp.close()
    const page = await signed.visit(`${stage.url}/holds/${id}/approve`, { form: { csrf, view } })
    expect(page.status).toBe(401)
    expect(page.text).toContain(`/login?to=${encodeURIComponent(`/holds/${id}`)}`)
    const api = await signed.visit(`${stage.url}/api/holds/${id}/approve`, {
      json: { view },
      headers: { 'x-csrf-token': csrf },
    })
    expect([api.status, JSON.parse(api.text).code]).toEqual([401, 'unauthenticated'])
    expect(JSON.parse(api.text).detail).toContain(`${stage.url}/login`)
    expect((await stage.read(id)).state).toBe('pending')
    expect((await signed.visit(`${stage.url}/holds/${id}`)).status).toBe(200)
  })
})

describe('on https', () => {
  test('cookies have the __Host- prefix and answers say so', async () => {
    const stage = await startConsole()
    const url = 'https://console.example'
    const settings = { ...stage.settings, console: { ...stage.settings.console, url } }
    const { store, keys } = stage
    const app = consoleApp({
      ...{ settings: () => settings, store, keys, log: makeLog('silent'), events: store.events },
      desk: { note: async () => undefined } as never,
    })
    const answer = await app.fetch(new Request(`${url}/login`))
    expect(answer.headers.get('set-cookie')).toMatch(
      /^__Host-holdpoint-signin=[\w-]{43}; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax; Secure$/,
    )
    expect(answer.headers.get('strict-transport-security')).toBe('max-age=31536000')
    const out = await app.fetch(new Request(`${url}/logout`, { method: 'POST' }))
    expect(out.headers.get('set-cookie')).toBe('__Host-holdpoint=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure')
    await stage.close()
  })
})

describe('the lease of a session', () => {
  let shelf: Shelf
  beforeAll(async () => {
    shelf = (await sqliteStore({ path: ':memory:' })).shelf
  })

  test('lets one at a time do the work', async () => {
    const one = sessions(shelf, keyRing(newKey('a')), Date.now)
    const other = sessions(shelf, keyRing(newKey('b')), Date.now)
    let finish: () => void = () => undefined
    const working = one.alone('id', () => new Promise(resolve => (finish = resolve)))
    await expect.poll(() => other.busy('id')).toBe(true)
    expect(await other.alone('id', async () => undefined)).toBe(false)
    finish()
    expect(await working).toBe(true)
    expect(await other.busy('id')).toBe(false)
    expect(await other.alone('id', async () => undefined)).toBe(true)
  })
})
