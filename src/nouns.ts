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
  /** SHA-256 of the client certificate (DER) that the connection proved, base64url (RFC 8705 §3.1). */
  readonly clientCertificate?: string
  /** Set when the caller asks for a tunnel that we know how to carry. */
  readonly upgrade?: 'websocket' | 'spdy/3.1'
  /** What an AWS client signed for. Its signature itself goes no further than to us. */
  readonly scope?: Scope
  /** How many body bytes were announced; undefined for chunked; 0 for none. */
  readonly contentLength: number | undefined
}

/** Which service of AWS in which region; `bucket` where the host names one (virtual-hosted S3). */
export type Scope = { readonly service: string; readonly region: string; readonly bucket?: string }

/**
 * A body as rules may read it. `unread`: nobody has looked yet; `unknown`: it cannot be read, and why. `content` are its decoded bytes,
 * where they can be had: an upstream's kind may know how to read what rules cannot.
 */
export type Body = { readonly content?: Buffer } & Reading

type Reading =
  | { readonly kind: 'none' }
  | { readonly kind: 'unread' }
  | { readonly kind: 'json'; readonly value: Json; readonly size: number }
  /** One JSON value a line. */
  | { readonly kind: 'records'; readonly values: readonly Json[]; readonly size: number }
  | { readonly kind: 'form'; readonly pairs: readonly (readonly [string, string])[]; readonly size: number }
  | {
      readonly kind: 'multipart'
      readonly fields: readonly (readonly [string, string | Unread])[]
      readonly size: number
    }
  | { readonly kind: 'other'; readonly size: number }
  | { readonly kind: 'unknown'; readonly why: string; readonly size: number | undefined }

/** The value of a field that is there but not read, and why: to every test but `exists` it is unknown. */
export type Unread = { readonly unread: string }

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
  /** When they proved who they are (`auth_time`), if the provider says so. */
  readonly authAt?: number
  /** How strongly (`acr`), if the provider says so. */
  readonly acr?: string
  /** Their session at the console, sealed, so that their login can be asked again. Nobody is shown it. */
  readonly session?: string
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
  /**
   * What of this cannot be told: `name`, `resource`, the name of a field (`fields.name` where only the field of that name is meant), or `*`
   * for all of it. Tests of it answer unknown.
   */
  readonly unknown?: readonly string[]
  /**
   * What of this stands for more than its text (`logs-*`): `resource` or the name of a field. A glob or exact text that it fits fits all that
   * it stands for; what else is asked of it cannot be told.
   */
  readonly patterns?: readonly string[]
  /** A glob that fits every resource this may be about, where that is more than `resource` says: `core/v1/prod/pods/*` of a list. */
  readonly reach?: string
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
  /** Keyed hash of the digest: what an identical call is found by, signed with the rest so that it cannot be pointed elsewhere. */
  readonly fingerprint: string
  /** Bytes of the held body. */
  readonly size: number
  readonly onDisconnect: 'keep' | 'cancel'
  /** Keyed hash of the digest without `Idempotency-Key`: holds of one call that was deliberately sent several times share it. */
  readonly same: string
  /** How many hidden values make it partly seen, and the paths of the first few. */
  readonly unseen?: { readonly count: number; readonly paths: readonly string[] }
  /** Set when the call asks for a tunnel. */
  readonly upgrade?: NonNullable<Call['upgrade']>
  /** Trace id of the opening call (W3C), for the audit. */
  readonly trace?: string
}

/** One reviewer's word on a hold, signed. */
export type Verdict = {
  readonly version: 1
  readonly hold: string
  /** `break_glass` lets the call go by itself, by somebody whom the rule names for that. */
  readonly verdict: 'approve' | 'deny' | 'break_glass'
  readonly reviewer: Reviewer
  /** The key the vote is counted by: one person is one vote. */
  readonly person: string
  /** Every key of the reviewer when they decided, for re-qualifying. */
  readonly keys: readonly string[]
  readonly comment?: string
  /** Of a partly seen hold: how many hidden values the reviewer let go without looking at them. */
  readonly unseen?: number
  /** Of an approval: what it allows besides this one call. */
  readonly grant?: GrantTerms
  /** The view this was given for. */
  readonly view: string
  readonly at: number
}

