// From the configuration to the channels.
import type { ChannelSettings } from '../settings.ts'
import type { Channel } from './channel.ts'
import { email } from './email.ts'
import { slack } from './slack.ts'
import { teams } from './teams.ts'
import { webhook } from './webhook.ts'

const channel = (settings: ChannelSettings): Channel => {
  switch (settings.kind) {
    case 'email':
      return email(settings)
    case 'slack':
      return slack(settings)
    case 'teams':
      return teams(settings)
    case 'webhook':
      return webhook(settings)
  }
}

/** The channels that are configured at this moment, by name. One whose settings have not changed stays the same one. */
export const channelsNow = (settings: () => readonly ChannelSettings[]): (() => ReadonlyMap<string, Channel>) => {
  let from: readonly ChannelSettings[] = []
  let made: ReadonlyMap<string, { readonly key: string; readonly channel: Channel }> = new Map()
  let channels: ReadonlyMap<string, Channel> = new Map()
  return () => {
    const now = settings()
    if (now === from) return channels
    const next = now.map(one => {
      const key = JSON.stringify(one)
      const before = made.get(one.name)
      return [one.name, before?.key === key ? before : { key, channel: channel(one) }] as const
    })
    from = now
    made = new Map(next)
    channels = new Map(next.map(([name, { channel }]) => [name, channel]))
    return channels
  }
}
