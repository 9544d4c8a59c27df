// The sections of the configuration as the parts of the program see them, and what several keys of a section have to say to each other.
import { resolve } from 'node:path'
import type { z } from 'zod'
import { pemKeys } from '../assertion.ts'
import { credential } from '../credentials/make.ts'
import { hopByHop } from '../names.ts'
import { keyRing } from '../seal.ts'
import type { CredentialSettings, Listen, Login, Settings, StoreSettings, Trail, Upstream } from '../settings.ts'
import { qualifyGroup } from './approvers.ts'
import { buildSigv4, reached } from './aws.ts'
import { buildListenTls, buildUpstreamTls } from './certificates.ts'
import { canonical, hashOf } from './hash.ts'
import { loopback } from './scalars.ts'
import type * as schema from './schema.ts'
import type { Path } from './source.ts'
import type { Reader } from './strict.ts'

type Section<K extends keyof typeof schema.sections> = z.output<(typeof schema.sections)[K]>

export type Placed<T> = { readonly value: T; readonly path: Path }

/** Undefined members left out: absent is absent. */
const present = <T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }

export const urlOf = ({ host, port }: Listen, scheme: 'http' | 'https' = 'http'): string =>
  `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`

// What a browser or a caller is told to use must be somewhere: an address to listen on is that only on this machine.
const reachable = (
  reader: Reader,
  section: 'gate' | 'console',
  value: { readonly listen: Listen; readonly url?: string | undefined; readonly tls?: object | undefined },
): string => {
  if (value.tls !== undefined && value.url?.startsWith('http:'))
    reader.say([section, 'url'], `${section}.url must be https, because ${section}.tls is set`)
  if (value.url === undefined && !loopback(value.listen.host)) {
    reader.say(
      [section, 'listen'],
      `${section}.url is missing: say under which https address ${section}.listen is reached`,
    )
  }
  return value.url ?? urlOf(value.listen, value.tls === undefined ? 'http' : 'https')
}

export const buildGate = (reader: Reader, gate: Section<'gate'>): Settings['gate'] => {
  const { listen, trustedProxies, limits, assertionKey } = gate
  try {
    if (assertionKey !== undefined) pemKeys(assertionKey)
  } catch (error) {
    reader.say(['gate', 'assertionKey'], `gate.assertionKey: ${(error as Error).message}`)
  }
  const tls = buildListenTls(reader, 'gate', gate.tls)
  return { listen, url: reachable(reader, 'gate', gate), tls, trustedProxies, limits, assertionKey }
}

export const buildConsole = (reader: Reader, value: Section<'console'>): Settings['console'] => {
  const logins = value.login.map(({ name }) => name)
  const domains = new Map<string, string>()
  for (const [index, { name, emailDomains, scopes }] of value.login.entries()) {
    const path = ['console', 'login', index]
    if (!scopes.includes('openid')) reader.say([...path, 'scopes'], 'console.login scopes must include "openid"')
    for (const domain of emailDomains) {
      const other = domains.get(domain)
      if (other !== undefined)
        reader.say(
          [...path, 'emailDomains'],
          `"${domain}" already belongs to the login "${other}"; one login vouches for a domain`,
        )
      domains.set(domain, name)
    }
  }
  const groups = (role: 'auditors' | 'operators'): string[] =>
    value[role].groups.map((group, index) => qualifyGroup(reader, group, ['console', role, 'groups', index], logins))
  return {
    listen: value.listen,
    tls: buildListenTls(reader, 'console', value.tls),
    url: reachable(reader, 'console', value),
    audience: value.audience,
    login: value.login.map(buildLogin),
    auditors: groups('auditors'),
    operators: groups('operators'),
  }
}

const buildLogin = (login: Section<'console'>['login'][number]): Login => ({
  name: login.name,
  issuer: login.issuer,
  clientId: login.clientId,
  clientSecret: login.clientSecret,
  scopes: login.scopes,
  claims: login.claims,
  emailDomains: login.emailDomains,
  interactive: login.interactive && {
    clients: login.interactive.clients,
    amr: login.interactive.amr,
    maxAgeMs: login.interactive.maxAge,
  },
})

