// holdpoint aws-credentials: a token as the document that AWS tools take from a credential process.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { awsCredentials } from '../src/commands/aws-credentials.ts'
import { runHoldpoint } from './support/program.ts'

const token = (claims: unknown): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
const now = Date.parse('2026-01-31T09:00:00Z')

it.each([
  ['as long as it says', token({ exp: now / 1000 + 600 }), '2026-01-31T09:10:00.000Z'],
  ['five minutes, if it says nothing', token({}), '2026-01-31T09:05:00.000Z'],
  ['five minutes, if it says nonsense', token({ exp: 'never' }), '2026-01-31T09:05:00.000Z'],
  ['five minutes, if it is opaque', 'oat_abc', '2026-01-31T09:05:00.000Z'],
])('it is good for %s', (_, text, expiration) => {
  expect(awsCredentials(`${text}\n`, now)).toEqual({
    Version: 1,
    AccessKeyId: 'HOLDPOINT',
    SecretAccessKey: 'placeholder',
    SessionToken: text,
    Expiration: expiration,
  })
})

it.each(['', ' \n', 'a b', 'a\nb', 'tökèn'])('%j is no token', text => {
  expect(() => awsCredentials(text, now)).toThrow('there is no token')
})

it('takes the token from a file, a command or the environment, and from one of them', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-token-'))
  try {
    const file = join(dir, 'token')
    await writeFile(file, 'from-file\n')
    const said = async (args: readonly string[], env: { readonly [name: string]: string } = {}): Promise<unknown> => {
      const { code, stdout, stderr } = await runHoldpoint(['aws-credentials', ...args], { env })
      return code === 0 ? (JSON.parse(stdout) as { SessionToken: unknown }).SessionToken : stderr
    }
    expect(await said(['--token-file', file])).toBe('from-file')
    expect(await said(['--token-command', 'echo from-command'])).toBe('from-command')
    expect(await said([], { HOLDPOINT_TOKEN: 'from-env' })).toBe('from-env')
    expect(await said(['--token-file', file, '--token-command', 'echo x'])).toContain('give one of')
    expect(await said([])).toContain('HOLDPOINT_TOKEN')
    expect(await said(['--token-file', join(dir, 'missing')])).toContain('ENOENT')
  } finally {
    await rm(dir, { recursive: true })
  }
})
