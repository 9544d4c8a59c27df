// "Allow calls like this": a page that says in words what would be let go and what it would have let go already, and only then the button;
// the grants there are, with their ends; and the same at the API. What a grant may say is judged at the desk.
import type { Context } from 'hono'
import { html } from 'hono/html'
import { errors, HoldpointError } from '../errors.ts'
import type { Json } from '../nouns.ts'
import type { Desk, GrantPlan, GrantView, GrantWord } from './desk.ts'
import type { Door, Guest } from './door.ts'
import { at, csrfField, frame, type Html, type Reader, stateChip } from './frame.ts'
import { readId, readObject, readQuery, word as readWord, type Word } from './input.ts'
import type { Route } from './route.ts'
import { plural, visible } from './text.ts'
import type { Env, Visitor, Visitors } from './visitor.ts'

const freeMost = 200

// ---- words

const malformed = (detail: string): HoldpointError => new HoldpointError('malformed', detail)

const text = (name: string, value: Json | undefined): string => {
  if (typeof value !== 'string' || value === '' || value.length > 256)
    throw malformed(`"${name}" must be a text of at most 256 characters.`)
  return value
}

const count = (value: Json | undefined): number => {
  const number = typeof value === 'string' && /^\d{1,6}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw malformed('"uses" must be a whole number.')
  return number
}

const places = (value: Json | undefined): readonly string[] => {
  if (value === undefined) return []
  if (!Array.isArray(value) || value.length > freeMost) throw malformed(`"free" must be a list of at most ${freeMost}.`)
  return value.map(place => text('free', place))
}

const terms = ['uses', 'for', 'rate', 'free', 'resource'] as const

/** What is said of a grant, from JSON or a form. @throws malformed */
const grantOf = (said: { readonly [name: string]: Json | undefined }): GrantWord => ({
  uses: count(said.uses),
  for: text('for', said.for),
  free: places(said.free),
  ...(said.rate === undefined ? {} : { rate: text('rate', said.rate) }),
  ...(said.resource === undefined ? {} : { resource: text('resource', said.resource) }),
})

/** A posted form says `free` as a JSON list: it is what the page was made for. */
const ofForm = ({ uses, for: long, rate, free = '[]', resource }: Word): GrantWord => {
  let list: Json
  try {
    list = JSON.parse(free) as Json
  } catch {
    throw malformed('"free" must be a JSON list.')
  }
  const optional = { ...(rate === undefined ? {} : { rate }), ...(resource === undefined ? {} : { resource }) }
  return grantOf({ uses, for: long, free: list, ...optional })
}

/** What the page is asked to show; undefined for nothing in particular. */
const ofAddress = (request: Request): GrantWord | undefined => {
  const query = new URL(request.url).searchParams
  const known: readonly string[] = terms
  for (const name of query.keys()) {
    if (!known.includes(name)) throw malformed(`"${name.slice(0, 40)}" is not a parameter of this address.`)
    if (name !== 'free' && query.getAll(name).length > 1) throw malformed(`"${name}" was given more than once.`)
  }
  if (query.size === 0) return undefined
  const one = (name: string): { [name: string]: string } => {
    const value = query.get(name)?.trim()
    return value ? { [name]: value } : {}
  }
  return grantOf({ ...one('uses'), ...one('for'), ...one('rate'), ...one('resource'), free: query.getAll('free') })
}

const idOf = (given: string | undefined): string => {
  if (given === undefined || !/^g_[A-Za-z0-9_-]{22}$/.test(given)) throw new HoldpointError('not_found')
  return given
}

// ---- pages

const sentences = (words: readonly string[]): Html =>
  html`<ul class="words">${words.map(one => html`<li>${visible(one)}</li>`)}</ul>`

const hidden = (name: string, value: string | undefined): Html | '' =>
  value === undefined ? '' : html`<input type="hidden" name="${name}" value="${value}">`

