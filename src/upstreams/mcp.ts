// The Model Context Protocol: JSON-RPC 2.0 over streamable HTTP, or over the older pair of an event stream and an address to post to.
//   - Every message of a POST is an action that is called like its method. What a tool does only its server knows, and what the server says
//     of it (annotations) is its own word: a tool call has no known access, and rules go by the tool's name.
//   - Names count as they are written. Some servers read `Method` or `Name` in any case, so what is written in another one cannot be told.
//   - A request that is refused gets a JSON-RPC error with status 200, because clients take 401 and 403 for trouble with the sign-in.
import { HoldpointError } from '../errors.ts'
import type { Action, Body, Call, Json } from '../nouns.ts'
import { adapter, event, isObject } from './mcp/answer.ts'
import type { Answering, UpstreamKind } from './upstream.ts'

const maxActions = 500
/** Of the words that a call brings along itself, so many characters are shown as its reason; all of them stand in the body. */
const reasonLength = 2000

/** Nothing of it can be told: no rule allows it but one that asks for nothing. */
const opaque: Action = { name: 'mcp:unknown', resource: '', access: 'unknown', fields: {}, unknown: ['*'] }

/** What needs no message: the stream on which a server speaks, and the end of a session. */
const bare: { readonly [method: string]: Action['access'] } = {
  GET: 'read',
  HEAD: 'read',
  OPTIONS: 'read',
  DELETE: 'write',
}

/** The methods of the protocol: what they do, and which parameter names what they do it to. Others are unknown. */
const methods: { readonly [method: string]: { readonly access: Action['access']; readonly names?: string } } = {
  'completion/complete': { access: 'read' },
  initialize: { access: 'read' },
  'logging/setLevel': { access: 'write' },
  'notifications/cancelled': { access: 'read' },
  'notifications/initialized': { access: 'read' },
  'notifications/progress': { access: 'read' },
  'notifications/roots/list_changed': { access: 'read' },
  'notifications/tasks/status': { access: 'read' },
  ping: { access: 'read' },
  'prompts/get': { access: 'read', names: 'name' },
  'prompts/list': { access: 'read' },
  'resources/list': { access: 'read' },
  'resources/read': { access: 'read', names: 'uri' },
  'resources/subscribe': { access: 'read', names: 'uri' },
  'resources/templates/list': { access: 'read' },
  'resources/unsubscribe': { access: 'read', names: 'uri' },
  'tasks/cancel': { access: 'write', names: 'taskId' },
  'tasks/get': { access: 'read', names: 'taskId' },
  'tasks/list': { access: 'read' },
  'tasks/result': { access: 'read', names: 'taskId' },
  'tools/call': { access: 'unknown', names: 'name' },
  'tools/list': { access: 'read' },
}

const known = (method: string) => (Object.hasOwn(methods, method) ? methods[method] : undefined)
const lowered: ReadonlySet<string> = new Set(Object.keys(methods).map(method => method.toLowerCase()))

export const mcp: UpstreamKind = {
  kind: 'mcp',
  volatileHeaders: [],
  // A client counts its requests, and what it counted is not what it asks for.
  volatileJson: ['/id', '/params/_meta/progressToken'],
  // Whoever has the number of a session may join it.
  idlePaths: ['header.mcp-session-id', 'query.sessionId', 'query.session_id'],
  // An answer may have to be read, to give it the id of the request that collects it.
  strippedHeaders: ['accept-encoding'],
  upgrades: [],
  describe({ call, path, body }) {
    if (body.kind === 'unread') return 'unread'
    if (call.method !== 'POST') {
      const access = Object.hasOwn(bare, call.method) ? bare[call.method] : undefined
      return access === undefined || body.kind !== 'none'
        ? [opaque]
        : [{ name: `mcp:${call.method}`, resource: path, access, fields: { method: call.method } }]
    }
    if (body.kind !== 'json') return [opaque]
    const messages = messagesOf(body)
    if (messages.length === 0 || messages.length > maxActions) return [opaque]
    const actions = messages.map(actionOf)
    refuseOtherHead(call, actions)
    // What is shown first is what somebody has to look at.
    return unique(actions).sort((one, other) => Number(one.access === 'read') - Number(other.access === 'read'))
  },
  reason(body) {
    for (const message of messagesOf(body)) {
      const { reason } = metaOf(message)
      if (typeof reason === 'string' && reason.trim() !== '') return reason.trim().slice(0, reasonLength)
    }
    return undefined
  },
  answering(call, body) {
    const request = body.kind === 'json' && isRequest(body.value) ? body.value : undefined
    return request && answering(request, streams(call))
  },
  refusal(error, problem, call, body = { kind: 'none' }) {
    const ids = messagesOf(body).flatMap(message => (isRequest(message) ? [message.id] : []))
    const refused = (ids.length === 0 ? [undefined] : ids).map(id => refusalOf(id, error, problem))
    const batch = body.kind === 'json' && Array.isArray(body.value) && ids.length > 0
    // Whoever takes a stream reads answers out of a 200; the older transport looks at the status alone.
    const inside = call !== undefined && streams(call) && ids.length > 0 && error.code !== 'unauthenticated'
    return {
      status: inside ? 200 : statusOf(error, call),
      headers: [['Content-Type', 'application/json']],
      body: JSON.stringify(batch ? refused : refused[0]),
    }
  },
  refusalNeeds(body) {
    if (body.kind !== 'json') return { kind: 'none' }
    const bare = (message: Json): Json => (isRequest(message) ? { id: message.id, method: message.method } : null)
    const value = Array.isArray(body.value) ? (body.value as readonly Json[]).map(bare) : bare(body.value)
    return { kind: 'json', value, size: body.size }
  },
}

