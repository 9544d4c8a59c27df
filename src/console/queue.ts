// The queue: what waits for the reader first, then what waits for others, what is on its way, and what nobody knows the fate of.
import { html } from 'hono/html'
import type { HoldRow } from '../views.ts'
import { due, glassChip, type Html, stateChip, votesLine, whoCalls } from './frame.ts'
import { plural, visible } from './text.ts'

const row = (hold: HoldRow, now: number): Html => html`
<li class="row" data-row data-hold="${hold.id}">
  <a class="row-line" href="/holds/${hold.id}">${visible(hold.line)}</a>
  <p class="row-meta">
    <span class="row-who">${whoCalls(hold)}</span>
    <span><code>${visible(hold.action.name)}</code> on ${visible(hold.upstream)}</span>
    <span>rule ${visible(hold.rules.join(', '))}</span>
    ${hold.partly_seen === undefined ? '' : html`<span class="warn-soft">${plural(hold.partly_seen, 'hidden value')}</span>`}
  </p>
  <p class="row-side">
    ${hold.status === 'pending' ? due(hold.expires_at, now) : stateChip(hold.status)}${hold.break_glass ? glassChip : ''}
    <span class="muted">${hold.status === 'pending' ? votesLine(hold.votes) : ''}${hold.you.because === 'own_call' ? ' · yours' : ''}</span>
  </p>
</li>`

const section = (title: string, note: string, holds: readonly HoldRow[], now: number, mine = false): Html | '' =>
  holds.length === 0
    ? ''
    : html`
<section class="list"${mine ? html` data-mine` : ''}>
  <h2>${title} <span class="count">${holds.length}</span></h2>
  ${note === '' ? '' : html`<p class="muted">${note}</p>`}
  <ol class="rows">${holds.map(hold => row(hold, now))}</ol>
</section>`

const byDeadline = (one: HoldRow, other: HoldRow): number => Date.parse(one.expires_at) - Date.parse(other.expires_at)

const empty = (further: boolean): Html => html`
<section class="empty">
  <p class="empty-mark" aria-hidden="true"></p>
  <h2>Nothing waits for you${further ? ' among the nearest deadlines' : ''}</h2>
  <p class="muted">${further ? 'More calls wait than fit here; look further below.' : 'Calls that need your approval appear here by themselves.'}</p>
</section>`

/** @param next where the list goes on, if there is more than was asked for */
export const queuePage = (holds: readonly HoldRow[], next: string | undefined, now: number): Html => {
  const pending = holds.filter(hold => hold.status === 'pending').toSorted(byDeadline)
  const mine = pending.filter(hold => hold.you.may_decide)
  const others = pending.filter(hold => !hold.you.may_decide)
  const lost = holds.filter(hold => hold.status === 'unknown')
  const sending = holds.filter(hold => hold.status === 'approved' || hold.status === 'released')
  return html`
<div class="head">
  <h1>Queue</h1>
  <p class="muted" id="said" role="status">${mine.length === 0 ? 'Nothing waits for you' : `${plural(mine.length, 'call waits', 'calls wait')} for you`}</p>
  <div class="head-side">
    <button class="quiet" type="button" data-notify hidden>Notify me</button>
    <label class="find" hidden><span class="aside">Filter the queue</span><input type="search" data-filter placeholder="Filter" autocomplete="off"></label>
  </div>
</div>
<div id="live">
  ${mine.length === 0 ? empty(next !== undefined) : section('Waiting for you', '', mine, now, true)}
  ${section('Sent, answer unknown', 'Nobody knows whether the upstream did these. They are never sent again by themselves; find out, and say so.', lost, now)}
  ${section('Waiting for others', '', others, now)}
  ${section('Approved, on the way', 'They can still be revoked until they are sent.', sending, now)}
  ${next === undefined ? '' : html`<p class="more"><a class="button" href="/?after=${encodeURIComponent(next)}">Show more</a></p>`}
</div>`
}

/** How many wait for the reader; the page's title begins with it. */
export const waitingFor = (holds: readonly HoldRow[]): number =>
  holds.filter(hold => hold.status === 'pending' && hold.you.may_decide).length
