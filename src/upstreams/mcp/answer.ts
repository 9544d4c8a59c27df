// The answer of an MCP server as the answer to another request for the same thing: with that request's id and progress token, and as
// events where a stream is open already. Only whole messages go on, so what broke off is never taken for an answer.
import type { Header, Json } from '../../nouns.ts'
import type { Adapted, Adapting } from '../upstream.ts'

export type Collector = { readonly id: string | number; readonly token: string | number | undefined }

export const isObject = (value: unknown): value is { readonly [name: string]: Json } =>
  value !== null && typeof value === 'object' && !Array.isArray(value)

/** One message as an event (HTML §9.2.6). */
export const event = (message: object): string => `event: message\ndata: ${JSON.stringify(message)}\n\n`

export const adapter = (
  collector: Collector,
  status: number,
  headers: readonly Header[],
  { open, limit }: Adapting,
): Adapted => {
  const type = lineOf(headers, 'content-type').replace(/;.*$/s, '').trim().toLowerCase()
  const coding = lineOf(headers, 'content-encoding').trim().toLowerCase()
  const readable = coding === '' || coding === 'identity'
  const adapted = headers.filter(([name]) => name.toLowerCase() !== 'content-length')
  if (readable && type === 'text/event-stream') return { headers: adapted, ...eventsFor(collector, limit) }
  if (readable && type === 'application/json')
    return { headers: adapted, ...documentFor(collector, status, open, limit) }
  if (!open) return { headers, data: chunk => chunk, end: () => '' }
  return { headers, data: () => '', end: () => event(noMessage(collector, status)) }
}

const lineOf = (headers: readonly Header[], lower: string): string =>
  headers
    .filter(([name]) => name.toLowerCase() === lower)
    .map(([, value]) => value)
    .join(',')

/** Of an upstream that answered with something else than a message. */
const noMessage = ({ id }: Collector, status: number): object => ({
  jsonrpc: '2.0',
  id,
  error: { code: -32603, message: `The upstream answered ${status} without a result.`, data: { status } },
})

const documentFor = (collector: Collector, status: number, open: boolean, limit: number) => {
  const chunks: Buffer[] = []
  let size = 0
  return {
    data(chunk: Buffer): string {
      size += chunk.length
      refuseMore(size, limit)
      chunks.push(chunk)
      return ''
    },
    end(): string | Buffer {
      const bytes = Buffer.concat(chunks)
      const given = parsed(bytes.toString('utf8'))
      const messages = [given].flat()
      const spoken = messages.length > 0 && messages.every(message => isObject(message) && message.jsonrpc === '2.0')
      if (!spoken) return open ? event(noMessage(collector, status)) : bytes
      const own = messages.map(message => addressed(message, collector))
      if (open) return own.map(message => event(message as object)).join('')
      return JSON.stringify(Array.isArray(given) ? own : own[0])
    },
  }
}

/** A line ends with CR, LF or both, an event with an empty one. */
const blank = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)/g

const eventsFor = (collector: Collector, limit: number) => {
  const decoder = new TextDecoder()
  let rest = ''
  return {
    data(chunk: Buffer): string {
      // What was looked at before has no end of an event, but for the beginning of one.
      blank.lastIndex = Math.max(0, rest.length - 3)
      rest += decoder.decode(chunk, { stream: true })
      let out = ''
      let start = 0
      for (let found = blank.exec(rest); found !== null; found = blank.exec(rest)) {
        out += own(rest.slice(start, found.index), collector)
        start = blank.lastIndex
      }
      rest = rest.slice(start)
      refuseMore(rest.length, limit)
      return out
    },
    end: () => '',
  }
}

const own = (text: string, collector: Collector): string => {
  const lines = text.split(/\r\n|\n|\r/)
  const data = lines.filter(line => line.startsWith('data:')).map(line => line.slice(5).replace(/^ /, ''))
  const message = data.length === 0 ? undefined : parsed(data.join('\n'))
  const changed = message === undefined ? message : addressed(message, collector)
  if (changed === message) return `${lines.join('\n')}\n\n`
  const others = lines.filter(line => !line.startsWith('data:'))
  return `${[...others, `data: ${JSON.stringify(changed)}`].join('\n')}\n\n`
}

const refuseMore = (size: number, limit: number): void => {
  if (size > limit) throw new Error('a message is larger than limits.answer')
}

type Raw = { readonly rawJSON: (text: string) => Json }

/** Undefined where it is no JSON. A number keeps its digits, however many there are. */
const parsed = (text: string): Json | undefined => {
  const exact = (_: string, value: unknown, { source }: { readonly source?: string }): unknown =>
    typeof value === 'number' && source !== undefined && String(value) !== source
      ? (JSON as unknown as Raw).rawJSON(source)
      : value
  try {
    return JSON.parse(text, exact as (name: string, value: unknown) => unknown) as Json
  } catch {
    return undefined
  }
}

/** The very same value where there is nothing to change. What the server asks by itself keeps its own id. */
const addressed = (message: Json | undefined, { id, token }: Collector): Json | undefined => {
  if (Array.isArray(message)) {
    const all = message.map(one => addressed(one as Json, { id, token }))
    return all.every((one, index) => one === message[index]) ? message : (all as Json)
  }
  if (!isObject(message)) return message
  if (!('method' in message) && ('result' in message || 'error' in message))
    return message.id === id ? message : { ...message, id }
  const { params } = message
  if (message.method !== 'notifications/progress' || token === undefined || !isObject(params)) return message
  return params.progressToken === token ? message : { ...message, params: { ...params, progressToken: token } }
}
