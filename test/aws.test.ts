// AWS: what a call would do, by the table; who may sign for what; S3's framing; what is secret; how a refusal looks.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HoldpointError, problem } from '../src/errors.ts'
import type { Action, Call, Header } from '../src/nouns.ts'
import type { Upstream } from '../src/settings.ts'
import { unchunked } from '../src/upstreams/aws/chunked.ts'
import { endpointOf } from '../src/upstreams/aws/endpoints.ts'
import { accessOf } from '../src/upstreams/aws/names.ts'
import { aws } from '../src/upstreams/aws.ts'
import type { Seen } from '../src/upstreams/upstream.ts'
import { type SeenRow, seenOf } from './support/seen.ts'

type Row = SeenRow & { readonly name: string; readonly scope: string } & (
    | { readonly error: string }
    | { readonly actions: readonly (readonly [string, string, string])[] }
  )
const rows = JSON.parse(readFileSync(new URL('tables/aws.json', import.meta.url), 'utf8')) as readonly Row[]

const signed = (scope: string): string =>
  `AWS4-HMAC-SHA256 Credential=any/20260131/${scope}/aws4_request, SignedHeaders=host, Signature=00`

/** Everything that the rows name is configured. */
const upstream = {
  name: 'aws',
  kind: 'aws',
  at: { prefix: '/aws' },
  aws: {
    services: [...new Set(rows.map(({ scope }) => scope.split('/')[1] ?? ''))],
    regions: [...new Set(rows.map(({ scope }) => scope.split('/')[0] ?? ''))],
    url: 'public',
  },
} as unknown as Upstream

const seen = ({ scope, ...row }: SeenRow & { readonly scope: string }, more: Partial<Upstream> = {}): Seen => {
  const found = seenOf({ ...row, headers: { Authorization: signed(scope), ...row.headers } })
  const to = { ...upstream, ...more }
  const call = aws.admit?.(found.call, to) ?? found.call
  return { ...found, call, upstream: to }
}

const described = (of: Seen): readonly Action[] => {
  const actions = aws.describe(of)
  if (actions === 'unread') throw new Error('the body is there')
  return actions
}

it.each(rows)('$name', row => {
  if ('error' in row) {
    const refused = expect.objectContaining({ code: 'malformed', message: expect.stringContaining(row.error) })
    return expect(() => described(seen(row))).toThrow(refused)
  }
  const actions = described(seen(row))
  expect(actions.map(({ name, resource, access }) => [name, resource, access])).toEqual(row.actions)
  for (const { name, resource, unknown } of actions) {
    const whole = name === 'aws:unknown' ? ['*'] : undefined
    const vague = resource === '*' || resource.endsWith('/*') ? ['resource'] : undefined
    expect(unknown).toEqual(name === 's3:ListBuckets' ? undefined : (whole ?? vague))
  }
})

it('says service, operation and region', () => {
  const [action] = described(seen({ scope: 'eu-central-1/monitoring', form: 'Action=DeleteAlarms' }))
  expect(action?.fields).toEqual({ service: 'cloudwatch', operation: 'DeleteAlarms', region: 'eu-central-1' })
})

it('every operation that has a path is known', () => {
  const routes = JSON.parse(readFileSync(new URL('../src/upstreams/aws/routes.json', import.meta.url), 'utf8')) as {
    readonly [service: string]: readonly string[]
  }
  const listed = Object.entries(routes).flatMap(([service, lines]) =>
    lines.map(line => [service, line.split(' ')[2] ?? ''] as const),
  )
  expect(listed.length).toBeGreaterThan(1500)
  expect(listed.filter(([service, operation]) => accessOf(service, operation) === undefined)).toEqual([])
})

