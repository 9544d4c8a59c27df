// Starts and ends what is measured: each program on the core it is given, ended by its own pid, its CPU time read from /proc.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'

/** One core is for the proxy that is measured, the other for the load, the upstream and this program. */
export const proxyCore = 0
export const loadCore = 1

export type Running = {
  readonly pid: number
  /** User and system time of the program and its children so far, in seconds. */
  cpu(): number
  /** Resident memory of the same, in bytes. */
  resident(): number
  stop(): Promise<void>
}

const started = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of started) child.kill('SIGKILL')
})

/** Starts a program, on a core (or several, `0,1`) if one is named, and waits until it listens. Throws with what it wrote if it ends first. */
export const start = async (
  core: number | string | undefined,
  command: readonly string[],
  port: number,
  options: { readonly cwd?: string; readonly env?: { readonly [name: string]: string } } = {},
): Promise<Running> => {
  const [program = '', ...args] = core === undefined ? command : ['taskset', '-c', String(core), ...command]
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  })
  started.add(child)
  let said = ''
  child.stderr.on('data', chunk => {
    said = (said + chunk).slice(-4000)
  })
  const ended = once(child, 'exit').then(() => started.delete(child))
  for (const until = Date.now() + 20_000; !(await listens(port)); ) {
    if (child.exitCode !== null || Date.now() > until) {
      child.kill('SIGKILL')
      throw new Error(`${command.join(' ')} does not listen on ${port}:\n${said}`)
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  const pid = child.pid ?? 0
  return {
    pid,
    cpu: () => family(pid).reduce((sum, one) => sum + cpuOf(one), 0),
    resident: () => family(pid).reduce((sum, one) => sum + residentOf(one), 0),
    async stop() {
      child.kill('SIGTERM')
      const killing = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await ended
      clearTimeout(killing)
    },
  }
}

/** Moves this process to a core. */
export const pinSelf = (core: number, tries = 5): void => {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', String(core), String(process.pid)], { stdio: 'ignore' })
  } catch (cause) {
    // A thread that ends meanwhile cannot be moved.
    if (tries === 1) throw cause
    pinSelf(core, tries - 1)
  }
}

const listens = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

// The fields of /proc/PID/stat after the name, which may have spaces in it (proc(5)).
const statOf = (pid: number): readonly string[] => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return []
  }
}

const family = (root: number): readonly number[] => {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    const parent = Number.isInteger(pid) ? statOf(pid)[1] : undefined
    if (parent !== undefined) parents.set(pid, Number(parent))
  }
  const found = [root]
  for (const one of found) for (const [pid, parent] of parents) if (parent === one) found.push(pid)
  return found
}

const ticksPerS = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
const pageBytes = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }))

const cpuOf = (pid: number): number => {
  const stat = statOf(pid)
  return (Number(stat[11] ?? 0) + Number(stat[12] ?? 0)) / ticksPerS
}

const residentOf = (pid: number): number => Number(statOf(pid)[21] ?? 0) * pageBytes
