// The process: command line -> command. Each command says its own part of the help.
import { readFileSync } from 'node:fs'
import { Command } from 'commander'

// Only the command that is asked for is loaded; the list of all of them takes a second.
const commands: { readonly [name: string]: () => Promise<(program: Command) => void> } = {
  serve: async () => (await import('./commands/serve.ts')).registerServe,
  check: async () => (await import('./commands/check.ts')).registerCheck,
  test: async () => (await import('./commands/test.ts')).registerTest,
  explain: async () => (await import('./commands/explain.ts')).registerExplain,
  schema: async () => (await import('./commands/schema.ts')).registerSchema,
  login: async () => (await import('./commands/login.ts')).registerLogin,
  holds: async () => (await import('./commands/holds.ts')).registerHolds,
  show: async () => (await import('./commands/show.ts')).registerShow,
  watch: async () => (await import('./commands/watch.ts')).registerWatch,
  approve: async () => (await import('./commands/approve.ts')).registerApprove,
  deny: async () => (await import('./commands/deny.ts')).registerDeny,
  freeze: async () => (await import('./commands/freeze.ts')).registerFreeze,
  'aws-credentials': async () => (await import('./commands/aws-credentials.ts')).registerAwsCredentials,
  kubeconfig: async () => (await import('./commands/kubeconfig.ts')).registerKubeconfig,
  demo: async () => (await import('./commands/demo.ts')).demo,
}

/** Runs one command. @param argv as in process.argv */
export const main = async (argv: readonly string[]): Promise<void> => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  const program = new Command('holdpoint')
    .description(
      'Holds sensitive API calls until a person approves them. Agents change one base URL; platform teams write rules; reviewers press a button.',
    )
    .version(version)
    .showHelpAfterError('(holdpoint --help lists the commands)')
    .addHelpText(
      'after',
      `
Start here:
  $ holdpoint demo                       everything on this machine, with a story to watch
  $ holdpoint check holdpoint.yaml       every problem of a configuration, with file, line and column
  $ holdpoint serve -c holdpoint.yaml    the real thing`,
    )
  const asked = Object.hasOwn(commands, argv[2] ?? '') ? commands[argv[2] ?? ''] : undefined
  for (const load of asked === undefined ? Object.values(commands) : [asked]) (await load())(program)
  await program.parseAsync([...argv])
}
