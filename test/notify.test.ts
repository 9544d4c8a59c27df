// Telling channels: once, in order, again when it fails, by whichever replica, and never as a condition of anything.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Channel, type Notice, Unreached } from '../src/channels/channel.ts'
import { decide } from '../src/decide.ts'
import { HoldpointError } from '../src/errors.ts'
import { type Notify, notify } from '../src/notify.ts'
import type { Reviewer } from '../src/nouns.ts'
import type { Approve, Rule, Settings } from '../src/settings.ts'
import { overdue } from '../src/sweep.ts'
import { type ConsoleStage, startConsole } from './support/console.ts'
import { eventually } from './support/eventually.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs

/** A channel of this test: keeps what it is told, and fails when it is told to. */
type Ear = Channel & {
  readonly heard: { readonly notice: Notice; readonly earlier: string | undefined }[]
  readonly asked: Notice[]
  fail: (() => Promise<void>) | undefined
  arrive: { readonly arrived: boolean; readonly reference?: string }
}

const ear = (name: string, each = false): Ear => {
  const it: Ear = {
    name,
    each,
    heard: [],
    asked: [],
    fail: undefined,
    arrive: { arrived: false },
    async tell(notice, earlier) {
      it.heard.push({ notice, earlier })
      await it.fail?.()
      return earlier ?? `${name} ${notice.hold}`
    },
    async arrived(notice) {
      it.asked.push(notice)
      return it.arrive
    },
  }
  return it
}

let stage: ConsoleStage
let ops: Ear
let heads: Ear
const telling: Notify[] = []

const withRule = (settings: Settings, rule: Partial<Rule>, approve: Partial<Approve> = {}): Settings => ({
  ...settings,
  rules: settings.rules.map(one => ({
    ...one,
    notify: ['ops'],
    ...rule,
    approve: one.approve.map(entry => ({ ...entry, ...approve })),
  })),
})

const start = (...ears: Ear[]): Notify => {
  const one = notify(stage.parts, () => new Map(ears.map(it => [it.name, it])))
  telling.push(one)
  return one
}
/** Resolves when this has been heard so often. */
const heard = (it: Ear, count: number) =>
  eventually(async () => {
    for (const one of telling) one.wake()
    return it.heard.length >= count ? it.heard : undefined
  })
/** Resolves when nobody is at work and nothing is due. */
const quiet = (hold: string) =>
  eventually(async () => {
    for (const one of telling) one.wake()
    const item = await stage.store.outbox.get(hold)
    return item === undefined || !item.includes('"trying"') ? true : undefined
  })

const ana = (more: Partial<Reviewer> = {}): Reviewer => ({
  login: 'idp',
  subject: 'ana',
  ids: ['ana'],
  name: 'Ana Ruiz',
  emailTrusted: false,
  groups: ['finance-leads'],
  groupsAt: stage.now(),
  via: 'api',
  interactive: true,
  ...more,
})
const desk = () => decide(stage.parts)
const say = async (hold: string, verdict: 'approve' | 'deny', who = ana()) =>
  desk().decide(who, hold, verdict, { view: (await desk().show(who, hold)).view })

beforeEach(async () => {
  stage = await startConsole({
    settings: settings =>
      withRule(
        {
          ...settings,
          channels: [{ kind: 'webhook', name: 'ops', content: 'full', url: 'https://unused', secret: 'unused' }],
        },
        {},
      ),
  })
  ops = ear('ops')
  heads = ear('heads')
})
afterEach(async () => {
  for (const one of telling.splice(0)) await one.close()
  await stage.close()
})

