// A hold and its call, in the words that every channel for people uses. Our own words but for names of people: each channel escapes for itself.
import type { Notice, Shown } from './channel.ts'

export const utc = (at: number): string => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`

/** The request as reviewers see it: its first line, its headers, its body. */
export const requestText = ({ request: { method, target, headers, body } }: Shown): string =>
  [
    `${method} ${target}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
    ...(body.kind === 'shown'
      ? ['', body.text]
      : body.kind === 'opaque'
        ? ['', `(${body.type}, ${body.size} bytes)`]
        : []),
  ].join('\n')

/** What became of it, in one line; undefined while it waits. */
export const outcomeOf = (notice: Notice): string | undefined => {
  const by = notice.by === undefined ? '' : ` by ${notice.by}`
  // Whoever was to decide it, and was not asked, is told so.
  const glass = notice.verdicts.some(({ verdict }) => verdict === 'break_glass')
  const approved = `${glass ? 'Let go in an emergency (break-glass), without the votes of its rule,' : 'Approved'}${by}`
  switch (notice.state) {
    case 'pending':
      return undefined
    case 'approved':
    case 'released':
      return `${approved}, not sent yet`
    case 'delivered':
      return `${approved}, delivered${notice.status === undefined ? '' : ` (${notice.status})`}`
    case 'failed':
      return `${approved}, could not be delivered`
    case 'unknown':
      return `${approved}, sent; what became of it is not known`
    case 'lapsed':
      return `${approved}, not fetched in time; nothing was sent`
    case 'void':
      return 'Void: rules, caller or upstream changed; nothing was sent'
    case 'expired':
      return 'Expired; nothing was sent'
    case 'denied':
      return `Denied${by}`
    case 'cancelled':
      return `Withdrawn${by}`
    case 'revoked':
      return `Approved, then revoked${by}`
  }
}

export const titleOf = (notice: Notice): string => {
  const { have, needed } = notice.votes
  return outcomeOf(notice) ?? `Approval needed${needed > 1 ? ` (${have} of ${needed} votes)` : ''}`
}

/** What is said after the first message: that it still waits, or how it ended. */
export const followUpOf = (notice: Notice): string =>
  outcomeOf(notice) ??
  (notice.occasion === 'escalated'
    ? `Nobody has decided yet: more people may now. It expires at ${utc(notice.expiresAt)}.`
    : `It still waits, and expires at ${utc(notice.expiresAt)}.`)

/** For channels that cannot change what they said: is this worth another message? What has been overtaken since is not, nor is a vote. */
export const worthSaying = ({ occasion, state }: Notice): boolean => {
  if (occasion === 'voted') return false
  if (occasion === 'opened' || occasion === 'reminded' || occasion === 'escalated') return state === 'pending'
  return occasion !== 'approved' || state === 'approved' || state === 'released'
}
