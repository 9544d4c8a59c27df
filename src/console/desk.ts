// What the console asks of the part that judges. The console shows and carries words; it never decides anything itself.
// Every method throws HoldpointError; what a reviewer may not see is unknown_hold, as if it did not exist.
import type { Action, Entry, Freeze, Json, Reviewer, Verdict } from '../nouns.ts'
import type { Outcome } from '../settings.ts'
import type { State } from '../states.ts'
import type { HoldRow, HoldView, Revealed } from '../views.ts'

export type HoldsQuery = {
  readonly status: 'pending' | 'open' | 'closed' | State
  readonly limit: number
  /** A cursor from an earlier answer. */
  readonly after?: string
  readonly caller?: string
  readonly rule?: string
  readonly upstream?: string
  readonly reviewer?: string
  /** Closed at or after this, and before that; milliseconds since the epoch. */
  readonly fromAt?: number
  readonly toAt?: number
}

export type AuditQuery = {
  readonly limit: number
  readonly after?: number
  readonly before?: number
  /** Only entries in which this text occurs, in whatever case. */
  readonly find?: string
  /** Written at or after this, and before that; milliseconds since the epoch. */
  readonly fromAt?: number
  readonly toAt?: number
}

/** An audit entry with its place and time (RFC 3339) in the log. */
export type AuditEntry = Entry & { readonly seq: number; readonly at: string }

/** A rule in force, as reviewers read it. `where` is `file:line`. */
export type RuleView = {
  readonly name: string
  readonly then: string
  readonly where: string
  readonly hash: string
  readonly line: string
}

/** How a rule's holds among the newest ones fared. `expiry_rate` is of those that nobody waits for any more. */
export type RuleCounts = {
  readonly held: number
  readonly waiting: number
  readonly approved: number
  readonly denied: number
  readonly expired: number
  readonly expiry_rate?: number
  readonly median_decision_s?: number
  readonly partly_seen: number
  /** Where values were hidden that made holds partly seen, most often first. */
  readonly hidden_at: readonly { readonly path: string; readonly holds: number }[]
}

/** By rule; `of` is how many holds were looked at, the newest ones. */
export type Counts = { readonly of: number; readonly rules: { readonly [rule: string]: RuleCounts } }

/** Why the rules say of a call what they say. */
export type Explained = {
  readonly outcome: Outcome
  readonly rule?: string
  readonly rules: readonly string[]
  readonly upstream?: string
  /** It would not get as far as the rules. */
  readonly refused?: { readonly code: string; readonly title: string; readonly detail?: string }
  readonly readings: readonly {
    readonly path: string
    readonly action?: Action
    readonly outcome: Outcome
    readonly rules: readonly {
      readonly name: string
      readonly where: string
      readonly then: Outcome
      readonly result: 'matched' | 'noted' | 'failed' | 'unread' | 'not reached'
      readonly keys: readonly { readonly key: string; readonly answer: 'yes' | 'no' | 'unknown' | 'unread' }[]
    }[]
  }[]
}

/** What stands beside a hold: what its caller did lately, and the same call waiting under other Idempotency-Keys. */
export type Beside = {
  readonly lately: readonly Pick<HoldRow, 'id' | 'line' | 'status' | 'opened_at'>[]
  readonly same: readonly { readonly id: string; readonly view: string; readonly opened_at: string }[]
}

/** What an operator wants stopped. `until` is RFC 3339; without it the freeze stays until it is lifted. */
export type FreezeWord = {
  readonly what: Freeze['what']
  readonly value?: string
  readonly reason?: string
  readonly until?: string
}

/** A freeze as it is shown. Instants are RFC 3339. */
export type FreezeView = Pick<Freeze, 'id' | 'what' | 'value' | 'reason'> & {
  readonly by: { readonly login: string; readonly name: string }
  readonly made_at: string
  readonly until?: string
}

/** What a reviewer lets go besides the one call: durations such as `1h`, rates such as `10/h`, places such as `json./note`. */
export type GrantWord = {
  readonly uses: number
  readonly for: string
  readonly rate?: string
  /** Places whose value may be any. */
  readonly free: readonly string[]
  /** A pattern in which `*` stands for characters between two slashes; without it the resource has to be the same. */
  readonly resource?: string
}

/** What a grant says, in its own words and in ours. */
export type GrantSaid = {
  readonly terms: GrantWord
  /** Who, what, how often, until when, and what is left free. */
  readonly words: readonly string[]
}

