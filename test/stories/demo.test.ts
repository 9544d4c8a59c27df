// The demo does what it says, and says what is in its way.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startServer } from '../../src/commands/demo/server.ts'
import { runHoldpoint } from '../support/program.ts'

test('--once plays everything with nobody there, and every check holds', async () => {
  const { code, stdout } = await runHoldpoint(['demo', '--once'])
  expect(stdout).toContain('Every step was as it should be.')
  expect(stdout).toMatch(/Ben +approve → 403 own_call/)
  expect(stdout).toMatch(/The agent +POST \/billing\/v1\/refunds → 201/)
  expect(stdout).not.toContain('✗')
  expect(stdout).not.toContain('\u001b[')
  expect(code).toBe(0)
})

test('a port that is taken is named, with the way around it', async () => {
  const taken = await startServer(0, (_request, response) => void response.end())
  const port = new URL(taken.url).port
  const cwd = await mkdtemp(join(tmpdir(), 'holdpoint-demo-'))
  try {
    const { code, stderr } = await runHoldpoint(['demo', '--port-base', port], { cwd })
    expect(stderr).toContain(`Port ${port} (gate) is taken`)
    expect(stderr).toContain('--port-base')
    expect(code).toBe(1)
  } finally {
    await taken.close()
    await rm(cwd, { recursive: true, force: true })
  }
})

test.each(['0', '65000', 'http', '80.5'])('--port-base %s is refused', async base => {
  const { code, stderr } = await runHoldpoint(['demo', '--port-base', base])
  expect(stderr).toContain('--port-base')
  expect(code).toBe(1)
})
