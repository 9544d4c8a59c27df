// The frame around every page: head, navigation, foot; and the pieces that several pages share.
// Everything is made with the escaping template; other people's text goes through `visible` first, and is only ever text.
import { html } from 'hono/html'
import type { Reviewer } from '../nouns.ts'
import type { State } from '../states.ts'
import type { HoldRow } from '../views.ts'
import { assets } from './assets.ts'
import { moment, plural, soonMs, span, stateTone, stateWords, visible } from './text.ts'

export type Html = ReturnType<typeof html>

/** Who the page is for. */
export type Reader = {
  readonly reviewer: Reviewer
  readonly csrf: string
  readonly auditor: boolean
  readonly operator: boolean
}

export type Page = {
  readonly title: string
  readonly reader?: Reader | undefined
  readonly here?: '/' | '/history' | '/audit' | '/grants' | '/rules' | '/freezes' | '/links' | undefined
  /** What the script keeps up to date: the queue, or the hold of this id. */
  readonly live?: string | undefined
  readonly body: Html
}

const link = (page: Page, path: string, name: string): Html =>
  html`<li><a href="${path}"${page.here === path ? html` aria-current="page"` : ''}>${name}</a></li>`

const navigation = (page: Page, reader: Reader): Html => html`
  <nav aria-label="Console"><ul>
    ${link(page, '/', 'Queue')}${link(page, '/history', 'History')}${link(page, '/grants', 'Grants')}${link(page, '/rules', 'Rules')}
    ${reader.auditor ? link(page, '/audit', 'Audit') : ''}
    ${reader.auditor || reader.operator ? link(page, '/freezes', 'Freezes') : ''}
  </ul></nav>
  <form class="who" method="post" action="/logout">
    ${csrfField(reader)}
    <a class="who-name" href="/links" title="${visible(`${reader.reviewer.login}: ${reader.reviewer.email ?? reader.reviewer.subject}`)}"><bdi>${visible(reader.reviewer.name)}</bdi></a>
    <button class="quiet" type="submit">Sign out</button>
  </form>`

export const csrfField = (reader: Reader): Html => html`<input type="hidden" name="csrf" value="${reader.csrf}">`

export const frame = (page: Page): Html => html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${page.reader ? html`<meta name="csrf" content="${page.reader.csrf}">` : ''}
<title>${visible(page.title)} · Holdpoint</title>
<link rel="icon" href="${assets.icon}" type="image/svg+xml">
<link rel="stylesheet" href="${assets.css}">
<script src="${assets.js}" defer></script>
</head>
<body${page.live ? html` data-live="${page.live}"` : ''}>
<a class="skip" href="#main">Skip to content</a>
<header class="top"><div class="wide">
  <a class="brand" href="/"><img src="${assets.icon}" alt="" width="28" height="28"><span>Holdpoint</span></a>
  ${page.reader ? navigation(page, page.reader) : ''}
</div></header>
<main id="main" class="wide" tabindex="-1">
${page.body}
</main>
${page.reader ? keyHelp : ''}
</body>
</html>`

const keyHelp = html`
<dialog id="keys" aria-labelledby="keys-title">
  <h2 id="keys-title">Keys</h2>
  <dl class="keys">
    <div><dt><kbd>j</kbd> <kbd>k</kbd></dt><dd>Next and previous call</dd></div>
    <div><dt><kbd>Enter</kbd></dt><dd>Open it</dd></div>
    <div><dt><kbd>a</kbd></dt><dd>Go to Approve; in the queue, of the call that has the focus</dd></div>
    <div><dt><kbd>d</kbd></dt><dd>Go to Deny, likewise</dd></div>
    <div><dt><kbd>c</kbd></dt><dd>Write a comment</dd></div>
    <div><dt><kbd>/</kbd></dt><dd>Filter</dd></div>
    <div><dt><kbd>?</kbd></dt><dd>This list</dd></div>
  </dl>
  <p class="muted">Keys only move the focus. Nothing is decided until you press the button.</p>
  <form method="dialog" class="keys-foot">
    <label><input type="checkbox" id="keys-on" checked> Use single keys</label>
    <button type="submit">Close</button>
  </form>
</dialog>`

/** Beside the state of a hold that one person let go alone. */
export const glassChip: Html = html` <span class="chip bad">Glass broken</span>`

export const stateChip = (state: State): Html =>
  html`<span class="chip ${stateTone(state)}">${stateWords[state]}</span>`

/** An instant, exact where somebody hovers. */
export const at = (instant: string): Html => html`<time datetime="${instant}">${moment(instant)}</time>`

/** A deadline that the script counts down. */
export const due = (instant: string, now: number): Html => {
  const left = Date.parse(instant) - now
  const words = left > 0 ? `${span(left)} left` : 'time is up'
  return html`<time class="due${left < soonMs ? ' soon' : ''}" datetime="${instant}" data-due title="${moment(instant)}">${words}</time>`
}

/** `reports-agent for Ben Ode` */
export const whoCalls = (hold: Pick<HoldRow, 'caller' | 'behind'>): Html => {
  const { caller, behind } = hold
  const name = caller.name ?? caller.email ?? caller.subject
  const people = behind.people.filter(person => person !== name)
  const whom = behind.known ? people.join(', ') : 'owner unknown'
  return html`<bdi>${visible(name)}</bdi>${whom === '' ? '' : html` <span class="for">for</span> <bdi${behind.known ? '' : html` class="warn"`}>${visible(whom)}</bdi>`}`
}

export const votesLine = (votes: HoldRow['votes']): string => `${votes.have} of ${plural(votes.needed, 'vote')}`

/** A page about something that went wrong: what, and the way on. */
export const notice = (
  title: string,
  detail: string,
  way: { readonly href: string; readonly text: string },
): Html => html`
<section class="notice">
  <h1>${title}</h1>
  <p>${visible(detail)}</p>
  <p><a class="button" href="${way.href}">${way.text}</a></p>
</section>`
