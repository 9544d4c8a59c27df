// The console's API as commands ask it: at which address, and with whose token. Nothing is done behind the console's back.
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { safeUrl } from '../ask.ts'
import { printable } from '../mask.ts'
import { readSignIn, signInFile, tokenOf } from './sign-in.ts'

export type Where = { readonly console: string; readonly token: string }

export type WhereOptions = { readonly console?: string; readonly tokenFile?: string }

const longestMs = 10_000

/** Asks the API; answers its JSON. @throws an Error that says what the console said */
export const askConsole = async (
  { console, token }: Where,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> => {
  const answer = await fetch(`${console}${path}`, {
    method,
    redirect: 'error',
    signal: AbortSignal.timeout(longestMs),
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const said = (await answer.json()) as { title?: string; detail?: string }
  if (!answer.ok) throw new Error(`${answer.status}: ${[said.title, said.detail].filter(Boolean).join('. ')}`)
  return said
}

/** The options that say where the console is and whose token is shown. */
export const withWhere = (command: Command): Command =>
  command
    .option('--console <url>', "the console's address (or HOLDPOINT_CONSOLE; default: where you signed in)")
    .option('--token-file <file>', 'a file with an access token (or HOLDPOINT_TOKEN; default: your sign-in)')

const given = (options: WhereOptions, env: NodeJS.ProcessEnv): string =>
  (options.console || env.HOLDPOINT_CONSOLE || '').replace(/\/$/, '')

const noConsole =
  "--console (or HOLDPOINT_CONSOLE): say the console's https address (http is for loopback only), or sign in with holdpoint login"

/** The console's address, as said or as signed in at. */
export const consoleOf = async (options: WhereOptions, env: NodeJS.ProcessEnv): Promise<string> => {
  const console = given(options, env) || ((await readSignIn(signInFile(env)))?.console ?? '')
  if (!URL.canParse(console) || !safeUrl(console)) throw new Error(noConsole)
  return console
}

/** The token in the file or the environment, else that of the sign-in at this very console. */
export const whereOf = async (options: WhereOptions, env: NodeJS.ProcessEnv): Promise<Where> => {
  const console = await consoleOf(options, env)
  const told = options.tokenFile === undefined ? (env.HOLDPOINT_TOKEN ?? '') : await readFile(options.tokenFile, 'utf8')
  if (told.trim() !== '') return { console, token: told.trim() }
  if (options.tokenFile !== undefined) throw new Error('--token-file: there is no token in the file')
  const file = signInFile(env)
  const kept = await readSignIn(file)
  if (kept?.console !== console)
    throw new Error(
      `you are not signed in at ${console}: run holdpoint login, or say --token-file (or HOLDPOINT_TOKEN): an access token for the audience of the console`,
    )
  return { console, token: await tokenOf(file, kept, Date.now()) }
}

/** Does the work; what it throws is said on one line, and the exit code is 1. */
export const orSay = async (work: () => Promise<void>): Promise<void> => {
  try {
    await work()
  } catch (error) {
    const { message, cause } = error as Error
    process.stderr.write(`${printable(`${message}${cause instanceof Error ? `: ${cause.message}` : ''}`)}\n`)
    process.exitCode = 1
  }
}
