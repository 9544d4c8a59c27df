// The entries of `issuers` as identify.ts sees them, and what issuers, logins and people have to say to each other.
import { resolve } from 'node:path'
import type { z } from 'zod'
import type { Introspection, Issuer, PersonEntry, Settings } from '../settings.ts'
import type * as schema from './issuer-schema.ts'
import type { Placed } from './parts.ts'
import type { Path } from './source.ts'
import type { Reader } from './strict.ts'

type Entry = z.output<typeof schema.issuer>

/** `folder` is what the paths of its files are relative to. */
export const buildIssuer = (reader: Reader, { value, path }: Placed<Entry>, folder: string): Issuer => {
  const introspect = buildIntrospection(reader, value, path)
  if (introspect === undefined) {
    for (const key of ['issuer', 'audience'] as const)
      if (value[key] === undefined) reader.say([...path, key], `issuers[${path[1]}].${key} is missing`)
  }
  return {
    name: value.name,
    issuer: value.issuer,
    introspect,
    directory: value.directory,
    audience: value.audience ?? [],
    algorithms: value.algorithms,
    typ: value.typ,
    claims: { ...value.claims, reason: value.claims.reason ?? [] },
    kind: value.kind,
    ownerless: value.ownerless,
    jwksUri: value.jwksUri,
    caFile: value.caFile && resolve(folder, value.caFile),
    bearerTokenFile: value.bearerTokenFile && resolve(folder, value.bearerTokenFile),
    staleForMs: value.staleFor,
    dpop: value.dpop,
    mtls: value.mtls,
  }
}

const buildIntrospection = (reader: Reader, value: Entry, path: Path): Introspection | undefined => {
  const { introspect: url, clientId, clientSecret, prefix } = value
  const say = (key: string, message: string): void =>
    reader.say([...path, key], `issuers[${path[1]}].${key} ${message}`)
  if (url === undefined) {
    for (const key of ['clientId', 'clientSecret', 'prefix'] as const)
      if (value[key] !== undefined) say(key, 'is for an entry with introspect')
    return undefined
  }
  for (const key of ['jwksUri', 'typ'] as const)
    if (value[key] !== undefined) say(key, 'has no meaning beside introspect: its tokens are asked about, not verified')
  const asClient = clientId !== undefined && clientSecret !== undefined
  const half = (clientId === undefined) !== (clientSecret === undefined)
  if (half || asClient === (value.bearerTokenFile !== undefined))
    say('introspect', 'needs clientId and clientSecret, or a bearerTokenFile: nobody is told about tokens unasked')
  return { url, clientId, clientSecret, prefix, cacheForMs: value.cacheFor }
}

// OIDC Core §2: the audience of an ID token is the client it was made for.
const asIdTokens = 'its ID tokens would pass for access tokens; give the API an audience of its own'

/** What issuers, logins, people and channels have to say to each other. Undefined lists could not be read. */
export const checkIdentities = (
  reader: Reader,
  issuers: readonly Placed<Issuer>[],
  console: Settings['console'] | undefined,
  people: readonly Placed<PersonEntry>[],
  channels: readonly string[],
): void => {
  const logins = console?.login ?? []
  const clients = new Set(logins.flatMap(({ clientId, interactive }) => [clientId, ...(interactive?.clients ?? [])]))
  if (console?.audience !== undefined && clients.has(console.audience))
    reader.say(['console', 'audience'], `console.audience is also the client id of a login: ${asIdTokens}`)
  const names = new Map(logins.map(({ name }, index) => [name, `console.login[${index}]`]))
  if (names.size < logins.length)
    reader.say(
      ['console', 'login'],
      'console.login: two logins have the same name; names are unique over login and issuers',
    )
  for (const { value, path } of issuers) {
    const other = names.get(value.name)
    if (other !== undefined)
      reader.say(
        [...path, 'name'],
        `"${value.name}" is already the name of ${other}; names are unique over login and issuers`,
      )
    names.set(value.name, `issuers[${path[1]}]`)
    if (value.directory !== undefined && logins.length > 0 && !logins.some(({ name }) => name === value.directory)) {
      reader.say([...path, 'directory'], `no login is called "${value.directory}"`)
    }
    if (console?.audience !== undefined && value.audience.includes(console.audience)) {
      reader.say(
        [...path, 'audience'],
        "the audience is also the console's: a token for the gate would open the console; use two audiences",
      )
    }
    if (value.issuer !== undefined && value.audience.some(audience => clients.has(audience)))
      reader.say([...path, 'audience'], `the audience is also the client id of a login: ${asIdTokens}`)
  }
  const urls = new Map<string, string>()
  for (const { value, path } of issuers) {
    if (value.issuer === undefined) continue
    const other = urls.get(value.issuer)
    if (other !== undefined)
      reader.say([...path, 'issuer'], `"${other}" has the same issuer; give it both audiences in one entry`)
    urls.set(value.issuer, value.name)
  }
  checkPrefixes(reader, issuers)
  for (const name of channels) {
    const other = names.get(name)
    if (other !== undefined)
      reader.say(
        ['channels', name],
        `"${name}" is already the name of ${other}; names are unique over login, issuers and channels`,
        'key',
      )
    names.set(name, `channels.${name}`)
  }
  const persons = new Set<string>()
  for (const { value, path } of people) {
    if (persons.has(value.name))
      reader.say(
        [...path, 'name'],
        `two people are called "${value.name}"; put all accounts of one human into one entry`,
      )
    persons.add(value.name)
  }
  for (const { value, path } of console === undefined ? [] : people) {
    for (const key of ['accounts', 'owns'] as const) {
      for (const [index, account] of value[key].entries()) {
        const place = account.slice(0, account.indexOf(':'))
        if (!names.has(place))
          reader.say([...path, key, index], `"${place}" is the name of no login, no issuer and no channel`)
      }
    }
  }
}

// An opaque token says nothing of where it is from: two entries that both could answer for it are one too many.
const checkPrefixes = (reader: Reader, issuers: readonly Placed<Issuer>[]): void => {
  const asked = issuers.flatMap(({ value, path }) =>
    value.introspect === undefined ? [] : [{ name: value.name, prefix: value.introspect.prefix, path }],
  )
  for (const [index, { name, prefix, path }] of asked.entries()) {
    const other = asked.slice(0, index).find(one => overlap(one.prefix, prefix))
    if (other !== undefined)
      reader.say(
        [...path, prefix === undefined ? 'introspect' : 'prefix'],
        `"${other.name}" and "${name}" could both answer for the same opaque tokens; give each a prefix that its tokens begin with`,
      )
  }
}

const overlap = (one: string | undefined, other: string | undefined): boolean =>
  one === undefined || other === undefined ? one === other : one.startsWith(other) || other.startsWith(one)
