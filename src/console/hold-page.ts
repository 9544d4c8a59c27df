// One hold, in the order in which it should be read: what would happen, who, why, the rule, the exact request, what is hidden, the votes,
// and only then the buttons. What the caller says about itself is labelled as such and never comes before what would really happen.
import { html } from 'hono/html'
import type { State } from '../states.ts'
import type { HoldView, Revealed } from '../views.ts'
import type { Beside } from './desk.ts'
import { at, csrfField, due, glassChip, type Html, type Reader, stateChip, votesLine } from './frame.ts'
import { becauseWords, bytes, grouped, plural, stateWords, visible } from './text.ts'

const blankMost = 3

/** What went wrong with the verdict that was just tried, and the comment that came with it. */
export type Slip = { readonly title: string; readonly detail: string; readonly comment: string }

const fact = (name: string, value: Html | string): Html => html`<div><dt>${name}</dt><dd>${value}</dd></div>`

const who = ({ caller, behind }: HoldView): Html => html`
<section class="part">
  <h2>Who</h2>
  <dl class="facts">
    ${fact('Caller', html`<strong><bdi>${visible(caller.name ?? caller.subject)}</bdi></strong> <span class="tag">${caller.kind}</span>`)}
    ${fact(
      'On behalf of',
      behind.known
        ? html`<bdi>${visible(behind.people.join(', '))}</bdi>`
        : html`<strong class="warn">Owner unknown</strong>: no human is known behind this ${caller.kind}.`,
    )}
    ${caller.owner === undefined ? '' : fact('Owned by', html`<bdi>${visible(caller.owner)}</bdi>`)}
    ${fact('Identity', html`<code>${visible(caller.issuer)}</code> · <code>${visible(caller.subject)}</code>`)}
    ${caller.email === undefined ? '' : fact('E-mail', html`<bdi>${visible(caller.email)}</bdi>`)}
    ${caller.client === undefined ? '' : fact('Client', html`<code>${visible(caller.client)}</code>`)}
  </dl>
</section>`

const why = ({ reason, caller }: HoldView): Html => html`
<section class="part">
  <h2>Why</h2>
  ${
    reason === undefined
      ? html`<p class="muted">The ${caller.kind} gave no reason.</p>`
      : html`<figure class="said"><figcaption>The ${caller.kind}'s own words. Nobody has checked them.</figcaption><blockquote><bdi>${visible(reason, 'block')}</bdi></blockquote></figure>`
  }
</section>`

const rule = ({ rules, approvers, upstream, policy }: HoldView): Html => html`
<section class="part">
  <h2>Rule</h2>
  <dl class="facts">
    ${fact('Held by', rules.map(name => html`<a href="/rules#${encodeURIComponent(name)}"><code>${visible(name)}</code></a> `) as unknown as Html)}
    ${fact('Decided by', approvers.length === 0 ? 'nobody in particular' : visible(approvers.join(', ')))}
    ${fact('Upstream', visible(upstream))}
    ${fact('Policy', html`<code class="digest" title="Hash of the configuration: ${policy.config}. Hash of the rule: ${policy.rules.join(', ')}">${policy.config.slice(0, 12)} · ${policy.rules.map(hash => hash.slice(0, 12)).join(' · ')}</code>`)}
  </dl>
</section>`

// Blank lines are how something gets pushed out of sight: a run of them is counted instead of shown.
const lines = (text: string): Html[] => {
  const all = visible(text, 'block').split('\n')
  const out: Html[] = []
  for (let at = 0; at < all.length; at += 1) {
    let next = at
    while (next < all.length && all[next]?.trim() === '') next += 1
    const blank = next - at
    if (blank > blankMost) {
      out.push(html`<span class="gap">${blank} empty lines</span>`)
      at += blank - 1
    } else out.push(html`<span class="line" data-line="${at + 1}">${all[at]}\n</span>`)
  }
  return out
}

const body = ({ request }: HoldView): Html => {
  const { body } = request
  if (body.kind === 'none') return html`<p class="muted">No body.</p>`
  if (body.kind === 'opaque') {
    return html`<p class="callout"><strong>The body cannot be shown.</strong> <code>${visible(body.type)}</code>, ${bytes(body.size)}: ${visible(body.why)}</p>`
  }
  return html`
