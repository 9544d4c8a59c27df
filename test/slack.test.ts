// Slack, from the message to the verdict: who may click, what is forged or comes twice, and what becomes of the message when things fail.
import { createHmac } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { channelsNow } from '../src/channels/make.ts'
import { slackSockets } from '../src/console/slack-socket.ts'
import { decide } from '../src/decide.ts'
import { viewOf } from '../src/hold.ts'
import { makeLog } from '../src/log.ts'
import { type Notify, notify } from '../src/notify.ts'
import type { Approve, SlackSettings } from '../src/settings.ts'
import { type ConsoleStage, startConsole } from './support/console.ts'
import { eventually } from './support/eventually.ts'
import { people } from './support/people.ts'
import {
  appToken,
  botToken,
  buttonsOf,
  type Click,
  type Message,
  type Slack,
  signingSecret,
  startSlack,
  textsOf,
} from './support/slack.ts'

const minuteMs = 60_000
let slack: Slack
let stage: ConsoleStage
let telling: Notify

const slackSettings = (): SlackSettings => ({
  kind: 'slack',
  name: 'ops',
  content: 'full',
  token: botToken,
  signingSecret,
  appToken,
  team: slack.team,
  channel: slack.channel,
  apiUrl: slack.apiUrl,
})

const approveWith = (more: Partial<Approve>): void => {
  stage.settings = {
    ...stage.settings,
    rules: stage.settings.rules.map(rule => ({ ...rule, approve: rule.approve.map(one => ({ ...one, ...more })) })),
  }
}

beforeAll(async () => {
  slack = await startSlack()
})
afterAll(() => slack.close())
beforeEach(async () => {
  stage = await startConsole({
    retell: (...what) => telling.retell(...what),
    tells: (...what) => telling.tells(...what),
    settings: settings => ({
      ...settings,
      channels: [slackSettings()],
      rules: settings.rules.map(rule => ({ ...rule, notify: ['ops'] })),
    }),
  })
  telling = notify(
    stage.parts,
    channelsNow(() => stage.settings.channels),
  )
})
afterEach(async () => {
  slack.fail = undefined
  slack.members.clear()
  await telling.close()
  await stage.app.slack.close()
  await stage.close()
})

const user = (name: string): string => slack.users[name] ?? ''

const post = (body: string, headers: { readonly [name: string]: string }): Promise<Response> =>
  fetch(`${stage.url}/slack/interactions`, { method: 'POST', body, headers })
const send = async (payload: object): Promise<number> => {
  const { body, headers } = slack.request(payload, { at: stage.now() })
  const { status } = await post(body, headers)
  await stage.app.slack.close()
  return status
}
const click = async (one: Click): Promise<void> => expect(await send(await slack.click(one))).toBe(200)

/** A hold as its message in Slack shows it. */
const told = async (opening: Parameters<ConsoleStage['hold']>[0] = {}) => {
  const hold = await stage.hold(opening)
  const message = await slack.message(hold)
  const value = buttonsOf(message).find(({ action_id }) => action_id === 'approve')?.value ?? ''
  return { hold, message, value }
}
const settled = (hold: string, text: string): Promise<Message> =>
  slack.message(hold, message => {
    telling.wake()
    return textsOf(message).includes(text)
  })

const link = async (person: { readonly id: string; readonly email: string }): Promise<void> => {
  const browser = await stage.browserOf(person as never)
  const { csrf = '' } = await browser.fields('/links')
  const page = await browser.visit(`${stage.url}/links`, { form: { csrf } })
  const [, code = ''] = /<strong>([2-9A-Z]{4}-[2-9A-Z]{4})<\/strong>/.exec(page.text) ?? []
  await send(slack.submit('link', JSON.stringify({ channel: 'ops' }), { code }, user(person.id)))
}
const refusals = async () => (await stage.entries()).filter(({ kind }) => kind === 'verdict.refused')
const lastWhisper = (name: string): string => slack.whispers(user(name)).at(-1) ?? ''
const stateOf = async (hold: string) => (await stage.read(hold)).state

