// History and audit log: tables that turn into cards on a narrow screen.
import { html } from 'hono/html'
import type { HoldRow } from '../views.ts'
import type { AuditEntry } from './desk.ts'
import { at, glassChip, type Html, stateChip, whoCalls } from './frame.ts'
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

export const nothing = (text: string): Html =>
  html`<section class="empty"><p class="empty-mark" aria-hidden="true"></p><p class="muted">${text}</p></section>`

type Filter<Name extends string> = { readonly [K in Name]?: string }

export type HistoryFilter = Filter<'caller' | 'rule' | 'upstream' | 'reviewer' | 'from' | 'to'>
export type AuditFilter = Filter<'find' | 'from' | 'to'>

const labels = {
  ...{ caller: 'Caller', rule: 'Rule', upstream: 'Upstream', reviewer: 'Reviewer' },
  ...{ find: 'Find', from: 'From', to: 'To' },
}

const filters = (path: string, names: readonly (keyof typeof labels)[], filter: Filter<string>): Html => html`
<form class="filters" method="get" action="${path}" role="search">
  ${names.map((name, index) => {
    const type = name === 'from' || name === 'to' ? 'date' : name === 'find' ? 'search' : 'text'
    return html`<label class="field"><span>${labels[name]}</span><input type="${type}" name="${name}" value="${filter[name] ?? ''}" autocomplete="off" maxlength="256"${index === 0 ? html` data-filter` : ''}></label>`
  })}
  <div class="filters-go"><button type="submit">Filter</button>${Object.keys(filter).length === 0 ? '' : html` <a href="${path}">Clear</a>`}</div>
</form>`

const more = (path: string, filter: Filter<string>, at: Filter<string> | undefined): Html | '' =>
  at === undefined
    ? ''
    : html`<p class="more"><a class="button" href="${path}?${new URLSearchParams({ ...filter, ...at } as Record<string, string>).toString()}">Older</a></p>`

/** What stands in place of a list that is empty: nothing at all, nothing that fits, or nothing so far. */
const empty = (filter: Filter<string>, further: boolean, none: string): Html =>
  nothing(
    further
      ? 'Nothing among the newest fits this filter. Look further back.'
      : Object.keys(filter).length === 0
        ? none
        : 'Nothing fits this filter.',
  )

export const historyPage = (holds: readonly HoldRow[], filter: HistoryFilter, next: string | undefined): Html => html`
<div class="head"><h1>History</h1></div>
${filters('/history', ['caller', 'rule', 'upstream', 'reviewer', 'from', 'to'], filter)}
${
  holds.length === 0
    ? empty(filter, next !== undefined, 'Nothing has been decided yet.')
    : table(
        'Decided calls, newest first',
        ['Call', 'Caller', 'Rule', 'Outcome', 'Votes', 'When'],
        holds.map(
          hold => html`
<tr data-row>
  ${cell('Call', html`<a href="/holds/${hold.id}">${visible(hold.line)}</a>`)}
  ${cell('Caller', whoCalls(hold))}
  ${cell('Rule', html`<code>${visible(hold.rules.join(', '))}</code>`)}
  ${cell('Outcome', html`${stateChip(hold.status)}${hold.break_glass ? glassChip : ''}${hold.delivery?.status === undefined ? '' : html` <span class="muted">${hold.delivery.status}</span>`}`)}
  ${cell('Votes', `${hold.votes.have} of ${hold.votes.needed}`)}
  ${cell('When', at(hold.closed_at ?? hold.opened_at))}
</tr>`,
        ),
      )
}
${more('/history', filter, next === undefined ? undefined : { after: next })}`

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
export const auditPage = (entries: readonly AuditEntry[], filter: AuditFilter, next: number | undefined): Html => html`
<div class="head">
  <h1>Audit</h1><p class="muted">Newest first. Times are the store's.</p>
  <a class="button" href="/api/audit/export${Object.keys(filter).length === 0 ? '' : `?${new URLSearchParams({ ...filter }).toString()}`}" download>Export as JSON lines</a>
</div>
${filters('/audit', ['find', 'from', 'to'], filter)}
${
  entries.length === 0
    ? empty(filter, next !== undefined, 'The log has no entries here.')
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
${more('/audit', filter, next === undefined ? undefined : { before: String(next) })}`
