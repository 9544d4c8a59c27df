// Whether a request comes from the Bot Framework: its bearer token is a JWT of the configured issuer, signed with a key that the issuer
// endorses for Teams, for one of our bots, and names the service that the request says it comes from
// (https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-authentication).
import { safeUrl } from '../ask.ts'
import { HoldpointError } from '../errors.ts'
import { type IssuerKeys, issuerKeys } from '../issuer-keys.ts'
import type { Settings, TeamsBot, TeamsSettings } from '../settings.ts'
import { readToken, verifyToken } from '../token.ts'

/** A Teams channel in which holds can be decided. */
export type BotChannel = TeamsSettings & { readonly bot: TeamsBot }

export const botsOf = (settings: Settings): readonly BotChannel[] =>
  settings.channels.filter(
    (one): one is BotChannel => one.kind === 'teams' && one.bot !== undefined && one.content === 'full',
  )

/** The documentation's own bound. */
export const skewS = 5 * 60

const refused = (detail: string, cause?: unknown, retryAfterS?: number): HoldpointError =>
  new HoldpointError('unauthenticated', detail, { cause, ...(retryAfterS === undefined ? {} : { retryAfterS }) })

export type FromBot = {
  /** Those for whose bot the token is. */
  readonly channels: readonly BotChannel[]
  readonly serviceUrl: string
  readonly expiresAt: number
}

/** Verifies the value of an Authorization header. @throws unauthenticated */
export const botTokens = (
  settings: () => Settings,
  clock: () => number,
): ((authorization: string | null) => Promise<FromBot>) => {
  const known = new Map<string, IssuerKeys>()
  const keysOf = ({ issuer, metadataUrl }: TeamsBot): IssuerKeys => {
    const id = JSON.stringify([issuer, metadataUrl])
    const keys = known.get(id) ?? issuerKeys({ issuer, metadataUrl }, clock)
    known.set(id, keys)
    return keys
  }

  return async authorization => {
    const [, token] = /^Bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$/i.exec(authorization ?? '') ?? []
    if (token === undefined) throw refused('The request has no token of the Bot Framework.')
    const read = readToken(token, refused)
    const { aud, iss } = read.claims
    const meant = botsOf(settings()).filter(({ bot }) => bot.appId === aud && bot.issuer === iss)
    const [first] = meant
    if (first === undefined) throw refused("The token's audience or issuer is none of a bot here.")
    const keys = keysOf(first.bot)
    const wanted = { issuer: first.bot.issuer, audience: [first.bot.appId], algorithms: ['RS256'], skewS }
    const { claims, expiresAt } = await verifyToken(token, read, wanted, keys, clock(), refused)
    const key = (await keys.current()).keys.find(({ kid }) => kid !== undefined && kid === read.header.kid)
    const { endorsements } = (key ?? {}) as { readonly endorsements?: unknown }
    if (key === undefined || (endorsements !== undefined && !isEndorsed(endorsements)))
      throw refused("The token's key is not one for Teams.")
    // The documentation writes serviceUrl, the service itself serviceurl.
    const serviceUrl = claims.serviceurl ?? claims.serviceUrl
    if (typeof serviceUrl !== 'string') throw refused('The token names no service (serviceUrl).')
    const channels = meant.filter(({ bot }) => bot.metadataUrl === first.bot.metadataUrl && serves(bot, serviceUrl))
    if (channels.length === 0) throw refused("The token's service (serviceUrl) is none of those that are allowed here.")
    return { channels, serviceUrl, expiresAt }
  }
}

const isEndorsed = (endorsements: unknown): boolean =>
  Array.isArray(endorsements) && (endorsements.length === 0 || endorsements.includes('msteams'))

const serves = (bot: TeamsBot, serviceUrl: string): boolean => {
  const url = URL.parse(serviceUrl)
  if (url === null || url.username !== '' || url.password !== '') return false
  return safeUrl(serviceUrl) && [new URL(bot.serviceUrl).host, ...bot.serviceHosts].includes(url.host)
}

/** The same service, whether or not a slash ends it. */
export const sameService = (one: string, other: unknown): boolean =>
  typeof other === 'string' && one.replace(/\/$/, '') === other.replace(/\/$/, '')