test('one click of a linked person decides, and the message says by whom', async () => {
  await link(people.ana)
  expect(lastWhisper('ana')).toContain('decided by Ana Ruiz')
  const { hold, value, message } = await told({ customer: 'cus-9' })
  expect(textsOf(message)).toContain('cus-9')
  expect(slack.requests.findLast(({ method }) => method === 'chat.postMessage')).toMatchObject({
    unfurl_links: 'false',
    unfurl_media: 'false',
    link_names: 'false',
    parse: 'none',
  })
  await click({ value })
  expect(await stateOf(hold)).toBe('approved')
  expect(stage.deciders.at(-1)).toMatchObject({ subject: 'ana', via: 'slack' })
  expect(buttonsOf(await settled(hold, 'Approved by Ana Ruiz')).map(({ action_id }) => action_id)).toEqual(['open'])
})

test('a denial asks for a comment, which the message and the caller are told', async () => {
  await link(people.ana)
  const { hold, value } = await told()
  await click({ action: 'deny', value })
  expect(await stateOf(hold)).toBe('pending')
  const modal = slack.modal()
  expect(modal).toMatchObject({ callback_id: 'deny' })
  await send(slack.submit('deny', modal?.private_metadata ?? '', { comment: 'too <much>' }, user('ana')))
  expect(await stage.read(hold)).toMatchObject({ state: 'denied', facts: { comment: 'too <much>' } })
  expect(textsOf(await settled(hold, 'Denied by Ana Ruiz'))).toContain('too <much>')
})

test('where the rule wants a comment, an approval asks for it as well', async () => {
  await link(people.ana)
  approveWith({ comment: 'required' })
  const { hold, value } = await told()
  await click({ value })
  expect(await stateOf(hold)).toBe('pending')
  const modal = slack.modal()
  await send(slack.submit('approve', modal?.private_metadata ?? '', {}, user('ana')))
  expect(await stateOf(hold)).toBe('pending')
  await send(slack.submit('approve', modal?.private_metadata ?? '', { comment: 'seen the invoice' }, user('ana')))
  expect(await stage.read(hold)).toMatchObject({ state: 'approved', facts: { comment: 'seen the invoice' } })
})

test('votes show as they come, and one person is one of them', async () => {
  await link(people.ana)
  await link(people.dora)
  approveWith({ votes: 2 })
  const { hold, value } = await told()
  await click({ value })
  await settled(hold, '1 of 2 votes')
  await click({ value })
  expect(lastWhisper('ana')).toContain('somebody else as well')
  expect(await stateOf(hold)).toBe('pending')
  await click({ value, user: user('dora') })
  expect(await stateOf(hold)).toBe('approved')
})

test('the owner is told directly, if that is wanted: once, with nothing to decide by, and how it ended', async () => {
  stage.settings = { ...stage.settings, channels: [{ ...slackSettings(), dm: 'owner' }] }
  const { hold, value } = await told()
  const direct = await eventually(async () =>
    slack.requests.find(
      one =>
        one.method === 'chat.postMessage' && String(one.channel).startsWith('D') && JSON.stringify(one).includes(hold),
    ),
  )
  expect(textsOf(direct)).toContain('You are behind this call')
  expect(buttonsOf(direct as unknown as Message).map(({ action_id }) => action_id)).toEqual(['open'])
  await link(people.ana)
  await click({ value })
  await settled(hold, 'Approved by Ana Ruiz')
  await eventually(async () =>
    slack.requests.find(
      one => one.method === 'chat.update' && one.channel === direct.channel && textsOf(one).includes('Approved by Ana'),
    ),
  )
})

