// Every way a call or a verdict can end badly: one table of codes, one class, and the one shape they take on the wire.
// `title` is fixed, `detail` is safe to show to whoever asked, `cause` goes to the log only. docs/errors.md equals the table by test.

/** status: HTTP status; title: fixed text; retryable: whether the very same request may succeed later. */
export const errors = {
  malformed: { status: 400, title: 'The request has no single safe reading', retryable: false },
  ambiguous_credentials: { status: 400, title: 'More than one credential was sent', retryable: false },
  secret_in_target: { status: 400, title: 'The request target contains a secret', retryable: false },
  reason_required: { status: 400, title: 'This action needs a reason', retryable: false },
  unauthenticated: { status: 401, title: 'The caller is not identified', retryable: false },
  insufficient_user_authentication: {
    status: 401,
    title: 'This verdict needs a newer or stronger sign-in',
    retryable: false,
  },
  no_rule: { status: 403, title: 'No rule allows this call', retryable: false },
  denied_by_rule: { status: 403, title: 'A rule denies this call', retryable: false },
  hold_denied: { status: 403, title: 'A reviewer denied this call', retryable: false },
  hold_expired: { status: 403, title: 'Nobody decided in time', retryable: false },
  hold_revoked: { status: 403, title: 'The approval was revoked', retryable: false },
  approval_void: { status: 403, title: 'The approval no longer holds', retryable: false },
  no_owner: { status: 403, title: 'The owner of this agent is not known', retryable: false },
  no_upstream_identity: { status: 403, title: 'The caller is nobody at this upstream', retryable: false },
  no_eligible_reviewer: { status: 403, title: 'Nobody may approve this call', retryable: false },
  not_approver: { status: 403, title: 'You are not an approver of this call', retryable: false },
  own_call: { status: 403, title: 'You are behind this call, so you cannot decide it', retryable: false },
  cross_site: { status: 403, title: 'The request does not come from this console', retryable: false },
  no_route: { status: 404, title: 'No upstream serves this address', retryable: false },
  not_found: { status: 404, title: 'There is no such record', retryable: false },
  unknown_hold: { status: 404, title: 'There is no such hold', retryable: false },
  method_not_allowed: { status: 405, title: 'This method is not served', retryable: false },
  already_delivered: { status: 409, title: 'This call was already delivered', retryable: false },
  delivery_unknown: { status: 409, title: 'It is not known whether this call was delivered', retryable: false },
  already_decided: { status: 409, title: 'This hold is already decided', retryable: false },
  values_unseen: { status: 409, title: 'Hidden values were not looked at', retryable: false },
  view_changed: { status: 409, title: 'The hold is not what you saw', retryable: false },
  hold_cancelled: { status: 409, title: 'The call was withdrawn', retryable: false },
  not_delivered: { status: 409, title: 'There is no answer yet', retryable: true },
  duplicate_request: { status: 409, title: 'The Idempotency-Key belongs to another request', retryable: false },
  answer_not_kept: { status: 410, title: 'The answer is no longer kept', retryable: false },
  body_too_large: { status: 413, title: 'The body is larger than can be held', retryable: false },
  target_too_long: { status: 414, title: 'The request target is too long', retryable: false },
  unreadable_body: { status: 415, title: 'The body cannot be read', retryable: false },
  wrong_host: { status: 421, title: 'This host is not served here', retryable: false },
  too_many_holds: { status: 429, title: 'Too many calls are waiting for approval', retryable: true },
  denied_too_often: { status: 429, title: 'Calls like this were denied too often', retryable: true },
  too_many_calls: { status: 429, title: 'Too many calls', retryable: true },
  head_too_large: { status: 431, title: 'The request head is too large', retryable: false },
  internal: { status: 500, title: 'Something went wrong inside Holdpoint', retryable: false },
  upstream_unreachable: { status: 502, title: 'The upstream could not be reached', retryable: true },
  hold_pending: { status: 503, title: 'The call waits for approval', retryable: true },
  store_unavailable: { status: 503, title: 'The store is not available', retryable: true },
  audit_unavailable: { status: 503, title: 'The audit log cannot be written', retryable: true },
  shutting_down: { status: 503, title: 'Holdpoint is restarting', retryable: true },
  frozen: { status: 503, title: 'Calls like this are frozen', retryable: true },
  upstream_timeout: { status: 504, title: 'The upstream did not answer in time', retryable: false },
} as const

export type ErrorCode = keyof typeof errors

/** What an error may tell besides its code. `retryAfterS` becomes Retry-After; `headers` are added to the answer. */
export type ErrorExtras = {
  readonly cause?: unknown
  readonly hold?: string
  readonly statusUrl?: string
  readonly rule?: string
  readonly retryAfterS?: number
  readonly headers?: Readonly<Record<string, string>>
}

/** The only error thrown on purpose. Whatever else is thrown is `internal`: it tells the caller nothing and forwards nothing. */
export class HoldpointError extends Error {
  readonly code: ErrorCode
  readonly detail: string | undefined
  readonly extras: ErrorExtras

  constructor(code: ErrorCode, detail?: string, extras: ErrorExtras = {}) {
    super(detail ?? errors[code].title, extras.cause === undefined ? undefined : { cause: extras.cause })
    this.name = 'HoldpointError'
    this.code = code
    this.detail = detail
    this.extras = extras
  }

  get status(): number {
    return errors[this.code].status
  }
}

/** Anything thrown, as a HoldpointError: what is not known is `internal`, with the original as its cause. */
export const toError = (thrown: unknown): HoldpointError =>
  thrown instanceof HoldpointError ? thrown : new HoldpointError('internal', undefined, { cause: thrown })

/** RFC 9457 problem details, with the members DESIGN names. */
export type Problem = {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail?: string
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly hold?: string
  readonly status_url?: string
  readonly rule?: string
}

// The task endpoints and the idempotency conflict speak the access request profile's problem types (AuthZEN ARAP draft 1).
const arap = 'urn:openid:authzen:access-request:error:'

/** The problem document of an error. `task` picks the access request profile's type where it has one. */
export const problem = (error: HoldpointError, task = false): Problem => {
  const { status, title, retryable } = errors[error.code]
  const { hold, statusUrl, rule } = error.extras
  return {
    type: problemType(error.code, task),
    title,
    status,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    code: error.code,
    retryable,
    ...(hold === undefined ? {} : { hold }),
    ...(statusUrl === undefined ? {} : { status_url: statusUrl }),
    ...(rule === undefined ? {} : { rule }),
  }
}

const problemType = (code: ErrorCode, task: boolean): string => {
  if (code === 'duplicate_request') return `${arap}duplicate_request`
  if (task && code === 'unknown_hold') return `${arap}unknown_task`
  if (task && code === 'already_decided') return `${arap}invalid_task_state`
  return `urn:holdpoint:error:${code}`
}
