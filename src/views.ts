// What people are shown of a held call, as types: the view that is masked and sealed when its hold opens, and the hold as the console and
// the API show it. No behaviour; everything is readonly.
import type { Action, CallerKind, Header, Part } from './nouns.ts'
import type { State } from './states.ts'

/** What reviewers see of a held call: masked, made once from the held bytes when the hold opens, sealed with it. */
export type View = {
  readonly version: 1
  /** What would happen, in one line: the rule's `summary` filled in, or action and resource. Already masked. */
  readonly line: string
  /** The agent's own words, masked. */
  readonly reason?: string
  readonly method: string
  /** Target as the upstream sees it, masked values in the query. */
  readonly target: string
  readonly headers: readonly Header[]
  readonly body: ViewBody
  /** Bytes of header values, query values and body that are not shown, and of how many. */
  readonly hidden: number
  readonly total: number
  /** Paths of values hidden by key name or as certain secrets, not by the rule's own `mask`: they make the hold partly seen. */
  readonly unseen: readonly string[]
  readonly preview?: Preview
  /** What a grant compares, where the rule allows grants. Shown to nobody. */
  readonly parts?: readonly Part[]
}

/** What the upstream said, when the hold opened, the call would change: masked lines that begin with `-`, `+` or a space. Or why there is none. */
export type Preview =
  | { readonly kind: 'shown'; readonly text: string }
  | { readonly kind: 'none'; readonly why: string }

/** `text` is masked and printable (control, bidi and invisible characters are written as escapes), and always the whole of it. */
export type ViewBody =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'shown'
      readonly type: string
      readonly size: number
      readonly text: string
      /** Why some of it is not shown as text: then all that is said of the whole of an opaque body goes for this one. */
      readonly unshown?: string
    }
  | { readonly kind: 'opaque'; readonly type: string; readonly size: number; readonly why: string }

/** A hold as the console and the API show it. Instants are RFC 3339 texts. */
export type HoldView = {
  readonly id: string
  readonly status: State
  /** Goes back with a verdict: what the reviewer saw is what the verdict is for. */
  readonly view: string
  readonly line: string
  readonly action: Action
  readonly upstream: string
  readonly caller: {
    readonly issuer: string
    readonly subject: string
    readonly kind: CallerKind
    readonly name?: string
    readonly email?: string
    readonly client?: string
    /** Who owns it, as its token or the configuration's people say. */
    readonly owner?: string
  }
  readonly behind: { readonly people: readonly string[]; readonly known: boolean }
  readonly reason?: string
  readonly rules: readonly string[]
  readonly approvers: readonly string[]
  /** Hashes of the configuration and of the rules it was held by. */
  readonly policy: { readonly config: string; readonly rules: readonly string[] }
  readonly request: {
    readonly method: string
    readonly target: string
    readonly headers: readonly Header[]
    readonly body: ViewBody
  }
  readonly preview?: Preview
  /** `unseen`: paths of hidden values that make it partly seen; `looked_at`: those that the one who asks had revealed. */
  readonly hidden: {
    readonly bytes: number
    readonly of: number
    readonly unseen: readonly string[]
    readonly looked_at: readonly string[]
    readonly not_looked_at: number
    /** An approval must say `unseen: <not_looked_at>`. */
    readonly must_confirm: boolean
  }
  readonly digest: string
  readonly votes: { readonly have: number; readonly needed: number }
  readonly verdicts: readonly {
    readonly reviewer: string
    readonly login: string
    readonly verdict: 'approve' | 'deny' | 'break_glass'
    readonly comment?: string
    readonly unseen?: number
    readonly at: string
  }[]
  readonly opened_at: string
  readonly expires_at: string
  /** When an approval runs out, once there is one. */
  readonly approved_until?: string
  readonly closed_at?: string
  readonly comment_required: boolean
  /** Its rule lets reviewers grant calls like it. */
  readonly may_grant?: true
  /** The grant that its verdicts made; whether it still counts is at the grant. */
  readonly granted?: string
  /** The grant that let it go, instead of verdicts. */
  readonly by_grant?: { readonly id: string; readonly by: string }
  /** What sign-in the rules want of whoever lets the call go, and whether the one who asks has it. */
  readonly step_up?: { readonly acr_values: readonly string[]; readonly max_age?: number; readonly met: boolean }
  /** Why an operator stopped calls like this: it may be decided, but it is not sent. */
  readonly frozen?: string
  /** Why nobody was told of it: every channel of its rules was tried, and none could be reached. */
  readonly unreached?: string
  readonly delivery?: {
    readonly state: 'delivered' | 'failed' | 'unknown'
    readonly status?: number
    readonly at: string
  }
  readonly earlier?: { readonly id: string; readonly status: State; readonly at: string }
  readonly why?: string
  /** May the one who asks decide? If not, `because` says why (own_call, not_approver, already_decided, …). */
  readonly you: {
    readonly may_decide: boolean
    readonly because?: string
    readonly detail?: string
    readonly may_revoke: boolean
    readonly may_resolve: boolean
    readonly may_break_glass: boolean
    readonly may_reveal: boolean
  }
  /** Somebody let it go by breaking the glass. */
  readonly break_glass?: true
  /** How many hidden values make it partly seen. */
  readonly partly_seen?: number
}

/** What stands behind one hidden path, for the reviewer who asked, in this one answer. */
export type Revealed = {
  readonly field: string
  readonly values: readonly string[]
  readonly not_looked_at: number
}

/** One row of the queue or the history. */
export type HoldRow = Pick<
  HoldView,
  | 'id'
  | 'status'
  | 'line'
  | 'action'
  | 'upstream'
  | 'caller'
  | 'behind'
  | 'rules'
  | 'votes'
  | 'opened_at'
  | 'expires_at'
  | 'closed_at'
  | 'delivery'
  | 'you'
  | 'break_glass'
  | 'partly_seen'
>
