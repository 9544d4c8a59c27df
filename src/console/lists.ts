// History, audit log and rules: tables that turn into cards on a narrow screen.
import { html } from 'hono/html'
import type { HoldRow } from '../nouns.ts'
import type { AuditEntry, RuleView } from './desk.ts'
import { at, type Html, stateChip, whoCalls } from './frame.ts'
import { visible } from './text.ts'

const cell = (name: string, value: Html | string | number): Html =>
  html`<td data-name="${name}">${value === '' ? '' : html`<div>${value}</div>`}</td>`

const isolated = (text: string): Html | string => (text === '' ? '' : html`<bdi>${visible(text)}</bdi>`)

const table = (caption: string, columns: readonly string[], rows: readonly Html[]): Html => html`
<table class="cards">
  <caption class="aside">${caption}</caption>
  <thead><tr>${columns.map(name => html`<th scope="col">${name}</th>`)}</tr></thead>
  <tbody>${rows}</tbody>
</table>`

const nothing = (text: string): Html =>
  html`<section class="empty"><p class="empty-mark" aria-hidden="true"></p><p class="muted">${text}</p></section>`

export type HistoryFilter = { readonly [K in 'caller' | 'rule' | 'upstream' | 'reviewer']?: string }

const filterNames = ['caller', 'rule', 'upstream', 'reviewer'] as const

const filters = (filter: HistoryFilter): Html => html`
<form class="filters" method="get" action="/history" role="search">
  ${filterNames.map(
    (name, index) =>
      html`<label class="field"><span>${name[0]?.toUpperCase()}${name.slice(1)}</span><input type="text" name="${name}" value="${filter[name] ?? ''}" autocomplete="off" maxlength="256"${index === 0 ? html` data-filter` : ''}></label>`,
  )}
  <button type="submit">Filter</button>
</form>`

const more = (path: string, filter: HistoryFilter, next: string | undefined): Html | '' => {
  if (next === undefined) return ''
  const query = new URLSearchParams({ ...filter, after: next })
  return html`<p class="more"><a class="button" href="${path}?${query.toString()}">Older</a></p>`
}

export const historyPage = (holds: readonly HoldRow[], filter: HistoryFilter, next: string | undefined): Html => html`
<div class="head"><h1>History</h1></div>
${filters(filter)}
${
  holds.length === 0
    ? nothing(Object.keys(filter).length === 0 ? 'Nothing has been decided yet.' : 'Nothing fits this filter.')
    : table(
        'Decided calls, newest first',
        ['Call', 'Caller', 'Rule', 'Outcome', 'Votes', 'When'],
        holds.map(
          hold => html`
<tr data-row>
  ${cell('Call', html`<a href="/holds/${hold.id}">${visible(hold.line)}</a>`)}
  ${cell('Caller', whoCalls(hold))}
  ${cell('Rule', html`<code>${visible(hold.rules.join(', '))}</code>`)}
  ${cell('Outcome', html`${stateChip(hold.status)}${hold.break_glass ? html` <span class="chip bad">Glass broken</span>` : ''}${hold.delivery?.status === undefined ? '' : html` <span class="muted">${hold.delivery.status}</span>`}`)}
  ${cell('Votes', `${hold.votes.have} of ${hold.votes.needed}`)}
  ${cell('When', at(hold.closed_at ?? hold.opened_at))}
</tr>`,
        ),
      )
}
${more('/history', filter, next)}`

const whoDid = ({ reviewer, caller }: AuditEntry): string => {
  if (reviewer !== undefined) return `${reviewer.name} (${reviewer.login}, ${reviewer.via})`
  return caller === undefined ? '' : `${caller.subject} (${caller.issuer})`
}

const whatFor = (entry: AuditEntry): string =>
  [
    entry.action && `${entry.action.name} ${entry.action.resource}`,
    entry.detail,
    entry.code,
    entry.comment && `“${entry.comment}”`,
  ]
    .filter(Boolean)
    .join(' · ')

/** @param next the number before which the next page begins */
export const auditPage = (entries: readonly AuditEntry[], next: number | undefined): Html => html`
<div class="head"><h1>Audit</h1><p class="muted">Newest first. Times are the store's.</p></div>
${
  entries.length === 0
    ? nothing('The log has no entries here.')
    : table(
        'Audit entries, newest first',
        ['No.', 'Time', 'What', 'Who', 'Hold', 'Rule', 'Details'],
        entries.map(
          entry => html`
<tr>
  ${cell('No.', entry.seq)}
  ${cell('Time', at(entry.at))}
  ${cell('What', html`<strong>${visible(entry.kind)}</strong>${entry.status === undefined ? '' : html` <span class="muted">${entry.status}</span>`}`)}
  ${cell('Who', isolated(whoDid(entry)))}
  ${cell('Hold', entry.hold === undefined ? '' : html`<a href="/holds/${entry.hold}"><code>${visible(entry.hold.slice(0, 12))}</code></a>`)}
  ${cell('Rule', visible(entry.rule ?? ''))}
  ${cell('Details', isolated(whatFor(entry)))}
</tr>`,
        ),
      )
}
${next === undefined ? '' : html`<p class="more"><a class="button" href="/audit?before=${next}">Older</a></p>`}`

const tone = (then: string): string => (then === 'allow' ? 'good' : then === 'deny' ? 'bad' : 'wait')

export const rulesPage = (rules: readonly RuleView[]): Html => html`
<div class="head"><h1>Rules</h1><p class="muted">In the order in which they are read. What no rule fits is denied.</p></div>
${
  rules.length === 0
    ? nothing('There are no rules: every call is denied.')
    : table(
        'Rules in force, in order',
        ['#', 'Rule', 'Then', 'What it says', 'Where', 'Hash'],
        rules.map(
          (rule, index) => html`
<tr>
  ${cell('#', index + 1)}
  ${cell('Rule', html`<strong>${visible(rule.name)}</strong>`)}
  ${cell('Then', html`<span class="chip ${tone(rule.then)}">${visible(rule.then)}</span>`)}
  ${cell('What it says', rule.line === rule.then ? '' : visible(rule.line))}
  ${cell('Where', html`<code>${visible(rule.where)}</code>`)}
  ${cell('Hash', html`<code title="${visible(rule.hash)}">${visible(rule.hash.slice(0, 12))}</code>`)}
</tr>`,
        ),
      )
}`
