// The end of a call where the gate itself fails: nobody else is harmed, and a stop waits for nobody who is gone.
import { createServer } from 'node:http'
import { expect, it } from 'vitest'
import { gate } from '../src/gate.ts'
import { listening } from '../src/listen.ts'
import { makeLog } from '../src/log.ts'
import type { Parts } from '../src/parts.ts'
import { gateSettings } from './support/gate-settings.ts'

it('survives what goes wrong while a call ends, and does not wait for that call when it stops', async () => {
  const settings = gateSettings()
  let lines = 0
  const one = gate({
    settings: () => ({ ...settings, upstreams: [], gate: { ...settings.gate, limits: { header: 16_384 } } }),
    watch: { follow: () => {} },
    log: makeLog('silent'),
    access() {
      lines++
      throw new Error('nobody reads these any more')
    },
  } as unknown as Parts)
  const server = await listening(createServer(one.handle), { host: '127.0.0.1', port: 0 }, 'test')
  const answer = await fetch(`${server.url}/.well-known/oauth-protected-resource`)
  expect([answer.status, lines]).toEqual([200, 1])
  await one.drain()
  await server.close()
})
