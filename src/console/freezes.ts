// What operators have stopped: the page with its forms, and the same at the API.
import type { Context } from 'hono'
import { html } from 'hono/html'
import { errors, HoldpointError } from '../errors.ts'
import type { Desk, FreezeView, FreezeWord } from './desk.ts'
import type { Door, Guest } from './door.ts'
import { at, csrfField, frame, type Html, type Reader } from './frame.ts'
import { readJson, readQuery, type Word } from './input.ts'
import { nothing } from './lists.ts'
import type { Route } from './route.ts'
import { visible } from './text.ts'
import type { Env, Visitor, Visitors } from './visitor.ts'

const kinds = ['caller', 'person', 'upstream', 'all'] as const
const hoursMost = 24 * 365

const wordOf = ({ what, value, reason, until }: Word): FreezeWord => {
  const known = kinds.find(kind => kind === what)
  if (known === undefined) throw new HoldpointError('malformed', `what: must be one of ${kinds.join(', ')}.`)
  return {
    what: known,
    ...(value === undefined ? {} : { value }),
    ...(reason === undefined ? {} : { reason }),
    ...(until === undefined ? {} : { until }),
  }
}

/** A form says for how many hours; the API says until when. */
const untilOf = (hours: string | undefined, now: number): { until?: string } => {
  if (hours === undefined) return {}
  const number = /^\d{1,4}$/.test(hours) ? Number(hours) : 0
  if (number < 1 || number > hoursMost) throw new HoldpointError('malformed', `hours: must be 1 to ${hoursMost}.`)
  return { until: new Date(now + number * 3_600_000).toISOString() }
}

const idOf = (text: string | undefined): string => {
  if (text === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(text)) throw new HoldpointError('not_found')
  return text
}

const row = (freeze: FreezeView, reader: Reader): Html => html`
<li class="row">
  <p>${freeze.what === 'all' ? html`<strong>Everything</strong>` : html`${freeze.what} <code>${visible(freeze.value ?? '')}</code>`}</p>
  <p class="row-meta"><span>${visible(freeze.reason)}</span></p>
  <div class="row-side">
    <span class="muted"><bdi>${visible(freeze.by.name)}</bdi> · ${at(freeze.made_at)}${freeze.until === undefined ? '' : html` · until ${at(freeze.until)}`}</span>
    ${
      reader.operator
        ? html`<form method="post" action="/freezes/${freeze.id}/lift">${csrfField(reader)}<button type="submit">Lift</button></form>`
        : ''
    }
  </div>
</li>`

const form = (reader: Reader, kept: Word): Html => html`
<section class="part">
  <h2>Stop something</h2>
  <form class="decide" method="post" action="/freezes">
    ${csrfField(reader)}
    <label class="field"><span>What</span>
      <select name="what">${kinds.map(kind => html`<option${kept.what === kind ? html` selected` : ''}>${kind}</option>`)}</select></label>
    <label class="field"><span>Which <span class="muted">caller: its subject or client · person: an entry of people, an address or login:subject · upstream: its name · all: leave empty</span></span>
      <input type="text" name="value" maxlength="256" autocomplete="off" value="${kept.value ?? ''}"></label>
    <label class="field"><span>Reason <span class="muted">callers and reviewers read it</span></span>
      <textarea name="reason" rows="2" maxlength="2000" required>${kept.reason ?? ''}</textarea></label>
    <label class="field"><span>Hours <span class="muted">empty: until it is lifted</span></span>
      <input type="text" name="hours" inputmode="numeric" pattern="[0-9]{1,4}" value="${kept.hours ?? ''}"></label>
    <div class="buttons"><button class="deny" type="submit">Freeze</button></div>
  </form>
</section>`

type Slip = { readonly title: string; readonly detail: string; readonly word: Word }

const page = (freezes: readonly FreezeView[], reader: Reader, slip?: Slip): Html => html`
<div class="head"><h1>Freezes</h1><p class="muted">What is frozen is answered with 503, allowed calls too, on every replica within a second.</p></div>
${slip === undefined ? '' : html`<div class="callout" role="alert"><strong>${slip.title}</strong> ${visible(slip.detail)}</div>`}
${freezes.length === 0 ? nothing('Nothing is frozen.') : html`<ol class="rows">${freezes.map(freeze => row(freeze, reader))}</ol>`}
${reader.operator ? form(reader, slip?.word ?? {}) : ''}`

export const freezeRoutes = (parts: {
  readonly desk: Desk
  readonly visitors: Visitors
  readonly door: Door
  readonly clock: () => number
}): readonly Route[] => {
  const { desk, visitors, door, clock } = parts

  const show = async (context: Context<Env>, { visitor, reader }: Guest, slip?: Slip): Promise<Response> => {
    const body = page(await desk.freezes(visitor.reviewer), reader, slip)
    return context.html(frame({ title: 'Freezes', here: '/freezes', reader, body }), slip === undefined ? 200 : 400)
  }

  const posting = (
    path: string,
    fields: readonly string[],
    act: (visitor: Visitor, word: Word, context: Context<Env>) => Promise<unknown>,
  ): Route =>
    door.form(path, { fields, back: () => '/freezes' }, async (context, guest, word) => {
      try {
        await act(guest.visitor, word, context)
      } catch (error) {
        if (!(error instanceof HoldpointError) || error.code !== 'malformed') throw error
        return show(context, guest, { title: errors.malformed.title, detail: error.detail ?? '', word })
      }
      return context.redirect('/freezes', 303)
    })

  return [
    door.page('/freezes', show),
    posting('/freezes', ['what', 'value', 'reason', 'hours'], async (visitor, word) =>
      desk.freeze(await visitor.fresh(), { ...wordOf(word), ...untilOf(word.hours, clock()) }),
    ),
    posting('/freezes/:id/lift', [], async (visitor, _, context) =>
      desk.lift(await visitor.fresh(), idOf(context.req.param('id'))),
    ),
    {
      method: 'GET',
      path: '/api/freezes',
      answer: async context => {
        const { reviewer } = await visitors.ofApi(context.req.raw, context.env)
        readQuery(context.req.raw, [])
        return context.json({ freezes: await desk.freezes(reviewer) })
      },
    },
    {
      method: 'POST',
      path: '/api/freezes',
      answer: async context => {
        const visitor = await door.change(context)
        const word = wordOf(await readJson(context.req.raw, ['what', 'value', 'reason', 'until']))
        return context.json(await desk.freeze(await visitor.fresh(), word))
      },
    },
    {
      method: 'DELETE',
      path: '/api/freezes/:id',
      answer: async context => {
        const visitor = await door.change(context)
        readQuery(context.req.raw, [])
        return context.json({ freezes: await desk.lift(await visitor.fresh(), idOf(context.req.param('id'))) })
      },
    },
  ]
}
