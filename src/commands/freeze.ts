// holdpoint freeze: stops calls, through the console's API and with its rights; nothing is done behind the console's back.
import type { Command } from 'commander'
import { askConsole, orSay, type Where, type WhereOptions, whereOf, withWhere } from './ask-console.ts'

const units = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `8h` from now as RFC 3339. */
const untilOf = (duration: string, now: number): string => {
  const [, digits, unit] = /^(\d{1,5})([mhd])$/.exec(duration) ?? []
  if (digits === undefined || Number(digits) === 0) throw new Error('--for: must be a duration such as 30m, 8h or 2d')
  return new Date(now + Number(digits) * units[unit as keyof typeof units]).toISOString()
}

type Listed = {
  readonly id: string
  readonly what: string
  readonly value?: string
  readonly reason: string
  readonly until?: string
  readonly by: { readonly name: string }
}

const line = ({ id, what, value, reason, until, by }: Listed): string =>
  [id, what, value, until === undefined ? undefined : `until ${until}`, `by ${by.name}:`, reason]
    .filter(Boolean)
    .join(' ')

export const registerFreeze = (program: Command): void => {
  const freeze = program
    .command('freeze')
    .description('stop calls at once, on every replica, and lift that again')
    .addHelpText(
      'after',
      `
It asks the console, as the operator who signed in (holdpoint login) or whose access token is in --token-file or HOLDPOINT_TOKEN. What is frozen is answered with 503
"frozen", allowed calls too; what was approved waits, and is sent when the freeze is lifted in time.

Examples:
  $ export HOLDPOINT_CONSOLE=https://holdpoint.acme.internal HOLDPOINT_TOKEN=...
  $ holdpoint freeze caller okta-api:agent-7 --reason "deletes invoices" --for 8h
  $ holdpoint freeze person ben@acme.com --reason "laptop stolen"
  $ holdpoint freeze upstream billing --reason "restoring a backup"
  $ holdpoint freeze all --reason "incident 42"
  $ holdpoint freeze list
  $ holdpoint freeze lift f_J0zUxTbWkqvE`,
    )

  const command = (name: string, description: string): Command =>
    withWhere(freeze.command(name).description(description))

  const run =
    <T extends WhereOptions>(work: (where: Where, options: T, value: string | undefined) => Promise<string>) =>
    (...given: unknown[]): Promise<void> => {
      const [value, options] = (typeof given[0] === 'string' ? given : [undefined, ...given]) as [string | undefined, T]
      return orSay(async () => {
        process.stdout.write(`${await work(await whereOf(options, process.env), options, value)}\n`)
      })
    }

  for (const [name, argument, description] of [
    ['caller', '<issuer:subject>', 'every call in which this subject or client acts'],
    ['person', '<person>', 'every call with this person behind it, and their verdicts'],
    ['upstream', '<name>', 'every call to this upstream'],
    ['all', undefined, 'every call'],
  ] as const) {
    command(argument === undefined ? name : `${name} ${argument}`, description)
      .requiredOption('--reason <text>', 'why; callers and reviewers read it')
      .option('--for <duration>', 'how long, such as 30m, 8h or 2d (default: until it is lifted)')
      .action(
        run<WhereOptions & { readonly reason: string; readonly for?: string }>(async (where, options, value) => {
          const made = await askConsole(where, 'POST', '/api/freezes', {
            what: name,
            ...(value === undefined ? {} : { value }),
            reason: options.reason,
            ...(options.for === undefined ? {} : { until: untilOf(options.for, Date.now()) }),
          })
          return line(made as Listed)
        }),
      )
  }

  const listed = (answer: unknown): string => {
    const { freezes } = answer as { freezes: readonly Listed[] }
    return freezes.length === 0 ? 'nothing is frozen' : freezes.map(line).join('\n')
  }
  command('list', 'what is frozen now').action(
    run(async where => listed(await askConsole(where, 'GET', '/api/freezes'))),
  )
  command('lift <id>', 'end a freeze').action(
    run(async (where, _, id = '') =>
      listed(await askConsole(where, 'DELETE', `/api/freezes/${encodeURIComponent(id)}`)),
    ),
  )
}