describe('who does not decide', () => {
  test('an account that nobody linked is told how, in private, and is on record', async () => {
    const { hold, value } = await told()
    await click({ value, user: user('cleo') })
    expect(lastWhisper('cleo')).toContain('Link my account')
    expect(await stateOf(hold)).toBe('pending')
    expect(await refusals()).toContainEqual(
      expect.objectContaining({
        hold,
        code: 'not_approver',
        detail: expect.stringContaining(`/${user('cleo')} is not linked`),
      }),
    )
    await click({ action: 'link', value: '', user: user('cleo') })
    expect(JSON.stringify(slack.modal())).toContain(`${stage.url}/links`)
  })

  test('the owner of the agent, linked: refused, told so, and on record', async () => {
    await link(people.ben)
    const { hold, value } = await told()
    await click({ value, user: user('ben') })
    expect(lastWhisper('ben')).toContain('people behind this call')
    expect(await stateOf(hold)).toBe('pending')
    expect(await refusals()).toContainEqual(
      expect.objectContaining({
        hold,
        code: 'own_call',
        reviewer: expect.objectContaining({ subject: 'ben', via: 'slack' }),
      }),
    )
  })

  test('somebody linked who is in no group of the rule: refused and on record', async () => {
    await link(people.cleo)
    const { hold, value } = await told()
    await click({ value, user: user('cleo') })
    expect(lastWhisper('cleo')).toContain('not one of those')
    expect(await stateOf(hold)).toBe('pending')
    expect(await refusals()).toContainEqual(
      expect.objectContaining({ hold, reviewer: expect.objectContaining({ subject: 'cleo' }) }),
    )
  })

  test.each([
    ['a guest', { is_restricted: true }],
    ['a guest of one channel', { is_ultra_restricted: true }],
    ['a bot', { is_bot: true }],
    ['a deactivated account', { deleted: true }],
    ['a stranger of Slack Connect', { is_stranger: true }],
    ["another workspace's", { team_id: 'T0OTHER' }],
  ])('%s, whatever it was linked to before, and no such account can be linked', async (_, more) => {
    await link(people.ana)
    const { hold, value } = await told()
    slack.members.set(user('ana'), more)
    await click({ value })
    expect(await stateOf(hold)).toBe('pending')
    expect((await refusals()).map(entry => entry.hold)).toContain(hold)
    slack.members.set(user('dora'), more)
    await link(people.dora)
    slack.members.clear()
    await click({ value, user: user('dora') })
    expect(lastWhisper('dora')).toContain('Link my account')
    expect(await stateOf(hold)).toBe('pending')
  })

  test.each([
    ['another team', { team: { id: 'T0OTHER' } }],
    ['no team', { team: null }],
    ['a user of another team', { user: { id: 'ana', team_id: 'T0OTHER' } }],
    ['another channel', { channel: { id: 'C0OTHER' } }],
    ['a bot', { bot_id: 'B1' }],
    ['nobody', { user: {} }],
  ])('a click of %s', async (_, more) => {
    const payload = JSON.parse(JSON.stringify(more).replace('"ana"', JSON.stringify(user('ana')))) as object
    await link(people.ana)
    const { hold, value } = await told()
    await click({ value, payload })
    expect(await stateOf(hold)).toBe('pending')
  })

  test('an account that the configuration says is somebody else’s', async () => {
    await link(people.ana)
    const { hold, value } = await told()
    const accounts = ['idp:ben', `ops:${slack.team}/${user('ana')}`]
    stage.settings = { ...stage.settings, people: [{ name: 'Ben', accounts, owns: [] }] }
    await click({ value })
    expect(await stateOf(hold)).toBe('pending')
  })

  test('somebody who signed out at the console', async () => {
    await link(people.ana)
    const { hold, value } = await told()
    stage.pass(13 * 60 * minuteMs)
    await click({ value })
    expect(lastWhisper('ana')).toContain('Link my account')
    expect(await stateOf(hold)).toBe('pending')
  })
})

