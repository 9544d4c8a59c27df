// What a Kubernetes request is, by tables: as the API server computes it, and as rules see it; and what a refusal looks like.
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseBody } from '../src/body.ts'
import { HoldpointError, problem } from '../src/errors.ts'
import type { Action, Body, Call } from '../src/nouns.ts'
import type { Upstream } from '../src/settings.ts'
import { parseTarget } from '../src/target.ts'
import { requestInfo } from '../src/upstreams/kubernetes/request-info.ts'
import { kubernetes } from '../src/upstreams/kubernetes.ts'
import { switched } from '../src/websocket.ts'

const table = <T>(name: string): readonly T[] =>
  JSON.parse(readFileSync(new URL(`tables/${name}.json`, import.meta.url), 'utf8'))

const upstream = { name: 'cluster', kind: 'kubernetes' } as unknown as Upstream

// ---- as the API server computes it

type InfoCase = { readonly method: string; readonly target: string; readonly is: object | null | 'refused' }

test.each(table<InfoCase>('kubernetes-request-info'))('RequestInfo of $method $target', ({ method, target, is }) => {
  const { path, query } = parseTarget(target)
  const info = requestInfo(method, path, query)
  if (is === 'refused') return expect(info).toBeUndefined()
  if (is === null) return expect(info).toMatchObject({ isResource: false, verb: method.toLowerCase(), resource: '' })
  expect(info).toMatchObject({ isResource: true, ...is })
})

// ---- as rules see it

type Case = {
  readonly why: string
  readonly call: string
  readonly upgrade?: NonNullable<Call['upgrade']>
  readonly body?: string
  readonly type?: string
  /** Of a body that is not read. */
  readonly length?: number
  readonly is: readonly Partial<Action>[] | 'unread'
}

const callOf = (text: string, headers: Call['headers'] = [], more: Partial<Call> = {}): Call => {
  const [method = '', target = ''] = text.split(' ')
  return {
    id: 'c',
    receivedAt: 0,
    method,
    ...parseTarget(target),
    host: 'gate',
    headers,
    address: '127.0.0.1',
    scheme: 'https',
    httpVersion: '1.1',
    contentLength: 0,
    ...more,
  }
}

const described = (one: Omit<Case, 'why' | 'is'>) => {
  const headers = [['Content-Type', one.type ?? 'application/json']] as const
  const bytes = Buffer.from(one.body ?? '', 'latin1')
  const body: Body = one.length === undefined ? parseBody(headers, bytes, 1 << 20) : { kind: 'unread' }
  const more = {
    contentLength: one.length ?? bytes.length,
    ...(one.upgrade === undefined ? {} : { upgrade: one.upgrade }),
  }
  const call = callOf(one.call, headers, more)
  return kubernetes.describe({ call, path: call.path, body, upstream })
}

test.each(table<Case>('kubernetes'))('$why: $call $upgrade $body', one => {
  const actions = described(one)
  if (one.is === 'unread') return expect(actions).toBe('unread')
  expect(actions).toHaveLength(one.is.length)
  for (const [index, is] of one.is.entries()) {
    const action = (actions as readonly Action[])[index]
    expect(action).toMatchObject(is)
    if (is.fields !== undefined) expect(action?.fields).toEqual(is.fields)
    if (is.fields !== undefined) expect(action?.unknown ?? []).toEqual(is.unknown ?? [])
  }
})

