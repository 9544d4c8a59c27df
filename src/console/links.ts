// Chat accounts of people: linked by a code that a signed-in person sees at the console and the account types in the chat, never by
// possession of a link. The chat's profile must have the person's own trusted address; guests, bots and other companies' accounts are refused.
// A link speaks in the name of the session that began it, and ends with it: by sign-out, by idleness, after twelve hours at most.
import { createHash, randomInt } from 'node:crypto'
import { HoldpointError } from '../errors.ts'
import type { Entry, Reviewer } from '../nouns.ts'
import { namedPerson, reviewerKeys, samePerson } from '../people.ts'
import { whoReviews } from '../record.ts'
import type { KeyRing } from '../seal.ts'
import type { Settings } from '../settings.ts'
import type { Shelf } from '../store/store.ts'
import { absoluteMs, type Sessions } from './sessions.ts'
import type { Visitor, Visitors } from './visitor.ts'

const codeMs = 10 * 60_000
const triesMost = 5
// Without letters and digits that are taken for one another: 31^8 is about 2^39.
const letters = '23456789ABCDEFGHJKMNPQRSTUVWXYZ'

/** An account in a chat, as its channel knows it for certain. */
export type Account = {
  readonly channel: string
  readonly kind: 'slack' | 'teams'
  /** Of the channel's own team or tenant. */
  readonly team: string
  readonly user: string
}

/** What the chat's own directory says of an account. */
export type Profile = {
  readonly email: string | undefined
  readonly emailConfirmed: boolean
  readonly guest: boolean
  readonly bot: boolean
  /** Of another team or tenant than the channel's. */
  readonly foreign: boolean
}

export type LinkView = {
  readonly id: string
  readonly channel: string
  readonly account: string
  readonly linkedAt: number
  readonly untilAt: number
}

export type Links = {
  /** A one-use code for a visitor's session, and until when it is good. */
  begin(visitor: Visitor): Promise<{ readonly code: string; readonly untilAt: number }>
  /**
   * Links the account that typed `code`; answers whom it stands for now, to be told so in the chat.
   * @throws not_approver (the account or the profile does not fit), not_found (no such code), too_many_calls (too many wrong codes)
   */
  link(account: Account, code: string, profile: Profile): Promise<Reviewer>
  /** In whose name an account speaks, as a visitor whose groups can be made fresh; undefined if it is not linked (any more). */
  visitorOf(account: Account): Promise<Visitor | undefined>
  /** Accounts that speak in this person's name. */
  list(visitor: Visitor): Promise<readonly LinkView[]>
  /** @throws not_found */
  unlink(visitor: Visitor, id: string): Promise<void>
}

type Linked = {
  readonly version: 1
  readonly account: Account
  readonly login: string
  readonly subject: string
  readonly linkedAt: number
  readonly untilAt: number
  /** The session's id, sealed. */
  readonly session: string
}

const spelled = ({ channel, team, user }: Account): string => `${channel}:${team}/${user}`

/** Why an account cannot be this reviewer's, if the configuration says that it is somebody else's. */
export const notTheirs = (account: Account, reviewer: Reviewer, settings: Settings): string | undefined => {
  const configured = settings.people.find(({ accounts }) => accounts.includes(spelled(account)))
  const theirs =
    configured === undefined ||
    samePerson(namedPerson(configured.name, settings) ?? [], reviewerKeys(reviewer, settings))
  return theirs ? undefined : 'The configuration says that this account is somebody else\'s ("people").'
}

