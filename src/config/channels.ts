// The entries of `channels`: what each kind takes, and how that reads as settings. One kind is one schema and one case of `build`.
import { z } from 'zod'
import type { ChannelSettings } from '../settings.ts'
import { flag, list, loopback, name, oneOf, oneOrMore, secureUrl, text } from './scalars.ts'
import { type Reader, strict } from './strict.ts'

const basics = {
  content: oneOf(['full', 'minimal'])
    .prefault('full')
    .describe('full: the masked call; minimal: only that there is one, and a link.'),
}

const postUrlMessage = 'must be an https URL (http is for loopback addresses only), without a user or a fragment'

/** Where something is posted to. A query may be its credential, so it is kept as it is and never shown. */
export const postUrl = z.string({ error: postUrlMessage }).refine(value => {
  if (!/^https?:\/\/[^\s\\]+$/.test(value) || !URL.canParse(value)) return false
  const { protocol, hostname, username, password, hash } = new URL(value)
  return username === '' && password === '' && hash === '' && (protocol === 'https:' || loopback(hostname))
}, postUrlMessage)

const id = (what: string, pattern: RegExp) => text(what).regex(pattern, `must be ${what}`)

const webhook = strict({
  kind: z.literal('webhook'),
  ...basics,
  url: postUrl,
  secret: text('a secret')
    .regex(
      /^(whsec_[A-Za-z0-9+/]{32,}={0,2}|(?!whsec_).{24,})$/,
      'must be whsec_ and base64 of at least 24 bytes, or at least 24 characters',
    )
    .describe('Signs what is sent (Standard Webhooks).'),
})

const slack = strict({
  kind: z.literal('slack'),
  ...basics,
  token: id('a bot token (xoxb-…)', /^xoxb-[\x21-\x7e]+$/),
  signingSecret: text('the signing secret')
    .optional()
    .describe('Of the app; for buttons that come to /slack/interactions.'),
  appToken: id('an app-level token (xapp-…)', /^xapp-[\x21-\x7e]+$/)
    .optional()
    .describe('For buttons over Socket Mode, where nothing can be reached from outside.'),
  team: id('a workspace id such as T0123ABC', /^[TE][A-Z0-9]{1,30}$/).describe('Nobody of another workspace decides.'),
  channel: id('a channel id such as C0123ABC', /^[CGD][A-Z0-9]{1,30}$/),
  dm: oneOf(['owner'])
    .optional()
    .describe('Also tells the people behind a call, by their address, in a message of their own.'),
  apiUrl: secureUrl
    .prefault('https://slack.com/api/')
    .describe('Of another Slack, such as https://slack-gov.com/api/.'),
})

const uuid = (what: string) => id(what, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)

const hostPattern = /^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?$/

const teamsBot = strict({
  appId: uuid("the bot's application id, a UUID in lower case"),
  secret: text('a client secret of the bot'),
  tenant: uuid('a tenant id, a UUID in lower case').describe('Nobody of another tenant decides.'),
  conversation: id('the id of a channel or a chat, such as 19:…@thread.tacv2', /^(19|a):[A-Za-z0-9_@.:-]{1,300}$/),
  serviceUrl: secureUrl
    .prefault('https://smba.trafficmanager.net/teams/')
    .describe('The Bot connector of your cloud and region.'),
  serviceHosts: list(id('a host name', hostPattern))
    .prefault([])
    .describe('Further hosts that what comes in may name as its serviceUrl. Nothing is sent there.'),
  tokenUrl: secureUrl.optional().describe('Default: of the tenant at login.microsoftonline.com.'),
  scope: text('a scope').prefault('https://api.botframework.com/.default'),
  issuer: secureUrl.prefault('https://api.botframework.com').describe('Who signs what comes in.'),
  metadataUrl: secureUrl
    .prefault('https://login.botframework.com/v1/.well-known/openidconfiguration')
    .describe("Where that issuer's keys are found."),
})

const teams = strict({
  kind: z.literal('teams'),
  ...basics,
  url: postUrl.optional().describe('Of a workflow ("When a Teams webhook request is received"); a secret.'),
  hosts: oneOrMore(id('a host name such as acme.example or "*.logic.azure.com"', hostPattern))
    .prefault([
      '*.logic.azure.com',
      '*.api.powerplatform.com',
      'api.powerplatform.com',
      'api.powerautomate.com',
      'flow.microsoft.com',
    ])
    .describe('Where the url may lead; "*." stands for everything below. Loopback addresses always may be.'),
  bot: teamsBot.optional().describe('A registered bot: buttons that decide, and cards that follow their holds.'),
  cardVersion: oneOf(['1.4', '1.5']).prefault('1.5').describe('Of the Adaptive Cards.'),
})