<h3>Body <span class="muted">${visible(body.type)}, ${bytes(body.size)}</span></h3>
<pre class="code numbered" tabindex="0" aria-label="Body of the request">${lines(body.text)}</pre>
${body.unshown === undefined ? '' : html`<p class="callout"><strong>Not all of the body can be shown:</strong> ${visible(body.unshown)}.</p>`}`
}

const request = (hold: HoldView, revealed: Revealed | undefined, reader: Reader): Html => html`
<section class="part">
  <h2>Exact request</h2>
  <pre class="code" tabindex="0" aria-label="Method and target of the request"><strong>${visible(hold.request.method)}</strong> ${visible(hold.request.target)}</pre>
  ${
    hold.request.headers.length === 0
      ? ''
      : html`<h3>Headers</h3><dl class="headers">${hold.request.headers.map(([name, value]) => html`<div><dt>${visible(name)}</dt><dd>${visible(value)}</dd></div>`)}</dl>`
  }
  ${body(hold)}
  ${hidden(hold, revealed, reader)}
  ${preview(hold)}
  <dl class="facts">${fact('Digest', html`<code class="digest">${visible(hold.digest)}</code>`)}</dl>
</section>`

const preview = ({ preview }: HoldView): Html | '' => {
  if (preview === undefined) return ''
  if (preview.kind === 'none') return html`<p class="callout"><strong>No preview:</strong> ${visible(preview.why)}.</p>`
  return html`
<h3>Preview <span class="muted">what the upstream said this would change, when it was asked</span></h3>
<pre class="code" tabindex="0" aria-label="Preview of what would change">${visible(preview.text, 'block')}</pre>`
}

const hidden = (hold: HoldView, revealed: Revealed | undefined, reader: Reader): Html => {
  const { bytes: count, of, unseen } = hold.hidden
  if (count === 0) return html`<p class="muted">Nothing is hidden: you see all ${bytes(of)}.</p>`
  return html`
<div class="callout">
  <p><strong>${grouped(count)} of ${bytes(of)} hidden.</strong> Masked values show their kind and length, never their content.</p>
</div>
${unseen.length === 0 ? '' : looks(hold, revealed, reader)}`
}

const looks = (hold: HoldView, revealed: Revealed | undefined, reader: Reader): Html => {
  const { unseen, looked_at: looked } = hold.hidden
  return html`
<h3 id="hidden">Hidden because they look secret <span class="muted">${looked.length === 0 ? `${plural(unseen.length, 'value')}, none looked at by you` : `you have looked at ${looked.length} of ${unseen.length}`}</span></h3>
${hold.you.may_reveal ? html`<p class="muted">You may look. Each look goes on record with your name before the value is shown, to you alone.</p>` : ''}
<ul class="looks">${unseen.map(path => look(hold, path, revealed, reader))}</ul>`
}

const look = (hold: HoldView, path: string, revealed: Revealed | undefined, reader: Reader): Html => html`
<li data-look="${path}">
  <code>${visible(path)}</code>
  ${hold.hidden.looked_at.includes(path) ? html`<span class="tag">looked at</span>` : ''}
  ${
    hold.you.may_reveal && revealed?.field !== path
      ? html`
  <form method="post" action="/holds/${hold.id}/reveal" data-reveal>
    ${csrfField(reader)}<input type="hidden" name="view" value="${hold.view}"><input type="hidden" name="field" value="${path}">
    <button class="quiet" type="submit">Show<span class="aside"> the value of ${visible(path)}</span></button>
  </form>`
      : ''
  }
  ${revealed?.field === path ? revealed.values.map(value => html`<pre class="code" tabindex="0" aria-label="Value of ${visible(path)}">${visible(value, 'block')}</pre>`) : ''}
</li>`

const verdictWords = { approve: 'approved', deny: 'denied', break_glass: 'broke the glass' } as const

const verdicts = ({ verdicts }: HoldView): Html | '' =>
  verdicts.length === 0
    ? ''
    : html`
