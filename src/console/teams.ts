// Clicks on cards in Teams. A request is from Teams by the Bot Framework's token (teams-token.ts), of our tenant, in our conversation, once; the
// account in it is somebody only by its link (links.ts). Then it is the same as on a page: groups made fresh, and `decide` judges. Nothing
// here approves. The answer is the card as the hold stands then, shown to whoever clicked; everybody else's is changed by the outbox.
import type { Notice } from '../channels/channel.ts'
import { Unreached } from '../channels/channel.ts'
import { readValue } from '../channels/offer.ts'
import { teamsReference } from '../channels/teams.ts'
import { barredIn, type Card, cardOf, codeField, commentField, linkCard } from '../channels/teams-card.ts'
import { type TeamsClient, type TeamsMember, teamsClient } from '../channels/teams-client.ts'
import { errors, HoldpointError, toError } from '../errors.ts'
import type { Json, Reviewer } from '../nouns.ts'
import { busyMost, type ChatParts, chat, consoleOnly, stale, type Verdict } from './chat.ts'
import { readObject } from './input.ts'
import { type Account, notTheirs } from './links.ts'
import type { Route } from './route.ts'
import { type BotChannel, botTokens, sameService, skewS } from './teams-token.ts'

type Members = { readonly [name: string]: Json }

/** What Teams is answered (https://learn.microsoft.com/adaptive-cards/authoring-cards/universal-action-model). */
type Answer = { readonly statusCode: number; readonly type: string; readonly value: unknown }

export type TeamsDoor = {
  readonly routes: readonly Route[]
  /** Waits for what is under way. */
  close(): Promise<void>
}

type Click = {
  readonly channel: BotChannel
  readonly client: TeamsClient
  /** The account's id in the conversation, which only Teams understands. */
  readonly from: string
  readonly account: Account
  readonly verb: string
  readonly asked: { readonly hold: string; readonly view: string }
  readonly data: Members
  /** The message that was clicked. */
  readonly message: string | undefined
}

