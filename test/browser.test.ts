// The console as a person uses it: a real browser, with and without JavaScript, by keyboard, on a phone, in the dark.
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startChrome } from './support/chrome.ts'
import { type ConsoleStage, startConsole } from './support/console.ts'
import { people } from './support/people.ts'

const withinMs = 10_000

let stage: ConsoleStage
let chrome: Browser
let contexts: BrowserContext[] = []
/** What the browser complained about: script errors, refusals by the policy, dialogs that nobody should have opened. */
let complaints: string[] = []

const cleo = { ...people.cleo, groups: ['security', 'finance-leads'] }

beforeAll(async () => {
  stage = await startConsole({ people: [people.ana, people.ben, people.dora, cleo] })
  chrome = await startChrome()
})
afterAll(async () => {
  await chrome.close()
  await stage.close()
})
afterEach(async () => {
  await Promise.all(contexts.map(context => context.close()))
  contexts = []
  const seen = complaints
  complaints = []
  expect(seen).toEqual([])
})

/** A browser of this person, signed in by the provider's page and standing on the queue. */
const arrive = async (person: { readonly name: string }, options: BrowserContextOptions = {}): Promise<Page> => {
  const context = await chrome.newContext(options)
  contexts.push(context)
  const page = await context.newPage()
  page.setDefaultTimeout(withinMs)
  page.on('pageerror', error => complaints.push(error.message))
  page.on('console', message => {
    if (message.type() === 'error' && !/status of (4|5)\d\d/.test(message.text())) complaints.push(message.text())
  })
  page.on('dialog', async dialog => {
    complaints.push(`dialog: ${dialog.message()}`)
    await dialog.dismiss()
  })
  await page.goto(`${stage.url}/`)
  await page.getByRole('button', { name: person.name }).click()
  await page.waitForURL(`${stage.url}/`)
  return page
}

const row = (page: Page, text: string) => page.locator('.row', { hasText: text })
const heading = (page: Page, name: string) => page.getByRole('heading', { name, level: 2 })

describe('live', () => {
  test('a call that is held appears by itself, and goes when somebody else decides it', async () => {
    const [ana, dora] = await Promise.all([arrive(people.ana), arrive(people.dora)])
    await heading(ana, 'Nothing waits for you').waitFor()
    await stage.hold({ customer: 'cus-appears' })
    await Promise.all([row(ana, 'cus-appears').waitFor(), row(dora, 'cus-appears').waitFor()])
    expect(await ana.title()).toBe('(1) Queue · Holdpoint')
    await row(dora, 'cus-appears').getByRole('link').click()
    await dora.getByRole('button', { name: 'Approve' }).click()
    await dora.getByText('Dora Lind approved').waitFor()
    await heading(ana, 'Approved, on the way').waitFor()
    expect(await ana.title()).toBe('Queue · Holdpoint')
  })

  test('a hold that changes while somebody writes says so, and keeps what they wrote', async () => {
    const id = await stage.hold()
    const [ana, dora] = await Promise.all([arrive(people.ana), arrive(people.dora)])
    await Promise.all([ana, dora].map(page => page.goto(`${stage.url}/holds/${id}`)))
    await ana.getByRole('textbox').fill('I think that')
    await dora.getByRole('button', { name: 'Deny' }).click()
    await ana.getByText('This call changed while you were writing.').waitFor()
    expect(await ana.getByRole('textbox').inputValue()).toBe('I think that')
    await ana.getByRole('link', { name: 'Read it again' }).click()
    await ana.getByText('Dora Lind denied').waitFor()
  })

  test('a verdict that was refused is never sent again by itself', async () => {
    const id = await stage.hold()
    const page = await arrive(people.ana)
    await page.goto(`${stage.url}/holds/${id}`)
    await page.locator('input[name=view]').evaluate(input => input.setAttribute('value', 'other'))
    const before = stage.deciders.length
    await page.getByRole('button', { name: 'Deny' }).click()
    await page.getByRole('alert').waitFor()
    const refreshed = page.waitForResponse(
      answer => answer.url() === `${stage.url}/holds/${id}` && answer.request().method() === 'GET',
    )
    await stage.hold()
    await refreshed
    expect(stage.deciders.length).toBe(before + 1)
    expect((await stage.read(id)).state).toBe('pending')
  })

  test('signing out elsewhere leads to the sign-in', async () => {
    const page = await arrive(people.ana)
    const other = await page.context().newPage()
    await other.goto(`${stage.url}/rules`)
    await other.getByRole('button', { name: 'Sign out' }).click()
    await other.getByRole('heading', { name: 'Signed out' }).waitFor()
    await stage.hold()
    await page.getByRole('heading', { name: 'Who are you?' }).waitFor()
  })
})