it.each([
  ['credentials', 'eks-auth:AssumeRoleForPodIdentity deadline:AssumeQueueRoleForUser workmail:AssumeImpersonationRole'],
  ['credentials', 'codepipeline:GetJobDetails codepipeline:PollForJobs gamelift:GetComputeAccess s3:GetDataAccess'],
  ['credentials', 'cognito-idp:DescribeUserPoolClient glue:GetConnection glue:GetConnections glue:GetSessionEndpoint'],
  ['credentials', 'ssm:StartSession ecs:ExecuteCommand iot:CreateKeysAndCertificate ec2:ImportKeyPair'],
  ['credentials', 'storagegateway:DescribeChapCredentials quicksight:GetDashboardEmbedUrl snowball:GetJobUnlockCode'],
  [
    'credentials',
    'bedrock-agentcore:GetResourceApiKey pca-connector-scep:GetChallengePassword ec2:DescribeVpnConnections',
  ],
  [
    'permissions',
    'rds:ModifyDBSnapshotAttribute ec2:ModifyImageAttribute ec2:ModifySnapshotAttribute sqs:AddPermission',
  ],
  [
    'permissions',
    'kinesis:PutResourcePolicy ram:CreateResourceShare sso:CreateAccountAssignment eks:CreateAccessEntry',
  ],
  [
    'permissions',
    'organizations:LeaveOrganization cognito-identity:SetIdentityPoolRoles lambda:CreateFunctionUrlConfig',
  ],
  ['write', 'bedrock:InvokeAgent kms:Decrypt iam:PassRole ssm:SendCommand ec2:ModifyInstanceAttribute iam:CreateRole'],
  [
    'write',
    'cloudformation:CreateStack cloudtrail:StopLogging rds-data:ExecuteStatement redshift-data:ExecuteStatement',
  ],
] as const)('%s: %s', (access, operations) => {
  for (const name of operations.split(' ')) {
    const [prefix = '', operation = ''] = name.split(':')
    expect([name, accessOf(prefix, operation)]).toEqual([name, access])
  }
})

it('reads the body of everything but S3', () => {
  const iam = seen({ scope: 'us-east-1/iam', form: 'Action=ListUsers' })
  expect(aws.describe({ ...iam, body: { kind: 'unread' } })).toBe('unread')
  const s3 = seen({ scope: 'eu-central-1/s3', method: 'PUT', path: '/b1/k', body: 'x' })
  expect(aws.describe({ ...s3, body: { kind: 'unread' } })).toHaveLength(1)
})

const words = fc.stringMatching(/^[A-Za-z0-9/._~-]{0,20}$/)

it('what no table lists is unknown', () => {
  fc.assert(
    fc.property(fc.constantFrom('iam', 's3', 'lambda'), words, words, (service, path, word) => {
      const form = new URLSearchParams({ Action: `Zz${word}` }).toString()
      const body = service === 'iam' ? { form } : { json: {} }
      const of = seen({ scope: `us-east-1/${service}`, ...body, ...(service === 'iam' ? {} : { query: 'zz' }) })
      const [action] = described({ ...of, path: service === 'iam' ? '/' : `/zz/${path}` })
      expect(action).toMatchObject({ name: 'aws:unknown', access: 'unknown', unknown: ['*'] })
    }),
  )
})

