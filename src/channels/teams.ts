// Teams as a channel, in one of two ways. By a Workflows webhook: cards that lead to the console and cannot be changed, so how a hold ended is
// a card of its own. By a bot: one card per hold, changed as the hold changes; its clicks come back through the console (console/teams.ts).
import type { TeamsBot, TeamsSettings } from '../settings.ts'
import { type Channel, Unreached } from './channel.ts'
import { worthSaying } from './outcome.ts'
import { pace } from './pace.ts'
import { post } from './post.ts'
import { cardOf, followUpCard, messageMost, messageWith } from './teams-card.ts'
import { isActivity, type Spot, type TeamsClient, teamsClient } from './teams-client.ts'

/** What Teams takes of one webhook. */
const perSecond = 4
const repliesMost = 20

export const teams = (settings: TeamsSettings): Channel => {
  const { url, bot } = settings
  if (bot !== undefined) return byBot(settings, bot, teamsClient(bot))
  if (url !== undefined) return byWebhook(settings, url)
  throw new Error('a teams channel has a url or a bot')
}

// ---- by webhook

const byWebhook = ({ name, cardVersion: version }: TeamsSettings, url: string): Channel => {
  const turn = pace(perSecond)
  return {
    name,
    each: true,
    async tell(notice) {
      if (!worthSaying(notice)) return undefined
      const first = notice.occasion === 'opened'
      const card = first ? cardOf(notice, { version, buttons: false }) : followUpCard(notice, version)
      const body = JSON.stringify(messageWith(card))
      if (Buffer.byteLength(body) > messageMost) throw new Unreached('the card is too large')
      await turn()
      await post(url, body, { 'content-type': 'application/json', 'user-agent': 'Holdpoint' })
      return undefined
    },
    // It cannot be asked, and nobody there recognises a repetition.
    arrived: async () => ({ arrived: true }),
  }
}

// ---- by bot

/** What is kept of what was told: the card, and the answers below it. */
type Reference = { readonly activity: string; readonly replies: readonly string[] }

/** A card that is known to be there; undefined if this is no id of one. */
export const teamsReference = (activity: string): string | undefined =>
  isActivity(activity) ? JSON.stringify({ activity, replies: [] } satisfies Reference) : undefined

const byBot = ({ name, cardVersion: version }: TeamsSettings, bot: TeamsBot, client: TeamsClient): Channel => {
  const spot = (activity: string): Spot => ({ conversation: bot.conversation, activity })
  return {
    name,
    each: false,
    async tell(notice, earlier) {
      const card = messageWith(cardOf(notice, { version, buttons: true }))
      if (earlier === undefined)
        return JSON.stringify({ activity: (await client.post(card)).activity, replies: [] } satisfies Reference)
      const { activity, replies } = JSON.parse(earlier) as Reference
      // A card that somebody removed needs no settling.
      const there = await client.update(spot(activity), card)
      const below = messageWith(followUpCard(notice, version))
      if (there && (notice.occasion === 'reminded' || notice.occasion === 'escalated')) {
        const reply = await client.post(below, activity)
        return JSON.stringify({
          activity,
          replies: [...replies, reply.activity].slice(-repliesMost),
        } satisfies Reference)
      }
      if (notice.state !== 'pending') for (const reply of replies) await client.update(spot(reply), below)
      return earlier
    },
    async arrived(notice, earlier) {
      // Changing a card twice changes nothing; whether a new one is there cannot be asked.
      return { arrived: earlier === undefined || notice.occasion === 'reminded' || notice.occasion === 'escalated' }
    },
  }
}