export const links = (parts: {
  readonly settings: () => Settings
  readonly shelf: Shelf
  readonly keys: KeyRing
  readonly sessions: Sessions
  readonly visitors: Visitors
  readonly note: (entry: Entry) => Promise<void>
  readonly clock: () => number
}): Links => {
  const { settings, shelf, keys, sessions, visitors, note, clock } = parts

  const idOf = ({ channel, kind, team, user }: Account): string =>
    createHash('sha256')
      .update(JSON.stringify([channel, kind, team, user]))
      .digest('base64url')
  const keyOf = (id: string): string => `link:${id}`
  const codeKey = (code: string): string => `link-code:${keys.fingerprints(code, 'link code').at(-1) ?? ''}`

  const read = (key: string, raw: string | undefined): Linked | undefined => {
    const payload = raw === undefined ? undefined : keys.verify(raw, key)
    const linked = payload === undefined ? undefined : (JSON.parse(payload) as Linked)
    return linked?.version === 1 && clock() < linked.untilAt ? linked : undefined
  }

  /** The linked person's visitor, while the session lives and is still theirs. */
  const alive = async (linked: Linked): Promise<Visitor | undefined> => {
    const session = keys.open(linked.session, `${keyOf(idOf(linked.account))}:session`).toString('utf8')
    const visitor = await visitors.ofSession(session)
    const same = visitor?.reviewer.login === linked.login && visitor.reviewer.subject === linked.subject
    return same ? visitor : undefined
  }

  /** Counts an attempt; five in ten minutes are enough for anybody who has the code before their eyes. */
  const attempt = async (account: Account): Promise<void> => {
    for (let nth = 0; nth < triesMost; nth++) {
      if (await shelf.put(`link-try:${idOf(account)}:${nth}`, 'used', { ttlMs: codeMs, when: 'absent' })) return
    }
    throw new HoldpointError('too_many_calls', 'Too many codes were tried. Wait ten minutes, then begin again.', {
      retryAfterS: codeMs / 1000,
    })
  }

  const misfit = ({ reviewer }: Visitor, account: Account, profile: Profile): string | undefined => {
    if (profile.bot) return 'A bot cannot be linked.'
    if (profile.guest) return 'A guest account cannot be linked.'
    if (profile.foreign) return "An account of another company's workspace cannot be linked."
    if (!reviewer.emailTrusted || reviewer.email === undefined)
      return 'Your sign-in has no verified address of a domain that its login vouches for (emailDomains).'
    if (!profile.emailConfirmed || profile.email?.toLowerCase() !== reviewer.email.toLowerCase())
      return 'The address in your chat profile is not the one you signed in with.'
    return notTheirs(account, reviewer, settings())
  }

  return {
    async begin(visitor) {
      if (visitor.session === undefined) throw new HoldpointError('not_approver', 'Sign in at the console to link.')
      const code = Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join('')
      const key = codeKey(code)
      const untilAt = clock() + codeMs
      const sealed = keys.seal(visitor.session, key)
      if (!(await shelf.put(key, sealed, { ttlMs: codeMs, when: 'absent' })))
        throw new HoldpointError('internal', undefined, { cause: new Error('the same code twice') })
      return { code: `${code.slice(0, 4)}-${code.slice(4)}`, untilAt }
    },

    async link(account, code, profile) {
      await attempt(account)
      const key = codeKey(code.toUpperCase().replace(/[\s-]/g, ''))
      const sealed = await shelf.take(key)
      const unknown =
        'This code is not known, was used before, or is older than ten minutes. Begin again at the console.'
      if (sealed === undefined) throw new HoldpointError('not_found', unknown)
      const id = keys.open(sealed, key).toString('utf8')
      const [visitor, session] = [await visitors.ofSession(id), await sessions.find(id, 'quietly')]
      if (visitor === undefined || session === undefined) throw new HoldpointError('not_found', unknown)
      const { reviewer } = visitor
      const why = misfit(visitor, account, profile)
      if (why !== undefined) {
        await note({ kind: 'link.refused', reviewer: whoReviews(reviewer), detail: `${spelled(account)}: ${why}` })
        throw new HoldpointError('not_approver', why)
      }
      await note({ kind: 'link.made', reviewer: whoReviews(reviewer), detail: spelled(account) })
      const place = keyOf(idOf(account))
      const untilAt = session.startedAt + absoluteMs
      const linked: Linked = {
        version: 1,
        account,
        login: reviewer.login,
        subject: reviewer.subject,
        linkedAt: clock(),
        untilAt,
        session: keys.seal(id, `${place}:session`),
      }
      await shelf.put(place, keys.sign(JSON.stringify(linked), place), { ttlMs: Math.max(1, untilAt - clock()) })
      return { ...reviewer, via: account.kind }
    },

    async visitorOf(account) {
      const place = keyOf(idOf(account))
      const linked = read(place, await shelf.get(place))
      const visitor = linked === undefined ? undefined : await alive(linked)
      if (visitor === undefined) return undefined
      const here = (reviewer: Reviewer): Reviewer => ({ ...reviewer, via: account.kind })
      return {
        ...visitor,
        reviewer: here(visitor.reviewer),
        fresh: async () => here(await visitor.fresh()),
        still: async () => {
          const now = await visitor.still()
          return now === undefined ? undefined : here(now)
        },
      }
    },

    async list({ reviewer }) {
      const found: LinkView[] = []
      for (const [key, raw] of await shelf.list('link:')) {
        const linked = read(key, raw)
        if (linked?.login !== reviewer.login || linked.subject !== reviewer.subject) continue
        if ((await alive(linked)) === undefined) continue
        const { account, linkedAt, untilAt } = linked
        found.push({
          id: idOf(account),
          channel: account.channel,
          account: `${account.team}/${account.user}`,
          linkedAt,
          untilAt,
        })
      }
      return found
    },

    async unlink({ reviewer }, id) {
      const raw = /^[A-Za-z0-9_-]{43}$/.test(id) ? await shelf.get(keyOf(id)) : undefined
      const linked = read(keyOf(id), raw)
      if (linked?.login !== reviewer.login || linked.subject !== reviewer.subject)
        throw new HoldpointError('not_found', 'You have no linked account of this id.')
      await note({ kind: 'link.ended', reviewer: whoReviews(reviewer), detail: spelled(linked.account) })
      await shelf.take(keyOf(id))
    },
  }
}
