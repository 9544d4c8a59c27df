// holdpoint holds: what waits, as the console shows it to whoever signed in.
import type { Command } from 'commander'
import { printable } from '../mask.ts'
import type { HoldRow } from '../views.ts'
import { askConsole, orSay, type WhereOptions, whereOf, withWhere } from './ask-console.ts'

type Options = WhereOptions & { readonly status: string; readonly limit: string; readonly json?: true }

/** One hold on one line: nothing that a call says can move the cursor or hide. */
export const rowLine = (row: HoldRow): string =>
  [
    row.id,
    row.status.padEnd(9),
    `${row.votes.have}/${row.votes.needed}`,
    `until ${row.expires_at}`,
    ...(row.you.may_decide ? ['yours to decide'] : []),
    row.line,
  ]
    .map(printable)
    .join('  ')

export const registerHolds = (program: Command): void => {
  withWhere(
    program
      .command('holds')
      .description('list what waits for approval')
      .option('--status <status>', 'pending, open, closed, or one state', 'pending')
      .option('--limit <count>', 'at most so many', '50')
      .option('--json', 'the answer of the API, for machines'),
  )
    .addHelpText(
      'after',
      `
One line each: id, state, votes, until when, and what would happen. Sign in first (holdpoint login), or show a token.

Examples:
  $ holdpoint holds
  $ holdpoint holds --status closed --limit 10
  $ holdpoint holds --json | jq -r '.holds[].id'`,
    )
    .action((options: Options) =>
      orSay(async () => {
        const query = new URLSearchParams({ status: options.status, limit: options.limit })
        const where = await whereOf(options, process.env)
        const answer = (await askConsole(where, 'GET', `/api/holds?${query}`)) as {
          readonly holds: readonly HoldRow[]
          readonly next?: string
        }
        if (options.json) return void process.stdout.write(`${JSON.stringify(answer)}\n`)
        const more = answer.next === undefined ? [] : ['(there are more: --limit)']
        const lines = answer.holds.length === 0 ? ['nothing'] : [...answer.holds.map(rowLine), ...more]
        process.stdout.write(`${lines.join('\n')}\n`)
      }),
    )
}
