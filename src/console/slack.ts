// Buttons and windows in Slack. A request is from Slack by its signature over the raw bytes, within five minutes, once; the account in it is
// somebody only by its link (links.ts). Then it is the same as on a page: groups made fresh, and `decide` judges. Nothing here approves.
//
// Slack wants its answer within three seconds, so the work goes on after it; what came of it is told to whoever clicked, in private.
import type { Notice } from '../channels/channel.ts'
import { Unreached } from '../channels/channel.ts'
import { readValue } from '../channels/offer.ts'
import { slackReference } from '../channels/slack.ts'
import { type Member, type SlackClient, slackClient } from '../channels/slack-client.ts'
import { barredIn } from '../channels/slack-message.ts'
import { fromSlack, windowS } from '../channels/slack-signature.ts'
import { errors, HoldpointError, toError } from '../errors.ts'
import type { Settings, SlackSettings } from '../settings.ts'
import type { HoldView } from '../views.ts'
import { busyMost, type ChatParts, chat, consoleOnly, stale, type Verdict } from './chat.ts'
import { type Account, notTheirs } from './links.ts'
import type { Route } from './route.ts'
import { codeModal, commentModal, told, unlinked } from './slack-modals.ts'

/** A message with its payload comes back whole with each click. */
const bodyMost = 512 * 1024
/** A request is good from `windowS` before its time until as long after it. */
const seenMs = 2 * windowS * 1000

/** What Slack says happened, as far as it is looked at. Every member may be anything. */
type Payload = {
  readonly type?: unknown
  readonly team?: { readonly id?: unknown } | null
  readonly user?: { readonly id?: unknown; readonly team_id?: unknown }
  readonly bot_id?: unknown
  readonly trigger_id?: unknown
  readonly channel?: { readonly id?: unknown }
  readonly message?: { readonly ts?: unknown }
  readonly actions?: readonly { readonly action_id?: unknown; readonly value?: unknown }[]
  readonly view?: {
    readonly callback_id?: unknown
    readonly private_metadata?: unknown
    readonly state?: {
      readonly values?: { readonly [block: string]: { readonly [id: string]: { readonly value?: unknown } } }
    }
  }
}

export type SlackDoor = {
  readonly routes: readonly Route[]
  /** Takes what came over a socket that was opened with this app-level token. `once` names it. */
  take(appToken: string, payload: unknown, once: string): Promise<void>
  /** Waits for what is under way. */
  close(): Promise<void>
}

const slacksOf = (settings: Settings): readonly SlackSettings[] =>
  settings.channels.filter((one): one is SlackSettings => one.kind === 'slack')

/** Slack channels in which holds can be decided. */
export const chatsOf = (settings: Settings): readonly SlackSettings[] => slacksOf(settings).filter(isChat)

const isChat = ({ content, signingSecret, appToken }: SlackSettings): boolean =>
  content === 'full' && (signingSecret ?? appToken) !== undefined

/** Slack channels whose clicks come over a connection of ours. */
export const socketsOf = (settings: Settings): readonly SlackSettings[] =>
  slacksOf(settings).filter(({ appToken }) => appToken !== undefined)

