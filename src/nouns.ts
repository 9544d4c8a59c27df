// The words of the product as types. No behaviour, no imports but other nouns; everything is readonly.
// Instants end in `At` and are milliseconds since the epoch; durations end in `Ms`.
import type { State } from './states.ts'

/** One header line as it came: name in the sender's case, value without surrounding white space. */
export type Header = readonly [name: string, value: string]

/** One HTTP request from a caller, read once and never changed. */
export type Call = {
  readonly id: string
  readonly receivedAt: number
  readonly method: string
  /** The request target exactly as it was sent. */
  readonly target: string
  /** Canonical path (RFC 3986 §6.2.2: unreserved characters decoded, upper-case hex), without the query. */
  readonly path: string
  /** The path exactly as it was sent, without the query. */
  readonly rawPath: string
  /** The query exactly as it was sent, without `?`; undefined if there was no `?`. */
  readonly rawQuery: string | undefined
  /** Decoded query pairs in order. */
  readonly query: readonly (readonly [name: string, value: string])[]
  /** Lower-case host name without port or trailing dot; `[…]` kept for IPv6. */
  readonly host: string
  /** Every header line, as it was sent. */
  readonly headers: readonly Header[]
  /** The peer's IP address. */
  readonly address: string
  readonly scheme: 'http' | 'https'
  readonly httpVersion: string
  /** Set when the caller asks for a tunnel that we know how to carry. */
  readonly upgrade?: 'websocket' | 'spdy/3.1'
  /** How many body bytes were announced; undefined for chunked; 0 for none. */
  readonly contentLength: number | undefined
}

/** A body as rules may read it. `unread`: nobody has looked yet; `unknown`: it cannot be read, and why. */
export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'unread' }
  | { readonly kind: 'json'; readonly value: Json; readonly size: number }
  | { readonly kind: 'form'; readonly pairs: readonly (readonly [string, string])[]; readonly size: number }
  | { readonly kind: 'other'; readonly size: number }
  | { readonly kind: 'unknown'; readonly why: string; readonly size: number | undefined }

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

export type CallerKind = 'agent' | 'workload' | 'human'

/** One member of an RFC 8693 `act` chain, current actor first. */
export type Actor = {
  readonly issuer: string
  readonly subject: string
  readonly client?: string
  readonly email?: string
}

/** The verified identity behind a call. `issuer` is the name of its configuration entry. */
export type Caller = {
  readonly issuer: string
  readonly directory?: string
  readonly subject: string
  /** The issuer's stable person id (`claims.person`), where the token carries one. */
  readonly person?: string
  readonly client?: string
  readonly kind: CallerKind
  readonly name?: string
  readonly email?: string
  readonly groups: readonly string[]
  readonly owner?: string
  readonly reason?: string
  readonly actors: readonly Actor[]
  readonly claims: { readonly [name: string]: Json }
  /** When the token runs out. */
  readonly expiresAt: number
}

/** A person who signed in interactively, as a reviewer. `login` is the name of the console's login entry. */
export type Reviewer = {
  readonly login: string
  readonly subject: string
  /** Every id this person has at the login (`claims.person`), subject included. */
  readonly ids: readonly string[]
  readonly name: string
  readonly email?: string
  /** True only if the e-mail is verified and its domain belongs to this login (`emailDomains`). */
  readonly emailTrusted: boolean
  /** Bare group names as the login says; qualified as `login:group` when judged. */
  readonly groups: readonly string[]
  readonly groupsAt: number
  /** How the verdict reached us. */
  readonly via: 'console' | 'api' | 'slack' | 'teams'
  /** False for whoever may read but never decide (no interactive sign-in). */
  readonly interactive: boolean
}

/** The people behind a call, computed once when it is held: keys for comparison, labels for showing. */
export type Behind = {
  /** Sorted keys: `account:<issuer, login or directory>:<id>` and `email:<folded address>`. */
  readonly keys: readonly string[]
  /** Readable: names or addresses, without duplicates. */
  readonly labels: readonly string[]
  /** False when no human is known behind an agent or workload. */
  readonly known: boolean
}

/** What a call would do, in the upstream's own terms. */
export type Action = {
  readonly name: string
  readonly resource: string
  readonly access: 'read' | 'write' | 'permissions' | 'credentials' | 'unknown'
  readonly fields: { readonly [name: string]: string }
}