const mailbox = id(
  'an address such as holdpoint@acme.com',
  /^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$/,
)

const email = strict({
  kind: z.literal('email'),
  content: z
    .literal('minimal', { error: 'must be minimal: an e-mail has no value of a call in it' })
    .prefault('minimal')
    .describe('An e-mail says that there is a call, its rule and upstream, and a link.'),
  server: id(
    'smtps://host[:465] or smtp://host[:587] (which has to offer STARTTLS)',
    /^smtps?:\/\/([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?\/?$/,
  ),
  ca: text('a certificate, PEM')
    .regex(/-----BEGIN CERTIFICATE-----/, 'must be a certificate, PEM')
    .optional()
    .describe("Who vouches for the server's certificate, instead of the usual authorities."),
  insecurePlaintext: flag
    .prefault(false)
    .describe('Send to smtp:// without TLS. Links to holds, and the password, can be read on the way.'),
  user: text('a user name').optional(),
  password: text('a password').optional(),
  from: mailbox,
  to: oneOrMore(mailbox),
})

const kinds = [email, slack, teams, webhook] as const
const words = kinds.map(({ shape }) => shape.kind.value)

/** One channel. */
export const channel = z.discriminatedUnion('kind', kinds, {
  error: `must be a mapping with kind: ${words.join(' or ')}`,
})

/** By their names, which people's accounts and rules use. */
export const channels = z.record(name, channel, { error: 'must be a mapping of names to channels' })

export const buildChannels = (
  reader: Reader,
  channels: { readonly [name: string]: z.output<typeof channel> },
): readonly ChannelSettings[] => {
  if (Object.hasOwn(channels, 'none'))
    reader.say(['channels', 'none'], '"none" stands for no channel in a rule\'s notify; use another name', 'key')
  return Object.entries(channels).map(([name, value]) => buildChannel(reader, name, value))
}

/** `*.name` stands for everything below it. */
const isOne = (host: string, hosts: readonly string[]): boolean =>
  hosts.some(one => (one.startsWith('*.') ? host.endsWith(one.slice(1)) : host === one))

const buildTeams = (reader: Reader, name: string, value: z.output<typeof teams>): ChannelSettings => {
  const { url, hosts, bot, ...basics } = value
  const path = ['channels', name]
  if ((url === undefined) === (bot === undefined))
    reader.say(path, `channels.${name} needs either url (of a workflow) or bot`)
  const host = url === undefined || !URL.canParse(url) ? undefined : new URL(url).hostname
  if (host !== undefined && !loopback(host) && !isOne(host, hosts))
    reader.say(
      [...path, 'url'],
      `channels.${name}.url must lead to one of ${hosts.join(', ')}; if it is right, name its host in channels.${name}.hosts`,
    )
  const tokenUrl = bot?.tokenUrl ?? `https://login.microsoftonline.com/${bot?.tenant}/oauth2/v2.0/token`
  return { ...basics, name, url, bot: bot && { ...bot, tokenUrl } }
}

const buildEmail = (reader: Reader, name: string, value: z.output<typeof email>): ChannelSettings => {
  const { server, insecurePlaintext, ...rest } = value
  const path = ['channels', name]
  if ((rest.user === undefined) !== (rest.password === undefined))
    reader.say(path, `channels.${name} needs both user and password, or neither`)
  const [, scheme, bracketed, host = bracketed, port] =
    /^(smtps?):\/\/(?:\[(.+)\]|([^:/]+))(?::(\d+))?/.exec(server) ?? []
  const implicit = scheme === 'smtps'
  if (implicit && insecurePlaintext)
    reader.say(
      [...path, 'insecurePlaintext'],
      `channels.${name}.insecurePlaintext is for smtp://; smtps:// always has TLS`,
    )
  const plain = insecurePlaintext || loopback(host ?? '')
  return {
    ...rest,
    name,
    host: host ?? '',
    port: Number(port ?? (implicit ? 465 : 587)),
    security: implicit ? 'tls' : plain ? 'none' : 'starttls',
  }
}

const buildChannel = (reader: Reader, name: string, value: z.output<typeof channel>): ChannelSettings => {
  switch (value.kind) {
    case 'email':
      return buildEmail(reader, name, value)
    case 'teams':
      return buildTeams(reader, name, value)
    case 'slack':
      if (value.signingSecret === undefined && value.appToken === undefined && value.content === 'full')
        reader.say(
          ['channels', name],
          `channels.${name} needs signingSecret (buttons that come to /slack/interactions), appToken (over Socket Mode), or content: minimal`,
        )
      return { ...value, name }
    case 'webhook':
      return { ...value, name }
  }
}