export const slackDoor = (parts: ChatParts): SlackDoor => {
  const { settings, desk, links, clock, log } = parts
  const { seenBefore, refuse, known } = chat('slack', parts)
  const busy = new Set<Promise<void>>()

  // ---- who it is from

  const single = (headers: readonly string[], name: string): string | null => {
    const values = headers.flatMap((header, index) =>
      index % 2 === 0 && header.toLowerCase() === name ? [headers[index + 1] ?? ''] : [],
    )
    return values.length === 1 ? (values[0] ?? null) : null
  }

  /** A click is for the channel that it was made in, of the team that this channel belongs to. */
  const channelOf = (payload: Payload, candidates: readonly SlackSettings[]): SlackSettings | undefined => {
    const { team, user, channel, view } = payload
    const kept = view === undefined ? undefined : keptOf(view.private_metadata)
    return candidates.find(
      one =>
        team?.id === one.team &&
        (user?.team_id === undefined || user.team_id === one.team) &&
        (view === undefined ? channel?.id === one.channel : kept?.channel === one.name),
    )
  }

  const accept = (payload: Payload, candidates: readonly SlackSettings[]): void => {
    const channel = channelOf(payload, candidates)
    const user = payload.user?.id
    if (channel === undefined || typeof user !== 'string' || !/^[UW][A-Z0-9]{1,30}$/.test(user)) {
      log.warn({ type: payload.type }, 'something came from Slack that is for no channel of ours')
      return
    }
    // Slack sends a click on a link, too.
    if (!isChat(channel)) return
    if (busy.size >= busyMost) {
      log.warn({ channel: channel.name }, 'too much comes from Slack at once; a click was not taken')
      return
    }
    const click: Click = { channel, user, payload, client: slackClient(channel) }
    const work: Promise<void> = handle(click)
      .catch((error: Error) =>
        log.warn({ why: error.message, channel: channel.name }, 'a click in Slack came to nothing'),
      )
      .finally(() => busy.delete(work))
    busy.add(work)
  }

  // ---- what it asks for

  type Click = {
    readonly channel: SlackSettings
    readonly user: string
    readonly payload: Payload
    readonly client: SlackClient
  }

  const accountOf = ({ channel, user }: Click): Account => ({
    channel: channel.name,
    kind: 'slack',
    team: channel.team,
    user,
  })
  const whisper = (click: Click, text: string): Promise<void> => click.client.whisper(click.user, told(text))

  const handle = async (click: Click): Promise<void> => {
    try {
      if (click.payload.bot_id !== undefined && click.payload.bot_id !== null) return
      await (click.payload.type === 'view_submission' ? submitted(click) : pressed(click))
    } catch (thrown) {
      if (thrown instanceof Unreached) throw thrown
      const error = toError(thrown)
      if (error.status >= 500) log.error({ err: error.extras.cause ?? error }, 'a click in Slack failed')
      await whisper(click, `${errors[error.code].title}. ${error.detail ?? ''}`)
      const { hold } = error.extras
      if (hold !== undefined && stale.has(error.code)) await refresh(click, hold)
    }
  }

  const pressed = async (click: Click): Promise<void> => {
    const [action] = click.payload.actions ?? []
    const { trigger_id: trigger } = click.payload
    if (action?.action_id === 'link') {
      const kept = JSON.stringify({ channel: click.channel.name })
      return click.client.open(String(trigger), codeModal(kept, `${settings().console.url}/links`))
    }
    if (action?.action_id !== 'approve' && action?.action_id !== 'deny') return
    const verdict: Verdict = action.action_id
    const asked = readValue(action.value)
    if (asked === undefined) return
    const found = await theirs(click, verdict, asked.hold)
    if (found === undefined) return
    const ts = typeof click.payload.message?.ts === 'string' ? click.payload.message.ts : undefined
    if (verdict === 'deny' || found.view.comment_required) {
      const kept = JSON.stringify({ channel: click.channel.name, ...asked, ...(ts === undefined ? {} : { ts }) })
      const { line, comment_required: required } = found.view
      return click.client.open(String(trigger), commentModal(kept, verdict, line, required))
    }
    await decided(click, verdict, asked, found.notice, undefined)
  }

  const submitted = async (click: Click): Promise<void> => {
    const { callback_id: callback, private_metadata: metadata, state } = click.payload.view ?? {}
    const field = (name: string): string | undefined => {
      const value = state?.values?.[name]?.[name]?.value
      return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined
    }
    if (callback === 'link') return link(click, field('code') ?? '')
    const kept = keptOf(metadata)
    if ((callback !== 'approve' && callback !== 'deny') || kept?.hold === undefined || kept.view === undefined) return
    const asked = { hold: kept.hold, view: kept.view }
    const found = await theirs(click, callback, asked.hold)
    if (found !== undefined) await decided(click, callback, asked, found.notice, field('comment'))
  }

  const link = async (click: Click, code: string): Promise<void> => {
    const member = await click.client.member(click.user)
    const account = accountOf(click)
    const { email, emailConfirmed, guest, bot } = member
    const profile = {
      email,
      emailConfirmed,
      guest,
      bot: bot || member.deleted,
      foreign: isForeign(member, click.channel),
    }
    const reviewer = await links.link(account, code, profile)
    await whisper(
      click,
      `Linked: what you decide here is decided by ${reviewer.name}, until you sign out at the console.`,
    )
  }

  /** The hold as this account's person and this channel may see it; undefined after they were told why not. */
  const theirs = async (
    click: Click,
    verdict: Verdict,
    hold: string,
  ): Promise<{ readonly view: HoldView; readonly notice: Notice } | undefined> => {
    const account = accountOf(click)
    const spelled = `${account.channel}:${account.team}/${account.user}`
    const visitor = await links.visitorOf(account)
    if (visitor === undefined) {
      await refuse({ code: 'not_approver', hold, detail: `${verdict}: ${spelled} is not linked` })
      await click.client.whisper(click.user, unlinked(''))
      return undefined
    }
    const { reviewer } = visitor
    const why = misfit(await click.client.member(click.user), click.channel) ?? notTheirs(account, reviewer, settings())
    if (why !== undefined) {
      await refuse({ code: 'not_approver', hold, detail: `${verdict}: ${spelled}: ${why}` }, reviewer)
      await whisper(click, why)
      return undefined
    }
    return known(account.channel, hold, reviewer, verdict)
  }

  const decided = async (
    click: Click,
    verdict: Verdict,
    asked: { readonly hold: string; readonly view: string },
    notice: Notice,
    comment: string | undefined,
  ): Promise<void> => {
    const visitor = await links.visitorOf(accountOf(click))
    if (visitor === undefined) return void (await click.client.whisper(click.user, unlinked('')))
    const reviewer = await visitor.fresh()
    const view = await desk.show(reviewer, asked.hold)
    const barred = consoleOnly(view) ?? barredIn(notice)
    if (verdict === 'approve' && view.you.may_decide && barred !== undefined) {
      await refuse({ code: 'not_approver', hold: asked.hold, detail: `${verdict}: ${barred}` }, reviewer)
      return whisper(click, `${barred} ${settings().console.url}/holds/${asked.hold}`)
    }
    await desk.decide(reviewer, asked.hold, verdict, {
      view: asked.view,
      ...(comment === undefined ? {} : { comment }),
    })
  }

  const refresh = async (click: Click, hold: string): Promise<void> => {
    const { message, view } = click.payload
    const ts = message?.ts ?? keptOf(view?.private_metadata)?.ts
    if (typeof ts !== 'string' || !/^\d{1,12}\.\d{1,8}$/.test(ts)) return
    await parts.retell(click.channel.name, hold, slackReference({ channel: click.channel.channel, ts }))
  }

  return {
    routes: [
      {
        method: 'POST',
        path: '/slack/interactions',
        answer: async context => {
          const body = await rawBody(context.req.raw)
          const headers = context.env?.incoming?.rawHeaders ?? [...context.req.raw.headers].flat()
          const timestamp = single(headers, 'x-slack-request-timestamp')
          const signature = single(headers, 'x-slack-signature')
          const now = clock()
          const candidates = slacksOf(settings()).filter(
            ({ signingSecret }) =>
              signingSecret !== undefined && fromSlack({ body, timestamp, signature }, signingSecret, now),
          )
          if (candidates.length === 0)
            throw new HoldpointError('unauthenticated', 'The request is not signed by Slack for this app, or not now.')
          if (await seenBefore(`${timestamp} ${signature}`, seenMs)) {
            log.warn('a request of Slack came a second time')
            return context.body(null, 200)
          }
          accept(payloadIn(body), candidates)
          return context.body(null, 200)
        },
      },
    ],
    async take(appToken, payload, once) {
      if (await seenBefore(once, seenMs)) return
      if (payload !== null && typeof payload === 'object')
        accept(
          payload,
          slacksOf(settings()).filter(one => one.appToken === appToken),
        )
    },
    async close() {
      await Promise.allSettled(busy)
    },
  }
}

