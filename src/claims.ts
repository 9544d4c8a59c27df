// Verified claims -> who calls. Which claim says what is the issuer's entry in the configuration; what cannot be told is a workload.
// A claim is named as it stands in the token, or by a JSON pointer: `/kubernetes.io/serviceaccount/name`.
import type { Actor, Caller, CallerKind, Json } from './nouns.ts'
import type { Issuer, ValueTest } from './settings.ts'
import type { Claims, Refuse } from './token.ts'
import { testValue } from './value.ts'

const maxGroups = 200
const maxActors = 8

const member = (value: Json | undefined, name: string): Json | undefined =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Claims)[name]
    : undefined

/** A claim by its name, or by JSON pointer (RFC 6901) if that begins with "/". Only objects are entered. */
export const claimAt = (claims: Claims, name: string): Json | undefined => {
  if (!name.startsWith('/')) return member(claims, name)
  let at: Json | undefined = claims
  for (const segment of name.slice(1).split('/')) at = member(at, segment.replaceAll('~1', '/').replaceAll('~0', '~'))
  return at
}

/** Does the token itself say that nobody checked the caller's e-mail address? Many say nothing. */
export const isUnchecked = ({ email_verified: said }: Claims): boolean =>
  said !== undefined && said !== true && said !== 'true'

/** The first of the named claims that is there, as text. */
const text = (claims: Claims, names: readonly string[]): string | undefined => {
  for (const name of names) {
    const value = claimAt(claims, name)
    if (typeof value === 'string' && value !== '') return value
    if (typeof value === 'number') return String(value)
  }
  return undefined
}

/** @throws what `refuse` makes of a token without subject, with too many groups, or whose `act` is no chain */
export const callerOf = (claims: Claims, issuer: Issuer, expiresAt: number, refuse: Refuse): Caller => {
  const subject = text(claims, issuer.claims.subject)
  if (subject === undefined) throw refuse(`The token has no ${issuer.claims.subject.join(' or ')}.`)
  const client = text(claims, issuer.claims.client)
  const person = text(claims, issuer.claims.person)
  const email = text(claims, issuer.claims.email)
  const owner = ownerOf(claims, issuer.claims.owner)
  const name = text(claims, issuer.claims.name)
  const reason = text(claims, issuer.claims.reason)
  const actors = actorsOf(claims.act, issuer, refuse)
  return {
    issuer: issuer.name,
    ...(issuer.directory === undefined ? {} : { directory: issuer.directory }),
    subject,
    ...(person === undefined ? {} : { person }),
    ...(client === undefined ? {} : { client }),
    kind: kindOf(claims, issuer, { subject, client, person, email, owner }, actors.length > 0),
    ...(name === undefined ? {} : { name }),
    ...(email === undefined ? {} : { email }),
    groups: groupsOf(claims, issuer, refuse),
    ...(owner === undefined ? {} : { owner }),
    ...(reason === undefined ? {} : { reason }),
    actors,
    claims,
    expiresAt,
  }
}

/** Several owners read as one text with commas between them; people.ts takes it apart. */
const ownerOf = (claims: Claims, names: readonly string[]): string | undefined => {
  for (const name of names) {
    const value = claimAt(claims, name)
    const owners = Array.isArray(value) ? value.flatMap(one => text({ one }, ['one']) ?? []) : []
    const owner = owners.length > 0 ? owners.join(', ') : text(claims, [name])
    if (owner !== undefined) return owner
  }
  return undefined
}

const groupsOf = (claims: Claims, issuer: Issuer, refuse: Refuse): readonly string[] => {
  const value = issuer.claims.groups.map(name => claimAt(claims, name)).find(one => one !== undefined)
  const groups = (Array.isArray(value) ? value : [value]).filter(group => typeof group === 'string')
  if (groups.length > maxGroups) throw refuse(`The token names more than ${maxGroups} groups.`)
  return groups
}

// RFC 8693 §4.1: the outermost act is the current actor, deeper ones are history. All of them are behind the call.
const actorsOf = (act: Json | undefined, issuer: Issuer, refuse: Refuse): Actor[] => {
  const actors: Actor[] = []
  for (let at = act; at !== undefined; ) {
    if (at === null || typeof at !== 'object' || Array.isArray(at)) throw refuse("The token's act is not an object.")
    const claims = at as Claims
    const subject = text(claims, ['sub'])
    if (subject === undefined) throw refuse("An actor in the token's act has no sub.")
    if (actors.length === maxActors) throw refuse(`The token's act chain is longer than ${maxActors}.`)
    const client = text(claims, issuer.claims.client)
    const email = text(claims, ['email'])
    actors.push({
      issuer: issuer.name,
      subject,
      ...(client === undefined ? {} : { client }),
      ...(email === undefined ? {} : { email }),
    })
    at = claims.act
  }
  return actors
}

type Who = {
  readonly subject: string
  readonly client: string | undefined
  readonly person: string | undefined
  readonly email: string | undefined
  readonly owner: string | undefined
}

const kindOf = (claims: Claims, issuer: Issuer, who: Who, delegated: boolean): CallerKind => {
  const kind =
    issuer.kind === 'auto'
      ? told(claims, who)
      : typeof issuer.kind === 'string'
        ? issuer.kind
        : (issuer.kind.find(({ when }) => Object.entries(when).every(test => fits(claims, test)))?.kind ?? 'workload')
  // A token with an act chain is used by its actor, who is never a human at the keyboard.
  return delegated && kind === 'human' ? 'agent' : kind
}

const fits = (claims: Claims, [name, test]: [string, ValueTest]): boolean =>
  testValue(test, claimAt(claims, name)) === true

const told = (claims: Claims, who: Who): CallerKind => {
  if (who.owner !== undefined) return 'agent'
  if (isMachine(claims, who)) return 'workload'
  return who.person !== undefined || who.email !== undefined ? 'human' : 'workload'
}

// How the issuers in use say that nobody is at the keyboard. Several of these tokens carry a person's claim (oid, email) all the same.
const isMachine = (claims: Claims, { subject, client, email }: Who): boolean =>
  // RFC 9068 §2.2 leaves the client id as subject; Okta (cid), Google's service accounts (azp) and others do so, Auth0 nearly.
  (client !== undefined && (client === subject || subject === `${client}@clients`)) ||
  claims.gty === 'client-credentials' ||
  // Entra: idtyp where it is configured; without it an application's subject is its own object id, and nothing was delegated (scp).
  claims.idtyp === 'app' ||
  (claims.oid !== undefined && claims.oid === claims.sub && claims.scp === undefined) ||
  // Kubernetes.
  subject.startsWith('system:') ||
  // Google, where azp says something else.
  (email?.endsWith('.gserviceaccount.com') ?? false)
