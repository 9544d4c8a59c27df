// Entries of `issuers` as the configuration reads them: defaults, files, opaque tokens. What is refused is in tables/config.json.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadSettings } from '../src/config.ts'
import type { Issuer } from '../src/settings.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-issuers-'))
})
afterAll(() => rm(dir, { recursive: true }))

const rule = 'rules: [{ name: r, match: {}, then: deny }]\n'
const loaded = async (...entries: string[]): Promise<{ issuers: readonly Issuer[]; warnings: string[] }> => {
  const file = join(dir, 'holdpoint.yaml')
  await writeFile(file, `version: 1\nissuers:\n${entries.map(entry => `  - ${entry}\n`).join('')}${rule}`)
  const read = await loadSettings(file, {})
  if ('problems' in read) throw new Error(read.problems.map(({ message }) => message).join('\n'))
  return { issuers: read.settings.issuers, warnings: read.warnings.map(({ line, message }) => `${line}: ${message}`) }
}

test('an entry with keys, and what is filled in', async () => {
  const { issuers, warnings } = await loaded('{ name: i, issuer: "https://i.example", audience: a }')
  expect(issuers).toEqual([
    {
      ...{ name: 'i', issuer: 'https://i.example', audience: ['a'], algorithms: ['RS256'] },
      claims: {
        ...{ subject: ['sub'], person: ['uid', 'oid'], client: ['azp', 'client_id', 'cid', 'appid'] },
        ...{ email: ['email'], groups: ['groups'], owner: ['owner'], name: ['name'], reason: [] },
      },
      ...{ kind: 'auto', ownerless: 'refuse', staleForMs: 24 * 3600_000 },
    },
  ])
  expect(warnings).toEqual([])
})

test('files are found from the folder of the configuration', async () => {
  const { issuers } = await loaded(
    '{ name: i, issuer: "https://i.example", audience: a, caFile: tls/ca.crt, bearerTokenFile: /run/token, staleFor: 0s }',
  )
  expect(issuers[0]).toMatchObject({ caFile: join(dir, 'tls/ca.crt'), bearerTokenFile: '/run/token', staleForMs: 0 })
})

test('an entry for opaque tokens, as short as it may be, takes what names no audience; that is said', async () => {
  const { issuers, warnings } = await loaded(
    '{ name: legacy, introspect: "https://i.example/introspect", clientId: c, clientSecret: s }',
  )
  expect(issuers[0]).toMatchObject({
    issuer: undefined,
    audience: [],
    introspect: { url: 'https://i.example/introspect', clientId: 'c', clientSecret: 's', cacheForMs: 30_000 },
  })
  expect(warnings).toEqual([expect.stringMatching(/^3: "legacy" names no audience/)])
})

test('several entries for opaque tokens, told apart by what these begin with; one may take the rest', async () => {
  const asked = (name: string, more: string): string =>
    `{ name: ${name}, introspect: "https://${name}.example/i", bearerTokenFile: t, audience: a${more} }`
  const { issuers, warnings } = await loaded(asked('x', ', prefix: x_'), asked('y', ', prefix: y_'), asked('rest', ''))
  expect(issuers.map(({ introspect }) => introspect?.prefix)).toEqual(['x_', 'y_', undefined])
  expect(warnings).toEqual([])
})
