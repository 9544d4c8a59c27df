// Webhooks: signed as Standard Webhooks says, told everything in order and as often as it takes, and no secret of a call in any of it.
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { channelsNow } from '../src/channels/make.ts'
import { decide } from '../src/decide.ts'
import { type Notify, notify } from '../src/notify.ts'
import type { Reviewer } from '../src/nouns.ts'
import type { WebhookSettings } from '../src/settings.ts'
import { type ConsoleStage, startConsole } from './support/console.ts'
import { eventually } from './support/eventually.ts'
import canaries from './tables/canaries.json' with { type: 'json' }

const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

type Got = { readonly headers: IncomingHttpHeaders; readonly body: string; readonly path: string }
type Document = {
  readonly type: string
  readonly data: { readonly hold: string; readonly [key: string]: unknown }
}

let got: Got[]
let answer: (nth: number) => { readonly status: number; readonly headers?: { readonly [name: string]: string } }
let server: Server
let stage: ConsoleStage
let telling: Notify
let base: string

const hook = (more: Partial<WebhookSettings> = {}): WebhookSettings => ({
  kind: 'webhook',
  name: 'siem',
  content: 'full',
  url: `${base}/in?key=in-the-address`,
  secret,
  ...more,
})
const using = (settings: WebhookSettings): void => {
  stage.settings = { ...stage.settings, channels: [settings] }
}

beforeEach(async () => {
  got = []
  answer = () => ({ status: 200 })
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    got.push({ headers: request.headers, body: Buffer.concat(chunks).toString('utf8'), path: request.url ?? '' })
    const { status, headers } = answer(got.length)
    response.writeHead(status, headers)
    response.end('a long answer that nobody reads')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  stage = await startConsole({
    settings: settings => ({
      ...settings,
      channels: [hook()],
      rules: settings.rules.map(rule => ({ ...rule, notify: ['siem'] })),
    }),
  })
  telling = notify(
    stage.parts,
    channelsNow(() => stage.settings.channels),
  )
})
afterEach(async () => {
  await telling.close()
  await stage.close()
  server.close()
  server.closeAllConnections()
})

const received = (count: number): Promise<readonly Got[]> =>
  eventually(async () => {
    telling.wake()
    return got.length >= count ? got : undefined
  })
const documentsOf = (all: readonly Got[]): readonly Document[] => all.map(({ body }) => JSON.parse(body) as Document)

const ana = (): Reviewer => ({
  ...{ login: 'idp', subject: 'ana', ids: ['ana'], name: 'Ana Ruiz', emailTrusted: false, groups: ['finance-leads'] },
  ...{ groupsAt: stage.now(), via: 'api', interactive: true },
})
const approve = async (hold: string): Promise<void> => {
  const desk = decide(stage.parts)
  await desk.decide(ana(), hold, 'approve', { view: (await desk.show(ana(), hold)).view, comment: 'fine' })
}

test('each occasion is one signed document, to the address that is configured', async () => {
  const hold = await stage.hold({ customer: 'cus-1', reason: 'they asked' })
  await received(1)
  await approve(hold)
  const all = await received(2)
  expect(documentsOf(all)).toMatchObject([
    { type: 'hold.opened', data: { hold, status: 'pending', reason: 'they asked', request: { method: 'POST' } } },
    { type: 'hold.approved', data: { hold, status: 'approved', by: 'Ana Ruiz', comment: 'fine' } },
  ])
  for (const { headers, body, path } of all) {
    const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = headers
    const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
    expect(signature).toBe(`v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`)
    expect(Math.abs(Date.now() / 1000 - Number(timestamp))).toBeLessThan(30)
    expect(path).toBe('/in?key=in-the-address')
    expect(headers['content-type']).toBe('application/json')
  }
  expect(new Set(all.map(({ headers }) => headers['webhook-id'])).size).toBe(2)
})