test('an address that its owner has not confirmed links nobody', async () => {
  slack.members.set(user('ana'), { is_email_confirmed: false })
  await link(people.ana)
  expect(lastWhisper('ana')).toContain('not the one you signed in with')
})

test('where messages have no buttons a click on their link is answered, and nothing else is done', async () => {
  await link(people.ana)
  stage.settings = { ...stage.settings, channels: [{ ...slackSettings(), content: 'minimal' }] }
  const hold = await stage.hold({ customer: 'canary-5' })
  const message = await slack.message(hold)
  expect(buttonsOf(message).map(({ action_id }) => action_id)).toEqual(['open'])
  expect(JSON.stringify(message)).not.toContain('canary-5')
  await click({ action: 'open' })
  await click({ value: `${hold}.${viewOf((await stage.read(hold)).head)}` })
  expect(await stateOf(hold)).toBe('pending')
})

describe('what is not decided in a chat', () => {
  test.each([
    ['a call with a hidden value', { body: '{"amount": 1, "password": "canary-4711"}' }, {}],
    ['a call that wants a sign-in of its own', {}, { stepUp: { acr: [], maxAgeMs: minuteMs } }],
    ['a call that is too long', { body: JSON.stringify({ amount: 1, note: 'word '.repeat(1_000) }) }, {}],
  ])('%s: there is no button, and one that is made up is refused', async (_, opening, approve) => {
    await link(people.ana)
    approveWith(approve)
    const { hold, message, value } = await told(opening)
    expect(value).toBe('')
    expect(buttonsOf(message).map(({ action_id }) => action_id)).toEqual(['open'])
    expect(JSON.stringify(slack.requests)).not.toContain('canary-4711')
    const view = viewOf((await stage.read(hold)).head)
    await click({ value: `${hold}.${view}` })
    expect(lastWhisper('ana')).toContain('console')
    expect(await stateOf(hold)).toBe('pending')
    expect((await refusals()).map(entry => entry.hold)).toContain(hold)
  })

  test('a hold that this channel is not told of is none here', async () => {
    await link(people.ana)
    stage.settings = { ...stage.settings, rules: stage.settings.rules.map(rule => ({ ...rule, notify: [] })) }
    const hold = await stage.hold({ customer: 'canary-5' })
    const view = viewOf((await stage.read(hold)).head)
    for (const action of ['approve', 'deny'] as const) await click({ action, value: `${hold}.${view}` })
    await send(slack.submit('approve', JSON.stringify({ channel: 'ops', hold, view }), {}, user('ana')))
    expect(JSON.stringify(slack.requests)).not.toContain('canary-5')
    expect(await stateOf(hold)).toBe('pending')
    expect((await refusals()).map(entry => entry.hold)).toEqual([hold, hold, hold])
  })

  test('a verdict for another view of it: refused, and the message is brought up to date', async () => {
    await link(people.ana)
    const { hold, value, message } = await told()
    const before = slack.requests.length
    await click({ value: `${hold}.${'A'.repeat(22)}`, ts: message.ts })
    expect(await stateOf(hold)).toBe('pending')
    const update = slack.requests.slice(before).find(({ method }) => method === 'chat.update')
    expect(update).toMatchObject({ ts: message.ts })
    expect(JSON.stringify(update)).toContain(value)
  })

  test('a GET', async () => {
    const { hold } = await told()
    const answer = await fetch(`${stage.url}/slack/interactions`)
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST'])
    expect((await fetch(`${stage.url}/holds/${hold}`, { redirect: 'manual' })).status).toBe(303)
    expect(await stateOf(hold)).toBe('pending')
  })
})