<ul class="verdicts">${verdicts.map(
        one => html`
  <li class="${one.verdict === 'approve' ? 'good' : 'bad'}">
    <strong><bdi>${visible(one.reviewer)}</bdi></strong> ${verdictWords[one.verdict]}${one.unseen ? `, ${plural(one.unseen, 'value')} unseen` : ''} <span class="when">${at(one.at)}</span>
    ${one.comment === undefined ? '' : html`<blockquote><bdi>${visible(one.comment, 'block')}</bdi></blockquote>`}
  </li>`,
      )}</ul>`

const comment = (required: boolean, kept: string): Html => html`
<label class="field"><span>Comment <span class="muted">${required ? 'required' : 'optional'}; the caller reads it</span></span>
<textarea name="comment" rows="3" maxlength="2000"${required ? html` required` : ''}>${kept}</textarea></label>`

/** Approving what one has not looked at takes a tick of its own. */
const confirm = ({ hidden }: HoldView): Html => html`
<div data-confirm>${
  hidden.must_confirm
    ? html`<label class="check"><input type="checkbox" name="unseen" value="${hidden.not_looked_at}" required> <span>I approve without having looked at <a href="#hidden">${plural(hidden.not_looked_at, 'hidden value')}</a></span></label>`
    : ''
}</div>`

const together = (beside: Beside): Html | '' => {
  const { length } = beside.same
  return length === 0
    ? ''
    : html`<label class="check"><input type="checkbox" name="also" value="${beside.same.map(({ id, view }) => `${id}.${view}`).join(' ')}"> <span>Decide ${length === 1 ? 'the identical call that also waits' : `the ${length} identical calls that also wait`}. Approved, the request is sent <strong>${length + 1} times</strong>.</span></label>`
}

const decide = (hold: HoldView, beside: Beside, reader: Reader, kept: string): Html => {
  const unseen = hold.hidden.not_looked_at
  return html`
<form class="decide" method="post" action="/holds/${hold.id}/approve">
  ${csrfField(reader)}<input type="hidden" name="view" value="${hold.view}">
  <p>Approving sends exactly this request to <strong>${visible(hold.upstream)}</strong>, once.</p>
  ${comment(hold.comment_required, kept)}
  ${confirm(hold)}
  ${together(beside)}
  <div class="buttons">
    ${
      hold.step_up?.met === false
        ? html`<a class="button approve" data-key="a" href="/login/step-up?hold=${hold.id}">Sign in again to approve</a>`
        : html`<button class="approve" type="submit" data-key="a" data-left>Approve${unseen === 0 ? '' : `, ${plural(unseen, 'value')} unseen`}</button>`
    }
    <button class="deny" type="submit" data-key="d" formaction="/holds/${hold.id}/deny"${hold.hidden.must_confirm ? html` formnovalidate` : ''}>Deny</button>
  </div>
  ${hold.may_grant ? html`<p><a href="/holds/${hold.id}/grant">Allow calls like this …</a></p>` : ''}
</form>`
}

const breakGlass = (hold: HoldView, reader: Reader, kept: string): Html => html`
<details class="part"${kept === '' ? '' : html` open`}>
  <summary>Emergency: break the glass</summary>
  <form class="decide" method="post" action="/holds/${hold.id}/break-glass">
    ${csrfField(reader)}<input type="hidden" name="view" value="${hold.view}">
    <p>You let this call go alone. It is on record, with your words, and its reviewers see that they were passed over.</p>
    ${comment(true, kept)}
    ${confirm(hold)}
    <div class="buttons">${
      hold.step_up?.met === false
        ? html`<a class="button deny" href="/login/step-up?hold=${hold.id}">Sign in again to break the glass</a>`
        : html`<button class="deny" type="submit">Break the glass and send</button>`
    }</div>
  </form>
</details>`

const revoke = (hold: HoldView, reader: Reader, kept: string): Html => {
  const words: Partial<Record<State, string>> = {
    pending: 'Nothing has been sent. You can withdraw this call.',
    released: 'It is being sent. Revoking ends what is still open.',
  }
  return html`
<form class="decide" method="post" action="/holds/${hold.id}/revoke">
  ${csrfField(reader)}
  <p>${words[hold.status] ?? 'It has not been sent. You can still take the approval back.'}</p>
  ${comment(false, kept)}
  <div class="buttons"><button class="deny" type="submit" data-key="d">${hold.status === 'pending' ? 'Withdraw' : 'Revoke'}</button></div>
</form>`
}

const resolve = (hold: HoldView, reader: Reader, kept: string): Html => html`
<form class="decide" method="post" action="/holds/${hold.id}/resolve">
  ${csrfField(reader)}
  <p>Find out from <strong>${visible(hold.upstream)}</strong> what became of it, then say so. It is not sent again.</p>
  ${comment(true, kept)}
  <div class="buttons">
    <button type="submit" name="outcome" value="delivered">It was done</button>
    <button type="submit" name="outcome" value="failed">It was not done</button>
  </div>
</form>`

const actions = (hold: HoldView, beside: Beside, reader: Reader, kept: string): Html => {
  const { you } = hold
  const glass = you.may_break_glass ? breakGlass(hold, reader, you.may_decide ? '' : kept) : ''
  if (you.may_decide) return html`${decide(hold, beside, reader, kept)}${glass}`
  return html`
