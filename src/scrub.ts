// Takes our own credential out of an upstream's answer, in case the upstream says it back: in head lines, in the body as it streams, in
// trailers. Each byte of it becomes an asterisk, so that every length stays true. What the upstream compressed, or sends through a tunnel,
// is not looked into.
import type { Header } from './nouns.ts'

/** Shorter ones would be found where they were never meant. */
const shortest = 8

type Taker = {
  head(status: number, headers: readonly Header[], statusText: string, more?: boolean): void
  informational?(status: number, headers: readonly Header[]): void
  data(chunk: Buffer, last?: boolean, spent?: () => void): boolean
  end(trailers: readonly Header[]): void
}

/** The same sink, behind which none of these secrets is seen. Without any it is the very same. */
export const scrubbed = <T extends Taker>(sink: T, secrets: readonly string[]): T => {
  const { needles, texts, tail } = soughtOf(secrets)
  if (needles.length === 0) return sink
  /** The end of what has come, as long as it may be the beginning of a secret. */
  let kept: Buffer | undefined
  /** So many bytes at its beginning are the rest of one that was found. */
  let rest = 0
  const lines = (headers: readonly Header[]): readonly Header[] => scrubbedLines(headers, secrets)

  return {
    ...sink,
    head: (status, headers, statusText, more) => sink.head(status, lines(headers), withStars(statusText, texts), more),
    ...(sink.informational === undefined
      ? {}
      : {
          informational: (status: number, headers: readonly Header[]) => sink.informational?.(status, lines(headers)),
        }),
    data(chunk, last = false, spent) {
      const bytes = kept === undefined ? chunk : Buffer.concat([kept, chunk])
      const end = last ? bytes.length : beginning(bytes, needles, tail)
      const found = spansIn(bytes, needles)
      // Most answers say nothing of ours.
      if (kept === undefined && found.length === 0 && end === bytes.length) return sink.data(chunk, last, spent)
      found.unshift({ start: 0, end: rest })
      kept = end === bytes.length ? undefined : Buffer.from(bytes.subarray(end))
      rest = found.reduce((most, span) => Math.max(most, span.end - end), 0)
      // Without a byte to give, the head at least need not wait.
      return sink.data(covered(end === bytes.length ? bytes : bytes.subarray(0, end), found), last)
    },
    end(trailers) {
      if (kept !== undefined) sink.data(covered(kept, [{ start: 0, end: rest }]))
      sink.end(lines(trailers))
    },
  }
}

/** Head lines in which none of these secrets is seen. */
export const scrubbedLines = (headers: readonly Header[], secrets: readonly string[]): readonly Header[] => {
  const { texts } = soughtOf(secrets)
  const says = ([, value]: Header): boolean => texts.some(secret => value.includes(secret))
  return headers.some(says)
    ? headers.map(header => (says(header) ? [header[0], withStars(header[1], texts)] : header))
    : headers
}

/** What is looked for, as bytes and as head lines have it; `tail`: of the longest all but one byte. */
type Sought = { readonly needles: readonly Buffer[]; readonly texts: readonly string[]; readonly tail: number }

const known = new WeakMap<readonly string[], Sought>()

const soughtOf = (secrets: readonly string[]): Sought => {
  const before = known.get(secrets)
  if (before !== undefined) return before
  const long = [...new Set(secrets)].map(secret => Buffer.from(secret)).filter(({ length }) => length >= shortest)
  // A secret that is part of another one must not leave the rest of it.
  const needles = long.sort((one, other) => other.length - one.length)
  const texts = needles.map(needle => needle.toString('latin1'))
  const sought = { needles, texts, tail: (needles[0]?.length ?? 1) - 1 }
  known.set(secrets, sought)
  return sought
}

const withStars = (text: string, secrets: readonly string[]): string =>
  secrets.every(secret => !text.includes(secret))
    ? text
    : secrets.reduce((left, secret) => left.replaceAll(secret, '*'.repeat(secret.length)), text)

type Span = { readonly start: number; readonly end: number }

/** Those of one secret that overlap, as one that repeats itself may without end, are one span. */
const spansIn = (bytes: Buffer, needles: readonly Buffer[]): Span[] => {
  const found: { start: number; end: number }[] = []
  for (const needle of needles) {
    let last: { start: number; end: number } | undefined
    for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) {
      if (last !== undefined && at <= last.end) last.end = at + needle.length
      else {
        last = { start: at, end: at + needle.length }
        found.push(last)
      }
    }
  }
  return found
}

/** The same bytes, or a copy in which every secret is covered. */
const covered = (bytes: Buffer, spans: readonly Span[]): Buffer => {
  const within = spans.filter(({ start, end }) => start < Math.min(end, bytes.length))
  if (within.length === 0) return bytes
  const copy = Buffer.from(bytes)
  for (const { start, end } of within) copy.fill('*', start, Math.min(end, bytes.length))
  return copy
}

/** Where the longest end begins that a secret begins with; the length where there is none. */
const beginning = (bytes: Buffer, needles: readonly Buffer[], tail: number): number => {
  for (let at = Math.max(0, bytes.length - tail); at < bytes.length; at++) {
    const left = bytes.length - at
    for (const needle of needles)
      if (bytes[at] === needle[0] && left < needle.length && bytes.compare(needle, 0, left, at) === 0) return at
  }
  return bytes.length
}