/** What a hold keeps of the rule that holds it. `hash` covers everything the rule says. */
export type RuleRef = { readonly name: string; readonly hash: string }

/** The part of a hold that is signed when it opens and never changes. */
export type HoldHead = {
  readonly version: 1
  readonly id: string
  readonly call: string
  readonly openedAt: number
  readonly expiresAt: number
  readonly caller: Caller
  readonly behind: Behind
  readonly upstream: string
  readonly upstreamHash: string
  readonly rules: readonly RuleRef[]
  readonly configHash: string
  readonly action: Action
  readonly method: string
  /** SHA-256 of salt and digest; the salt is sealed with the request. */
  readonly digest: string
  /** Bytes of the held body. */
  readonly size: number
  readonly onDisconnect: 'keep' | 'cancel'
  /** Trace id of the opening call (W3C), for the audit. */
  readonly trace?: string
}

/** One reviewer's word on a hold, signed. */
export type Verdict = {
  readonly version: 1
  readonly hold: string
  readonly verdict: 'approve' | 'deny'
  readonly reviewer: Reviewer
  /** The key the vote is counted by: one person is one vote. */
  readonly person: string
  /** Every key of the reviewer when they decided, for re-qualifying. */
  readonly keys: readonly string[]
  readonly comment?: string
  /** The view this was given for. */
  readonly view: string
  readonly at: number
}

/** What became of a released call. `answered`: the head of the answer was written to a caller. */
export type Delivery = {
  readonly state: 'delivered' | 'failed' | 'unknown'
  readonly status?: number
  readonly answered?: boolean
  readonly at: number
}

/** A hold as read from the store, its signed parts verified. */
export type Hold = {
  readonly head: HoldHead
  readonly state: State
  /** Grows by one with every move; a move names the revision it was judged on. */
  readonly rev: number
  /** When the present state's clock runs out; undefined once closed. */
  readonly dueAt: number | undefined
  readonly verdicts: readonly Verdict[]
  /** Grows with every release; only the holder of the newest may finish it. */
  readonly fence: number
  readonly facts: HoldFacts
  /** The store's clock when this was read. */
  readonly now: number
}

/** Small facts that change while a hold lives. All but `earlier` are written by moves. */
export type HoldFacts = {
  readonly async?: true
  /** When the newest token that the caller showed runs out. */
  readonly tokenUntilAt?: number
  readonly approvedAt?: number
  readonly closedAt?: number
  readonly comment?: string
  readonly decidedBy?: string
  readonly why?: string
  readonly delivery?: Delivery
  /** Until when the sealed answer is kept. */
  readonly keptUntilAt?: number
  readonly keptWhyNot?: string
  /** An identical call whose fate the caller or we do not know. */
  readonly earlier?: { readonly id: string; readonly state: State; readonly at: number }
}

/** A call as it is sealed with its hold and sent upstream: nothing else is ever forwarded. */
export type HeldCall = {
  readonly version: 1
  readonly call: Call
  /** Target as the upstream sees it. */
  readonly upstreamTarget: string
  /** End-to-end headers that survived stripping, before anything of ours is added. */
  readonly headers: readonly Header[]
  readonly salt: string
  readonly reason?: string
  /** Base64 of the body bytes. */
  readonly body: string
}

/** An answer kept for an async caller. */
export type KeptAnswer = {
  readonly version: 1
  readonly status: number
  readonly headers: readonly Header[]
  readonly body: string
}

/** One step worth evidence. No header or body value is ever in it. */
export type Entry = {
  readonly kind: string
  readonly call?: string
  readonly hold?: string
  readonly caller?: { readonly issuer: string; readonly subject: string; readonly kind: CallerKind; readonly client?: string }
  readonly behind?: readonly string[]
  readonly upstream?: string
  readonly method?: string
  readonly action?: { readonly name: string; readonly resource: string; readonly access: string }
  readonly rule?: string
  readonly ruleHash?: string
  readonly config?: string
  readonly reviewer?: { readonly login: string; readonly subject: string; readonly name: string; readonly via: string }
  readonly comment?: string
  readonly digest?: string
  readonly status?: number
  readonly code?: string
  readonly detail?: string
  readonly trace?: string
  readonly controls?: readonly string[]
  readonly address?: string
  readonly count?: number
  readonly bytes?: number
}
