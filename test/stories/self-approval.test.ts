// Nobody behind a call approves it, at any door: not its owner, not under a second account, not an admin who shares the agent, not whoever
// made the call, not the agent itself, no robot. All are refused, nothing moves, nothing is sent, and every attempt is in the audit log.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Person } from '../../src/commands/demo/idp.ts'
import { type Browser, signInAt } from '../support/console.ts'
import { agentToken, clients, consoleAudience, gateAudience, people, signIn } from '../support/people.ts'
import { deskAt, financeRules, type Stage, startStage, waiting } from '../support/stage.ts'

// Ada is an operator, an auditor and a finance lead, and the agent is hers as well as Ben's, as the configuration says.
const ada: Person = {
  ...{ id: 'ada', name: 'Ada Weiss', email: 'ada@acme.test' },
  groups: ['platform', 'security', 'finance-leads'],
}
// Omar is an operator and an auditor and nothing else: that is no right to decide.
const omar: Person = { id: 'omar', name: 'Omar Diaz', email: 'omar@acme.test', groups: ['platform', 'security'] }

let stage: Stage
/** A hold of the agent's, and one of a call that Dora made herself. */
let ids: { readonly agents: string; readonly doras: string }
const gone = new AbortController()

beforeAll(async () => {
  stage = await startStage({
    rules: financeRules('breakGlass: { groups: [finance-leads] }, wait: 50s'),
    console: { operators: { groups: ['platform'] }, auditors: { groups: ['security'] } },
    config: { people: [{ name: 'Ada Weiss', accounts: ['idp:ada'], owns: ['agents:agent-7'] }] },
    guests: [ada, omar],
  })
  const ana = await stage.desk(people.ana)
  const held = async (token: string, body: string): Promise<string> => {
    const answer = stage.call('POST', '/billing/v1/refunds', { token, body, signal: gone.signal })
    answer.catch(() => {})
    const before = (await ana.pending()).map(({ id }) => id)
    const { id } = await waiting({
      ...ana,
      pending: async () => (await ana.pending()).filter(one => !before.includes(one.id)),
    })
    return id
  }
  ids = {
    agents: await held(stage.token, 'refund of the agent'),
    doras: await held(await signIn(stage.idp.issuer, people.dora, gateAudience), 'refund of Dora'),
  }
})
afterAll(async () => {
  gone.abort()
  await stage.close()
})

const verdicts = ['approve', 'deny', 'break-glass'] as const
type Verdict = (typeof verdicts)[number]
type Refused = readonly [status: number, code: unknown]

const view = async (id: string) => (await stage.desk(people.ana)).hold(id)

/** The door of programs: the API, with a token. */
const byApi = async (token: string, id: string, verdict: Verdict): Promise<Refused> => {
  const answer = await fetch(`${stage.holdpoint.console}/api/holds/${id}/${verdict}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ comment: 'me', view: (await view(id)).view }),
  })
  return [answer.status, ((await answer.json()) as { code?: unknown }).code]
}

/** The door of people: a page's form, sent from a signed-in browser as the page itself would send it, whatever buttons it shows. */
const byPage = async (browser: Browser, id: string, verdict: Verdict): Promise<number> => {
  const { csrf = '' } = await browser.fields('/rules')
  const form = { csrf, comment: 'me', view: (await view(id)).view }
  return (await browser.visit(`${stage.holdpoint.console}/holds/${id}/${verdict}`, { form })).status
}

const whose = { agents: () => ids.agents, doras: () => ids.doras }

describe.each<[string, Person, keyof typeof whose, Refused]>([
  ['Ben, who owns the agent and is in the right group', people.ben, 'agents', [403, 'own_call']],
  [
    'Ben under a second account, whose address differs by a +tag and by case',
    people.benPlus,
    'agents',
    [403, 'own_call'],
  ],
  ['Ada, who is everything an admin can be and shares the agent', ada, 'agents', [403, 'own_call']],
  ['Dora, who made the call herself', people.dora, 'doras', [403, 'own_call']],
  ['Omar, an admin who is no reviewer', omar, 'agents', [403, 'not_approver']],
  ['Cleo, who is in no group: for her there is no such hold', people.cleo, 'agents', [404, 'unknown_hold']],
])('%s', (_, person, hold, refused) => {
  test.each(verdicts)('may not %s, at the API or on a page', async verdict => {
    const id = whose[hold]()
    expect(await byApi(await signIn(stage.idp.issuer, person), id, verdict)).toEqual(refused)
    expect(await byPage(await signInAt(stage.holdpoint.console, person), id, verdict)).toBe(refused[0])
  })
})

describe.each<[string, () => Promise<string>, Refused]>([
  ['the agent with the token of its calls', async () => stage.token, [401, 'unauthenticated']],
  [
    "the agent with a token for the console's audience",
    () => agentToken(stage.idp.issuer, clients.agent, consoleAudience),
    [403, 'own_call'],
  ],
  [
    'a robot with client credentials that is in the right group',
    () => agentToken(stage.idp.issuer, clients.robot, consoleAudience),
    [403, 'not_approver'],
  ],
  [
    "a reviewer's token for the gate",
    () => signIn(stage.idp.issuer, people.ana, gateAudience),
    [401, 'unauthenticated'],
  ],
  ['nobody', async () => '', [401, 'unauthenticated']],
])('%s', (_, token, refused) => {
  test.each(verdicts)('may not %s at the API, and a token opens no page', async verdict => {
    const shown = await token()
    expect(await byApi(shown, ids.agents, verdict)).toEqual(refused)
    const page = await fetch(`${stage.holdpoint.console}/holds/${ids.agents}/${verdict}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${shown}` },
      body: new URLSearchParams({ comment: 'me', view: (await view(ids.agents)).view }),
    })
    expect(page.status).toBe(401)
  })
})

test.each(verdicts)('the gate knows no %s', async verdict => {
  for (const path of [`/.holdpoint/holds/${ids.agents}/${verdict}`, `/api/holds/${ids.agents}/${verdict}`]) {
    const answer = await stage.call('POST', path, { body: '{}' })
    expect(answer.status).toBe(404)
  }
})

test('the owner sees that he may not decide, and why', async () => {
  const ben = deskAt(stage.holdpoint.console, await signIn(stage.idp.issuer, people.ben))
  expect((await ben.hold(ids.agents)).you).toMatchObject({
    may_decide: false,
    because: 'own_call',
    may_break_glass: false,
  })
})

test('after all of that both still wait, nothing was sent, and every attempt stands in the audit log', async () => {
  for (const id of Object.values(ids)) expect((await view(id)).status).toBe('pending')
  expect(stage.upstream.seen).toEqual([])
  await stage.holdpoint.stop()
  const refused = (await stage.holdpoint.audit()).filter(({ kind }) => kind === 'verdict.refused')
  const count: { [who: string]: number } = {}
  for (const { code, reviewer, detail } of refused) {
    expect(['approve', 'deny', 'break_glass']).toContain(detail)
    const who = `${(reviewer as { subject?: string } | undefined)?.subject ?? 'nobody'}: ${code}`
    count[who] = (count[who] ?? 0) + 1
  }
  // Three verdicts each; two doors for people. Nobody is whoever could not be known: five tokens at the page, three of them at the API.
  expect(count).toEqual({
    'ben: own_call': 6,
    'ben-2: own_call': 6,
    'ada: own_call': 6,
    'dora: own_call': 6,
    'omar: not_approver': 6,
    'cleo: unknown_hold': 6,
    'agent-7: own_call': 3,
    'agent-10: not_approver': 3,
    'nobody: unauthenticated': 24,
  })
})
