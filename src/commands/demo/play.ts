// The demo's story: a call that passes, one that is denied, and one that waits for a person. With `once` nobody is needed:
// Ben tries and is refused, Ana approves, Cleo reads the log, and every claim is checked.
import { agent, billingKey, people } from './cast.ts'
import type { House } from './house.ts'
import { type Answer, agentCalls, agentInsists, reviewerSignsIn } from './parts.ts'
import { address, emphasis, type Say } from './say.ts'

const refund = { invoice: 'in_1041', amount: 250, currency: 'EUR', customer: 'cus_lind' }

/** The first three steps, the same for everybody. Answers the id of the hold that now waits. */
export const opening = async (house: House, say: Say): Promise<string> => {
  say.step('The agent reads invoices')
  const read = await agentCalls(house, 'GET', '/v1/invoices')
  say.sees('The agent', `GET /billing/v1/invoices → ${read.status}, ${invoicesIn(read)} invoices`)
  say.check(
    read.status === 200 && invoicesIn(read) === 3,
    'The rule "agents-may-read" lets it pass; no human is asked.',
  )

  say.step('The agent deletes a customer')
  const deleted = await agentCalls(house, 'DELETE', '/v1/customers/cus_lind')
  say.sees(
    'The agent',
    `DELETE /billing/v1/customers/cus_lind → ${deleted.status} ${deleted.json.code}\n${deleted.json.detail}`,
  )
  say.check(deleted.status === 403 && deleted.json.code === 'denied_by_rule', 'The rule "customers-stay" denies it.')
  say.check(!house.billing.received.some(({ method }) => method === 'DELETE'), 'The billing API never heard of it.')

  say.step(`The agent refunds ${refund.amount} ${refund.currency}`)
  const held = await agentCalls(house, 'POST', '/v1/refunds', { json: refund, headers: { prefer: 'wait=1' } })
  const id = String(held.json.hold)
  say.sees('The agent', `POST /billing/v1/refunds → ${held.status} ${held.json.code}\n${held.json.detail}`)
  say.check(
    held.status === 503 && held.json.code === 'hold_pending',
    'The rule "refunds-over-100" holds it until a person approves.',
  )
  say.check(refundsAt(house).length === 0, 'Nothing was sent.')
  return id
}

/** Somebody sits at the screen: show them where to go, and wait for their word. */
export const withPeople = async (house: House, say: Say, id: string, signal: AbortSignal): Promise<void> => {
  say.line()
  say.line(`Now decide it: ${address(`${house.console}/holds/${id}`)}`)
  say.line(`  ${emphasis('Ana')} may: she is in finance-leads.`)
  say.line(`  ${emphasis('Ben')} may not: he is in finance-leads too, but ${agent.id} is his.`)
  say.line('The agent keeps asking meanwhile. Ctrl-C ends the demo.')

  const answer = await agentInsists(house, '/v1/refunds', refund, signal)
  say.step('The agent has its answer')
  say.sees('The agent', `POST /billing/v1/refunds → ${answer.status}\n${answer.body}`)
  if (answer.status === 201) reached(house, say)
  say.line()
  say.line('Everything stays up. Try a call of your own:')
  say.line(`  curl -i -H "Authorization: Bearer $(cat ${house.tokenFile})" ${house.gate}/billing/v1/refunds \\`)
  say.line(
    `    -H 'content-type: application/json' -d '{"invoice":"in_1042","amount":500,"currency":"EUR","customer":"cus_okafor"}'`,
  )
  say.line(
    `Queue, history, rules and audit log: ${address(house.console)} (Cleo is the auditor). Rules: ${house.config}`,
  )
}

