// The rules in force, how their holds fared, and what they would say of a call that somebody describes. Asking sends nothing anywhere.
import type { Context } from 'hono'
import { html } from 'hono/html'
import { HoldpointError } from '../errors.ts'
import type { Json } from '../nouns.ts'
import type { Settings } from '../settings.ts'
import type { Counts, Desk, Explained, RuleCounts, RuleView } from './desk.ts'
import type { Door, Guest } from './door.ts'
import { csrfField, frame, type Html, type Reader } from './frame.ts'
import { readObject, readQuery, type Word } from './input.ts'
import { nothing } from './lists.ts'
import type { Route } from './route.ts'
import { grouped, plural, span, visible } from './text.ts'
import type { Env, Visitors } from './visitor.ts'

const asked = ['caller', 'issuer', 'subject', 'kind', 'client', 'groups', 'method', 'url', 'headers', 'type', 'body']

// ---- the list

const tone = (then: string): string => (then === 'allow' ? 'good' : then === 'deny' ? 'bad' : 'wait')

const figure = (name: string, value: Html | string): Html => html`<div><dt>${name}</dt><dd>${value}</dd></div>`

const figures = (counts: RuleCounts): Html => html`
<dl class="figures">
  ${figure('Held', grouped(counts.held))}
  ${figure('Waiting', grouped(counts.waiting))}
  ${figure('Approved', grouped(counts.approved))}
  ${figure('Denied', grouped(counts.denied))}
  ${figure('Expired', counts.expiry_rate === undefined ? '–' : html`${grouped(counts.expired)} <span class="muted">${Math.round(100 * counts.expiry_rate)} %</span>`)}
  ${figure('Median decision', counts.median_decision_s === undefined ? '–' : span(counts.median_decision_s * 1000))}
</dl>
${counts.partly_seen === 0 ? '' : mend(counts)}`