/** At most so many uses in any stretch of time of this length. */
export type Rate = { readonly uses: number; readonly perMs: number }

/**
 * What reviewers let go in advance: how often, how fast, for how long, and how far a call may differ from the one they saw. `free`
 * are sorted places whose value may be any; `resource` is a pattern in which `*` stands for characters between two slashes.
 */
export type GrantTerms = {
  readonly uses: number
  readonly forMs: number
  readonly rate?: Rate
  readonly free: readonly string[]
  readonly resource?: string
}

/** One place of a held call: what kind of value stands there, and a keyed hash of it (like.ts). */
export type Part = readonly [place: string, type: string, print: string]

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
  /** Its tunnel is open: revoking closes it. */
  readonly tunnel?: true
  /** When the newest token that the caller showed runs out. */
  readonly tokenUntilAt?: number
  /** Of an async hold: that token sealed, if only its issuer can say whether it is still good. Gone once the hold closes. */
  readonly token?: string
  /** Votes whose givers no longer qualified when a later one was counted (`nameOf` in ready.ts). */
  readonly dropped?: readonly string[]
  readonly approvedAt?: number
  readonly approvedUntilAt?: number
  readonly closedAt?: number
  readonly comment?: string
  readonly decidedBy?: string
  /** The grant that let it go. */
  readonly grant?: string
  readonly why?: string
  readonly delivery?: Delivery
  /** Until when the sealed answer is kept. */
  readonly keptUntilAt?: number
  readonly keptWhyNot?: string
  /** An async hold whose upstream could not be reached is not tried before this. */
  readonly retryAt?: number
  /** An identical call whose fate the caller or we do not know. */
  readonly earlier?: { readonly id: string; readonly state: State; readonly at: number }
}

/** A call as it is sealed with its hold and sent upstream: nothing else is ever forwarded. */
export type HeldCall = {
  readonly version: 1
  readonly call: Call
  /** Target as the upstream sees it. */
  readonly upstreamTarget: string
  /** Every reading of the canonical path as the upstream sees it, the plain one first. */
  readonly paths: readonly string[]
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
  readonly caller?: {
    readonly issuer: string
    readonly subject: string
    readonly kind: CallerKind
    readonly client?: string
  }
  readonly behind?: readonly string[]
  readonly upstream?: string
  readonly method?: string
  readonly action?: { readonly name: string; readonly resource: string; readonly access: string }
  readonly rule?: string
  readonly ruleHash?: string
  readonly config?: string
  readonly reviewer?: { readonly login: string; readonly subject: string; readonly name: string; readonly via: string }
  readonly comment?: string
  /** Of a verdict on a partly seen hold: how many hidden values the reviewer had not looked at. */
  readonly unseen?: number
  /** The grant that was made, used or revoked. */
  readonly grant?: GrantEntry
  readonly digest?: string
  readonly status?: number
  readonly code?: string
  readonly detail?: string
  readonly trace?: string
  readonly controls?: readonly string[]
  readonly address?: string
  readonly count?: number
  /** The call that collected an approved hold, if it is not the one that opened it. */
  readonly collectedBy?: { readonly call: string; readonly address: string }
  readonly bytes?: number
  /** Of a tunnel: bytes from the caller to the upstream, and back. */
  readonly bytesUp?: number
  readonly bytesDown?: number
}

/** A grant as it is on record: what lets a call go instead of verdicts, and who made it. */
export type GrantEntry = {
  readonly id: string
  readonly makers: readonly { readonly login: string; readonly subject: string; readonly name: string }[]
  readonly uses: number
  /** RFC 3339. */
  readonly until: string
  readonly free: readonly string[]
  readonly resource?: string
}

/** What an operator stopped, and why. `value` says which caller, person or upstream; it is absent for `all`. */
export type Freeze = {
  readonly id: string
  readonly what: 'caller' | 'person' | 'upstream' | 'all'
  readonly value?: string
  /** Every key of the person when the freeze was made. */
  readonly keys?: readonly string[]
  readonly reason: string
  readonly by: { readonly login: string; readonly subject: string; readonly name: string }
  readonly madeAt: number
  readonly untilAt?: number
}