test('nothing that opens a connection or answers with a Secret is ever a read', () => {
  const name = fc.stringMatching(/^[a-z0-9-]{1,12}$/)
  const verb = fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')
  const through = fc.constantFrom('exec', 'attach', 'portforward', 'proxy', 'Exec', '%70roxy')
  const secret = fc.constantFrom('/api/v1/secrets', '/api/v1/watch/secrets', '/api/v1/namespaces/a/secrets')
  const query = fc.constantFrom('', '?watch=1', '?dryRun=All', '?fieldSelector=metadata.name%3Da')
  const accesses = (call: string) => (described({ call }) as readonly Action[]).map(({ access }) => access)
  fc.assert(
    fc.property(verb, name, name, name, through, query, (method, resource, of, namespace, sub, asked) => {
      const paths = [
        `namespaces/${namespace}/${resource}/${of}/${sub}`,
        `namespaces/${namespace}/${resource}/${of}/${sub}/x/y`,
      ]
      for (const path of paths) expect(accesses(`${method} /api/v1/${path}${asked}`)).not.toContain('read')
    }),
  )
  fc.assert(
    fc.property(verb, secret, fc.option(name), query, (method, path, of, asked) => {
      const found = accesses(`${method} ${path}${of === null ? '' : `/${of}`}${asked}`)
      expect(found).not.toContain('read')
      if (!['POST', 'PUT', 'OPTIONS'].includes(method) && !path.includes('watch'))
        expect(found).toContain('credentials')
    }),
  )
})

test.each([
  ['GET /api/v1/namespaces/prod/secrets', 'core/v1/prod/secrets/*'],
  ['GET /api/v1/secrets?watch=1', 'core/v1/*/secrets/*'],
  ['DELETE /api/v1/namespaces/prod/pods', 'core/v1/prod/pods/*'],
  ['POST /api/v1/namespaces/prod/pods', 'core/v1/prod/pods/*'],
  ['POST /api/v1/namespaces', 'core/v1/*/namespaces/*'],
  ['GET /api/v1/nodes', 'core/v1/-/nodes/*'],
  ['GET /api/v1/namespaces/prod/pods/web', undefined],
  ['GET /api/v1/namespaces/prod/pods?fieldSelector=metadata.name%3Dweb', undefined],
] as const)('%s reaches %s', (call, reach) => {
  expect((described({ call }) as readonly Action[])[0]?.reach).toBe(reach)
})

test('a namespace that is created may be the one that a rule is about', () => {
  const unknown = (call: string) => (described({ call }) as readonly Action[])[0]?.unknown
  expect(unknown('POST /api/v1/namespaces')).toEqual(['namespace', 'fields.name'])
  expect(unknown('GET /api/v1/namespaces')).toEqual(['fields.name'])
})

test('only what the API server answers for itself is known to rehearse', () => {
  const dryRun = (path: string) => (described({ call: `PATCH ${path}?dryRun=All` }) as readonly Action[])[0]
  for (const path of ['/api/v1/namespaces/a/pods/b', '/apis/apps/v1/namespaces/a/deployments/b'])
    expect(dryRun(path)?.fields.dryRun).toBe('true')
  for (const path of ['/apis/acme.io/v1/namespaces/a/things/b', '/apis/custom.metrics.k8s.io/v1/namespaces/a/x/b']) {
    expect(dryRun(path)?.fields.dryRun).toBeUndefined()
    expect(dryRun(path)?.unknown).toContain('dryRun')
  }
})

test('whatever the path, there is an action, and what is not of the API is not a read', () => {
  const segment = fc.constantFrom(
    'api',
    'apis',
    'v1',
    'apps',
    'namespaces',
    'watch',
    'proxy',
    'pods',
    'a',
    'core',
    'x%2Fy',
    '',
  )
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 9 }), fc.constantFrom('GET', 'POST', 'DELETE'), (segments, method) => {
      const call = callOf(`${method} /${segments.join('/')}`)
      const actions = kubernetes.describe({ call, path: call.path, body: { kind: 'none' }, upstream })
      expect(actions.length).toBeGreaterThan(0)
      if (method !== 'GET') for (const { access } of actions as readonly Action[]) expect(access).not.toBe('read')
    }),
  )
})

test('a token among the protocols of a WebSocket is refused', () => {
  const headers = [['Sec-WebSocket-Protocol', 'v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA']] as const
  const call = callOf('GET /api/v1/namespaces/prod/pods/web/exec', headers, { upgrade: 'websocket' })
  expect(() => kubernetes.describe({ call, path: call.path, body: { kind: 'none' }, upstream })).toThrow(
    /carries a token/,
  )
})

// ---- tunnels