/** A path as a rule's line has it, quoted where YAML needs that; undefined where no line can name it. */
const yamlOf = (path: string): string | undefined => {
  if (!/^(?:json|header|query|form)\../.test(path) || /[‹›…]|\\u\{/.test(path)) return undefined
  return /^[\w./~-]+$/.test(path) ? path : JSON.stringify(path)
}

const mend = ({ partly_seen: count, held, hidden_at: places }: RuleCounts): Html => {
  const named = places.flatMap(({ path, holds }) => {
    const text = yamlOf(path)
    return text === undefined ? [] : [{ text, holds }]
  })
  const free = places.length - named.length
  return html`
<details class="mend">
  <summary>${grouped(count)} of ${plural(held, 'hold')} partly seen: a value looked secret, so reviewers decided without it or had it revealed</summary>
  ${
    named.length === 0
      ? ''
      : html`
  <p>If reviewers should read it, add <code>show</code>; if they need not, add <code>mask</code>, and it no longer counts as unseen. Tokens, keys and credentials stay hidden whatever <code>show</code> says: for those it takes <code>mask</code>.</p>
  <pre class="code" tabindex="0" aria-label="Lines for the rule">${named.map(({ text, holds }) => `show: [${text}]   # or mask: [${text}]   ${plural(holds, 'hold')}\n`).join('')}</pre>`
  }
  ${free === 0 ? '' : html`<p>${plural(free, 'place')} cannot be named by a line (free text, or a name that is hidden itself): send such values as JSON or form fields, or say <code>approveUnseen: true</code>.</p>`}
</details>`
}

const card = (rule: RuleView, place: number, counts: RuleCounts | undefined): Html => html`
<li class="rule" id="${rule.name}">
  <div class="rule-head">
    <span class="rule-place" aria-hidden="true">${place}</span>
    <h2>${visible(rule.name)}</h2>
    <span class="chip ${tone(rule.then)}">${visible(rule.then)}</span>
  </div>
  ${rule.line === rule.then ? '' : html`<p>${visible(rule.line)}</p>`}
  <p class="muted"><code>${visible(rule.where)}</code> · <code title="${visible(rule.hash)}">${visible(rule.hash.slice(0, 12))}</code></p>
  ${counts === undefined ? '' : figures(counts)}
</li>`

// ---- explain this call

const results = {
  matched: { words: 'matches', tone: 'good' },
  noted: { words: 'may match', tone: 'wait' },
  failed: { words: 'does not match', tone: 'over' },
  unread: { words: 'needs the body', tone: 'wait' },
  'not reached': { words: 'not reached', tone: 'over' },
} as const

const keyWords = { yes: 'fits', no: 'does not fit', unknown: 'cannot be told', unread: 'not read' } as const

const answer = (explained: Explained): Html => {
  if (explained.refused !== undefined) {
    const { code, title, detail = '' } = explained.refused
    return html`<p class="callout"><strong>It would not get as far as the rules:</strong> ${visible(title)} (<code>${code}</code>). ${visible(detail)}</p>`
  }
  const by = explained.rules.length > 0 ? explained.rules : explained.rule === undefined ? [] : [explained.rule]
  return html`
<p class="verdict"><span class="chip ${tone(explained.outcome)}">${explained.outcome}</span> ${by.length === 0 ? 'because no rule fits' : html`by <strong>${visible(by.join(', '))}</strong>`}</p>
${explained.readings.map(
  reading => html`
<h3>${reading.action === undefined ? '' : html`<code>${visible(reading.action.name)}</code> on `}<code>${visible(reading.action?.resource ?? reading.path)}</code> <span class="muted">${reading.outcome}</span></h3>
<ol class="why">${reading.rules.map(
    rule => html`
  <li>
    <p><strong>${visible(rule.name)}</strong> <span class="tag">${rule.then}</span> <span class="chip ${results[rule.result].tone}">${results[rule.result].words}</span></p>
    ${rule.result === 'not reached' ? '' : html`<ul>${rule.keys.map(({ key, answer }) => html`<li class="key-${answer}"><code>${visible(key)}</code> ${keyWords[answer]}</li>`)}</ul>`}
  </li>`,
  )}</ol>`,
)}`
}

const text = (name: string, label: string, note: string, kept: Word, more: Html | '' = ''): Html => html`
<label class="field"><span>${label}${note === '' ? '' : html` <span class="muted">${note}</span>`}</span>
<input type="text" name="${name}" autocomplete="off" value="${kept[name as 'url'] ?? ''}"${more}></label>`

const choice = (
  name: 'caller' | 'issuer' | 'kind',
  label: string,
  options: readonly (readonly [string, string])[],
  kept: Word,
): Html => html`
<label class="field"><span>${label}</span>
<select name="${name}">${options.map(([value, words]) => html`<option value="${value}"${kept[name] === value ? html` selected` : ''}>${words}</option>`)}</select></label>`

const question = (reader: Reader, kept: Word, { callers, issuers }: Settings): Html => html`
<form class="explain" method="post" action="/rules/explain#answer">
  ${csrfField(reader)}
  ${text('method', 'Method', '', { method: 'POST', ...kept })}
  ${text('url', 'Address', 'such as /billing/v1/refunds', kept, html` required`)}
  ${
    Object.keys(callers).length === 0
      ? ''
      : choice(
          'caller',
          'Caller',
          [['', 'described below'], ...Object.keys(callers).map(name => [name, name] as const)],
          kept,
        )
  }
  ${choice(
    'issuer',
    'Issuer',
    issuers.map(({ name }) => [name, name] as const),
    kept,
  )}
  ${choice(
    'kind',
    'Kind',
    [
      ['agent', 'agent'],
      ['workload', 'workload'],
      ['human', 'human'],
    ],
    kept,
  )}
  ${text('subject', 'Subject', '', kept)}
  ${text('client', 'Client', 'optional', kept)}
  ${text('groups', 'Groups', 'separated by commas', kept)}
  <label class="field"><span>Headers <span class="muted">one a line</span></span><textarea name="headers" rows="2" spellcheck="false">${kept.headers ?? ''}</textarea></label>
  <label class="field"><span>Body</span><textarea name="body" rows="4" spellcheck="false">${kept.body ?? ''}</textarea></label>
  ${text('type', 'Content type', '', { type: 'application/json', ...kept })}
  <div class="buttons"><button type="submit">Explain</button></div>
</form>`

/** The described call of the form, as the API takes it. */
const described = (word: Word): Json => {
  const list = (value = ''): readonly string[] =>
    value
      .split(',')
      .map(one => one.trim())
      .filter(Boolean)
  const lines = (word.headers ?? '').split(/\r?\n/).filter(line => line.trim() !== '')
  const headers = lines.map(line => {
    const colon = line.indexOf(':')
    if (colon < 1) throw new HoldpointError('malformed', 'headers: write one "Name: value" a line.')
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()] as const
  })
  const typed = word.body === undefined || word.type === undefined ? [] : [['Content-Type', word.type] as const]
  const { issuer = '', subject = '', kind = '', client } = word
  return {
    method: word.method ?? '',
    url: word.url ?? '',
    headers: Object.fromEntries([...typed, ...headers]),
    caller: word.caller ?? {
      issuer,
      subject,
      kind,
      groups: list(word.groups),
      ...(client === undefined ? {} : { client }),
    },
    ...(word.body === undefined ? {} : { body: word.body }),
  }
}

