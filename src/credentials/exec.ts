// A token from a program of the operator's, such as a cloud's own tool: run without a shell, with nothing of our environment but where
// programs and home are, bounded in time and output. What it prints is read and never shown.
import { execFile } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import type { ExecSettings } from '../settings.ts'
import type { Credential } from './credential.ts'
import { bearerToken, keptToken } from './kept.ts'

const runMs = 10_000
const outputMax = 64 * 1024
/** A token of which nobody says how long it is good. */
const unsaidMs = 60_000

export const exec = (settings: ExecSettings): Credential => {
  let command: string | undefined
  const token = keptToken(async () => {
    command ??= programAt(settings.command)
    const { token, expiresAt } = readToken(await output(command, settings))
    return bearerToken(token, expiresAt, 'credential.exec: what the command printed')
  })
  return { headers: async () => [(await token()).line] }
}

/** Looked up once: whatever comes into a folder of the PATH later is not run. */
const programAt = (command: string): string => {
  const places = isAbsolute(command)
    ? [command]
    : (process.env.PATH ?? '').split(delimiter).map(dir => join(dir, command))
  const found = places.find(place => isAbsolute(place) && isProgram(place))
  if (found === undefined) throw new Error(`credential.exec.command: there is no program ${command}`)
  return found
}

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

const output = (command: string, { args, env }: ExecSettings): Promise<string> =>
  new Promise((resolve, reject) => {
    const { PATH = '', HOME = '' } = process.env
    const options = {
      env: { PATH, HOME, ...env },
      timeout: runMs,
      maxBuffer: outputMax,
      killSignal: 'SIGKILL',
    } as const
    const child = execFile(command, [...args], options, (error, stdout) => {
      if (error === null) return resolve(stdout)
      // The error of the run itself repeats what was printed.
      const how = error.killed ? 'was stopped' : error.code === undefined ? 'was stopped' : `ended with ${error.code}`
      reject(new Error(`credential.exec: the command ${how}`))
    })
    child.stdin?.end()
  })

/** `{token, expiresAt}`, or what kubectl's plugins print (client.authentication.k8s.io, ExecCredential). */
const readToken = (text: string): { readonly token: unknown; readonly expiresAt: number } => {
  let printed: { readonly [name: string]: unknown }
  try {
    printed = Object(JSON.parse(text)) as typeof printed
  } catch {
    throw new Error('credential.exec: the command printed no JSON')
  }
  const { token, expiresAt, expirationTimestamp } = (
    printed.kind === 'ExecCredential' ? Object(printed.status) : printed
  ) as { readonly [name: string]: unknown }
  const until = expiresAt ?? expirationTimestamp
  if (until === undefined || until === null) return { token, expiresAt: Date.now() + unsaidMs }
  const at = typeof until === 'string' ? Date.parse(until) : Number.NaN
  if (Number.isNaN(at)) throw new Error('credential.exec: what the command printed as the end of its token is no time')
  if (at <= Date.now()) throw new Error('credential.exec: the token that the command printed has run out')
  return { token, expiresAt: at }
}