export const teamsDoor = (parts: ChatParts): TeamsDoor => {
  const { settings, desk, links, clock, log } = parts
  const { seenBefore, refuse, known } = chat('teams', parts)
  const verified = botTokens(settings, clock)
  const busy = new Set<Promise<unknown>>()
  const clients = new Map<string, TeamsClient>()

  const clientOf = ({ bot }: BotChannel): TeamsClient => {
    const key = JSON.stringify(bot)
    const client = clients.get(key) ?? teamsClient(bot)
    clients.set(key, client)
    return client
  }

  // ---- what is asked for

  const card = ({ channel }: Click, notice: Notice, note?: string): Answer =>
    answered(cardOf(notice, { version: channel.cardVersion, buttons: true, note }))

  /** The card as the hold stands now. A hold that this channel is not told of is none here. */
  const now = async (click: Click, note?: string): Promise<Answer> => {
    const notice = await parts.tells(click.channel.name, click.asked.hold)
    return notice === undefined ? said(note ?? errors.unknown_hold.title) : card(click, notice, note)
  }

  const toLink = ({ channel, asked }: Click, note?: string): Answer => {
    const value = `${asked.hold}.${asked.view}`
    return answered(linkCard(value, `${settings().console.url}/links`, { version: channel.cardVersion, note }))
  }

  const handle = async (click: Click): Promise<Answer> => {
    try {
      return await judged(click)
    } catch (thrown) {
      if (thrown instanceof Unreached) {
        log.warn({ err: thrown, channel: click.channel.name }, 'Teams cannot be asked who clicked')
        return said('Teams cannot be asked who you are just now. Try again, or decide on the console.')
      }
      const error = toError(thrown)
      if (error.status >= 500) log.error({ err: error.extras.cause ?? error }, 'a click in Teams failed')
      if (stale.has(error.code)) refresh(click)
      const note = [`${errors[error.code].title}.`, error.detail].filter(Boolean).join(' ')
      return click.verb === 'link' ? toLink(click, note) : await now(click, note).catch(() => said(note))
    }
  }

  const judged = async (click: Click): Promise<Answer> => {
    const member = await click.client.member(click.from)
    const why = misfit(member, click)
    if (why !== undefined) {
      await refused(click, why)
      return said(why)
    }
    switch (click.verb) {
      case 'show':
        return now(click)
      case 'link':
        return link(click, member)
      case 'approve':
      case 'deny':
        return decided(click, click.verb)
      default:
        return said('This button is not known here any more.')
    }
  }

  const link = async (click: Click, { email, guest }: TeamsMember): Promise<Answer> => {
    const profile = { email, emailConfirmed: true, guest, bot: false, foreign: false }
    const reviewer = await links.link(click.account, textIn(click.data, codeField) ?? '', profile)
    return now(click, `Linked: what you decide here is decided by ${reviewer.name}, until you sign out at the console.`)
  }

  const decided = async (click: Click, verdict: Verdict): Promise<Answer> => {
    const { account, asked } = click
    const visitor = await links.visitorOf(account)
    if (visitor === undefined) {
      await refused(click, 'not linked')
      return toLink(click)
    }
    const other = notTheirs(account, visitor.reviewer, settings())
    if (other !== undefined) {
      await refused(click, other, visitor.reviewer)
      return said(other)
    }
    const unknown = recorded(click, 'not theirs to see')
    const { view, notice } = await known(click.channel.name, asked.hold, visitor.reviewer, unknown)
    const reviewer = await visitor.fresh()
    const barred = consoleOnly(view) ?? barredIn(notice)
    if (view.you.may_decide && barred !== undefined) {
      await refused(click, barred, reviewer)
      return card(click, notice, barred)
    }
    const comment = textIn(click.data, commentField(verdict))
    await desk.decide(reviewer, asked.hold, verdict, {
      view: asked.view,
      ...(comment === undefined ? {} : { comment }),
    })
    return now(click)
  }

  /** Changes a card that still shows buttons which should be gone, for everybody. */
  const refresh = ({ channel, asked, message }: Click): void => {
    const reference = message === undefined ? undefined : teamsReference(message)
    if (reference === undefined) return
    const work: Promise<void> = parts
      .retell(channel.name, asked.hold, reference)
      .catch(error => log.warn({ err: toError(error), channel: channel.name }, 'a card in Teams cannot be changed'))
      .finally(() => busy.delete(work))
    busy.add(work)
  }

  /** Why, in the words of the record. */
  const recorded = ({ account, verb }: Click, why: string): string =>
    `${verb}: ${account.channel}:${account.team}/${account.user}: ${why}`

  const refused = (click: Click, why: string, reviewer?: Reviewer): Promise<void> =>
    refuse({ code: 'not_approver', hold: click.asked.hold, detail: recorded(click, why) }, reviewer)

  // ---- who it is from

  /** The click in an activity that a bot's channel got; undefined if it is none, or none of ours. */
  const clickIn = (activity: Members, channels: readonly BotChannel[]): Click | undefined => {
    const { conversation, from, value, replyToId } = activity
    const place = textIn(objectIn(conversation), 'id')?.split(';')[0]
    const channel = channels.find(({ bot }) => bot.conversation === place)
    const action = objectIn(objectIn(value).action)
    const data = objectIn(action.data)
    const asked = readValue(data.hold)
    const id = textIn(objectIn(from), 'id')
    const user = textIn(objectIn(from), 'aadObjectId')?.toLowerCase()
    if (channel === undefined || action.type !== 'Action.Execute' || asked === undefined || id === undefined)
      return undefined
    return {
      ...{ channel, client: clientOf(channel), from: id, asked, data },
      verb: textIn(action, 'verb') ?? '',
      account: { channel: channel.name, kind: 'teams', team: tenantOf(activity) ?? 'unknown', user: user ?? 'unknown' },
      message: typeof replyToId === 'string' ? replyToId : undefined,
    }
  }

  const taken = async (activity: Members, channels: readonly BotChannel[], expiresAt: number): Promise<Answer> => {
    const id = textIn(activity, 'id')
    const click = clickIn(activity, channels)
    if (click === undefined || id === undefined) {
      log.warn('something came from Teams that is for no channel of ours')
      return failed('This click is for nothing that is known here.')
    }
    const forMs = Math.max(0, expiresAt - clock()) + 2 * skewS * 1000
    if (await seenBefore(`${click.channel.bot.appId} ${id}`, forMs)) {
      log.warn({ channel: click.channel.name }, 'a click in Teams came a second time')
      return failed('This click was taken already.')
    }
    return handle(click)
  }

  return {
    routes: [
      {
        method: 'POST',
        path: '/teams/messages',
        answer: async context => {
          const { channels, serviceUrl, expiresAt } = await verified(context.req.raw.headers.get('authorization'))
          const activity = await readObject(context.req.raw)
          if (!sameService(serviceUrl, activity.serviceUrl))
            throw new HoldpointError('unauthenticated', 'The token is for another service (serviceUrl).')
          if (activity.channelId !== 'msteams')
            throw new HoldpointError('unauthenticated', 'Only what comes from Teams is taken here.')
          // Greetings, messages and the like: a bot is told of them, and this one has nothing to say.
          if (activity.type !== 'invoke' || activity.name !== 'adaptiveCard/action') return context.body(null, 200)
          if (busy.size >= busyMost)
            throw new HoldpointError('too_many_calls', 'Too much comes from Teams at once.', { retryAfterS: 1 })
          const work = taken(activity, channels, expiresAt)
          const counted = work.finally(() => busy.delete(counted)).catch(() => undefined)
          busy.add(counted)
          return context.json(await work)
        },
      },
    ],
    async close() {
      await Promise.allSettled(busy)
    },
  }
}

const answered = (value: Card): Answer => ({
  statusCode: 200,
  type: 'application/vnd.microsoft.card.adaptive',
  value,
})
const said = (value: string): Answer => ({ statusCode: 200, type: 'application/vnd.microsoft.activity.message', value })
const failed = (message: string): Answer => ({
  statusCode: 400,
  type: 'application/vnd.microsoft.error',
  value: { code: 'BadRequest', message },
})

const objectIn = (value: Json | undefined): Members =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Members) : {}

const textIn = (members: Members, name: string): string | undefined => {
  const value = Object.hasOwn(members, name) ? members[name] : undefined
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined
}

/** The tenant an activity is of, if it says one and not two. */
const tenantOf = ({ conversation, channelData }: Members): string | undefined => {
  const named = [textIn(objectIn(conversation), 'tenantId'), textIn(objectIn(objectIn(channelData).tenant), 'id')]
  const tenants = new Set(named.filter(one => one !== undefined).map(one => one.toLowerCase()))
  const [tenant] = tenants
  return tenants.size === 1 ? tenant : undefined
}

/** Why an account of Teams is nobody's who may decide, whatever it was linked to. */
const misfit = ({ guest, tenant, aadObjectId }: TeamsMember, { channel, account }: Click): string | undefined => {
  if (account.team !== channel.bot.tenant || tenant !== channel.bot.tenant)
    return 'An account of another company decides nothing.'
  if (guest) return 'A guest account decides nothing.'
  if (aadObjectId === undefined || aadObjectId !== account.user)
    return 'This account has no directory entry of its own.'
  return undefined
}