// ---- the page

type Question = { readonly kept: Word; readonly explained?: Explained; readonly slip?: string }

const page = (
  {
    reader,
    settings,
    question: asks,
  }: { readonly reader: Reader; readonly settings: Settings; readonly question: Question },
  rules: readonly RuleView[],
  counts: Counts,
): Html => html`
<div class="head"><h1>Rules</h1><p class="muted">In the order in which they are read. What no rule fits is denied.${counts.of === 0 ? '' : ` Counted over the newest ${plural(counts.of, 'hold')}.`}</p></div>
${
  rules.length === 0
    ? nothing('There are no rules that you may read.')
    : html`
<details class="part asks"${asks.explained === undefined && asks.slip === undefined ? '' : html` open`} id="answer">
  <summary><h2>Explain a call</h2></summary>
  ${asks.slip === undefined ? '' : html`<div class="slip" role="alert">${visible(asks.slip)}</div>`}
  ${asks.explained === undefined ? '' : html`<section class="answer" aria-label="Answer">${answer(asks.explained)}</section>`}
  ${question(reader, asks.kept, settings)}
</details>
<ol class="rules">${rules.map((rule, index) => card(rule, index + 1, counts.rules[rule.name]))}</ol>`
}`

export const ruleRoutes = (parts: {
  readonly settings: () => Settings
  readonly desk: Desk
  readonly door: Door
  readonly visitors: Visitors
}): readonly Route[] => {
  const { settings, desk, door, visitors } = parts

  const show = async (context: Context<Env>, guest: Guest, question: Question, status: 200 | 400 = 200) => {
    const { visitor, reader } = guest
    const [rules, counts] = [await desk.rules(visitor.reviewer), await desk.counts(visitor.reviewer)]
    const body = page({ reader, settings: settings(), question }, rules, counts)
    return context.html(frame({ title: 'Rules', here: '/rules', reader, body }), status)
  }

  return [
    door.page('/rules', (context, guest) => show(context, guest, { kept: {} })),
    door.form('/rules/explain', { fields: asked, back: () => '/rules' }, async (context, guest, kept) => {
      try {
        return await show(context, guest, {
          kept,
          explained: await desk.explain(guest.visitor.reviewer, described(kept)),
        })
      } catch (error) {
        if (!(error instanceof HoldpointError) || error.code !== 'malformed') throw error
        return show(context, guest, { kept, slip: error.detail ?? '' }, 400)
      }
    }),
    {
      method: 'GET',
      path: '/api/rules',
      answer: async context => {
        const { reviewer } = await visitors.ofApi(context.req.raw, context.env)
        readQuery(context.req.raw, [])
        return context.json({ rules: await desk.rules(reviewer), counts: await desk.counts(reviewer) })
      },
    },
    {
      method: 'POST',
      path: '/api/explain',
      answer: async context => {
        const { reviewer } = await door.change(context)
        return context.json(await desk.explain(reviewer, await readObject(context.req.raw)))
      },
    },
  ]
}
