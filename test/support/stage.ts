// The stage of a story: the cast with its identity provider, an upstream, and Holdpoint in front of it as a process of its own.
import type { Client, Idp, Person } from '../../src/commands/demo/idp.ts'
import { consoleClient, reviewerClient } from '../../src/commands/demo/idp.ts'
import { freePorts } from '../../src/commands/demo/ports.ts'
import type { HoldRow, HoldView } from '../../src/views.ts'
import { eventually } from './eventually.ts'
import { agentToken, clients, consoleAudience, gateAudience, people, signIn, startCast } from './people.ts'
import { type Program, startHoldpoint, trailFolder } from './program.ts'
import { type Answer, type Seen, startUpstream, type Upstream } from './upstream.ts'

/** The key the upstream wants; no caller ever sees it. */
export const upstreamKey = 'upstream-key-for-tests'

/** Reads pass, deletes are denied, refunds are held for the finance leads; `approve` is more YAML for that rule. */
export const financeRules = (approve = ''): string => `
rules:
  - { name: reads, match: { upstream: billing, method: GET }, then: allow }
  - { name: no-deletes, match: { upstream: billing, method: DELETE }, then: deny }
  - name: refunds
    match: { upstream: billing, method: POST, path: /v1/refunds }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, ${approve || 'wait: 30s'} }
`

export type Answered = {
  readonly status: number
  readonly headers: Headers
  readonly body: string
  /** The body as JSON; undefined where it is none. */
  readonly json: { readonly [key: string]: unknown } | undefined
}

export type CallOptions = {
  readonly token?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string
  readonly signal?: AbortSignal
}

export type Verdict = { readonly status: number; readonly json: { readonly [key: string]: unknown } }

/** What one bearer of a token can do at the console's API. */
export type Desk = {
  pending(): Promise<readonly HoldRow[]>
  hold(id: string): Promise<HoldView>
  approve(id: string, comment?: string): Promise<Verdict>
  deny(id: string, comment?: string): Promise<Verdict>
  revoke(id: string, comment?: string): Promise<Verdict>
  resolve(id: string, outcome: 'delivered' | 'failed', comment?: string): Promise<Verdict>
}

export type Stage = {
  readonly idp: Idp
  readonly upstream: Upstream
  readonly holdpoint: Program
  /** The agent's token. */
  readonly token: string
  call(method: string, target: string, options?: CallOptions): Promise<Answered>
  /** A person who signed in, at the console's API. */
  desk(person: Person): Promise<Desk>
  close(): Promise<void>
}

export type StageOptions = {
  /** A rules file, YAML. */
  readonly rules?: string
  /** Replaces whole sections of the configuration. */
  readonly config?: object
  /** Joins the console's section. */
  readonly console?: object
  /** Who is there besides the cast. */
  readonly guests?: readonly Person[]
  readonly answer?: (seen: Seen) => Answer | Promise<Answer>
  readonly client?: Client
  readonly env?: { readonly [name: string]: string }
}

/** The configuration of a stage, with ports of its own. */
export const stageConfig = async (issuer: string, upstream: string) => {
  const [gate, console] = await freePorts(2)
  return {
    version: 1,
    gate: { listen: `127.0.0.1:${gate}`, url: `http://127.0.0.1:${gate}` },
    console: {
      listen: `127.0.0.1:${console}`,
      url: `http://127.0.0.1:${console}`,
      audience: consoleAudience,
      login: [
        {
          name: 'idp',
          issuer,
          clientId: consoleClient.id,
          clientSecret: consoleClient.secret,
          scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'],
          emailDomains: ['acme.test'],
          interactive: { clients: [reviewerClient.id], amr: ['mfa'], maxAge: '15m' },
        },
      ],
    },
    admin: { listen: '127.0.0.1:0' },
    store: 'sqlite:./holdpoint.db',
    issuers: [
      {
        name: 'agents',
        issuer,
        audience: gateAudience,
        directory: 'idp',
        kind: [
          { when: { amr: { exists: true } }, kind: 'human' },
          { when: { client_id: '*' }, kind: 'agent' },
        ],
      },
    ],
    upstreams: [
      { name: 'billing', kind: 'http', url: upstream, at: { prefix: '/billing' }, credential: { bearer: upstreamKey } },
    ],
    // Without a spool half a second of a busy disk is a store that is away.
    audit: { spool: './spool', trails: [{ kind: 'file', path: trailFolder }] },
    rules: 'rules.yaml',
  }
}