test('a hold is told once, and once more when it is denied, with what was answered before', async () => {
  start(ops)
  const hold = await stage.hold({ reason: 'a refund' })
  const [first] = await heard(ops, 1)
  expect(first).toMatchObject({
    earlier: undefined,
    notice: { occasion: 'opened', state: 'pending', hold, url: `${stage.url}/holds/${hold}`, rules: ['refunds'] },
  })
  expect(first?.notice.shown).toMatchObject({ reason: 'a refund', people: ['ben@acme.test'] })
  expect(first?.notice.upstream).toBe('billing')
  await say(hold, 'deny')
  const [, second] = await heard(ops, 2)
  expect(second).toMatchObject({ earlier: `ops ${hold}`, notice: { occasion: 'denied', by: 'Ana Ruiz' } })
  await eventually(async () => ((await stage.store.outbox.get(hold)) === undefined ? true : undefined))
  expect(ops.heard).toHaveLength(2)
})

test.each(['approved', 'cancelled', 'expired'] as const)('a hold that is %s is settled', async end => {
  start(ops)
  const hold = await stage.hold()
  await heard(ops, 1)
  if (end === 'approved') await say(hold, 'approve')
  if (end === 'cancelled') await desk().revoke(ana({ subject: 'ben', ids: ['ben'], email: 'ben@acme.test' }), hold, {})
  if (end === 'expired') {
    stage.pass(dayMs)
    await overdue(stage.parts, hold)
  }
  const found = await eventually(async () => ops.heard.find(({ notice }) => notice.state === end))
  expect(found.earlier).toBe(`ops ${hold}`)
})

test('who wants to hear everything hears it in order, each with an id of its own', async () => {
  const siem = ear('ops', true)
  start(siem)
  const hold = await stage.hold()
  await heard(siem, 1)
  await say(hold, 'approve')
  await desk().revoke(ana(), hold, {})
  await heard(siem, 3)
  expect(siem.heard.map(({ notice }) => notice.occasion)).toEqual(['opened', 'approved', 'revoked'])
  expect(new Set(siem.heard.map(({ notice }) => notice.id)).size).toBe(3)
})

test('a channel that fails is tried again, later each time; the hold, the log and the metrics say so; nothing waits for it', async () => {
  ops.fail = async () => {
    throw new Unreached('it answered 503')
  }
  start(ops)
  const hold = await stage.hold()
  await heard(ops, 1)
  await quiet(hold)
  expect((await desk().show(ana(), hold)).unreached).toBe('No channel could be reached: ops (it answered 503).')
  expect(await stage.parts.meter.text()).toContain('holdpoint_channel_failures_total{channel="ops"} 1')
  expect(await stage.entries()).toContainEqual(
    expect.objectContaining({ kind: 'channel.failed', hold, detail: 'ops: it answered 503' }),
  )
  for (const [tries, waitMs] of [1_000, 2_000, 4_000].entries()) {
    stage.pass(waitMs + 500)
    await heard(ops, tries + 2)
    await quiet(hold)
  }
  ops.fail = undefined
  stage.pass(9_000)
  await heard(ops, 5)
  await quiet(hold)
  expect((await desk().show(ana(), hold)).unreached).toBeUndefined()
  expect(new Set(ops.heard.map(({ notice }) => notice.id)).size).toBe(1)
  expect((await stage.entries()).filter(({ kind }) => kind === 'channel.failed')).toHaveLength(1)
  expect((await say(hold, 'approve')).status).toBe('approved')
})

test('Retry-After is kept to', async () => {
  ops.fail = async () => {
    throw new Unreached('slow down', { retryAfterMs: 30 * minuteMs })
  }
  start(ops)
  const hold = await stage.hold()
  await heard(ops, 1)
  await quiet(hold)
  stage.pass(29 * minuteMs)
  for (const one of telling) one.wake()
  await quiet(hold)
  const soon = await stage.store.outbox.claim(1, 1)
  expect(soon).toEqual([])
  ops.fail = undefined
  stage.pass(minuteMs)
  await heard(ops, 2)
})

