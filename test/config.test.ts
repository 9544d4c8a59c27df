// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references of the configuration
// Reading the configuration: what is refused and where, what is filled in, what the hashes cover, and how changes are followed.
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isUnchanged, type Looked } from '../src/config/files.ts'
import { settingsSchema } from '../src/config/json-schema.ts'
import { type SettingsWatch, watchSettings } from '../src/config/watch.ts'
import { type Finding, loadSettings, readSettings } from '../src/config.ts'
import { newKey } from '../src/seal.ts'
import type { Settings } from '../src/settings.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-config-'))
})
afterAll(() => rm(folder, { recursive: true }))

let count = 0
/** Writes files into a folder of their own; answers the path of `holdpoint.yaml`. */
const files = async (contents: { readonly [name: string]: string }): Promise<string> => {
  const own = join(folder, String(count++))
  for (const [name, content] of Object.entries(contents)) {
    await mkdir(join(own, name, '..'), { recursive: true })
    await writeFile(join(own, name), content)
  }
  return join(own, 'holdpoint.yaml')
}

const spelled = ({ file, line, column, message }: Finding): string =>
  `${file.slice(file.lastIndexOf('/') + 1)}:${line}:${column}: ${message}`

const problemsOf = async (file: string, env = {}): Promise<string[]> => {
  const loaded = await loadSettings(file, env)
  return 'problems' in loaded ? loaded.problems.map(spelled) : []
}

const good = async (
  contents: { readonly [name: string]: string } | string,
  env = {},
): Promise<{ settings: Settings; warnings: string[] }> => {
  const loaded = await loadSettings(
    await files(typeof contents === 'string' ? { 'holdpoint.yaml': contents } : contents),
    env,
  )
  if ('problems' in loaded) throw new Error(loaded.problems.map(spelled).join('\n'))
  return { settings: loaded.settings, warnings: loaded.warnings.map(spelled) }
}

const login = `console:
  login: [{ name: okta, issuer: "https://a.example", clientId: c, emailDomains: [acme.com] }]
`
const base = `version: 1
${login}issuers:
  - { name: api, issuer: "https://i.example", audience: a }
upstreams:
  - { name: billing, kind: http, url: "https://b.internal/", at: { prefix: /billing }, credential: { bearer: "\${env:TOKEN}" } }
`
const hold = '- { name: r, match: { upstream: billing }, then: hold, approve: { by: { groups: [leads] } } }'

