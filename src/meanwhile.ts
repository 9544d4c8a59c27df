// Where the answer to a held call goes for a caller whose protocol lets it be told that it waits. The first time it does, its answer is
// opened and says so every few seconds; from then on everything ends inside of it: the upstream's answer, or the error.
import { HoldpointError, problem } from './errors.ts'
import type { CallerResponse } from './incoming.ts'
import type { Header, KeptAnswer } from './nouns.ts'
import { toResponse } from './sinks.ts'
import type { Adapted, Answering } from './upstreams/upstream.ts'

const everyMs = 5_000

export type Meanwhile = {
  /** The call goes on waiting, for this. */
  waits(text: string): void
  readonly sink: ReturnType<typeof toResponse>
  /** Writes an answer that was kept. */
  replay(answer: KeptAnswer): void
  /** Ends the open answer with an error; false if none is open. */
  refused(error: HoldpointError): boolean
}

/** @param own head lines of ours @param how `attached`: another call opened the hold; `limit`: bytes of an answer that may be kept */
export const meanwhile = (
  response: CallerResponse,
  own: readonly Header[],
  { meanwhile: telling, adapted }: Answering,
  { attached, limit }: { readonly attached: boolean; readonly limit: number },
): Meanwhile => {
  const plain = toResponse(response, own)
  let text: string | undefined
  let turn = 0
  let timer: NodeJS.Timeout | undefined
  /** The answer, once its head is there; 'over' once nothing more may be written. */
  let answer: Adapted | 'plain' | 'over' | undefined
  const open = (): boolean => text !== undefined

  const tell = (): void => {
    if (telling !== undefined && text !== undefined && !response.destroyed) response.write(telling.told(text, ++turn))
  }
  const quiet = (): void => clearInterval(timer)
  response.once('close', quiet)

  const refused = (error: HoldpointError): boolean => {
    quiet()
    if (!open() || telling === undefined) return false
    if (answer !== 'over' && !response.destroyed) response.end(telling.refused(error, problem(error)))
    answer = 'over'
    return true
  }
  const cutOff = (why: string): void => {
    if (answer === 'over') return
    const detail = `The call was delivered, but ${why}. It is not sent again.`
    if (!refused(new HoldpointError('already_delivered', detail))) plain.broken()
    answer = 'over'
  }
  const write = (piece: string | Buffer): boolean => piece.length === 0 || plain.data(Buffer.from(piece))

  const sink: Meanwhile['sink'] = {
    ...plain,
    trailers: false,
    head(status, headers, statusText) {
      quiet()
      answer = open() || attached ? adapted(status, headers, { open: open(), limit }) : 'plain'
      if (!open()) plain.head(status, answer === 'plain' ? headers : answer.headers, statusText)
    },
    informational(status, headers) {
      if (!open()) plain.informational(status, headers)
    },
    data(chunk, _last, spent) {
      if (answer === 'plain') return plain.data(chunk, false, spent)
      if (answer === undefined || answer === 'over') return true
      try {
        return write(answer.data(chunk))
      } catch (error) {
        cutOff((error as Error).message)
        return true
      }
    },
    end(trailers) {
      if (answer === 'over') return
      if (answer !== undefined && answer !== 'plain') write(answer.end())
      answer = 'over'
      plain.end(trailers)
    },
    broken: () => cutOff('its answer broke off'),
  }

  return {
    sink,
    refused,
    waits(now) {
      if (telling === undefined || now === text || response.destroyed) return
      if (!open()) {
        response.writeHead(200, [...telling.headers, ['Cache-Control', 'no-store'], ...own].flat())
        timer = setInterval(tell, everyMs)
      }
      text = now
      tell()
    },
    replay({ status, headers, body }) {
      const lines = headers.filter(([name]) => name.toLowerCase() !== 'content-length')
      sink.head(status, lines, '')
      sink.data(Buffer.from(body, 'base64'))
      sink.end([])
    },
  }
}
