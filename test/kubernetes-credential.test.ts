// The credential of a Kubernetes upstream: the service account's token as its file says it now, and the caller as the API server is told.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubernetes } from '../src/credentials/kubernetes.ts'
import { HoldpointError } from '../src/errors.ts'
import type { Caller } from '../src/nouns.ts'
import type { Impersonation } from '../src/settings.ts'

let dir: string
let file: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-token-'))
  file = join(dir, 'token')
  await writeFile(file, ' tok.en-1 \n')
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const agent: Caller = {
  issuer: 'okta',
  subject: 'agent-7',
  client: '0oa7',
  kind: 'agent',
  owner: 'ben@acme.test',
  groups: ['a', 'b b'],
  actors: [],
  claims: { team: 'red', teams: ['x', 'y'], level: 3, none: '' },
  expiresAt: 0,
}
const made = (as: Partial<Impersonation> | undefined, tokenFile = file) =>
  kubernetes(tokenFile, as && { user: '{caller.subject}', groups: [], extra: {}, insecureSystem: false, ...as })
const headersFor = async (as: Partial<Impersonation> | undefined, caller: Partial<Caller> = {}) => {
  const body = undefined
  const sending = {
    caller: { ...agent, ...caller },
    method: 'GET',
    origin: 'https://k',
    target: '/',
    headers: [],
    body,
  }
  return (await made(as).headers(sending)).map(([name, value]) => `${name}: ${value}`)
}

test('the token alone', async () => {
  expect(await headersFor(undefined)).toEqual(['Authorization: Bearer tok.en-1'])
})

test.each<[string, Partial<Impersonation>, readonly string[]]>([
  ['a user', {}, ['User: agent-7']],
  ['a fixed one', { user: 'robot' }, ['User: robot']],
  ['several values in one text', { user: '{caller.issuer}:{caller.client}/{caller.kind}' }, ['User: okta:0oa7/agent']],
  [
    'each group in a line of its own',
    { groups: ['all', 'o:{caller.groups}'] },
    ['User: agent-7', 'Group: all', 'Group: o:a', 'Group: o:b b'],
  ],
  [
    'claims',
    { groups: ['{caller.claims.team}', '{caller.claims.teams}-team'] },
    ['User: agent-7', 'Group: red', 'Group: x-team', 'Group: y-team'],
  ],
  [
    'what is absent, empty or no text is left out',
    { groups: ['{caller.email}', '{caller.claims.level}', '{caller.claims.none}', '{caller.claims.constructor}'] },
    ['User: agent-7'],
  ],
  [
    'keys are encoded',
    { extra: { 'acme.com/p_j%': ['{caller.owner}', 'x'] } },
    ['User: agent-7', 'Extra-acme.com%2Fp%5Fj%25: ben@acme.test', 'Extra-acme.com%2Fp%5Fj%25: x'],
  ],
  [
    'the system, where configuration lets it',
    { user: 'system:serviceaccount:a:b', insecureSystem: true },
    ['User: system:serviceaccount:a:b'],
  ],
])('%s', async (_, as, lines) => {
  expect((await headersFor(as)).slice(1)).toEqual(lines.map(line => `Impersonate-${line}`))
})

test.each<[string, Partial<Impersonation>, Partial<Caller>, RegExp]>([
  [
    'a group of the system',
    { groups: ['{caller.groups}'] },
    { groups: ['a', 'system:masters'] },
    /"system:masters" belongs to Kubernetes/,
  ],
  ['in another case', { groups: ['{caller.groups}'] }, { groups: ['System:Masters'] }, /belongs to Kubernetes/],
  [
    'put together',
    { groups: ['sys{caller.groups}'] },
    { groups: ['tem:masters'] },
    /"system:masters" belongs to Kubernetes/,
  ],
  ['a user of the system', {}, { subject: 'system:admin' }, /belongs to Kubernetes/],
  ['no user', { user: '{caller.email}' }, {}, /does not say what \{caller\.email\} needs/],
  [
    'an address that nobody checked',
    { user: '{caller.email}' },
    { email: 'ana@acme.test', claims: { email_verified: false } },
    /does not say what/,
  ],
  ['several users', { user: '{caller.groups}' }, {}, /does not say what/],
  ['another line', {}, { subject: 'a\r\nImpersonate-Group: system:masters' }, /cannot be sent in a header/],
  ['spaces around it, which the server takes off', {}, { subject: ' system:admin' }, /cannot be sent in a header/],
  ['another alphabet', {}, { subject: 'änna' }, /cannot be sent in a header/],
])('refused, before anybody is asked: %s', async (_, as, caller, why) => {
  await expect(headersFor(as, caller)).rejects.toMatchObject({
    code: 'no_upstream_identity',
    message: expect.stringMatching(why),
  })
  expect(() => made(as).refuse?.({ ...agent, ...caller })).toThrow(HoldpointError)
})

test.each([true, 'true', undefined])('an address that is verified (%s) is sent', async verified => {
  const claims = verified === undefined ? {} : { email_verified: verified }
  const lines = await headersFor({ user: '{caller.email}' }, { email: 'ana@acme.test', claims })
  expect(lines.slice(1)).toEqual(['Impersonate-User: ana@acme.test'])
})

test('nothing goes without a token', async () => {
  const sending = { caller: agent, method: 'GET', origin: 'https://k', target: '/', headers: [], body: undefined }
  await expect(made({}, join(dir, 'absent')).headers(sending)).rejects.toThrow(/ENOENT/)
  const empty = join(dir, 'empty')
  await writeFile(empty, '\n')
  const credential = made({}, empty)
  await expect(credential.headers(sending)).rejects.toThrow(/there is no token in/)
  await writeFile(empty, 'there-now')
  expect((await credential.headers(sending))[0]).toEqual(['Authorization', 'Bearer there-now'])
})
