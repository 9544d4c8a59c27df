// `holdpoint check`, `test` and `schema` as people run them: the real program, its output and its exit code.
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { settingsSchema } from '../src/config/json-schema.ts'

const bin = fileURLToPath(new URL('../bin/holdpoint.js', import.meta.url))

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-check-'))
})
afterAll(() => rm(folder, { recursive: true }))

const run = (...args: readonly string[]): Promise<{ code: number; output: string }> =>
  new Promise(resolve => {
    execFile(process.execPath, [bin, ...args], { cwd: folder }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, output: stdout + stderr }),
    )
  })

const rules = `
issuers: [{ name: api, issuer: "https://i.example", audience: a }]
upstreams:
  - { name: billing, kind: http, url: "https://b.internal", at: { prefix: /billing } }
  - { name: ledger, kind: http, url: "https://l.internal", at: { host: ledger.internal } }
callers:
  agent: { issuer: api, subject: agent-7, kind: agent, groups: [finance] }
rules:
  - { name: no-drop, match: { path: /v1/forms, form: { q: "drop*" } }, then: deny }
  - { name: big, match: { upstream: billing, method: POST, json: { /amount: { over: 100 } } }, then: deny }
  - { name: small, match: { upstream: billing, path: /v1/refunds, caller: { group: finance } }, then: allow }
  - { name: books, match: { upstream: ledger, query: { year: "2026" } }, then: allow }
`
const suite = (...tests: readonly string[]): string =>
  `version: 1${rules}tests:\n${tests.map(one => `  - ${one}\n`).join('')}`

describe('check', () => {
  test('says every problem with its place, and fails', async () => {
    await writeFile(join(folder, 'bad.yaml'), 'version: 1\ngat: {}\nmode: x\n')
    const { code, output } = await run('check', 'bad.yaml')
    expect(output).toBe(
      'bad.yaml:2:1: unknown key "gat"; did you mean "gate"?\nbad.yaml:3:7: mode must be "enforce"\n2 problems\n',
    )
    expect(code).toBe(1)
  })

  test('says what is there, in which order rules are judged, and warnings', async () => {
    await writeFile(join(folder, 'b.rules'), 'rules: [{ name: b, match: {}, then: allow }]\n')
    await writeFile(join(folder, 'a.rules'), 'rules: [{ name: a, match: {}, then: deny }]\n')
    await writeFile(join(folder, 'good.yaml'), 'version: 1\nrules: "*.rules"\n')
    const { code, output } = await run('check', 'good.yaml')
    expect(output.split('\n')).toEqual([
      'b.rules:1:17: "b" is never reached: "a" (a.rules:1) matches first (warning)',
      '2 rules, 0 upstreams, 0 issuers, 0 tests, 1 warning: ok',
      'rules are judged in this order:',
      '  a.rules',
      '  b.rules',
      '',
    ])
    expect(code).toBe(0)
  })

  test('--json', async () => {
    await writeFile(join(folder, 'j.yaml'), 'version: 1\nrules: [{ name: a, match: {}, then: deny }]\n')
    const good = await run('check', 'j.yaml', '--json')
    expect(JSON.parse(good.output)).toMatchObject({
      ok: true,
      problems: [],
      warnings: [],
      ruleFiles: ['j.yaml'],
      rules: [{ name: 'a', outcome: 'deny', where: 'j.yaml:2' }],
    })
    await writeFile(join(folder, 'k.yaml'), '')
    const bad = await run('check', 'k.yaml', '--json')
    expect(JSON.parse(bad.output)).toMatchObject({ ok: false, problems: [{ file: 'k.yaml', line: 1, column: 1 }] })
    expect(bad.code).toBe(1)
  })
})

describe('test', () => {
  test('judges calls by prefix and host, with every kind of body, and passes', async () => {
    await writeFile(
      join(folder, 'pass.yaml'),
      suite(
        '{ name: small, call: { caller: agent, method: POST, url: "/billing/v1/refunds?x=1", json: { amount: 5 } }, expect: { outcome: allow, rule: small } }',
        '{ name: big, call: { caller: agent, method: POST, url: /billing/v1/refunds, json: { amount: 500 } }, expect: { outcome: deny, rule: big } }',
        '{ name: text, call: { caller: agent, method: POST, url: /billing/v1/forms, body: "amount=1", headers: { content-type: text/plain } }, expect: { outcome: deny, rule: no-drop } }',
        '{ name: form, call: { caller: agent, method: POST, url: /billing/v1/forms, form: { q: drop it } }, expect: { outcome: deny, rule: no-drop } }',
        '{ name: host, call: { caller: agent, url: "https://LEDGER.internal:8443/x?year=2026" }, expect: { outcome: allow } }',
        '{ name: no rule, call: { caller: agent, url: /billing/other }, expect: { outcome: deny } }',
      ),
    )
    expect(await run('test', 'pass.yaml')).toEqual({
      code: 0,
      output: 'PASS  small\nPASS  big\nPASS  text\nPASS  form\nPASS  host\nPASS  no rule\n6 of 6 passed\n',
    })
  })

  test('says what it got instead, and fails', async () => {
    await writeFile(
      join(folder, 'fail.yaml'),
      suite(
        '{ name: outcome, call: { caller: agent, url: /billing/v1/refunds }, expect: { outcome: deny } }',
        '{ name: rule, call: { caller: agent, url: /billing/v1/refunds }, expect: { outcome: allow, rule: books } }',
        '{ name: none, call: { caller: agent, url: /billing/x }, expect: { outcome: allow } }',
        '{ name: nowhere, call: { caller: agent, url: /nowhere }, expect: { outcome: deny } }',
        '{ name: dots, call: { caller: agent, url: /billing/../x }, expect: { outcome: deny } }',
      ),
    )
    const { code, output } = await run('test', 'fail.yaml')
    expect(output.split('\n').slice(0, 3)).toEqual([
      'FAIL  outcome (fail.yaml:14): expected deny, got allow by small',
      'FAIL  rule (fail.yaml:15): expected allow by books, got allow by small',
      'FAIL  none (fail.yaml:16): expected allow, got deny by no rule',
    ])
    expect(output).toContain('refused: no_route')
    expect(output).toContain('refused: malformed')
    expect(output).toContain('0 of 5 passed')
    expect(code).toBe(1)
  })

  test('a bad configuration fails', async () => {
    await writeFile(join(folder, 'worse.yaml'), 'version: 2\n')
    expect(await run('test', 'worse.yaml')).toEqual({ code: 1, output: 'worse.yaml:1:10: version must be 1\n' })
  })
})

test('schema prints the schema of either file', async () => {
  expect(JSON.parse((await run('schema')).output)).toEqual(settingsSchema())
  expect(JSON.parse((await run('schema', '--rules')).output)).toEqual(settingsSchema({ rules: true }))
})

test('the help of each teaches by example', async () => {
  for (const command of ['check', 'test', 'schema'])
    expect((await run(command, '--help')).output).toMatch(new RegExp(`Examples:\\n  \\$ holdpoint ${command}`))
})
