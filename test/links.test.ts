// Linking chat accounts: by a code, with a profile that fits, in the name of a living session.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Account, Profile } from '../src/console/links.ts'
import { type Browser, type ConsoleStage, startConsole, words } from './support/console.ts'
import { people } from './support/people.ts'

const minuteMs = 60_000
let stage: ConsoleStage
let ana: Browser
let count = 0
let account: Account
const profile: Profile = { email: 'Ana@acme.test', emailConfirmed: true, guest: false, bot: false, foreign: false }

beforeAll(async () => {
  stage = await startConsole({ chats: ['ops'] })
})
afterAll(() => stage.close())
beforeEach(async () => {
  ana = await stage.browserOf(people.ana)
  count += 1
  account = { channel: 'ops', kind: 'slack', team: 'T1', user: `U${count}` }
})
const before: { settings?: ConsoleStage['settings'] } = {}
afterEach(() => {
  if (before.settings !== undefined) stage.settings = before.settings
  delete before.settings
})

const codeFor = async (one: Browser): Promise<string> => {
  const { csrf = '' } = await one.fields('/links')
  const page = await one.visit(`${stage.url}/links`, { form: { csrf } })
  const [, code = ''] = /<strong>([2-9A-Z]{4}-[2-9A-Z]{4})<\/strong>/.exec(page.text) ?? []
  expect(code).not.toBe('')
  return code
}
const link = (code: string, more: Partial<Profile> = {}, who = account) =>
  stage.app.links.link(who, code, { ...profile, ...more })

test('a code that the account types makes it speak in the name of who saw the code', async () => {
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()
  const code = await codeFor(ana)
  expect(await link(` ${code.toLowerCase().replace('-', ' ')}`)).toMatchObject({
    subject: 'ana',
    via: 'slack',
    interactive: true,
  })
  const visitor = await stage.app.links.visitorOf(account)
  expect(visitor?.reviewer).toMatchObject({ login: 'idp', subject: 'ana', via: 'slack' })
  expect(await visitor?.fresh()).toMatchObject({ subject: 'ana', groups: ['finance-leads'], via: 'slack' })
  expect(await stage.entries()).toContainEqual(
    expect.objectContaining({
      kind: 'link.made',
      detail: `ops:T1/${account.user}`,
      reviewer: expect.objectContaining({ subject: 'ana' }),
    }),
  )
  expect(words((await ana.visit(`${stage.url}/links`)).text)).toContain(`ops T1/${account.user}`)
  const dora = await stage.browserOf(people.dora)
  expect((await dora.visit(`${stage.url}/links`)).text).not.toContain(account.user)
})

test('its groups are as new as a verdict wants them', async () => {
  await link(await codeFor(ana))
  const visitor = await stage.app.links.visitorOf(account)
  stage.pass(16 * minuteMs)
  const fresh = await (await stage.app.links.visitorOf(account))?.fresh()
  expect(fresh?.groupsAt).toBeGreaterThan(visitor?.reviewer.groupsAt ?? Number.POSITIVE_INFINITY)
})

test('a code works once, for ten minutes, and only as it is', async () => {
  const code = await codeFor(ana)
  await link(code)
  await expect(link(code)).rejects.toMatchObject({ code: 'not_found' })
  const late = await codeFor(ana)
  stage.pass(10 * minuteMs + 1)
  await expect(link(late)).rejects.toMatchObject({ code: 'not_found' })
  const ended = await codeFor(ana)
  const { csrf = '' } = await ana.fields('/links')
  await ana.visit(`${stage.url}/logout`, { form: { csrf } })
  await expect(link(ended)).rejects.toMatchObject({ code: 'not_found' })
  expect((await stage.store.shelf.list('link-code:')).flat().join(' ')).not.toContain(code.replace('-', ''))
})

test.each<[string, Partial<Profile>]>([
  ['a guest', { guest: true }],
  ['a bot', { bot: true }],
  ["another company's", { foreign: true }],
  ["somebody else's, by its address", { email: 'dora@acme.test' }],
  ['of nobody known', { email: undefined }],
  ['not of a confirmed address', { emailConfirmed: false }],
  ['of a like address', { email: 'ana+chat@acme.test' }],
])('an account that is %s is refused, which uses up the code and is on record', async (_, more) => {
  const code = await codeFor(ana)
  await expect(link(code, more)).rejects.toMatchObject({ code: 'not_approver' })
  await expect(link(code)).rejects.toMatchObject({ code: 'not_found' })
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()
  const refused = (await stage.entries()).filter(({ kind }) => kind === 'link.refused')
  expect(refused.at(-1)).toMatchObject({ detail: expect.stringContaining(account.user), reviewer: { subject: 'ana' } })
})

test('an address that no login vouches for is refused', async () => {
  before.settings = stage.settings
  const [login] = stage.settings.console.login
  if (login === undefined) throw new Error('no login')
  stage.settings = {
    ...stage.settings,
    console: { ...stage.settings.console, login: [{ ...login, emailDomains: [] }] },
  }
  await expect(link(await codeFor(ana))).rejects.toMatchObject({ code: 'not_approver' })
})

