// Every example is a configuration that is good as it stands, once its secrets and certificates are there, and whose own tests pass.
import { copyFile, cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Certificates, makeCertificates } from './support/certificates.ts'
import { runHoldpoint } from './support/program.ts'

const examples = fileURLToPath(new URL('../config/examples/', import.meta.url))
const names = await readdir(examples)

let certificates: Certificates
let dir: string
beforeAll(async () => {
  certificates = await makeCertificates()
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-examples-'))
})
afterAll(async () => {
  await certificates.close()
  await rm(dir, { recursive: true, force: true })
})

test.each(names)('%s', async name => {
  const copy = join(dir, name)
  await cp(join(examples, name), copy, { recursive: true })
  const text = await readFile(join(copy, 'holdpoint.yaml'), 'utf8')
  for (const [, file = ''] of text.matchAll(/^[^#\n]*\bca: ([\w.-]+)/gm))
    await copyFile(certificates.ca, join(copy, file))
  const env = Object.fromEntries([...text.matchAll(/\$\{env:(\w+)\}/g)].map(([, secret = '']) => [secret, 'a-secret']))
  const run = async (command: string) => {
    const { code, stdout, stderr } = await runHoldpoint([command, join(copy, 'holdpoint.yaml')], { env })
    return { code, said: `${stdout}${stderr}` }
  }
  const checked = await run('check')
  expect(checked.said).not.toMatch(/warning|\d+ problems?/)
  expect(checked.code, checked.said).toBe(0)
  const tested = await run('test')
  expect(tested.code, tested.said).toBe(0)
  expect(tested.said).toMatch(/PASS/)
  const readme = await readFile(join(copy, 'README.md'), 'utf8')
  expect(readme.length).toBeGreaterThan(400)
})
