// The page of one's chat accounts: begin a link, see those there are, end one.
import type { Context } from 'hono'
import { html } from 'hono/html'
import { HoldpointError } from '../errors.ts'
import type { Door, Guest } from './door.ts'
import { at, csrfField, frame, type Html, type Reader } from './frame.ts'
import type { Links, LinkView } from './links.ts'
import { nothing } from './lists.ts'
import type { Route } from './route.ts'
import { moment, visible } from './text.ts'
import type { Env } from './visitor.ts'

const iso = (instant: number): string => new Date(instant).toISOString()

const row = (link: LinkView, reader: Reader): Html => html`
<li class="row">
  <p>${visible(link.channel)} <code>${visible(link.account)}</code></p>
  <p class="row-meta"><span>since ${at(iso(link.linkedAt))}</span> <span>until you sign out, at the latest ${at(iso(link.untilAt))}</span></p>
  <div class="row-side"><form method="post" action="/links/${link.id}/end">${csrfField(reader)}<button type="submit">Unlink</button></form></div>
</li>`

type Begun = Awaited<ReturnType<Links['begin']>>

const page = (linked: readonly LinkView[], chats: readonly string[], reader: Reader, begun?: Begun): Html => html`
<div class="head"><h1>Chat accounts</h1><p class="muted">What a linked account decides in the chat is decided by you.</p></div>
${
  linked.length > 0
    ? html`<ol class="rows">${linked.map(link => row(link, reader))}</ol>`
    : nothing(
        chats.length > 0 ? 'No account is linked.' : 'There is no chat to link: no channel of that kind is configured.',
      )
}
${
  chats.length === 0
    ? ''
    : html`
<section class="part">
  <h2>Link an account</h2>
  ${
    begun === undefined
      ? html`<p>You get a code here, and type it where ${visible(chats.join(' or '))} asks for it. Give it to nobody, and type nobody else's.</p>
  <form class="decide" method="post" action="/links">${csrfField(reader)}<div class="buttons"><button type="submit">Show a code</button></div></form>`
      : html`<p>Type this code in the chat, in the window that Holdpoint opens there. It works once, until ${moment(iso(begun.untilAt))}.</p>
  <p><output><strong>${begun.code}</strong></output></p>`
  }
</section>`
}`

export const linkRoutes = (parts: {
  readonly links: Links
  readonly door: Door
  /** Names of the chats whose accounts can be linked. */
  readonly chats: () => readonly string[]
}): readonly Route[] => {
  const { links, door, chats } = parts

  const show = async (context: Context<Env>, { visitor, reader }: Guest, begun?: Begun): Promise<Response> => {
    const body = page(await links.list(visitor), chats(), reader, begun)
    return context.html(frame({ title: 'Chat accounts', here: '/links', reader, body }))
  }

  const posting = (path: string, answer: (context: Context<Env>, guest: Guest) => Promise<Response>): Route =>
    door.form(path, { fields: [], back: () => '/links' }, answer)

  return [
    door.page('/links', show),
    posting('/links', async (context, guest) => {
      if (chats().length === 0)
        throw new HoldpointError('not_found', 'No chat is configured whose accounts could be linked.')
      return show(context, guest, await links.begin(guest.visitor))
    }),
    posting('/links/:id/end', async (context, { visitor }) => {
      await links.unlink(visitor, context.req.param('id') ?? '')
      return context.redirect('/links', 303)
    }),
  ]
}
