// What the console asks of the part that judges. The console shows and carries words; it never decides anything itself.
// Every method throws HoldpointError; what a reviewer may not see is unknown_hold, as if it did not exist.
import type { Entry, Freeze, HoldRow, HoldView, Reviewer, Verdict } from '../nouns.ts'
import type { State } from '../states.ts'

export type HoldsQuery = {
  readonly status: 'pending' | 'open' | 'closed' | State
  readonly limit: number
  /** A cursor from an earlier answer. */
  readonly after?: string
  readonly caller?: string
  readonly rule?: string
  readonly upstream?: string
  readonly reviewer?: string
}

export type AuditQuery = { readonly after?: number; readonly before?: number; readonly limit: number }

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

export type Desk = {
  list(reviewer: Reviewer, query: HoldsQuery): Promise<{ readonly holds: readonly HoldRow[]; readonly next?: string }>
  /** @throws unknown_hold when it may not be seen */
  show(reviewer: Reviewer, id: string): Promise<HoldView>
  /** @throws own_call, not_approver, already_decided, view_changed, insufficient_user_authentication, malformed (a comment is required) */
  decide(
    reviewer: Reviewer,
    id: string,
    verdict: Verdict['verdict'],
    word: { readonly comment?: string; readonly view?: string },
  ): Promise<HoldView>
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
  rules(reviewer: Reviewer): Promise<readonly RuleView[]>
  /** Freezes in force. @throws not_approver unless the reviewer is an operator or an auditor */
  freezes(reviewer: Reviewer): Promise<readonly FreezeView[]>
  /** @throws not_approver unless the reviewer is an operator, malformed */
  freeze(reviewer: Reviewer, word: FreezeWord): Promise<FreezeView>
  /** Answers what is still frozen. @throws not_approver, not_found */
  lift(reviewer: Reviewer, id: string): Promise<readonly FreezeView[]>
  /** Records a sign-in, a sign-out or a refused sign-in. What cannot be recorded does not happen. */
  note(entry: Entry): Promise<void>
}
