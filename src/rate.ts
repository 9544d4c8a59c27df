// How much a caller may do: a bucket each that fills at the rate and holds one window's worth. In memory, so each replica counts for
// itself; who has done nothing for a window is forgotten.
const tracked = 10_000

export type Rate = {
  /** How many milliseconds this caller comes too early; 0 if it may go on, and then it is counted. `most` 0 is no limit. */
  early(caller: string, most: number): number
  /** The same, counting nothing. */
  look(caller: string, most: number): number
}

/** @param clock milliseconds, never going back; `most` is meant for each `windowMs` */
export const callRate = (clock: () => number, windowMs = 1000): Rate => {
  // When the bucket of a caller will be full again.
  const fullAt = new Map<string, number>()
  const after = (caller: string, most: number, now: number): { full: number; earlyMs: number } => {
    const each = windowMs / most
    const full = Math.max(fullAt.get(caller) ?? now, now) + each
    return { full, earlyMs: full - now > windowMs + each / 2 ? Math.ceil(full - now - windowMs) : 0 }
  }
  return {
    early(caller, most) {
      if (most === 0) return 0
      const now = clock()
      const { full, earlyMs } = after(caller, most, now)
      if (earlyMs > 0) return earlyMs
      if (fullAt.size >= tracked && !fullAt.has(caller)) forget(now)
      fullAt.set(caller, full)
      return 0
    },
    look: (caller, most) => (most === 0 ? 0 : after(caller, most, clock()).earlyMs),
  }

  function forget(now: number): void {
    for (const [caller, at] of fullAt) if (at <= now) fullAt.delete(caller)
    // Everybody calls: the oldest are let go.
    for (const caller of fullAt.keys()) {
      if (fullAt.size < tracked) break
      fullAt.delete(caller)
    }
  }
}
