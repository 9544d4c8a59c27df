// Sessions of people who signed in: an opaque id in a cookie, a signed record on the shelf under a hash of that id.
// The id is never stored, a record that is not signed by us does not exist, and nothing of the record comes from the browser.
import { createHash, randomBytes } from 'node:crypto'
import type { Reviewer } from '../nouns.ts'
import type { KeyRing } from '../seal.ts'
import type { Shelf } from '../store/store.ts'
import type { Person } from './person.ts'

const idleMs = 8 * 3_600_000
/** A session ends after this, whatever happens in it. */
export const absoluteMs = 12 * 3_600_000
const touchMs = 60_000
const attempts = 5

/** What a session keeps. `tokens` are sealed. */
export type Session = {
  readonly version: 1
  readonly login: string
  /** The login entry's issuer and client when this began: another one behind the same name ends it. */
  readonly issuer: string
  readonly clientId: string
  readonly person: Person
  readonly groupsAt: number
  readonly startedAt: number
  readonly seenAt: number
  readonly tokens: string
  /** How this sign-in was made. A refresh does not change it: nobody proved anything anew. */
  readonly proof?: Proof
  /** What the provider calls this session (`sid`), for when it ends it. */
  readonly sid?: string
}

/** What an ID token says of a sign-in: when (`auth_time`) and how strongly (`acr`). */
export type Proof = Pick<Reviewer, 'authAt' | 'acr'>

/** Tokens to ask the provider again with. */
export type Tokens = { readonly refresh?: string; readonly access?: string }

export type Sessions = {
  /** Begins a session under a new id, which is returned. */
  start(
    login: { readonly name: string; readonly issuer: string; readonly clientId: string },
    person: Person,
    tokens: Tokens,
    more?: { readonly proof?: Proof; readonly sid?: string },
  ): Promise<string>
  /** The session of an id, if it lives; being looked at keeps it alive unless `quietly`. */
  find(id: string, how?: 'quietly'): Promise<Session | undefined>
  tokens(id: string, session: Session): Tokens
  /** Replaces person and tokens of a session that still exists; answers the new one. */
  renew(id: string, person: Person, tokens: Tokens): Promise<Session | undefined>
  /** Runs `work` unless somebody else is at it for this session; answers whether it ran. */
  alone(id: string, work: () => Promise<void>): Promise<boolean>
  /** Is somebody at work for this session? */
  busy(id: string): Promise<boolean>
  /** A session's id sealed, to be kept with a verdict, and the id again; undefined if that was not sealed by us. */
  ticket(id: string): string
  ofTicket(ticket: string): string | undefined
  end(id: string): Promise<void>
  /** Ends every session that `fits`; answers those it ended. */
  endEvery(fits: (session: Session) => boolean): Promise<readonly Session[]>
  /** Proof that a form came from a page of this session: a keyed hash of its id. */
  csrf(id: string): string
  csrfFits(id: string, given: string): boolean
}

const newId = (): string => randomBytes(32).toString('base64url')
const hashOf = (text: string): string => createHash('sha256').update(text).digest('base64url')
const wellFormed = (id: string): boolean => /^[A-Za-z0-9_-]{43}$/.test(id)

export const sessions = (shelf: Shelf, keys: KeyRing, clock: () => number): Sessions => {
  const keyOf = (id: string): string => `session:${hashOf(id)}`
  const leaseOf = (id: string): string => `session-lease:${hashOf(id)}`
  const endsAt = (session: Session): number => Math.min(session.seenAt + idleMs, session.startedAt + absoluteMs)

  const read = async (id: string): Promise<{ raw: string; session: Session } | undefined> => {
    if (!wellFormed(id)) return undefined
    const key = keyOf(id)
    const raw = await shelf.get(key)
    const payload = raw === undefined ? undefined : keys.verify(raw, key)
    if (raw === undefined || payload === undefined) return undefined
    const session = JSON.parse(payload) as Session
    return session.version === 1 && clock() < endsAt(session) ? { raw, session } : undefined
  }

  const write = (id: string, session: Session, when: 'absent' | { is: string }): Promise<boolean> => {
    const key = keyOf(id)
    const ttlMs = Math.max(1, endsAt(session) - clock())
    return shelf.put(key, keys.sign(JSON.stringify(session), key), { ttlMs, when })
  }

  const sealed = (id: string, tokens: Tokens): string => keys.seal(JSON.stringify(tokens), `${keyOf(id)}:tokens`)

  return {
    async start(login, person, tokens, more = {}) {
      const id = newId()
      const now = clock()
      const { name, issuer, clientId } = login
      const times = { groupsAt: now, startedAt: now, seenAt: now }
      await write(
        id,
        { version: 1, login: name, issuer, clientId, person, ...times, tokens: sealed(id, tokens), ...more },
        'absent',
      )
      return id
    },
    async find(id, how) {
      const found = await read(id)
      if (found === undefined) return undefined
      const now = clock()
      if (how === undefined && now - found.session.seenAt > touchMs) {
        // If this loses a race, somebody else has just touched or ended it.
        await write(id, { ...found.session, seenAt: now }, { is: found.raw })
      }
      return found.session
    },
    tokens: (id, session) => JSON.parse(keys.open(session.tokens, `${keyOf(id)}:tokens`).toString('utf8')) as Tokens,
    async renew(id, person, tokens) {
      for (let attempt = 0; attempt < attempts; attempt += 1) {
        const found = await read(id)
        if (found === undefined) return undefined
        // Others ask for it too, in this person's name: that is no sign of life.
        const renewed = { ...found.session, person, groupsAt: clock(), tokens: sealed(id, tokens) }
        if (await write(id, renewed, { is: found.raw })) return renewed
      }
      return undefined
    },
    async alone(id, work) {
      const mark = newId()
      if (!(await shelf.put(leaseOf(id), mark, { ttlMs: 60_000, when: 'absent' }))) return false
      try {
        await work()
      } finally {
        await shelf.take(leaseOf(id))
      }
      return true
    },
    busy: async id => (await shelf.get(leaseOf(id))) !== undefined,
    ticket: id => keys.seal(id, 'session ticket'),
    ofTicket(ticket) {
      try {
        return keys.open(ticket, 'session ticket').toString('utf8')
      } catch {
        return undefined
      }
    },
    async end(id) {
      if (wellFormed(id)) await shelf.take(keyOf(id))
    },
    async endEvery(fits) {
      const ended: Session[] = []
      for (const [key, raw] of await shelf.list('session:')) {
        const payload = keys.verify(raw, key)
        const session = payload === undefined ? undefined : (JSON.parse(payload) as Session)
        if (session === undefined || !fits(session) || (await shelf.take(key)) === undefined) continue
        ended.push(session)
      }
      return ended
    },
    csrf: id => keys.fingerprints(id, 'console csrf')[0] ?? '',
    // Compared as hashes, so that time tells nothing about the token.
    csrfFits: (id, given) => keys.fingerprints(id, 'console csrf').some(token => hashOf(token) === hashOf(given)),
  }
}
