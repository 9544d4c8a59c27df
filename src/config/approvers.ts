// Who may approve, as verdicts are judged by: groups as `login:group`, people as addresses or accounts at logins.
import type { z } from 'zod'
import type { Approve, PersonEntry, Upstream } from '../settings.ts'
import type * as schema from './rules-schema.ts'
import type { Path } from './source.ts'
import { type Reader, unknownName } from './strict.ts'

/** What rules may name. Names are given even if what they name could not be read; logins are undefined if they could not. */
export type Names = {
  readonly logins: readonly string[] | undefined
  readonly issuers: readonly string[]
  readonly upstreamNames: readonly string[]
  /** Those that could be read. */
  readonly upstreams: readonly Upstream[]
  readonly people: readonly PersonEntry[]
  readonly channels: readonly string[]
}

export const resolveApprove = (
  reader: Reader,
  value: z.output<typeof schema.approve>,
  path: Path,
  names: Names,
): Approve => ({
  ...resolveBy(reader, value.by, [...path, 'by'], names),
  votes: value.votes,
  withinMs: value.within,
  approvedForMs: value.approvedFor,
  waitMs: value.wait,
  onDisconnect: value.onDisconnect,
  reason: value.reason,
  comment: value.comment,
  unreadable: value.unreadable,
  approveUnseen: value.approveUnseen,
  ...(value.stepUp === undefined ? {} : { stepUp: { acr: value.stepUp.acr ?? [], maxAgeMs: value.stepUp.maxAge } }),
  ...(value.breakGlass === undefined
    ? {}
    : {
        breakGlass: {
          groups: value.breakGlass.groups.map((group, index) =>
            qualifyGroup(reader, group, [...path, 'breakGlass', 'groups', index], names.logins),
          ),
        },
      }),
  ...(value.grant === undefined ? {} : { grant: resolveGrant(value.grant) }),
  ...(value.escalate === undefined ? {} : { escalate: resolveEscalation(reader, value, path, names) }),
})

const perMs = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const

const resolveGrant = ({
  uses,
  for: forMs,
  rate,
}: NonNullable<z.output<typeof schema.approve>['grant']>): NonNullable<Approve['grant']> => {
  if (rate === undefined) return { uses, forMs }
  const [most = '', unit = 'm'] = rate.split('/')
  return { uses, forMs, rate: { uses: Number(most), perMs: perMs[unit as keyof typeof perMs] } }
}

const resolveBy = (
  reader: Reader,
  by: z.output<typeof schema.approve>['by'],
  path: Path,
  names: Names,
): Pick<Approve, 'groups' | 'people'> => ({
  groups: by.groups.map((group, index) => qualifyGroup(reader, group, [...path, 'groups', index], names.logins)),
  people: by.people.flatMap((person, index) => qualifyPerson(reader, person, [...path, 'people', index], names)),
})

const resolveEscalation = (
  reader: Reader,
  { escalate, within }: z.output<typeof schema.approve>,
  path: Path,
  names: Names,
): NonNullable<Approve['escalate']> => {
  const place = [...path, 'escalate']
  const { after = 0, notify = [], by } = escalate ?? {}
  if (after >= within) reader.say([...place, 'after'], 'escalate.after must be less than within: then it has expired')
  for (const [index, channel] of notify.entries()) checkChannel(reader, channel, [...place, 'notify', index], names)
  const resolved = by === undefined ? { groups: [], people: [] } : resolveBy(reader, by, [...place, 'by'], names)
  return { afterMs: after, notify, ...resolved }
}

/** Says so if no channel is called that. */
export const checkChannel = (reader: Reader, channel: string, path: Path, { channels }: Names): void => {
  const message = unknownName('channel', channel, channels)
  if (message !== undefined) reader.say(path, `${message}${channels.length === 0 ? '; add it to "channels"' : ''}`)
}

/** `login:group`; a bare name is of the one login there is. */
export const qualifyGroup = (
  reader: Reader,
  group: string,
  path: Path,
  logins: readonly string[] | undefined,
): string => {
  if (logins === undefined) return group
  const colon = group.indexOf(':')
  if (colon > 0 && logins.includes(group.slice(0, colon)) && colon < group.length - 1) return group
  const [login, ...more] = logins
  if (login === undefined) reader.say(path, 'a group is a login\'s, and there is no login: add one to "console.login"')
  else if (more.length > 0)
    reader.say(path, `"${group}" does not say which login's group it is: write "${login}:${group}"`)
  else return `${login}:${group}`
  return group
}

/** An e-mail address, `login:subject`, or an entry of `people`, which stands for its accounts at logins. */
const qualifyPerson = (reader: Reader, person: string, path: Path, { logins, people }: Names): string[] => {
  if (logins === undefined) return [person]
  const atLogin = (account: string): boolean => logins.includes(account.slice(0, Math.max(0, account.indexOf(':'))))
  if (atLogin(person)) return [person]
  const entry = people.find(one => one.name === person)
  const accounts = entry?.accounts.filter(atLogin) ?? []
  if (accounts.length > 0) return accounts
  if (entry === undefined && /^[^@\s:]+@[^@\s]+$/.test(person)) return [person]
  reader.say(
    path,
    entry === undefined
      ? `"${person}" is no e-mail address, no account such as "login:subject", and no entry of "people"`
      : `"${person}" has no account at a login, so nobody can sign in as this person`,
  )
  return []
}
