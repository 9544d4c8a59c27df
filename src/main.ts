// The process: command line -> command. Each command says its own part of the help.
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { registerApprove } from './commands/approve.ts'
import { registerAwsCredentials } from './commands/aws-credentials.ts'
import { registerCheck } from './commands/check.ts'
import { demo } from './commands/demo.ts'
import { registerDeny } from './commands/deny.ts'
import { registerExplain } from './commands/explain.ts'
import { registerFreeze } from './commands/freeze.ts'
import { registerHolds } from './commands/holds.ts'
import { registerKubeconfig } from './commands/kubeconfig.ts'
import { registerLogin } from './commands/login.ts'
import { registerSchema } from './commands/schema.ts'
import { registerServe } from './commands/serve.ts'
import { registerShow } from './commands/show.ts'
import { registerTest } from './commands/test.ts'
import { registerWatch } from './commands/watch.ts'

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
  for (const register of [
    registerServe,
    registerCheck,
    registerTest,
    registerExplain,
    registerSchema,
    registerLogin,
    registerHolds,
    registerShow,
    registerWatch,
    registerApprove,
    registerDeny,
    registerFreeze,
    registerAwsCredentials,
    registerKubeconfig,
    demo,
  ])
    register(program)
  await program.parseAsync([...argv])
}