describe('the scope', () => {
  const call = (authorization: string, query?: string): Call =>
    seenOf({ method: 'GET', headers: { Authorization: authorization }, ...(query === undefined ? {} : { query }) }).call

  it.each([
    ['of an SDK', signed('us-east-1/iam'), { service: 'iam', region: 'us-east-1' }],
    [
      'of a test beside a rule',
      'AWS4-HMAC-SHA256 Credential=x/20260131/eu-west-3/s3/aws4_request',
      { service: 's3', region: 'eu-west-3' },
    ],
    ['not of a token', 'Bearer x', undefined],
  ])('%s', (_, line, scope) => {
    expect(aws.admit?.(call(line), upstream).scope).toEqual(scope)
  })

  it.each([
    ['a signature for any region', 'AWS4-ECDSA-P256-SHA256 Credential=x/20260131/s3/aws4_request, Signature=0'],
    ['two credentials', `${signed('us-east-1/iam')}, Credential=x/20260131/us-east-1/s3/aws4_request`],
    ['much before a bad credential', `AWS4-HMAC-SHA256 ${'x, '.repeat(9000)}Credential=bad`],
    ['no date', 'AWS4-HMAC-SHA256 Credential=x/us-east-1/iam/aws4_request'],
    ['an odd service', 'AWS4-HMAC-SHA256 Credential=x/20260131/us-east-1/i am/aws4_request'],
  ])('%s is refused', (_, line) => {
    expect(() => aws.admit?.(call(line), upstream)).toThrow(expect.objectContaining({ code: 'malformed' }))
  })

  it.each(['X-Amz-Signature=0', 'x-amz-credential=a', 'X-Amz-Security-Token=a', 'AWSAccessKeyId=a', 'Signature=a'])(
    'a presigned address is refused: %s',
    query => {
      expect(() => aws.admit?.(call(signed('us-east-1/s3'), query), upstream)).toThrow('presigned')
    },
  )

  it('must be served', () => {
    const form = 'Action=ListUsers'
    const iam = { services: ['iam'], regions: ['us-east-1'], url: 'public' } as const
    const of = (scope: string) => seen({ scope, form }, { aws: iam })
    expect(described(of('us-east-1/iam'))[0]?.name).toBe('iam:ListUsers')
    expect(() => described(of('us-east-1/sts'))).toThrow('service sts')
    expect(() => described(of('eu-west-1/iam'))).toThrow('region eu-west-1')
    expect(() => described(seenOf({ form, upstream }))).toThrow('AWS4-HMAC-SHA256')
  })

  it('the bucket of a virtual host is part of it, and of the path', () => {
    const at = { hosts: ['s3.gate.example', '*.s3.gate.example'] }
    const found = seenOf({ method: 'DELETE', path: '/k', headers: { Authorization: signed('eu-central-1/s3') } })
    const hosted = (host: string): Seen => {
      const to = { ...upstream, at }
      return { ...found, upstream: to, call: aws.admit?.({ ...found.call, host }, to) ?? found.call }
    }
    expect(described(hosted('b1.s3.gate.example'))[0]).toMatchObject({
      name: 's3:DeleteObject',
      resource: 'arn:aws:s3:::b1/k',
    })
    expect(described(hosted('s3.gate.example'))[0]?.name).toBe('s3:DeleteBucket')
  })

  it.each([
    ['dynamodb', 'eu-central-1', 'https://dynamodb.eu-central-1.amazonaws.com'],
    ['iam', 'us-east-1', 'https://iam.amazonaws.com'],
    ['ses', 'eu-west-1', 'https://email.eu-west-1.amazonaws.com'],
    ['ecr', 'eu-west-1', 'https://api.ecr.eu-west-1.amazonaws.com'],
    ['iam', 'us-gov-west-1', 'https://iam.us-gov.amazonaws.com'],
    ['s3', 'cn-north-1', 'https://s3.cn-north-1.amazonaws.com.cn'],
    ['constructor', 'us-east-1', 'https://constructor.us-east-1.amazonaws.com'],
  ])('%s in %s is at %s', (service, region, url) => {
    expect(endpointOf({ service, region })).toBe(url)
  })

  it('leads to its service, unless the url is for all of it', () => {
    const { call } = seen({ scope: 'eu-central-1/dynamodb', form: 'a=b' })
    expect(aws.located?.(upstream, call).url).toBe('https://dynamodb.eu-central-1.amazonaws.com')
    const own = { ...upstream, url: 'http://10.0.0.1', aws: { services: [], regions: [], url: 'own' } } as Upstream
    expect(aws.located?.(own, call)).toBe(own)
  })
})

