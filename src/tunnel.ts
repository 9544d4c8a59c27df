// Carries bytes between two connections and counts them, until one of them ends or it has to. Nothing is added, changed or read.
//   - Neither side is read faster than the other takes (`pipe`), so what is slow costs no memory.
//   - An end on one side ends the other after everything was written; a half-closed connection still carries the other way.
//   - Whoever has to be cut off is cut off at once: the bytes on their way are lost, and no bytes of ours go between theirs.
import type { Duplex } from 'node:stream'

/** For this long the last bytes may take to reach the one side when the other has gone. */
const lingerMs = 5_000

export type Tunnel = {
  readonly caller: Duplex
  readonly upstream: Duplex
  /** Without a byte in either direction; 0: none. */
  readonly idleMs: number
  readonly longestMs: number
  /** Cuts it; the reason is a text. */
  readonly cut: AbortSignal
}

export type TunnelEnd = {
  /** Who or what ended it. */
  readonly why: string
  /** Bytes from the caller to the upstream, and back. */
  readonly up: number
  readonly down: number
}

/** Resolves when both connections are closed. Never rejects. */
export const tunnel = ({ caller, upstream, idleMs, longestMs, cut }: Tunnel): Promise<TunnelEnd> =>
  new Promise(resolve => {
    let up = 0
    let down = 0
    let why: string | undefined
    const timers: NodeJS.Timeout[] = []

    const stop = (reason: string): void => {
      why ??= reason
      caller.destroy()
      upstream.destroy()
    }
    const onCut = (): void => stop(String(cut.reason))
    const later = (ms: number, reason: string): NodeJS.Timeout => {
      const timer = setTimeout(() => stop(reason), ms)
      timers.push(timer)
      return timer
    }
    const idle = idleMs > 0 ? later(idleMs, 'it was silent for too long') : undefined
    if (longestMs > 0) later(longestMs, 'its time was over')

    const closed = (): void => {
      if (!caller.closed || !upstream.closed) return
      for (const timer of timers) clearTimeout(timer)
      cut.removeEventListener('abort', onCut)
      resolve({ why: why ?? 'it broke', up, down })
    }
    const ended = (one: Duplex, other: Duplex, reason: string): void => {
      const gone = (): void => {
        why ??= reason
        // Already piped bytes go out first; to whom nobody listens they go for a while only.
        if (!other.destroyed) {
          other.end(() => other.destroy())
          later(lingerMs, reason)
        }
        closed()
      }
      one.on('error', () => {})
      one.once('end', () => {
        why ??= reason
      })
      if (one.closed) gone()
      else one.once('close', gone)
    }
    caller.on('data', (chunk: Buffer) => {
      up += chunk.length
      idle?.refresh()
    })
    upstream.on('data', (chunk: Buffer) => {
      down += chunk.length
      idle?.refresh()
    })
    caller.pipe(upstream)
    upstream.pipe(caller)
    ended(caller, upstream, 'the caller ended it')
    ended(upstream, caller, 'the upstream ended it')
    if (cut.aborted) onCut()
    else cut.addEventListener('abort', onCut)
  })
