// What is asked of the Bot connector, as the bot: tokens by client credentials, kept until they are nearly over. Everything goes to the
// configured serviceUrl; no address that came in is ever called. Every try is one request: notify.ts repeats.
import type { TeamsBot } from '../settings.ts'
import { Unreached } from './channel.ts'
import { type Sent, send } from './post.ts'

const answerBytes = 64 * 1024
/** A token that is over this soon is not used any more. */
const spareMs = 5 * 60_000

/** Where a message is. */
export type Spot = { readonly conversation: string; readonly activity: string }

/** Somebody as Teams knows them. */
export type TeamsMember = {
  readonly aadObjectId: string | undefined
  readonly tenant: string | undefined
  readonly email: string | undefined
  readonly guest: boolean
}

export type TeamsClient = {
  post(message: object, thread?: string): Promise<Spot>
  /** Answers false if there is no such message any more. */
  update(spot: Spot, message: object): Promise<boolean>
  /** @param id the account's id in the conversation (`from.id`) */
  member(id: string): Promise<TeamsMember>
}

export const teamsClient = (bot: TeamsBot, clock: () => number = Date.now): TeamsClient => {
  let token: { readonly value: string; readonly untilAt: number } | undefined
  let asking: Promise<string> | undefined

  const newToken = async (): Promise<string> => {
    const form = { grant_type: 'client_credentials', client_id: bot.appId, client_secret: bot.secret, scope: bot.scope }
    const asked = clock()
    const { text } = await send(bot.tokenUrl, {
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams(form).toString(),
      read: answerBytes,
    }).catch((error: Unreached) => {
      // Nothing was said in the chat, whatever became of the question for a token.
      throw new Unreached(`no token: ${error.message}`, { retryAfterMs: error.retryAfterMs, cause: error })
    })
    const { access_token: value, expires_in: seconds } = jsonOf(text)
    if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) throw new Unreached('no token: none in the answer')
    const lifeMs = Number(seconds) * 1000
    token = { value, untilAt: asked + (Number.isFinite(lifeMs) ? lifeMs : 0) - spareMs }
    return value
  }

  const tokenNow = (): Promise<string> => {
    if (token !== undefined && clock() < token.untilAt) return Promise.resolve(token.value)
    asking ??= newToken().finally(() => {
      asking = undefined
    })
    return asking
  }

  const ask = async (path: string, sent: Omit<Sent, 'headers' | 'body'>, body?: object) => {
    const url = `${bot.serviceUrl.replace(/\/$/, '')}/v3/conversations/${path}`
    const authorization = `Bearer ${await tokenNow()}`
    try {
      return await send(url, {
        ...sent,
        headers: { authorization, accept: 'application/json', 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        read: answerBytes,
      })
    } catch (error) {
      // A token that is not taken any more is not shown again.
      if (error instanceof Unreached && error.message === 'it answered 401') token = undefined
      throw error
    }
  }

  const place = (thread?: string): string =>
    encodeURIComponent(thread === undefined ? bot.conversation : `${bot.conversation};messageid=${thread}`)

  return {
    async post(message, thread) {
      const { text } = await ask(`${place(thread)}/activities`, {}, message)
      const { id } = jsonOf(text)
      if (typeof id !== 'string' || !isActivity(id)) throw new Unreached('it answered without an id', { doubt: true })
      return { conversation: bot.conversation, activity: id }
    },
    async update({ activity }, message) {
      const path = `${place()}/activities/${encodeURIComponent(activity)}`
      return (await ask(path, { method: 'PUT', good: [404] }, message)).status !== 404
    },
    async member(id) {
      const { text } = await ask(`${place()}/members/${encodeURIComponent(id)}`, { method: 'GET' })
      const found = jsonOf(text)
      const word = (key: string): string | undefined =>
        typeof found[key] === 'string' ? String(found[key]) : undefined
      const principal = word('userPrincipalName')
      return {
        aadObjectId: (word('aadObjectId') ?? word('objectId'))?.toLowerCase(),
        tenant: word('tenantId')?.toLowerCase(),
        email: word('email') ?? principal,
        guest: word('userRole') !== 'user' || /#ext#/i.test(principal ?? ''),
      }
    },
  }
}

/** Is this how the connector names a message? */
export const isActivity = (id: string): boolean => /^[A-Za-z0-9:|._-]{1,200}$/.test(id)

const jsonOf = (text: string): { readonly [key: string]: unknown } => {
  try {
    const value: unknown = JSON.parse(text)
    if (value !== null && typeof value === 'object') return value as { readonly [key: string]: unknown }
  } catch {
    // Said below.
  }
  throw new Unreached('its answer cannot be read', { doubt: true })
}
