// Sends a call to its upstream and streams the answer into a sink: fresh head lines, the target and the body exactly as given, no
// redirects, no retries, no environment proxies. The result says what is known of what was sent, nothing more.
import type { Socket } from 'node:net'
import { type Duplex, Readable } from 'node:stream'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import { withoutContinue } from './continue.ts'
import { flowed } from './flow.ts'
import { announced, answerHeaders, answerTrailers, nominated, valuesOf } from './headers.ts'
import type { Call, Header } from './nouns.ts'
import { scrubbed, scrubbedLines } from './scrub.ts'
import type { Upstream } from './settings.ts'
import { spelledOut, switched } from './websocket.ts'

export { rebuilt } from './headers.ts'
export { type MemoryAnswer, toMemory, toResponse } from './sinks.ts'

export type Sending = {
  readonly upstream: Upstream
  readonly method: string
  /** Begins with `/`, as the upstream sees it; the path of the upstream's url is put in front. */
  readonly target: string
  /** Final: what is not here is not sent, but for Host, Connection and the framing. */
  readonly headers: readonly Header[]
  readonly body: Uint8Array | AsyncIterable<Uint8Array> | Readable | undefined
  /** Bytes already taken from a Readable body; they are sent before the rest of it. */
  readonly readAhead?: Uint8Array
  /** What must not come back in the answer. */
  readonly secrets?: readonly string[]
  /** Of the whole body, where its length is known beforehand; undefined: chunked. */
  readonly contentLength: number | undefined
  /** A connection of its own, closed afterwards. */
  readonly fresh: boolean
  /** Asks for a tunnel. Anything but a verified 101 is an answer like any other. */
  readonly upgrade?: NonNullable<Call['upgrade']>
  readonly signal?: AbortSignal
  /** The same for the way of every call, where an AbortSignal costs too much: is handed what calls the sending off. */
  readonly onGone?: (callOff: () => void) => void
}

/** Takes an answer. Plain functions without `this`, so that a sink can be wrapped by spreading it. */
export type Sink = {
  head(status: number, headers: readonly Header[], statusText: string): void
  informational?(status: number, headers: readonly Header[]): void
  /** False: no more, please, until the function given to `onDrain` is called. */
  data(chunk: Buffer): boolean
  onDrain(resume: () => void): void
  /** Its taker asked for trailers: they are announced, and handed to `end`. */
  readonly trailers?: boolean
  end(trailers: readonly Header[]): void
  /** The body broke off: nobody may take what came for the whole. */
  broken?(): void
}

export type Sent =
  /** `complete: false`: the answer's body broke off. */
  | { readonly state: 'answered'; readonly status: number; readonly complete: boolean }
  /** The upstream switched: `socket` is the tunnel, and whoever takes it ends it. */
  | { readonly state: 'upgraded'; readonly headers: readonly Header[]; readonly socket: Duplex }
  /** Surely nothing was sent: there was no connection. */
  | { readonly state: 'unreachable'; readonly cause: unknown }
  /** Something may have been sent, and no answer came. */
  | { readonly state: 'lost'; readonly cause: unknown; readonly timeout: boolean }

const none: readonly string[] = []

/** So many interim answers (1xx) are waited through: with each of them the upstream's time begins anew. */
const maxInterim = 100

