// Who is behind a call, and whose verdict may count: every row of tables/standing.json, and the counting of votes.
import { describe, expect, it } from 'vitest'
import type { Behind, Caller, Reviewer } from '../src/nouns.ts'
import {
  foldEmail,
  namedPerson,
  peopleBehind,
  qualifies,
  samePerson,
  standing,
  tally,
  type Vote,
} from '../src/people.ts'
import type { Approve, Rule, Settings } from '../src/settings.ts'
import table from './tables/standing.json' with { type: 'json' }

const settingsWith = (people: Settings['people']): Settings =>
  ({
    people,
    issuers: [
      { name: 'okta-api', issuer: 'https://acme.okta.com/oauth2/default', directory: 'okta' },
      { name: 'ci', issuer: 'https://ci.example' },
      { name: 'same', issuer: 'https://acme.okta.com' },
    ],
    console: {
      login: [
        { name: 'okta', issuer: 'https://acme.okta.com', emailDomains: ['acme.com'] },
        { name: 'entra', issuer: 'https://login.example/tenant', emailDomains: [] },
      ],
      operators: ['okta:platform'],
      auditors: ['okta:security'],
    },
  }) as unknown as Settings

const approveOf = (entry: { groups?: string[]; people?: string[]; votes?: number }): Approve => ({
  groups: entry.groups ?? [],
  people: entry.people ?? [],
  votes: entry.votes ?? 1,
  withinMs: 1,
  approvedForMs: 1,
  waitMs: 1,
  onDisconnect: 'keep',
  reason: 'optional',
  comment: 'optional',
  unreadable: 'deny',
  approveUnseen: false,
})

const ruleOf = (entries: { groups?: string[]; people?: string[]; votes?: number }[]): Rule =>
  ({ name: 'r', approve: entries.map(approveOf) }) as unknown as Rule

const callerOf = (row: Partial<Caller>): Caller => ({
  issuer: 'okta-api',
  subject: 'x',
  kind: 'agent',
  groups: [],
  actors: [],
  claims: {},
  expiresAt: 0,
  ...row,
})

const reviewerOf = (row: Partial<Reviewer>): Reviewer => ({
  login: 'okta',
  subject: '00u1',
  ids: [row.subject ?? '00u1'],
  name: 'Ana',
  emailTrusted: false,
  groups: [],
  groupsAt: 0,
  via: 'console',
  interactive: true,
  ...row,
})

type Row = {
  name: string
  expect: string
  caller: Partial<Caller>
  reviewer: Partial<Reviewer>
  people?: { name: string; accounts: string[]; owns: string[] }[]
  approve?: { groups?: string[]; people?: string[]; votes?: number }[]
}

describe('may this verdict count?', () => {
  it.each(table as Row[])('$name: $expect', row => {
    const settings = settingsWith(row.people ?? [])
    const behind = peopleBehind(callerOf(row.caller), settings)
    const rules = [ruleOf(row.approve ?? [{ groups: ['okta:finance-leads'] }])]
    const stands = standing(reviewerOf(row.reviewer), behind, rules, settings)
    expect(stands.may ? 'may' : stands.code).toBe(row.expect)
  })

  it('has rows enough, and no two of one name', () => {
    expect(table.length).toBeGreaterThanOrEqual(60)
    expect(new Set(table.map(row => row.name)).size).toBe(table.length)
  })

  it('counts a bare group where there is exactly one login', () => {
    const settings = settingsWith([])
    const single = {
      ...settings,
      console: { ...settings.console, login: settings.console.login.slice(0, 1) },
    } as Settings
    const inGroup = (group: string, wanted: string): boolean =>
      qualifies(reviewerOf({ groups: [group] }), approveOf({ groups: [wanted] }), single)
    expect(inGroup('leads', 'leads')).toBe(true)
    expect(inGroup('sales', 'leads')).toBe(false)
    // A group may be called like another login's: a name with a colon always says whose it is.
    expect(inGroup('entra:leads', 'entra:leads')).toBe(false)
  })
})

describe('the people behind a call', () => {
  const known = (caller: Partial<Caller>, people: Settings['people'] = []): Behind =>
    peopleBehind(callerOf(caller), settingsWith(people))

  it('knows a human, an owner, and the person an agent acts for', () => {
    expect(known({ kind: 'human', email: 'ben@acme.com' })).toMatchObject({ known: true, labels: ['ben@acme.com'] })
    expect(known({ owner: 'ben@acme.com' })).toMatchObject({ known: true, labels: ['ben@acme.com'] })
    expect(known({ email: 'ben@acme.com', actors: [{ issuer: 'okta-api', subject: 'a' }] }).known).toBe(true)
    expect(known({}, [{ name: 'Ben', accounts: ['okta:2'], owns: ['okta-api:x'] }])).toMatchObject({
      known: true,
      labels: ['Ben'],
    })
  })

  // An issuer that shares nothing with a login, one that shares its directory, and one that is the login's own provider.
  it.each<[string, Partial<Caller>, boolean]>([
    ['an address is known anywhere', { issuer: 'ci', owner: 'ben@acme.com' }, true],
    ['an account at a login is known anywhere', { issuer: 'ci', owner: 'okta:00u2' }, true],
    ['an account at no login is not', { issuer: 'ci', owner: 'chat:U2' }, false],
    ['an id of an issuer where nobody signs in is not', { issuer: 'ci', owner: '00u2' }, false],
    ['an id of the shared directory is', { issuer: 'okta-api', owner: '00u2' }, true],
    ["an id of the login's own provider is", { issuer: 'same', owner: '00u2' }, true],
    ['white space is nobody', { issuer: 'okta-api', owner: '  ' }, false],
    ['a mail address of its own makes a workload no person', { kind: 'workload', email: 'bot@acme.com' }, false],
    [
      'an actor acts for whom the person id says',
      { person: '00u2', actors: [{ issuer: 'okta-api', subject: 'a' }] },
      true,
    ],
  ])('%s', (_, caller, is) => expect(known(caller).known).toBe(is))

  it('knows an owner whose account configuration links to a person', () => {
    const people = [{ name: 'Ben', accounts: ['ci:ben', 'okta:00u2'], owns: [] }]
    expect(known({ issuer: 'ci', owner: 'ben' }, people)).toMatchObject({ known: true, labels: ['ben', 'Ben'] })
    expect(known({ issuer: 'ci', owner: 'zoe' }, people).known).toBe(false)
  })

  it('does not take an agent, a workload or an actor without a person for one', () => {
    expect(known({}).known).toBe(false)
    expect(known({ kind: 'workload', client: 'x' }).known).toBe(false)
    expect(known({ actors: [{ issuer: 'okta-api', subject: 'a' }] }).known).toBe(false)
  })
})

