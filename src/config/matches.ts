// What a rule's match must not say: names of things that do not exist, headers that no rule can trust, tests that can never fit an upstream.
import { METHODS } from 'node:http'
import { isVolatile } from '../hold.ts'
import { compileWhen } from '../match/when.ts'
import { nameOf } from '../names.ts'
import type { CredentialSettings, Match, Outcome, Upstream, ValueTest } from '../settings.ts'
import { mcp } from '../upstreams/mcp.ts'
import { testValue } from '../value.ts'
import type { Names } from './approvers.ts'
import { askedOf, noPaths, unfit } from './asked.ts'
import { encodedDelimiters } from './globs.ts'
import type { Path } from './source.ts'
import { type Reader, unknownName } from './strict.ts'

export const checkMatch = (
  reader: Reader,
  { match, then }: { readonly match: Match; readonly then: Outcome },
  path: Path,
  { upstreams, upstreamNames, issuers }: Names,
): void => {
  const exist = (test: ValueTest | undefined, at: Path, known: readonly string[], what: string): void => {
    for (const { written } of unfit(test, known)) reader.say(at, unknownName(what, written, known) ?? '')
  }
  exist(match.upstream, [...path, 'upstream'], upstreamNames, 'upstream')
  exist(match.caller?.issuer, [...path, 'caller', 'issuer'], issuers, 'issuer')
  const covered = upstreams.filter(
    ({ name }) => match.upstream === undefined || testValue(match.upstream, name) !== false,
  )
  for (const header of Object.keys(match.header ?? {})) {
    const message = unreadable(header.toLowerCase(), covered)
    if (message !== undefined) reader.say([...path, 'header', header], `"${header}" ${message}`, 'key')
  }
  for (const header of match.when === undefined ? [] : compileWhen(match.when).headers) {
    const message = unreadable(header, covered)
    if (message !== undefined) reader.say([...path, 'when'], `"${header}" ${message}`)
  }
  for (const pointer of Object.keys(match.json ?? {})) {
    const one = covered.find(({ kind }) => volatileJson[kind]?.includes(pointer))
    if (one !== undefined)
      reader.say(
        [...path, 'json', pointer],
        `"${pointer}" changes from retry to retry (of upstream "${one.name}"): it is not part of what is approved, so no rule may read it`,
        'key',
      )
  }
  checkGlobs(reader, match, then, path)
  if (covered.length > 0 && covered.every(({ kind }) => kind === 'http')) checkHttp(reader, match, path)
  else if (covered.length > 0) checkKinds(reader, match, path, [...new Set(covered.map(({ kind }) => kind))])
}

const volatileJson: { readonly [kind: string]: readonly string[] | undefined } = { mcp: mcp.volatileJson }

/** Why no rule may read a header (lower case), if so. */
const unreadable = (header: string, covered: readonly Upstream[]): string | undefined => {
  if (header === 'host') return 'is not read as a header; ask "host"'
  if (header === 'content-length') return 'is not read as a header; ask "body: { size: ... }"'
  if (header.includes('_') || nameOf(header).stripped)
    return 'is never taken from a caller: the upstream does not get it, so no rule may read it'
  const token = covered.find(({ tokenHeader }) => tokenHeader === header)
  if (token !== undefined)
    return `carries the caller's token (to the upstream "${token.name}"), which is for us: ask "caller" instead`
  const replaced = covered.find(({ credential }) => sets(credential, header))
  if (replaced !== undefined)
    return `is replaced by the credential of the upstream "${replaced.name}": what a caller sends there does not count, so no rule may read it`
  const volatile = covered.find(({ volatileHeaders }) => isVolatile(header, new Set(volatileHeaders)))
  return volatile === undefined
    ? undefined
    : `is a volatile header (of upstream "${volatile.name}"): it is not part of what is approved, so no rule may read it`
}

const sets = (credential: CredentialSettings | undefined, header: string): boolean =>
  credential?.kind === 'headers'
    ? Object.keys(credential.headers).some(name => name.toLowerCase() === header)
    : credential !== undefined && header === 'authorization'

const checkGlobs = (reader: Reader, match: Match, then: Outcome, path: Path): void => {
  if (then === 'allow') return
  for (const [index, glob] of [match.path ?? []].flat().entries()) {
    for (const { triplet, plain } of encodedDelimiters(glob)) {
      reader.say(
        Array.isArray(match.path) ? [...path, 'path', index] : [...path, 'path'],
        `write "${plain}" instead of "${triplet}": that fits both, this would let the plain character through`,
      )
    }
  }
}

const actions = METHODS.map(method => `http:${method}`)

const checkHttp = (reader: Reader, match: Match, path: Path): void => {
  for (const { written } of unfit(match.action, actions))
    reader.say(
      [...path, 'action'],
      `never fits: "${written}" is no action of an http upstream; they are called "http:" and the method, such as "http:POST"`,
    )
  for (const { written } of noPaths(match.resource))
    reader.say(
      [...path, 'resource'],
      `never fits: "${written}" is no resource of an http upstream; that is the path, which begins with "/"`,
    )
  for (const field of Object.keys(match.fields ?? {}).filter(name => name !== 'upgrade'))
    reader.say(
      [...path, 'fields', field],
      'never fits: the only field of an http upstream is "upgrade", which is "websocket" where a call asks for a tunnel; remove it',
      'key',
    )
}

// What the actions of a kind begin with, and their fields. Those of AWS begin with the name of a service.
const sqlActions = { begins: 'sql:', fields: ['statement', 'database', 'table'] }
const actionsOf: { readonly [kind: string]: { readonly begins: string; readonly fields: readonly string[] } } = {
  http: { begins: 'http:', fields: ['upgrade'] },
  clickhouse: sqlActions,
  influxdb: sqlActions,
  sql: sqlActions,
  postgrest: { begins: 'postgrest:', fields: ['schema', 'filtered'] },
  elasticsearch: { begins: 'es:', fields: ['api', 'index'] },
  graphql: { begins: 'graphql:', fields: ['operation', 'inline', 'upgrade'] },
}

const checkKinds = (reader: Reader, match: Match, path: Path, kinds: readonly Upstream['kind'][]): void => {
  const known = kinds.flatMap(kind => actionsOf[kind] ?? [])
  // Of a kind that is not in the table nothing is known.
  if (known.length < kinds.length) return
  const begins = [...new Set(known.map(one => one.begins))]
  const possible = new Set(known.flatMap(one => one.fields))
  for (const { how, written } of askedOf(match.action))
    if ((how === 'glob' || how === 'is') && !begins.some(one => mayBegin(written, how, one)))
      reader.say(
        [...path, 'action'],
        `never fits: "${written}" is no action of ${kinds.join(' or ')}; they begin with ${begins.map(one => `"${one}"`).join(' or ')}`,
      )
  for (const field of Object.keys(match.fields ?? {}).filter(name => !possible.has(name)))
    reader.say(
      [...path, 'fields', field],
      `never fits: the fields of ${kinds.join(' or ')} are ${[...possible].map(name => `"${name}"`).join(', ')}`,
      'key',
    )
}

/** Can what begins like this fit a glob or an exact text? */
const mayBegin = (written: string, how: 'glob' | 'is', begins: string): boolean => {
  const literal = how === 'is' ? written : (written.split('*')[0] ?? '')
  return literal.startsWith(begins) || (how === 'glob' && literal.length < written.length && begins.startsWith(literal))
}
