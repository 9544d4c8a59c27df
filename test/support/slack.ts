// Slack, as a workspace that we run ourselves: a real Web API (emulate) behind a front that sees every request and can fail as Slack does,
// and whoever clicks in it: payloads signed as Slack signs them, or sent over a socket as Socket Mode does.
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createEmulator } from 'emulate'
import { type WebSocket, WebSocketServer } from 'ws'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { eventually } from './eventually.ts'
import { people } from './people.ts'

export const botToken = 'xoxb-holdpoint-test'
export const appToken = 'xapp-holdpoint-test'
export const signingSecret = '8f742231b10e8888abcd99yyyzzz85a5'

export type Posted = { readonly method: string; readonly [key: string]: unknown }

type Button = { readonly action_id: string; readonly value?: string; readonly url?: string }
export type Message = {
  readonly ts: string
  readonly text: string
  readonly blocks: readonly { readonly type: string; readonly elements?: readonly Button[] }[]
  readonly thread_ts?: string
}

/** What Slack does with a request instead of serving it: it answers this, loses the answer (but does the work), or hangs up. */
export type Failure =
  | { readonly status: number; readonly headers?: { readonly [name: string]: string } }
  | 'lost'
  | 'refused'

export type Click = {
  readonly action?: string
  readonly value?: string
  readonly user?: string
  readonly ts?: string
  /** Replaces whole members of the payload. */
  readonly payload?: object
}

export type Slack = {
  readonly apiUrl: string
  readonly team: string
  readonly channel: string
  /** Ids of the cast, by their names, and of more people. */
  readonly users: { readonly [name: string]: string }
  /** Every request so far, in order. */
  readonly requests: readonly Posted[]
  /** What was said to one person in private. */
  whispers(user: string): readonly string[]
  /** The channel's messages, oldest first, without answers below them. */
  messages(): Promise<readonly Message[]>
  replies(ts: string): Promise<readonly Message[]>
  /** The one message of a hold, as soon as it fits. */
  message(hold: string, fits?: (message: Message) => boolean): Promise<Message>
  /** What users.info says of somebody besides. */
  readonly members: Map<string, object>
  /** Decides what becomes of a request; undefined: it is served. */
  fail: ((method: string) => Failure | undefined) | undefined
  /** A click or a submitted window, as a request to the console. */
  request(
    payload: object,
    more?: { readonly at?: number; readonly secret?: string },
  ): { readonly body: string; readonly headers: { readonly [name: string]: string } }
  click(click: Click): Promise<object>
  submit(callback: string, kept: string, values: { readonly [name: string]: string }, user: string): object
  /** The newest window that was opened. */
  modal():
    | { readonly callback_id: string; readonly private_metadata: string; readonly [key: string]: unknown }
    | undefined
  /** The sockets that are connected now. */
  readonly sockets: ReadonlySet<WebSocket>
  close(): Promise<void>
}

/** Every text in a message. */
export const textsOf = (message: object): string => {
  const found: string[] = []
  const walk = (part: unknown): void => {
    if (part === null || typeof part !== 'object') return
    for (const [key, value] of Object.entries(part)) {
      if (key === 'text' && typeof value === 'string') found.push(value)
      else walk(value)
    }
  }
  walk(message)
  return found.join('\n')
}

export const buttonsOf = (message: Message): readonly Button[] =>
  message.blocks.filter(({ type }) => type === 'actions').flatMap(({ elements = [] }) => elements)

const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

