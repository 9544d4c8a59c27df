// Live updates as server-sent events: what happened to holds that the visitor may see, each looked up anew, never what is in them.
// A stream ends when the browser leaves, when the session or token ends, or when the console closes; browsers then ask again by
// Last-Event-ID.
import { HoldpointError } from '../errors.ts'
import type { Reviewer } from '../nouns.ts'
import type { StoreEvent } from '../store/store.ts'
import type { Desk } from './desk.ts'
import type { Visitor } from './visitor.ts'

const perPerson = 20

export type EventStreams = {
  /** @throws malformed (Last-Event-ID), too_many_calls */
  open(visitor: Visitor, request: Request): Response
  /** Ends every stream. */
  close(): void
}

export const eventStreams = (parts: {
  readonly desk: Desk
  readonly events: (after: string | undefined, signal: AbortSignal) => AsyncIterable<StoreEvent>
  /** How often a quiet stream shows that it lives, and checks that its visitor still may listen. */
  readonly heartbeatMs: number
}): EventStreams => {
  const { desk, events, heartbeatMs } = parts
  const closing = new AbortController()
  const open = new Map<string, number>()

  const count = (person: string, by: 1 | -1): number => {
    const now = (open.get(person) ?? 0) + by
    if (now === 0) open.delete(person)
    else open.set(person, now)
    return now
  }

  const maySee = async (reviewer: Reviewer, hold: string): Promise<boolean> => {
    try {
      await desk.show(reviewer, hold)
      return true
    } catch (error) {
      if (error instanceof HoldpointError && error.code === 'unknown_hold') return false
      throw error
    }
  }

  const text = async (reviewer: Reviewer, event: StoreEvent): Promise<string> => {
    if (event.kind === 'gap') return `id: ${event.id}\nevent: gap\ndata: {}\n\n`
    if (!(await maySee(reviewer, event.hold))) return ''
    const { hold, state, rev } = event
    return `id: ${event.id}\nevent: hold\ndata: ${JSON.stringify({ id: hold, status: state, rev })}\n\n`
  }

  async function* lines(visitor: Visitor, after: string | undefined, signal: AbortSignal): AsyncGenerator<string> {
    yield 'retry: 3000\n: connected\n\n'
    const ended = new Promise<'ended'>(resolve => {
      if (signal.aborted) resolve('ended')
      else signal.addEventListener('abort', () => resolve('ended'), { once: true })
    })
    const source = events(after, signal)[Symbol.asyncIterator]()
    let coming = source.next()
    // What fails after we stopped listening is nobody's concern.
    coming.catch(() => undefined)
    for (;;) {
      let timer: NodeJS.Timeout | undefined
      const quiet = new Promise<'quiet'>(resolve => {
        timer = setTimeout(() => resolve('quiet'), heartbeatMs)
      })
      const happened = await Promise.race([coming, quiet, ended])
      clearTimeout(timer)
      if (happened === 'ended') return
      // Whoever lost a group since the stream began hears no more of its holds.
      const reviewer = await visitor.still()
      if (reviewer === undefined) return
      if (happened === 'quiet') {
        yield ': still here\n\n'
        continue
      }
      if (happened.done) return
      const line = await text(reviewer, happened.value)
      if (line !== '') yield line
      coming = source.next()
      coming.catch(() => undefined)
    }
  }

  return {
    open(visitor, request) {
      const after = request.headers.get('last-event-id') ?? undefined
      if (after !== undefined && !/^[\w:.,-]{1,256}$/.test(after)) {
        throw new HoldpointError('malformed', 'Last-Event-ID must be the id of an earlier event.')
      }
      const person = `${visitor.reviewer.login}:${visitor.reviewer.subject}`
      if ((open.get(person) ?? 0) >= perPerson) {
        throw new HoldpointError('too_many_calls', `You have ${perPerson} streams of events open already. Close one.`, {
          retryAfterS: 5,
        })
      }
      const leaving = new AbortController()
      const signal = AbortSignal.any([leaving.signal, closing.signal, request.signal])
      const written = lines(visitor, after, signal)
      const encoder = new TextEncoder()
      let counted = false
      const leave = (): void => {
        if (counted) count(person, -1)
        counted = false
        leaving.abort()
      }
      // Nothing begins before the first read: a HEAD request, which reads nothing, leaves nothing open.
      const body = new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            if (!counted) count(person, 1)
            counted = true
            try {
              const { value, done } = await written.next()
              if (done) {
                leave()
                controller.close()
              } else controller.enqueue(encoder.encode(value))
            } catch (error) {
              leave()
              controller.error(error)
            }
          },
          cancel: leave,
        },
        { highWaterMark: 0 },
      )
      return new Response(body, {
        headers: { 'Content-Type': 'text/event-stream; charset=utf-8', 'X-Accel-Buffering': 'no' },
      })
    },
    close: () => closing.abort(),
  }
}
