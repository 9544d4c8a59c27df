// What a Slack message shows of a call: all of it and nothing else, in texts that Slack does not read.
import { describe, expect, test } from 'vitest'
import type { Notice, Shown } from '../src/channels/channel.ts'
import { buttonValue, openOnly, readValue } from '../src/channels/offer.ts'
import { outcomeOf } from '../src/channels/outcome.ts'
import { messageOf, replyOf } from '../src/channels/slack-message.ts'
import { fromSlack } from '../src/channels/slack-signature.ts'
import { live, states } from '../src/states.ts'
import { buttonsOf, type Message, textsOf } from './support/slack.ts'

const hold = 'h_AAAAAAAAAAAAAAAAAAAAAA'
const view = 'BBBBBBBBBBBBBBBBBBBBBB'

const shown = (more: Partial<Shown> = {}): Shown => ({
  view,
  line: 'Refund 250 EUR to cus-1',
  action: { name: 'http:POST', resource: '/v1/refunds', access: 'write', fields: {} },
  caller: 'agent agent-7 (agents)',
  people: ['ben@acme.test'],
  request: {
    method: 'POST',
    target: '/v1/refunds?dry=no',
    headers: [['content-type', 'application/json']],
    body: { kind: 'shown', type: 'application/json', size: 15, text: '{"amount": 250}' },
  },
  hidden: { bytes: 0, of: 15 },
  digest: 'd1935',
  commentRequired: false,
  ...more,
})

const notice = (more: Partial<Notice> = {}, of: Partial<Shown> = {}): Notice => ({
  id: 'msg_1',
  occasion: 'opened',
  at: 0,
  hold,
  state: 'pending',
  url: `https://holdpoint.acme.test/holds/${hold}`,
  rules: ['refunds'],
  upstream: 'billing',
  approvers: ['idp:finance-leads'],
  openedAt: 0,
  expiresAt: 1_800_000,
  votes: { have: 0, needed: 1 },
  verdicts: [],
  shown: shown(of),
  ...more,
})
const buttons = (one: Notice): readonly string[] =>
  buttonsOf(messageOf(one) as unknown as Message).map(({ action_id }) => action_id)

test('it shows the action first, then who, for whom and why, and the whole request', () => {
  const message = messageOf(notice({}, { reason: 'the customer asked' }))
  expect(textsOf(message)).toContain(
    ['Refund 250 EUR to cus-1', '\n', 'Caller: ', 'agent agent-7 (agents)', '\n', 'For: ', 'ben@acme.test'].join('\n'),
  )
  for (const text of [
    "Why, in the caller's own words: ",
    'the customer asked',
    'idp:finance-leads',
    '1970-01-01 00:30 UTC',
  ])
    expect(textsOf(message)).toContain(text)
  expect(textsOf(message)).toContain('POST /v1/refunds?dry=no\ncontent-type: application/json\n\n{"amount": 250}')
  expect(buttons(notice())).toEqual(['approve', 'deny', 'open'])
  expect(readValue(buttonsOf(message as unknown as Message)[0]?.value)).toEqual({ hold, view })
})

describe('what a call says is never read by Slack', () => {
  const hostile = [
    '<!channel>',
    '<https://evil.example|Approve>',
    '*bold* _it_ ~no~ `code` ```fence```',
    ':tada: @here <@U1>',
    '&lt;!here&gt;',
  ]
  const plainly: ReadonlySet<string> = new Set(['plain_text', 'text'])
  const mrkdwn = (part: unknown): readonly object[] => {
    if (part === null || typeof part !== 'object') return []
    const own = 'text' in part && typeof part.text === 'string' && !plainly.has((part as { type?: string }).type ?? '')
    return [...(own ? [part] : []), ...Object.values(part).flatMap(mrkdwn)]
  }

  test.each(hostile)('%s', text => {
    const message = messageOf(
      notice(
        { by: text },
        {
          line: text,
          reason: text,
          caller: text,
          people: [text],
          comment: text,
          request: {
            method: 'POST',
            target: text,
            headers: [[text, text]],
            body: { kind: 'shown', type: 'a', size: 1, text },
          },
        },
      ),
    )
    expect(message.blocks.flatMap(mrkdwn)).toEqual([])
    expect(JSON.stringify(message.blocks)).not.toContain('mrkdwn')
    expect(message.text).not.toMatch(/[<>]/)
    expect(textsOf({ blocks: message.blocks }).split(text).length).toBeGreaterThan(4)
    for (const state of states) {
      const settled = messageOf(notice({ state, by: text }, { line: text, comment: text }))
      expect(settled.blocks.flatMap(mrkdwn)).toEqual([])
      expect(settled.text).not.toMatch(/[<>]/)
      expect(replyOf(notice({ state, by: text })).text).not.toMatch(/[<>]/)
    }
  })
})

