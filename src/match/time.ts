// The `time` key: days and hours in a time zone. Hours run from the first to before the second; they may wrap midnight, and then belong
// to the day on which they began.
import type { Match } from '../settings.ts'

export const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const

export const hoursPattern = /^([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/

/** Whether an instant lies within. Compiled once: one formatter, and one reading of the clock on the wall per minute. */
export const inTime = (when: NonNullable<Match['time']>): ((at: number) => boolean) => {
  const wall = new Intl.DateTimeFormat('en-GB', {
    timeZone: when.zone ?? 'UTC',
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  const [from, to] = when.hours === undefined ? [0, 1440] : when.hours.split('-').map(minutes)
  const wanted = new Set(when.days ?? days)
  let minute = Number.NaN
  let answer = false
  return at => {
    const now = Math.floor(at / 60_000)
    if (now !== minute) {
      minute = now
      answer = within(wall.formatToParts(at), wanted, from as number, to as number)
    }
    return answer
  }
}

const minutes = (text: string): number => Number(text.slice(0, 2)) * 60 + Number(text.slice(3))

const within = (
  parts: readonly Intl.DateTimeFormatPart[],
  wanted: ReadonlySet<string>,
  from: number,
  to: number,
): boolean => {
  const part = (type: string): string => parts.find(one => one.type === type)?.value ?? ''
  const now = Number(part('hour')) * 60 + Number(part('minute'))
  const today = (days as readonly string[]).indexOf(part('weekday').toLowerCase())
  const yesterday = (today + 6) % 7
  const on = (day: number): boolean => wanted.has(days[day] ?? '')
  if (from < to) return on(today) && now >= from && now < to
  return (on(today) && now >= from) || (on(yesterday) && now < to)
}