describe('what is refused', async () => {
  const cases = JSON.parse(await readFile(new URL('tables/config.json', import.meta.url), 'utf8')) as readonly {
    name: string
    yaml: string
    problems: readonly string[]
  }[]
  test.each(cases)('$name', async ({ yaml, problems }) => {
    const found = await problemsOf(await files({ 'holdpoint.yaml': yaml }))
    for (const problem of problems) expect(found.join('\n')).toContain(problem)
    if (problems.length === 0) expect(found).toEqual([])
    expect(found.every(one => /^[\w.-]+:[1-9]\d*:[1-9]\d*: /.test(one))).toBe(true)
  })

  // One rule each; without a `problem` it must be accepted.
  const rules = JSON.parse(await readFile(new URL('tables/config-rules.json', import.meta.url), 'utf8')) as readonly {
    name: string
    rule: string
    problem: string | null
  }[]
  test.each(rules)('in a rule: $name', async ({ rule, problem }) => {
    const yaml = `version: 1
${login}upstreams:
  - { name: b, kind: http, url: "https://b.internal", at: { prefix: /b }, credential: { bearer: t } }
  - { name: c, kind: http, url: "https://c.internal", at: { prefix: /c }, token: { header: x-api-key } }
  - { name: d, kind: http, url: "https://d.internal", at: { prefix: /d }, credential: { headers: { X-Key: k } } }
rules:
  - { name: r, ${rule} }
`
    const found = await problemsOf(await files({ 'holdpoint.yaml': yaml }))
    expect(found).toEqual(problem === null ? [] : [expect.stringContaining(problem)])
    for (const one of found) expect(one).toMatch(/^holdpoint\.yaml:9:/)
  })

  test.each([
    ['es', '{ action: "k8s:delete pods" }', 'is no action of elasticsearch; they begin with "es:"'],
    ['es', '{ fields: { table: users } }', 'never fits: the fields of elasticsearch are "api", "index"'],
    ['es', '{ action: "es:*", fields: { index: "logs-*" } }', undefined],
    ['es', '{ action: "*:delete" }', undefined],
    ['ch', '{ action: "postgrest:delete" }', 'is no action of clickhouse; they begin with "sql:"'],
    ['ch', '{ action: ["sql:drop", { matches: "x.*" }] }', undefined],
    ['[es, ch]', '{ action: "sql:drop" }', undefined],
    ['[es, ch]', '{ action: "graphql:query" }', 'is no action of elasticsearch or clickhouse'],
    ['gr', '{ fields: { inline: "no", table: t } }', 'never fits: the fields of graphql are "operation"'],
  ])('of an upstream of another kind than http: %s %s', async (upstream, match, problem) => {
    const yaml = `version: 1
upstreams:
  - { name: es, kind: elasticsearch, url: "https://e.internal", at: { prefix: /e } }
  - { name: ch, kind: clickhouse, url: "https://c.internal", at: { prefix: /c } }
  - { name: gr, kind: graphql, url: "https://g.internal/graphql", at: { prefix: /g } }
rules:
  - { name: r, match: { upstream: ${upstream}, ${match.slice(1, -1)} }, then: deny }
`
    const found = await problemsOf(await files({ 'holdpoint.yaml': yaml }))
    expect(found).toEqual(problem === undefined ? [] : [expect.stringContaining(problem)])
  })

  test('a file that is not there', async () => {
    expect(await problemsOf(join(folder, 'none.yaml'))).toEqual(['none.yaml:1:1: this file cannot be read (ENOENT)'])
  })

  test('a file that is not UTF-8', async () => {
    const file = await files({ 'holdpoint.yaml': '' })
    await writeFile(file, Buffer.from([0x76, 0xff, 0xfe]))
    expect((await problemsOf(file)).length).toBe(1)
  })

  test('problems of all files come at once, each with its file', async () => {
    const file = await files({
      'holdpoint.yaml': 'version: 1\nmode: x\nrules: rules/*.yaml\n',
      'rules/b.yaml': 'rules:\n  - { name: r, match: {}, then: no }\n',
      'rules/a.yaml': 'rules:\n  - { name: r, match: {}, then: deny }\nmode: x\n',
    })
    expect(await problemsOf(file)).toEqual([
      'holdpoint.yaml:2:7: mode must be "enforce"',
      'a.yaml:3:1: unknown key "mode"; here may stand: rules, reviewers, defaults, callers, tests',
      expect.stringMatching(/^b\.yaml:2:5: the rule "r" is already at .*a\.yaml:2; names are unique over all files$/),
      'b.yaml:2:33: rules[0].then must be one of: allow, deny, hold',
    ])
  })

  test('no problem shows a value that came from outside', async () => {
    const secret = 'hunter2 with spaces'
    const places = [
      'gate: { url: "${env:S}", listen: "${env:S}" }',
      'keys: "${env:S}"',
      'store: "${env:S}"',
      'issuers: [{ name: "${env:S}", issuer: "${env:S}", audience: a, kind: "${env:S}", algorithms: ["${env:S}"] }]',
      'upstreams: [{ name: b, kind: "${env:S}", url: "${env:S}", at: { prefix: "${env:S}" }, credential: { bearer: "${env:S}", headers: { X: "${env:S}\\n" } } }]',
      'audit: { trails: [{ kind: "${env:S}" }] }',
      'mode: "${env:S}"',
      'gate: { trustedProxies: ["${env:S}"] }',
    ]
    for (const place of places) {
      const found = await problemsOf(await files({ 'holdpoint.yaml': `version: 1\n${place}\n` }), { S: secret })
      expect(found.length).toBeGreaterThan(0)
      expect(found.join('\n')).not.toContain('hunter2')
    }
  })
})

