// A real Redis (or Valkey) on a free port with a folder of its own, for one test file. Ended by its own process, also when the tests end badly.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { find } from './debian.ts'

export type RedisServer = {
  readonly url: string
  readonly port: number
  /** Ends it in good order and removes its folder (unless that was given). */
  stop(): Promise<void>
  /** Ends it as a power cut would (SIGKILL). */
  kill(): Promise<void>
  /** Starts it again on the same port and folder; `args` replace the ones before. */
  restart(args?: readonly string[]): Promise<void>
  /** Holds it still (SIGSTOP), and lets it go on. */
  freeze(): void
  thaw(): void
}

export type RedisOptions = {
  readonly args?: readonly string[]
  readonly dir?: string
  readonly port?: number
  readonly program?: 'redis-server' | 'valkey-server'
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export const startRedis = async (options: RedisOptions = {}): Promise<RedisServer> => {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'holdpoint-redis-'))
  const port = options.port ?? (await freePort())
  const name = options.program ?? 'redis-server'
  const program = find(name)
  if (program === undefined) throw new Error(`${name} is not installed`)
  let args = options.args ?? []
  let child: ChildProcess

  const start = async (): Promise<void> => {
    const own = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      dir,
      '--save',
      '',
      '--appendonly',
      'no',
      '--daemonize',
      'no',
    ]
    const started = spawn(program, [...own, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    child = started
    running.add(started)
    started.once('exit', () => running.delete(started))
    const said: string[] = []
    for await (const line of createInterface({ input: started.stdout })) {
      said.push(line)
      if (line.includes('Ready to accept connections')) {
        started.stdout.resume()
        return
      }
    }
    throw new Error(`${name} did not start:\n${said.join('\n')}`)
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    async stop() {
      child.kill('SIGCONT')
      await end('SIGTERM')
      if (options.dir === undefined) rmSync(dir, { recursive: true, force: true })
    },
    kill: () => end('SIGKILL'),
    async restart(changed = args) {
      args = changed
      await end('SIGTERM')
      await start()
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
  }
}

/** A port that was free a moment ago: for servers that cannot choose one themselves. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = portOf(server)
  server.close()
  await once(server, 'close')
  return port
}

/** Stands between a client and a server, and may change what the server says (to something of the same length). */
export const relayTo = async (
  port: number,
  says: (text: string) => string,
): Promise<{ readonly url: string; close(): Promise<void> }> => {
  const sockets = new Set<Socket>()
  const relay = createServer(client => {
    const server = connect(port, '127.0.0.1')
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        client.destroy()
        server.destroy()
      })
    }
    client.on('data', chunk => server.write(chunk))
    server.on('data', chunk => client.write(says(chunk.toString('latin1')), 'latin1'))
  }).listen(0, '127.0.0.1')
  await once(relay, 'listening')
  return {
    url: `redis://127.0.0.1:${portOf(relay)}`,
    async close() {
      for (const socket of sockets) socket.destroy()
      relay.close()
      await once(relay, 'close')
    },
  }
}

const portOf = (server: Server): number => {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return address.port
}
