// For what has no event to wait for: asks until the answer is there.

/** Asks again and again until the answer is not undefined; fails after `withinMs`. */
export const eventually = async <T>(ask: () => Promise<T | undefined>, withinMs = 10_000): Promise<T> => {
  const untilAt = Date.now() + withinMs
  for (;;) {
    const found = await ask()
    if (found !== undefined) return found
    if (Date.now() > untilAt) throw new Error(`nothing came within ${withinMs} ms: ${ask}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
