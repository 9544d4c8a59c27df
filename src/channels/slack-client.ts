// What is asked of Slack's Web API, and what its failures mean. Every try is one request: notify.ts repeats, and knows what may have arrived.
import { createRequire } from 'node:module'
import type { SlackSettings } from '../settings.ts'
import { Unreached } from './channel.ts'
import type { Message } from './slack-message.ts'

// Loaded with the first channel in Slack: most gates have none.
const slackApi = (): typeof import('@slack/web-api') => createRequire(import.meta.url)('@slack/web-api')

const timeoutMs = 5_000
const longestRetryMs = 3_600_000

/** Where a message is. */
export type Spot = { readonly channel: string; readonly ts: string }

/** Somebody as Slack knows them. */
export type Member = {
  readonly team: string | undefined
  readonly email: string | undefined
  readonly emailConfirmed: boolean
  readonly guest: boolean
  readonly bot: boolean
  readonly deleted: boolean
  readonly stranger: boolean
}

export type SlackClient = {
  post(message: Message, more?: { readonly thread?: string; readonly hold?: string }): Promise<Spot>
  /** Throws Unreached with `why` that ends in Slack's own word for it. */
  update(spot: Spot, message: Message): Promise<void>
  /** The message of a hold, among those since `sinceAt`. */
  find(hold: string, sinceAt: number): Promise<Spot | undefined>
  member(user: string): Promise<Member>
  /** Posts to the one who has this address; undefined if nobody of the workspace has it. */
  direct(email: string, message: Message): Promise<Spot | undefined>
  whisper(user: string, message: Message): Promise<void>
  open(trigger: string, view: object): Promise<void>
}

const silent = () => undefined
const quiet = {
  debug: silent,
  info: silent,
  warn: silent,
  error: silent,
  setLevel: silent,
  getLevel: () => slackApi().LogLevel.ERROR,
  setName: silent,
}

/** Options of every client: nothing is logged by the library, which would print what Slack answers. */
export const clientOptions = (apiUrl: string) => ({
  slackApiUrl: apiUrl.endsWith('/') ? apiUrl : `${apiUrl}/`,
  timeout: timeoutMs,
  retryConfig: { retries: 0 },
  rejectRateLimitedCalls: true,
  allowAbsoluteUrls: false,
  logger: quiet,
})

// No link in a message is fetched by Slack, no name in it becomes a mention.
const inert = { unfurl_links: false, unfurl_media: false, parse: 'none', link_names: false, mrkdwn: false }

const eventType = 'holdpoint_notice'

export const slackClient = ({ token, channel, apiUrl }: SlackSettings): SlackClient => {
  const web = new (slackApi().WebClient)(token, clientOptions(apiUrl))
  const ask = async (method: string, options: Record<string, unknown>): Promise<Record<string, unknown>> => {
    try {
      return { ...(await web.apiCall(method, options)) }
    } catch (error) {
      throw unreached(error)
    }
  }
  return {
    async post(message, { thread, hold } = {}) {
      const answer = await ask('chat.postMessage', {
        channel,
        ...message,
        ...inert,
        ...(thread === undefined ? {} : { thread_ts: thread, reply_broadcast: true }),
        ...(hold === undefined ? {} : { metadata: { event_type: eventType, event_payload: { hold } } }),
      })
      return { channel: String(answer.channel), ts: String(answer.ts) }
    },
    async update(spot, message) {
      await ask('chat.update', { ...spot, ...message, parse: 'none', link_names: false })
    },
    async find(hold, sinceAt) {
      let cursor: string | undefined
      do {
        const answer = (await ask('conversations.history', {
          channel,
          include_all_metadata: true,
          oldest: String(Math.floor(sinceAt / 1000) - 300),
          limit: 200,
          ...(cursor === undefined ? {} : { cursor }),
        })) as {
          messages?: { ts: string; metadata?: { event_type?: string; event_payload?: { hold?: unknown } } }[]
          response_metadata?: { next_cursor?: string }
        }
        const found = answer.messages?.find(
          ({ metadata }) => metadata?.event_type === eventType && metadata.event_payload?.hold === hold,
        )
        if (found !== undefined) return { channel, ts: found.ts }
        cursor = answer.response_metadata?.next_cursor || undefined
      } while (cursor !== undefined)
      return undefined
    },
    async member(user) {
      const { user: found = {} } = (await ask('users.info', { user })) as { user?: Record<string, unknown> }
      const { profile = {} } = found as { profile?: { email?: unknown } }
      return {
        team: typeof found.team_id === 'string' ? found.team_id : undefined,
        email: typeof profile.email === 'string' ? profile.email : undefined,
        emailConfirmed: found.is_email_confirmed === true,
        guest: found.is_restricted === true || found.is_ultra_restricted === true,
        bot: found.is_bot === true || found.is_workflow_bot === true || user === 'USLACKBOT',
        deleted: found.deleted === true,
        stranger: found.is_stranger === true,
      }
    },
    async direct(email, message) {
      const found = (await ask('users.lookupByEmail', { email }).catch((error: Unreached) => {
        if (error.message.endsWith(' users_not_found')) return {}
        throw error
      })) as { user?: { id?: string; deleted?: boolean } }
      if (found.user?.id === undefined || found.user.deleted === true) return undefined
      const { channel: to } = (await ask('conversations.open', { users: found.user.id })) as {
        channel?: { id?: string }
      }
      const { channel: posted, ts } = await ask('chat.postMessage', { channel: to?.id, ...message, ...inert })
      return { channel: String(posted), ts: String(ts) }
    },
    async whisper(user, message) {
      await ask('chat.postEphemeral', { channel, user, ...message, parse: 'none', link_names: false })
    },
    async open(trigger, view) {
      await ask('views.open', { trigger_id: trigger, view })
    },
  }
}

const unreached = (thrown: unknown): Unreached => {
  const error = thrown as {
    code?: string
    data?: { error?: string }
    retryAfter?: number
    statusCode?: number
    original?: { cause?: { code?: string } }
  }
  const { ErrorCode } = slackApi()
  switch (error.code) {
    case ErrorCode.PlatformError:
      return new Unreached(`Slack says ${wordOf(error.data?.error)}`, { cause: thrown })
    case ErrorCode.RateLimitedError:
      return new Unreached('Slack says ratelimited', {
        retryAfterMs: Math.min((error.retryAfter ?? 1) * 1000, longestRetryMs),
        cause: thrown,
      })
    case ErrorCode.HTTPError:
      return new Unreached(`Slack answered ${error.statusCode}`, {
        doubt: (error.statusCode ?? 500) >= 500,
        cause: thrown,
      })
    default: {
      const reason = error.original?.cause?.code
      const never = reason !== undefined && ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH'].includes(reason)
      return new Unreached(`Slack did not answer${reason === undefined ? '' : ` (${reason})`}`, {
        doubt: !never,
        cause: thrown,
      })
    }
  }
}

const wordOf = (word: string | undefined): string => (/^[a-z_]{1,60}$/.test(word ?? '') ? String(word) : 'no')
