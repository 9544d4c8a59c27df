// A gigabyte up and a gigabyte down: bodies that nobody reads are passed on, not kept. Caller and upstream are processes of their own, so
// that what the gate's process takes is the gate's alone.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentToken, clients, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { stageConfig } from '../support/stage.ts'

const run = promisify(execFile)
const gibibyte = 1 << 30
const allowed = 64 << 20

let upstream: ChildProcess
let idp: Awaited<ReturnType<typeof startCast>>
let holdpoint: Program
let curl: readonly string[]

beforeAll(async () => {
  upstream = spawn(process.execPath, [fileURLToPath(new URL('../support/endless.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(upstream.stdout ?? upstream, 'data')) as [Buffer]
  idp = await startCast()
  holdpoint = await startHoldpoint({
    config: await stageConfig(idp.issuer, `http://127.0.0.1:${String(line).trim()}`),
    rules: 'rules: [{ name: all, match: { upstream: billing }, then: allow }]',
  })
  const token = await agentToken(idp.issuer, clients.agent)
  await writeFile(join(holdpoint.dir, 'big'), '')
  await truncate(join(holdpoint.dir, 'big'), gibibyte)
  curl = ['-sS', '--fail', '--max-time', '60', '-H', `Authorization: Bearer ${token}`, '-H', 'Expect:']
})
afterAll(async () => {
  await holdpoint[Symbol.asyncDispose]()
  await idp.close()
  upstream.kill()
})

/** Bytes: what the process holds now, and the most that it ever held. */
const memory = async (): Promise<{ readonly now: number; readonly most: number }> => {
  const status = await readFile(`/proc/${holdpoint.pid}/status`, 'utf8')
  const bytes = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1])
  return { now: bytes('VmRSS'), most: bytes('VmHWM') }
}

test.each([
  ['up', (url: string) => ['-X', 'POST', '-T', join(holdpoint.dir, 'big'), `${url}/up`]],
  ['down', (url: string) => ['-o', '/dev/null', '-w', '%{size_download}', `${url}/${gibibyte}`]],
])('a gigabyte %s takes less than 64 MiB', async (_, args) => {
  const before = await memory()
  const { stdout } = await run('curl', [...curl, ...args(`${holdpoint.gate}/billing`)])
  expect(stdout).toBe(String(gibibyte))
  const { most } = await memory()
  expect(most - before.now).toBeLessThan(allowed)
})
