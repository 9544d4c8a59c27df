// A bad configuration: every problem at once, with its place; nothing starts on it, and a running server keeps its last good one.
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
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