/** Sends, and resolves when the answer has ended or cannot come any more. Never rejects. */
export const forward = (sending: Sending, taker: Sink): Promise<Sent> =>
  new Promise(resolve => {
    const secrets = sending.secrets ?? none
    const sink = scrubbed(taker, secrets)
    const { upstream, method, target, fresh, upgrade, signal } = sending
    const { dispatcher, base } = connections(upstream, fresh, upgrade !== undefined)
    const body = bodyOf(sending)
    let controller: Dispatcher.DispatchController | undefined
    let status: number | undefined
    let interim = 0
    let named: ReadonlySet<string> | undefined
    let settled = false

    const settle = (sent: Sent): void => {
      if (settled) return
      settled = true
      signal?.removeEventListener('abort', abort)
      body.release()
      // Later, because undici may be in the middle of the bytes that brought us here.
      if (fresh) queueMicrotask(() => void dispatcher.destroy())
      if (sent.state === 'answered' && !sent.complete) sink.broken?.()
      resolve(sent)
    }
    const fail = (cause: unknown): void => {
      if (status !== undefined) settle({ state: 'answered', status, complete: false })
      else if (controller === undefined) settle({ state: 'unreachable', cause })
      else settle({ state: 'lost', cause, timeout: codeOf(cause) === 'UND_ERR_HEADERS_TIMEOUT' })
    }
    const abort = (): void => {
      const reason = asError(signal?.reason)
      // Without a controller the request still waits for a connection; it is called off before its first byte (onRequestStart).
      if (controller === undefined) fail(reason)
      else controller.abort(reason)
    }

    if (!target.startsWith('/')) return fail(new Error(`the target ${JSON.stringify(target)} is no path`))
    if (signal?.aborted) return abort()
    signal?.addEventListener('abort', abort)
    sending.onGone?.(abort)
    if (settled) return

    dispatcher.dispatch(
      {
        method,
        path: base + target,
        headers: flat(sending.headers, body.length),
        body: body.content as Readable | Uint8Array | null,
        headersTimeout: upstream.timeouts.headersMs,
        bodyTimeout: upstream.timeouts.idleMs,
        ...(upgrade !== undefined ? { upgrade: spelledOut[upgrade] } : fresh ? { reset: true } : {}),
      },
      {
        onRequestStart(started) {
          // Over HTTP/2 an upstream may ask for the same request once more: it gets it once.
          if (settled || controller !== undefined) return started.abort(new Error('called off'))
          controller = started
        },
        onResponseStart(started, code, _, statusText = '') {
          const headers = lines(started.rawHeaders)
          if (code === 101) return started.abort(new Error('the upstream switched to no protocol that was asked for'))
          if (code < 200) {
            if (++interim > maxInterim) return started.abort(new Error('the upstream puts off its answer without end'))
            return sink.informational?.(code, answerHeaders(headers, code))
          }
          // undici reads any other coding to the end of the connection, chunks and all (RFC 9112 §6.3).
          const [coding = 'chunked', ...more] = valuesOf(headers, 'transfer-encoding')
          if (coding.toLowerCase() !== 'chunked' || more.length > 0)
            return started.abort(new Error('the upstream answered in a transfer coding other than chunked'))
          status = code
          named = nominated(headers)
          const kept = answerHeaders(headers, code, named)
          sink.head(code, sink.trailers === true ? [...kept, ...announced(headers, code)] : kept, statusText)
          sink.onDrain(() => started.resume())
        },
        onRequestUpgrade(started, _, __, socket) {
          socket.on('error', () => {})
          const headers = lines(started.rawHeaders)
          if (!settled && upgrade !== undefined && switched(upgrade, headers, sending.headers))
            return settle({ state: 'upgraded', headers: scrubbedLines(answerHeaders(headers, 101), secrets), socket })
          socket.destroy()
          fail(new Error('the upstream switched protocols without agreeing to the one that was asked for'))
        },
        onResponseData(started, chunk) {
          flowed(chunk.length)
          if (!sink.data(chunk)) started.pause()
        },
        onResponseEnd(started) {
          sink.end(sink.trailers === true ? answerTrailers(lines(started.rawTrailers), named) : [])
          settle({ state: 'answered', status: status ?? 0, complete: true })
        },
        onResponseError(_, error) {
          fail(error)
        },
      },
    )
  })

const codeOf = (cause: unknown): unknown => (cause instanceof Error && 'code' in cause ? cause.code : undefined)
const asError = (reason: unknown): Error =>
  reason instanceof Error ? reason : new Error('called off', { cause: reason })

const flat = (headers: readonly Header[], length: number | undefined): string[] => {
  const raw: string[] = []
  for (const [name, value] of headers) raw.push(name, value)
  if (length !== undefined) raw.push('content-length', String(length))
  return raw
}

const lines = (raw: Dispatcher.DispatchController['rawHeaders']): readonly Header[] => {
  const found: Header[] = []
  // HTTP/2 hands over an object, with lists for names that came more than once.
  if (!Array.isArray(raw))
    return Object.entries(raw ?? {}).flatMap(([name, value]) =>
      name.startsWith(':') ? [] : [value ?? []].flat().map(one => [name, String(one)] as const),
    )
  for (let at = 0; at < raw.length; at += 2) found.push([latin1(raw[at]), latin1(raw[at + 1])])
  return found
}

const latin1 = (bytes: Buffer | string | undefined): string =>
  typeof bytes === 'string' ? bytes : (bytes?.toString('latin1') ?? '')

// ---- the request's body

type Outgoing = {
  readonly content: Uint8Array | AsyncIterable<Uint8Array> | null
  readonly length: number | undefined
  /** The answer is over: whoever still feeds the body must not wait for us. */
  release(): void
}

const bodyOf = ({ body, readAhead, contentLength }: Sending): Outgoing => {
  if (body === undefined) return { content: null, length: undefined, release() {} }
  if (body instanceof Uint8Array) return { content: body, length: body.length, release() {} }
  if (contentLength === 0) return { content: null, length: undefined, release() {} }
  if (!(body instanceof Readable)) return { content: body, length: contentLength, release() {} }
  const pulled = pull(body, readAhead)
  return { content: pulled.chunks, length: contentLength, release: pulled.release }
}

/**
 * A Readable as chunks that can be let go of at any time without ending it: undici would destroy it, and with it the caller's
 * connection, on which the answer may still be under way. What is left of it is read and thrown away.
 */