test.each([
  ['what was asked for', [['Upgrade', 'SPDY/3.1']], true],
  ['in another case', [['upgrade', 'spdy/3.1']], true],
  ['nothing', [], false],
  ['another version', [['Upgrade', 'SPDY/3']], false],
  ['a WebSocket', [['Upgrade', 'websocket']], false],
  ['HTTP/2', [['Upgrade', 'h2c']], false],
  [
    'both at once',
    [
      ['Upgrade', 'SPDY/3.1'],
      ['Upgrade', 'websocket'],
    ],
    false,
  ],
  ['a list', [['Upgrade', 'SPDY/3.1, websocket']], false],
  [
    'proof of a WebSocket',
    [
      ['Upgrade', 'SPDY/3.1'],
      ['Sec-WebSocket-Accept', 'x'],
    ],
    false,
  ],
] as const)('a 101 to SPDY that says %s', (_, answer, is) => {
  expect(switched('spdy/3.1', answer, [])).toBe(is)
  expect(switched('websocket', answer, [['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==']])).toBe(false)
})

// ---- secrets

const secretsOf = (call: string, body: unknown, type = 'application/json') => {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const seen = callOf(call)
  return kubernetes.secrets?.({
    call: seen,
    path: seen.path,
    body: parseBody([['Content-Type', type]], bytes, 1 << 20),
    upstream,
  })
}

test('the values of a Secret, wherever one is', () => {
  const at = (where = '') => [
    `json.${where}/data`,
    `json.${where}/stringData`,
    `json.${where}/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration`,
  ]
  const secret = { apiVersion: 'v1', kind: 'Secret', data: { a: 'Yg==' } }
  expect(secretsOf('POST /api/v1/namespaces/a/secrets', secret)).toEqual(at())
  expect(secretsOf('POST /api/v1/namespaces/a/pods', secret)).toEqual(at())
  expect(
    secretsOf('PATCH /api/v1/namespaces/a/secrets/b', { data: { a: null } }, 'application/merge-patch+json'),
  ).toEqual(at())
  expect(secretsOf('PATCH /api/v1/namespaces/a/secrets/b', secret, 'application/apply-patch+yaml')).toEqual(at())
  expect(secretsOf('POST /apis/x/v1/lists', { items: [{ kind: 'Pod' }, secret, secret], 'a/b': secret })).toEqual([
    ...at('/items/*'),
    ...at('/a~1b'),
  ])
  expect(secretsOf('POST /api/v1/namespaces/a/configmaps', { kind: 'ConfigMap', data: { a: 'b' } })).toEqual([])
  const patch = [{ op: 'replace', path: '/data/a', value: 'Yg==' }]
  expect(secretsOf('PATCH /api/v1/namespaces/a/secrets/b', patch, 'application/json-patch+json')).toEqual([
    'json./*/value',
  ])
})

test('a Secret that cannot be read is one secret', () => {
  const yaml = 'kind: Secret\nstringData:\n  a: b\n'
  expect(secretsOf('PATCH /api/v1/namespaces/a/secrets/b', yaml, 'application/apply-patch+yaml')).toBe('all')
  expect(secretsOf('PUT /api/v1/namespaces/a/secrets/b', '{"data":{"a":"b"},"data":{}}')).toBe('all')
  expect(secretsOf('PUT /api/v1/namespaces/a/secrets/b', 'k8s\u0000', 'application/vnd.kubernetes.protobuf')).toBe(
    'all',
  )
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`m${index}`, { kind: 'Secret' }]))
  expect(secretsOf('POST /apis/x/v1/lists', many)).toBe('all')
  expect(secretsOf('DELETE /api/v1/namespaces/a/secrets/b', '')).toEqual([])
})

// ---- refusals

test('a refusal is a Status', () => {
  const error = new HoldpointError('hold_pending', 'Held as h_1 for ops.', { retryAfterS: 1, rule: 'deletes' })
  const { status, headers, body } = kubernetes.refusal(error, problem(error), undefined)
  expect([status, headers]).toEqual([undefined, [['Content-Type', 'application/json']]])
  expect(JSON.parse(String(body))).toEqual({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'Held as h_1 for ops. (rule deletes)',
    reason: 'ServiceUnavailable',
    details: {
      causes: [{ reason: 'holdpoint:hold_pending', message: 'The call waits for approval' }],
      retryAfterSeconds: 1,
    },
    code: 503,
  })
})

