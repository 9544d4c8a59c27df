// What the gate asks of a connection to an upstream, and what it hears back; types only.
import type { Socket } from 'node:net'
import type { Header } from '../nouns.ts'

export type Asked = {
  readonly method: string
  /** As it is sent: below the path of the upstream's url. */
  readonly target: string
  /** Without Connection and framing, which are made here; Host only where it differs from the upstream's own. */
  readonly headers: readonly Header[]
  readonly body: Uint8Array | AsyncIterable<Uint8Array> | undefined
  /** Of the whole body in bytes; undefined: it is sent in chunks. */
  readonly length: number | undefined
  /** On a connection of its own, closed afterwards. */
  readonly fresh: boolean
  /** The protocol to change to, as it is written in Upgrade. */
  readonly upgrade: string | undefined
  /**
   * Milliseconds until the head of the answer, and between two pieces of its body; 0: without end. Time in which it is our turn, as a
   * body comes slowly or its taker is slow, does not count.
   */
  readonly headersMs: number
  readonly idleMs: number
}

/** Hears of one exchange, in this order; after `end`, `upgraded` or `failed` nothing more. What it throws ends the connection, as `failed`. */
export type Answering = {
  /** The first byte is about to be sent. */
  started(): void
  /** An answer before the answer, never 101. */
  interim(status: number, headers: readonly Header[]): void
  /** `more`: what follows is here already, and is handed over before anything else happens. */
  head(status: number, headers: readonly Header[], reason: string, more: boolean): void
  /**
   * False: no more, please, until `resume` is called. `last`: the body ends with these bytes. `spent`: may be called when nobody will look at
   * the chunk any more; its memory is then used again.
   */
  data(chunk: Buffer, resume: () => void, last: boolean, spent?: () => void): boolean
  end(trailers: readonly Header[]): void
  /** The connection is the taker's from now on, listeners, timeouts and all. */
  upgraded(headers: readonly Header[], socket: Socket): void
  /** Nothing (more) comes. `timeout`: the upstream took too long. */
  failed(cause: unknown, timeout: boolean): void
}

/** Ends an exchange before its end; does nothing afterwards. */
export type CallOff = (reason: Error) => void

export type Transport = {
  /** Never throws: what goes wrong is said to `answering`. */
  exchange(asked: Asked, answering: Answering): CallOff
  /** Ends every connection, and what is still sent over it. */
  close(): Promise<void>
}
