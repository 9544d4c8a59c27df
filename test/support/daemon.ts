// One of Debian's servers as a child process in a folder of its own, ended by its own id.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { find } from './debian.ts'
import { eventually } from './eventually.ts'

export type Daemon = {
  readonly url: string
  /** What it wrote to its standard output is in `stdout` there. */
  readonly dir: string
  /** Ends it when it has answered what it is answering; its folder stays until `remove`. */
  end(): Promise<void>
  remove(): Promise<void>
}

/** One request as a server says that it understood it. */
export type Logged = {
  readonly method: string
  /** As it stood in the request line. */
  readonly target: string
  readonly status: number
  /** Lower-case names; only those that the log was asked for, and one line of each. */
  readonly headers: { readonly [name: string]: string }
}

/** A server that reads requests by its own rules, logs each, and hands it on to another upstream. */
export type LoggingProxy = {
  readonly url: string
  /** Ends it, so that everything is logged; every request that it saw, oldest first. */
  stop(): Promise<readonly Logged[]>
}

export type DaemonOptions = {
  readonly program: string
  /** Its configuration, for a folder of its own and a port of 127.0.0.1. */
  readonly config: (dir: string, port: number) => string
  readonly args: (dir: string, config: string) => readonly string[]
  /** What makes it finish its work and end. */
  readonly signal: NodeJS.Signals
}

/** Starts it and waits until it takes connections. */
export const startDaemon = async ({ program, config, args, signal }: DaemonOptions): Promise<Daemon> => {
  const path = find(program)
  if (path === undefined) throw new Error(`${program} is not installed`)
  const dir = await mkdtemp(join(tmpdir(), `holdpoint-${program}-`))
  const [port = 0] = await freePorts(1)
  const file = join(dir, `${program}.conf`)
  await writeFile(file, config(dir, port))
  const [stdout, stderr] = await Promise.all(['stdout', 'stderr'].map(name => open(join(dir, name), 'w')))
  const child = spawn(path, args(dir, file), { stdio: ['ignore', stdout?.fd, stderr?.fd] })
  await Promise.all([stdout?.close(), stderr?.close()])
  const ended = once(child, 'exit')
  const kill = (): void => void child.kill('SIGTERM')
  process.once('exit', kill)
  await eventually(async () => {
    if (child.exitCode !== null) {
      throw new Error(`${program} ended with ${child.exitCode}: ${await readFile(join(dir, 'stderr'), 'utf8')}`)
    }
    return (await answers(port)) ? true : undefined
  })
  return {
    url: `http://127.0.0.1:${port}`,
    dir,
    async end() {
      child.kill(signal)
      await ended
      process.off('exit', kill)
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  }
}

/**
 * Reads a log of one JSON object a line: what is not `method`, `target` or `status` is a header. What was no request has no method, and
 * lines about other things than requests are none of ours.
 */
export const readLog = async (file: string): Promise<readonly Logged[]> =>
  (await readFile(file, 'utf8'))
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => {
      const { method = '', target = '', status, ...headers } = JSON.parse(line, absent) as { [name: string]: string }
      return { method, target, status: Number(status), headers }
    })

// HAProxy writes "-" for what is not there.
const absent = (_: string, value: unknown): unknown => (value === '-' ? '' : value)

const answers = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
