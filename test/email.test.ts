// E-mail through a real SMTP server: what is in it and what never is, over which connections, and what is said when it fails.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { channelsNow } from '../src/channels/make.ts'
import { type Notify, notify } from '../src/notify.ts'
import type { EmailSettings } from '../src/settings.ts'
import { type Certificates, makeCertificates } from './support/certificates.ts'
import { type ConsoleStage, startConsole } from './support/console.ts'
import { eventually } from './support/eventually.ts'
import { people } from './support/people.ts'

type Mail = {
  readonly from: string
  readonly to: readonly string[]
  readonly raw: string
  readonly secure: boolean
  readonly user: string | undefined
}

const password = 'smtp-password-canary'
let certificates: Certificates
let mails: Mail[]
let servers: SMTPServer[]
let stage: ConsoleStage
let telling: Notify

/** A server that takes everything from who proves to be `holdpoint`; answers its port. */
const server = async (options: SMTPServerOptions = {}): Promise<number> => {
  const one = new SMTPServer({
    authOptional: true,
    disableReverseLookup: true,
    disabledCommands: ['STARTTLS'],
    onAuth: ({ username, password: shown }, _, done) =>
      username === 'holdpoint' && shown === password
        ? done(null, { user: username })
        : done(new Error('535 wrong: smtp-server-says-canary')),
    onData(stream, session, done) {
      const chunks: Buffer[] = []
      stream.on('data', chunk => chunks.push(chunk))
      stream.on('end', () => {
        mails.push({
          from: session.envelope.mailFrom === false ? '' : session.envelope.mailFrom.address,
          to: session.envelope.rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks).toString('utf8'),
          secure: session.secure,
          user: session.user as string | undefined,
        })
        done()
      })
    },
    ...options,
  })
  // A client that does not like our certificate leaves; that is what the test is about.
  one.on('error', () => undefined)
  servers.push(one)
  const listening = one.listen(0, '127.0.0.1')
  if (!listening.listening) await once(listening, 'listening')
  return (listening.address() as AddressInfo).port
}

const settings = (port: number, more: Partial<EmailSettings> = {}): EmailSettings => ({
  ...{ kind: 'email', name: 'mail', content: 'minimal', host: '127.0.0.1', port, security: 'none' },
  ...{ from: 'holdpoint@acme.test', to: ['leads@acme.test', 'ana@acme.test'] },
  ...more,
})
const using = (channel: EmailSettings): void => {
  stage.settings = { ...stage.settings, channels: [channel] }
}
const received = (count: number): Promise<readonly Mail[]> =>
  eventually(async () => {
    telling.wake()
    return mails.length >= count ? mails : undefined
  })
const failed = () =>
  eventually(async () => (await stage.entries()).find(({ kind }) => kind === 'channel.failed')).then(
    entry => entry.detail,
  )

const header = (mail: Mail | undefined, name: string): string =>
  new RegExp(`^${name}: (.*(?:\r\n[ \t].*)*)`, 'im').exec(mail?.raw ?? '')?.[1]?.replace(/\r\n[ \t]/g, ' ') ?? ''