test('it gives up in the end, and says so in the log', async () => {
  ops.fail = async () => {
    throw new Unreached('gone')
  }
  start(ops)
  const hold = await stage.hold()
  for (let tries = 1; tries <= 24; tries += 1) {
    await heard(ops, tries)
    await quiet(hold)
    stage.pass(5 * minuteMs + 1_000)
  }
  const entries = await eventually(async () => {
    const found = (await stage.entries()).filter(({ kind }) => kind === 'channel.failed')
    return found.length > 1 ? found : undefined
  })
  expect(entries.map(({ detail }) => detail)).toEqual(['ops: gone', 'ops: gone; given up after 24 tries'])
  expect((await desk().show(ana(), hold)).unreached).toContain('gone')
})

test('of two replicas one tells', async () => {
  const other = ear('ops')
  start(ops)
  start(other)
  const holds = await Promise.all(Array.from({ length: 20 }, () => stage.hold()))
  await eventually(async () => (ops.heard.length + other.heard.length >= 20 ? true : undefined))
  for (const hold of holds) await quiet(hold)
  const told = [...ops.heard, ...other.heard].map(({ notice }) => notice.hold)
  expect(told.toSorted()).toEqual(holds.toSorted())
})

test('what was opened while nobody was there is told after the start, and what was told before is settled', async () => {
  const early = await stage.hold()
  const first = start(ops)
  await heard(ops, 1)
  await quiet(early)
  await first.close()
  const late = await stage.hold()
  await say(early, 'deny')
  const again = ear('ops')
  start(again)
  await heard(again, 1)
  await heard(again, 2)
  expect(again.heard.find(({ notice }) => notice.hold === late)?.notice.occasion).toBe('opened')
  expect(again.heard.find(({ notice }) => notice.hold === early)).toMatchObject({
    earlier: `ops ${early}`,
    notice: { occasion: 'denied' },
  })
})

test('what could not be noted while the store was away is made up for', async () => {
  const { store } = stage.parts
  let away = false
  const wake = async (key?: string): Promise<void> => {
    if (away) throw new HoldpointError('store_unavailable')
    await store.outbox.wake(key)
  }
  const parts = { ...stage.parts, store: { ...store, outbox: { ...store.outbox, wake } } }
  telling.push(notify(parts, () => new Map([['ops', ops]])))
  const hold = await stage.hold()
  await heard(ops, 1)
  await quiet(hold)
  away = true
  await say(hold, 'deny')
  const other = await stage.hold()
  await heard(ops, 2)
  expect(ops.heard.at(-1)?.notice.hold).toBe(other)
  away = false
  expect((await heard(ops, 3)).at(-1)?.notice).toMatchObject({ hold, occasion: 'denied' })
})

test.each([
  { name: 'it arrived', arrive: { arrived: true }, more: 0 },
  { name: 'it did not', arrive: { arrived: false }, more: 1 },
  { name: 'it is found and brought up to date', arrive: { arrived: false, reference: 'found' }, more: 1 },
])('a try without an end is not just repeated: $name', async ({ arrive, more }) => {
  ops.fail = () => new Promise(() => undefined)
  const dead = notify(stage.parts, () => new Map([['ops', ops]]))
  const hold = await stage.hold()
  await heard(ops, 1)
  const after = ear('ops')
  after.arrive = arrive
  start(after)
  stage.pass(61_000)
  await eventually(async () => {
    for (const one of telling) one.wake()
    return after.asked.length > 0 ? true : undefined
  })
  await quiet(hold)
  expect(after.heard.map(({ earlier }) => earlier)).toEqual(more === 0 ? [] : [arrive.reference])
  void dead.close()
})

test('nor is one that may have arrived', async () => {
  ops.fail = async () => {
    throw new Unreached('timeout', { doubt: true })
  }
  start(ops)
  await stage.hold()
  await heard(ops, 1)
  ops.fail = undefined
  ops.arrive = { arrived: true }
  stage.pass(2_000)
  await eventually(async () => {
    for (const one of telling) one.wake()
    return ops.asked.length > 0 ? true : undefined
  })
  expect(ops.heard).toHaveLength(1)
})

