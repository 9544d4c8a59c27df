// Forms in parts and JSON lines, as their own clients send them: rules read them, reviewers see every part, and bytes pass as they came.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people } from '../support/people.ts'
import { type Desk, type Stage, startStage, waiting } from '../support/stage.ts'

const rules = `
rules:
  - { name: no-deletes, match: { upstream: billing, path: /bulk, json: { /delete: { exists: true } } }, then: deny }
  - name: large
    match: { upstream: billing, path: /bulk, json: { /amount: { over: 100 } } }
    then: hold
    approve: { by: { groups: [finance-leads] }, wait: 30s }
    summary: "Move {json./amount}"
  - name: by-digest
    match: { upstream: billing, path: /upload, form: { to: archive } }
    then: hold
    approve: { by: { groups: [finance-leads] }, wait: 30s, unreadable: digest }
  - name: to-others
    match: { upstream: billing, path: /upload, form: { to: { not: me } } }
    then: hold
    approve: { by: { groups: [finance-leads] }, wait: 30s }
  - { name: small, match: { upstream: billing, path: /bulk, json: { /amount: { under: 101 } } }, then: allow }
  - { name: mine, match: { upstream: billing, path: /upload, form: { to: me } }, then: allow }
`
let stage: Stage
let ana: Desk

beforeAll(async () => {
  stage = await startStage({ rules })
  ana = await stage.desk(people.ana)
})
afterAll(() => stage.close())

const lines = (...values: readonly object[]) =>
  stage.call('POST', '/billing/bulk', {
    headers: { 'content-type': 'application/x-ndjson' },
    body: values.map(value => `${JSON.stringify(value)}\n`).join(''),
  })

/** As fetch writes it. */
const upload = async (...fields: readonly (readonly [string, string | Blob])[]) => {
  const form = new FormData()
  for (const [name, value] of fields) form.append(name, value)
  const request = new Request('http://x', { method: 'POST', body: form })
  const type = request.headers.get('content-type') ?? ''
  const body = await request.arrayBuffer()
  const answer = await fetch(`${stage.holdpoint.gate}/billing/upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stage.token}`, 'content-type': type },
    body,
  })
  return { status: answer.status, text: await answer.text(), sent: Buffer.from(body).toString() }
}

test('of JSON lines an allow rule wants all, a hold or deny rule one', async () => {
  expect((await lines({ amount: 1 }, { amount: 2 })).status).toBe(200)
  expect(await lines({ amount: 1 }, { delete: { id: 7 } })).toMatchObject({
    status: 403,
    json: { code: 'denied_by_rule' },
  })
  expect(await lines({ amount: 1 }, { total: 2 })).toMatchObject({ status: 403, json: { code: 'no_rule' } })
  const before = stage.upstream.seen.length
  const held = lines({ amount: 1 }, { amount: 500 })
  const row = await waiting(ana)
  expect(row.line).toBe('Move 1, 500')
  expect((await ana.hold(row.id)).request.body).toMatchObject({ kind: 'shown', text: '{"amount":1}\n{"amount":500}\n' })
  await ana.approve(row.id)
  expect((await held).status).toBe(200)
  expect(stage.upstream.seen.slice(before).map(({ body }) => body)).toEqual(['{"amount":1}\n{"amount":500}\n'])
})

test('a form in parts is allowed by its fields, and passes as it came', async () => {
  const { status, sent } = await upload(['to', 'me'], ['doc', new Blob(['hello'], { type: 'text/plain' })])
  expect(status).toBe(200)
  expect(stage.upstream.seen.at(-1)?.body).toBe(sent)
})

test('a held one shows its parts; one with bytes that nobody can see is not held, unless by digest', async () => {
  const held = upload(['to', 'ben'], ['doc', new File(['line one\nto = me'], 'note.txt', { type: 'text/plain' })])
  const { id } = await waiting(ana)
  expect((await ana.hold(id)).request.body).toMatchObject({
    text: 'to = ben\ndoc (file "note.txt", text/plain, 16 bytes) = line one\n    to = me\n',
  })
  await ana.approve(id)
  expect((await held).status).toBe(200)

  const before = stage.upstream.seen.length
  const bytes = new File([new Uint8Array([0, 255])], 'a.bin')
  const refused = await upload(['to', 'ben'], ['doc', bytes])
  expect([refused.status, JSON.parse(refused.text).code]).toEqual([415, 'unreadable_body'])
  expect(stage.upstream.seen).toHaveLength(before)

  const byDigest = upload(['to', 'archive'], ['doc', bytes])
  const row = await waiting(ana)
  expect((await ana.hold(row.id)).request.body).toMatchObject({
    unshown: expect.any(String),
    text: expect.stringContaining('‹binary 2'),
  })
  await ana.deny(row.id)
  expect((await byDigest).status).toBe(403)
})

test('a form that two servers could read differently is allowed by no rule about its fields', async () => {
  const body = '--7Q\r\nContent-Disposition: form-data; name="to"; name="from"\r\n\r\nme\r\n--7Q--\r\n'
  const answer = await stage.call('POST', '/billing/upload', {
    headers: { 'content-type': 'multipart/form-data; boundary=7Q' },
    body,
  })
  expect([answer.status, answer.json?.code]).toEqual([403, 'no_rule'])
})
