// Takes the pictures in docs/screenshots/: the demo's house, a few calls decided in it, and every page of the console as Ana, Ben or Cleo
// sees it, wide and on a phone, by day and by night. Run it with `npm run screenshots`; it needs a Chromium in PATH.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { people } from '../src/commands/demo/cast.ts'
import { type House, openHouse } from '../src/commands/demo/house.ts'
import { agentCalls, reviewerSignsIn } from '../src/commands/demo/parts.ts'
import { freePorts } from '../src/commands/demo/ports.ts'
import { startChrome } from '../test/support/chrome.ts'

const target = join(import.meta.dirname, '../docs/screenshots')
const widths = [1280, 320]
const height = 840
const schemes = ['light', 'dark'] as const

type Shot = {
  readonly name: string
  readonly person: (typeof people)[keyof typeof people]
  readonly path: string
  /** Has the first hidden value revealed. */
  readonly look?: true
  /** Asks what the rules would say of a call. */
  readonly asks?: true
}

const refund = async (
  house: House,
  amount: number,
  invoice: string,
  customer: string,
  reason?: string,
  more: object = {},
): Promise<string> => {
  const { json } = await agentCalls(house, 'POST', '/v1/refunds', {
    json: { invoice, amount, currency: 'EUR', customer, ...more },
    headers: { prefer: 'respond-async', ...(reason === undefined ? {} : { 'holdpoint-reason': reason }) },
  })
  const { id } = (json.task ?? {}) as { readonly id?: string }
  if (id === undefined) throw new Error(`The refund was not held: ${JSON.stringify(json)}`)
  return id
}

/** Plays a morning at the house and answers what there is to see afterwards. */
const morning = async (house: House): Promise<readonly Shot[]> => {
  const [ana, ben] = [await reviewerSignsIn(house, people.ana.id), await reviewerSignsIn(house, people.ben.id)]
  await agentCalls(house, 'GET', '/v1/invoices')
  await agentCalls(house, 'DELETE', '/v1/customers/cus_lind')

  const reason = 'Customer was charged twice in October, ticket 4711.'
  const approved = await refund(house, 180, 'in_1041', 'cus_lind', reason)
  await ben.api('POST', `/holds/${approved}/approve`, {})
  await ana.api('POST', `/holds/${approved}/approve`, { comment: 'Within policy; I checked the ticket.' })
  for (let status: unknown; status !== 'delivered'; await setTimeout(100)) {
    status = (await ana.api('GET', `/holds/${approved}`)).json.status
  }
  const denied = await refund(house, 4_800, 'in_1043', 'cus_tanaka')
  await ana.api('POST', `/holds/${denied}/deny`, { comment: 'This invoice has not been paid yet.' })
  const withdrawn = await refund(house, 320, 'in_1042', 'cus_okafor')
  await ben.api('POST', `/holds/${withdrawn}/revoke`, { comment: 'Wrong invoice.' })

  const open = await refund(house, 250, 'in_1041', 'cus_lind', 'The delivery never arrived, ticket 4802.', {
    note: 'Pay back to DE89 3704 0044 0532 0130 00',
    contact: 'kim.lind@customers.example',
  })
  const partly = await refund(house, 1_200, 'in_1043', 'cus_tanaka', 'Contract ended early; pro rata refund.', {
    gateway: { account: 'acct_tanaka', apiKey: 'not-a-real-key-for-the-picture' },
    password: 'neither-is-this',
  })
  await refund(house, 640, 'in_1042', 'cus_okafor')

  const { ana: lead, ben: owner, cleo: auditor } = people
  return [
    { name: 'audit', person: auditor, path: '/audit' },
    { name: 'sign-in', person: lead, path: '/login?choose=1' },
    { name: 'queue', person: lead, path: '/' },
    { name: 'hold', person: lead, path: `/holds/${open}` },
    { name: 'hold-partly-seen', person: lead, path: `/holds/${partly}`, look: true },
    { name: 'hold-own', person: owner, path: `/holds/${open}` },
    { name: 'hold-decided', person: lead, path: `/holds/${approved}` },
    { name: 'history', person: lead, path: '/history' },
    { name: 'rules', person: lead, path: '/rules' },
    { name: 'explain', person: lead, path: '/rules', asks: true },
    { name: 'links', person: lead, path: '/links' },
    { name: 'freezes', person: auditor, path: '/freezes' },
    { name: 'nothing', person: auditor, path: '/' },
    { name: 'nowhere', person: auditor, path: '/nowhere' },
  ]
}

const take = async (chrome: Browser, house: House, shots: readonly Shot[]): Promise<void> => {
  for (const person of new Set(shots.map(shot => shot.person))) {
    for (const colorScheme of schemes) {
      const context = await chrome.newContext({ colorScheme, reducedMotion: 'reduce' })
      const page = await context.newPage()
      await page.goto(`${house.console}/`)
      await page.getByRole('button', { name: person.name }).click()
      await page.getByRole('heading', { level: 1 }).waitFor()
      for (const width of widths) {
        await page.setViewportSize({ width, height })
        for (const { name, path, look, asks } of shots.filter(shot => shot.person === person)) {
          await page.goto(`${house.console}${path}`)
          if (look) {
            await page.getByRole('button', { name: /^Show/ }).first().click()
            await page.locator('.looks pre').waitFor()
          }
          if (asks) {
            await page.getByText('Explain a call').click()
            await page.getByLabel('Address').fill('/billing/v1/refunds')
            await page.getByLabel('Subject').fill('billing-agent')
            await page.getByLabel('Body').fill('{"amount": 250, "currency": "EUR"}')
            await page.getByRole('button', { name: 'Explain' }).click()
            await page.locator('.answer').waitFor()
          }
          // Some pictures show a page from top to bottom; the other ones of a hold show what differs.
          const whole = name === 'hold' || look === true || asks === true
          if (name.startsWith('hold-') && !whole) await page.locator('.decision').scrollIntoViewIfNeeded()
          if (whole) await page.evaluate('scrollTo(0, 0)')
          const file = join(target, `${name}-${width}-${colorScheme}.png`)
          await page.screenshot({ path: file, fullPage: whole })
        }
      }
      await context.close()
    }
  }
}

const dir = await mkdtemp(join(tmpdir(), 'holdpoint-screenshots-'))
const [gate = 0, console = 0, admin = 0, idp = 0, billing = 0] = await freePorts(5)
// From inside, so that the rules page shows where the demo keeps its rules and not where this machine keeps what is temporary.
process.chdir(dir)
const house = await openHouse('data', { gate, console, admin, idp, billing })
try {
  const chrome = await startChrome()
  try {
    await mkdir(target, { recursive: true })
    await take(chrome, house, await morning(house))
  } finally {
    await chrome.close()
  }
} finally {
  await house.close()
  await rm(dir, { recursive: true, force: true })
}
