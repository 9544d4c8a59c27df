// A call that is only described: a test beside a rule, or somebody's question. It takes the steps of a real call up to the rules (target,
// route, readings, body) and is never sent.
import { parseBody } from './body.ts'
import { HoldpointError } from './errors.ts'
import { kindOf, type Seen } from './judge.ts'
import type { Call, Caller, Header, Json } from './nouns.ts'
import { settle } from './receive.ts'
import { route } from './route.ts'
import type { RuleTest, Settings, TestCaller } from './settings.ts'
import { parseTarget } from './target.ts'

export type Described = Omit<RuleTest['call'], 'caller'> & { readonly caller: TestCaller }

/** What the rules would see of it. @throws whatever the gate would answer before it asks the rules, such as no_route or malformed */
export const rehearse = (settings: Settings, described: Described): Seen => {
  const { body: bytes, headers } = bodyOf(described)
  const asked = callOf(described, headers, bytes)
  const routed = route(asked, settings)
  if (routed === undefined) throw new HoldpointError('no_route', `No upstream is configured at ${asked.path}.`)
  const { upstream, cut } = routed
  const call = kindOf(upstream).admit?.(asked, upstream) ?? asked
  const within = (path: string): string => path.slice(cut.length) || '/'
  return {
    call,
    paths: [...new Set(settle(call, upstream).map(within))],
    upstream,
    caller: callerOf(described.caller),
    body: parseBody(headers, bytes, upstream.limits.inspect),
    at: call.receivedAt,
  }
}

const bodyOf = (call: Described): { readonly body: Buffer; readonly headers: readonly Header[] } => {
  const given = Object.entries(call.headers).map(([name, value]): Header => [name, value])
  const typed = (type: string): readonly Header[] =>
    given.some(([name]) => name.toLowerCase() === 'content-type') ? given : [...given, ['Content-Type', type]]
  if (call.json !== undefined)
    return { body: Buffer.from(JSON.stringify(call.json)), headers: typed('application/json') }
  if (call.form !== undefined)
    return {
      body: Buffer.from(new URLSearchParams(call.form).toString()),
      headers: typed('application/x-www-form-urlencoded'),
    }
  return { body: Buffer.from(call.body ?? ''), headers: given }
}

const callOf = (call: Described, headers: readonly Header[], body: Buffer): Call => {
  const [, scheme = 'https', host = 'localhost', target = '/'] =
    /^(?:(https?):\/\/([^/?#]+))?(.*)$/.exec(call.url) ?? []
  return {
    id: 'described',
    receivedAt: call.at === undefined ? Date.now() : Date.parse(call.at),
    method: call.method,
    ...parseTarget(target === '' ? '/' : target),
    host: host.toLowerCase().replace(/:\d+$/, ''),
    headers,
    address: '127.0.0.1',
    scheme: scheme as Call['scheme'],
    httpVersion: '1.1',
    contentLength: body.length,
  }
}

const callerOf = ({ client, owner, email, ...caller }: TestCaller): Caller => ({
  ...caller,
  ...(client === undefined ? {} : { client }),
  ...(owner === undefined ? {} : { owner }),
  ...(email === undefined ? {} : { email }),
  actors: [],
  expiresAt: Number.POSITIVE_INFINITY,
})

// ---- a question from outside

const kinds = ['agent', 'workload', 'human'] as const
const longest = 4_096

const bad = (detail: string): HoldpointError => new HoldpointError('malformed', detail)

type Members = { readonly [name: string]: Json }

const membersOf = (value: Json | undefined, what: string, known?: readonly string[]): Members => {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw bad(`${what}: must be an object.`)
  const members = value as Members
  for (const name of Object.keys(members))
    if (known !== undefined && !known.includes(name))
      throw bad(`${what}: "${name.slice(0, 40)}" is not known here; it takes ${known.join(', ')}.`)
  return members
}

const textOf = (value: Json | undefined, what: string): string => {
  if (typeof value !== 'string' || value === '' || value.length > longest)
    throw bad(`${what}: must be a text of 1 to ${longest} characters.`)
  return value
}

const textsOf = (value: Json | undefined, what: string): { readonly [name: string]: string } =>
  Object.fromEntries(
    Object.entries(membersOf(value ?? {}, what)).map(([name, one]) => {
      if (typeof one !== 'string') throw bad(`${what}.${name.slice(0, 40)}: must be a text.`)
      return [name, one]
    }),
  )

/** `name` of an entry of `callers`, or a caller in words of its own. */
const askedCaller = (value: Json | undefined, settings: Settings): TestCaller => {
  if (typeof value === 'string') {
    const known = Object.hasOwn(settings.callers, value) ? settings.callers[value] : undefined
    if (known !== undefined) return known
    const names = Object.keys(settings.callers).join(', ')
    throw bad(
      `caller: "${value.slice(0, 40)}" is none of the configuration's callers (${names || 'there are none'}); say issuer, subject and kind instead.`,
    )
  }
  const caller = membersOf(value, 'caller', [
    ...['issuer', 'subject', 'kind', 'client', 'groups', 'owner', 'email', 'claims'],
  ])
  const issuers = settings.issuers.map(({ name }) => name)
  const issuer = textOf(caller.issuer, 'caller.issuer')
  if (!issuers.includes(issuer)) throw bad(`caller.issuer: must be one of ${issuers.join(', ')}.`)
  const kind = kinds.find(one => one === caller.kind)
  if (kind === undefined) throw bad(`caller.kind: must be one of ${kinds.join(', ')}.`)
  const groups = caller.groups ?? []
  if (!Array.isArray(groups) || !groups.every(group => typeof group === 'string'))
    throw bad('caller.groups: must be a list of texts.')
  const optional = (name: 'client' | 'owner' | 'email'): object =>
    caller[name] === undefined ? {} : { [name]: textOf(caller[name], `caller.${name}`) }
  return {
    ...{ issuer, subject: textOf(caller.subject, 'caller.subject'), kind, groups: groups as readonly string[] },
    ...{ ...optional('client'), ...optional('owner'), ...optional('email') },
    claims: membersOf(caller.claims ?? {}, 'caller.claims'),
  }
}

/** A described call as somebody sent it, read strictly. @throws malformed, naming the member */
export const describedOf = (value: Json, settings: Settings): Described => {
  const asked = membersOf(value, 'the call', ['caller', 'method', 'url', 'headers', 'json', 'form', 'body', 'at'])
  const bodies = ['json', 'form', 'body'].filter(name => asked[name] !== undefined)
  if (bodies.length > 1) throw bad(`${bodies.join(', ')}: a call has one body.`)
  const method = textOf(asked.method, 'method')
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}$/.test(method)) throw bad('method: must be a method such as POST.')
  if (asked.body !== undefined && typeof asked.body !== 'string') throw bad('body: must be a text.')
  const at = asked.at === undefined ? undefined : textOf(asked.at, 'at')
  if (at !== undefined && Number.isNaN(Date.parse(at)))
    throw bad('at: must be an instant such as 2026-01-31T09:30:00Z.')
  return {
    caller: askedCaller(asked.caller, settings),
    method,
    url: textOf(asked.url, 'url'),
    headers: textsOf(asked.headers, 'headers'),
    ...(asked.json === undefined ? {} : { json: asked.json }),
    ...(asked.form === undefined ? {} : { form: textsOf(asked.form, 'form') }),
    ...(asked.body === undefined ? {} : { body: asked.body }),
    ...(at === undefined ? {} : { at }),
  }
}