test('a repetition has the same id, and what comes later waits for it', async () => {
  answer = nth => ({ status: nth < 3 ? 500 : 204 })
  const hold = await stage.hold()
  await received(1)
  await approve(hold)
  for (const count of [2, 3, 4]) {
    stage.pass(10_000)
    await received(count)
  }
  expect(documentsOf(got).map(({ type }) => type)).toEqual([
    ...['hold.opened', 'hold.opened', 'hold.opened', 'hold.approved'],
  ])
  expect(new Set(got.slice(0, 3).map(({ headers }) => headers['webhook-id'])).size).toBe(1)
})

test('a redirect is a failure and is not followed', async () => {
  answer = () => ({ status: 307, headers: { location: `${base}/elsewhere` } })
  const hold = await stage.hold()
  const entry = await eventually(async () => (await stage.entries()).find(({ kind }) => kind === 'channel.failed'))
  expect(entry).toMatchObject({ hold, detail: 'siem: it answered 307' })
  expect(got.map(({ path }) => path)).toEqual(['/in?key=in-the-address'])
})

test('what is said of a failure names no address and no secret', async () => {
  server.close()
  server.closeAllConnections()
  await stage.hold()
  const entry = await eventually(async () => (await stage.entries()).find(({ kind }) => kind === 'channel.failed'))
  expect(entry.detail).toBe('siem: no answer (ECONNREFUSED)')
})

test('with the minimum nothing of the call is told', async () => {
  using(hook({ content: 'minimal' }))
  await stage.hold({ customer: 'canary-1', reason: 'canary-2' })
  const [one] = documentsOf(await received(1))
  expect(Object.keys(one?.data ?? {}).sort()).toEqual([
    'approvers',
    'expires_at',
    'hold',
    'opened_at',
    'rules',
    'status',
    'url',
    'verdicts',
    'votes',
  ])
  expect(JSON.stringify(got)).not.toContain('canary')
})

test('fingerprints are told to nobody', async () => {
  stage.settings = {
    ...stage.settings,
    rules: stage.settings.rules.map(rule => ({ ...rule, mask: ['json./customer'] })),
  }
  await stage.hold({ customer: 'cus-1' })
  const [one] = await received(1)
  expect(one?.body).toContain('‹')
  expect(one?.body).not.toMatch(/#[0-9a-f]{8}/)
})

type Row = {
  readonly where: string
  readonly header?: readonly [string, string]
  readonly query?: unknown
  readonly type?: string
  readonly body?: string
  readonly reason?: string
  readonly summary?: string
  readonly mask?: readonly string[]
  readonly wrap?: unknown
  readonly encoding?: unknown
}

// The rows that a call with a JSON body can carry as they are; test/mask.test.ts plants all of them.
const isJson = (text: string): boolean => {
  try {
    return JSON.parse(text) !== undefined
  } catch {
    return false
  }
}
const plain = (canaries as unknown as readonly Row[]).filter(
  ({ wrap, encoding, query, header, reason, type, body = '' }) =>
    wrap === undefined &&
    encoding === undefined &&
    (type === undefined || (type === 'application/json' && isJson(body))) &&
    (typeof query === 'string' || header !== undefined || reason !== undefined || type !== undefined),
)

test.each(plain.map(row => [row.where, row] as const))('no canary: %s', async (_, row) => {
  const canary = 'hp-canary-q7Zk2v'
  const put = (text: string): string => text.replaceAll('§', canary)
  const rule = { summary: row.summary, mask: row.mask ?? [] }
  stage.settings = { ...stage.settings, rules: stage.settings.rules.map(one => ({ ...one, ...rule })) }
  await stage.hold({
    ...(row.header === undefined ? {} : { headers: [[row.header[0], put(row.header[1])]] }),
    ...(typeof row.query === 'string' ? { target: `/v1/refunds?${put(row.query)}` } : {}),
    ...(row.type === undefined || row.body === undefined ? {} : { body: put(row.body) }),
    ...(row.reason === undefined ? {} : { reason: put(row.reason) }),
  })
  const [one] = await received(1)
  expect(one?.body).not.toContain(canary)
  expect(documentsOf(got)[0]?.data.request).toBeDefined()
})
