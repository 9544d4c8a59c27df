// One measurement: wrk on the load core for some seconds, and what the proxy's CPU did meanwhile.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { find } from '../test/support/debian.ts'
import type { Peer } from './peers.ts'
import { loadCore } from './programs.ts'

const script = fileURLToPath(new URL('load.lua', import.meta.url))

export type Load = {
  readonly method: 'GET' | 'POST'
  readonly path: string
  /** Files: tokens, one a line, used in turn; the body, if there is one. */
  readonly tokens: string
  readonly body?: string
  readonly connections: number
  readonly seconds: number
  /** Mean pause of each connection between two requests; 0: as fast as it goes. */
  readonly pauseMs?: number
}

export type Measured = {
  readonly requests: number
  readonly perS: number
  readonly perCpuS: number
  readonly bytesPerCpuS: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Throws if anything but 2xx came back, or a connection broke: then the figures mean nothing. */
export const measure = async (peer: Peer, load: Load): Promise<Measured> => {
  const cpuBefore = peer.running.cpu()
  const child = spawn(
    'taskset',
    [
      ...['-c', String(loadCore), find('wrk') ?? 'wrk', '-t1', `-c${load.connections}`, `-d${load.seconds}s`],
      ...['--timeout', '20s', '-s', script, `http://127.0.0.1:${peer.port}`, '--'],
      ...[load.tokens, load.method, load.path, load.body ?? '-', String(load.pauseMs ?? 0)],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let out = ''
  child.stdout.on('data', chunk => {
    out += chunk
  })
  await once(child, 'close')
  const cpuS = peer.running.cpu() - cpuBefore
  const line = out.split('\n').findLast(text => text.startsWith('{'))
  if (line === undefined) throw new Error(`wrk against ${peer.name}: ${out}`)
  const { requests, us, bytes, status, broken, p50us, p99us } = JSON.parse(line) as { readonly [name: string]: number }
  if (status !== 0 || broken !== 0)
    throw new Error(`${peer.name}: ${status} answers were no success and ${broken} connections broke`)
  const [n = 0, micros = 1, size = 0] = [requests, us, bytes]
  return {
    requests: n,
    perS: n / (micros / 1e6),
    perCpuS: n / cpuS,
    bytesPerCpuS: size / cpuS,
    p50Ms: (p50us ?? 0) / 1000,
    p99Ms: (p99us ?? 0) / 1000,
  }
}
