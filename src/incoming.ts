// What the gate needs of a request and of the response to it: Node's have it, and so have those of plain requests (plain.ts).
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Header } from './nouns.ts'
import { PlainRequest } from './plain.ts'

export type CallerRequest = IncomingMessage | PlainRequest

/** As far as `ServerResponse` has it too; see there. */
export type CallerResponse = {
  readonly req: CallerRequest
  readonly socket: Socket | null
  readonly statusCode: number
  readonly headersSent: boolean
  /** The caller's connection is gone. */
  readonly destroyed: boolean
  /** `end` was called. */
  readonly writableEnded: boolean
  /** All of it was given to the system. */
  readonly writableFinished: boolean
  /** @param headers name, value, name, value … */
  writeHead(status: number, headers: string[]): unknown
  writeHead(status: number, reason: string, headers: string[]): unknown
  flushHeaders(): void
  writeContinue(): void
  writeEarlyHints(hints: { link: string[] }): void
  write(chunk: Buffer | string, written?: (error: Error | null | undefined) => void): boolean
  addTrailers(trailers: [string, string][]): void
  end(chunk?: Buffer | string): unknown
  destroy(): unknown
  /** `close`: the answer is over, or the connection is; `drain`: more may be written. */
  on(event: 'close' | 'drain', listener: () => void): unknown
  once(event: 'close', listener: () => void): unknown
  off(event: 'close' | 'drain', listener: () => void): unknown
}

/** The header lines as they were sent. */
export const linesOf = (request: CallerRequest): readonly Header[] => {
  if (request instanceof PlainRequest) return request.lines
  const { rawHeaders: raw } = request
  const lines: Header[] = []
  for (let at = 0; at < raw.length; at += 2) lines.push([raw[at] ?? '', raw[at + 1] ?? ''])
  return lines
}