test('a hold that nobody heard of is not announced once it is decided', async () => {
  const hold = await stage.hold()
  await say(hold, 'deny')
  start(ops)
  const other = await stage.hold()
  await heard(ops, 1)
  await quiet(other)
  expect(ops.heard.map(({ notice }) => notice.hold)).toEqual([other])
})

test('where a grant may let a call go at once, nobody is called for it before that is clear', async () => {
  stage.settings = withRule(stage.settings, {}, { grant: { uses: 1, forMs: dayMs } as Approve['grant'] & object })
  start(ops)
  const hold = await stage.hold()
  await eventually(async () => ((await stage.store.outbox.get(hold)) === undefined ? undefined : true))
  await say(hold, 'deny')
  stage.pass(5_000)
  const other = await stage.hold()
  stage.pass(1_001)
  await heard(ops, 1)
  expect(ops.heard.map(({ notice }) => notice.hold)).toEqual([other])
})

test('half of its time over, it is told again; then it escalates: to more channels, and to more people', async () => {
  const escalate = { afterMs: 20 * minuteMs, notify: ['heads'], groups: ['idp:heads'], people: [] }
  stage.settings = withRule(stage.settings, {}, { withinMs: 30 * minuteMs, escalate })
  const head = ana({ subject: 'dora', ids: ['dora'], name: 'Dora Lind', groups: ['heads'] })
  start(ops, heads)
  const hold = await stage.hold()
  await heard(ops, 1)
  await quiet(hold)
  stage.pass(15 * minuteMs)
  const [, reminded] = await heard(ops, 2)
  expect(reminded?.notice.occasion).toBe('reminded')
  expect(heads.heard).toEqual([])
  await expect(desk().show(head, hold)).rejects.toMatchObject({ code: 'unknown_hold' })
  await expect(desk().decide(head, hold, 'approve', {})).rejects.toMatchObject({ code: 'unknown_hold' })
  await quiet(hold)
  stage.pass(5 * minuteMs)
  expect((await heard(ops, 3)).at(-1)?.notice.occasion).toBe('escalated')
  expect((await heard(heads, 1)).at(-1)).toMatchObject({
    earlier: undefined,
    notice: { occasion: 'escalated', approvers: ['finance-leads', 'idp:heads'] },
  })
  expect((await say(hold, 'approve', head)).status).toBe('approved')
  expect((await heard(heads, 2)).at(-1)?.notice).toMatchObject({ occasion: 'approved', by: 'Dora Lind' })
})

test('a channel that is told the minimum hears nothing of the call', async () => {
  stage.settings = {
    ...stage.settings,
    channels: stage.settings.channels.map(one => ({ ...one, content: 'minimal' as const })),
  }
  start(ops)
  await stage.hold({ customer: 'canary-7731', reason: 'canary-7731' })
  const [first] = await heard(ops, 1)
  expect(first?.notice.shown).toBeUndefined()
  expect(JSON.stringify(first)).not.toContain('canary-7731')
})

test('nobody who writes to the store can point a message elsewhere', async () => {
  start(ops)
  const hold = await stage.hold()
  await heard(ops, 1)
  await quiet(hold)
  const other = await stage.hold()
  await heard(ops, 2)
  await quiet(other)
  const value = (await stage.store.outbox.get(hold)) ?? ''
  await stage.store.outbox.wake(other)
  const item = await eventually(async () => (await stage.store.outbox.claim(1, minuteMs))[0])
  await stage.store.outbox.write(item, value, { dueAt: 0 })
  await say(other, 'deny')
  const third = await stage.hold()
  expect((await heard(ops, 3)).at(-1)?.notice.hold).toBe(third)
  await quiet(third)
  expect(await stage.store.outbox.get(other)).toBe(value)
  expect(ops.heard).toHaveLength(3)
})
