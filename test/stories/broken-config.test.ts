// A bad configuration: every problem at once, with its place; nothing starts on it, and a running server keeps its last good one.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { runHoldpoint, workDir } from '../support/program.ts'
import { financeRules, type Stage, startStage } from '../support/stage.ts'

const broken = `version: 1
gate: { listen: 127.0.0.1:0, url: http://127.0.0.1:1, colour: blue }
store: mysql://somewhere
upstreams:
  - { name: billing, kind: http, url: http://127.0.0.1:1, at: { prefix: /billing } }
rules:
  - { name: one, match: { upstream: nowhere }, then: allow }
  - { name: two, match: { upstream: billing }, then: maybe }
`
const problem = /^\S*holdpoint\.yaml:(\d+):\d+: \S/

let stage: Stage
let cwd: string

beforeAll(async () => {
  stage = await startStage()
  cwd = await workDir({ config: broken })
})
afterAll(async () => {
  await stage.close()
  await rm(cwd, { recursive: true, force: true })
})

test('check names every problem with its line', async () => {
  const { code, stdout, stderr } = await runHoldpoint(['check', 'holdpoint.yaml'], { cwd })
  expect(code).toBe(1)
  const lines = `${stdout}${stderr}`.split('\n').flatMap(line => problem.exec(line)?.[1] ?? [])
  expect(lines).toEqual(expect.arrayContaining(['2', '3', '7', '8']))
})

test('serve refuses it', async () => {
  const { code, stdout, stderr } = await runHoldpoint(['serve', '--config', 'holdpoint.yaml'], { cwd })
  expect(code).not.toBe(0)
  expect(`${stdout}${stderr}`).toMatch(/holdpoint\.yaml:2:\d+: /)
  expect(stderr).not.toContain('"msg":"ready"')
})

test('a running server keeps its last good configuration and takes the next good one', async () => {
  const file = join(stage.holdpoint.dir, 'rules.yaml')
  const put = () => stage.call('PUT', '/billing/v1/things/1', { body: '{}' })
  expect((await put()).json?.code).toBe('no_rule')

  await writeFile(file, `${financeRules()}  - { name: puts, match: { upstream: nowhere, method: PUT }, then: allow }\n`)
  await stage.holdpoint.logged(line => line.level === 'error' && JSON.stringify(line).includes('rules.yaml:'))
  expect((await put()).json?.code).toBe('no_rule')

  await writeFile(file, `${financeRules()}  - { name: puts, match: { upstream: billing, method: PUT }, then: allow }\n`)
  await stage.holdpoint.logged(line => line.msg === 'configuration loaded')
  expect((await put()).status).toBe(200)
})

// Neither the parser of GraphQL nor that of expressions was loaded when it started: nothing in its configuration asked for them.
test('it takes a kind of upstream and a kind of key that it had none of', async () => {
  const [file, rules] = ['holdpoint.yaml', 'rules.yaml'].map(name => join(stage.holdpoint.dir, name)) as [
    string,
    string,
  ]
  const config = JSON.parse(await readFile(file, 'utf8')) as { upstreams: { name: string; at: object }[] }
  const [billing] = config.upstreams
  const graph = { ...billing, name: 'graph', kind: 'graphql', at: { prefix: '/graph' } }
  await writeFile(file, JSON.stringify({ ...config, upstreams: [...config.upstreams, graph] }))
  const ask = (query: string) =>
    stage.call('POST', '/graph/graphql', {
      body: JSON.stringify({ query }),
      headers: { 'Content-Type': 'application/json' },
    })
  const codeOf = ({ json }: Awaited<ReturnType<typeof ask>>): unknown =>
    (json as { errors?: { extensions?: { code?: unknown } }[] }).errors?.[0]?.extensions?.code

  // In the words of its kind, so the kind is there.
  await eventually(async () => (codeOf(await ask('{ a }')) === 'no_rule' ? true : undefined))
  await writeFile(
    rules,
    `${financeRules()}  - { name: queries, match: { upstream: graph, when: 'action == "graphql:query"' }, then: allow }\n`,
  )
  await eventually(async () => ((await ask('{ a }')).status === 200 ? true : undefined))
  expect(codeOf(await ask('mutation { a }'))).toBe('no_rule')
})