describe('what does not come from Slack', () => {
  const forged = async (change: (one: ReturnType<Slack['request']>) => { body: string; headers: object }) => {
    await link(people.ana)
    const { hold, value } = await told()
    const { body, headers } = change(slack.request(await slack.click({ value }), { at: stage.now() }))
    const { status } = await post(body, headers as { [name: string]: string })
    await stage.app.slack.close()
    expect(await stateOf(hold)).toBe('pending')
    return status
  }

  test('another secret', async () => {
    const payload = await slack.click({ value: 'x' })
    expect(await forged(({ body }) => ({ body, headers: slack.request(payload, { secret: 'x' }).headers }))).toBe(401)
  })
  test('no signature', async () => {
    expect(
      await forged(({ body }) => ({ body, headers: { 'content-type': 'application/x-www-form-urlencoded' } })),
    ).toBe(401)
  })
  test('a body that was changed', async () => {
    expect(await forged(({ body, headers }) => ({ body: body.replace('approve', 'approv%65'), headers }))).toBe(401)
  })
  test('two payloads', async () => {
    await link(people.ana)
    const { hold, value } = await told()
    const payload = JSON.stringify(await slack.click({ value }))
    const body = new URLSearchParams([
      ['payload', payload],
      ['payload', payload],
    ]).toString()
    const timestamp = String(Math.floor(stage.now() / 1000))
    const signature = `v0=${createHmac('sha256', signingSecret).update(`v0:${timestamp}:${body}`).digest('hex')}`
    const answer = await post(body, {
      'content-type': 'application/x-www-form-urlencoded',
      'x-slack-request-timestamp': timestamp,
      'x-slack-signature': signature,
    })
    expect(answer.status).toBe(400)
    expect(await stateOf(hold)).toBe('pending')
  })
  test.each([-6, 6])('a request from %d minutes away', async minutes => {
    const { value } = await told()
    const { body, headers } = slack.request(await slack.click({ value }), { at: stage.now() + minutes * minuteMs })
    expect((await post(body, headers)).status).toBe(401)
  })

  test('the same request a second time does nothing, at any replica', async () => {
    await link(people.ana)
    approveWith({ votes: 2 })
    const { hold, value } = await told()
    const { body, headers } = slack.request(await slack.click({ value }), { at: stage.now() })
    for (let nth = 0; nth < 5; nth += 1) expect((await post(body, headers)).status).toBe(200)
    await stage.app.slack.close()
    expect((await stage.read(hold)).verdicts).toHaveLength(1)
    expect(stage.deciders.filter(({ via }) => via === 'slack')).toHaveLength(1)
  })
})

