// Words for people: states, times, and other people's text made safe to look at.
// `visible` is for every text that somebody else wrote: what cannot be seen, or would turn the line around, is shown as an escape.
import type { ErrorCode } from '../errors.ts'
import { printable, printableLines } from '../mask/printable.ts'
import type { State } from '../states.ts'

/** Text in which everything shows. Line breaks stay in `block` text. */
export const visible = (text: string, kind: 'line' | 'block' = 'line'): string =>
  kind === 'block' ? printableLines(text) : printable(text)

/** `2026-11-22 09:30 UTC` */
export const moment = (instant: string): string => {
  const at = new Date(instant)
  return Number.isNaN(at.getTime()) ? visible(instant) : `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** How long until (or since) an instant, in the two largest units: `2 h 5 min`. The page's script says it the same way. */
export const span = (ms: number): string => {
  const seconds = Math.floor(Math.abs(ms) / 1000)
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ]
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`
  return minutes > 0 ? `${minutes} min` : `${seconds} s`
}

/** Less than this before a deadline, it is shown as pressing. */
export const soonMs = 5 * 60_000

export const stateWords: Record<State, string> = {
  pending: 'Waiting',
  approved: 'Approved, not yet sent',
  released: 'Being sent',
  delivered: 'Delivered',
  failed: 'Failed, nothing was sent',
  unknown: 'Sent, answer unknown',
  denied: 'Denied',
  expired: 'Expired',
  cancelled: 'Withdrawn',
  lapsed: 'Approved, never collected',
  revoked: 'Revoked',
  void: 'Void',
}

/** How a state looks: it waits, went well, went badly, or is over without either. */
export const stateTone = (state: State): 'wait' | 'good' | 'bad' | 'over' => {
  if (state === 'pending') return 'wait'
  if (state === 'approved' || state === 'released' || state === 'delivered') return 'good'
  return state === 'unknown' || state === 'denied' || state === 'failed' || state === 'revoked' ? 'bad' : 'over'
}

/** Why somebody may not decide, said plainly; `detail` is the judge's own sentence. */
export const becauseWords = (because: string | undefined, detail: string | undefined): string => {
  const words: Partial<Record<ErrorCode, string>> = {
    own_call: 'You are one of the people behind this call, so somebody else has to decide it.',
    already_decided: 'There is nothing left for you to decide here.',
  }
  if (because === 'not_approver') return `You may read this call, but not decide it. ${detail ?? ''}`.trim()
  return detail ?? words[because as ErrorCode] ?? 'You cannot decide this call.'
}

export const grouped = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, '\u202f')

export const bytes = (size: number): string => `${grouped(size)} ${size === 1 ? 'byte' : 'bytes'}`

/** `1 vote`, `2 votes` */
export const plural = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`
