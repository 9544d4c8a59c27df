// Upstreams that speak HTTP/2, by undici: which version is spoken is agreed on with the TLS handshake, so HTTP/1.1 may come of it as well.
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type { buildConnector, Client, Dispatcher, Pool } from 'undici'
import { withoutContinue } from '../continue.ts'
import type { Header } from '../nouns.ts'
import type { Transport } from './exchange.ts'
import type { Place } from './pool.ts'
import { bindsConnection } from './request.ts'

// Loaded with the first upstream that has `http2`: most configurations have none.
const undici = (): typeof import('undici') => createRequire(import.meta.url)('undici')

type Options = Client.Options & { readonly connect: buildConnector.connector }

/** Never for tunnels, nor for calls that want a connection of their own: those are HTTP/1.1 (`pool.ts`). */
export const http2 = (place: Place): Transport => {
  const { buildConnector, Pool } = undici()
  const dispatcher = new Pool(place.url.origin, {
    allowH2: true,
    pipelining: 1,
    maxHeaderSize: 64 * 1024,
    factory: patient,
    connect: buildConnector({
      allowH2: true,
      // Said out loud, so that no environment variable can switch it off.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      timeout: place.connectMs,
      ...(place.ca === undefined ? {} : { ca: place.ca }),
      ...(place.cert === undefined ? {} : { cert: place.cert }),
      ...(place.key === undefined ? {} : { key: place.key }),
      ...(place.serverName === undefined ? {} : { servername: place.serverName }),
    }),
  } as Pool.Options)

  return {
    exchange({ method, target, headers, body, length, headersMs, idleMs }, answering) {
      let controller: Dispatcher.DispatchController | undefined
      let over = false
      const fail = (cause: unknown): void => {
        if (over) return
        over = true
        answering.failed(cause, codeOf(cause) === 'UND_ERR_HEADERS_TIMEOUT')
      }
      dispatcher.dispatch(
        {
          method,
          path: target,
          headers: flat(headers, length),
          body: (body ?? null) as Readable | Uint8Array | null,
          headersTimeout: headersMs,
          bodyTimeout: idleMs,
          ...(bindsConnection(headers) ? { reset: true } : {}),
        },
        {
          onRequestStart(started) {
            // An upstream may ask for the same request once more: it gets it once.
            if (over || controller !== undefined) return started.abort(new Error('called off'))
            controller = started
            answering.started()
          },
          onResponseStart(started, code, _, statusText = '') {
            const lines = linesOf(started.rawHeaders)
            if (code === 101) return started.abort(new Error('the upstream switched to no protocol that was asked for'))
            if (code < 200) return answering.interim(code, lines)
            // undici reads any other coding to the end of the connection, chunks and all (RFC 9112 §6.3).
            const codings = lines.filter(([name]) => name.toLowerCase() === 'transfer-encoding')
            if (codings.length > 1 || codings.some(([, coding]) => coding.toLowerCase() !== 'chunked'))
              return started.abort(new Error('the upstream answered in a transfer coding other than chunked'))
            answering.head(code, lines, statusText, false)
          },
          onResponseData(started, chunk) {
            if (!answering.data(chunk, () => started.resume(), false)) started.pause()
          },
          onResponseEnd(started) {
            if (over) return
            over = true
            answering.end(linesOf(started.rawTrailers))
          },
          onResponseError(_, error) {
            fail(error)
          },
        },
      )
      return reason => {
        if (over) return
        // Without a controller the request still waits for a connection; it is called off before its first byte (onRequestStart).
        if (controller === undefined) fail(reason)
        else controller.abort(reason)
      }
    },
    close: () => dispatcher.destroy(),
  }
}

const codeOf = (cause: unknown): unknown => (cause instanceof Error && 'code' in cause ? cause.code : undefined)

const flat = (headers: readonly Header[], length: number | undefined): string[] => {
  const raw: string[] = []
  for (const [name, value] of headers) raw.push(name, value)
  if (length !== undefined) raw.push('content-length', String(length))
  return raw
}

const linesOf = (raw: Dispatcher.DispatchController['rawHeaders']): readonly Header[] => {
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

/** One connection at a time, on which `100 Continue` breaks nothing. */
const patient = (origin: string | URL, options: object): Client => {
  const { connect: open, ...rest } = options as Options
  let answerStarts = (): void => {}
  let line: Socket | undefined
  const client = new (undici().Client)(origin, {
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
