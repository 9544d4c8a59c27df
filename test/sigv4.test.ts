// Our signer against two others (aws4, @smithy/signature-v4) and against cases of AWS's own suite for Signature Version 4;
// and where the keys come from.
import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SignatureV4 } from '@smithy/signature-v4'
import aws4 from 'aws4'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Server, startServer, text } from '../src/commands/demo/server.ts'
import type { Proving } from '../src/credentials/credential.ts'
import { amzDate, authorization, sha256 } from '../src/credentials/sigv4/sign.ts'
import { sigv4 } from '../src/credentials/sigv4.ts'
import type { Header } from '../src/nouns.ts'
import type { Sigv4Settings } from '../src/settings.ts'

type Case = {
  readonly name: string
  readonly method?: string
  readonly target?: string
  readonly headers?: readonly Header[]
  readonly body?: string
  readonly signature: string
}
const suite = JSON.parse(readFileSync(new URL('tables/sigv4.json', import.meta.url), 'utf8')) as readonly Case[]

const keys = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const at = new Date('2015-08-30T12:36:00Z')

it.each(suite)('$name', ({ method = 'GET', target = '/', headers = [], body = '', signature }) => {
  const head: readonly Header[] = [['Host', 'example.amazonaws.com'], ['X-Amz-Date', amzDate(at)], ...headers]
  const line = authorization(
    { method, target, headers: head, payload: sha256(body), service: 'service', region: 'us-east-1', at },
    keys,
  )
  expect(line.slice(-64)).toBe(signature)
})

// ---- oracles

/** What @smithy/signature-v4 wants of a hash. */
class Sha256 {
  readonly #hash
  constructor(secret?: string | Uint8Array) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret)
  }
  update(data: string | Uint8Array): void {
    this.#hash.update(data)
  }
  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }
  reset(): void {}
}

