// A server of another make: Debian's nginx with WebDAV. Deleting a real file is held, refused to its owner, approved by somebody else.
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Nginx, startNginx } from '../support/nginx.ts'
import { people } from '../support/people.ts'
import { type Stage, startStage, waiting } from '../support/stage.ts'

const rules = `
rules:
  - { name: reads, match: { upstream: files, method: [GET, HEAD] }, then: allow }
  - { name: writes, match: { upstream: files, method: PUT, path: /drafts/** }, then: allow }
  - name: deletes
    match: { upstream: files, method: DELETE }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
`

let nginx: Nginx
let stage: Stage

beforeAll(async () => {
  nginx = await startNginx()
  await mkdir(join(nginx.folder, 'drafts'))
  await writeFile(join(nginx.folder, 'ledger.txt'), 'all of it\n')
  stage = await startStage({
    rules,
    config: { upstreams: [{ name: 'files', kind: 'http', url: nginx.url, at: { prefix: '/files' } }] },
  })
})
afterAll(async () => {
  await stage.close()
  await nginx.close()
})

test('a file is deleted once, after somebody else than its owner approved, and other calls are untouched', async () => {
  const ledger = join(nginx.folder, 'ledger.txt')
  const [ana, ben] = [await stage.desk(people.ana), await stage.desk(people.ben)]

  const deleted = stage.call('DELETE', '/files/ledger.txt')
  const { id } = await waiting(ana)
  expect((await ana.hold(id)).request).toMatchObject({ method: 'DELETE', target: '/ledger.txt' })
  expect(await ben.approve(id)).toMatchObject({ status: 403, json: { code: 'own_call' } })
  expect(existsSync(ledger)).toBe(true)

  expect(await stage.call('GET', '/files/ledger.txt')).toMatchObject({ status: 200, body: 'all of it\n' })
  const range = await stage.call('GET', '/files/ledger.txt', { headers: { range: 'bytes=0-2' } })
  expect([range.status, range.body, range.headers.get('content-range')]).toEqual([206, 'all', 'bytes 0-2/10'])
  expect((await stage.call('HEAD', '/files/ledger.txt')).headers.get('content-length')).toBe('10')

  expect(await ana.approve(id)).toMatchObject({ status: 200 })
  expect((await deleted).status).toBe(204)
  expect(existsSync(ledger)).toBe(false)
  expect((await stage.call('GET', '/files/ledger.txt')).status).toBe(404)
})

test('a large upload that no rule reads goes through as it is', async () => {
  const body = `${'0123456789abcdef'.repeat(256 * 1024)}end`
  expect((await stage.call('PUT', '/files/drafts/large.txt', { body })).status).toBe(201)
  expect(await readFile(join(nginx.folder, 'drafts/large.txt'), 'utf8')).toBe(body)
})
