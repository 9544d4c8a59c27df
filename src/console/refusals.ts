// What is refused to somebody whom nobody vouches for is on record all the same. It is cheap to cause: beyond so many in a minute such
// entries are counted, not written one by one.
import type { Entry } from '../nouns.ts'
import type { Desk } from './desk.ts'

const perMinute = 30

export type Refusals = (entry: Entry) => Promise<void>

export const refusals = (desk: Pick<Desk, 'note'>, clock: () => number): Refusals => {
  const counted = new Map<string, { minute: number; count: number }>()
  return async entry => {
    const minute = Math.floor(clock() / 60_000)
    const known = counted.get(entry.kind) ?? { minute, count: 0 }
    if (known.minute !== minute) {
      const left = Math.max(0, known.count - perMinute)
      Object.assign(known, { minute, count: 0 })
      if (left > 0)
        await desk.note({
          kind: entry.kind,
          count: left,
          detail: 'more in the minutes before, not written one by one',
        })
    }
    counted.set(entry.kind, known)
    known.count += 1
    if (known.count <= perMinute) await desk.note(entry)
  }
}

/** Which verdict on which hold a request asks for, at the API or from a page; undefined if it asks for none. */
export const verdictAsked = ({
  method,
  url,
}: Request): { readonly hold: string; readonly detail: string } | undefined => {
  const [, hold, detail = ''] = /^(?:\/api)?\/holds\/(h_[\w-]{22})\/([a-z-]+)$/.exec(new URL(url).pathname) ?? []
  return method !== 'POST' || hold === undefined ? undefined : { hold, detail: detail.replace('-', '_') }
}
