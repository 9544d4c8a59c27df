// A body in chunks (RFC 9112 §7.1), as it comes: every line ends in CRLF, extensions are passed over, trailers are header lines.
import type { Header } from '../nouns.ts'
import { readLine } from './head.ts'

const longestLine = 16 * 1024
/** Of all trailers together. */
const longestTrailers = 64 * 1024

/** A size, and extensions without the blanks that some readers pass over. */
const sizeLine =
  /^([0-9A-Fa-f]{1,13})(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*$/

export type Chunked = {
  /**
   * @param into what there is of the body is added to it, in order
   * @returns how many bytes at the end of `bytes` lie behind the body; undefined: it goes on
   * @throws if this is not how chunks are written
   */
  take(bytes: Buffer, into: Buffer[]): number | undefined
  /** Once the body has ended. */
  readonly trailers: readonly Header[]
}

export const chunked = (): Chunked => {
  const trailers: Header[] = []
  let stage: 'size' | 'data' | 'after' | 'trailers' = 'size'
  /** Bytes of this chunk that have not come yet. */
  let left = 0
  /** Of a line, what has come. */
  let begun = ''
  let trailed = 0

  /** A whole line without its end. */
  const follow = (line: string): 'ended' | undefined => {
    if (stage === 'after') {
      if (line !== '') throw new Error('a chunk is longer than the upstream said')
      stage = 'size'
    } else if (stage === 'size') {
      const [, size] = sizeLine.exec(line) ?? []
      if (size === undefined) throw new Error('the upstream gave a chunk a size that is none')
      left = Number.parseInt(size, 16)
      stage = left === 0 ? 'trailers' : 'data'
    } else if (line === '') return 'ended'
    else {
      trailed += line.length
      if (trailed > longestTrailers) throw new Error('the upstream sent trailers without end')
      trailers.push(readLine(line))
    }
    return undefined
  }

  return {
    trailers,
    take(bytes, into) {
      for (let at = 0; at < bytes.length; ) {
        if (stage === 'data') {
          const piece = at === 0 && bytes.length <= left ? bytes : bytes.subarray(at, at + left)
          at += piece.length
          left -= piece.length
          if (left === 0) stage = 'after'
          into.push(piece)
          continue
        }
        const end = bytes.indexOf(0x0a, at)
        begun += bytes.toString('latin1', at, end < 0 ? bytes.length : end)
        if (begun.length > longestLine) throw new Error('the upstream sent a line without end')
        if (end < 0) return undefined
        at = end + 1
        if (!begun.endsWith('\r')) throw new Error('the upstream ended a line without CR')
        const line = begun.slice(0, -1)
        begun = ''
        if (follow(line) === 'ended') return bytes.length - at
      }
      return undefined
    },
  }
}
