// A flood at the running program: the caps of the configuration cut it, and whoever comes from elsewhere is served meanwhile.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { type Answered, type Stage, startStage } from '../support/stage.ts'

let stage: Stage
const sockets: Socket[] = []

beforeAll(async () => {
  const [gate] = await freePorts(1)
  stage = await startStage({
    config: {
      gate: {
        listen: `127.0.0.1:${gate}`,
        url: `http://127.0.0.1:${gate}`,
        limits: { connections: 100, connectionsPerAddress: 20, callsPerSecond: 5 },
      },
    },
  })
})
afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  await stage.close()
})

/** A connection from another address of this machine. */
const from = async (localAddress: string): Promise<Socket> => {
  const { hostname, port } = new URL(stage.holdpoint.gate)
  const socket = connect({ host: hostname, port: Number(port), localAddress })
  sockets.push(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

test('connections over the cap of an address are cut, open ones may stay, and another address is served', async () => {
  const flood = await Promise.all(Array.from({ length: 60 }, () => from('127.0.0.2')))
  let cut = 0
  const enough = new Promise<void>(resolve => {
    for (const socket of flood) {
      socket.resume().once('close', () => {
        cut++
        if (cut === 40) resolve()
      })
      socket.write('GET /billing/v1/slow HTTP/1.1\r\nHost: 127.0.0.1\r\n')
    }
  })
  await enough
  expect((await stage.call('GET', '/billing/v1/invoices')).status).toBe(200)
  expect(cut).toBe(40)
  for (const socket of flood) socket.destroy()
})

test('a caller over its rate is told to wait; nothing of that reaches the upstream', async () => {
  const before = stage.upstream.seen.length
  const answers: Answered[] = []
  for (let wave = 0; wave < 6; wave++)
    answers.push(...(await Promise.all(Array.from({ length: 10 }, () => stage.call('GET', '/billing/v1/tiny')))))
  const passed = answers.filter(({ status }) => status === 200).length
  const told = answers.filter(({ status }) => status === 429)
  expect(passed + told.length).toBe(60)
  expect(told.length).toBeGreaterThan(0)
  for (const { headers } of told) expect(headers.get('retry-after')).toBe('1')
  expect(stage.upstream.seen.length - before).toBe(passed)
})
