// The cast of the stories, and how they get tokens: agents with client_credentials, people by really signing in.
import { createHash, randomBytes } from 'node:crypto'
import { browser } from '../../src/commands/demo/browser.ts'
import {
  type Client,
  type Idp,
  type IdpOptions,
  type Person,
  reviewerClient,
  startIdp,
} from '../../src/commands/demo/idp.ts'

export const gateAudience = 'https://gate.test'
export const consoleAudience = 'https://console.test'

/** Ana may approve. Ben may too, but he owns the agent. Cleo is in no group. Dora may approve as well. */
export const people = {
  ana: { id: 'ana', name: 'Ana Ruiz', email: 'ana@acme.test', groups: ['finance-leads'] },
  ben: { id: 'ben', name: 'Ben Okafor', email: 'ben@acme.test', groups: ['finance-leads'] },
  benPlus: { id: 'ben-2', name: 'Ben Okafor', email: 'Ben+second@acme.test', groups: ['finance-leads'] },
  cleo: { id: 'cleo', name: 'Cleo Marsh', email: 'cleo@acme.test', groups: [] },
  dora: { id: 'dora', name: 'Dora Lind', email: 'dora@acme.test', groups: ['finance-leads'] },
} as const satisfies Record<string, Person>

/** The agent belongs to Ben; nobody is known behind the stray; the robot is in the group of those who may approve. */
export const clients = {
  agent: { id: 'agent-7', secret: 'agent-secret', owner: 'ben@acme.test', groups: ['finance-agents'] },
  other: { id: 'agent-8', secret: 'other-secret', owner: 'cleo@acme.test', groups: ['finance-agents'] },
  robot: { id: 'agent-10', secret: 'robot-secret', owner: 'cleo@acme.test', groups: ['finance-leads'] },
  stray: { id: 'agent-9', secret: 'stray-secret' },
} as const satisfies Record<string, Client>

/** The identity provider with the whole cast. */
export const startCast = (options: Partial<IdpOptions> = {}): Promise<Idp> =>
  startIdp({
    people: Object.values(people),
    clients: Object.values(clients),
    consoleRedirect: ['http://127.0.0.1/unused'],
    gateAudience,
    consoleAudience,
    ...options,
  })

/** An agent's access token; `audience` is the gate's unless said otherwise. */
export const agentToken = async (issuer: string, client: Client, audience: string = gateAudience): Promise<string> => {
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: audience }),
  })
  return accessToken(answer)
}

/**
 * Signs a person in the way a command line tool does (authorization code with PKCE, through the provider's own page)
 * and returns their access token for the console's API, or for another `audience`.
 */
export const signIn = async (issuer: string, person: Person, audience: string = consoleAudience): Promise<string> => {
  const verifier = randomBytes(32).toString('base64url')
  const client = { client_id: reviewerClient.id, redirect_uri: reviewerClient.redirect, resource: audience }
  const query = new URLSearchParams({
    ...client,
    response_type: 'code',
    scope: 'openid profile email groups',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  const { visit } = browser()
  const page = await visit(`${issuer}/auth?${query}`)
  const back = await visit(page.url, { form: { person: person.id }, until: reviewerClient.redirect })
  const code = new URL(back.url).searchParams.get('code')
  if (code === null) throw new Error(`no code came back: ${back.status} ${back.url} ${back.text}`)
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({ ...client, grant_type: 'authorization_code', code, code_verifier: verifier }),
  })
  return accessToken(answer)
}

const accessToken = async (answer: Response): Promise<string> => {
  const { access_token: token, ...rest } = (await answer.json()) as { access_token?: string }
  if (token === undefined) throw new Error(`no token: ${answer.status} ${JSON.stringify(rest)}`)
  return token
}