describe('what is filled in', () => {
  test('a file with nothing but a version', async () => {
    const { settings, warnings } = await good('version: 1\n')
    expect(settings.gate).toEqual({
      listen: { host: '127.0.0.1', port: 8080 },
      url: 'http://127.0.0.1:8080',
      tls: undefined,
      assertionKey: undefined,
      trustedProxies: [],
      limits: {
        header: 32768,
        inspect: 1048576,
        held: 10485760,
        heldBytes: 2147483648,
        answer: 10485760,
        holdsPerCaller: 20,
        holds: 100000,
        holdsPerMinute: 60,
        callsPerSecond: 0,
        connections: 20_000,
        connectionsPerAddress: 1000,
      },
    })
    expect(settings.console).toEqual({
      listen: { host: '127.0.0.1', port: 8081 },
      url: 'http://127.0.0.1:8081',
      audience: undefined,
      login: [],
      auditors: [],
      operators: [],
    })
    expect(settings.admin.listen).toEqual({ host: '127.0.0.1', port: 9090 })
    expect(settings.store).toEqual({ kind: 'sqlite', path: join(settings.file, '../data/holdpoint.db') })
    expect(settings.audit).toEqual({ strict: false, spool: undefined, trails: [] })
    expect(settings.tokenGraceMs).toBe(300_000)
    expect(warnings).toEqual(['holdpoint.yaml:1:1: there are no rules: every call is denied'])
  })

  test('an issuer, a login, an upstream and a hold', async () => {
    const { settings } = await good(`${base}rules:\n  ${hold}\n`, { TOKEN: 't' })
    expect(settings.issuers[0]).toMatchObject({
      audience: ['a'],
      algorithms: ['RS256'],
      kind: 'auto',
      ownerless: 'refuse',
      claims: { subject: ['sub'], person: ['uid', 'oid'], client: ['azp', 'client_id', 'cid', 'appid'], reason: [] },
    })
    expect(settings.console.login[0]).toMatchObject({
      scopes: ['openid', 'profile', 'email'],
      claims: { person: ['uid', 'oid', 'sub'] },
      interactive: undefined,
    })
    expect(settings.upstreams[0]).toMatchObject({
      url: 'https://b.internal',
      credential: { kind: 'bearer', token: 't' },
      timeouts: { connectMs: 5000, headersMs: 60_000, idleMs: 300_000, tunnelMs: 3_600_000 },
      limits: { inspect: 1048576, held: 10485760 },
      encodedSlash: 'refuse',
      caseSensitive: true,
      getBody: false,
      underscores: 'refuse',
    })
    expect(settings.rules[0]?.approve).toEqual([
      {
        groups: ['okta:leads'],
        people: [],
        votes: 1,
        withinMs: 1_800_000,
        approvedForMs: 900_000,
        waitMs: 55_000,
        onDisconnect: 'keep',
        reason: 'optional',
        comment: 'optional',
        unreadable: 'deny',
        approveUnseen: false,
      },
    ])
    expect(settings.rules[0]?.where).toMatch(/holdpoint\.yaml:9$/)
  })

  test('port 0, loopback http and IPv6', async () => {
    const { settings } = await good(
      'version: 1\ngate: { listen: "[::1]:0" }\nconsole: { listen: "localhost:0", url: "http://127.9.9.9:1" }\nissuers: [{ name: i, issuer: "http://localhost:3000", audience: [a, b] }]\n',
    )
    expect(settings.gate).toMatchObject({ listen: { host: '::1', port: 0 }, url: 'http://[::1]:0' })
    expect(settings.console.url).toBe('http://127.9.9.9:1')
    expect(settings.issuers[0]?.audience).toEqual(['a', 'b'])
  })

  test('stores, trails and timeouts', async () => {
    const keys = newKey('k')
    const redis = await good(
      `version: 1\nstore: { url: "redis://r:6379", durable: always }\nkeys: ${keys}\naudit: { strict: true, spool: s, trails: [{ kind: file, path: /t }, { kind: stdout }] }\n`,
    )
    expect(redis.settings.store).toEqual({ kind: 'redis', url: 'redis://r:6379', durable: 'always' })
    expect(redis.settings.keys).toBe(keys)
    expect(redis.settings.audit).toEqual({
      strict: true,
      spool: join(redis.settings.file, '../s'),
      trails: [{ kind: 'file', path: '/t' }, { kind: 'stdout' }],
    })
    const timeouts = await good(
      'version: 1\nupstreams: [{ name: b, kind: http, url: "https://b", at: { host: "*.X.internal" }, timeouts: { connect: 0, idle: 0s } }]\n',
    )
    expect(timeouts.settings.upstreams[0]).toMatchObject({
      timeouts: { connectMs: 0, headersMs: 60_000, idleMs: 0 },
      at: { hosts: ['*.x.internal'] },
    })
  })

  test('reviewers by name, lists, defaults of the file, people by name', async () => {
    const { settings } = await good(
      {
        'holdpoint.yaml': `${base}people: [{ name: Ana, accounts: ["okta:1", "api:2"] }]\nrules: [rules/*.yaml]\n`,
        'rules/10-b.yaml':
          'rules:\n  - { name: named, match: {}, then: hold, approve: [fin, { by: { people: [Ana, x@acme.com, "okta:9"] } }] }\n',
        'rules/9-a.yaml':
          'reviewers: { fin: { by: { groups: ["okta:f"] }, votes: 2 } }\ndefaults: { approve: fin, notify: [none], controls: [C1] }\nrules:\n  - { name: by-default, match: { method: PUT }, then: hold }\n  - { name: let, match: { method: POST }, then: allow, controls: [] }\n',
      },
      { TOKEN: 't' },
    )
    expect(settings.ruleFiles.map(file => file.slice(file.lastIndexOf('/') + 1))).toEqual(['10-b.yaml', '9-a.yaml'])
    expect(
      settings.rules.map(({ name, approve, controls, notify }) => [
        name,
        approve.map(({ groups, people, votes }) => [groups, people, votes]),
        controls,
        notify,
      ]),
    ).toEqual([
      [
        'named',
        [
          [['okta:f'], [], 2],
          [[], ['okta:1', 'x@acme.com', 'okta:9'], 1],
        ],
        [],
        [],
      ],
      ['by-default', [[['okta:f'], [], 2]], ['C1'], []],
      ['let', [], [], []],
    ])
  })

  test('a bare group may have colons; a login before the first one qualifies it', async () => {
    const { settings } = await good(
      `${base}rules:\n  - { name: r, match: {}, then: hold, approve: { by: { groups: ["urn:x:y", "okta:z"] } } }\n`,
      { TOKEN: 't' },
    )
    expect(settings.rules[0]?.approve[0]?.groups).toEqual(['okta:urn:x:y', 'okta:z'])
  })

  test('hidden files and folders are no rules, other folders may be', async () => {
    const empty = 'rules: []\n'
    const { settings } = await good({
      'holdpoint.yaml': 'version: 1\nrules: "rules/**/*.yaml"\n',
      'rules/..data/a.yaml': 'x',
      'rules/.b.yaml': 'x',
      'rules/c.yaml': empty,
      'rules/d/e.yaml': empty,
      'rules/f.yml': 'x',
    })
    expect(settings.ruleFiles.map(file => file.slice(file.indexOf('rules/')))).toEqual([
      'rules/c.yaml',
      'rules/d/e.yaml',
    ])
  })

  test('anchors and aliases that stay small', async () => {
    const { settings } = await good('version: 1\ngate: { limits: { held: &size 3MiB, answer: *size } }\n')
    expect(settings.gate.limits).toMatchObject({ held: 3145728, answer: 3145728 })
  })
})