/** Sends one call to the gate and reads the whole answer. */
export const callGate = async (
  gate: string,
  method: string,
  target: string,
  options: CallOptions = {},
): Promise<Answered> => {
  const answer = await fetch(`${gate}${target}`, {
    method,
    redirect: 'manual',
    headers: {
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      ...options.headers,
    },
    ...(options.body === undefined ? {} : { body: options.body }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const body = await answer.text()
  return { status: answer.status, headers: answer.headers, body, json: json(body) }
}

const json = (text: string): { readonly [key: string]: unknown } | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The console's API as the bearer of `token` sees it. A verdict is given for the view that was read just before. */
export const deskAt = (console: string, token: string): Desk => {
  const ask = async (method: string, path: string, body?: object): Promise<Verdict> => {
    const answer = await fetch(`${console}/api${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    const value = json(text)
    if (value === undefined) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return { status: answer.status, json: value }
  }
  const hold = async (id: string): Promise<HoldView> => {
    const { status, json } = await ask('GET', `/holds/${id}`)
    if (status !== 200) throw new Error(`hold ${id}: ${status} ${JSON.stringify(json)}`)
    return json as unknown as HoldView
  }
  const decide = async (id: string, verdict: 'approve' | 'deny', comment: string | undefined): Promise<Verdict> => {
    const { view } = await hold(id)
    return ask('POST', `/holds/${id}/${verdict}`, { view, ...(comment === undefined ? {} : { comment }) })
  }
  return {
    async pending() {
      const { json } = await ask('GET', '/holds?status=pending')
      return json.holds as readonly HoldRow[]
    },
    hold,
    approve: (id, comment) => decide(id, 'approve', comment),
    deny: (id, comment) => decide(id, 'deny', comment),
    revoke: (id, comment) => ask('POST', `/holds/${id}/revoke`, comment === undefined ? {} : { comment }),
    resolve: (id, outcome, comment) =>
      ask('POST', `/holds/${id}/resolve`, { outcome, ...(comment === undefined ? {} : { comment }) }),
  }
}

/** The hold that somebody at this desk sees waiting, as soon as there is one. */
export const waiting = (desk: Desk): Promise<HoldRow> => eventually(async () => (await desk.pending())[0])

/** Starts everything; `close` ends everything. */
export const startStage = async (options: StageOptions = {}): Promise<Stage> => {
  const upstream = await startUpstream(options.answer)
  // The provider has to know where the console is before it starts, and the configuration where the provider is.
  const [port = 0] = await freePorts(1)
  const plain = await stageConfig(`http://127.0.0.1:${port}`, upstream.url)
  const config = { ...plain, console: { ...plain.console, ...options.console }, ...options.config }
  const idp = await startCast({
    port,
    people: [...Object.values(people), ...(options.guests ?? [])],
    consoleRedirect: [`${config.console.url}/login/callback/idp`],
  })
  const holdpoint = await startHoldpoint({ config, rules: options.rules ?? financeRules(), env: options.env ?? {} })
  const token = await agentToken(idp.issuer, options.client ?? clients.agent)
  return {
    idp,
    upstream,
    holdpoint,
    token,
    call: (method, target, given = {}) => callGate(holdpoint.gate, method, target, { token, ...given }),
    desk: async person => deskAt(holdpoint.console, await signIn(idp.issuer, person)),
    async close() {
      await holdpoint[Symbol.asyncDispose]()
      await upstream.close()
      await idp.close()
    },
  }
}
