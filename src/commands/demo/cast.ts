// Who plays in the demo, and the configuration they play under.
import { type Client, consoleClient, type Person } from './idp.ts'

/** Ana and Ben lead finance; Ben also owns the agent, so he may not approve what it does. Cleo reads the audit log. */
export const people = {
  ana: { id: 'ana', name: 'Ana Ruiz', email: 'ana@acme.example', groups: ['finance-leads'] },
  ben: { id: 'ben', name: 'Ben Okafor', email: 'ben@acme.example', groups: ['finance-leads'] },
  cleo: { id: 'cleo', name: 'Cleo Marsh', email: 'cleo@acme.example', groups: ['auditors'] },
} as const satisfies Record<string, Person>

/** The agent's tokens live for a working day, so that the line to try keeps working. */
export const agent = {
  id: 'billing-agent',
  secret: 'demo-agent-secret',
  owner: people.ben.email,
  groups: ['finance-agents'],
  lifetimeS: 8 * 3600,
} as const satisfies Client

/** What the billing API wants to see. Only Holdpoint has it. */
export const billingKey = 'demo-billing-key'

export const gateAudience = 'https://gate.demo.example'
export const consoleAudience = 'https://console.demo.example'

export type Ports = {
  readonly gate: number
  readonly console: number
  readonly admin: number
  readonly idp: number
  readonly billing: number
}

/** Where people come back to after they signed in at the provider. */
export const consoleRedirect = (ports: Ports): string => `http://127.0.0.1:${ports.console}/login/callback/demo`

/** The demo's configuration file. `state` is the folder of its SQLite file, as seen from the file. */
export const configuration = (ports: Ports, state: string): string => `\
# Written by "holdpoint demo", anew at every start. Change a rule while the demo runs and it takes effect at once.
version: 1
gate:
  listen: 127.0.0.1:${ports.gate}
  url: http://127.0.0.1:${ports.gate}
console:
  listen: 127.0.0.1:${ports.console}
  url: http://127.0.0.1:${ports.console}
  audience: ${consoleAudience}
  login:
    - name: demo
      issuer: http://127.0.0.1:${ports.idp}
      clientId: ${consoleClient.id}
      clientSecret: ${consoleClient.secret}
      scopes: [openid, profile, email, groups, offline_access]
      emailDomains: [acme.example]
  auditors: { groups: [auditors] }
admin: { listen: 127.0.0.1:${ports.admin} }
store: sqlite:./${state}/holdpoint.db
issuers:
  - name: agents
    issuer: http://127.0.0.1:${ports.idp}
    directory: demo
    audience: ${gateAudience}
    kind: agent
upstreams:
  - name: billing
    kind: http
    url: http://127.0.0.1:${ports.billing}
    at: { prefix: /billing }
    credential: { bearer: ${billingKey} }
rules:
  - name: agents-may-read
    match: { upstream: billing, method: GET, caller: { kind: agent } }
    then: allow

  - name: customers-stay
    match: { upstream: billing, method: DELETE, path: /v1/customers/* }
    then: deny

  - name: refunds-over-100
    match: { upstream: billing, method: POST, path: /v1/refunds, json: { /amount: { over: 100 } } }
    then: hold
    approve:
      by: { groups: [finance-leads] }
      votes: 1
      within: 30m
      wait: 55s
    summary: "Refund {json./amount} {json./currency} on {json./invoice} to {json./customer}"

  - name: small-refunds
    match: { upstream: billing, method: POST, path: /v1/refunds, caller: { group: finance-agents } }
    then: allow
`