describe('interpolation', () => {
  test('environment and files, in parts of a string, never twice', async () => {
    const { settings } = await good(
      { 'holdpoint.yaml': 'version: 1\nconsole: { audience: "${env:A}/${file:secret}" }\n', secret: '${env:A}\n' },
      { A: 'x' },
    )
    expect(settings.console.audience).toBe('x/${env:A}')
  })

  test('never in rules and tests, with a warning', async () => {
    const { settings, warnings } = await good(
      `${base}rules:\n  - { name: r, match: { query: { a: "\${env:TOKEN}" } }, then: deny }\n`,
      { TOKEN: 'secret' },
    )
    expect(settings.rules[0]?.match.query).toEqual({ a: '${env:TOKEN}' })
    expect(warnings).toEqual([
      'holdpoint.yaml:9:37: this stays as it is written: nothing is interpolated in rules, reviewers, defaults, callers and tests',
    ])
  })

  test('never in who may approve', async () => {
    const { settings, warnings } = await good(
      {
        'holdpoint.yaml': `${base}reviewers: { fin: { by: { groups: ["\${env:TOKEN}"] } } }\nrules: [rules.yaml]\n`,
        'rules.yaml':
          'defaults: { approve: [fin, { by: { groups: ["${env:TOKEN}"] } }] }\nrules: [{ name: r, match: {}, then: hold }]\n',
      },
      { TOKEN: 'anybody' },
    )
    expect(settings.rules[0]?.approve.flatMap(({ groups }) => groups)).toEqual([
      'okta:${env:TOKEN}',
      'okta:${env:TOKEN}',
    ])
    expect(warnings).toHaveLength(2)
  })

  test('what is missing is said once, not what follows from it', async () => {
    const file = await files({
      'holdpoint.yaml': 'version: 1\nstore: "${env:HP_NONE}"\ngate: { url: "${env:HP_NONE}" }\n',
    })
    const sentence = '${env:HP_NONE}: the environment variable HP_NONE is not set'
    expect(await problemsOf(file)).toEqual([`holdpoint.yaml:2:8: ${sentence}`, `holdpoint.yaml:3:14: ${sentence}`])
  })

  test('an empty variable is no token', async () => {
    expect(await problemsOf(await files({ 'holdpoint.yaml': base }), { TOKEN: '' })).toEqual([
      expect.stringContaining('upstreams[0].credential.bearer must not be empty'),
    ])
  })
})

