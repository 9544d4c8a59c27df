// A call that is held is approved by a click in Teams: by a linked person, who is not behind it; its agent gets the answer, and the card says
// in the end how it went, also when Holdpoint was away in between.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { signInAt } from '../support/console.ts'
import { eventually } from '../support/eventually.ts'
import { people } from '../support/people.ts'
import { startHoldpoint } from '../support/program.ts'
import { financeRules, type Stage, startStage } from '../support/stage.ts'
import {
  appId,
  botSecret,
  type Card,
  conversation,
  type Person,
  pressable,
  startTeams,
  type Teams,
  tenant,
  textsOf,
  valueIn,
} from '../support/teams.ts'

let teams: Teams
let stage: Stage

const rules = financeRules().replace('then: hold\n', 'then: hold\n    notify: [ops]\n')

beforeAll(async () => {
  teams = await startTeams()
  const { serviceUrl, tokenUrl, metadataUrl } = teams
  const bot = { appId, secret: botSecret, tenant, conversation, serviceUrl, tokenUrl, metadataUrl }
  stage = await startStage({ rules, config: { channels: { ops: { kind: 'teams', bot } } } })
})
afterAll(async () => {
  await stage.close()
  await teams.close()
})

const click = async (person: Person, verb: string, data: object, console = stage.holdpoint.console): Promise<Card> => {
  const { headers, body } = await teams.request(person, verb, data)
  const answer = await fetch(`${console}/teams/messages`, { method: 'POST', headers, body })
  expect(answer.status).toBe(200)
  return ((await answer.json()) as { value: Card }).value
}

/** Links somebody's account, as they would: the first click, the code from the console, the field in the card. */
const linked = async (person: Person, value: string): Promise<void> => {
  expect(textsOf(await click(person, 'approve', { hold: value }))).toContain('Link your account')
  const browser = await signInAt(stage.holdpoint.console, person)
  const { csrf = '' } = await browser.fields('/links')
  const page = await browser.visit(`${stage.holdpoint.console}/links`, { form: { csrf } })
  const [, code = ''] = /<strong>([2-9A-Z]{4}-[2-9A-Z]{4})<\/strong>/.exec(page.text) ?? []
  expect(textsOf(await click(person, 'link', { hold: value, code }))).toContain(`decided by`)
}

const firstCard = () => eventually(async () => teams.posted.at(-1))

test('held, told, linked, approved by one click, answered, and the card says how it ended', async () => {
  const answer = stage.call('POST', '/billing/v1/refunds', { body: 'refund' })
  const { card } = await firstCard()
  const value = valueIn(card)
  const [hold = ''] = value.split('.')
  expect(textsOf(card)).toContain('agent-7')
  expect(pressable(card)).toEqual(['approve', 'deny', 'Action.OpenUrl'])

  await linked(people.ben, value)
  expect(textsOf(await click(people.ben, 'approve', { hold: value }))).toMatch(/people behind/)
  expect(stage.upstream.seen).toEqual([])

  await linked(people.ana, value)
  expect(textsOf(await click(people.ana, 'approve', { hold: value }))).toContain('Approved by Ana Ruiz')
  expect((await answer).status).toBe(200)
  expect(stage.upstream.seen).toHaveLength(1)
  const settled = await teams.card(hold, one => textsOf(one).includes('Approved by Ana Ruiz, delivered (200)'))
  expect(pressable(settled.card)).toEqual(['Action.OpenUrl'])
  expect(teams.posted).toHaveLength(1)

  const entries = await eventually(async () => {
    const found = (await stage.holdpoint.audit()).filter(entry => entry.hold === hold)
    return found.some(({ kind }) => kind === 'verdict.accepted') ? found : undefined
  })
  const by = (subject: string) => expect.objectContaining({ subject, via: 'teams' })
  expect(entries).toContainEqual(
    expect.objectContaining({ kind: 'verdict.refused', code: 'own_call', reviewer: by('ben') }),
  )
  expect(entries).toContainEqual(expect.objectContaining({ kind: 'verdict.accepted', reviewer: by('ana') }))
})

test('a card that could not be changed is changed after a restart, and no second one is sent', async () => {
  const call = await stage.call('POST', '/billing/v1/refunds', {
    body: 'another',
    headers: { prefer: 'respond-async' },
  })
  expect(call.status).toBe(202)
  const [, hold = ''] = /(h_[A-Za-z0-9_-]{22})/.exec(call.headers.get('location') ?? '') ?? []
  await teams.card(hold)
  const before = teams.posted.length
  const tried = (): number => teams.requests.filter(one => one.startsWith('PUT ')).length
  const changed = tried()
  teams.fail = path => (path.includes('/activities/') ? { status: 503 } : undefined)
  const ana = await stage.desk(people.ana)
  expect((await ana.deny(hold, 'not today')).status).toBe(200)
  await eventually(async () => (tried() > changed ? true : undefined))
  await stage.holdpoint.stop()
  teams.fail = undefined
  const again = await startHoldpoint({ config: {}, dir: stage.holdpoint.dir })
  try {
    const { card } = await teams.card(hold, one => textsOf(one).includes('Denied by Ana Ruiz'))
    expect(textsOf(card)).toContain('not today')
    expect(teams.posted).toHaveLength(before)
    expect(JSON.stringify([...again.logs(), ...stage.holdpoint.logs()])).not.toContain(botSecret)
  } finally {
    await again.stop()
  }
})
