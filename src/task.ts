// A hold as its caller may see it: the task of the Access Request and Approval Profile (AuthZEN ARAP draft 1), with our members.
// It names no reviewer and shows nothing that the caller did not send.
import type { Hold } from './nouns.ts'
import { tally } from './people.ts'
import { countedVotes } from './ready.ts'
import type { Settings } from './settings.ts'
import { taskStatus } from './states.ts'

const iso = (at: number): string => new Date(at).toISOString()

/** Where a hold's caller asks for it. */
export const statusUrl = (settings: Settings, id: string): string => `${settings.gate.url}/.holdpoint/holds/${id}`

/** `{task, result?}` as DESIGN §6 and facts/arap say. */
export const taskOf = (hold: Hold, settings: Settings): { readonly task: object; readonly result?: object } => {
  const { head, state, facts } = hold
  const url = statusUrl(settings, head.id)
  // A task leaves pending once: what becomes of an approval is told by its delivery.
  const status = facts.approvedAt === undefined ? taskStatus[state] : 'approved'
  const rules = settings.rules.filter(rule => head.rules.some(ref => ref.name === rule.name))
  const votes = countedVotes(hold, settings)
  const tallies = rules.map(rule => tally(rule, votes, settings))
  const needed = Math.max(1, ...tallies.map(one => one.needed))
  const missing = Math.max(0, ...tallies.map(one => one.needed - one.have))
  const delivery = facts.delivery
  return {
    task: {
      id: head.id,
      status,
      status_endpoint: url,
      expires_at: iso(state === 'pending' ? head.expiresAt : (facts.approvedUntilAt ?? head.expiresAt)),
      created_at: iso(head.openedAt),
      links: {
        ...(state === 'pending' ? { cancel: `${url}/cancel` } : {}),
        review: `${settings.console.url}/holds/${head.id}`,
        ...(facts.async ? { response: `${url}/response` } : {}),
      },
      votes: { have: status === 'pending' ? needed - missing : needed, needed },
      delivery: { state: deliveryState(hold), ...(delivery?.status === undefined ? {} : { status: delivery.status }) },
      action: { name: head.action.name, resource: head.action.resource },
      rule: head.rules.map(rule => rule.name).join(', '),
      ...(facts.comment === undefined && facts.why === undefined ? {} : { reason: facts.comment ?? facts.why }),
    },
    ...(status === 'approved' && facts.approvedAt !== undefined
      ? {
          result: {
            mode: 'urn:holdpoint:mode:delivered-by-gate',
            approval: {
              id: head.id,
              approved_at: iso(facts.approvedAt),
              approved_until: iso(facts.approvedUntilAt ?? facts.approvedAt),
              state,
            },
          },
        }
      : {}),
  }
}

const deliveryState = ({ state, facts }: Hold): string => {
  switch (state) {
    case 'pending':
    case 'approved':
      return 'waiting'
    case 'released':
      return 'sending'
    case 'delivered':
    case 'failed':
    case 'unknown':
    case 'lapsed':
    case 'revoked':
    case 'void':
      return state
    default:
      return facts.delivery?.state ?? 'none'
  }
}
