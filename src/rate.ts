// How many calls a caller may send: a bucket each that fills at the rate and holds one second's worth. In memory, so each replica counts
// for itself; what has not called for a second is forgotten.
const tracked = 10_000

export type Rate = {
  /** How many milliseconds this call comes too early; 0 if it may go on. `perSecond` 0 is no limit. */
  early(caller: string, perSecond: number): number
}

/** @param clock milliseconds, never going back */
export const callRate = (clock: () => number): Rate => {
  // When the bucket of a caller will be full again.
  const fullAt = new Map<string, number>()
  return {
    early(caller, perSecond) {
      if (perSecond === 0) return 0
      const now = clock()
      const each = 1000 / perSecond
      const full = Math.max(fullAt.get(caller) ?? now, now) + each
      if (full - now > 1000 + each / 2) return Math.ceil(full - now - 1000)
      if (fullAt.size >= tracked && !fullAt.has(caller)) forget(now)
      fullAt.set(caller, full)
      return 0
    },
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
