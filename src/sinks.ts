// Where an answer goes: to the caller that waits on its connection, or into memory for one that comes back for it.
import { takesTrailers } from './headers.ts'
import { type CallerResponse, linesOf } from './incoming.ts'
import type { Header } from './nouns.ts'
import { atTurnsEnd } from './turn.ts'

/**
 * Streams an answer to the caller. A caller that has gone is no error here: the answer is taken and thrown away, so that a call that
 * was sent is also finished; whoever wants the upstream to stop aborts the Sending's signal.
 * @param extra added to the head; they replace the upstream's headers of the same names
 * @param seen is told the status as the head is written, or would be
 */
export const toResponse = (response: CallerResponse, extra: readonly Header[], seen?: (status: number) => void) => {
  const { req } = response
  /** Its end is due, at the end of this turn. */
  let ending = false
  return {
    trailers: req.httpVersion === '1.1' && req.method !== 'HEAD' && takesTrailers(linesOf(req)),
    head(status: number, headers: readonly Header[], statusText: string, more = false): void {
      seen?.(status)
      if (response.destroyed || response.headersSent) return
      const raw: string[] = []
      for (const [name, value] of extra.length === 0 ? headers : replaced(headers, extra)) raw.push(name, value)
      // A reason phrase may hold bytes that node refuses to write; it says nothing that the number does not.
      if (/^[\t\x20-\x7e]+$/.test(statusText)) response.writeHead(status, statusText, raw)
      else response.writeHead(status, raw)
      // The head goes with the first bytes if they are here, but it does not wait for them: an event stream may stay silent for long.
      if (!more) response.flushHeaders()
    },
    informational(status: number, headers: readonly Header[]): void {
      const hints = headers.filter(([name]) => name.toLowerCase() === 'link').map(([, value]) => value)
      if (status !== 103 || hints.length === 0 || response.headersSent || response.req.httpVersion !== '1.1') return
      try {
        response.writeEarlyHints({ link: hints })
      } catch {
        // node reads Link more strictly than some write it; a hint may be dropped.
      }
    },
    data(chunk: Buffer, last = false, spent?: () => void): boolean {
      if (response.destroyed) {
        spent?.()
        return true
      }
      if (last) {
        ending = true
        atTurnsEnd(() => response.end(chunk))
      } else if (chunk.length > 0)
        return spent === undefined ? response.write(chunk) : response.write(chunk, written(spent))
      else response.flushHeaders()
      return true
    },
    onDrain(resume: () => void): void {
      const go = (): void => {
        response.off('drain', go)
        response.off('close', go)
        resume()
      }
      response.on('drain', go)
      response.on('close', go)
    },
    end(trailers: readonly Header[]): void {
      if (ending || response.writableEnded) return
      ending = true
      if (trailers.length > 0 && !response.destroyed) response.addTrailers(trailers as [string, string][])
      atTurnsEnd(() => response.end())
    },
    broken(): void {
      response.destroy()
    },
  }
}

/** Of a write that failed nobody knows who still has its bytes. */
const written =
  (spent: () => void) =>
  (error?: Error | null): void => {
    if (!error) spent()
  }

const replaced = (headers: readonly Header[], extra: readonly Header[]): readonly Header[] => {
  const names = new Set(extra.map(([name]) => name.toLowerCase()))
  return [...headers.filter(([name]) => !names.has(name.toLowerCase())), ...extra]
}

export type MemoryAnswer =
  | { readonly status: number; readonly headers: readonly Header[]; readonly body: Buffer }
  | 'too_large'

/** Keeps an answer of up to `limit` body bytes; a larger one is still taken to its end. */
export const toMemory = (limit: number) => {
  let head: { readonly status: number; readonly headers: readonly Header[] } | undefined
  let chunks: Buffer[] = []
  let size = 0
  return {
    head(status: number, headers: readonly Header[]): void {
      head = { status, headers }
    },
    data(chunk: Buffer): boolean {
      size += chunk.length
      if (size <= limit) chunks.push(chunk)
      else chunks = []
      return true
    },
    onDrain(): void {},
    end(): void {},
    /** More came than is kept. */
    full: (): boolean => size > limit,
    /** Throws if no answer came. */
    answer(): MemoryAnswer {
      if (head === undefined) throw new Error('there is no answer to keep')
      return size > limit ? 'too_large' : { ...head, body: Buffer.concat(chunks) }
    },
  }
}
