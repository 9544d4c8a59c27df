// holdpoint show: one hold with its exact request, masked as everywhere.
import { type Command, InvalidArgumentError } from 'commander'
import { printable } from '../mask.ts'
import type { HoldView } from '../views.ts'
import { askConsole, orSay, type WhereOptions, whereOf, withWhere } from './ask-console.ts'

/** A hold's id, as an argument. */
export const holdId = (text: string): string => {
  if (!/^h_[A-Za-z0-9_-]{22}$/.test(text)) throw new InvalidArgumentError('a hold id is h_ and 22 characters.')
  return text
}

const bodyOf = ({ request: { body } }: HoldView): readonly string[] => {
  switch (body.kind) {
    case 'none':
      return []
    case 'shown':
      return ['', ...body.text.split('\n').map(printable)]
    case 'opaque':
      return ['', printable(`(${body.type}, ${body.size} bytes, cannot be shown: ${body.why})`)]
  }
}

const about = (hold: HoldView, page: string): readonly (readonly [string, string])[] => [
  ['state', hold.status],
  ['caller', `${hold.caller.kind} ${hold.caller.name ?? hold.caller.subject} (${hold.caller.issuer})`],
  ['for', hold.behind.known ? hold.behind.people.join(', ') : 'owner unknown'],
  ...(hold.reason === undefined ? [] : [['reason', `${hold.reason} (the caller's own words)`] as const]),
  ['rule', hold.rules.join(', ')],
  ['waits for', hold.approvers.join(', ')],
  ['votes', `${hold.votes.have} of ${hold.votes.needed}`],
  ...hold.verdicts.map(
    ({ verdict, reviewer, at, comment }) =>
      ['verdict', `${verdict} by ${reviewer} at ${at}${comment === undefined ? '' : `: ${comment}`}`] as const,
  ),
  ['until', hold.expires_at],
  ['hidden', `${hold.hidden.bytes} of ${hold.hidden.of} bytes`],
  ['digest', hold.digest],
  ['page', page],
]

/** What `show` prints for people: nothing that a call says can move the cursor or hide. */
export const holdText = (hold: HoldView, page: string): string => {
  const { method, target, headers } = hold.request
  const request = [
    printable(`${method} ${target}`),
    ...headers.map(([name, value]) => printable(`${name}: ${value}`)),
    ...bodyOf(hold),
  ]
  return [
    printable(hold.line),
    '',
    ...about(hold, page).map(([name, value]) => `${name.padEnd(10)}${printable(value)}`),
    '',
    ...request.map(line => `  ${line}`),
  ].join('\n')
}

type Options = WhereOptions & { readonly json?: true }

export const registerShow = (program: Command): void => {
  withWhere(
    program
      .command('show')
      .description('show one hold with its exact request, masked')
      .argument('<id>', 'the hold, as `holds` lists it', holdId)
      .option('--json', 'the answer of the API, for machines'),
  )
    .addHelpText(
      'after',
      `
Examples:
  $ holdpoint show h_vZ0n1xGv4kqHcB2mJt5s8Q
  $ holdpoint show h_vZ0n1xGv4kqHcB2mJt5s8Q --json | jq .request.body`,
    )
    .action((id: string, options: Options) =>
      orSay(async () => {
        const where = await whereOf(options, process.env)
        const hold = (await askConsole(where, 'GET', `/api/holds/${id}`)) as HoldView
        const text = options.json ? JSON.stringify(hold) : holdText(hold, `${where.console}/holds/${id}`)
        process.stdout.write(`${text}\n`)
      }),
    )
}