/** What somebody may grant from a hold, and what that would have let go. */
export type GrantPlan = GrantSaid & {
  readonly hold: Pick<HoldView, 'id' | 'line' | 'view' | 'hidden' | 'comment_required' | 'you'>
  /** The most that the rule allows. */
  readonly limits: { readonly uses: number; readonly for: string; readonly rates: readonly string[] }
  readonly resource: { readonly value: string; readonly may_be_free: boolean }
  readonly places: readonly { readonly place: string; readonly type: string; readonly may_be_free: boolean }[]
  /** What others who approved it want to grant: it is granted when enough of them say the same. */
  readonly proposed?: GrantWord
  /** Of this caller's calls held by the rule in the last days, as far as they could be looked at. */
  readonly matched: {
    readonly days: number
    readonly of: number
    readonly all: boolean
    readonly count: number
    readonly holds: readonly Pick<HoldRow, 'id' | 'line' | 'status' | 'opened_at'>[]
  }
}

export type GrantView = GrantSaid & {
  readonly id: string
  /** The hold it was made from. */
  readonly hold: string
  readonly status: 'live' | 'used_up' | 'ended' | 'revoked' | 'void'
  readonly line: string
  readonly caller: HoldRow['caller']
  readonly behind: HoldRow['behind']
  readonly rule: string
  readonly upstream: string
  readonly made_by: readonly { readonly login: string; readonly name: string }[]
  readonly made_at: string
  readonly until: string
  readonly used: number
  readonly holds: readonly { readonly id: string; readonly at: string }[]
  readonly revoked?: { readonly by: string; readonly at: string; readonly comment?: string }
  readonly you: { readonly may_revoke: boolean }
}

export type Desk = {
  list(reviewer: Reviewer, query: HoldsQuery): Promise<{ readonly holds: readonly HoldRow[]; readonly next?: string }>
  /** @throws unknown_hold when it may not be seen */
  show(reviewer: Reviewer, id: string): Promise<HoldView>
  /**
   * `unseen`: how many hidden values of a partly seen hold the reviewer approves without having looked at them.
   * @throws own_call, not_approver, already_decided, view_changed, values_unseen, insufficient_user_authentication, malformed (a comment is required)
   */
  decide(
    reviewer: Reviewer,
    id: string,
    verdict: Verdict['verdict'],
    word: { readonly comment?: string; readonly view?: string; readonly unseen?: number },
  ): Promise<HoldView>
  /**
   * Hands out one hidden value, once that is on record.
   * @throws own_call, not_approver, already_decided, view_changed, insufficient_user_authentication, malformed (no such field)
   */
  reveal(reviewer: Reviewer, id: string, word: { readonly field: string; readonly view: string }): Promise<Revealed>
  revoke(reviewer: Reviewer, id: string, word: { readonly comment?: string }): Promise<HoldView>
  resolve(
    reviewer: Reviewer,
    id: string,
    word: { readonly comment?: string; readonly outcome: 'delivered' | 'failed' },
  ): Promise<HoldView>
  /** Newest first with `before` or neither, oldest first with `after`. @throws not_approver unless the reviewer is an auditor */
  audit(
    reviewer: Reviewer,
    query: AuditQuery,
  ): Promise<{ readonly entries: readonly AuditEntry[]; readonly next?: number }>
  /** All rules for auditors, operators and whoever may decide under one of them; none for anybody else. */
  rules(reviewer: Reviewer): Promise<readonly RuleView[]>
  counts(reviewer: Reviewer): Promise<Counts>
  /** @throws malformed, not_approver for whoever may not read the rules */
  explain(reviewer: Reviewer, call: Json): Promise<Explained>
  /** @throws unknown_hold */
  beside(reviewer: Reviewer, id: string): Promise<Beside>
  /** What a grant from this hold may say, and what these words would let go. @throws unknown_hold, malformed, and whatever bars from deciding */
  planGrant(reviewer: Reviewer, id: string, word: GrantWord | undefined): Promise<GrantPlan>
  /**
   * Approves a hold and, once enough reviewers said the same, calls like it.
   * @throws as `decide`, and malformed for what the rule does not allow
   */
  grant(
    reviewer: Reviewer,
    id: string,
    grant: GrantWord,
    word: { readonly comment?: string; readonly view?: string; readonly unseen?: number },
  ): Promise<HoldView>
  /** Grants you may see, newest first. */
  grants(reviewer: Reviewer): Promise<readonly GrantView[]>
  /** @throws not_found */
  showGrant(reviewer: Reviewer, id: string): Promise<GrantView>
  /** @throws not_found, not_approver, already_decided */
  revokeGrant(reviewer: Reviewer, id: string, word: { readonly comment?: string }): Promise<GrantView>
  /** Freezes in force. @throws not_approver unless the reviewer is an operator or an auditor */
  freezes(reviewer: Reviewer): Promise<readonly FreezeView[]>
  /** @throws not_approver unless the reviewer is an operator, malformed */
  freeze(reviewer: Reviewer, word: FreezeWord): Promise<FreezeView>
  /** Answers what is still frozen. @throws not_approver, not_found */
  lift(reviewer: Reviewer, id: string): Promise<readonly FreezeView[]>
  /** Records a sign-in, a sign-out or a refused sign-in. What cannot be recorded does not happen. */
  note(entry: Entry): Promise<void>
}