describe('the framing of a streamed body', () => {
  const head = (sentinel: string, more: readonly Header[] = []): readonly Header[] => [
    ['Content-Encoding', 'aws-chunked'],
    ['X-Amz-Content-Sha256', sentinel],
    ['X-Amz-Decoded-Content-Length', '11'],
    ...more,
  ]
  const unsigned = head('STREAMING-UNSIGNED-PAYLOAD-TRAILER', [['X-Amz-Trailer', 'x-amz-checksum-crc32']])
  const signature = `;chunk-signature=${'0'.repeat(64)}`
  const plain = (headers: readonly Header[], text: string) => {
    const found = aws.plain?.(headers, Buffer.from(text))
    return { headers: found?.headers, text: found?.bytes.toString() }
  }

  it.each([
    [
      'unsigned, with its checksum',
      unsigned,
      '6\r\nhello \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n',
      [['x-amz-checksum-crc32', 'DUoRhQ==']],
    ],
    ['signed', head('STREAMING-AWS4-HMAC-SHA256-PAYLOAD'), `b${signature}\r\nhello world\r\n0${signature}\r\n\r\n`, []],
    [
      'signed, with a signed checksum',
      head('STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER', [['X-Amz-Trailer', 'x-amz-checksum-crc32c']]),
      `b${signature}\r\nhello world\r\n0${signature}\r\nx-amz-checksum-crc32c:yZRlqg==\n\r\nx-amz-trailer-signature:${'0'.repeat(64)}\r\n\r\n`,
      [['x-amz-checksum-crc32c', 'yZRlqg==']],
    ],
    [
      'beside another coding',
      [['Content-Encoding', 'aws-chunked,gzip'], ...unsigned.slice(1)] as Header[],
      'B\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n',
      [
        ['Content-Encoding', 'gzip'],
        ['x-amz-checksum-crc32', 'DUoRhQ=='],
      ],
    ],
  ] as [string, readonly Header[], string, Header[]][])('%s', (_, headers, body, left) => {
    expect(plain(headers, body)).toEqual({ headers: left, text: 'hello world' })
  })

  it('leaves every other body alone', () => {
    const headers: Header[] = [
      ['Content-Encoding', 'gzip'],
      ['X-Amz-Content-Sha256', 'UNSIGNED-PAYLOAD'],
    ]
    expect(plain(headers, '6\r\nhello \r\n')).toEqual({ headers, text: '6\r\nhello \r\n' })
  })

  it.each([
    ['cut off', unsigned, '6\r\nhello \r\n5\r\nwor'],
    ['no end', unsigned, '6\r\nhello \r\n5\r\nworld\r\n'],
    ['longer than announced', unsigned, 'c\r\nhello world!\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n'],
    ['a chunk that ends elsewhere', unsigned, '5\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n'],
    ['no checksum', unsigned, 'b\r\nhello world\r\n0\r\n\r\n'],
    ['another checksum', unsigned, 'b\r\nhello world\r\n0\r\nx-amz-checksum-sha1:a\r\n\r\n'],
    [
      'a header of its own',
      unsigned,
      'b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\nx-amz-acl:public-read\r\n\r\n',
    ],
    [
      'something behind it',
      unsigned,
      'b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\nb\r\nhello world\r\n',
    ],
    ['far too many chunks', unsigned, '1\r\nx\r\n'.repeat(100_001)],
    ['an extension', unsigned, 'b;x=y\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n'],
    ['a negative length', unsigned, '-1\r\n\r\n0\r\n\r\n'],
    [
      'an ACL for a checksum',
      head('STREAMING-UNSIGNED-PAYLOAD-TRAILER', [['X-Amz-Trailer', 'x-amz-acl']]),
      'b\r\nhello world\r\n0\r\nx-amz-acl:public-read\r\n\r\n',
    ],
    ['no framing announced', [['Content-Encoding', 'aws-chunked']], 'b\r\nhello world\r\n0\r\n\r\n'],
    ['a framing nobody knows', head('STREAMING-AWS4-HMAC-SHA256-EVENTS'), 'b\r\nhello world\r\n0\r\n\r\n'],
    [
      'a checksum in the head as well',
      [...unsigned, ['x-amz-checksum-crc32', 'AAAAAA==']],
      'b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n',
    ],
  ] as [string, readonly Header[], string][])('refuses one with %s', (_, headers, body) => {
    expect(() => plain(headers, body)).toThrow(expect.objectContaining({ code: 'malformed' }))
  })

  it.each([
    ['UNSIGNED-PAYLOAD', undefined, false],
    ['0'.repeat(64), undefined, false],
    ['STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-checksum-crc64nvme', false],
    ['STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-acl', true],
    ['STREAMING-UNSIGNED-PAYLOAD-TRAILER', 'x-amz-checksum-crc32,x-amz-acl', true],
    ['STREAMING-UNSIGNED-PAYLOAD-TRAILER', undefined, true],
    ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD', undefined, true],
  ] as const)('passes as it comes only with a checksum behind it: %s %s', (sentinel, trailer, whole) => {
    const more = trailer === undefined ? {} : { 'X-Amz-Trailer': trailer }
    const headers = { 'X-Amz-Content-Sha256': sentinel, ...more }
    expect(aws.wantsWhole?.(seenOf({ method: 'PUT', path: '/b1/k', headers }).call)).toBe(whole)
  })

  it('gives back what went in, however it was cut', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 })), chunks => {
        const whole = Buffer.concat(chunks)
        const body = chunks.flatMap(chunk => [
          Buffer.from(`${chunk.length.toString(16)}\r\n`),
          chunk,
          Buffer.from('\r\n'),
        ])
        const headers: Header[] = [
          ['x-amz-content-sha256', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'],
          ['x-amz-decoded-content-length', String(whole.length)],
          ['x-amz-trailer', 'x-amz-checksum-crc32'],
        ]
        const framed = Buffer.concat([...body, Buffer.from('0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n')])
        return unchunked(headers, framed).bytes.equals(whole)
      }),
    )
  })
})

