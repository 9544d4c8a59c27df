// The console in a real browser in front of the real program: deciding, racing, looking at hidden values, and a restart in the middle.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { startChrome } from '../support/chrome.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, clients, people, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { callGate, financeRules, stageConfig } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const withinMs = 15_000
const canary = 'hp-canary-q7Zk2v'

let chrome: Browser
let idp: Idp
let upstream: Upstream
let holdpoint: Program
let token: string
let contexts: BrowserContext[]
/** What the browser refused or could not run. */
let complaints: string[]

beforeAll(async () => {
  chrome = await startChrome()
})
afterAll(() => chrome.close())

beforeEach(async () => {
  contexts = []
  complaints = []
  const [port = 0] = await freePorts(1)
  const url = `http://127.0.0.1:${port}`
  idp = await startCast({ consoleRedirect: [`${url}/login/callback/idp`] })
  upstream = await startUpstream(async () => ({ body: 'done' }))
  const config = (await stageConfig(idp.issuer, upstream.url)) as { readonly console: object }
  holdpoint = await startHoldpoint({
    config: { ...config, console: { ...config.console, listen: `127.0.0.1:${port}`, url } },
    rules: financeRules(),
  })
  token = await agentToken(idp.issuer, clients.agent)
})
afterEach(async () => {
  await Promise.all(contexts.map(context => context.close()))
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
  await idp.close()
  expect(complaints).toEqual([])
})

const arrive = async (person: { readonly name: string }): Promise<Page> => {
  const context = await chrome.newContext()
  contexts.push(context)
  const page = await context.newPage()
  page.setDefaultTimeout(withinMs)
  page.on('pageerror', error => complaints.push(error.message))
  await page.exposeFunction('refusedByPolicy', (what: string) => complaints.push(`policy: ${what}`))
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', event => refusedByPolicy(event.violatedDirective + event.blockedURI))",
  )
  await page.goto(`${holdpoint.console}/`)
  await page.getByRole('button', { name: person.name }).first().click()
  await page.waitForURL(`${holdpoint.console}/`)
  return page
}

const refund = (json: object, headers: { readonly [name: string]: string } = {}) =>
  callGate(holdpoint.gate, 'POST', '/billing/v1/refunds', {
    token,
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(json),
  })
const rows = (page: Page) => page.locator('.row')

test('a call is held, comes up on the queue, is approved by keyboard alone, and its caller gets the answer', async () => {
  const ana = await arrive(people.ana)
  const answer = refund({ amount: 250 })
  await rows(ana).first().waitFor()
  await ana.keyboard.press('j')
  await ana.keyboard.press('a')
  await ana.waitForURL(/\/holds\/h_/)
  await expect.poll(() => ana.evaluate('document.activeElement.textContent')).toBe('Approve')
  await ana.keyboard.press('c')
  await ana.keyboard.type('Fine.')
  await ana.keyboard.press('Tab')
  await ana.keyboard.press('Enter')
  await ana.getByText('Ana Ruiz approved').waitFor()
  expect(await answer).toMatchObject({ status: 200, body: 'done' })
})

test('a denial reaches the caller with its comment', async () => {
  const [ana, answer] = [await arrive(people.ana), refund({ amount: 250 })]
  await rows(ana).first().getByRole('link').click()
  await ana.getByRole('textbox').fill('Not this one.')
  await ana.getByRole('button', { name: 'Deny' }).click()
  await ana.getByText('Ana Ruiz denied').waitFor()
  const { status, json } = await answer
  expect([status, json?.code, String(json?.detail)]).toEqual([
    403,
    'hold_denied',
    expect.stringContaining('Not this one.'),
  ])
  expect(upstream.seen).toEqual([])
})

