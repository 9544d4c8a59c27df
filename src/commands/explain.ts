// holdpoint explain: what the rules of a file say of a call, rule by rule and key by key. Nothing is started and nothing is sent.
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { loadSettings } from '../config.ts'
import type { Explained } from '../console/desk.ts'
import { HoldpointError } from '../errors.ts'
import { explainCall } from '../explain.ts'
import type { Json } from '../nouns.ts'
import { describedOf } from '../rehearse.ts'
import { line } from './check.ts'

type Options = {
  readonly caller: string
  readonly header: readonly string[]
  readonly body?: string
  readonly type: string
  readonly at?: string
  readonly json?: true
}

const headerOf = (text: string): readonly [string, string] => {
  const colon = text.indexOf(':')
  if (colon < 1) throw new HoldpointError('malformed', `--header: write it as "Name: value", not "${text}".`)
  return [text.slice(0, colon).trim(), text.slice(colon + 1).trim()]
}

/** A caller is a name of the file's `callers`, or JSON. */
const callerOf = (text: string): Json => {
  if (!text.trimStart().startsWith('{')) return text
  try {
    return JSON.parse(text) as Json
  } catch {
    throw new HoldpointError('malformed', '--caller: is neither the name of a caller nor JSON.')
  }
}

const callOf = async (method: string, url: string, options: Options): Promise<Json> => {
  const { body } = options
  const text = body?.startsWith('@') ? await readFile(body.slice(1), 'utf8') : body
  const typed = text === undefined ? [] : [['Content-Type', options.type] as const]
  return {
    method,
    url,
    caller: callerOf(options.caller),
    headers: Object.fromEntries([...typed, ...options.header.map(headerOf)]),
    ...(text === undefined ? {} : { body: text }),
    ...(options.at === undefined ? {} : { at: options.at }),
  }
}

const marks = { yes: 'fits', no: 'does not fit', unknown: 'cannot be told', unread: 'not read' } as const

/** What `explain` prints for people. */
export const explanation = (explained: Explained): string => {
  const { outcome, refused, readings } = explained
  if (refused !== undefined) return `refused before the rules: ${refused.code} (${refused.detail ?? refused.title})`
  const by = explained.rules.length > 0 ? explained.rules.join(', ') : (explained.rule ?? 'no rule')
  return [
    `${outcome} by ${by}`,
    ...readings.flatMap(({ path, action, rules }) => [
      '',
      action === undefined ? path : `${action.name} on ${action.resource}`,
      ...rules.flatMap(rule => [
        `  ${rule.name} (${rule.then}, ${rule.where}): ${rule.result}`,
        ...(rule.result === 'not reached' ? [] : rule.keys.map(({ key, answer }) => `    ${key}: ${marks[answer]}`)),
      ]),
    ]),
  ].join('\n')
}

export const registerExplain = (program: Command): void => {
  program
    .command('explain')
    .description('say what the rules would do with a call, and why')
    .argument('<file>', 'the configuration file')
    .argument('<method>', 'such as POST')
    .argument('<url>', 'below the gate, such as /billing/v1/refunds')
    .requiredOption('--caller <caller>', 'an entry of "callers", or JSON with issuer, subject and kind')
    .option('--header <line>', 'a header, "Name: value"; may be repeated', (one, all: string[]) => [...all, one], [])
    .option('--body <text>', 'the body, or @ and the file it is in')
    .option('--type <type>', "the body's content type", 'application/json')
    .option('--at <instant>', 'when, such as 2026-01-31T09:30:00Z (default: now)')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Judges the call as the gate would, by the rules of the file, and says of each rule which key fits and which does not. Exit code 1 only
if the question or the file is bad.

Examples:
  $ holdpoint explain holdpoint.yaml POST /billing/v1/refunds --caller agent-7 --body '{"amount": 250}'
  hold by refunds-over-100
  $ holdpoint explain holdpoint.yaml GET /billing/v1/invoices --caller '{"issuer":"okta-api","subject":"ben","kind":"human"}'`,
    )
    .action(async (file: string, method: string, url: string, options: Options) => {
      const print = (text: string): boolean => process.stdout.write(`${text}\n`)
      try {
        const loaded = await loadSettings(file, process.env)
        if ('problems' in loaded) {
          print(loaded.problems.map(line).join('\n'))
          process.exitCode = 1
          return
        }
        const { settings } = loaded
        const explained = explainCall(settings, describedOf(await callOf(method, url, options), settings))
        print(options.json ? JSON.stringify(explained, null, 2) : explanation(explained))
      } catch (error) {
        process.stderr.write(`${(error as Error).message}\n`)
        process.exitCode = 1
      }
    })
}