/** Nobody is there: play everybody, and check what each of them sees. */
export const alone = async (house: House, say: Say, id: string, signal: AbortSignal): Promise<void> => {
  const answer = agentInsists(house, '/v1/refunds', refund, signal)
  answer.catch(() => undefined)

  say.step('Ben, who owns the agent, tries to approve')
  const ben = await reviewerSignsIn(house, people.ben.id)
  const { json: seen } = await ben.api('GET', `/holds/${id}`)
  const refused = await ben.api('POST', `/holds/${id}/approve`, { view: seen.view })
  say.sees('Ben', `approve → ${refused.status} ${refused.json.code}\n${refused.json.title}`)
  say.check(
    refused.status === 403 && refused.json.code === 'own_call',
    'Nobody behind a call may decide it, whatever group they are in.',
  )
  say.check(refundsAt(house).length === 0, 'Still nothing was sent.')

  say.step('Ana approves')
  const ana = await reviewerSignsIn(house, people.ana.id)
  const page = await ana.open(`/holds/${id}`)
  const line = /<h1>([^<]*)<\/h1>/.exec(page.text)?.[1] ?? ''
  say.sees('Ana', `"${line}", asked for by ${agent.id} on behalf of ${people.ben.email}`)
  say.check(line === 'Refund 250 EUR on in_1041 to cus_lind', 'She reads in one line what would happen.')
  const decided = await ana.send(page, `/holds/${id}/approve`, { comment: 'Within policy.' })
  say.check(decided.status === 200, 'Her approval is taken.')

  say.step('The agent has its answer')
  const { status, body, json } = await answer
  say.sees('The agent', `POST /billing/v1/refunds → ${status}\n${body}`)
  say.check(
    status === 201 && json.amount === refund.amount,
    'The call it had made all along was answered by the billing API.',
  )
  reached(house, say)

  say.step('Cleo reads the audit log')
  const cleo = await reviewerSignsIn(house, people.cleo.id)
  const steps = entriesOf(await cleo.api('GET', '/audit?limit=200')).filter(entry => entry.hold === id)
  for (const { kind, reviewer, code, comment } of steps) {
    const words = [reviewer?.name, code, comment === undefined ? undefined : `"${comment}"`].filter(
      word => word !== undefined,
    )
    say.sees('Cleo', `${kind}${words.length === 0 ? '' : `: ${words.join(', ')}`}`)
  }
  const has = (fits: (entry: LogEntry) => boolean): boolean => steps.some(fits)
  say.check(
    has(({ reviewer, code }) => reviewer?.subject === people.ben.id && code === 'own_call'),
    "Ben's attempt is in it.",
  )
  say.check(
    has(({ reviewer, comment }) => reviewer?.subject === people.ana.id && comment === 'Within policy.'),
    "So is Ana's approval, with her comment.",
  )
  say.check(
    ['call.held', 'hold.released', 'hold.delivered'].every(kind => has(entry => entry.kind === kind)),
    'Held, released and delivered, each once it happened.',
  )
}

const refundsAt = (house: House) =>
  house.billing.received.filter(({ method, target }) => method === 'POST' && target === '/v1/refunds')

const invoicesIn = (answer: Answer): number => (Array.isArray(answer.json.invoices) ? answer.json.invoices.length : 0)

const reached = (house: House, say: Say): void => {
  const [first, ...more] = refundsAt(house)
  say.sees('Billing', `POST /v1/refunds ${first?.body ?? ''}`)
  say.check(
    first?.body === JSON.stringify(refund) && more.length === 0,
    'It arrived once, byte for byte as the agent sent it.',
  )
  const all = JSON.stringify(house.billing.received)
  say.check(
    first?.headers.authorization === `Bearer ${billingKey}` && !all.includes(house.token),
    "It came with the billing API's own key; the agent's token stayed at the gate.",
  )
}

type LogEntry = {
  readonly kind: string
  readonly hold?: string
  readonly code?: string
  readonly comment?: string
  readonly reviewer?: { readonly subject: string; readonly name: string }
}

/** Oldest first. */
const entriesOf = (answer: Answer): readonly LogEntry[] =>
  Array.isArray(answer.json.entries) ? (answer.json.entries as LogEntry[]).toReversed() : []