describe('hashes', () => {
  const load = async (text: string, env: object = { TOKEN: 't' }): Promise<Settings> => (await good(text, env)).settings
  const rule = (extra: string, name = 'r'): string =>
    `${base}rules:\n  - { name: ${name}, match: { upstream: billing }, then: hold, ${extra} }\n`

  test('of the configuration: over the text before interpolation', async () => {
    const one = await load(base)
    expect(one.hash).toMatch(/^[0-9a-f]{64}$/)
    expect((await load(base, { TOKEN: 'other' })).hash).toBe(one.hash)
    expect((await load(`${base}# comment\n`)).hash).not.toBe(one.hash)
  })

  test('of the configuration: over the names of the files', async () => {
    const text = (name: string): { [name: string]: string } => ({
      'holdpoint.yaml': 'version: 1\nrules: "*.yml"\n',
      [name]: 'rules: []\n',
    })
    const [one, same, other] = await Promise.all(
      ['a.yml', 'a.yml', 'b.yml'].map(async name => (await good(text(name))).settings.hash),
    )
    expect(same).toBe(one)
    expect(other).not.toBe(one)
  })

  test('of a rule: over all it says, with names resolved, but not where', async () => {
    const by = 'approve: { by: { groups: [leads] } }'
    const hashOf = async (text: string): Promise<string | undefined> => (await load(text)).rules.at(-1)?.hash
    const one = await hashOf(rule(by))
    expect(await hashOf(rule('approve: { votes: 1, by: { groups: ["okta:leads"] } }'))).toBe(one)
    expect(await hashOf(`# moved\n${rule(by)}`)).toBe(one)
    expect(
      await hashOf(
        rule('approve: leads').replace('rules:', 'reviewers: { leads: { by: { groups: [leads] } } }\nrules:'),
      ),
    ).toBe(one)
    const others = [
      'approve: { by: { groups: [others] } }',
      'approve: { by: { groups: [leads] }, votes: 2 }',
      'approve: { by: { groups: [leads] }, approveUnseen: true }',
      `${by}, mask: [json./a]`,
      `${by}, show: [json./a]`,
      `${by}, summary: s`,
      `${by}, controls: [c]`,
    ]
    const hashes = await Promise.all([
      ...others.map(extra => hashOf(rule(extra))),
      hashOf(rule(by, 'q')),
      hashOf(rule(by).replace('upstream: billing', 'method: GET')),
    ])
    expect(new Set([one, ...hashes]).size).toBe(others.length + 3)
  })

  test('of an upstream: over url, kind and where the credential comes from', async () => {
    const hashOf = async (text: string, env?: object): Promise<string | undefined> =>
      (await load(text, env)).upstreams[0]?.hash
    const one = await hashOf(base)
    expect(await hashOf(base, { TOKEN: 'rotated' })).toBe(one)
    expect(await hashOf(base.replace('prefix: /billing', 'prefix: /b'))).toBe(one)
    expect(await hashOf(base.replace('b.internal', 'c.internal'))).not.toBe(one)
    expect(await hashOf(base.replace('env:TOKEN', 'env:OTHER'), { OTHER: 't' })).not.toBe(one)
  })
})

