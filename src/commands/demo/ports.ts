// Free ports on loopback, for programs that must know their address before they listen (it stands in links and redirects).
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

// Below the range from which systems take ports for outgoing connections, so that none is gone again before it is used.
const from = 20_000
const to = 32_000

/** Is anything listening on this port of 127.0.0.1? */
export const isFree = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)))
  })

/** `count` different ports that are free now. */
export const freePorts = async (count: number): Promise<number[]> => {
  const found = new Set<number>()
  while (found.size < count) {
    const port = randomInt(from, to)
    if (await isFree(port)) found.add(port)
  }
  return [...found]
}
