// A webhook: every occasion as a signed JSON document (Standard Webhooks: https://www.standardwebhooks.com). The receiver knows a
// repetition by `webhook-id`; an old or forged one by timestamp and signature.
import { createHmac } from 'node:crypto'
import type { WebhookSettings } from '../settings.ts'
import type { Channel, Notice } from './channel.ts'
import { post } from './post.ts'

export const webhook = (settings: WebhookSettings, clock: () => number = Date.now): Channel => ({
  name: settings.name,
  each: true,
  async tell(notice) {
    const body = JSON.stringify(documentOf(notice))
    const timestamp = String(Math.floor(clock() / 1000))
    await post(settings.url, body, {
      'content-type': 'application/json',
      'user-agent': 'Holdpoint',
      'webhook-id': notice.id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signature(settings.secret, `${notice.id}.${timestamp}.${body}`)}`,
    })
    return undefined
  },
  arrived: async () => ({ arrived: false }),
})

/** `whsec_` and base64 is the standard's spelling of a key; any other text is the key itself. */
const keyOf = (secret: string): Buffer =>
  secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : Buffer.from(secret, 'utf8')

const signature = (secret: string, signed: string): string =>
  createHmac('sha256', keyOf(secret)).update(signed, 'utf8').digest('base64')

const iso = (at: number): string => new Date(at).toISOString()

const documentOf = (notice: Notice): object => ({
  type: `hold.${notice.occasion}`,
  timestamp: iso(notice.at),
  data: {
    hold: notice.hold,
    status: notice.state,
    url: notice.url,
    rules: notice.rules,
    approvers: notice.approvers,
    opened_at: iso(notice.openedAt),
    expires_at: iso(notice.expiresAt),
    votes: notice.votes,
    verdicts: notice.verdicts.map(({ reviewer, verdict, at }) => ({ reviewer, verdict, at: iso(at) })),
    ...(notice.by === undefined ? {} : { by: notice.by }),
    ...(notice.status === undefined ? {} : { upstream_status: notice.status }),
    ...(notice.shown === undefined ? {} : { upstream: notice.upstream, ...shownOf(notice.shown) }),
  },
})

const shownOf = (shown: NonNullable<Notice['shown']>): object => ({
  line: shown.line,
  action: shown.action,
  caller: shown.caller,
  people: shown.people,
  ...(shown.reason === undefined ? {} : { reason: shown.reason }),
  request: shown.request,
  hidden: shown.hidden,
  digest: shown.digest,
  ...(shown.comment === undefined ? {} : { comment: shown.comment }),
})