describe('warnings', () => {
  const warned = async (text: string): Promise<string[]> => (await good(text, { TOKEN: 't' })).warnings
  const rules = (...list: string[]): string => `${base}rules:\n${list.map(one => `  - ${one}\n`).join('')}`

  test('plain http with a credential', async () => {
    const open = rules('{ name: r, match: {}, then: deny }').replace('https://b.internal', 'http://b.internal')
    expect(await warned(open)).toEqual([
      expect.stringMatching(/^holdpoint\.yaml:7:39: plain http: the credential of "billing" can be read/),
    ])
    expect(await warned(open.replace('http://b.internal', 'http://127.0.0.1:1'))).toEqual([])
  })

  test('a reason that nobody can give', async () => {
    const asking = '{ name: r, match: {}, then: hold, approve: { by: { groups: [g] }, reason: required } }'
    const aws = `  - { name: aws, kind: aws, services: [iam], regions: [us-east-1], at: { prefix: /aws }, credential: { sigv4: { from: env } } }\n`
    expect(await warned(rules(asking))).toEqual([])
    const both = rules(asking).replace('upstreams:\n', `upstreams:\n${aws}`)
    expect(both).toContain('kind: aws')
    expect(await warned(both)).toEqual([expect.stringContaining('"r" requires a reason')])
    expect(await warned(both.replace('match: {}', 'match: { upstream: billing }'))).toEqual([])
  })

  test.each([
    ['a catch-all', ['{ name: a, match: {}, then: allow }', '{ name: b, match: { method: GET }, then: deny }']],
    [
      'a path that is everything',
      [
        '{ name: a, match: { upstream: billing, path: "/**" }, then: allow }',
        '{ name: b, match: { upstream: billing, method: GET }, then: hold, approve: { by: { groups: [g] } } }',
      ],
    ],
    [
      'the same again',
      [
        '{ name: a, match: { query: { x: "1" } }, then: deny }',
        '{ name: b, match: { query: { x: "1" } }, then: allow }',
      ],
    ],
  ])('a rule behind %s', async (_, list) => {
    expect(await warned(rules(...list))).toEqual([
      expect.stringMatching(/"b" is never reached: "a" \(.*:9\) matches first$/),
    ])
  })

  test.each([
    [
      'another condition',
      ['{ name: a, match: { method: GET }, then: allow }', '{ name: b, match: { path: /x }, then: deny }'],
    ],
    [
      'a deny rule that reads any of several values',
      [
        '{ name: a, match: { query: { x: "1" } }, then: allow }',
        '{ name: b, match: { query: { x: "1" } }, then: deny }',
      ],
    ],
  ])('none for %s', async (_, list) => {
    expect(await warned(rules(...list))).toEqual([])
  })

  test('an allow rule that includes credentials', async () => {
    expect(await warned(rules('{ name: r, match: { access: [read, credentials] }, then: allow }'))).toEqual([
      expect.stringContaining('"r" allows access to credentials'),
    ])
  })

  test.each([
    ['an address that no login vouches for', '{ people: [a@else.com] }', 1, 'no login vouches for a@else.com'],
    ['more votes than people', '{ people: ["okta:1", a@acme.com] }', 3, 'it needs 3 votes, and names 2 persons'],
  ])('a dead end: %s', async (_, by, votes, message) => {
    expect(await warned(rules(`{ name: r, match: {}, then: hold, approve: { by: ${by}, votes: ${votes} } }`))).toEqual([
      expect.stringContaining(message),
    ])
  })

  test('a dead end: entries that need more people than they name', async () => {
    const entry = '{ by: { people: ["okta:1"] } }'
    expect(await warned(rules(`{ name: r, match: {}, then: hold, approve: [${entry}, ${entry}] }`))).toEqual([
      expect.stringContaining('need 2 distinct persons together, and name 1'),
    ])
  })

  test('a dead end: sign-ins that no single one can be', async () => {
    const entry = (acr: string): string => `{ by: { groups: [g] }, stepUp: { acr: ${acr} } }`
    const held = (...acr: string[]): string =>
      rules(`{ name: r, match: {}, then: hold, approve: [${acr.map(entry).join(', ')}] }`)
    expect(await warned(held('a', 'b'))).toEqual([expect.stringContaining('no single one can be')])
    expect(await warned(held('[a, b]', 'b'))).toEqual([])
    expect(await warned(held('a'))).toEqual([])
  })

  test.each<[string, string, string, string, boolean]>([
    ['the only one who may approve', '"api:a1"', '{ subject: a1 }', '{ people: ["okta:1"] }', true],
    ['the only one, by another account', '"api:a1"', '{ subject: a1 }', '{ people: [ana@acme.com] }', true],
    ['every caller that is named', '"api:a1", "api:a2"', '{ subject: [a1, a2] }', '{ people: ["okta:1"] }', true],
    ['only one of the callers', '"api:a1"', '{ subject: [a1, a2] }', '{ people: ["okta:1"] }', false],
    ['not all that a pattern means', '"api:a1"', '{ subject: "a*" }', '{ people: ["okta:1"] }', false],
    ['nobody in particular: every caller is meant', '"api:a1"', '{ kind: agent }', '{ people: ["okta:1"] }', false],
    ['one of two who may approve', '"api:a1"', '{ subject: a1 }', '{ people: ["okta:1", "okta:2"] }', false],
    ['one, where a group may approve', '"api:a1"', '{ subject: a1 }', '{ people: ["okta:1"], groups: [g] }', false],
    ['another agent', '"api:a9"', '{ subject: a1 }', '{ people: ["okta:1"] }', false],
  ])('a dead end: somebody owns %s', async (_, owns, caller, by, dead) => {
    const text = rules(`{ name: r, match: { caller: ${caller} }, then: hold, approve: { by: ${by} } }`)
    const people = `people: [{ name: Ana, accounts: ["okta:1", "okta:ana@acme.com"], owns: [${owns}] }]\n`
    expect(await warned(`${text}${people}`)).toEqual(
      dead ? [expect.stringContaining('Ana owns every caller it is for')] : [],
    )
  })

  test('a glob that finds no file', async () => {
    expect(await warned('version: 1\nrules: rules/*.yaml\n')).toContainEqual(
      'holdpoint.yaml:2:8: no file is called "rules/*.yaml"',
    )
  })
})