describe('on request', () => {
  test('a call that comes while somebody looks elsewhere is told by a notification, which says nothing of it', async () => {
    const page = await arrive(people.ana, { permissions: ['notifications'] })
    await page.evaluate(`
      window.told = []
      window.Notification = class { static permission = 'granted'; static requestPermission = async () => 'granted'
        constructor(title, { body }) { told.push([title, body]) } }
      document.hasFocus = () => false`)
    await stage.hold({ customer: 'cus-untold' })
    await row(page, 'cus-untold').waitFor()
    expect(await page.evaluate('told')).toEqual([])
    await page.getByRole('button', { name: 'Notify me' }).click()
    await page.getByRole('button', { name: 'Stop notifying me' }).waitFor()
    await stage.hold({ customer: 'cus-told' })
    await row(page, 'cus-told').waitFor()
    expect(await page.evaluate('told')).toEqual([['Holdpoint', 'A call waits for you']])
  })
})

describe('by keyboard', () => {
  test('j and k go through the queue', async () => {
    await Promise.all([stage.hold({ customer: 'cus-j-1' }), stage.hold({ customer: 'cus-j-2' })])
    const page = await arrive(people.ana)
    const links = await page.locator('.row-line').allTextContents()
    const focused = () => page.evaluate('document.activeElement.textContent')
    await page.keyboard.press('j')
    expect(await focused()).toBe(links[0])
    await page.keyboard.press('j')
    expect(await focused()).toBe(links[1])
    await page.keyboard.press('k')
    expect(await focused()).toBe(links[0])
  })

  test('from the queue to a verdict, without deciding by a single key', async () => {
    const id = await stage.hold({ customer: 'cus-keyboard' })
    const page = await arrive(people.ana)
    await row(page, 'cus-keyboard').waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('cus-keyboard')
    await page.keyboard.press('Enter')
    await page.keyboard.press('Enter')
    await page.waitForURL(`${stage.url}/holds/${id}`)
    await page.keyboard.press('a')
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Approve')
    await page.keyboard.press('d')
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Deny')
    expect((await stage.read(id)).state).toBe('pending')
    await page.keyboard.press('Enter')
    await page.getByText('Ana Ruiz denied').waitFor()
    expect((await stage.read(id)).state).toBe('denied')
  })

  test('? explains the keys, which can be turned off', async () => {
    const id = await stage.hold()
    const page = await arrive(people.ana)
    await page.goto(`${stage.url}/holds/${id}`)
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keys' }).waitFor()
    await page.getByRole('checkbox').uncheck()
    await page.keyboard.press('Escape')
    await page.keyboard.press('a')
    expect(await page.evaluate('document.activeElement.textContent')).not.toBe('Approve')
  })

  test('a letter in a comment is a letter', async () => {
    const id = await stage.hold()
    const page = await arrive(people.ana)
    await page.goto(`${stage.url}/holds/${id}`)
    await page.getByRole('textbox').pressSequentially('a d j?')
    expect(await page.getByRole('textbox').inputValue()).toBe('a d j?')
  })

  test('the first Tab offers to skip to the content', async () => {
    const page = await arrive(people.ana)
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('main')
  })
})