beforeAll(async () => {
  certificates = await makeCertificates()
})
afterAll(() => certificates.close())
beforeEach(async () => {
  mails = []
  servers = []
  stage = await startConsole({
    settings: one => ({
      ...one,
      channels: [settings(1)],
      rules: one.rules.map(rule => ({ ...rule, notify: ['mail'] })),
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
  for (const one of servers) await new Promise<void>(resolve => one.close(() => resolve()))
})

const deny = async (hold: string): Promise<void> => {
  const browser = await stage.browserOf(people.ana)
  const form = await browser.fields(`/holds/${hold}`)
  await browser.visit(`${stage.url}/holds/${hold}/deny`, { form: { ...form, comment: 'canary-comment' } })
}

test('a link, the rule and the upstream, and nothing of the call; then how it ended', async () => {
  using(settings(await server()))
  const hold = await stage.hold({ customer: 'canary-1', reason: 'canary-2' })
  const [first] = await received(1)
  expect(first).toMatchObject({ from: 'holdpoint@acme.test', to: ['leads@acme.test', 'ana@acme.test'] })
  expect(header(first, 'subject')).toBe('Approval needed: refunds (billing)')
  expect(header(first, 'auto-submitted')).toBe('auto-generated')
  expect(header(first, 'content-type')).toMatch(/^text\/plain/)
  expect(first?.raw).toContain(`${stage.url}/holds/${hold}`)
  await deny(hold)
  const [, second] = await received(2)
  expect(header(second, 'subject')).toBe('Denied: refunds (billing)')
  expect(second?.raw).toContain('Denied by Ana Ruiz.')
  expect(header(second, 'references')).toBe(header(first, 'references'))
  expect(header(second, 'message-id')).not.toBe(header(first, 'message-id'))
  expect(JSON.stringify(mails)).not.toMatch(/canary|agent-\d|250/)
})

test('names cannot end a header or begin another', async () => {
  using(settings(await server()))
  const evil = 'refunds\r\nBcc: everybody@evil.example\r\n\r\n<b>read me</b>\u202e'
  const { rules } = stage.settings
  stage.settings = { ...stage.settings, rules: rules.map(rule => ({ ...rule, name: evil })) }
  await stage.hold()
  const [mail] = await received(1)
  expect(mail?.to).toEqual(['leads@acme.test', 'ana@acme.test'])
  const [head = ''] = (mail?.raw ?? '').split('\r\n\r\n')
  expect(head).not.toMatch(/^bcc:/im)
  expect(header(mail, 'subject')).toBe('Approval needed: refunds Bcc: everybody@evil.example <b>read me</b> (billing)')
  expect(header(mail, 'content-type')).toMatch(/^text\/plain/)
})

test('a repetition has the same Message-ID', async () => {
  let nth = 0
  const port = await server({
    onMailFrom: (_, __, done) => {
      nth += 1
      done(nth < 3 ? Object.assign(new Error('busy'), { responseCode: 451 }) : null)
    },
  })
  using(settings(port))
  const hold = await stage.hold()
  expect(await failed()).toBe('mail: SMTP: EENVELOPE (451)')
  for (let tries = 0; tries < 3; tries++) {
    stage.pass(60_000)
    telling.wake()
    await eventually(async () => (nth > tries + 1 || mails.length > 0 ? true : undefined))
  }
  const [mail] = await received(1)
  expect(header(mail, 'message-id')).toMatch(/^<msg_[\w-]{27}@acme\.test>$/)
  expect(mail?.raw).toContain(hold)
})

describe('connections', () => {
  const pair = async (names: readonly string[] = ['127.0.0.1', 'localhost']) => {
    const { cert, key } = await certificates.make('mail', names)
    return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') }
  }
  const account = { user: 'holdpoint', password }

  test('TLS from the beginning, with user and password', async () => {
    const port = await server({ ...(await pair()), secure: true, authOptional: false })
    using(settings(port, { security: 'tls', ca: certificates.caText, ...account }))
    await stage.hold()
    expect((await received(1))[0]).toMatchObject({ secure: true, user: 'holdpoint' })
  })

  test('STARTTLS', async () => {
    const port = await server({ ...(await pair()), disabledCommands: [], authOptional: false })
    using(settings(port, { security: 'starttls', ca: certificates.caText, ...account }))
    await stage.hold()
    expect((await received(1))[0]).toMatchObject({ secure: true, user: 'holdpoint' })
  })

  test.each<[string, () => Promise<Partial<EmailSettings> & { port: number }>]>([
    ['a server without STARTTLS', async () => ({ port: await server(), security: 'starttls', ...account })],
    [
      'a certificate that nobody vouches for',
      async () => ({
        port: await server({ ...(await pair()), disabledCommands: [] }),
        security: 'starttls',
        ...account,
      }),
    ],
    [
      'a certificate for another name',
      async () => ({
        port: await server({ ...(await pair(['mail.other.test'])), secure: true }),
        security: 'tls',
        ca: certificates.caText,
        ...account,
      }),
    ],
    [
      'a wrong password',
      async () => ({ port: await server({ authOptional: false, allowInsecureAuth: true }), ...account, password: 'x' }),
    ],
    ['nobody there', async () => ({ port: 1, ...account })],
  ])('%s: nothing is sent, and what is said has no secret in it', async (_, more) => {
    using(settings(1, await more()))
    await stage.hold()
    expect(await failed()).toMatch(/^mail: SMTP: E[A-Z]+( \(\d+\))?$/)
    expect(mails).toEqual([])
    expect(JSON.stringify(await stage.entries())).not.toContain('canary')
  })
})
