// Agents with the AWS SDKs and CLI: placeholder keys, their token as the session token, and nothing else is changed. What AWS receives is
// signed with the real keys, once, after somebody approved it.
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { DeleteTableCommand, DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb'
import { DescribeInstancesCommand, EC2Client, TerminateInstancesCommand } from '@aws-sdk/client-ec2'
import { AttachRolePolicyCommand, DeleteUserCommand, IAMClient, ListUsersCommand } from '@aws-sdk/client-iam'
import { DeleteFunctionCommand, LambdaClient, ListFunctionsCommand } from '@aws-sdk/client-lambda'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListBucketsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { Upload } from '@aws-sdk/lib-storage'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { text } from '../../src/commands/demo/server.ts'
import { type Peer, realKeys, startAws } from '../support/aws.ts'
import { find, provide } from '../support/debian.ts'
import { people, signIn } from '../support/people.ts'
import { type Desk, deskAt, type Stage, startStage, waiting } from '../support/stage.ts'

const rules = `
rules:
  - { name: reads, match: { upstream: aws, access: read }, then: allow }
  - { name: keyless, match: { upstream: keyless }, then: allow }
  - { name: code, match: { upstream: aws, action: lambda:UpdateFunctionCode }, then: allow }
  - { name: own-bucket, match: { upstream: buckets, resource: 'arn:aws:s3:::own/*' }, then: allow }
  - { name: uploads, match: { upstream: aws, action: ['s3:PutObject', 's3:*Upload*'], resource: 'arn:aws:s3:::open/*' }, then: allow }
  - { name: no-users, match: { upstream: aws, action: iam:DeleteUser }, then: deny }
  - name: the-rest
    match: { upstream: [aws, buckets] }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 1s }
`

const bin = fileURLToPath(new URL('../../bin/holdpoint.js', import.meta.url))

let peer: Peer
let stage: Stage
let ana: Desk
let anaToken: string

beforeAll(async () => {
  peer = await startAws()
  const { accessKeyId, secretAccessKey, sessionToken } = realKeys
  stage = await startStage({
    rules,
    config: {
      upstreams: [
        {
          name: 'aws',
          kind: 'aws',
          url: peer.url,
          services: ['iam', 's3', 'dynamodb', 'sts', 'lambda', 'ec2', 'secretsmanager'],
          regions: ['us-east-1', 'eu-central-1'],
          at: { prefix: '/aws' },
          limits: { inspect: '64KiB', held: '1MiB' },
          credential: { sigv4: { from: 'static', accessKeyId, secretAccessKey, sessionToken } },
        },
        {
          name: 'buckets',
          kind: 'aws',
          url: peer.url,
          services: ['s3'],
          regions: ['eu-central-1'],
          at: { host: '*.s3.gate.test' },
          credential: { sigv4: { from: 'static', accessKeyId, secretAccessKey, sessionToken } },
        },
        {
          name: 'keyless',
          kind: 'aws',
          url: peer.url,
          services: ['iam'],
          regions: ['us-east-1'],
          at: { prefix: '/keyless' },
          credential: { sigv4: { from: 'file', file: './no-such-file' } },
        },
      ],
    },
  })
  anaToken = await signIn(stage.idp.issuer, people.ana)
  ana = deskAt(stage.holdpoint.console, anaToken)
})
afterAll(async () => {
  await stage.close()
  await peer.close()
})

const settings = (region = 'eu-central-1') => ({
  region,
  endpoint: `${stage.holdpoint.gate}/aws`,
  credentials: { accessKeyId: 'HOLDPOINT', secretAccessKey: 'placeholder', sessionToken: stage.token },
})
const s3Client = (): S3Client => new S3Client({ ...settings(), forcePathStyle: true })
const once = { maxAttempts: 1 }

/** What AWS has been asked since the last time, every request signed as it should be. */
let looked = 0
const asked = (): readonly string[] => {
  const since = peer.asked.slice(looked)
  looked = peer.asked.length
  expect(since.flatMap(({ wrong }) => wrong ?? [])).toEqual([])
  for (const { headers } of since) expect(JSON.stringify(headers)).not.toContain(stage.token.slice(0, 40))
  return since.map(({ service, region, method, target }) => `${region}/${service} ${method} ${target}`)
}

/** Its caller takes back whatever still waits. */
const withdrawAll = async (): Promise<void> => {
  for (const { id } of await ana.pending())
    expect((await stage.call('DELETE', `/.holdpoint/holds/${id}`)).status).toBe(200)
}

/** Approves what waits next and returns its one line. */
const approveNext = async (): Promise<string> => {
  const hold = await waiting(ana)
  const { line } = await ana.hold(hold.id)
  expect((await ana.approve(hold.id)).status).toBe(200)
  return line
}

test('reads of every protocol pass, signed with the real keys', async () => {
  expect((await new IAMClient(settings('us-east-1')).send(new ListUsersCommand({}))).Users?.[0]?.UserName).toBe('ana')
  expect((await new STSClient(settings()).send(new GetCallerIdentityCommand({}))).Arn).toContain('user/real')
  expect((await new DynamoDBClient(settings()).send(new ListTablesCommand({}))).TableNames).toEqual(['orders'])
  expect((await new LambdaClient(settings()).send(new ListFunctionsCommand({}))).Functions?.[0]?.FunctionName).toBe('f')
  expect((await s3Client().send(new ListBucketsCommand({}))).Buckets?.[0]?.Name).toBe('b1')
  await new EC2Client(settings()).send(new DescribeInstancesCommand({}))
  expect(asked()).toEqual([
    'us-east-1/iam POST /',
    'eu-central-1/sts POST /',
    'eu-central-1/dynamodb POST /',
    'eu-central-1/lambda GET /2015-03-31/functions',
    'eu-central-1/s3 GET /?x-id=ListBuckets',
    'eu-central-1/ec2 POST /',
  ])
})

test("a held call is approved while the SDK's own retries wait for it, and is sent once", async () => {
  const command = new AttachRolePolicyCommand({
    RoleName: 'deploy',
    PolicyArn: 'arn:aws:iam::aws:policy/AdministratorAccess',
  })
  const attached = new IAMClient({ ...settings('us-east-1'), maxAttempts: 6 }).send(command)
  const hold = await waiting(ana)
  const { line, action, request } = await ana.hold(hold.id)
  expect([line, action.access]).toEqual(['iam:AttachRolePolicy *', 'permissions'])
  expect(JSON.stringify(request.body)).toContain('AdministratorAccess')
  expect(asked()).toEqual([])
  await ana.approve(hold.id)
  expect((await attached).$metadata.httpStatusCode).toBe(200)
  expect(asked()).toEqual(['us-east-1/iam POST /'])
  expect(await ana.pending()).toEqual([])
})

test('every protocol is held, approved and sent once', async () => {
  const patient = { maxAttempts: 8 }
  const calls: readonly [string, () => Promise<unknown>][] = [
    [
      'dynamodb:DeleteTable *',
      () => new DynamoDBClient({ ...settings(), ...patient }).send(new DeleteTableCommand({ TableName: 'orders' })),
    ],
    [
      'ec2:TerminateInstances *',
      () => new EC2Client({ ...settings(), ...patient }).send(new TerminateInstancesCommand({ InstanceIds: ['i-1'] })),
    ],
    [
      'lambda:DeleteFunction *',
      () => new LambdaClient({ ...settings(), ...patient }).send(new DeleteFunctionCommand({ FunctionName: 'f' })),
    ],
    [
      's3:DeleteObject arn:aws:s3:::b1/a (b)',
      () =>
        new S3Client({ ...settings(), forcePathStyle: true, ...patient }).send(
          new DeleteObjectCommand({ Bucket: 'b1', Key: 'a (b)' }),
        ),
    ],
    [
      'sts:AssumeRole *',
      () =>
        new STSClient({ ...settings(), ...patient }).send(
          new AssumeRoleCommand({ RoleArn: 'arn:aws:iam::123456789012:role/x', RoleSessionName: 'session' }),
        ),
    ],
  ]
  for (const [line, send] of calls) {
    const sent = send()
    expect(await approveNext()).toBe(line)
    await sent
    expect(asked()).toHaveLength(1)
  }
})

test('what was denied says so in the words of the SDK', async () => {
  const iam = new IAMClient({ ...settings('us-east-1'), ...once })
  await expect(iam.send(new DeleteUserCommand({ UserName: 'ana' }))).rejects.toMatchObject({
    name: 'DeniedByRule',
    message: expect.stringContaining('no-users'),
  })
  const denied = new DynamoDBClient({ ...settings(), maxAttempts: 8 }).send(
    new DeleteTableCommand({ TableName: 'ledger' }),
  )
  denied.catch(() => undefined)
  const hold = await waiting(ana)
  await ana.deny(hold.id, 'not the ledger')
  await expect(denied).rejects.toMatchObject({ name: 'HoldDenied', message: expect.stringContaining('not the ledger') })
  const pending = (send: Promise<unknown>) =>
    expect(send).rejects.toMatchObject({ name: 'HoldPending', message: expect.stringContaining('Nothing was sent') })
  await pending(new EC2Client({ ...settings(), ...once }).send(new TerminateInstancesCommand({ InstanceIds: ['i-2'] })))
  await pending(new LambdaClient({ ...settings(), ...once }).send(new DeleteFunctionCommand({ FunctionName: 'g' })))
  await pending(
    new S3Client({ ...settings(), forcePathStyle: true, ...once }).send(
      new DeleteObjectCommand({ Bucket: 'b1', Key: 'x' }),
    ),
  )
  await withdrawAll()
  expect(asked()).toEqual([])
})

test('a region, a service or a token that is not served is refused', async () => {
  const of = (send: Promise<unknown>, name: string) => expect(send).rejects.toMatchObject({ name })
  await of(new DynamoDBClient({ ...settings('eu-west-3'), ...once }).send(new ListTablesCommand({})), 'NoRoute')
  const bad = { ...settings(), ...once, credentials: { accessKeyId: 'a', secretAccessKey: 'b' } }
  await of(new DynamoDBClient(bad).send(new ListTablesCommand({})), 'Unauthenticated')
  const twice = await stage.call('POST', '/aws/', { headers: { 'x-amz-security-token': stage.token } })
  expect([twice.status, twice.json?.code]).toEqual([400, 'ambiguous_credentials'])
  const unsigned = await stage.call('POST', '/aws/')
  expect([unsigned.status, String(unsigned.json?.message)]).toEqual([400, expect.stringContaining('AWS4-HMAC-SHA256')])
  const presigned = await stage.call('GET', '/aws/b1/k?X-Amz-Signature=0&X-Amz-Credential=a')
  expect([presigned.status, String(presigned.json?.detail)]).toEqual([400, expect.stringContaining('presigned')])
  expect(asked()).toEqual([])
})

test('a stream passes as it is framed, a held one without its framing', async () => {
  const put = (bucket: string, text: string) =>
    new S3Client({ ...settings(), forcePathStyle: true, maxAttempts: 1 }).send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: 'note.json',
        Body: Readable.from([Buffer.from(text)]),
        ContentLength: text.length,
        ContentType: 'application/json',
      }),
    )
  await put('open', '{"a":1}')
  expect(asked()).toHaveLength(1)
  expect(peer.asked.at(-1)?.headers['x-amz-content-sha256']).toBe('STREAMING-UNSIGNED-PAYLOAD-TRAILER')
  expect(peer.objects.get('open/note.json')?.toString()).toBe('{"a":1}')

  const pending = await put('closed', '{"b":2}').catch(error => error)
  expect(pending.name).toBe('HoldPending')
  const hold = await waiting(ana)
  const view = await ana.hold(hold.id)
  expect(view.line).toBe('s3:PutObject arn:aws:s3:::closed/note.json')
  expect(view.request.body).toMatchObject({ kind: 'shown', text: expect.stringContaining('"b"') })
  await ana.approve(hold.id)
  await put('closed', '{"b":2}')
  expect(asked()).toHaveLength(1)
  expect(peer.asked.at(-1)?.headers).toMatchObject({
    'content-length': '7',
    'x-amz-checksum-crc32': expect.any(String),
  })
  expect(peer.objects.get('closed/note.json')?.toString()).toBe('{"b":2}')
  expect(
    await (
      await s3Client().send(new GetObjectCommand({ Bucket: 'closed', Key: 'note.json' }))
    ).Body?.transformToString(),
  ).toBe('{"b":2}')
  asked()
})