const isForeign = (member: Member, channel: SlackSettings): boolean =>
  member.stranger || (member.team !== undefined && member.team !== channel.team)

/** Why an account of Slack is nobody's who may decide, whatever it was linked to. */
const misfit = (member: Member, channel: SlackSettings): string | undefined => {
  if (member.bot) return 'A bot decides nothing.'
  if (member.deleted) return 'This account is deactivated.'
  if (member.guest) return 'A guest account decides nothing.'
  if (isForeign(member, channel)) return "An account of another company's workspace decides nothing."
  return undefined
}

type Kept = { readonly channel: string; readonly hold?: string; readonly view?: string; readonly ts?: string }

/** What a window of ours carries. It comes back from Slack as it was, under Slack's signature. */
const keptOf = (metadata: unknown): Kept | undefined => {
  try {
    const kept = JSON.parse(String(metadata)) as { [name: string]: unknown } | null
    const value = readValue(`${kept?.hold}.${kept?.view}`)
    return typeof kept?.channel !== 'string'
      ? undefined
      : { channel: kept.channel, ...value, ...(typeof kept.ts === 'string' ? { ts: kept.ts } : {}) }
  } catch {
    return undefined
  }
}

const rawBody = async (request: Request): Promise<Buffer> => {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > bodyMost) throw new HoldpointError('body_too_large', `At most ${bodyMost} bytes are taken here.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** One form field `payload` with JSON in it (https://docs.slack.dev/interactivity/handling-user-interaction). */
const payloadIn = (body: Buffer): Payload => {
  const fields = [...new URLSearchParams(body.toString('utf8'))]
  const [[name, text] = ['', '']] = fields
  try {
    const payload: unknown = fields.length === 1 && name === 'payload' ? JSON.parse(text) : undefined
    if (payload !== null && typeof payload === 'object') return payload
  } catch {
    // Said below.
  }
  throw new HoldpointError('malformed', 'The form must be one field "payload" with a JSON object.')
}