test('without JavaScript everything works', async () => {
  const id = await stage.hold({ customer: 'cus-plain' })
  const page = await arrive(people.ana, { javaScriptEnabled: false })
  await row(page, 'cus-plain').getByRole('link').click()
  await page.getByRole('textbox').fill('By hand.')
  await page.getByRole('button', { name: 'Approve' }).click()
  await page.waitForURL(`${stage.url}/holds/${id}`)
  await page.getByText('By hand.').waitFor()
  expect((await stage.read(id)).state).toBe('approved')
  await page.getByRole('button', { name: 'Revoke' }).click()
  await page.waitForURL(`${stage.url}/holds/${id}`)
  await page.getByRole('link', { name: 'History' }).click()
  await page.locator('tr', { hasText: 'cus-plain' }).getByText('Revoked').waitFor()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Signed out' }).waitFor()
})

test('what a call brings along does not run', async () => {
  const evil = `</script><img src=x onerror="alert('ran')"><svg onload="alert('ran')">`
  const id = await stage.hold({ customer: evil, reason: evil, caller: { name: evil }, headers: [['x-note', evil]] })
  const page = await arrive(people.ana)
  await page.goto(`${stage.url}/holds/${id}`)
  expect(await page.locator('main img, main svg, main script').count()).toBe(0)
  await page.getByText('onerror').first().waitFor()
})

test('a page of another site cannot put the console in a frame', async () => {
  const page = await arrive(people.ana)
  await page.goto('about:blank')
  await page.setContent(`<iframe src="${stage.url}/login?out=1"></iframe>`)
  await expect.poll(() => page.frames()[1]?.url()).toBe('chrome-error://chromewebdata/')
  complaints = complaints.filter(text => !text.includes('frame-ancestors'))
})

describe.each([
  ['in daylight', { colorScheme: 'light', viewport: { width: 1200, height: 800 } }],
  ['in the dark', { colorScheme: 'dark', viewport: { width: 1200, height: 800 } }],
  ['on a small phone', { colorScheme: 'light', viewport: { width: 320, height: 640 } }],
] as const)('%s', (when, options) => {
  test('every page is accessible (WCAG 2.2 AA) and nothing is wider than the screen', async () => {
    const long = `cus-${when.replaceAll(' ', '-')}-${'x'.repeat(120)}`
    const reason = 'Because the customer asked, twice.'
    const headers = [['x-api-key', 'sk_live_0123456789abcdefghijkl']] as const
    const id = await stage.hold({ customer: long, reason, headers })
    const denied = await stage.hold({ customer: `${long}-denied` })
    const secrets = JSON.stringify({ amount: 1, customer: 'cus-1', [`${'x'.repeat(60)}-password`]: 'y'.repeat(200) })
    const partly = await stage.hold({ body: secrets })
    const page = await arrive(cleo, options)
    await page.goto(`${stage.url}/holds/${denied}`)
    await page.getByRole('textbox').fill('Not this one.')
    await page.getByRole('button', { name: 'Deny' }).click()
    await page.getByText('Cleo Marsh denied').waitFor()
    for (const path of [
      '/',
      `/holds/${id}`,
      `/holds/${denied}`,
      '/history',
      '/audit',
      '/rules',
      `/holds/${partly}`,
      '/freezes',
      '/links',
      '/grants',
      `/history?caller=${long}`,
      '/audit?find=nothing-is-called-so',
      '/nowhere',
      '/login?out=1',
    ]) {
      await page.goto(`${stage.url}${path}`)
      if (path === '/rules') {
        await page.getByText('Explain a call').click()
        await page.getByLabel('Address').fill('/billing/v1/refunds')
        await page.getByLabel('Subject').fill('agent-7')
        await page.getByRole('button', { name: 'Explain' }).click()
        await page.getByRole('region', { name: 'Answer' }).waitFor()
        for (const details of await page.locator('.mend summary').all()) await details.click()
      }
      if (path === `/holds/${partly}`) {
        await page.getByRole('button', { name: /^Show/ }).click()
        await page.locator('.looks pre').waitFor()
      }
      const { violations } = await new AxeBuilder({ page })
        .withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'])
        .analyze()
      const found = violations.map(
        one => `${path}: ${one.id} at ${one.nodes.map(node => node.target.join(' ')).join(', ')}`,
      )
      expect(found).toEqual([])
      const width = await page.evaluate('document.documentElement.scrollWidth')
      expect(width, path).toBeLessThanOrEqual(options.viewport.width)
    }
  })
})