const names = fc.stringMatching(/^[A-Za-z0-9 ._~:/@,;=+$&'()*!-]{0,12}$/)
const requests = fc.record({
  service: fc.constantFrom('s3', 'lambda', 'iam'),
  method: fc.constantFrom('GET', 'PUT', 'POST', 'DELETE'),
  path: fc.array(
    names.map(name => encodeURIComponent(name)),
    { minLength: 1, maxLength: 4 },
  ),
  query: fc.uniqueArray(fc.tuple(fc.stringMatching(/^[A-Za-z-]{1,8}$/), names), {
    selector: ([name]) => name,
    maxLength: 4,
  }),
  body: fc.string(),
  type: fc.constantFrom('application/json', 'text/plain;  charset=utf-8'),
})

const pathOf = (segments: readonly string[]): string =>
  // A segment of dots has no place in a target that passed the gate.
  `/${segments.map(one => (one === '' || /^\.+$/.test(one) ? 'x' : one)).join('/')}`

it('signs as aws4 does', () => {
  fc.assert(
    fc.property(requests, ({ service, method, path, query, body, type }) => {
      const target = `${pathOf(path)}?${query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`
      const payload = sha256(body)
      const headers: Header[] = [
        ['Host', 'example.amazonaws.com'],
        ['Content-Type', type],
        ['X-Amz-Date', amzDate(at)],
        ['X-Amz-Content-Sha256', payload],
      ]
      const ours = authorization({ method, target, headers, payload, service, region: 'eu-central-1', at }, keys)
      const theirs = aws4.sign(
        {
          service,
          region: 'eu-central-1',
          method,
          path: target,
          host: 'example.amazonaws.com',
          body,
          headers: Object.fromEntries(headers),
          extraHeadersToIgnore: { 'content-length': true },
        },
        keys,
      )
      expect(ours).toBe(theirs.headers.Authorization)
    }),
  )
})

it('signs as @smithy/signature-v4 does', async () => {
  const plain = requests.filter(({ path, query }) => !/[!'()*]|%2F/.test(JSON.stringify([path, query])))
  await fc.assert(
    fc.asyncProperty(plain, async ({ service, method, path, query, body }) => {
      const target = pathOf(path)
      const signer = new SignatureV4({
        credentials: keys,
        region: 'eu-central-1',
        service,
        sha256: Sha256 as never,
        uriEscapePath: service !== 's3',
      })
      const head = { host: 'example.amazonaws.com', 'content-type': 'text/plain' }
      const signed = await signer.sign(
        {
          method,
          protocol: 'https:',
          hostname: head.host,
          path: target,
          query: Object.fromEntries(query),
          headers: head,
          body,
        },
        { signingDate: at },
      )
      const headers: Header[] = [
        ...Object.entries(head),
        ['X-Amz-Date', amzDate(at)],
        ['X-Amz-Content-Sha256', sha256(body)],
      ]
      const whole = `${target}?${query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`
      const ours = authorization(
        { method, target: whole, headers, payload: sha256(body), service, region: 'eu-central-1', at },
        keys,
      )
      expect(ours).toBe(signed.headers.authorization)
    }),
    { numRuns: 50 },
  )
})

it('encodes the path of an object once, and that of everything else twice', () => {
  const sign = (service: string, target: string): string =>
    authorization({ method: 'GET', target, headers: [], payload: '', service, region: 'r', at }, keys)
  expect(sign('s3', '/b/a(1)')).toBe(sign('s3', '/b/a%281%29'))
  expect(sign('lambda', '/b/a(1)')).not.toBe(sign('lambda', '/b/a%281%29'))
  expect(sign('s3', '/b//a')).not.toBe(sign('s3', '/b/a'))
  expect(sign('lambda', '/b//a')).toBe(sign('lambda', '/b/a'))
})

// ---- the credential

const settings = (more: Partial<Sigv4Settings>): Sigv4Settings => ({
  kind: 'sigv4',
  from: 'static',
  accessKeyId: '',
  secretAccessKey: '',
  sessionToken: undefined,
  file: undefined,
  profile: 'default',
  tokenFile: undefined,
  role: undefined,
  sessionName: 'holdpoint',
  region: 'eu-central-1',
  sts: undefined,
  ...more,
})

const proving: Proving = {
  caller: { issuer: 'idp', subject: 'a', kind: 'agent', groups: [], actors: [], claims: {}, expiresAt: 0 },
  method: 'GET',
  origin: 'https://s3.eu-central-1.amazonaws.com',
  target: '/b1/k',
  scope: { service: 's3', region: 'eu-central-1' },
  headers: [['x-amz-content-sha256', 'made up']],
  body: new Uint8Array(),
}

const headOf = async (
  more: Partial<Sigv4Settings>,
  sending: Partial<Proving> = {},
): Promise<{ [name: string]: string }> =>
  Object.fromEntries(await sigv4(settings(more)).headers({ ...proving, ...sending }))

const keyIn = async (more: Partial<Sigv4Settings>): Promise<string | undefined> =>
  /Credential=([^/]+)/.exec((await headOf(more)).Authorization ?? '')?.[1]

const fixed = { accessKeyId: 'AKID', secretAccessKey: 'secret' }

describe('the credential', () => {
  it('hashes the body that is here, whatever was said of it', async () => {
    const head = await headOf(fixed, { body: Buffer.from('hello') })
    expect(head['X-Amz-Content-Sha256']).toBe(sha256('hello'))
    expect(head).not.toHaveProperty('X-Amz-Security-Token')
  })

  it('takes the word of the caller for a body that passes by, if AWS checks it', async () => {
    const hash = sha256('hello')
    for (const said of [hash, 'UNSIGNED-PAYLOAD', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'])
      expect(
        (await headOf(fixed, { body: undefined, headers: [['x-amz-content-sha256', said]] }))['X-Amz-Content-Sha256'],
      ).toBe(said)
    for (const said of ['', 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD', 'x'])
      await expect(headOf(fixed, { body: undefined, headers: [['x-amz-content-sha256', said]] })).rejects.toThrow(
        'the body is not here',
      )
  })

  it('puts the bucket of a virtual host before the host', async () => {
    const head = await headOf({ ...fixed, sessionToken: 'st' }, { scope: { service: 's3', region: 'r', bucket: 'b1' } })
    expect(head.Host).toBe('b1.s3.eu-central-1.amazonaws.com')
    expect(head.Authorization).toContain('SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token')
  })

  it('signs nothing without a scope', async () => {
    await expect(headOf(fixed, { scope: undefined })).rejects.toThrow('no service and region')
  })
})

describe('where the keys come from', () => {
  let dir: string
  let server: Server
  const asked: { readonly url: string; readonly authorization: string; readonly body: string }[] = []
  let answer: { readonly status: number; readonly body: string }

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'holdpoint-keys-'))
    server = await startServer(0, async (request, response) => {
      asked.push({
        url: request.url ?? '',
        authorization: request.headers.authorization ?? '',
        body: await text(request),
      })
      response.writeHead(answer.status).end(answer.body)
    })
  })
  afterAll(async () => {
    await server.close()
    await rm(dir, { recursive: true })
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    asked.length = 0
  })

  const file = async (name: string, content: string): Promise<string> => {
    const path = join(dir, name)
    await writeFile(path, content)
    return path
  }
  const role = 'arn:aws:iam::123456789012:role/holdpoint'
  const stsAnswer = (key: string, expiration: string): string =>
    `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>${key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>${expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`
  const later = new Date(Date.now() + 3600_000).toISOString()
  const soon = new Date(Date.now() + 60_000).toISOString()

  it('the environment', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDENV')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 's')
    expect(await keyIn({ from: 'env' })).toBe('AKIDENV')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', '')
    await expect(keyIn({ from: 'env' })).rejects.toThrow('the environment has no')
  })

  it('a file, as it is now', async () => {
    const path = await file(
      'credentials',
      '[default]\naws_access_key_id = A1\naws_secret_access_key=s\n[prod]\naws_access_key_id=A2\naws_secret_access_key=s',
    )
    const credential = sigv4(settings({ from: 'file', file: path }))
    const line = async () => JSON.stringify(await credential.headers(proving))
    expect(await line()).toContain('Credential=A1/')
    await file('credentials', '[default]\naws_access_key_id = A3\naws_secret_access_key=s')
    expect(await line()).toContain('Credential=A3/')
    await expect(keyIn({ from: 'file', file: path, profile: 'prod' })).rejects.toThrow('the profile "prod"')
  })

  it('a web identity, asked for once while it lasts', async () => {
    answer = { status: 200, body: stsAnswer('AKIDWEB', later) }
    const tokenFile = await file('token', 'a.jwt.here\n')
    const credential = sigv4(settings({ from: 'webIdentity', tokenFile, role, sts: server.url }))
    expect(JSON.stringify(await Promise.all([credential.headers(proving), credential.headers(proving)]))).toContain(
      'Credential=AKIDWEB/',
    )
    await credential.headers(proving)
    expect(asked).toHaveLength(1)
    expect(asked[0]?.authorization).toBe('')
    expect(Object.fromEntries(new URLSearchParams(asked[0]?.body))).toEqual({
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: role,
      RoleSessionName: 'holdpoint',
      WebIdentityToken: 'a.jwt.here',
    })
  })

  it('keys that are about to run out are fetched anew, and serve while they last if that fails', async () => {
    answer = { status: 200, body: stsAnswer('AKIDOLD', soon) }
    const credential = sigv4(
      settings({ from: 'webIdentity', tokenFile: await file('token', 't'), role, sts: server.url }),
    )
    await credential.headers(proving)
    answer = { status: 500, body: '<Error><Code>InternalFailure</Code></Error>' }
    expect(JSON.stringify(await credential.headers(proving))).toContain('AKIDOLD')
    answer = { status: 200, body: stsAnswer('AKIDNEW', later) }
    expect(JSON.stringify(await credential.headers(proving))).toContain('AKIDNEW')
  })

  it('a role, with the keys there are', async () => {
    answer = { status: 200, body: stsAnswer('AKIDROLE', later) }
    expect(await keyIn({ ...fixed, role, sts: `${server.url}/` })).toBe('AKIDROLE')
    expect(asked[0]?.authorization).toMatch(
      /Credential=AKID\/\d{8}\/eu-central-1\/sts\/aws4_request, SignedHeaders=content-type;host;x-amz-date/,
    )
    answer = { status: 403, body: '<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>' }
    await expect(keyIn({ ...fixed, role, sts: server.url })).rejects.toThrow('the role was refused (403 AccessDenied)')
    answer = { status: 200, body: '<html>' }
    await expect(keyIn({ ...fixed, role, sts: server.url })).rejects.toThrow('no complete credentials')
  })

  it('a container', async () => {
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `${server.url}/creds`)
    vi.stubEnv('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE', await file('pod', 'pod-token\n'))
    answer = {
      status: 200,
      body: JSON.stringify({ AccessKeyId: 'AKIDPOD', SecretAccessKey: 's', Token: 't', Expiration: later }),
    }
    expect(await keyIn({ from: 'container' })).toBe('AKIDPOD')
    expect(asked[0]).toMatchObject({ url: '/creds', authorization: 'pod-token' })
    answer = { status: 200, body: '{"AccessKeyId":"AKIDPOD","SecretAccessKey":"s3cr3t" oops' }
    const broken = await keyIn({ from: 'container' }).catch((error: Error) => error)
    expect(String(broken)).toContain('no access key id')
    expect(String(broken)).not.toContain('s3cr3t')
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', 'http://elsewhere.example/creds')
    await expect(keyIn({ from: 'container' })).rejects.toThrow('must be https')
  })

  it('whatever the SDK finds', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIDCHAIN')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 's')
    expect(await keyIn({ from: 'chain' })).toBe('AKIDCHAIN')
  })
})
