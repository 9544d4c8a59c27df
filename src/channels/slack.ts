// Slack as a channel: one message per hold, which is changed as the hold changes, and answers below it when nobody decides. Buttons come back
// through the console (console/slack.ts); this file only tells.
import type { SlackSettings } from '../settings.ts'
import { type Channel, type Notice, Unreached } from './channel.ts'
import { type SlackClient, type Spot, slackClient } from './slack-client.ts'
import { messageOf, replyOf } from './slack-message.ts'

/** What is kept of what was told: the message, the answers below it, and the messages to the people behind the call. */
type Reference = Spot & { readonly replies: readonly string[]; readonly direct?: readonly Spot[] }

const repliesMost = 20
const peopleMost = 5

/** The same for somebody behind the call: they may look at it and withdraw it. */
const behind = (notice: Notice): Notice =>
  notice.shown === undefined
    ? notice
    : {
        ...notice,
        shown: { ...notice.shown, openOnly: 'You are behind this call. Somebody else decides; you may withdraw it.' },
      }

export const slackReference = (spot: Spot): string => JSON.stringify({ ...spot, replies: [] } satisfies Reference)

export const slack = (settings: SlackSettings, client: SlackClient = slackClient(settings)): Channel => {
  const first = async (notice: Notice): Promise<Reference> => {
    const spot = await client.post(messageOf(notice), { hold: notice.hold })
    return { ...spot, replies: [], ...(settings.dm === undefined ? {} : { direct: await directly(notice) }) }
  }

  /** Once, as far as it goes: the message in the channel is the one that has to arrive. */
  const directly = async (notice: Notice): Promise<readonly Spot[]> => {
    const emails = (notice.shown?.people ?? []).filter(one => /^[^\s@<>]+@[^\s@<>]+$/.test(one)).slice(0, peopleMost)
    const sent = await Promise.all(
      emails.map(email => client.direct(email, messageOf(behind(notice))).catch(() => undefined)),
    )
    return sent.filter(spot => spot !== undefined)
  }

  // A message that somebody removed needs no settling; one that may not be changed any more is answered instead.
  const changed = async (spot: Spot, notice: Notice, message: ReturnType<typeof messageOf>): Promise<void> => {
    try {
      await client.update(spot, message)
    } catch (error) {
      const why = error instanceof Unreached ? error.message : ''
      if (/ (message_not_found|thread_not_found)$/.test(why)) return
      if (!/ (edit_window_closed|cant_update_message)$/.test(why)) throw error
      await client.post(replyOf(notice), { thread: spot.ts })
    }
  }

  return {
    name: settings.name,
    each: false,
    async tell(notice, earlier) {
      if (earlier === undefined) return JSON.stringify(await first(notice))
      const { channel, ts, replies, direct = [] } = JSON.parse(earlier) as Reference
      await changed({ channel, ts }, notice, messageOf(notice))
      if (notice.occasion === 'reminded' || notice.occasion === 'escalated') {
        const reply = await client.post(replyOf(notice), { thread: ts })
        return JSON.stringify({ channel, ts, replies: [...replies, reply.ts].slice(-repliesMost), direct })
      }
      if (notice.state !== 'pending')
        for (const reply of replies) await changed({ channel, ts: reply }, notice, replyOf(notice))
      for (const spot of direct) await changed(spot, notice, messageOf(behind(notice)))
      return earlier
    },
    async arrived(notice, earlier) {
      // Changing a message twice changes nothing; an answer below it is not worth a second one.
      if (earlier !== undefined) return { arrived: notice.occasion === 'reminded' || notice.occasion === 'escalated' }
      const spot = await client.find(notice.hold, notice.openedAt)
      return { arrived: false, ...(spot === undefined ? {} : { reference: slackReference(spot) }) }
    },
  }
}