${hold.status === 'pending' ? html`<p class="callout">${visible(becauseWords(you.because, you.detail))}</p>` : ''}
${you.may_revoke ? revoke(hold, reader, kept) : ''}
${you.may_resolve ? resolve(hold, reader, kept) : ''}
${glass}`
}

const outcome = (hold: HoldView): Html | '' => {
  if (hold.status === 'pending') return ''
  const { delivery } = hold
  return html`
<p class="outcome">${stateWords[hold.status]}${hold.closed_at === undefined ? '' : html` <span class="when">${at(hold.closed_at)}</span>`}</p>
${hold.why === undefined ? '' : html`<p>${visible(hold.why)}</p>`}
${delivery?.status === undefined ? '' : html`<p>The upstream answered <strong>${delivery.status}</strong> <span class="when">${at(delivery.at)}</span></p>`}`
}

const standing = (hold: HoldView, beside: Beside, reader: Reader, now: number, kept: string): Html => html`
<aside class="decision" aria-label="Decision">
  <h2>Decision</h2>
  ${outcome(hold)}
  ${hold.by_grant === undefined ? '' : html`<p class="callout"><strong>Let go by a <a href="/grants">grant</a></strong> of <bdi>${visible(hold.by_grant.by)}</bdi>; nobody was asked about this call.</p>`}
  ${hold.break_glass ? html`<p class="callout"><strong>The glass was broken:</strong> one person let this call go, without its reviewers.</p>` : ''}
  <dl class="facts">
    ${fact('Votes', html`<strong>${votesLine(hold.votes)}</strong>`)}
    ${hold.status === 'pending' ? fact('Deadline', html`${due(hold.expires_at, now)}<br><span class="muted">${at(hold.expires_at)}</span>`) : ''}
    ${hold.status === 'approved' && hold.approved_until !== undefined ? fact('Good for', html`${due(hold.approved_until, now)}`) : ''}
    ${fact('Held since', at(hold.opened_at))}
  </dl>
  ${verdicts(hold)}
  ${hold.unreached === undefined ? '' : html`<p class="callout"><strong>Nobody was told of this call.</strong> ${visible(hold.unreached)} It is tried again; tell somebody yourself if it cannot wait.</p>`}
  ${hold.frozen === undefined ? '' : html`<p class="callout"><strong>An operator stopped calls like this.</strong> ${visible(hold.frozen)} It may be decided, but nothing is sent until the freeze is lifted.</p>`}
  ${actions(hold, beside, reader, kept)}
</aside>`

const lately = ({ lately }: Beside): Html | '' =>
  lately.length === 0
    ? ''
    : html`
<section class="part">
  <h2>This caller lately</h2>
  <ul class="lately">${lately.map(one => html`<li><a href="/holds/${one.id}">${visible(one.line)}</a> ${stateChip(one.status)} <span class="muted">${at(one.opened_at)}</span></li>`)}</ul>
</section>`

/** `slip`: what was just refused. `revealed`: the hidden value that was just asked for. */
export const holdPage = (shown: {
  readonly hold: HoldView
  readonly beside: Beside
  readonly reader: Reader
  readonly now: number
  readonly slip?: Slip
  readonly revealed?: Revealed
}): Html => {
  const { hold, beside, reader, now, slip, revealed } = shown
  return html`
${slip === undefined ? '' : html`<div class="slip" role="alert"><strong>${slip.title}.</strong> ${visible(slip.detail)}</div>`}
<p class="aside" id="said" role="status"></p>
<div class="callout" id="moved" role="status" hidden>This call changed while you were writing. <a href="/holds/${hold.id}">Read it again</a></div>
<div id="live" data-as="${hold.status} ${votesLine(hold.votes)}">
<header class="hold-head">
  ${
    hold.earlier === undefined
      ? ''
      : html`<p class="callout"><strong>The same call was ${hold.earlier.status === 'unknown' ? 'sent, with an answer nobody knows,' : stateWords[hold.earlier.status].toLowerCase()} at ${at(hold.earlier.at)}.</strong> <a href="/holds/${hold.earlier.id}">See that one</a> before you let it happen again.</p>`
  }
  <p>${stateChip(hold.status)}${hold.break_glass ? glassChip : ''}</p>
  <h1>${visible(hold.line)}</h1>
  <p class="action"><code>${visible(hold.action.name)}</code> on <code>${visible(hold.action.resource)}</code> <span class="tag">${hold.action.access}</span></p>
</header>
<div class="hold">
  <div class="story">${who(hold)}${why(hold)}${rule(hold)}${request(hold, revealed, reader)}${lately(beside)}</div>
  ${standing(hold, beside, reader, now, slip?.comment ?? '')}
</div>
</div>`
}
