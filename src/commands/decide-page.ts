// What `approve` and `deny` do: lead to the hold's page. The verdict is given there, by a person who is signed in there, with the whole
// request before their eyes.
import type { Command } from 'commander'
import { consoleOf, orSay, type WhereOptions } from './ask-console.ts'
import { openPage } from './open-page.ts'
import { holdId } from './show.ts'

type Options = Pick<WhereOptions, 'console'> & { readonly browser: boolean; readonly json?: true }

export const registerDecide = (program: Command, verdict: 'approve' | 'deny'): void => {
  program
    .command(verdict)
    .description(`open the page on which a hold is ${verdict === 'approve' ? 'approved' : 'denied'}`)
    .argument('<id>', 'the hold, as `holds` lists it', holdId)
    .option('--console <url>', "the console's address (or HOLDPOINT_CONSOLE; default: where you signed in)")
    .option('--no-browser', 'only print the address')
    .option('--json', 'the address as JSON, for machines')
    .addHelpText(
      'after',
      `
Nothing is decided here: the sign-in of a terminal lies on a disk, so it only reads. The page asks who you are, shows the exact request, and
has the buttons.

Examples:
  $ holdpoint ${verdict} h_vZ0n1xGv4kqHcB2mJt5s8Q
  $ holdpoint ${verdict} h_vZ0n1xGv4kqHcB2mJt5s8Q --no-browser`,
    )
    .action((id: string, options: Options) =>
      orSay(async () => {
        const url = `${await consoleOf(options, process.env)}/holds/${id}`
        process.stdout.write(options.json ? `${JSON.stringify({ url })}\n` : `Decide here: ${url}\n`)
        if (options.browser && !options.json) openPage(url)
      }),
    )
}
