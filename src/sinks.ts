// Where an answer goes: to the caller that waits on its connection, or into memory for one that comes back for it.
import type { ServerResponse } from 'node:http'
import { takesTrailers } from './headers.ts'
import type { Header } from './nouns.ts'

/**
 * Streams an answer to the caller. A caller that has gone is no error here: the answer is taken and thrown away, so that a call that
 * was sent is also finished; whoever wants the upstream to stop aborts the Sending's signal.
 * @param extra added to the head; they replace the upstream's headers of the same names
 */
export const toResponse = (response: ServerResponse, extra: readonly Header[]) => {
  const replaced = new Set(extra.map(([name]) => name.toLowerCase()))
  let written = false
  const { httpVersion, method, rawHeaders } = response.req
  return {
    trailers: httpVersion === '1.1' && method !== 'HEAD' && takesTrailers(rawHeaders),
    head(status: number, headers: readonly Header[], statusText: string): void {
      if (response.destroyed || response.headersSent) return
      const all =
        extra.length === 0 ? headers : [...headers.filter(([name]) => !replaced.has(name.toLowerCase())), ...extra]
      // A reason phrase may hold bytes that node refuses to write; it says nothing that the number does not.
      const reason = /^[\t\x20-\x7e]+$/.test(statusText) ? statusText : undefined
      const raw: string[] = []
      for (const [name, value] of all) raw.push(name, value)
      if (reason === undefined) response.writeHead(status, raw)
      else response.writeHead(status, reason, raw)
      // The head goes with the first bytes, but it does not wait for them: a watch or an event stream may stay silent for long.
      queueMicrotask(() => {
        if (!written && !response.destroyed) response.flushHeaders()
      })
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
    data(chunk: Buffer): boolean {
      written = true
      return response.destroyed || response.write(chunk)
    },
    onDrain(resume: () => void): void {
      response.on('drain', resume)
      response.on('close', resume)
    },
    end(trailers: readonly Header[]): void {
      written = true
      if (trailers.length > 0 && !response.destroyed) response.addTrailers(trailers as [string, string][])
      response.end()
    },
    broken(): void {
      response.destroy()
    },
  }
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