describe('the reference', async () => {
  const reference = new URL('../config/holdpoint.yaml', import.meta.url).pathname
  const env = {
    OKTA_SECRET: 's',
    OKTA_GATE_SECRET: 's',
    HOLDPOINT_KEYS: newKey('k'),
    BILLING_TOKEN: 'b',
    LEDGER_PASSWORD: 'p',
    IDP_SECRET: 's',
    REPORTS_KEY: 'r',
    SLACK_TOKEN: 'xoxb-s',
    SLACK_SIGNING: 's',
    SLACK_APP_TOKEN: 'xapp-s',
    TEAMS_URL: 'https://prod-1.westeurope.logic.azure.com/workflows/x?sig=s',
    TEAMS_SECRET: 's',
    SMTP_PASSWORD: 's',
    HOOK_SECRET: 'h'.repeat(24),
  }

  test('is valid, without warnings', async () => {
    const loaded = await loadSettings(reference, env)
    expect('problems' in loaded ? loaded.problems : loaded.warnings).toEqual([])
  })

  test('has every key that is built', async () => {
    const texts = await Promise.all(
      ['holdpoint.yaml', 'rules/billing.yaml', 'rules/ledger.yaml'].map(name =>
        readFile(new URL(`../config/${name}`, import.meta.url), 'utf8'),
      ),
    )
    const keys = new Set<string>()
    const walk = (schema: unknown): void => {
      if (schema === null || typeof schema !== 'object') return
      for (const [key, value] of Object.entries(schema)) {
        if (key === 'properties') for (const name of Object.keys(value as object)) keys.add(name)
        walk(value)
      }
    }
    walk(settingsSchema())
    expect(keys.size).toBeGreaterThan(100)
    expect([...keys].filter(key => !texts.some(text => new RegExp(`(^|[\\s{])${key}:`).test(text)))).toEqual([])
  })

  test.each([
    ['holdpoint.schema.json', {}],
    ['rules.schema.json', { rules: true }],
  ])('%s is what `holdpoint schema` prints', async (name, options) => {
    expect(JSON.parse(await readFile(new URL(`../config/${name}`, import.meta.url), 'utf8'))).toEqual(
      settingsSchema(options),
    )
  })
})

test('a glob that is too long for anybody is a problem of its rule', async () => {
  const path = JSON.stringify(`/${'x'.repeat(70_000)}*`)
  const text = `version: 1\nrules:\n  - { name: r, match: { path: ${path} }, then: deny }\n`
  expect(await problemsOf(await files({ 'holdpoint.yaml': text }))).toEqual([
    expect.stringMatching(/^holdpoint\.yaml:3:\d+: .*must not be longer than 16384 characters/),
  ])
})

