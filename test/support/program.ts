// Runs the real program as its own process, in a directory of its own, and ends it by its pid.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const bin = fileURLToPath(new URL('../../bin/holdpoint.js', import.meta.url))

export type ProgramOptions = {
  /** YAML as text, or an object that is written as JSON (which is YAML). */
  readonly config: string | object
  /** Written beside it as `rules.yaml`. */
  readonly rules?: string
  readonly env?: { readonly [name: string]: string }
  /** Further arguments of `serve`. */
  readonly args?: readonly string[]
  /** Start again where an earlier program ran: same files, same store. */
  readonly dir?: string
}

export type LogLine = { readonly msg?: string; readonly [key: string]: unknown }

export type Program = {
  readonly gate: string
  readonly console: string
  readonly admin: string
  readonly dir: string
  readonly pid: number
  /** Asks the program to end and waits until it has; answers its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>
  /** Everything it logged so far. */
  logs(): readonly LogLine[]
  /** The next log line, or an earlier one, that fits. */
  logged(fits: (line: LogLine) => boolean): Promise<LogLine>
  /** The entries of the file trail so far, oldest first; after `stop` they are all there. */
  audit(): Promise<readonly { readonly [key: string]: unknown }[]>
  [Symbol.asyncDispose](): Promise<void>
}

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** Where the file trail is written, as the stories configure it. */
export const trailFolder = './audit'

/** A directory with the configuration in it. */
export const workDir = async ({ config, rules }: Pick<ProgramOptions, 'config' | 'rules'>): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-'))
  await writeFile(join(dir, 'holdpoint.yaml'), typeof config === 'string' ? config : JSON.stringify(config, null, 2))
  if (rules !== undefined) await writeFile(join(dir, 'rules.yaml'), rules)
  return dir
}

/** Runs `holdpoint ARGS` to its end; with `stopAt` it is asked to end as soon as it says that on stderr. */
export const runHoldpoint = async (
  args: readonly string[],
  options: {
    readonly cwd?: string
    readonly env?: { readonly [name: string]: string }
    readonly stopAt?: string
  } = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> => {
  const child = launch(args, options)
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', chunk => {
    stdout += chunk
  })
  child.stderr?.on('data', chunk => {
    const before = stderr
    stderr += chunk
    const { stopAt } = options
    if (stopAt !== undefined && stderr.includes(stopAt) && !before.includes(stopAt)) child.kill('SIGTERM')
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

const launch = (
  args: readonly string[],
  { cwd, env }: { readonly cwd?: string; readonly env?: { readonly [name: string]: string } },
): ChildProcess => {
  const child = spawn(process.execPath, [bin, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  child.once('close', () => children.delete(child))
  return child
}

/** Starts `holdpoint serve` and waits until it says that it is ready; throws with its output if it ends instead. */
export const startHoldpoint = async (options: ProgramOptions): Promise<Program> => {
  const dir = options.dir ?? (await workDir(options))
  const child = launch(['serve', '--config', join(dir, 'holdpoint.yaml'), ...(options.args ?? [])], {
    cwd: dir,
    env: options.env ?? {},
  })
  const closed = once(child, 'close') as Promise<[number | null]>
  child.stdout?.resume()
  const lines: LogLine[] = []
  const watching = new Set<(line: LogLine) => void>()
  createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', text => {
    const line = parsed(text)
    lines.push(line)
    for (const watch of watching) watch(line)
  })

  const logged = (fits: (line: LogLine) => boolean): Promise<LogLine> => {
    const earlier = lines.find(fits)
    if (earlier !== undefined) return Promise.resolve(earlier)
    return new Promise((resolve, reject) => {
      const watch = (line: LogLine): void => {
        if (!fits(line)) return
        watching.delete(watch)
        resolve(line)
      }
      watching.add(watch)
      closed.then(([code]) =>
        reject(new Error(`holdpoint ended with ${code}:\n${lines.map(line => JSON.stringify(line)).join('\n')}`)),
      )
    })
  }

  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    const [code] = await closed
    return code
  }

  const ready = await logged(line => line.msg === 'ready')
  return {
    gate: String(ready.gate),
    console: String(ready.console),
    admin: String(ready.admin),
    dir,
    pid: child.pid ?? 0,
    stop: (signal = 'SIGTERM') => end(signal),
    async kill() {
      await end('SIGKILL')
    },
    logs: () => lines,
    logged,
    async audit() {
      const file = join(dir, trailFolder, 'audit.jsonl')
      if (!existsSync(file)) return []
      return (await readFile(file, 'utf8')).split('\n').filter(Boolean).map(parsed)
    },
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
      await rm(dir, { recursive: true, force: true })
    },
  }
}

const parsed = (text: string): LogLine => {
  try {
    return JSON.parse(text) as LogLine
  } catch {
    return { msg: text }
  }
}
