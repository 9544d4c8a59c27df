// Writes the documents that are made from the code: docs/errors.md. Run it with `npm run docs`; test/docs.test.ts says when it is due.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, errors } from '../src/errors.ts'

/** What to do about each error, for whoever reads it in an answer. Every code has a line: the type says so. */
const remedies: Record<ErrorCode, string> = {
  malformed:
    'Send the request so that every proxy and server would read it in the same way; `detail` names what is wrong.',
  ambiguous_credentials: 'Send the token once: in one header, in one line.',
  secret_in_target: 'Addresses end up in logs. Send the secret in a header or in the body.',
  reason_required: 'Say in `Holdpoint-Reason` why the call is needed; the reviewer reads it.',
  unauthenticated: 'Get a new token for this audience. `WWW-Authenticate` points to where.',
  insufficient_user_authentication: 'Sign in again as `WWW-Authenticate` says (`acr_values`, `max_age`), then decide.',
  no_rule: 'Nothing passes without a rule. Ask the platform team for one.',
  denied_by_rule: 'A rule says no; asking again does not help.',
  hold_denied: "Read the reviewer's comment in `detail`. The same call gets the same answer for a minute.",
  hold_expired: 'Ask again when somebody is there to decide.',
  hold_revoked: 'The approval was taken back before anything was sent. Ask again.',
  approval_void: 'Rules, caller or upstream changed after the approval. Ask again: it becomes a new hold.',
  no_owner:
    "Put an `owner` claim into the agent's tokens, list it under `people[].owns`, or set `ownerless: accept` for its issuer.",
  no_upstream_identity:
    "The upstream's `credential.kubernetes.impersonate` makes no user of this caller, or one that it must not: see `detail`.",
  no_eligible_reviewer: 'Everybody the rule names is behind the call. The rule needs another approver.',
  not_approver: 'Somebody whom the rule names has to decide.',
  own_call: 'Somebody else has to decide. There is no exception, for administrators neither.',
  cross_site: 'Open the page again and press the button there.',
  no_route: 'Check the address: no upstream is configured there.',
  not_found: 'Read the list again: it was removed, or never there.',
  unknown_hold: 'Check the id. Holds are shown to their caller and to reviewers only.',
  method_not_allowed: '`Allow` lists the methods that are served.',
  already_delivered: 'The upstream has done it. Do not send it again before you looked.',
  delivery_unknown: 'Find out at the upstream whether it was done. Holdpoint does not send it again by itself.',
  already_decided: 'Read the hold again: it is not pending any more.',
  values_unseen: 'Look at the hidden values, or say in `unseen` how many of them you approve without having looked.',
  view_changed: 'Read the hold again and decide on what it says now.',
  hold_cancelled: 'Its caller withdrew it. Send it anew if it is needed after all.',
  not_delivered: 'Wait for the approval; the task says where it stands.',
  duplicate_request: 'Use a new `Idempotency-Key` for another request.',
  answer_not_kept: 'It was delivered, but its answer is gone. Ask the upstream what it did.',
  body_too_large: 'Send less in one call, or have `limits.held` raised.',
  target_too_long: 'Send the data in the body.',
  unreadable_body: 'Send a body with a content type and an encoding that the rule can read.',
  wrong_host: "Use the gate's own address.",
  too_many_holds: 'Wait until some of the waiting calls are decided.',
  denied_too_often: 'Reviewers said no three times. Wait for `Retry-After`, then ask for something else.',
  too_many_calls: 'Wait for `Retry-After`.',
  head_too_large: 'Send fewer or shorter headers.',
  internal: "Look for the call's id in Holdpoint's log. Nothing was forwarded.",
  upstream_unreachable: 'No connection came about, so nothing was done. Try again.',
  hold_pending: 'Run the same call again, or read `status_url`. Nothing was sent, and nobody is asked twice.',
  store_unavailable: 'Calls that need holding wait for the store. Try again.',
  audit_unavailable: 'What cannot be recorded is not done. Try again.',
  shutting_down: 'Send the same call again; another replica, or the next start, takes it up.',
  frozen: 'An operator stopped calls like this.',
  upstream_timeout: 'The upstream may or may not have done it. Look before you repeat it.',
}

/** docs/errors.md as it must be. */
export const errorsDocument = (): string => {
  const rows = Object.entries(errors).map(
    ([code, { status, title, retryable }]) =>
      `| \`${code}\` | ${status} | ${title} | ${retryable ? 'yes' : 'no'} | ${remedies[code as ErrorCode]} |`,
  )
  return `# Errors

Answers that Holdpoint makes itself are \`application/problem+json\` (RFC 9457): \`type\` is \`urn:holdpoint:error:<code>\`, and \`code\` says
which of these it is. *Again* says whether the very same request may succeed later. This file is made from \`src/errors.ts\` by
\`npm run docs\`.

| code | status | title | again | what to do |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

The task endpoints below \`/.holdpoint/holds/\` and a reused \`Idempotency-Key\` speak the problem types of the AuthZEN access request
profile instead where it has one: \`urn:openid:authzen:access-request:error:\` followed by \`unknown_task\` (\`unknown_hold\`),
\`invalid_task_state\` (\`already_decided\`) or \`duplicate_request\`.
`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL('../docs/errors.md', import.meta.url), errorsDocument())
}
