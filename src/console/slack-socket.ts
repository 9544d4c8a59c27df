// Socket Mode: the same clicks over a connection that we open to Slack, where nothing can reach the console from outside. There is no
// signature on it; whoever holds the app-level token is Slack. The package is loaded only if a channel has such a token.
import type { SocketModeClient } from '@slack/socket-mode'
import { clientOptions } from '../channels/slack-client.ts'
import { toError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { SlackSettings } from '../settings.ts'
import type { SlackDoor } from './slack.ts'

const longestWaitMs = 60_000
const steadyMs = 30_000

type Envelope = { readonly ack: () => Promise<void>; readonly envelope_id: string; readonly body: unknown }

/**
 * Keeps one connection open per app-level token until it is closed. Connecting again is done here: the library would leave a failure to do
 * so to nobody.
 */
export const slackSockets = (
  channels: readonly SlackSettings[],
  door: Pick<SlackDoor, 'take'>,
  log: Log,
): { close(): Promise<void> } => {
  const stop = new AbortController()
  const apps = new Map(channels.flatMap(one => (one.appToken === undefined ? [] : [[one.appToken, one] as const])))
  const running = [...apps].map(([appToken, { name, apiUrl }]) =>
    keepOpen(appToken, name, apiUrl, door, log, stop.signal),
  )
  return {
    async close() {
      stop.abort()
      await Promise.all(running)
    },
  }
}

const keepOpen = async (
  appToken: string,
  name: string,
  apiUrl: string,
  door: Pick<SlackDoor, 'take'>,
  log: Log,
  stop: AbortSignal,
): Promise<void> => {
  for (let tries = 0; !stop.aborted; ) {
    const began = performance.now()
    try {
      await connected(appToken, apiUrl, door, log, name, stop)
    } catch (error) {
      log.warn({ err: toError(error), channel: name }, 'the connection to Slack cannot be opened')
    }
    tries = performance.now() - began > steadyMs ? 0 : tries + 1
    if (!stop.aborted) await pause(Math.min(250 * 2 ** tries, longestWaitMs), stop)
  }
}

/** One connection, from its opening to its end. */
const connected = async (
  appToken: string,
  apiUrl: string,
  door: Pick<SlackDoor, 'take'>,
  log: Log,
  name: string,
  stop: AbortSignal,
): Promise<void> => {
  const { SocketModeClient: Client } = await import('@slack/socket-mode')
  const { logger, ...options } = clientOptions(apiUrl)
  const client: SocketModeClient = new Client({ appToken, autoReconnectEnabled: false, logger, clientOptions: options })
  client.on('interactive', ({ ack, envelope_id: id, body }: Envelope) => {
    ack()
      .then(() => door.take(appToken, body, `envelope ${id}`))
      .catch(error => log.warn({ err: toError(error), channel: name }, 'a click in Slack was not taken'))
  })
  const ended = new Promise<void>(resolve => client.once('disconnected', () => resolve()))
  const leave = (): void => void client.disconnect().catch(() => undefined)
  stop.addEventListener('abort', leave, { once: true })
  try {
    await client.start()
    log.info({ channel: name }, 'connected to Slack')
    await ended
  } finally {
    stop.removeEventListener('abort', leave)
    // What was asked to stop while it was opening opens all the same.
    leave()
  }
}

const pause = (ms: number, stop: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      stop.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    stop.addEventListener('abort', done, { once: true })
  })
