// Teams, as a tenant that we run ourselves: a workflow that takes cards, the Bot connector with its conversations and members, the token
// endpoint and the published keys, and whoever clicks: activities under tokens as the Bot Framework makes them. It refuses what Teams
// refuses: cards that are none, messages that are too large, requests without the bot's token.
import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as adaptive from 'adaptivecards'
import { SignJWT } from 'jose'
import { eventually } from './eventually.ts'
import { people } from './people.ts'

// The package is CommonJS without names that Node can see.
const { AdaptiveCard, SerializationContext, Version, Versions } = ((adaptive as { default?: unknown }).default ??
  adaptive) as typeof adaptive

export const appId = '11111111-2222-3333-4444-555555555555'
export const tenant = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'
export const botSecret = 'teams-bot-secret-canary'
export const workflowSignature = 'teams-workflow-signature-canary'
export const conversation = '19:finance@thread.tacv2'
const botIssuer = 'https://api.botframework.com'
const sizeMost = 28 * 1024

export type Element = { readonly type: string; readonly [key: string]: unknown }
export type Card = {
  readonly version: string
  readonly body: readonly Element[]
  readonly actions?: readonly Element[]
  readonly [key: string]: unknown
}
export type Posted = { readonly id: string; readonly thread: string | undefined; card: Card; readonly message: object }

export type Failure = { readonly status: number; readonly headers?: { readonly [name: string]: string } } | 'lost'

export type Person = { readonly id: string; readonly email: string }

/** What is done to a click on its way. */
export type Forgery = {
  readonly claims?: { readonly [name: string]: unknown }
  readonly key?: KeyObject
  readonly kid?: string
  readonly alg?: string
  /** Replaces members of the activity. */
  readonly activity?: { readonly [name: string]: unknown }
  readonly issuedAt?: number
}

export type Invoke = { readonly statusCode: number; readonly type: string; readonly value: unknown }

export type Teams = {
  readonly url: string
  readonly workflowUrl: string
  readonly serviceUrl: string
  readonly tokenUrl: string
  readonly metadataUrl: string
  /** The connector's messages and the workflow's, oldest first. */
  readonly posted: readonly Posted[]
  readonly taken: readonly Card[]
  /** Every request, as `METHOD path`. */
  readonly requests: readonly string[]
  /** When requests to the workflow came, in milliseconds. */
  readonly times: readonly number[]
  /** Every byte of every request but the bot's own credentials. */
  readonly bodies: readonly string[]
  /** What the connector says of a member besides. */
  readonly members: Map<string, object>
  /** What the keys are published with. */
  endorsements: readonly string[] | undefined
  fail: ((path: string, nth: number) => Failure | undefined) | undefined
  /** The card of a hold, as soon as it fits. */
  card(hold: string, fits?: (card: Card) => boolean): Promise<Posted>
  /** A click as a request to the console. */
  request(
    person: Person,
    verb: string,
    data: object,
    forged?: Forgery,
  ): Promise<{ readonly headers: { readonly [name: string]: string }; readonly body: string }>
  close(): Promise<void>
}

export const aadOf = (person: { readonly id: string }): string =>
  `${Buffer.from(person.id.padEnd(4, 'x')).toString('hex').slice(0, 8)}-0000-4000-8000-000000000000`

/** Every text in a card that somebody reads. */
export const textsOf = (card: object): string => {
  const found: string[] = []
  const walk = (part: unknown): void => {
    if (part === null || typeof part !== 'object') return
    for (const [key, value] of Object.entries(part)) {
      if (['text', 'title', 'label'].includes(key) && typeof value === 'string')
        found.push(value.replaceAll('\u00a0', ' '))
      else walk(value)
    }
  }
  walk(card)
  return found.join('\n')
}

/** What of a card can be pressed: verbs, or the type of what only opens. */
export const pressable = (part: unknown): readonly string[] => {
  if (part === null || typeof part !== 'object') return []
  const { type, verb } = part as { type?: unknown; verb?: unknown }
  const own =
    type === 'Action.Execute' ? [String(verb)] : type === 'Action.OpenUrl' || type === 'Action.Submit' ? [type] : []
  return [...own, ...Object.values(part).flatMap(pressable)]
}

