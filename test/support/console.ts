import { assertions } from '../../src/assertion.ts'
import { browser } from '../../src/commands/demo/browser.ts'
import { consoleClient, type Idp, type Person, reviewerClient } from '../../src/commands/demo/idp.ts'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { type ConsoleApp, type ConsoleParts, consoleApp } from '../../src/console/app.ts'
import type { Desk } from '../../src/console/desk.ts'
import { listenConsole } from '../../src/console/listen.ts'
import { decide } from '../../src/decide.ts'
import { followFreezes } from '../../src/freezes.ts'
import { readHold } from '../../src/hold.ts'
import { identifier } from '../../src/identify.ts'
import { makeLog } from '../../src/log.ts'
import { newMeter } from '../../src/metrics.ts'
import type { Caller, Hold, Reviewer } from '../../src/nouns.ts'
// The console in this process, with a real store, the real desk, a clock that a test can move, and holds that a test opens by itself.
import { openHold } from '../../src/open.ts'
import type { Parts } from '../../src/parts.ts'
import { peopleBehind } from '../../src/people.ts'
import { recorder } from '../../src/record.ts'
import { type KeyRing, keyRing, newKey } from '../../src/seal.ts'
import type { Login, Rule, Settings, Upstream } from '../../src/settings.ts'
import { sqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { watchStore } from '../../src/watch.ts'
import { clients, consoleAudience, gateAudience, startCast } from './people.ts'

const minuteMs = 60_000

export const loginOf = (issuer: string, more: Partial<Login> = {}): Login => ({
  name: 'idp',
  issuer,
  clientId: consoleClient.id,
  clientSecret: consoleClient.secret,
  scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'],
  claims: {
    person: ['uid', 'oid', 'sub'],
    client: ['azp', 'client_id', 'cid'],
    email: ['email'],
    groups: ['groups'],
    name: ['name'],
  },
  emailDomains: ['acme.test'],
  interactive: { clients: [reviewerClient.id], amr: ['mfa'], maxAgeMs: 15 * minuteMs },
  ...more,
})

const upstream: Upstream = {
  name: 'billing',
  kind: 'http',
  url: 'http://127.0.0.1:9',
  at: { prefix: '/billing' },
  credential: undefined,
  tokenHeader: undefined,
  timeouts: { connectMs: 1_000, headersMs: 1_000, idleMs: 1_000, tunnelMs: 1_000 },
  tls: undefined,
  http2: false,
  assertion: 'held',
  volatileHeaders: [],
  limits: { inspect: 1_048_576, held: 1_048_576 },
  encodedSlash: 'refuse',
  doubleSlash: 'refuse',
  pathParameters: 'refuse',
  caseSensitive: true,
  getBody: false,
  underscores: 'refuse',
  hash: 'upstream-1',
}

const rule: Rule = {
  name: 'refunds',
  where: 'rules.yaml:1',
  match: { upstream: 'billing', method: 'POST' },
  then: 'hold',
  approve: [
    {
      groups: ['finance-leads'],
      people: [],
      votes: 1,
      withinMs: 24 * 60 * minuteMs,
      approvedForMs: 15 * minuteMs,
      waitMs: minuteMs,
      onDisconnect: 'keep',
      reason: 'optional',
      comment: 'optional',
      unreadable: 'deny',
      approveUnseen: false,
    },
  ],
  notify: [],
  summary: 'Refund {json./amount} EUR to {json./customer}',
  show: [],
  mask: [],
  controls: [],
  hash: 'rule-1',
}

const settingsOf = (url: string, login: readonly Login[], issuer: string): Settings => ({
  hash: 'settings-1',
  file: 'holdpoint.yaml',
  loadedAt: 0,
  gate: {
    listen: { host: '127.0.0.1', port: 0 },
    url: 'http://127.0.0.1:9',
    trustedProxies: [],
    limits: {
      header: 32_768,
      inspect: 1_048_576,
      held: 1_048_576,
      heldBytes: 1e9,
      answer: 1e6,
      holdsPerCaller: 100,
      holds: 1000,
      holdsPerMinute: 0,
      callsPerSecond: 0,
      connections: 100,
      connectionsPerAddress: 100,
    },
    tls: undefined,
    assertionKey: undefined,
  },
  console: {
    listen: { host: '127.0.0.1', port: 0 },
    tls: undefined,
    url,
    audience: consoleAudience,
    login,
    auditors: ['security'],
    operators: ['platform'],
  },
  admin: { listen: { host: '127.0.0.1', port: 0 } },
  store: { kind: 'sqlite', path: ':memory:' },
  keys: undefined,
  issuers: [
    {
      name: 'agents',
      issuer,
      directory: 'idp',
      audience: [gateAudience],
      algorithms: ['RS256'],
      claims: {
        subject: ['sub'],
        person: ['uid'],
        client: ['client_id'],
        email: ['email'],
        groups: ['groups'],
        owner: ['owner'],
        name: ['name'],
        reason: ['reason'],
      },
      kind: 'agent',
      ownerless: 'refuse',
      jwksUri: undefined,
    },
  ],
  people: [],
  upstreams: [upstream],
  rules: [rule],
  ruleFiles: [],
  callers: {},
  tests: [],
  channels: [],
  audit: { strict: false, spool: undefined, trails: [] },
  tokenGraceMs: 5 * minuteMs,
})

/** What a test may say of the call it opens a hold for. */
export type Opening = {
  readonly customer?: string
  readonly reason?: string
  readonly caller?: Partial<Caller>
  readonly target?: string
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string
}

export type ConsoleStage = {
  readonly parts: Parts
  readonly url: string
  readonly idp: Idp
  readonly app: ConsoleApp
  readonly store: Store
  readonly keys: KeyRing
  /** The configuration in force; a test may put another one in its place. */
  settings: Settings
  /** Every reviewer whose verdict reached the desk. */
  readonly deciders: readonly Reviewer[]
  /** Lets time pass for the console and the store. */
  pass(ms: number): void
  now(): number
  /** Holds a call of an agent of its own, so that denials of one do not pause another. Ben owns them all. */
  hold(opening?: Opening): Promise<string>
  read(id: string): Promise<Hold>
  /** The audit log so far. */
  entries(): Promise<readonly { readonly kind: string; readonly [name: string]: unknown }[]>
  /** A browser in which this person has signed in. */
  browserOf(person: Person): Promise<Browser>
  close(): Promise<void>
}

export type Browser = {
  visit: ReturnType<typeof browser>['visit']
  /** The session cookie's value. */
  session(): string
  /** A form's hidden fields on a page. */
  fields(path: string): Promise<{ readonly [name: string]: string }>
}

export type StageOptions = {
  readonly people?: readonly Person[]
  readonly settings?: (settings: Settings) => Settings
  readonly desk?: (desk: Desk) => Desk
  readonly heartbeatMs?: number
  readonly chats?: readonly string[]
  readonly retell?: ConsoleParts['retell']
  readonly tells?: ConsoleParts['tells']
}

// A page may have further forms; the one that decides comes first.
const decideForm = (page: string): string => /<form class="decide"[\s\S]*?<\/form>/.exec(page)?.[0] ?? page

export const hidden = (page: string): { readonly [name: string]: string } =>
  Object.fromEntries(
    [...decideForm(page).matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)].map(
      ([, name = '', value = '']) => [name, value],
    ),
  )