// ---- what may be asked beforehand

const asked = (call: string, body = '', headers: Call['headers'] = [], more: Partial<Call> = {}) => {
  const seen = callOf(call, headers, { contentLength: body.length, ...more })
  const parsed = parseBody([['Content-Type', 'application/json'], ...headers], Buffer.from(body), 1 << 20)
  return kubernetes.rehearsal?.({ call: seen, path: seen.path, body: parsed, upstream })
}

test('how it is, and how it would be', () => {
  const headers = [
    ['Accept', 'application/json;as=Table'],
    ['Accept-Encoding', 'gzip'],
    ['Content-Type', 'application/merge-patch+json'],
  ] as const
  const path = '/apis/apps/v1/namespaces/prod/deployments/web'
  expect(asked(`PATCH ${path}?fieldManager=a`, '{"spec":{}}', headers)).toEqual({
    before: { method: 'GET', target: path, headers: [['Accept', 'application/json']], body: undefined },
    after: {
      method: 'PATCH',
      target: `${path}?fieldManager=a&dryRun=All`,
      headers: [headers[2], ['Accept', 'application/json']],
      body: Buffer.from('{"spec":{}}'),
    },
    removes: false,
  })
  expect(asked('POST /api/v1/namespaces/prod/pods', '{}')).toMatchObject({ before: undefined, removes: false })
  expect(asked(`DELETE ${path}`)).toMatchObject({
    after: { target: `${path}?dryRun=All`, body: undefined },
    removes: true,
  })
  const deletion = asked(`DELETE ${path}`, '{"dryRun":[],"gracePeriodSeconds":0}')
  expect(String((deletion as { after: { body: Buffer } }).after.body)).toBe('{"dryRun":["All"],"gracePeriodSeconds":0}')
})

test.each([
  ['reading', 'GET /api/v1/namespaces/prod/pods/web', ''],
  ['a shell', 'POST /api/v1/namespaces/prod/pods/web/exec', ''],
  ['through the server', 'POST /api/v1/namespaces/prod/services/a/proxy/b', ''],
  ['through the server, as it was', 'DELETE /api/v1/proxy/namespaces/prod/pods/web', ''],
  ['a token', 'POST /api/v1/namespaces/prod/serviceaccounts/a/token', '{}'],
  ['an eviction', 'POST /api/v1/namespaces/prod/pods/web/eviction', '{}'],
  ['all of them', 'DELETE /api/v1/namespaces/prod/pods', ''],
  ['a binding', 'POST /api/v1/namespaces/prod/bindings', '{}'],
  ['an API of somebody else', 'DELETE /apis/acme.io/v1/namespaces/prod/things/a', ''],
  ['a rehearsal', 'DELETE /api/v1/namespaces/prod/pods/web?dryRun=All', ''],
  ['what may be one', 'DELETE /api/v1/namespaces/prod/pods/web?dryRun=None', ''],
  ['by its name in escapes', 'PATCH /api/v1/namespaces/prod/pods/web?dry%52un=x', '{}'],
  ['a deletion that is a list', 'DELETE /api/v1/namespaces/prod/pods/web', '[]'],
  ['a deletion that cannot be read', 'DELETE /api/v1/namespaces/prod/pods/web', '{"a":1,"a":2}'],
  ['no resource', 'POST /version', '{}'],
])('nothing is asked of %s', (_, call, body) => {
  expect(asked(call, body)).toEqual(expect.any(String))
})

test('nothing is asked of a body that nobody could read', () => {
  const call = callOf('PATCH /api/v1/namespaces/prod/pods/web', [], { contentLength: 5 })
  const body: Body = { kind: 'unknown', why: 'it is larger than limits.inspect', size: 5 }
  expect(kubernetes.rehearsal?.({ call, path: call.path, body, upstream })).toEqual(expect.any(String))
})