/** What the buttons of a card carry. */
export const valueIn = (card: object): string => /"hold":"([^"]+)"/.exec(JSON.stringify(card))?.[1] ?? ''

/** Everything that a reader of Adaptive Cards has to say against a card; nothing if it is one, of the version it says. */
export const faultsOf = (json: { readonly version?: unknown }): readonly string[] => {
  const version = Version.parse(String(json.version), new SerializationContext(Versions.latest))
  const context = new SerializationContext(version)
  const card = new AdaptiveCard()
  card.parse(JSON.parse(JSON.stringify(json)), context)
  const events = Array.from({ length: context.eventCount }, (_, index) => context.getEventAt(index).message)
  return [...events, ...card.validateProperties().validationEvents.map(({ message }) => message)]
}

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

export const startTeams = async (): Promise<Teams> => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const kid = randomBytes(8).toString('hex')
  const posted: Posted[] = []
  const taken: Card[] = []
  const requests: string[] = []
  const times: number[] = []
  const bodies: string[] = []
  const tokens = new Set<string>()
  const members = new Map<string, object>()
  let count = 0

  const cardIn = (body: string): { card: Card; message: object } | undefined => {
    const message = JSON.parse(body) as {
      type?: string
      attachments?: { contentType?: string; content?: Card; contentUrl?: unknown }[]
    }
    const [attachment, ...more] = message.attachments ?? []
    const card = attachment?.content
    const right = message.type === 'message' && attachment?.contentType === 'application/vnd.microsoft.card.adaptive'
    if (!right || more.length > 0 || card === undefined || faultsOf(card).length > 0) return undefined
    return { card, message }
  }

  const lost = new WeakSet<ServerResponse>()
  const json = (response: ServerResponse, status: number, value: object): void => {
    if (lost.has(response)) return void response.socket?.destroy()
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(value))
  }

  const connector = async (
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    body: string,
  ): Promise<void> => {
    if (!tokens.has((request.headers.authorization ?? '').replace(/^Bearer /, ''))) return json(response, 401, {})
    const [, encoded = '', kind, last] =
      /^\/v3\/conversations\/([^/]+)\/(activities|members)(?:\/([^/]+))?$/.exec(path) ?? []
    const [place, thread] = decodeURIComponent(encoded).split(';messageid=')
    if (place !== conversation) return json(response, 404, {})
    if (kind === 'members') {
      const id = decodeURIComponent(last ?? '')
      const person = [...Object.values(people)].find(one => `29:${one.id}` === id)
      const more = members.get(id.slice(3))
      if (person === undefined && more === undefined) return json(response, 404, {})
      return json(response, 200, {
        id,
        name: person?.name,
        aadObjectId: aadOf({ id: id.slice(3) }),
        email: person?.email,
        userPrincipalName: person?.email,
        tenantId: tenant,
        userRole: 'user',
        ...more,
      })
    }
    if (Buffer.byteLength(body) > sizeMost) return json(response, 413, {})
    const found = cardIn(body)
    if (found === undefined) return json(response, 400, {})
    if (request.method === 'PUT') {
      const one = posted.find(({ id }) => id === decodeURIComponent(last ?? ''))
      if (one === undefined) return json(response, 404, {})
      one.card = found.card
      return json(response, 200, { id: one.id })
    }
    count += 1
    const id = `17000000000${String(count).padStart(2, '0')}`
    posted.push({ id, thread, ...found })
    json(response, 201, { id })
  }

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://teams')
    const body = await bodyOf(request)
    requests.push(`${request.method} ${pathname}`)
    if (pathname !== '/token') bodies.push(body)
    const failure = teams.fail?.(pathname, requests.filter(one => one === `${request.method} ${pathname}`).length)
    if (failure === 'lost') lost.add(response)
    if (typeof failure === 'object') {
      response.writeHead(failure.status, { ...failure.headers })
      return void response.end('an answer that nobody repeats')
    }
    if (pathname === '/workflows/abc/triggers/manual/paths/invoke') {
      times.push(performance.now())
      if (searchParams.get('sig') !== workflowSignature) return json(response, 401, {})
      const found = Buffer.byteLength(body) > sizeMost ? undefined : cardIn(body)
      if (found === undefined) return json(response, 400, {})
      taken.push(found.card)
      return json(response, 202, {})
    }
    if (pathname === '/token') {
      const form = new URLSearchParams(body)
      const right = form.get('client_id') === appId && form.get('client_secret') === botSecret
      if (!right || form.get('grant_type') !== 'client_credentials' || !form.get('scope'))
        return json(response, 401, {})
      const token = randomBytes(16).toString('hex')
      tokens.add(token)
      return json(response, 200, { token_type: 'Bearer', expires_in: 3600, access_token: token })
    }
    if (pathname === '/metadata')
      return json(response, 200, {
        issuer: botIssuer,
        jwks_uri: `${base}/keys`,
        id_token_signing_alg_values_supported: ['RS256'],
      })
    if (pathname === '/keys') {
      const { endorsements } = teams
      const key = { ...publicKey.export({ format: 'jwk' }), use: 'sig', kid, ...(endorsements && { endorsements }) }
      return json(response, 200, { keys: [key] })
    }
    await connector(request, response, pathname, body)
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => request.socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const tokenFor = async ({
    claims,
    key = privateKey,
    kid: other = kid,
    alg = 'RS256',
    issuedAt,
  }: Forgery): Promise<string> => {
    const at = Math.floor((issuedAt ?? Date.now()) / 1000)
    const payload = { serviceurl: teams.serviceUrl, iss: botIssuer, aud: appId, nbf: at, exp: at + 3600, ...claims }
    if (alg === 'none') {
      const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
      return `${part({ alg, kid: other, typ: 'JWT' })}.${part(payload)}.${part({})}`
    }
    return new SignJWT(payload).setProtectedHeader({ alg, kid: other, typ: 'JWT' }).sign(key)
  }

  const teams: Teams = {
    url: base,
    workflowUrl: `${base}/workflows/abc/triggers/manual/paths/invoke?api-version=1&sig=${workflowSignature}`,
    serviceUrl: `${base}/`,
    tokenUrl: `${base}/token`,
    metadataUrl: `${base}/metadata`,
    posted,
    taken,
    requests,
    times,
    bodies,
    members,
    endorsements: ['msteams', 'webchat'],
    fail: undefined,
    card: (hold, fits = () => true) =>
      eventually(async () =>
        posted.find(
          ({ card, thread }) => thread === undefined && JSON.stringify(card).includes(`/holds/${hold}"`) && fits(card),
        ),
      ),
    async request(person, verb, data, forged = {}) {
      const activity = {
        type: 'invoke',
        name: 'adaptiveCard/action',
        id: `f:${randomUUID()}`,
        channelId: 'msteams',
        serviceUrl: teams.serviceUrl,
        from: { id: `29:${person.id}`, name: person.id, aadObjectId: aadOf(person) },
        conversation: {
          conversationType: 'channel',
          tenantId: tenant,
          id: `${conversation};messageid=1700000000000`,
          isGroup: true,
        },
        recipient: { id: `28:${appId}`, name: 'Holdpoint' },
        replyToId: posted.find(({ card }) => JSON.stringify(card).includes(valueIn(data) || '\u0000'))?.id,
        channelData: { tenant: { id: tenant } },
        value: { action: { type: 'Action.Execute', verb, data }, trigger: 'manual' },
        ...forged.activity,
      }
      return {
        headers: { authorization: `Bearer ${await tokenFor(forged)}`, 'content-type': 'application/json' },
        body: JSON.stringify(activity),
      }
    },
    async close() {
      server.close()
      server.closeAllConnections()
    },
  }
  return teams
}