/** The page's words without its marks. */
export const words = (page: string): string => page.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')

/** A browser that comes back from the provider's page as this person, and where it is sent to; it has not gone there yet. */
export const returningTo = async (url: string, person: { readonly id: string }, jar = browser(), query = '') => {
  const chosen = await jar.visit(`${url}/login${query}`)
  const back = await jar.visit(chosen.url, { form: { person: person.id }, until: url })
  return { jar, callback: new URL(back.url) }
}

/** Signs a person in, in a browser of their own. */
export const signInAt = async (url: string, person: { readonly id: string }): Promise<Browser> => {
  const { jar, callback } = await returningTo(url, person)
  const done = await jar.visit(callback.href, { until: `${url}/` })
  if (done.status >= 400) throw new Error(`sign-in ended in ${done.status}: ${words(done.text)}`)
  const session = /holdpoint_session=([^;]+)/.exec(done.headers.get('set-cookie') ?? '')?.[1] ?? ''
  return {
    visit: jar.visit,
    session: () => session,
    fields: async path => hidden((await jar.visit(`${url}${path}`)).text),
  }
}

export const startConsole = async (options: StageOptions = {}): Promise<ConsoleStage> => {
  const [port = 0] = await freePorts(1)
  const url = `http://127.0.0.1:${port}`
  const idp = await startCast({
    consoleRedirect: [`${url}/login/callback/idp`],
    ...(options.people === undefined ? {} : { people: options.people }),
  })
  let passed = 0
  const clock = (): number => Date.now() + passed
  const log = makeLog('silent')
  const store = await sqliteStore({ path: ':memory:', clock })
  const keys = keyRing(newKey('test'))
  const record = recorder({ log: store.log, spool: undefined, strict: () => false, clock, report: log })
  const watch = watchStore(store, log)
  const freezes = await followFreezes(store.shelf, keys, clock, log)
  let settings = (options.settings ?? (one => one))(settingsOf(url, [loginOf(idp.issuer)], idp.issuer))
  const parts: Parts = {
    access: () => undefined,
    settings: () => settings,
    store,
    keys,
    watch,
    record,
    freezes,
    assertions: assertions({ shelf: store.shelf, keys, clock }),
    identify: identifier({ clock, shelf: store.shelf }),
    again: earlier => app.again(earlier),
    meter: newMeter(),
    log,
    clock,
  }
  const deciders: Reviewer[] = []
  const real = decide(parts)
  const seen: Desk = {
    ...real,
    decide: (reviewer, id, verdict, word) => {
      deciders.push(reviewer)
      return real.decide(reviewer, id, verdict, word)
    },
  }
  const app = consoleApp({
    ...{ settings: () => settings, store, keys, clock, log, events: store.events },
    desk: options.desk?.(seen) ?? seen,
    ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
    ...(options.chats === undefined ? {} : { chats: () => options.chats ?? [] }),
    ...(options.retell === undefined ? {} : { retell: options.retell }),
    ...(options.tells === undefined ? {} : { tells: options.tells }),
  })
  const server = await listenConsole(app, { host: '127.0.0.1', port })
  let count = 0

  const stage: ConsoleStage = {
    parts,
    url,
    idp,
    app,
    store,
    keys,
    get settings() {
      return settings
    },
    set settings(other) {
      settings = other
    },
    deciders,
    pass: ms => {
      passed += ms
    },
    now: clock,
    async hold(opening = {}) {
      count += 1
      const target = opening.target ?? '/v1/refunds'
      const body = Buffer.from(
        opening.body ?? JSON.stringify({ amount: 250, customer: opening.customer ?? `cus-${count}` }),
      )
      const caller: Caller = {
        ...{
          issuer: 'agents',
          subject: `agent-${count}`,
          client: clients.agent.id,
          kind: 'agent',
          groups: [],
          actors: [],
        },
        ...{ owner: clients.agent.owner, claims: {}, expiresAt: clock() + 3_600_000 },
        ...opening.caller,
      }
      const action = { name: 'http:POST', resource: '/v1/refunds', access: 'write', fields: {} } as const
      const headers = [['content-type', 'application/json'] as const, ...(opening.headers ?? [])]
      const { id } = await openHold(parts, {
        settings,
        call: {
          ...{
            id: `call-${count}`,
            receivedAt: clock(),
            method: 'POST',
            target: `/billing${target}`,
            path: '/billing/v1/refunds',
          },
          ...{
            rawPath: '/billing/v1/refunds',
            rawQuery: undefined,
            query: [],
            host: 'gate.test',
            headers,
            address: '127.0.0.1',
          },
          ...{ scheme: 'http', httpVersion: '1.1', contentLength: body.length },
        },
        caller,
        again: async () => caller,
        opaque: undefined,
        behind: peopleBehind(caller, settings),
        upstream,
        upstreamTarget: target,
        paths: ['/v1/refunds'],
        headers,
        body: { kind: 'json', value: JSON.parse(body.toString()), size: body.length },
        bytes: body,
        actions: [action],
        rules: settings.rules,
        reason: opening.reason,
        idempotencyKey: undefined,
        async: false,
        trace: undefined,
      })
      return id
    },
    async read(id) {
      const hold = await readHold(store, keys, id)
      if (hold === undefined) throw new Error(`no hold ${id}`)
      return hold
    },
    async entries() {
      await record.flush()
      return (await store.log.read(0, 1_000)).map(({ json }) => JSON.parse(json))
    },
    browserOf: person => signInAt(url, person),
    async close() {
      await server.close()
      await watch.close()
      await freezes.close()
      await record.close()
      await store.close()
      await idp.close()
    },
  }
  return stage
}

/** The first lines of a stream of events, until `enough` says so. */
export const streamOf = async (
  url: string,
  headers: { readonly [name: string]: string },
): Promise<{
  readonly status: number
  read(enough: (text: string) => boolean): Promise<string>
  ended: Promise<void>
  close(): void
}> => {
  const leaving = new AbortController()
  const answer = await fetch(`${url}/api/events`, { headers, signal: leaving.signal })
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const ended = answer.body?.pipeTo(writable).catch(() => undefined) ?? Promise.resolve()
  const reader = readable.getReader()
  const decoder = new TextDecoder()
  let text = ''
  return {
    status: answer.status,
    ended,
    async read(enough) {
      while (!enough(text)) {
        const { value, done } = await reader.read()
        if (done) break
        text += decoder.decode(value, { stream: true })
      }
      return text
    },
    close: () => leaving.abort(),
  }
}