const fieldsOf = (type: string, body: Buffer): { [key: string]: unknown } => {
  if (type.startsWith('application/json')) return JSON.parse(body.toString('utf8')) as { [key: string]: unknown }
  return Object.fromEntries(
    [...new URLSearchParams(body.toString('utf8'))].map(([key, value]) => {
      try {
        return [key, /^[[{]/.test(value) ? JSON.parse(value) : value]
      } catch {
        return [key, value]
      }
    }),
  )
}

export const startSlack = async (): Promise<Slack> => {
  const [port = 0] = await freePorts(1)
  const emulator = await createEmulator({
    service: 'slack',
    port,
    seed: {
      tokens: { [botToken]: { login: 'U000000001', scopes: [] } },
      slack: {
        team: { name: 'Acme', domain: 'acme' },
        users: [...Object.values(people), { id: 'guest', name: 'Guest', email: 'guest@other.test' }].map(
          ({ id, name, email }) => ({ name: id, real_name: name, email }),
        ),
        channels: [{ name: 'ops' }],
      },
    },
  })
  const ask = async (method: string, body: object): Promise<{ [key: string]: unknown }> => {
    const answer = await fetch(`${emulator.url}/api/${method}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${botToken}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return (await answer.json()) as { [key: string]: unknown }
  }
  const { members: found } = (await ask('users.list', {})) as unknown as {
    members: { id: string; name: string; team_id: string }[]
  }
  const users = Object.fromEntries(found.map(({ name, id }) => [name, id]))
  const { channels } = (await ask('conversations.list', {})) as unknown as { channels: { id: string; name: string }[] }
  const channel = channels.find(({ name }) => name === 'ops')?.id ?? ''
  for (const name of Object.keys(users)) await ask('conversations.invite', { channel, users: users[name] })

  const requests: Posted[] = []
  const members = new Map<string, object>()
  const sockets = new Set<WebSocket>()
  const socketServer = new WebSocketServer({ noServer: true })

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const method = (request.url ?? '').replace(/^\/api\//, '')
    const body = await bodyOf(request)
    const fields = fieldsOf(request.headers['content-type'] ?? '', body)
    const failure = slack.fail?.(method)
    requests.push({ ...fields, method })
    if (failure === 'refused') return void request.socket.destroy()
    if (typeof failure === 'object') {
      response.writeHead(failure.status, { ...failure.headers })
      return void response.end('{"ok":false,"error":"ratelimited"}')
    }
    if (method === 'apps.connections.open') {
      response.writeHead(200, { 'content-type': 'application/json' })
      const url = `ws://127.0.0.1:${(front.address() as AddressInfo).port}/link`
      const right = request.headers.authorization === `Bearer ${appToken}`
      return void response.end(JSON.stringify(right ? { ok: true, url } : { ok: false, error: 'invalid_auth' }))
    }
    const answer = await fetch(`${emulator.url}/api/${method}`, {
      method: 'POST',
      headers: {
        'content-type': request.headers['content-type'] ?? '',
        authorization: request.headers.authorization ?? '',
      },
      body,
    })
    let text = await answer.text()
    if (method === 'users.info') {
      const json = JSON.parse(text) as { user?: object }
      text = JSON.stringify({
        ...json,
        user: { ...json.user, is_email_confirmed: true, ...members.get(String(fields.user)) },
      })
    }
    if (failure === 'lost') return void request.socket.destroy()
    response.writeHead(answer.status, { 'content-type': 'application/json' })
    response.end(text)
  }
  const front = createServer((request, response) => {
    serve(request, response).catch(() => request.socket.destroy())
  })
  front.on('upgrade', (request, socket, head) => {
    socketServer.handleUpgrade(request, socket, head, connection => {
      sockets.add(connection)
      connection.on('close', () => sockets.delete(connection))
      connection.send(JSON.stringify({ type: 'hello', num_connections: 1 }))
    })
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')

  const slack: Slack = {
    apiUrl: `http://127.0.0.1:${(front.address() as AddressInfo).port}/api/`,
    team: 'T000000001',
    channel,
    users,
    requests,
    members,
    sockets,
    fail: undefined,
    whispers: user =>
      requests.filter(one => one.method === 'chat.postEphemeral' && one.user === user).map(one => textsOf(one)),
    async messages() {
      const { messages } = (await ask('conversations.history', { channel })) as unknown as { messages: Message[] }
      return messages.toReversed()
    },
    async replies(ts) {
      const { messages } = (await ask('conversations.replies', { channel, ts })) as unknown as { messages: Message[] }
      return messages.filter(one => one.ts !== ts)
    },
    message: (hold, fits = () => true) =>
      eventually(async () =>
        (await slack.messages()).find(
          one => buttonsOf(one).some(({ url }) => url?.endsWith(`/holds/${hold}`)) && fits(one),
        ),
      ),
    request(payload, { at = Date.now(), secret = signingSecret } = {}) {
      const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString()
      const timestamp = String(Math.floor(at / 1000))
      return {
        body,
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'x-slack-request-timestamp': timestamp,
          'x-slack-signature': `v0=${createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex')}`,
        },
      }
    },
    async click({ action = 'approve', value, user = users.ana ?? '', ts, payload }) {
      const { trigger_id } = await ask('views.generateTriggerId', { user_id: user })
      return {
        type: 'block_actions',
        team: { id: slack.team, domain: 'acme' },
        user: { id: user, team_id: slack.team },
        trigger_id,
        channel: { id: channel, name: 'ops' },
        container: { type: 'message', channel_id: channel, message_ts: ts },
        ...(ts === undefined ? {} : { message: { ts } }),
        actions: [{ type: 'button', action_id: action, ...(value === undefined ? {} : { value }) }],
        ...payload,
      }
    },
    submit: (callback, kept, values, user) => ({
      type: 'view_submission',
      team: { id: slack.team, domain: 'acme' },
      user: { id: user, team_id: slack.team },
      view: {
        callback_id: callback,
        private_metadata: kept,
        state: { values: Object.fromEntries(Object.entries(values).map(([id, value]) => [id, { [id]: { value } }])) },
      },
    }),
    modal: () => requests.findLast(one => one.method === 'views.open')?.view as ReturnType<Slack['modal']>,
    async close() {
      for (const socket of sockets) socket.terminate()
      socketServer.close()
      front.close()
      front.closeAllConnections()
      await emulator.close()
    },
  }
  return slack
}