const forbidden: ReadonlySet<string> = new Set([...hopByHop, 'host', 'content-length', 'expect', 'proxy-authorization'])

/** `raw` is the entry before interpolation: the hash covers where a credential comes from, not what it is. */
export const buildUpstream = (
  reader: Reader,
  { value, path }: Placed<z.output<typeof schema.upstream>>,
  raw: unknown,
  limits: Settings['gate']['limits'],
  folder: string,
): Upstream => {
  const { prefix, host } = value.at
  if ((prefix === undefined) === (host === undefined))
    reader.say([...path, 'at'], 'at must have one of prefix and host')
  if (
    value.token !== undefined &&
    (forbidden.has(value.token.header) || ['authorization', 'cookie'].includes(value.token.header))
  ) {
    reader.say([...path, 'token', 'header'], `token.header must not be "${value.token.header}"`)
  }
  const place = reached(reader, value, path)
  const places = place.aws === undefined ? [place.url] : [place.url, canonical(place.aws)]
  const { credential: reference, tls } = (raw ?? {}) as { readonly credential?: unknown; readonly tls?: unknown }
  return {
    name: value.name,
    kind: value.kind,
    ...place,
    at: prefix === undefined ? { hosts: host ?? [] } : { prefix },
    credential: buildCredential(reader, value, [...path, 'credential'], folder),
    timeouts: {
      connectMs: value.timeouts.connect,
      headersMs: value.timeouts.headers,
      idleMs: value.timeouts.idle,
      tunnelMs: value.timeouts.tunnel,
    },
    tls: buildUpstreamTls(reader, value.tls, place.url, [...path, 'tls']),
    http2: value.http2,
    assertion: value.assertion,
    volatileHeaders: value.volatileHeaders,
    limits: { inspect: value.limits.inspect ?? limits.inspect, held: value.limits.held ?? limits.held },
    encodedSlash: value.encodedSlash,
    doubleSlash: value.doubleSlash,
    pathParameters: value.pathParameters,
    caseSensitive: value.caseSensitive,
    getBody: value.getBody,
    underscores: value.underscores,
    // Which files, not what is in them: certificates are renewed while holds wait.
    hash: hashOf(value.kind, ...places, canonical(reference), ...(tls === undefined ? [] : [canonical(tls)])),
  }
}

const buildCredential = (
  reader: Reader,
  { credential: value, regions, assertion }: z.output<typeof schema.upstream>,
  path: Path,
  folder: string,
): CredentialSettings | undefined => {
  if (value === undefined) return undefined
  const { bearer, basic, headers, kubernetes, sigv4, oauth2, exec } = present(value)
  if (Object.keys(present(value)).length !== 1) {
    reader.say(path, 'credential must have one of bearer, basic, headers, kubernetes, sigv4, oauth2 and exec')
    return undefined
  }
  if (oauth2 !== undefined) {
    if (oauth2.exchange && assertion !== 'always')
      reader.say(
        [...path, 'oauth2', 'exchange'],
        'credential.oauth2.exchange needs "assertion: always": the assertion is what is exchanged',
      )
    return { kind: 'oauth2', ...present(oauth2) }
  }
  if (exec !== undefined) {
    const command = exec.command.includes('/') ? resolve(folder, exec.command) : exec.command
    return { kind: 'exec', ...exec, command }
  }
  if (sigv4 !== undefined) return buildSigv4(reader, sigv4, [...path, 'sigv4'], folder, regions)
  if (kubernetes !== undefined)
    return checked(reader, [...path, 'kubernetes'], {
      kind: 'kubernetes',
      tokenFile: resolve(folder, kubernetes.tokenFile),
      impersonate: kubernetes.impersonate,
    })
  for (const name of Object.keys(headers ?? {})) {
    if (forbidden.has(name.toLowerCase()))
      reader.say([...path, 'headers', name], `credential.headers must not set "${name}"`, 'key')
  }
  if (bearer !== undefined) return { kind: 'bearer', token: bearer }
  if (basic !== undefined) return { kind: 'basic', ...basic }
  return { kind: 'headers', headers: headers ?? {} }
}

