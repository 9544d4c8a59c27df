// A call that is held is approved by a click in Slack: by a linked person, who is not behind it, and the message says so in the end.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { signInAt } from '../support/console.ts'
import { eventually } from '../support/eventually.ts'
import { people } from '../support/people.ts'
import { botToken, buttonsOf, type Click, type Slack, signingSecret, startSlack, textsOf } from '../support/slack.ts'
import { financeRules, type Stage, startStage } from '../support/stage.ts'

let slack: Slack
let stage: Stage

const rules = financeRules().replace('then: hold\n', 'then: hold\n    notify: [ops]\n')

const channels = () => ({
  ops: {
    kind: 'slack',
    token: botToken,
    signingSecret,
    team: slack.team,
    channel: slack.channel,
    apiUrl: slack.apiUrl,
  },
})

beforeAll(async () => {
  slack = await startSlack()
  stage = await startStage({ rules, config: { channels: channels() } })
})
afterAll(async () => {
  await stage.close()
  await slack.close()
})

const send = async (payload: object): Promise<number> => {
  const { body, headers } = slack.request(payload)
  const answer = await fetch(`${stage.holdpoint.console}/slack/interactions`, { method: 'POST', body, headers })
  return answer.status
}
const click = async (one: Click): Promise<void> => expect(await send(await slack.click(one))).toBe(200)

/** Links somebody's account, as they would: the first click, the code from the console, the window. */
const linked = async (person: { readonly id: string }, value: string): Promise<void> => {
  const user = slack.users[person.id] ?? ''
  await click({ user, value })
  await eventually(async () => slack.whispers(user).find(text => text.includes('Link my account')))
  await click({ user, action: 'link' })
  const modal = await eventually(async () => slack.modal())
  const browser = await signInAt(stage.holdpoint.console, person)
  const { csrf = '' } = await browser.fields('/links')
  const page = await browser.visit(`${stage.holdpoint.console}/links`, { form: { csrf } })
  const [, code = ''] = /<strong>([2-9A-Z]{4}-[2-9A-Z]{4})<\/strong>/.exec(page.text) ?? []
  expect(await send(slack.submit(modal.callback_id, modal.private_metadata, { code }, user))).toBe(200)
  await eventually(async () => slack.whispers(user).find(text => text.includes('Linked')))
}

test('held, told, linked, approved by one click, answered, and the message says how it ended', async () => {
  const answer = stage.call('POST', '/billing/v1/refunds', { body: 'refund' })
  const [message] = await eventually(async () => {
    const found = await slack.messages()
    return found.length > 0 ? found : undefined
  })
  const approve = buttonsOf(message as never).find(({ action_id }) => action_id === 'approve')
  const value = approve?.value ?? ''
  const [hold = ''] = value.split('.')
  expect(textsOf(message as object)).toContain('agent-7')
  expect(stage.upstream.seen).toEqual([])

  await linked(people.ben, value)
  await click({ user: slack.users.ben ?? '', value })
  await eventually(async () => slack.whispers(slack.users.ben ?? '').find(text => /people behind/.test(text)))
  expect(stage.upstream.seen).toEqual([])

  await linked(people.ana, value)
  await click({ value })
  expect((await answer).status).toBe(200)
  expect(stage.upstream.seen).toHaveLength(1)
  const settled = await slack.message(hold, one => textsOf(one).includes('delivered'))
  expect(textsOf(settled)).toContain('Approved by Ana Ruiz, delivered (200)')
  expect(buttonsOf(settled).map(({ action_id }) => action_id)).toEqual(['open'])

  await stage.holdpoint.stop()
  const entries = (await stage.holdpoint.audit()).filter(entry => entry.hold === hold)
  expect(entries).toContainEqual(
    expect.objectContaining({
      kind: 'verdict.refused',
      code: 'own_call',
      reviewer: expect.objectContaining({ subject: 'ben', via: 'slack' }),
    }),
  )
  expect(entries).toContainEqual(
    expect.objectContaining({
      kind: 'verdict.accepted',
      reviewer: expect.objectContaining({ subject: 'ana', via: 'slack' }),
    }),
  )
})
