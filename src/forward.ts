// Sends a call to its upstream and streams the answer into a sink: fresh head lines, the target and the body exactly as given, no
// redirects, no retries, no environment proxies. The result says what is known of what was sent, nothing more.
import { type Duplex, Readable } from 'node:stream'
import { flowed } from './flow.ts'
import { announced, answerHeaders, answerTrailers, nominated } from './headers.ts'
import type { Call, Header } from './nouns.ts'
import { scrubbed, scrubbedLines } from './scrub.ts'
import type { Upstream } from './settings.ts'
import { spelledOut, switched } from './websocket.ts'
import type { CallOff, Transport } from './wire/exchange.ts'
import { http2 } from './wire/http2.ts'
import { type Place, pool } from './wire/pool.ts'

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
  /** The same for the way of every call, where an AbortSignal costs too much: is handed what calls the sending off, and says how to let go of it. */
  readonly onGone?: (callOff: () => void) => () => void
}

/** Takes an answer. Plain functions without `this`, so that a sink can be wrapped by spreading it. */
export type Sink = {
  /** `more`: what follows comes right away, so the head may wait for it. */
  head(status: number, headers: readonly Header[], statusText: string, more?: boolean): void
  informational?(status: number, headers: readonly Header[]): void
  /**
   * `last`: nothing but `end` follows. `spent`: may be called when nobody will look at the chunk any more; its memory is then used again.
   * False: no more, please; then `onDrain` is told what to call when there may be.
   */
  data(chunk: Buffer, last?: boolean, spent?: () => void): boolean
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

/** So many interim answers (1xx) are waited through: over HTTP/2 the upstream's time begins anew with each of them. */
const maxInterim = 100

/** Sends, and resolves when the answer has ended or cannot come any more. Never rejects. */
export const forward = (sending: Sending, taker: Sink): Promise<Sent> =>
  new Promise(resolve => {
    const secrets = sending.secrets ?? none
    const sink = scrubbed(taker, secrets)
    const { upstream, method, target, fresh, upgrade, signal } = sending
    let body: Outgoing = noBody
    let callOff: CallOff | undefined
    let started = false
    let status: number | undefined
    let interim = 0
    let named: ReadonlySet<string> | undefined
    let settled = false
    let stay = (): void => {}

    const settle = (sent: Sent): void => {
      if (settled) return
      settled = true
      signal?.removeEventListener('abort', abort)
      // Or the caller's response would keep all of this alive for as long as it lives itself.
      stay()
      body.release()
      if (sent.state === 'answered' && !sent.complete) sink.broken?.()
      resolve(sent)
    }
    const fail = (cause: unknown, timeout = false): void => {
      if (status !== undefined) settle({ state: 'answered', status, complete: false })
      else settle(started ? { state: 'lost', cause, timeout } : { state: 'unreachable', cause })
    }
    const abort = (): void => {
      const reason = asError(signal?.reason)
      if (callOff === undefined) fail(reason)
      else callOff(reason)
    }

    if (!target.startsWith('/')) return fail(new Error(`the target ${JSON.stringify(target)} is no path`))
    if (signal?.aborted) return abort()
    signal?.addEventListener('abort', abort)
    stay = sending.onGone?.(abort) ?? stay
    if (settled) return stay()

    body = bodyOf(sending)
    callOff = transportOf(upstream, fresh || upgrade !== undefined).exchange(
      {
        method,
        target: targetAt(upstream, target),
        headers: sending.headers,
        body: body.content,
        length: body.length,
        fresh,
        upgrade: upgrade === undefined ? undefined : spelledOut[upgrade],
        headersMs: upstream.timeouts.headersMs,
        idleMs: upstream.timeouts.idleMs,
      },
      {
        started() {
          started = true
        },
        interim(code, headers) {
          if (++interim > maxInterim) throw new Error('the upstream puts off its answer without end')
          sink.informational?.(code, answerHeaders(headers, code))
        },
        head(code, headers, reason, more) {
          status = code
          named = nominated(headers)
          const kept = answerHeaders(headers, code, named)
          sink.head(code, sink.trailers === true ? [...kept, ...announced(headers, code)] : kept, reason, more)
        },
        data(chunk, resume, last, spent) {
          if (spent === undefined) flowed(chunk.length)
          if (sink.data(chunk, last, spent)) return true
          sink.onDrain(resume)
          return false
        },
        end(trailers) {
          sink.end(sink.trailers === true ? answerTrailers(trailers, named) : [])
          settle({ state: 'answered', status: status ?? 0, complete: true })
        },
        upgraded(headers, socket) {
          socket.on('error', () => {})
          if (!settled && upgrade !== undefined && switched(upgrade, headers, sending.headers))
            return settle({ state: 'upgraded', headers: scrubbedLines(answerHeaders(headers, 101), secrets), socket })
          socket.destroy()
          fail(new Error('the upstream switched protocols without agreeing to the one that was asked for'))
        },
        failed: fail,
      },
    )
  })

const asError = (reason: unknown): Error =>
  reason instanceof Error ? reason : new Error('called off', { cause: reason })

// ---- the request's body

type Outgoing = {
  readonly content: Uint8Array | AsyncIterable<Uint8Array> | undefined
  readonly length: number | undefined
  /** The answer is over: whoever still feeds the body must not wait for us. */
  release(): void
}

const noBody: Outgoing = { content: undefined, length: undefined, release() {} }

const bodyOf = ({ body, readAhead, contentLength }: Sending): Outgoing => {
  if (body === undefined || contentLength === 0) return noBody
  if (body instanceof Uint8Array)
    return body.length === 0 ? noBody : { content: body, length: body.length, release() {} }
  if (!(body instanceof Readable)) return { content: body, length: contentLength, release() {} }
  const pulled = pull(body, readAhead)
  return { content: pulled.chunks, length: contentLength, release: pulled.release }
}

/**
 * A Readable as chunks that can be let go of at any time without ending it: that would end the caller's connection, on which the answer
 * may still be under way. What is left of it is read and thrown away.
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

const transports = new Map<string, Transport>()
let transportsOf = new WeakMap<Upstream, { first: Transport; plain: Transport }>()

/** @param plain HTTP/1.1 in any case: for a connection of its own, and for a tunnel */
const transportOf = (upstream: Upstream, plain: boolean): Transport => {
  let known = transportsOf.get(upstream)
  if (known === undefined) {
    const one = transport(upstream, 'plain', pool)
    // Only one parser has to agree with ours, unless an upstream cannot be spoken to otherwise.
    known = { plain: one, first: upstream.http2 ? transport(upstream, 'http2', http2) : one }
    transportsOf.set(upstream, known)
  }
  return plain ? known.plain : known.first
}

// Connections outlive a reload of the configuration as long as what they stand for stays the same.
const transport = (upstream: Upstream, what: string, make: (place: Place) => Transport): Transport => {
  const { url, tls, timeouts } = upstream
  const key = [what, upstream.hash, url, timeouts.connectMs, timeouts.headersMs, timeouts.idleMs, tls?.id].join(' ')
  const known = transports.get(key)
  if (known !== undefined) return known
  const made = make({ url: new URL(url), ...timeouts, ...tls })
  transports.set(key, made)
  return made
}

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
  const open = [...transports.values()]
  transports.clear()
  transportsOf = new WeakMap()
  await Promise.all(open.map(one => one.close()))
}