/** Says what is wrong with a credential that cannot be made of its settings. */
const checked = (reader: Reader, path: Path, settings: CredentialSettings): CredentialSettings => {
  try {
    credential(settings)
  } catch (error) {
    reader.say(path, (error as Error).message)
  }
  return settings
}

/** No two upstreams may want the same calls. */
export const checkUpstreams = (reader: Reader, upstreams: readonly Placed<Upstream>[]): void => {
  const taken = new Map<string, string>()
  const take = (key: string, upstream: string, path: Path, message: (other: string) => string): void => {
    const other = taken.get(key)
    if (other !== undefined) reader.say(path, message(other))
    taken.set(key, upstream)
  }
  for (const { value, path } of upstreams) {
    take(
      `name ${value.name}`,
      value.name,
      [...path, 'name'],
      () => `two upstreams are called "${value.name}"; names are unique`,
    )
    const places = 'prefix' in value.at ? [`prefix ${value.at.prefix}`] : value.at.hosts.map(host => `host ${host}`)
    for (const place of places)
      take(place, value.name, [...path, 'at'], other => `${place} already leads to the upstream "${other}"`)
  }
}

export const buildStore = (
  reader: Reader,
  value: Section<'store'>,
  folder: string,
  keys: string | undefined,
): StoreSettings => {
  const { url, durable } = typeof value === 'string' ? { url: value, durable: undefined } : value
  if (!url.startsWith('sqlite:')) {
    if (keys === undefined)
      reader.say(
        ['keys'],
        '"keys" is missing: with Redis every replica needs the same ones ("id:" and 32 bytes in base64, from the environment or a file)',
      )
    return { kind: 'redis', url, durable }
  }
  if (durable !== undefined) reader.say(['store', 'durable'], 'store.durable is for Redis; SQLite is always durable')
  const path = url.slice('sqlite:'.length)
  return { kind: 'sqlite', path: path === ':memory:' ? path : resolve(folder, path) }
}

/** Says what is wrong with the key ring without showing it. */
export const checkKeys = (reader: Reader, keys: string | undefined): void => {
  if (keys === undefined) return
  try {
    keyRing(keys)
  } catch (error) {
    reader.say(['keys'], `keys: ${(error as Error).message}`)
  }
}

export const buildAudit = (reader: Reader, audit: Section<'audit'>, folder: string): Settings['audit'] => ({
  strict: audit.strict,
  spool: audit.spool && resolve(folder, audit.spool),
  trails: audit.trails.flatMap(({ kind, path }, index): Trail[] => {
    if (kind === 'stdout' && path !== undefined)
      reader.say(['audit', 'trails', index, 'path'], 'a stdout trail has no path', 'key')
    if (kind === 'file' && path === undefined) reader.say(['audit', 'trails', index], 'a file trail needs a path')
    return kind === 'stdout' ? [{ kind }] : path === undefined ? [] : [{ kind, path: resolve(folder, path) }]
  }),
})

/** Two listeners cannot share an address. */
export const checkListeners = (reader: Reader, listeners: { readonly [section: string]: Listen | undefined }): void => {
  const taken = new Map<string, string>()
  for (const [section, listen] of Object.entries(listeners)) {
    if (listen === undefined || listen.port === 0) continue
    const key = `${listen.host}:${listen.port}`
    const other = taken.get(key)
    if (other !== undefined)
      reader.say([section, 'listen'], `${section}.listen is the same as ${other}.listen; give it a port of its own`)
    taken.set(key, section)
  }
}
