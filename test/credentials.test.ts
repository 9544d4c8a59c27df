// Credentials that are fetched: from an authorization server, from a program, from a file that changes.
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Proving } from '../src/credentials/credential.ts'
import { exec } from '../src/credentials/exec.ts'
import { oauth2 } from '../src/credentials/oauth2.ts'
import type { Caller } from '../src/nouns.ts'
import { startStage } from './support/stage.ts'
import { startUpstream } from './support/upstream.ts'

const caller = (subject: string): Caller =>
  ({
    issuer: 'okta',
    subject,
    kind: 'agent',
    groups: [],
    actors: [],
    claims: {},
    expiresAt: 0,
  }) as unknown as Caller

const proving = (assertion?: string): Proving => ({
  caller: caller('agent-7'),
  method: 'GET',
  origin: 'http://up',
  target: '/',
  headers: assertion === undefined ? [] : [['Holdpoint-Assertion', assertion]],
  body: undefined,
})

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-credentials-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

describe('oauth2', () => {
  let answer: () => { status?: number; body: string }
  const asked: { authorization: string | undefined; form: { [name: string]: string } }[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    asked.push({
      authorization: request.headers.authorization,
      form: Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString())),
    })
    const { status = 200, body } = answer()
    response.writeHead(status, { 'content-type': 'application/json', location: '/elsewhere' }).end(body)
  })
  const settings = (more = {}) => ({
    kind: 'oauth2' as const,
    tokenUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    clientId: 'gate:way',
    clientSecret: 'a b%',
    exchange: false,
    ...more,
  })
  const token = (more = {}): string =>
    JSON.stringify({ access_token: `t${asked.length}`, token_type: 'Bearer', expires_in: 3600, ...more })
  beforeAll(() => new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve)))
  afterAll(() => void server.close())
  beforeEach(() => {
    asked.length = 0
    answer = () => ({ body: token() })
  })

  test('asks once for many calls at the same time, and keeps what it got', async () => {
    const { headers } = oauth2(settings({ scope: 'read write', audience: 'api://up' }))
    const lines = await Promise.all([headers(proving()), headers(proving()), headers(proving())])
    expect(lines).toEqual([0, 1, 2].map(() => [['Authorization', 'Bearer t1']]))
    expect(await headers(proving())).toEqual([['Authorization', 'Bearer t1']])
    expect(asked).toEqual([
      {
        // RFC 6749 §2.3.1: a colon, a space and a percent sign are encoded before they are joined.
        authorization: `Basic ${Buffer.from('gate%3Away:a+b%25').toString('base64')}`,
        form: { grant_type: 'client_credentials', scope: 'read write', audience: 'api://up' },
      },
    ])
  })

  test('what has run out is fetched anew', async () => {
    answer = () => ({ body: token({ expires_in: 0.001 }) })
    const { headers } = oauth2(settings())
    await headers(proving())
    await expect.poll(async () => (await headers(proving()))[0]?.[1]).not.toBe('Bearer t1')
  })

  const assertion = (said: object): string => `h.${Buffer.from(JSON.stringify(said)).toString('base64url')}.s`

  test('exchanges the assertion, for each caller on their own', async () => {
    const { headers } = oauth2(settings({ exchange: true }))
    const said = [
      { sub: 'ana', rule: 'reads', iat: 1, exp: 61, jti: 'a' },
      { sub: 'ben', rule: 'reads', iat: 1, exp: 61, jti: 'b' },
      { sub: 'ana', rule: 'reads', iat: 9, exp: 69, jti: 'c' },
      { sub: 'ana', rule: 'writes', iat: 9, exp: 69, jti: 'd' },
      { sub: 'ana', act: { sub: 'agent-7' }, rule: 'reads', iat: 9, exp: 69, jti: 'e' },
    ].map(assertion)
    const lines: unknown[] = []
    for (const one of said) lines.push((await headers(proving(one)))[0]?.[1])
    expect(lines).toEqual(['Bearer t1', 'Bearer t2', 'Bearer t1', 'Bearer t3', 'Bearer t4'])
    const sent = said.filter((_, index) => index !== 2)
    expect(asked.map(({ form }) => form)).toEqual(
      sent.map(one => ({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: one,
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      })),
    )
    await expect(headers(proving())).rejects.toThrow(/carries no assertion/)
  })

  test('a token that was given for an approved call serves no other', async () => {
    const { headers } = oauth2(settings({ exchange: true }))
    const allowed = assertion({ sub: 'ana', rule: 'reads' })
    const approved = assertion({ sub: 'ana', rule: 'reads', hold: 'h1' })
    const lines: unknown[] = []
    for (const one of [allowed, approved, allowed, approved]) lines.push((await headers(proving(one)))[0]?.[1])
    expect(lines).toEqual(['Bearer t1', 'Bearer t2', 'Bearer t1', 'Bearer t3'])
  })

  test.each<[string, { status?: number; body: string }, RegExp]>([
    [
      'a refusal',
      { status: 401, body: '{"error":"invalid_client","error_description":"a b%"}' },
      /401 invalid_client$/,
    ],
    ['a code that is none', { status: 400, body: '{"error":"your secret is a b%"}' }, /400 without a reason$/],
    ['no JSON', { body: 'a b%' }, /no bearer token$/],
    ['another kind of token', { body: '{"access_token":"x","token_type":"N_A"}' }, /no bearer token$/],
    ['a token with a line break', { body: '{"access_token":"x\\r\\ny","token_type":"bearer"}' }, /no token/],
    ['far too much', { body: `"${'x'.repeat(70_000)}"` }, /larger than 65536/],
    ['a redirect', { status: 302, body: '' }, /fetch failed/],
  ])('%s is an error that shows nothing, and the next call asks again', async (_, said, message) => {
    answer = () => said
    const { headers } = oauth2(settings())
    const error = await headers(proving()).catch((thrown: Error) => thrown)
    expect((error as Error).message).toMatch(message)
    expect(String(error)).not.toContain('a b%')
    answer = () => ({ body: token() })
    expect(await headers(proving())).toHaveLength(1)
  })
})