test('of two reviewers who press at the same moment one decides, and the other is told', async () => {
  const [ana, dora] = await Promise.all([arrive(people.ana), arrive(people.dora)])
  const answer = refund({ amount: 250 })
  await rows(ana).first().getByRole('link').click()
  await dora.goto(ana.url())
  await dora.getByRole('button', { name: 'Deny' }).waitFor()
  // At once, without waiting for a page to hold still: a button that the other's verdict has already taken away is not pressed.
  await Promise.all([
    ana.evaluate('document.querySelector("button.approve")?.click()'),
    dora.evaluate('document.querySelector("button.deny")?.click()'),
  ])
  await Promise.all([ana, dora].map(page => page.getByText(/Ana Ruiz approved|Dora Lind denied/).waitFor()))
  const { status } = await answer
  expect(upstream.seen).toHaveLength(status === 200 ? 1 : 0)
  await holdpoint.stop()
  const verdicts = (await holdpoint.audit()).filter(({ kind }) => kind === 'verdict.accepted')
  expect(verdicts).toHaveLength(1)
})

test('after a restart an open queue finds its way back by itself', async () => {
  const ana = await arrive(people.ana)
  await ana.getByRole('heading', { name: 'Nothing waits for you' }).waitFor()
  await holdpoint.kill()
  await ana.locator('body.offline').waitFor()
  holdpoint = await startHoldpoint({ config: '', dir: holdpoint.dir })
  const answer = refund({ amount: 250 }, { prefer: 'respond-async' })
  await rows(ana).first().waitFor()
  await ana.locator('body:not(.offline)').waitFor()
  expect((await answer).status).toBe(202)
})

test('a hidden value is shown where it stands, on record, and nowhere else', async () => {
  const ana = await arrive(people.ana)
  await refund({ amount: 250, password: `one-${canary}`, apiKey: `two-${canary}` }, { prefer: 'respond-async' })
  await rows(ana).first().getByRole('link').click()
  await ana.getByRole('textbox').fill('I look first.')
  await ana.getByRole('button', { name: 'Show the value of json./password' }).click()
  await ana.getByLabel('Value of json./password').waitFor()
  await ana.getByRole('button', { name: 'Approve, 1 value unseen' }).click()
  // The browser itself asks for the tick.
  expect(await ana.evaluate('document.querySelector("[name=unseen]").matches(":invalid")')).toBe(true)
  await ana.getByRole('button', { name: 'Show the value of json./apiKey' }).click()
  await ana.getByLabel('Value of json./apiKey').waitFor()
  expect(await ana.getByLabel('Value of json./password').textContent()).toBe(`one-${canary}`)
  expect(await ana.getByRole('textbox').inputValue()).toBe('I look first.')
  await ana.getByRole('button', { name: 'Approve', exact: true }).click()
  await ana.getByText('Ana Ruiz approved').waitFor()
  expect(await ana.content()).not.toContain(canary)
  await eventually(async () => upstream.seen[0])
  await holdpoint.stop()
  const entries = await holdpoint.audit()
  expect(entries.filter(({ kind }) => kind === 'hold.revealed').map(({ detail }) => detail)).toEqual([
    'json./password',
    'json./apiKey',
  ])
  expect(JSON.stringify([entries, holdpoint.logs()])).not.toContain(canary)
})

describe('the same call under three Idempotency-Keys', () => {
  test('is decided in one go, each hold by its own verdict, and sent three times', async () => {
    for (const key of ['a', 'b', 'c'])
      await refund({ amount: 250 }, { prefer: 'respond-async', 'idempotency-key': key })
    await refund({ amount: 260 }, { prefer: 'respond-async', 'idempotency-key': 'd' })
    const ana = await arrive(people.ana)
    await rows(ana).first().getByRole('link').click()
    await ana.getByLabel(/the 2 identical calls that also wait.*sent 3 times/).check()
    await ana.getByRole('button', { name: 'Approve' }).click()
    await ana.getByText('Ana Ruiz approved').waitFor()
    await eventually(async () => (upstream.seen.length === 3 ? true : undefined))
    await ana.goto(`${holdpoint.console}/`)
    expect(await rows(ana).count()).toBe(1)
    await holdpoint.stop()
    const verdicts = (await holdpoint.audit()).filter(({ kind }) => kind === 'verdict.accepted')
    expect(new Set(verdicts.map(({ hold }) => hold)).size).toBe(3)
  })
})
