// What an upstream kind must say: one file per kind, nothing else knows about it. Everything here is pure: no clock, no network.
import type { HoldpointError, Problem } from '../errors.ts'
import type { Action, Body, Call, Header } from '../nouns.ts'
import type { Upstream } from '../settings.ts'

export type UpstreamKind = {
  /** The name in configuration. */
  readonly kind: string
  /** Headers that change from retry to retry without changing the call: not part of the digest. Lower case. */
  readonly volatileHeaders: readonly string[]
  /**
   * JSON pointers of what changes in a body from retry to retry without changing the call: no more part of the digest than those headers.
   * What is sent has it as in the call that opened the hold, so `answering` is for the others.
   */
  readonly volatileJson?: readonly string[]
  /** Headers of callers that never reach this kind of upstream, beside those that reach none. Lower case. */
  readonly strippedHeaders: readonly string[]
  /** Protocols besides HTTP that a call may switch to. */
  readonly upgrades: readonly NonNullable<Call['upgrade']>[]
  /**
   * The call with what its head says in lines that go no further, read before anybody is identified.
   * @throws malformed for what no client of this kind sends, or what nobody here may ask for
   */
  admit?(call: Call, upstream: Upstream): Call
  /** Head and body without a framing inside the body: what is judged, digested, shown and sent. @throws malformed */
  plain?(headers: readonly Header[], bytes: Buffer): Plain
  /**
   * Is this a client of this kind, whatever it asks for? Then it is also refused in its own words where no upstream is known yet. For a kind
   * that is always loaded only (judge.ts): an answer must not tell what the configuration has.
   */
  speaks?(call: Call): boolean
  /** Can the call be sent only once all of its body is here, because its credential covers it? */
  wantsWhole?(call: Call): boolean
  /** The upstream at the address that this call is for. */
  located?(upstream: Upstream, call: Call): Upstream
  /**
   * What the call would do; several where it does several things, never none. What cannot be told is `unknown`, never guessed.
   * 'unread': that is in the body, which is still unread. @throws HoldpointError for what no client of this kind sends
   */
  describe(seen: Seen): readonly Action[] | 'unread'
  /**
   * What of a call is secret beside what every call's masking finds, as paths like those of a rule's `mask`; 'all': it is in the body, and
   * nobody can tell where. Absent: nothing is.
   */
  secrets?(seen: Seen): readonly string[] | 'all'
  /**
   * What may be asked of the upstream, without anybody's approval, to show what the call would change: reads and rehearsals, which change
   * nothing. A text says why there is nothing to ask.
   */
  rehearsal?(seen: Seen): Rehearsal | string
  /** Secrets that say nothing about what a call does, as paths like those of a rule's `mask`: hidden, and nobody misses them. */
  readonly idlePaths?: readonly string[]
  /** Why a call is made, where clients of this kind say so in the body. */
  reason?(body: Body): string | undefined
  /** How one of the callers that wait for the same held call is answered. Absent: all in the same way, and none before it is over. */
  answering?(call: Call, body: Body): Answering | undefined
  /** The shape in which this upstream's clients expect a refusal of ours. `call` and `body` are undefined where they could not be read. */
  refusal(error: HoldpointError, problem: Problem, call: Call | undefined, body?: Body): Refusal
  /** What of a body a refusal needs: all that is kept of it while a call is held. Absent: nothing. */
  refusalNeeds?(body: Body): Body
}

/** What a kind may look at: headers are those that reach the upstream, `path` is canonical and without the upstream's prefix. */
export type Seen = {
  readonly call: Call
  readonly path: string
  readonly body: Body
  readonly upstream: Upstream
}

/** The answer to a held call as the answer to one of the calls that wait for it. */
export type Answering = {
  adapted(status: number, headers: readonly Header[], how: Adapting): Adapted
  /** Set where this caller is to be told while it waits: the head of the answer (200) that is opened for that, and what stands in it. */
  readonly meanwhile?: {
    readonly headers: readonly Header[]
    /** @param turn counts from 1 */
    told(text: string, turn: number): string
    /** The last of it, where nothing else comes. */
    refused(error: HoldpointError, problem: Problem): string
  }
}

/** `open`: the head is written, and this goes on below it. `limit`: bytes that may be kept to be looked at. */
export type Adapting = { readonly open: boolean; readonly limit: number }

/** What goes on of an answer, piece by piece. `data` throws for what is larger than may be kept. */
export type Adapted = {
  readonly headers: readonly Header[]
  data(chunk: Buffer): string | Buffer
  end(): string | Buffer
}

export type Plain = { readonly headers: readonly Header[]; readonly bytes: Buffer }

/** What is there (undefined: nothing yet), what would be, and whether that is nothing any more. */
export type Rehearsal = { readonly before: Asked | undefined; readonly after: Asked; readonly removes: boolean }

/** `target` is without the base path of the upstream's url. */
export type Asked = {
  readonly method: string
  readonly target: string
  readonly headers: readonly Header[]
  readonly body: Buffer | undefined
}

/** Without a `status` it is the error's. */
export type Refusal = { readonly status?: number; readonly headers: readonly Header[]; readonly body: string | Buffer }

/** RFC 9457, for clients that expect nothing else. */
export const plainRefusal: UpstreamKind['refusal'] = (_, problem) => ({
  headers: [['Content-Type', 'application/problem+json']],
  body: JSON.stringify(problem),
})
