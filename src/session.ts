// An open tunnel while it lives: from the verified 101 to its entry in the log. Whoever may stop a call may cut its tunnel: an operator
// by a freeze, a reviewer by revoking its approval, a stopping gate. A held tunnel keeps its hold `released` as long as it is open.
import type { Duplex } from 'node:stream'
import { toError } from './errors.ts'
import type { Stoppable } from './freezes.ts'
import { readHold } from './hold.ts'
import type { Call, Entry, Header, Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import type { Upstream } from './settings.ts'
import { type TunnelEnd, tunnel } from './tunnel.ts'
import { switching } from './websocket.ts'

const lookEveryMs = 10_000

/** The connection of a caller that asked for a tunnel. */
export type Line = {
  readonly socket: Duplex
  /** From now on nothing but what the tunnel carries is read from the socket or written to it. */
  take(): void
}

export type Session = {
  readonly line: Line
  readonly call: Call
  readonly upstream: Upstream
  /** What the upstream said with its 101, and the tunnel itself. */
  readonly answer: { readonly headers: readonly Header[]; readonly socket: Duplex }
  /** Added to the 101. */
  readonly own: readonly Header[]
  readonly about: Omit<Entry, 'kind'>
  readonly stoppable: Stoppable
  readonly cut: AbortSignal
}

/** Answers 101 and carries until the tunnel ends. Never rejects. */
export const carry = async (parts: Parts, session: Session): Promise<TunnelEnd> => {
  const { line, call, upstream, answer, own, about, stoppable, cut } = session
  const frozen = new AbortController()
  const look = (): void => {
    try {
      parts.freezes.refuse(stoppable)
    } catch {
      frozen.abort('an operator stopped it')
    }
  }
  const off = parts.freezes.follow(look)
  look()
  line.take()
  if (!line.socket.destroyed)
    line.socket.write(switching(call.upgrade ?? 'websocket', answer.headers, call.headers, own), 'latin1')
  const end = await tunnel({
    caller: line.socket,
    upstream: answer.socket,
    idleMs: upstream.timeouts.idleMs,
    longestMs: upstream.timeouts.tunnelMs,
    cut: AbortSignal.any([cut, frozen.signal]),
  })
  off()
  try {
    parts.record.note({ ...about, kind: 'tunnel.closed', detail: end.why, bytesUp: end.up, bytesDown: end.down })
  } catch (error) {
    parts.log.error({ err: toError(error), call: call.id }, 'the end of a tunnel could not be recorded')
  }
  return end
}

/**
 * As `carry`, for a hold that this process released: first the store says that its tunnel is open, so that it can be revoked.
 * @param leaseMs when nobody could look at the hold for so long, it is no longer ours, and the tunnel is cut
 * @throws store_unavailable, or an Error if the hold is not ours any more; then nothing was carried
 */
export const carryHeld = async (parts: Parts, hold: Hold, session: Session, leaseMs: number): Promise<void> => {
  const { id } = hold.head
  const ours = (now: Hold | undefined): boolean => now?.state === 'released' && now.fence === hold.fence
  try {
    for (;;) {
      const now = await readHold(parts.store, parts.keys, id)
      if (now === undefined || !ours(now)) throw new Error('the hold is not released any more')
      const moved = await parts.store.holds.move({
        hold: id,
        move: 'touch',
        rev: now.rev,
        fence: hold.fence,
        facts: { tunnel: true },
        entry: parts.record.entry({ ...session.about, kind: 'tunnel.opened', status: 101 }),
      })
      if (moved.word === 'moved') break
      if (moved.word !== 'changed') throw new Error(`the tunnel of a hold cannot be opened: ${moved.word}`)
    }
  } catch (error) {
    session.answer.socket.destroy()
    throw error
  }

  const lost = new AbortController()
  let seenAt = performance.now()
  const look = async (): Promise<void> => {
    try {
      const now: Hold | undefined = await readHold(parts.store, parts.keys, id)
      seenAt = performance.now()
      if (!ours(now)) lost.abort(now?.state === 'revoked' ? 'its approval was revoked' : 'its hold was lost')
    } catch {
      if (performance.now() - seenAt >= leaseMs) lost.abort('the store was away for too long')
    }
  }
  const off = parts.watch.on(id, () => void look())
  const timer = setInterval(() => void look(), lookEveryMs)
  // What happened before the watch began is seen now.
  void look()
  await carry(parts, { ...session, cut: AbortSignal.any([session.cut, lost.signal]) })
  off()
  clearInterval(timer)
}
