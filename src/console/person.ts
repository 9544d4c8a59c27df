// Claims of an ID token, UserInfo answer or access token -> who somebody is. Pure; the claims were verified before.
// To qualify is strict: an e-mail counts only if its own source says it is verified and its domain belongs to the login.
import { claimAt } from '../claims.ts'
import type { Json, Reviewer } from '../nouns.ts'
import type { Login } from '../settings.ts'

export type Claims = { readonly [name: string]: unknown }

/** Somebody as their login describes them, before it is known how far their e-mail is trusted. */
export type Person = {
  readonly subject: string
  readonly ids: readonly string[]
  readonly name: string
  readonly email?: string
  readonly emailVerified: boolean
  readonly groups: readonly string[]
}

// By name or by JSON pointer, as at the gate. What openid-client hands over is parsed JSON.
const own = (claims: Claims, name: string): unknown => claimAt(claims as { readonly [name: string]: Json }, name)

/** The first of the named claims that is there as text. */
export const claimText = (claims: Claims, names: readonly string[]): string | undefined => {
  for (const name of names) {
    const value = own(claims, name)
    if (typeof value === 'string' && value !== '') return value
    if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  }
  return undefined
}

const groupsIn = (claims: Claims, names: readonly string[]): readonly string[] | undefined => {
  for (const name of names) {
    const value = own(claims, name)
    if (value === undefined || value === null) continue
    return (Array.isArray(value) ? value : [value]).filter(group => typeof group === 'string' && group !== '')
  }
  return undefined
}

/** Does this source say which groups somebody is in, even if it says none? */
export const knowsGroups = (login: Login, claims: Claims): boolean =>
  groupsIn(claims, login.claims.groups) !== undefined

/** Must another source be asked to know this person's e-mail and groups? */
export const incomplete = (login: Login, claims: Claims): boolean =>
  !knowsGroups(login, claims) || claimText(claims, login.claims.email) === undefined

// `email_verified` vouches for the claim `email` of the same source (OIDC Core §5.1) and for nothing else.
const emailIn = (claims: Claims, names: readonly string[]): { email: string; verified: boolean } | undefined => {
  for (const name of names) {
    const value = own(claims, name)
    if (typeof value !== 'string' || value === '') continue
    return { email: value, verified: name === 'email' && own(claims, 'email_verified') === true }
  }
  return undefined
}

/** Who `sources` describe, the first one that says a thing being believed. All of them were verified to have the same `subject`. */
export const personOf = (login: Login, subject: string, sources: readonly Claims[]): Person => {
  const first = <T>(find: (claims: Claims) => T | undefined): T | undefined => {
    for (const claims of sources) {
      const found = find(claims)
      if (found !== undefined) return found
    }
    return undefined
  }
  const ids = sources.flatMap(claims => login.claims.person.map(name => claimText(claims, [name])))
  const email = first(claims => emailIn(claims, login.claims.email))
  return {
    subject,
    ids: [...new Set([subject, ...ids.filter(id => id !== undefined)])],
    name: first(claims => claimText(claims, login.claims.name)) ?? email?.email ?? subject,
    ...(email === undefined ? {} : { email: email.email }),
    emailVerified: email?.verified === true,
    groups: first(claims => groupsIn(claims, login.claims.groups)) ?? [],
  }
}

/** Is the address verified, in one reading, and of a domain that this login vouches for? */
export const emailTrusted = (login: Login, person: Pick<Person, 'email' | 'emailVerified'>): boolean => {
  const [, domain] = /^[^\s@"<>]+@([^\s@"<>]+)$/.exec(person.email ?? '') ?? []
  return (
    person.emailVerified &&
    domain !== undefined &&
    login.emailDomains.some(d => d.toLowerCase() === domain.toLowerCase())
  )
}

/** When and how strongly somebody proved who they are, as verified claims say it. */
export const proofOf = (claims: Claims): Pick<Reviewer, 'authAt' | 'acr'> => {
  const { auth_time: at, acr } = claims
  return {
    ...(typeof at === 'number' && Number.isFinite(at) ? { authAt: at * 1000 } : {}),
    ...(typeof acr === 'string' && acr !== '' ? { acr } : {}),
  }
}

/** A person as a reviewer. */
export const reviewerOf = (
  login: Login,
  person: Person,
  how: Pick<Reviewer, 'groupsAt' | 'via' | 'interactive' | 'authAt' | 'acr'>,
): Reviewer => ({
  login: login.name,
  subject: person.subject,
  ids: person.ids,
  name: person.name,
  ...(person.email === undefined ? {} : { email: person.email }),
  emailTrusted: emailTrusted(login, person),
  groups: person.groups,
  ...how,
})