describe('a person who is named', () => {
  const settings = settingsWith([{ name: 'Ana Ruiz', accounts: ['okta:00u1', 'ci:ana'], owns: [] }])
  it.each<[string, readonly string[] | undefined]>([
    ['Ana Ruiz', ['account:ci:ana', 'account:okta:00u1']],
    ['okta:00u2', ['account:iss:https://acme.okta.com:00u2', 'account:okta:00u2']],
    ['ci:ana', ['account:ci:ana', 'account:iss:https://ci.example:ana', 'account:okta:00u1']],
    ['zoe@acme.com', ['email:zoe@acme.com']],
    [
      'okta:zoe@acme.com',
      ['account:iss:https://acme.okta.com:zoe@acme.com', 'account:okta:zoe@acme.com', 'email:zoe@acme.com'],
    ],
    ['nowhere:00u2', undefined],
    ['somebody', undefined],
  ])('%s', (name, keys) => expect(namedPerson(name, settings)).toEqual(keys))
})

describe('folding an e-mail', () => {
  it.each([
    ['Ana@Acme.com', 'ana@acme.com'],
    ['ana+tag@acme.com', 'ana@acme.com'],
    ['+tag@acme.com', '+tag@acme.com'],
    ['a@b@acme.com', 'a@b@acme.com'],
    ['no address', undefined],
    ['@acme.com', undefined],
    ['ana@', undefined],
    ['ana@acme.com.', 'ana@acme.com'],
    ['an\u200ba@acme.com', 'ana@acme.com'],
    ['ana@b\u00fccher.example', 'ana@xn--bcher-kva.example'],
  ])('%s -> %s', (address, folded) => expect(foldEmail(address)).toBe(folded))
})

describe('votes', () => {
  const settings = settingsWith([])
  const vote = (subject: string, ...groups: string[]): Vote => ({
    keys: [`account:okta:${subject}`],
    reviewer: reviewerOf({ subject, groups }),
  })
  const keyed = (subject: string, ...keys: string[]): Vote => ({ ...vote(subject, 'leads'), keys })
  const lead = { groups: ['okta:leads'] }
  const security = { groups: ['okta:security'] }

  it.each([
    ['one of one', [lead], [vote('a', 'leads')], 1, 1],
    ['nobody', [lead], [], 0, 1],
    ['one person twice is one vote', [{ ...lead, votes: 2 }], [vote('a', 'leads'), vote('a', 'leads')], 1, 2],
    ['two persons', [{ ...lead, votes: 2 }], [vote('a', 'leads'), vote('b', 'leads')], 2, 2],
    ['one person in both groups counts for one entry', [lead, security], [vote('a', 'leads', 'security')], 1, 2],
    ['the best assignment counts', [lead, security], [vote('a', 'leads', 'security'), vote('b', 'leads')], 2, 2],
    ['order does not matter', [security, lead], [vote('b', 'leads'), vote('a', 'leads', 'security')], 2, 2],
    ['who does not qualify does not count', [lead], [vote('a', 'sales')], 0, 1],
    [
      'accounts that are linked through a third one are one person, in any order',
      [{ ...lead, votes: 2 }],
      [keyed('a', 'k1'), keyed('b', 'k1', 'k2'), keyed('c', 'k2')],
      1,
      2,
    ],
    [
      'accounts that are linked only by the last one are one person',
      [{ ...lead, votes: 2 }],
      [keyed('a', 'k1'), keyed('c', 'k2'), keyed('b', 'k1', 'k2')],
      1,
      2,
    ],
    ['more than enough is enough', [lead], [vote('a', 'leads'), vote('b', 'leads')], 1, 1],
  ] as const)('%s', (_name, entries, votes, have, needed) => {
    expect(tally(ruleOf(entries as never), votes as readonly Vote[], settings)).toEqual({ have, needed })
  })

  it('takes people for the same if they share any key', () => {
    expect(samePerson(['a', 'b'], ['b', 'c'])).toBe(true)
    expect(samePerson(['a'], ['b'])).toBe(false)
    expect(samePerson([], [])).toBe(false)
  })
})
