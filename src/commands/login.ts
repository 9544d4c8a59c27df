// holdpoint login and logout: a sign-in in a browser, for this terminal.
import type { Command } from 'commander'
import { safeUrl } from '../ask.ts'
import { loadSettings } from '../config.ts'
import { type DeviceClient, revoke, startDevice } from '../console/device.ts'
import { printable } from '../mask.ts'
import type { Login } from '../settings.ts'
import { askConsole, orSay } from './ask-console.ts'
import { line } from './check.ts'
import { openPage } from './open-page.ts'
import { forgetSignIn, keepSignIn, readSignIn, signInFile } from './sign-in.ts'

type Options = {
  readonly config?: string
  readonly login?: string
  readonly console?: string
  readonly issuer?: string
  readonly client?: string
  readonly resource?: string
  readonly scope: string
  readonly browser: boolean
}

type Place = { readonly console: string; readonly client: DeviceClient }

const chosen = (logins: readonly Login[], name: string | undefined): Login => {
  const names = logins.map(login => login.name).join(', ')
  const found = name === undefined && logins.length === 1 ? logins[0] : logins.find(login => login.name === name)
  if (found === undefined) throw new Error(`--login: say one of ${names || 'none, since console.login is empty'}`)
  return found
}

/** From the configuration, where there is one; each part may be said otherwise. */
const placeOf = async (options: Options, env: NodeJS.ProcessEnv): Promise<Place> => {
  const loaded = options.config === undefined ? undefined : await loadSettings(options.config, env)
  if (loaded !== undefined && 'problems' in loaded) throw new Error(loaded.problems.map(line).join('\n'))
  const configured = loaded?.settings.console
  const login = configured && options.issuer === undefined ? chosen(configured.login, options.login) : undefined
  const console = (options.console || env.HOLDPOINT_CONSOLE || configured?.url || '').replace(/\/$/, '')
  if (!URL.canParse(console) || !safeUrl(console))
    throw new Error("--console (or HOLDPOINT_CONSOLE): say the console's https address; http is for loopback only")
  const issuer = options.issuer ?? login?.issuer ?? ''
  if (!URL.canParse(issuer) || !safeUrl(issuer))
    throw new Error('--issuer: say the https address of the identity provider, or --config with a console.login')
  const clientId = options.client ?? login?.interactive?.clients[0]
  if (clientId === undefined)
    throw new Error('--client: say the id of a public client with device sign-in at the identity provider')
  const resource = options.resource ?? configured?.audience
  return { console, client: { issuer, clientId, ...(resource === undefined ? {} : { resource }) } }
}

const signIn = async (options: Options): Promise<void> => {
  const { console, client } = await placeOf(options, process.env)
  const started = await startDevice(client, options.scope)
  const page = printable(started.complete ?? started.uri)
  process.stderr.write(`Open ${page}\nand see that it shows this code: ${printable(started.code)}\n`)
  if (options.browser) openPage(page)
  const tokens = await started.done()
  // Nothing is kept that the console does not take.
  await askConsole({ console, token: tokens.access }, 'GET', '/api/holds?limit=1')
  const file = signInFile(process.env)
  await keepSignIn(file, { version: 1, console, ...client, ...tokens })
  process.stdout.write(`Signed in at ${console}. The sign-in is kept in ${file}; holdpoint logout ends it.\n`)
}

const signOut = async (): Promise<void> => {
  const file = signInFile(process.env)
  const kept = await readSignIn(file).catch(() => undefined)
  await forgetSignIn(file)
  if (kept?.refresh !== undefined)
    await revoke(kept, kept.refresh).catch((error: Error) => {
      process.stderr.write(`The identity provider could not be told: ${printable(error.message)}\n`)
    })
  process.stdout.write('Signed out.\n')
}

export const registerLogin = (program: Command): void => {
  program
    .command('login')
    .description('sign in for this terminal, in a browser')
    .option('-c, --config <file>', 'take issuer, client, audience and address from a configuration')
    .option('--login <name>', 'which entry of its console.login, if there are several')
    .option('--console <url>', "the console's address (or HOLDPOINT_CONSOLE)")
    .option('--issuer <url>', 'the identity provider')
    .option('--client <id>', 'a public client there, with device sign-in')
    .option('--resource <audience>', "the console's audience, for providers that are asked for it (RFC 8707)")
    .option('--scope <scopes>', 'what is asked for', 'openid profile email offline_access')
    .option('--no-browser', 'only print the address')
    .addHelpText(
      'after',
      `
Prints an address and a code (RFC 8628). Open the address in any browser, on any machine, and sign in there. The sign-in is kept in
$XDG_CONFIG_HOME/holdpoint/sign-in.json (default ~/.config), readable by you alone, and renewed as long as the provider lets it.
With it you read: holds, show, watch. You decide in the browser: approve and deny open the page.

Examples:
  $ holdpoint login --console https://holdpoint.acme.internal --issuer https://acme.okta.com/oauth2/console --client 0oa1cli
  $ holdpoint login --config holdpoint.yaml`,
    )
    .action((options: Options) => orSay(() => signIn(options)))
  program
    .command('logout')
    .description('end the sign-in of this terminal')
    .action(() => orSay(signOut))
}