// ---- messages

type Message = { readonly [name: string]: Json }
type Request = Message & { readonly id: string | number; readonly method: string }

const messagesOf = (body: Body): readonly Json[] =>
  body.kind !== 'json' ? [] : Array.isArray(body.value) ? (body.value as readonly Json[]) : [body.value]

const isRequest = (message: Json | undefined): message is Request =>
  isObject(message) &&
  typeof message.method === 'string' &&
  (typeof message.id === 'string' || typeof message.id === 'number')

const metaOf = (message: Json | undefined): Message => {
  const params = isObject(message) ? message.params : undefined
  const meta = isObject(params) ? params._meta : undefined
  return isObject(meta) ? meta : {}
}

const members: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'method', 'params', 'result', 'error'])

const actionOf = (message: Json): Action => {
  if (!isObject(message) || message.jsonrpc !== '2.0') return opaque
  if (Object.keys(message).some(name => !members.has(name))) return opaque
  const { method, params } = message
  const answers = 'result' in message || 'error' in message
  if (!('method' in message))
    return answers && !('params' in message)
      ? { name: 'mcp:response', resource: '', access: 'read', fields: { method: 'response' } }
      : opaque
  if (typeof method !== 'string' || answers || !/^[\x21-\x7e]{1,200}$/.test(method)) return opaque
  const what = known(method)
  // Our own words (`GET`, `response`, `unknown`) are no methods of theirs, and a method in another case may be one to some servers.
  if (what === undefined && (!method.includes('/') || lowered.has(method.toLowerCase()))) return opaque
  const action = { name: `mcp:${method}`, access: what?.access ?? 'unknown' } as const
  const fields = { method }
  if (what === undefined) return { ...action, resource: '', fields, unknown: ['resource'] }
  if (what.names === undefined) return { ...action, resource: '', fields }
  const resource = isObject(params) && typeof params[what.names] === 'string' ? (params[what.names] as string) : ''
  const tool = method === 'tools/call'
  if (resource === '') return { ...action, resource, fields, unknown: ['resource', ...(tool ? ['fields.tool'] : [])] }
  return { ...action, resource, fields: tool ? { method, tool: resource } : fields }
}

const unique = (actions: readonly Action[]): Action[] => [
  ...new Map(actions.map(action => [JSON.stringify(action), action])).values(),
]

/**
 * Newer versions of the protocol repeat a message's method and name in the head, where a balancer may read them instead.
 * @throws malformed where the two differ
 */
const refuseOtherHead = ({ headers }: Call, actions: readonly Action[]): void => {
  const [only, ...more] = actions
  const said = { 'mcp-method': only?.fields.method, 'mcp-name': only?.resource }
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (lower !== 'mcp-method' && lower !== 'mcp-name') continue
    if (more.length > 0 || said[lower] === undefined || said[lower] === '' || plainly(value) !== said[lower])
      throw new HoldpointError('malformed', `${name}: it must say what the message in the body says, or be left out.`)
  }
}

const plainly = (value: string): string => {
  const [, encoded] = /^=\?base64\?([A-Za-z0-9+/=]*)\?=$/i.exec(value.trim()) ?? []
  return encoded === undefined ? value.trim() : Buffer.from(encoded, 'base64').toString('utf8')
}

// ---- answers

/** Does the caller take its answers as an event stream? Everybody who speaks streamable HTTP says so. */
const streams = ({ headers }: Call): boolean =>
  headers.some(([name, value]) => name.toLowerCase() === 'accept' && value.toLowerCase().includes('text/event-stream'))

const statusOf = (error: HoldpointError, call: Call | undefined): number => {
  // A client asks whether there is a stream; "no" is an answer that it knows.
  if (error.status === 403) return call?.method === 'GET' ? 405 : 400
  // To clients a 404 says that their session has ended.
  return error.status === 404 ? 400 : error.status
}

/** JSON-RPC 2.0 §5.1; those below -32000 are for the server to choose. */
const codeOf = ({ code }: HoldpointError): number =>
  code === 'malformed' ? -32600 : code === 'internal' ? -32603 : -32050

const refusalOf = (id: string | number | undefined, error: HoldpointError, problem: object): object => ({
  jsonrpc: '2.0',
  ...(id === undefined ? {} : { id }),
  error: { code: codeOf(error), message: error.detail ?? error.message, data: problem },
})

const answering = (request: Request, streamed: boolean): Answering => {
  // Of the request itself nothing is kept: it may wait for long, and be large.
  const { id, method } = request
  const { progressToken: token } = metaOf(request)
  const told = typeof token === 'string' || typeof token === 'number' ? token : undefined
  return {
    adapted: (status, headers, how) => adapter({ id, token: told }, status, headers, how),
    // The head of the answer to `initialize` names the session, so it cannot be written beforehand.
    ...(told === undefined || !streamed || method === 'initialize'
      ? {}
      : {
          meanwhile: {
            headers: [['Content-Type', 'text/event-stream']],
            // Progress has to grow, and the tool may begin to count at one itself.
            told: (message, turn) =>
              event({
                jsonrpc: '2.0',
                method: 'notifications/progress',
                params: { progressToken: told, progress: turn / 1000, message },
              }),
            refused: (error, problem) => event(refusalOf(id, error, problem)),
          },
        }),
  }
}
