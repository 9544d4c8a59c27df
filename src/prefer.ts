// What a caller prefers (RFC 7240), as far as it is ours: `respond-async` and `wait=N`. Everything else is the upstream's.
import type { Header } from './nouns.ts'

export type Prefer = {
  readonly async: boolean
  readonly waitMs: number | undefined
  /** The value of Preference-Applied. */
  readonly applied: string
}

/** The preferences of one header line; a comma within quotes separates nothing. */
export const preferences = (value: string): readonly string[] => value.match(/(?:"(?:[^"\\]|\\.)*"|[^,"]|")+/g) ?? []

/** The first mention of a preference counts (RFC 7240 §2); a malformed `wait` is no preference. */
export const preferOf = (headers: readonly Header[]): Prefer => {
  let async = false
  let waitS: number | undefined
  for (const [name, value] of headers) {
    if (name.toLowerCase() !== 'prefer') continue
    for (const item of preferences(value)) {
      const [token = '', argument = ''] = (item.split(';')[0] ?? '')
        .trim()
        .toLowerCase()
        .split(/\s*=\s*/)
      if (token === 'respond-async') async = true
      if (token === 'wait' && waitS === undefined && /^"?\d{1,6}"?$/.test(argument))
        waitS = Number(argument.replaceAll('"', ''))
    }
  }
  const applied = [...(async ? ['respond-async'] : []), ...(waitS === undefined ? [] : [`wait=${waitS}`])].join(', ')
  return { async, waitMs: waitS === undefined ? undefined : waitS * 1000, applied }
}