const pull = (
  source: Readable,
  readAhead: Uint8Array | undefined,
): { readonly chunks: AsyncIterable<Uint8Array>; release(): void } => {
  let released = false
  let wake = (): void => {}
  const stir = (): void => wake()
  const events = ['readable', 'end', 'error', 'close']
  for (const event of events) source.on(event, stir)

  async function* chunks(): AsyncGenerator<Uint8Array> {
    if (readAhead !== undefined && readAhead.length > 0) yield readAhead
    for (;;) {
      // Thrown, not returned: a body that is cut short must never look as if it had ended.
      if (released) throw new Error('the answer came before the body had ended')
      const chunk = source.read() as Buffer | null
      if (chunk !== null) {
        flowed(chunk.length)
        yield chunk
        continue
      }
      if (source.readableEnded) return
      if (source.destroyed) throw source.errored ?? new Error('the caller went away before its body had ended')
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
  }

  return {
    chunks: chunks(),
    release() {
      released = true
      for (const event of events) source.off(event, stir)
      wake()
      // A source that fails later has nobody left to tell.
      source.on('error', () => {})
      source.resume()
    },
  }
}

// ---- connections

type Connections = { readonly dispatcher: Dispatcher; readonly base: string }

const pools = new Map<string, Connections>()
let poolOf = new WeakMap<Upstream, Connections>()

const connections = (upstream: Upstream, fresh: boolean, tunnel: boolean): Connections => {
  if (fresh) return connect(upstream, patient, tunnel)
  const known = poolOf.get(upstream)
  if (known !== undefined) return known
  // Pools outlive a reload of the configuration as long as what they stand for stays the same.
  const key = `${upstream.hash} ${upstream.url} ${upstream.timeouts.connectMs} ${upstream.http2} ${upstream.tls?.id}`
  let pool = pools.get(key)
  if (pool === undefined) {
    pool = connect(upstream, (origin, options) => new Pool(origin, { ...options, factory: patient }))
    pools.set(key, pool)
  }
  poolOf.set(upstream, pool)
  return pool
}

type Options = Client.Options & { readonly connect: buildConnector.connector }

const connect = (
  upstream: Upstream,
  make: (origin: string, options: Options) => Dispatcher,
  tunnel = false,
): Connections => {
  const url = new URL(upstream.url)
  // Only one parser has to agree with ours, unless an upstream cannot be spoken to otherwise. A tunnel is always HTTP/1.1.
  const allowH2 = upstream.http2 && !tunnel
  const dispatcher = make(url.origin, {
    allowH2,
    pipelining: 1,
    maxHeaderSize: 64 * 1024,
    // Said out loud, so that no environment variable can switch it off.
    connect: buildConnector({
      allowH2,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      timeout: upstream.timeouts.connectMs,
      ...tlsOf(upstream),
    }),
  })
  return { dispatcher, base: baseOf(upstream) }
}

/** One connection at a time, on which `100 Continue` breaks nothing. */
const patient = (origin: string | URL, options: object): Client => {
  const { connect: open, ...rest } = options as Options
  let answerStarts = (): void => {}
  let line: Socket | undefined
  const client = new Client(origin, {
    ...rest,
    connect(target, done) {
      open(target, (...opened) => {
        // undici's types promise null where there is no socket; it is undefined.
        const socket: Socket | undefined = opened[1] ?? undefined
        const http1 = socket !== undefined && !('alpnProtocol' in socket && socket.alpnProtocol === 'h2')
        answerStarts = http1 ? withoutContinue(socket) : () => {}
        line = http1 ? socket : undefined
        done(...opened)
      })
    },
  })
  const dispatch = client.dispatch.bind(client)
  client.dispatch = (request, handler) => {
    const started = handler.onRequestStart
    handler.onRequestStart = (controller, context) => {
      answerStarts()
      started?.call(handler, controller, context)
    }
    const ended = handler.onResponseEnd
    handler.onResponseEnd = (controller, trailers) => {
      // What ends with its connection is whole only if that ended well (RFC 9112 §8); undici takes a reset for an end.
      if (line?.errored) handler.onResponseError?.(controller, line.errored)
      else ended?.call(handler, controller, trailers)
    }
    return dispatch(request, handler)
  }
  return client
}

const tlsOf = ({ tls }: Upstream): Partial<Record<'ca' | 'cert' | 'key' | 'servername', string>> => ({
  ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
  ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
  ...(tls?.key === undefined ? {} : { key: tls.key }),
  ...(tls?.serverName === undefined ? {} : { servername: tls.serverName }),
})

/** A target as the upstream receives it: below the path of its url. */
export const targetAt = (upstream: Upstream, target: string): string => baseOf(upstream) + target

// Read once for each upstream of a snapshot: every call asks.
const addresses = new WeakMap<Upstream, { readonly origin: string; readonly base: string }>()

const addressOf = (upstream: Upstream): { readonly origin: string; readonly base: string } => {
  const known = addresses.get(upstream)
  if (known !== undefined) return known
  const { origin, pathname } = new URL(upstream.url)
  const read = { origin, base: pathname.replace(/\/$/, '') }
  addresses.set(upstream, read)
  return read
}

const baseOf = (upstream: Upstream): string => addressOf(upstream).base

/** Scheme, host and port of an upstream. */
export const originOf = (upstream: Upstream): string => addressOf(upstream).origin

/** Ends every pooled connection, and what is still sent over it. For shutting down. */
export const closePools = async (): Promise<void> => {
  const open = [...pools.values()]
  pools.clear()
  poolOf = new WeakMap()
  await Promise.all(open.map(({ dispatcher }) => dispatcher.destroy()))
}
