// The entries of `channels`: what each kind takes, and how that reads as settings. One kind is one schema and one case of `build`.
import { z } from 'zod'
import type { ChannelSettings } from '../settings.ts'
import { loopback, name, oneOf, secureUrl, text } from './scalars.ts'
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
  apiUrl: secureUrl
    .prefault('https://slack.com/api/')
    .describe('Of another Slack, such as https://slack-gov.com/api/.'),
})

const kinds = [slack, webhook] as const
const words = kinds.map(({ shape }) => shape.kind.value)
const planned: readonly string[] = ['teams', 'email']

/** One channel. */
export const channel = z.discriminatedUnion('kind', kinds, {
  error: ({ input }) => {
    const { kind } = (input ?? {}) as { readonly kind?: unknown }
    return planned.includes(String(kind))
      ? `"${String(kind)}" is not built yet; only ${words.join(' and ')} are`
      : `must be a mapping with kind: ${words.join(' or ')}`
  },
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

const buildChannel = (reader: Reader, name: string, value: z.output<typeof channel>): ChannelSettings => {
  switch (value.kind) {
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