describe('when Slack fails', () => {
  const posts = (hold: string) =>
    slack.requests.filter(one => one.method === 'chat.postMessage' && JSON.stringify(one).includes(hold)).length
  const later = (ms: number) => async () => {
    stage.pass(ms)
    telling.wake()
    return undefined
  }

  test('down: it is tried again, and the hold says so meanwhile', async () => {
    slack.fail = () => 'refused'
    const hold = await stage.hold()
    const entry = await eventually(async () => (await stage.entries()).find(({ kind }) => kind === 'channel.failed'))
    expect(entry).toMatchObject({ hold, detail: expect.stringContaining('ops: Slack did not answer') })
    slack.fail = undefined
    await eventually(
      async () => (await slack.messages()).find(one => JSON.stringify(one).includes(hold)) ?? later(5_000)(),
    )
    expect((await slack.messages()).filter(one => JSON.stringify(one).includes(hold))).toHaveLength(1)
  })

  test('429: not before Retry-After', async () => {
    slack.fail = () => ({ status: 429, headers: { 'retry-after': '120' } })
    const hold = await stage.hold()
    await eventually(async () => (posts(hold) === 1 ? true : undefined))
    slack.fail = undefined
    const item = await eventually(async () => {
      const value = await stage.store.outbox.get(hold)
      return value?.includes('ratelimited') ? value : undefined
    })
    const { notBeforeAt } = JSON.parse(item.slice(item.indexOf('{'))).channels.ops
    expect(notBeforeAt).toBeGreaterThan(stage.now() + 110_000)
    stage.pass(121_000)
    telling.wake()
    await slack.message(hold)
    expect(posts(hold)).toBe(2)
  })

  test('an answer that was lost: the message is found, not sent a second time', async () => {
    slack.fail = method => (method === 'chat.postMessage' ? 'lost' : undefined)
    const hold = await stage.hold()
    await eventually(async () => (posts(hold) === 1 ? true : undefined))
    slack.fail = undefined
    await eventually(async () =>
      slack.requests.some(({ method }) => method === 'conversations.history') ? true : later(3_000)(),
    )
    await link(people.ana)
    const [one] = (await slack.messages()).filter(message => JSON.stringify(message).includes(hold))
    await click({ value: buttonsOf(one as Message)[0]?.value ?? '' })
    await settled(hold, 'Approved by Ana Ruiz')
    expect((await slack.messages()).filter(message => JSON.stringify(message).includes(hold))).toHaveLength(1)
  })

  test('a message that somebody removed needs no settling', async () => {
    const { hold, message } = await told()
    await fetch(`${slack.apiUrl}chat.delete`, {
      method: 'POST',
      headers: { authorization: `Bearer ${botToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ channel: slack.channel, ts: message.ts }),
    })
    await decide(stage.parts).revoke({ ...(await reviewerOf('ben')) }, hold, {})
    await eventually(async () => {
      telling.wake()
      return (await stage.store.outbox.get(hold)) === undefined ? true : undefined
    })
  })

  test('reminders stand below the message, and are settled with it', async () => {
    await link(people.ana)
    const { hold, message, value } = await told()
    stage.pass(11 * 60 * minuteMs)
    stage.pass(60 * minuteMs + 1)
    telling.wake()
    const [reply] = await eventually(async () => {
      const found = await slack.replies(message.ts)
      return found.length > 0 ? found : undefined
    })
    expect(reply?.text).toContain('still waits')
    await link(people.ana)
    await click({ value })
    await eventually(async () => (await slack.replies(message.ts)).find(one => one.text.includes('Approved by Ana')))
    expect(hold).not.toBe('')
  })
})

const reviewerOf = async (name: 'ben') => {
  await link(people[name])
  const visitor = await stage.app.links.visitorOf({ channel: 'ops', kind: 'slack', team: slack.team, user: user(name) })
  if (visitor === undefined) throw new Error(`${name} is not linked`)
  return visitor.reviewer
}

test('over Socket Mode a click decides as well, once, and the connection is made again when it breaks', async () => {
  const sockets = slackSockets([slackSettings()], stage.app.slack, makeLog('silent'))
  try {
    const socket = await eventually(async () => [...slack.sockets][0])
    await link(people.ana)
    approveWith({ votes: 2 })
    const { hold, value } = await told()
    const envelope = { type: 'interactive', envelope_id: 'e-1', payload: await slack.click({ value }) }
    const acks: string[] = []
    socket.on('message', data => acks.push(JSON.parse(String(data)).envelope_id))
    socket.send(JSON.stringify(envelope))
    socket.send(JSON.stringify(envelope))
    await eventually(async () =>
      (await stage.read(hold)).verdicts.length === 1 && acks.length === 2 ? true : undefined,
    )
    await stage.app.slack.close()
    expect((await stage.read(hold)).verdicts).toHaveLength(1)
    expect(acks).toEqual(['e-1', 'e-1'])

    slack.fail = method => (method === 'apps.connections.open' ? 'refused' : undefined)
    socket.terminate()
    await eventually(async () => (slack.sockets.size === 0 ? true : undefined))
    slack.fail = undefined
    const again = await eventually(async () => [...slack.sockets][0])
    await link(people.dora)
    again.send(
      JSON.stringify({
        type: 'interactive',
        envelope_id: 'e-2',
        payload: await slack.click({ value, user: user('dora') }),
      }),
    )
    await eventually(async () => ((await stateOf(hold)) === 'approved' ? true : undefined))
  } finally {
    await sockets.close()
  }
})