test('an upload in parts arrives whole', async () => {
  const body = Buffer.alloc(6 * 1024 * 1024, 'x')
  await new Upload({ client: s3Client(), params: { Bucket: 'open', Key: 'large', Body: body } }).done()
  expect(asked()).toHaveLength(4)
  expect(peer.objects.get('open/large')?.equals(body)).toBe(true)
})

/** A call that no SDK here makes, signed with nothing. */
const raw = (
  method: string,
  target: string,
  scope: string,
  options: { headers?: object; body?: string; host?: string } = {},
) =>
  new Promise<{ status: number; body: string }>((resolve, reject) => {
    const sent = request(`${stage.holdpoint.gate}${target}`, {
      method,
      headers: {
        ...(options.host === undefined ? {} : { host: options.host }),
        authorization: `AWS4-HMAC-SHA256 Credential=any/20260131/${scope}/aws4_request, SignedHeaders=host, Signature=00`,
        'x-amz-security-token': stage.token,
        ...(options.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(options.body)) }),
        ...options.headers,
      },
    })
    sent.on('error', reject).on('response', async answer => {
      resolve({ status: answer.statusCode ?? 0, body: await text(answer) })
    })
    sent.end(options.body)
  })

test('a secret is hidden from whoever approves it, and arrives', async () => {
  const body = JSON.stringify({
    SecretId: 'db',
    SecretString: 'hunter2-and-more',
    SecretBinary: 'aHVudGVyMy1hbmQtbW9yZQ==',
  })
  const put = () =>
    raw('POST', '/aws/', 'eu-central-1/secretsmanager', {
      body,
      headers: {
        'x-amz-target': 'secretsmanager.PutSecretValue',
        'content-type': 'application/x-amz-json-1.1',
        prefer: 'wait=0',
      },
    })
  expect((await put()).status).toBe(503)
  const hold = await waiting(ana)
  const shown = JSON.stringify([await ana.hold(hold.id), await ana.pending()])
  expect(shown).toContain('secretsmanager:PutSecretValue')
  expect(shown).not.toMatch(/hunter2|aHVudGVyMy/)
  const { view, hidden } = await ana.hold(hold.id)
  const approved = await fetch(`${stage.holdpoint.console}/api/holds/${hold.id}/approve`, {
    method: 'POST',
    headers: { authorization: `Bearer ${anaToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ view, unseen: hidden.not_looked_at }),
  })
  expect(approved.status).toBe(200)
  expect((await put()).status).toBe(200)
  expect(peer.asked.at(-1)?.body.toString()).toBe(body)
  expect(asked()).toHaveLength(1)
})

test('a body that no hash stands for is read whole before it is signed, or refused', async () => {
  const update = (size: number) =>
    raw('PUT', '/aws/2015-03-31/functions/f/code', 'eu-central-1/lambda', {
      body: JSON.stringify({ ZipFile: 'A'.repeat(size) }),
      headers: { 'content-type': 'application/json' },
    })
  expect((await update(200 * 1024)).status).toBe(200)
  const large = await update(1100 * 1024)
  expect([large.status, large.body]).toEqual([413, expect.stringContaining('limits.held')])
  expect(asked()).toEqual(['eu-central-1/lambda PUT /2015-03-31/functions/f/code'])
})

test('what is signed chunk by chunk goes on without its framing', async () => {
  const signature = `;chunk-signature=${'0'.repeat(64)}`
  const chunked = (text: string) =>
    raw('PUT', '/aws/open/chunks', 'eu-central-1/s3', {
      body: `5${signature}\r\n${text}\r\n0${signature}\r\n\r\n`,
      headers: {
        'content-encoding': 'aws-chunked',
        'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
        'x-amz-decoded-content-length': '5',
      },
    })
  expect((await chunked('hello')).status).toBe(200)
  expect(peer.objects.get('open/chunks')?.toString()).toBe('hello')
  expect((await chunked('hello, longer')).status).toBe(400)
  expect(asked()).toHaveLength(1)
})

test('the bucket in the host is what rules see, what a hold is for and what AWS is asked for', async () => {
  const get = (bucket: string) =>
    raw('GET', '/a', 'eu-central-1/s3', { host: `${bucket}.s3.gate.test`, headers: { prefer: 'wait=0' } })
  expect((await get('own')).status).toBe(200)
  expect(peer.asked.at(-1)?.headers.host).toMatch(/^own\.127\.0\.0\.1:/)
  // The same path of two buckets is two calls.
  for (const bucket of ['other', 'third']) expect((await get(bucket)).status).toBe(503)
  const lines = (await ana.pending()).map(({ line }) => line).sort()
  expect(lines).toEqual(['s3:GetObject arn:aws:s3:::other/a', 's3:GetObject arn:aws:s3:::third/a'])
  await withdrawAll()
  expect(asked()).toHaveLength(1)
})

test('without keys nothing is sent, and the reason is told to nobody outside', async () => {
  const client = new IAMClient({ ...settings('us-east-1'), endpoint: `${stage.holdpoint.gate}/keyless`, ...once })
  const error = await client.send(new ListUsersCommand({})).catch(thrown => thrown)
  expect([error.name, error.message]).toEqual(['UpstreamUnreachable', expect.stringContaining('credential of keyless')])
  expect(error.message).not.toContain('no-such-file')
  expect(asked()).toEqual([])
})

test('the same call for another region is another hold', async () => {
  const ids = new Set<unknown>()
  for (const region of ['us-east-1', 'eu-central-1']) {
    const client = new DynamoDBClient({ ...settings(region), ...once })
    const error = await client.send(new DeleteTableCommand({ TableName: 'both' })).catch(thrown => thrown)
    ids.add(error.$response?.headers['holdpoint-hold'])
  }
  expect(ids.size).toBe(2)
  await withdrawAll()
})

test('the AWS CLI takes its token by a credential process, prints why it waits, and comes again by itself', async () => {
  provide([{ name: 'aws', package: 'awscli', why: 'a client of another make' }])
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-aws-'))
  const token = join(dir, 'token')
  await writeFile(token, `${stage.token}\n`)
  await writeFile(
    join(dir, 'config'),
    `[default]\ncredential_process = ${process.execPath} ${bin} aws-credentials --token-file ${token}\n`,
  )
  const { PATH, HOME, PYENV_ROOT } = process.env
  const env = { PATH, HOME, ...(PYENV_ROOT === undefined ? {} : { PYENV_ROOT }), AWS_CONFIG_FILE: join(dir, 'config') }
  const run = (tries: number, ...args: string[]) =>
    promisify(execFile)(
      find('aws') ?? 'aws',
      [...args, '--endpoint-url', `${stage.holdpoint.gate}/aws`, '--region', 'us-east-1', '--output', 'json'],
      { env: { ...env, AWS_MAX_ATTEMPTS: String(tries), AWS_EC2_METADATA_DISABLED: 'true' } },
    )
  expect(JSON.parse((await run(1, 'iam', 'list-users')).stdout).Users[0].UserName).toBe('ana')
  await expect(run(1, 'dynamodb', 'delete-table', '--table-name', 'cli')).rejects.toMatchObject({
    stderr: expect.stringMatching(/\(HoldPending\).*Nothing was sent/),
  })
  await withdrawAll()
  asked()
  const deleted = run(9, 'iam', 'delete-role', '--role-name', 'x')
  expect(await approveNext()).toBe('iam:DeleteRole *')
  await deleted
  expect(asked()).toEqual(['us-east-1/iam POST /'])
  await rm(dir, { recursive: true })
})