test("an account that the configuration says is somebody else's is refused, one's own is not", async () => {
  before.settings = stage.settings
  const named = (subject: string) => [{ name: 'x', accounts: [`idp:${subject}`, `ops:T1/${account.user}`], owns: [] }]
  stage.settings = { ...stage.settings, people: named('ben') }
  await expect(link(await codeFor(ana))).rejects.toMatchObject({ code: 'not_approver' })
  stage.settings = { ...stage.settings, people: named('ana') }
  expect(await link(await codeFor(ana))).toMatchObject({ subject: 'ana' })
})

test('codes cannot be guessed: five tries, then the account has to wait', async () => {
  for (let nth = 0; nth < 5; nth++)
    await expect(link(`AAAA-AAA${nth + 2}`)).rejects.toMatchObject({ code: 'not_found' })
  await expect(link(await codeFor(ana))).rejects.toMatchObject({ code: 'too_many_calls' })
  expect(await link(await codeFor(ana), {}, { ...account, user: `${account.user}-other` })).toBeDefined()
  stage.pass(10 * minuteMs + 1)
  expect(await link(await codeFor(ana))).toBeDefined()
})

test('only who has a session may begin, and a link whose session has ended is not shown', async () => {
  await link(await codeFor(ana))
  const visitor = await stage.app.links.visitorOf(account)
  if (visitor === undefined) throw new Error('not linked')
  await expect(stage.app.links.begin({ ...visitor, session: undefined })).rejects.toMatchObject({
    code: 'not_approver',
  })
  const listed = async () => (await stage.app.links.list(visitor)).map(one => one.account)
  expect(await listed()).toContain(`T1/${account.user}`)
  await ana.visit(`${stage.url}/logout`, { form: { csrf: (await ana.fields('/links')).csrf ?? '' } })
  expect(await listed()).not.toContain(`T1/${account.user}`)
})

test('it ends with the session: by sign-out, idleness, or time', async () => {
  await link(await codeFor(ana))
  const { csrf = '' } = await ana.fields('/links')
  await ana.visit(`${stage.url}/logout`, { form: { csrf } })
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()

  const again = await stage.browserOf(people.ana)
  await link(await codeFor(again))
  expect(words((await again.visit(`${stage.url}/links`)).text)).toContain(account.user)
  stage.pass(8 * 60 * minuteMs + 1)
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()

  await link(await codeFor(await stage.browserOf(people.ana)))
  for (let hours = 0; hours < 11; hours += 1) {
    stage.pass(60 * minuteMs)
    expect(await stage.app.links.visitorOf(account)).toBeDefined()
  }
  stage.pass(60 * minuteMs)
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()
})

test('it is ended on the page, by its own person only', async () => {
  await link(await codeFor(ana))
  const [, path = ''] = /action="(\/links\/[\w-]+\/end)"/.exec((await ana.visit(`${stage.url}/links`)).text) ?? []
  const dora = await stage.browserOf(people.dora)
  expect(
    (await dora.visit(`${stage.url}${path}`, { form: { csrf: (await dora.fields('/links')).csrf ?? '' } })).status,
  ).toBe(404)
  expect((await ana.visit(`${stage.url}${path}`, { form: {} })).status).toBe(403)
  expect(await stage.app.links.visitorOf(account)).toBeDefined()
  const ended = await ana.visit(`${stage.url}${path}`, { form: { csrf: (await ana.fields('/links')).csrf ?? '' } })
  expect(words(ended.text)).toContain('No account is linked')
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()
})

test('a record that is not signed by us, or belongs to another account, links nobody', async () => {
  const { shelf } = stage.store
  await link(await codeFor(ana))
  const [[key = '', kept = ''] = []] = (await shelf.list('link:')).filter(([, value]) =>
    value.includes(`"${account.user}"`),
  )
  const other = { ...account, user: `${account.user}-other` }
  await link(await codeFor(ana), {}, other)
  const [[place = ''] = []] = (await shelf.list('link:')).filter(([, value]) => value.includes(`"${other.user}"`))
  await shelf.put(place, kept)
  expect(await stage.app.links.visitorOf(other)).toBeUndefined()
  await shelf.put(key, kept.replace('"subject":"ana"', '"subject":"ben"'))
  expect(await stage.app.links.visitorOf(account)).toBeUndefined()
  expect(kept).not.toContain(ana.session())
})

test('where no chat is configured there is nothing to link', async () => {
  const plain = await startConsole()
  try {
    const one = await plain.browserOf(people.ana)
    const page = await one.visit(`${plain.url}/links`)
    expect(words(page.text)).toContain('There is no chat to link')
    expect(
      (await one.visit(`${plain.url}/links`, { form: { csrf: (await one.fields('/rules')).csrf ?? '' } })).status,
    ).toBe(404)
  } finally {
    await plain.close()
  }
})
