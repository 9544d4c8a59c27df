// One secret in every place of a call where secrets travel, sent through the real program: no surface shows it, and no file holds it.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { people, signIn } from '../support/people.ts'
import { type Desk, financeRules, type Stage, startStage } from '../support/stage.ts'

const canary = 'hp-canary-q7Zk2v'
const encoded = [canary, Buffer.from(canary).toString('base64').slice(2, 18), encodeURIComponent(canary)]
const base64 = (text: string): string => Buffer.from(text).toString('base64')
const json = { 'content-type': 'application/json' }

type Planted = {
  readonly target?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string | Buffer
}

const plants: readonly (readonly [string, Planted])[] = [
  ['a header', { headers: { 'x-api-key': canary } }],
  ['a credential of the upstream', { headers: { cookie: `session=${canary}` } }],
  ['a query value', { target: `/billing/v1/refunds?password=${canary}` }],
  ['JSON', { headers: json, body: JSON.stringify({ password: canary }) }],
  ['JSON in a string', { headers: json, body: JSON.stringify({ config: JSON.stringify({ token: canary }) }) }],
  ['base64', { headers: json, body: JSON.stringify({ blob: base64(`{"secret":"${canary}"}`) }) }],
  [
    'a form',
    { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `client_secret=${canary}&amount=1` },
  ],
  ['gzip', { headers: { ...json, 'content-encoding': 'gzip' }, body: gzipSync(JSON.stringify({ password: canary })) }],
  ['the reason', { headers: { 'holdpoint-reason': `because password=${canary} expired` } }],
]

let stage: Stage
let ana: Desk
let bearer: string

beforeAll(async () => {
  stage = await startStage({
    rules: financeRules(),
    answer: async () => ({ status: 500, body: `{"error":"password=${canary}"}` }),
  })
  ana = await stage.desk(people.ana)
  bearer = await signIn(stage.idp.issuer, people.ana)
})
afterAll(() => stage.close())

/** Every file the program wrote, as text. */
const written = (dir: string): readonly (readonly [string, string])[] =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .map(name => join(dir, name))
    .filter(name => statSync(name).isFile())
    .map(name => [name, readFileSync(name, 'latin1')] as const)

test('no surface shows a canary, and no file holds one', async () => {
  const listening = new AbortController()
  const stream = await fetch(`${stage.holdpoint.console}/api/events`, {
    headers: { authorization: `Bearer ${bearer}` },
    signal: listening.signal,
  })
  let events = ''
  const reading = (async () => {
    const decoder = new TextDecoder()
    for await (const chunk of stream.body ?? []) events += decoder.decode(chunk, { stream: true })
  })().catch(() => undefined)

  const seen: [string, string][] = []
  for (const [where, { target = '/billing/v1/refunds', headers = {}, body }] of plants) {
    const answer = await fetch(`${stage.holdpoint.gate}${target}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stage.token}`, prefer: 'respond-async', ...headers },
      ...(body === undefined ? {} : { body }),
    })
    const task = await answer.text()
    expect([where, answer.status]).toEqual([where, 202])
    const { id } = (JSON.parse(task) as { readonly task: { readonly id: string } }).task
    const { hidden } = await ana.hold(id)
    const view = JSON.stringify([await ana.pending(), await ana.hold(id)])
    seen.push([`${where}: task`, task], [`${where}: view`, view])
    // Ana lets it go unseen, saying so, and her comment carries one too.
    const { view: shown } = await ana.hold(id)
    const verdict = await fetch(`${stage.holdpoint.console}/api/holds/${id}/approve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, ...json },
      body: JSON.stringify({ view: shown, unseen: hidden.not_looked_at, comment: `password=${canary}` }),
    })
    seen.push([`${where}: verdict`, await verdict.text()])
    const ended = await eventually(async () => {
      const now = await ana.hold(id)
      return now.status === 'delivered' ? JSON.stringify(now) : undefined
    })
    seen.push([`${where}: delivered`, ended])
    const told = await stage.call('GET', `/.holdpoint/holds/${id}`)
    seen.push([`${where}: task at the end`, told.body])
  }
  await eventually(async () => (events.split('"delivered"').length > plants.length ? true : undefined))
  listening.abort()
  await reading
  seen.push(['events', events])

  await stage.holdpoint.stop()
  seen.push(
    ['log', JSON.stringify(stage.holdpoint.logs())],
    ...written(stage.holdpoint.dir).map(one => [...one] as [string, string]),
  )
  const found = seen.filter(([, text]) => encoded.some(form => text.includes(form))).map(([where]) => where)
  expect(found).toEqual([])
  // And yet the upstream got every one of them.
  expect(stage.upstream.seen).toHaveLength(plants.length)
})