describe('watching', () => {
  type Told = { readonly settings?: Settings; readonly problems?: readonly Finding[] }

  /** Follows a file; `next` waits for what is told next, and nothing is lost in between. */
  const follow = (file: string, first: Looked): { watching: SettingsWatch; next(): Promise<Told>; told: Told[] } => {
    const told: Told[] = []
    let wake = (): void => undefined
    const tell = (one: Told): void => {
      told.push(one)
      wake()
    }
    let seen = 0
    const next = async (): Promise<Told> => {
      while (told.length <= seen) await new Promise<void>(resolve => (wake = resolve))
      return told[seen++] as Told
    }
    const watching = watchSettings(file, first, {
      env: {},
      onSettings: settings => tell({ settings }),
      onProblems: problems => tell({ problems }),
    })
    return { watching, next, told }
  }
  const start = async (contents: { readonly [name: string]: string }) => {
    const file = await files(contents)
    const following = follow(file, (await readSettings(file, {})).looked)
    await following.watching.reload()
    return { file, ...following }
  }

  test('a change is told of, a bad one keeps the last good and is told of once', async () => {
    const { file, watching, next, told } = await start({ 'holdpoint.yaml': 'version: 1\n' })
    expect(told).toEqual([])
    await writeFile(file, 'version: 1\ngate: { tokenGrace: 1m }\n')
    expect((await next()).settings?.tokenGraceMs).toBe(60_000)
    await writeFile(file, 'version: 2\n')
    expect((await next()).problems?.map(spelled)).toEqual(['holdpoint.yaml:1:10: version must be 1'])
    await watching.reload()
    await watching.reload()
    await writeFile(file, 'version: 3\n')
    expect((await next()).problems).toHaveLength(1)
    await writeFile(file, 'version: 1\ngate: { tokenGrace: 2m }\n')
    expect((await next()).settings?.tokenGraceMs).toBe(120_000)
    expect(told).toHaveLength(4)
    watching.stop()
  })

  test('rule files, new ones too, and files with secrets', async () => {
    const { file, watching, next } = await start({
      'holdpoint.yaml': 'version: 1\nrules: rules/*.yaml\nconsole: { audience: "${file:secrets/a}" }\n',
      'rules/a.yaml': 'rules: []\n',
      'secrets/a': 'one',
    })
    await writeFile(join(file, '../rules/b.yaml'), 'rules: [{ name: r, match: {}, then: deny }]\n')
    expect((await next()).settings?.rules).toHaveLength(1)
    await writeFile(join(file, '../secrets/a'), 'two')
    expect((await next()).settings?.console.audience).toBe('two')
    watching.stop()
  })

  test('what has not changed is not judged again, however often it is looked at', async () => {
    const file = await files({ 'holdpoint.yaml': 'version: 1\nconsole: { audience: "${env:AUDIENCE}" }\n' })
    let readings = 0
    const env = {
      get AUDIENCE() {
        return `reading-${++readings}`
      },
    }
    const { looked } = await readSettings(file, env)
    const told: string[] = []
    const watching = watchSettings(file, looked, {
      env,
      onSettings: ({ console }) => told.push(String(console.audience)),
      onProblems: () => told.push('problems'),
    })
    await watching.reload()
    await watching.reload()
    expect({ readings, told }).toEqual({ readings: 1, told: [] })
    await writeFile(file, 'version: 1\nconsole: { audience: "${env:AUDIENCE}" } # changed\n')
    await watching.reload()
    expect(told[0]).toBe('reading-2')
    watching.stop()
  })

  test.each<readonly [string, (folder: string) => Promise<unknown>, boolean]>([
    ['nothing', async () => undefined, true],
    ['a file that no glob fits', async folder => writeFile(join(folder, 'rules/b.txt'), ''), true],
    ['a content', async folder => writeFile(join(folder, 'holdpoint.yaml'), 'version: 1\n'), false],
    ['a secret', async folder => writeFile(join(folder, 'secret'), 'two'), false],
    ['a secret that is gone', async folder => rm(join(folder, 'secret')), false],
    ['a rule file more', async folder => writeFile(join(folder, 'rules/b.yaml'), ''), false],
    ['a rule file less', async folder => rm(join(folder, 'rules/a.yaml')), false],
    [
      'a rule file of another name',
      async folder => rename(join(folder, 'rules/a.yaml'), join(folder, 'rules/c.yaml')),
      false,
    ],
    ['a file that was not there', async folder => writeFile(join(folder, 'absent'), 'x'), false],
  ])('what has changed: %s', async (_, change, unchanged) => {
    const file = await files({
      'holdpoint.yaml': 'version: 1\nrules: rules/*.yaml\nkeys: "${file:secret}${file:absent}"\n',
      'rules/a.yaml': 'rules: []\n',
      secret: 'one',
    })
    const { looked } = await readSettings(file, {})
    await change(dirname(file))
    expect(await isUnchanged(looked)).toBe(unchanged)
  })

  test('the swap of a symbolic link, as Kubernetes does it, again and again', async () => {
    const own = join(folder, `k8s-${count++}`)
    const swap = async (version: string, text: string): Promise<void> => {
      await mkdir(join(own, `..${version}`), { recursive: true })
      await writeFile(join(own, `..${version}`, 'holdpoint.yaml'), text)
      await symlink(`..${version}`, join(own, '..data_tmp'))
      await rename(join(own, '..data_tmp'), join(own, '..data'))
    }
    await swap('1', 'version: 1\n')
    await symlink('..data/holdpoint.yaml', join(own, 'holdpoint.yaml'))
    const file = join(own, 'holdpoint.yaml')
    const { watching, next } = follow(file, (await readSettings(file, {})).looked)
    await watching.reload()
    await swap('2', 'version: 1\ngate: { tokenGrace: 2m }\n')
    expect((await next()).settings?.tokenGraceMs).toBe(120_000)
    await swap('3', 'version: 1\ngate: { tokenGrace: 3m }\n')
    expect((await next()).settings?.tokenGraceMs).toBe(180_000)
    watching.stop()
  })

  test('what changed between reading and watching is told of', async () => {
    const file = await files({ 'holdpoint.yaml': 'version: 1\n' })
    const { looked } = await readSettings(file, {})
    await writeFile(file, 'version: 1\ngate: { tokenGrace: 7m }\n')
    const { watching, next } = follow(file, looked)
    expect((await next()).settings?.tokenGraceMs).toBe(420_000)
    watching.stop()
  })

  test('what fails where it is taken changes nothing either, and is told of', async () => {
    const file = await files({ 'holdpoint.yaml': 'version: 1\n' })
    const told: string[] = []
    const watching = watchSettings(file, (await readSettings(file, {})).looked, {
      env: {},
      onSettings: () => {
        throw new Error('no')
      },
      onProblems: problems => told.push(...problems.map(spelled)),
    })
    await writeFile(file, 'version: 1 # changed\n')
    await watching.reload()
    expect(told).toEqual(['holdpoint.yaml:1:1: this cannot be judged: no'])
    watching.stop()
  })

  test('nothing is told after stop', async () => {
    const { file, watching, told } = await start({ 'holdpoint.yaml': 'version: 1\n' })
    watching.stop()
    await writeFile(file, 'version: 1\ngate: { tokenGrace: 7m }\n')
    await watching.reload()
    expect(told).toEqual([])
  })
})