describe('exec', () => {
  const program = async (name: string, script: string): Promise<string> => {
    const path = join(dir, name)
    await writeFile(path, `#!${process.execPath}\n${script}\n`)
    await chmod(path, 0o755)
    return path
  }
  const run = (command: string, more = {}) =>
    exec({ kind: 'exec', command, args: [], env: {}, ...more }).headers(proving())

  test('runs without a shell, with next to no environment, and keeps the token', async () => {
    const counted = join(dir, 'count')
    const command = await program(
      'counts',
      `require('fs').appendFileSync(${JSON.stringify(counted)}, 'x')
       console.log(JSON.stringify({ token: [process.argv.slice(2), Object.keys(process.env)].flat().join('|'), expiresAt: '2100-01-01T00:00:00Z' }))`,
    )
    process.env.HOLDPOINT_KEYS_TEST = 'secret'
    const { headers } = exec({ kind: 'exec', command, args: ['$HOME;id'], env: { PROFILE: 'prod' } })
    const [first] = await Promise.all([headers(proving()), headers(proving())])
    expect(first?.[0]?.[1]).toBe('Bearer $HOME;id|PATH|HOME|PROFILE')
    await headers(proving())
    expect(await readFile(counted, 'utf8')).toBe('x')
    delete process.env.HOLDPOINT_KEYS_TEST
  })

  test('takes what the plugins of kubectl print', async () => {
    const command = await program(
      'plugin',
      `console.log('{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"k8s","expirationTimestamp":null}}')`,
    )
    expect(await run(command)).toEqual([['Authorization', 'Bearer k8s']])
  })

  test.each<[string, string, RegExp]>([
    ['fails', `console.log('{"token":"s3cret"}'); console.error('s3cret'); process.exit(3)`, /ended with 3$/],
    [
      'prints too much',
      `console.log('"' + 's3cret'.repeat(20000) + '"')`,
      /ended with ERR_CHILD_PROCESS_STDIO_MAXBUFFER|was stopped/,
    ],
    ['prints no JSON', `console.log('s3cret')`, /printed no JSON$/],
    ['prints null', `console.log('null')`, /no token/],
    ['prints a token that cannot be sent', `console.log(JSON.stringify({ token: 's3cret\\n' }))`, /no token/],
    ['prints an old token', `console.log('{"token":"s3cret","expiresAt":"2020-01-01T00:00:00Z"}')`, /has run out$/],
    ['prints a time that is none', `console.log('{"token":"s3cret","expiresAt":"soon"}')`, /is no time$/],
  ])('a program that %s is an error that shows nothing', async (name, script, message) => {
    const error = await run(await program(name.replaceAll(' ', '-'), script)).catch((thrown: Error) => thrown)
    expect((error as Error).message).toMatch(message)
    expect(`${(error as Error).stack} ${(error as Error).cause}`).not.toContain('s3cret')
  })

  test.each(['/nowhere/program', 'no-such-program-anywhere', '/'])('%s is no program', async command => {
    await expect(run(command)).rejects.toThrow(/no program/)
  })
})

test('a secret that changes in its file is used from then on', async () => {
  const file = join(dir, 'token')
  await writeFile(file, 'first-token-of-the-file\n')
  const seen: (string | undefined)[] = []
  const upstream = await startUpstream(({ headers }) => {
    seen.push(headers.authorization as string)
    return { status: 200, headers: {}, body: '' }
  })
  const credential = { bearer: `\${file:${file}}` }
  const stage = await startStage({
    config: {
      upstreams: [{ name: 'billing', kind: 'http', url: upstream.url, at: { prefix: '/billing' }, credential }],
    },
  })
  const call = () => stage.call('GET', '/billing/v1/x')
  await call()
  expect(seen.at(-1)).toBe('Bearer first-token-of-the-file')
  await writeFile(file, 'second-token-of-the-file\n')
  await expect
    .poll(async () => {
      await call()
      return seen.at(-1)
    })
    .toBe('Bearer second-token-of-the-file')
  await stage.close()
  await upstream.close()
})