const choose = ({ hold, terms, limits, resource, places }: GrantPlan): Html => {
  const free = places.filter(one => one.may_be_free)
  return html`
<form class="decide part" method="get" action="/holds/${hold.id}/grant">
  <h2>How much</h2>
  <label class="field"><span>Calls <span class="muted">at most ${limits.uses}</span></span>
    <input type="text" name="uses" inputmode="numeric" pattern="[0-9]{1,4}" required value="${terms.uses}"></label>
  <label class="field"><span>For <span class="muted">such as 30m or 1h, at most ${limits.for}</span></span>
    <input type="text" name="for" pattern="[0-9]{1,6}[smhd]" required value="${terms.for}"></label>
  <label class="field"><span>No faster than <span class="muted">such as 5/m or 10/h; empty: no limit of its own${limits.rates.length === 0 ? '' : `; the rule's is ${limits.rates.join(' and ')}`}</span></span>
    <input type="text" name="rate" pattern="[1-9][0-9]{0,3}/[mhd]" value="${terms.rate ?? ''}"></label>
  ${
    resource.may_be_free
      ? html`<label class="field"><span>Resource <span class="muted">* stands for anything between two slashes</span></span>
    <input type="text" name="resource" maxlength="256" value="${terms.resource ?? resource.value}"></label>`
      : ''
  }
  ${
    free.length === 0
      ? ''
      : html`<fieldset><legend>May differ from this call</legend>${free.map(({ place, type }) => html`<label class="check"><input type="checkbox" name="free" value="${place}"${terms.free.includes(place) ? html` checked` : ''}> <span><code>${visible(place)}</code> <span class="muted">${place === 'body' ? 'any body whatsoever' : `any ${type}`}</span></span></label>`)}</fieldset>`
  }
  <div class="buttons"><button type="submit">Show what that means</button></div>
</form>`
}

const matched = ({ matched }: GrantPlan): Html => html`
<section class="part">
  <h2>In the last ${matched.days} days</h2>
  <p>It would have let go <strong>${matched.count}</strong> of ${plural(matched.of, 'call')} of this caller that the rule held${matched.all ? '' : ', as far back as could be looked at'}.</p>
  ${matched.holds.length === 0 ? '' : html`<ul class="lately">${matched.holds.map(one => html`<li><a href="/holds/${one.id}">${visible(one.line)}</a> ${stateChip(one.status)} <span class="muted">${at(one.opened_at)}</span></li>`)}</ul>`}
</section>`

const make = (plan: GrantPlan, reader: Reader, kept: string): Html => {
  const { hold, terms } = plan
  return html`
<section class="part">
  <h2>What that means</h2>
  ${sentences(plan.words)}
  <form class="decide" method="post" action="/holds/${hold.id}/grant">
    ${csrfField(reader)}${hidden('view', hold.view)}${hidden('uses', String(terms.uses))}${hidden('for', terms.for)}${hidden('rate', terms.rate)}
    ${hidden('free', JSON.stringify(terms.free))}${hidden('resource', terms.resource)}
    ${
      hold.hidden.must_confirm
        ? html`<label class="check"><input type="checkbox" name="unseen" value="${hold.hidden.not_looked_at}" required> <span>I approve without having looked at ${plural(hold.hidden.not_looked_at, 'hidden value')}.</span></label>`
        : ''
    }
    <label class="field"><span>Comment <span class="muted">${hold.comment_required ? 'required' : 'optional'}; the caller reads it</span></span>
      <textarea name="comment" rows="3" maxlength="2000"${hold.comment_required ? html` required` : ''}>${kept}</textarea></label>
    <div class="buttons"><button class="approve" type="submit">Approve this call and ${plural(terms.uses, 'call')} like it</button></div>
  </form>
</section>`
}

type Slip = { readonly title: string; readonly detail: string; readonly comment: string }

const slipped = (slip: Slip | undefined): Html | '' =>
  slip === undefined
    ? ''
    : html`<div class="slip" role="alert"><strong>${slip.title}.</strong> ${visible(slip.detail)}</div>`

const planPage = (plan: GrantPlan, reader: Reader, slip?: Slip): Html => html`
${slipped(slip)}
<div class="head"><h1>Allow calls like this</h1>
<p><a href="/holds/${plan.hold.id}">${visible(plan.hold.line)}</a></p>
${plan.proposed === undefined ? '' : html`<p class="callout">Another reviewer proposed what is filled in here. It is granted when enough of you say the same.</p>`}</div>
${choose(plan)}${matched(plan)}${make(plan, reader, slip?.comment ?? '')}`

const statusWords: Readonly<Record<GrantView['status'], string>> = {
  live: 'In force',
  used_up: 'Used up',
  ended: 'Ended',
  revoked: 'Revoked',
  void: 'Void: its rule, its upstream or its makers are not what they were',
}

const row = (grant: GrantView, reader: Reader): Html => html`
<li class="row">
  <p><a href="/holds/${grant.hold}">${visible(grant.line)}</a> <span class="chip ${grant.status === 'live' ? 'wait' : 'over'}">${statusWords[grant.status]}</span></p>
  ${sentences(grant.words)}
  <p class="row-meta"><span>Made by <bdi>${visible(grant.made_by.map(({ name }) => name).join(', '))}</bdi> ${at(grant.made_at)}, until ${at(grant.until)}. Used ${grant.used} of ${grant.terms.uses}${grant.revoked === undefined ? '' : html`; revoked by <bdi>${visible(grant.revoked.by)}</bdi> ${at(grant.revoked.at)}`}.</span></p>
  <div class="row-side">${
    grant.you.may_revoke
      ? html`<form method="post" action="/grants/${grant.id}/revoke">${csrfField(reader)}<button class="deny" type="submit">Revoke</button></form>`
      : ''
  }</div>
</li>`

const listPage = (grants: readonly GrantView[], reader: Reader): Html => html`
<div class="head"><h1>Grants</h1><p class="muted">What reviewers let go in advance: made from a held call, used up call by call.</p></div>
<section class="list">
  ${grants.length === 0 ? html`<p class="muted">There are none.</p>` : html`<ol class="rows">${grants.map(grant => row(grant, reader))}</ol>`}
</section>`

// ---- routes

export const grantRoutes = (parts: {
  readonly desk: Desk
  readonly visitors: Visitors
  readonly door: Door
}): readonly Route[] => {
  const { desk, visitors, door } = parts
  const holdId = (context: Context<Env>): string => readId(context.req.param('id'))
  const grantId = (context: Context<Env>): string => idOf(context.req.param('id'))
  const title = 'Allow calls like this'

  const show = async (
    context: Context<Env>,
    { visitor, reader }: Guest,
    word: GrantWord | undefined,
    slip?: Slip & { readonly status: number },
  ): Promise<Response> => {
    const plan = await desk.planGrant(visitor.reviewer, holdId(context), word)
    return context.html(frame({ title, reader, body: planPage(plan, reader, slip) }), (slip?.status ?? 200) as 200)
  }

  /** A mistake in the words is said on the page, with what can be said instead. */
  const slipOf = (error: unknown, comment = ''): Slip & { readonly status: number } => {
    if (!(error instanceof HoldpointError) || !['malformed', 'values_unseen', 'view_changed'].includes(error.code))
      throw error
    return { title: errors[error.code].title, detail: error.detail ?? '', comment, status: error.status }
  }

  const api = (
    method: 'GET' | 'POST',
    path: string,
    answer: (context: Context<Env>, visitor: Visitor) => Promise<unknown>,
  ): Route => ({
    method,
    path,
    answer: async context => {
      const reads = method === 'GET'
      const visitor = reads ? await visitors.ofApi(context.req.raw, context.env) : await door.change(context)
      if (reads) readQuery(context.req.raw, [])
      return context.json((await answer(context, visitor)) as object)
    },
  })

  /** The grant and the rest of a posted object. */
  const posted = async (request: Request, allowed: readonly string[]): Promise<{ grant: GrantWord; word: Word }> => {
    const said = await readObject(request)
    const rest = Object.entries(said).filter(([name]) => !(terms as readonly string[]).includes(name))
    return { grant: grantOf(said), word: readWord(Object.fromEntries(rest), allowed) }
  }

  return [
    door.page('/holds/:id/grant', async (context, guest) => {
      let word: GrantWord | undefined
      try {
        word = ofAddress(context.req.raw)
        return await show(context, guest, word)
      } catch (error) {
        return show(context, guest, undefined, slipOf(error))
      }
    }),
    door.form(
      '/holds/:id/grant',
      { fields: [...terms, 'comment', 'view', 'unseen'], back: context => `/holds/${holdId(context)}` },
      async (context, guest, word) => {
        const { comment, view, unseen } = word
        const rest = {
          ...(comment === undefined ? {} : { comment }),
          ...(view === undefined ? {} : { view }),
          ...(unseen === undefined ? {} : { unseen }),
        }
        try {
          await desk.grant(await guest.visitor.fresh(), holdId(context), ofForm(word), rest)
        } catch (error) {
          return show(context, guest, undefined, slipOf(error, comment))
        }
        return context.redirect(`/holds/${holdId(context)}`, 303)
      },
    ),
    door.page('/grants', async (context, { visitor, reader }) => {
      const body = listPage(await desk.grants(visitor.reviewer), reader)
      return context.html(frame({ title: 'Grants', here: '/grants', reader, body }))
    }),
    door.form('/grants/:id/revoke', { fields: ['comment'], back: () => '/grants' }, async (context, guest, word) => {
      await desk.revokeGrant(await guest.visitor.fresh(), grantId(context), word)
      return context.redirect('/grants', 303)
    }),
    api('POST', '/api/holds/:id/grant', async (context, visitor) => {
      const id = holdId(context)
      const { grant, word } = await posted(context.req.raw, ['comment', 'view', 'unseen'])
      return desk.grant(await visitor.fresh(), id, grant, word)
    }),
    api('POST', '/api/holds/:id/grant/preview', async (context, visitor) => {
      const id = holdId(context)
      const { grant } = await posted(context.req.raw, [])
      return desk.planGrant(visitor.reviewer, id, grant)
    }),
    api('GET', '/api/holds/:id/grant', (context, { reviewer }) => desk.planGrant(reviewer, holdId(context), undefined)),
    api('GET', '/api/grants', async (_, { reviewer }) => ({ grants: await desk.grants(reviewer) })),
    api('GET', '/api/grants/:id', (context, { reviewer }) => desk.showGrant(reviewer, grantId(context))),
    api('POST', '/api/grants/:id/revoke', async (context, visitor) => {
      const id = grantId(context)
      const word = readWord(await readObject(context.req.raw), ['comment'])
      return desk.revokeGrant(await visitor.fresh(), id, word)
    }),
  ]
}