it('hides the keys with which S3 seals an object for its caller', () => {
  const headers = { 'x-amz-server-side-encryption-customer-key': 'a' }
  const of = seen({ scope: 'eu-central-1/s3', method: 'PUT', path: '/b1/k', headers })
  expect(aws.secrets?.(of)).toContain('header.x-amz-server-side-encryption-customer-key')
})

it.each([
  ['secretsmanager.PutSecretValue', 'secretsmanager', {}, ['json./SecretString', 'json./SecretBinary']],
  ['TrentService.Encrypt', 'kms', {}, ['json./Plaintext']],
  ['AmazonSSM.PutParameter', 'ssm', { Type: 'SecureString' }, ['json./Value']],
  ['AmazonSSM.PutParameter', 'ssm', {}, ['json./Value']],
  ['AmazonSSM.PutParameter', 'ssm', { Type: 'String' }, []],
])('%s: what is secret', (target, service, json, paths) => {
  expect(aws.secrets?.(seen({ scope: `eu-central-1/${service}`, json, headers: { 'X-Amz-Target': target } }))).toEqual(
    paths,
  )
})

describe('a refusal', () => {
  const error = new HoldpointError('hold_denied', 'Not <today> & not like this.')
  const refused = (row: SeenRow & { readonly scope: string }): readonly [string, string] => {
    const { headers, body } = aws.refusal(error, problem(error), seen(row).call)
    return [headers.find(([name]) => name === 'Content-Type')?.[1] ?? '', String(body)]
  }
  const message = 'Not &#60;today&#62; &#38; not like this.'

  it.each([
    [
      'query',
      { scope: 'us-east-1/iam', form: 'Action=DeleteUser' },
      'text/xml',
      '<ErrorResponse><Error><Type>Sender</Type><Code>HoldDenied</Code>',
    ],
    [
      'ec2',
      { scope: 'eu-central-1/ec2', form: 'Action=X' },
      'text/xml',
      '<Response><Errors><Error><Code>HoldDenied</Code>',
    ],
    [
      'S3',
      { scope: 'eu-central-1/s3', path: '/b1/k', method: 'PUT', json: {} },
      'text/xml',
      `<Error><Code>HoldDenied</Code><Message>${message}</Message>`,
    ],
    ['XML', { scope: 'us-east-1/route53', path: '/x', type: 'text/xml', body: '<a/>' }, 'text/xml', '<ErrorResponse>'],
    [
      'JSON 1.0',
      {
        scope: 'eu-central-1/dynamodb',
        type: 'application/x-amz-json-1.0',
        body: '{}',
        headers: { 'X-Amz-Target': 'A.B' },
      },
      'application/x-amz-json-1.0',
      '"__type":"HoldDenied","message":"Not <today> & not like this."',
    ],
    [
      'REST JSON',
      { scope: 'eu-central-1/lambda', method: 'DELETE', path: '/2015-03-31/functions/f' },
      'application/json',
      '"__type":"HoldDenied"',
    ],
    [
      'rpc v2',
      { scope: 'eu-central-1/monitoring', headers: { 'smithy-protocol': 'rpc-v2-cbor' } },
      'application/cbor',
      'holdpoint#HoldDenied',
    ],
  ] as [string, SeenRow & { readonly scope: string }, string, string][])('in %s', (_, row, type, part) => {
    const [contentType, body] = refused(row)
    expect(contentType).toBe(type)
    expect(body).toContain(part)
  })
})