describe('what was not seen in full cannot be approved', () => {
  const body = (text: string) => ({
    request: {
      method: 'POST',
      target: '/',
      headers: [],
      body: { kind: 'shown', type: 'text/plain', size: text.length, text } as const,
    },
  })

  test.each([
    ['a body of 2 900 characters', body('x'.repeat(2_900)), true],
    ['a body of 3 001 characters', body('x'.repeat(3_001)), false],
    ['a line of 501 characters', { line: 'x'.repeat(501) }, false],
    ['a reason of 1 001 characters', { reason: 'x'.repeat(1_001) }, false],
    ['a caller of 501 characters', { caller: 'x'.repeat(501) }, false],
    ['many people', { people: Array.from({ length: 60 }, () => 'ben@acme.test') }, false],
    [
      'many headers',
      { request: { ...shown().request, headers: Array.from({ length: 300 }, () => ['x-name', 'value']) as never } },
      false,
    ],
    ['what is for the console only', { openOnly: 'Some of its values are hidden.' }, false],
  ])('%s', (_, more, may) => {
    const one = notice({}, more)
    expect(buttons(one)).toEqual(may ? ['approve', 'deny', 'open'] : ['open'])
    const texts = textsOf(messageOf(one))
    expect(texts.includes('This is the whole request.')).toBe(may)
    if ('request' in more && !may) expect(texts).not.toContain('x'.repeat(100))
  })

  test.each([
    [{ unseen: 1, body: { kind: 'none' }, stepUp: false }, 'hidden'],
    [{ unseen: 0, body: { kind: 'opaque', type: 'a', size: 1, why: 'x' }, stepUp: false }, 'cannot be shown'],
    [
      { unseen: 0, body: { kind: 'shown', type: 'a', size: 1, text: 'x', unshown: 'a file' }, stepUp: false },
      'cannot be shown',
    ],
    [{ unseen: 0, body: { kind: 'none' }, stepUp: true }, 'sign-in'],
  ] as const)('%j', (call, why) => {
    expect(openOnly(call)).toContain(why)
    expect(openOnly({ unseen: 0, body: { kind: 'none' }, stepUp: false })).toBeUndefined()
  })

  test('nor where nothing of the call is shown', () => {
    const { shown: _, ...minimal } = notice()
    expect(buttons(minimal)).toEqual(['open'])
  })
})

test('once it does not wait any more there is nothing to press but Open, and it says how it ended', () => {
  for (const state of states.filter(one => one !== 'pending')) {
    expect(buttons(notice({ state }))).toEqual(['open'])
    expect(outcomeOf(notice({ state, by: 'Ana Ruiz' }))).toMatch(
      live.has(state) || state === 'denied' ? /by Ana Ruiz/ : /./,
    )
  }
  expect(textsOf(messageOf(notice({ state: 'denied', by: 'Ana' }, { comment: 'too much' })))).toContain('too much')
})

test('whoever was not asked, because the glass was broken, is told so', () => {
  const verdicts = [{ reviewer: 'Zoe', verdict: 'break_glass', at: 0 }] as const
  for (const state of ['approved', 'delivered', 'failed', 'unknown', 'lapsed'] as const)
    expect(outcomeOf(notice({ state, by: 'Zoe', verdicts }))).toMatch(/break-glass.*by Zoe/)
  expect(outcomeOf(notice({ state: 'delivered', by: 'Ana' }))).not.toContain('break-glass')
})

test('it keeps within the limits of Slack, whatever the hold says', () => {
  const long = 'y'.repeat(5_000)
  const message = messageOf(
    notice({ state: 'denied', by: long, approvers: Array.from({ length: 50 }, () => 'idp:g') }, {}),
  )
  const [header] = message.blocks as readonly { text?: { text: string } }[]
  expect(header?.text?.text.length).toBeLessThanOrEqual(150)
  expect(buttonValue(hold, view).length).toBeLessThan(2_000)
})

test.each([`${hold}.${view}x`, `${hold}`, `x.${view}`, '', 7, null, `${hold}.${view}\n`])(
  'the value %j is none of ours',
  value => {
    expect(readValue(value)).toBeUndefined()
  },
)

describe('signatures', () => {
  // Slack's own example (https://docs.slack.dev/authentication/verifying-requests-from-slack).
  const secret = '8f742231b10e8888abcd99yyyzzz85a5'
  const timestamp = '1531420618'
  const now = 1_531_420_618_000
  const body = Buffer.from(
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
  )
  const signature = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503'
  const good = { body, timestamp, signature }

  test('the one in the documentation is good for five minutes, before and after', () => {
    for (const awayMs of [0, 299_000, -299_000]) expect(fromSlack(good, secret, now + awayMs)).toBe(true)
    for (const awayMs of [301_000, -301_000]) expect(fromSlack(good, secret, now + awayMs)).toBe(false)
  })

  test.each([
    ['another secret', good, `${secret}x`],
    ['another body', { ...good, body: Buffer.concat([body, Buffer.from('&')]) }, secret],
    ['another time', { ...good, timestamp: '1531420619' }, secret],
    ['no time', { ...good, timestamp: null }, secret],
    ['a time that is none', { ...good, timestamp: 'NaN' }, secret],
    ['a time with a sign', { ...good, timestamp: '+1531420618' }, secret],
    ['no signature', { ...good, signature: null }, secret],
    ['half a signature', { ...good, signature: signature.slice(0, 40) }, secret],
    ['another version', { ...good, signature: signature.replace('v0', 'v1') }, secret],
    ['upper case', { ...good, signature: signature.toUpperCase() }, secret],
    ['two of them', { ...good, signature: `${signature}, ${signature}` }, secret],
  ])('%s is refused', (_, request, key) => {
    expect(fromSlack(request, key, now)).toBe(false)
  })
})
