// holdpoint check: every problem and every doubt of a configuration, without starting anything.
import type { Command } from 'commander'
import { type Finding, type Loaded, loadSettings } from '../config.ts'

/** A finding as editors and terminals read it. */
export const line = ({ file, line, column, message }: Finding): string => `${file}:${line}:${column}: ${message}`

const many = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`

/** What `check` prints for people. */
export const report = (loaded: Loaded): string => {
  if ('problems' in loaded) return [...loaded.problems.map(line), many(loaded.problems.length, 'problem')].join('\n')
  const { settings, warnings } = loaded
  const { rules, upstreams, issuers, tests, ruleFiles } = settings
  return [
    ...warnings.map(warning => `${line(warning)} (warning)`),
    `${many(rules.length, 'rule')}, ${many(upstreams.length, 'upstream')}, ${many(issuers.length, 'issuer')}, ${many(tests.length, 'test')}${warnings.length === 0 ? '' : `, ${many(warnings.length, 'warning')}`}: ok`,
    ...(ruleFiles.length === 0 ? [] : ['rules are judged in this order:', ...ruleFiles.map(file => `  ${file}`)]),
  ].join('\n')
}

/** What `check --json` prints. */
export const reportJson = (loaded: Loaded): object =>
  'problems' in loaded
    ? { ok: false, problems: loaded.problems, warnings: [] }
    : {
        ok: true,
        problems: [],
        warnings: loaded.warnings,
        hash: loaded.settings.hash,
        ruleFiles: loaded.settings.ruleFiles,
        rules: loaded.settings.rules.map(({ name, where, then, hash }) => ({ name, where, outcome: then, hash })),
        upstreams: loaded.settings.upstreams.map(({ name }) => name),
      }

export const registerCheck = (program: Command): void => {
  program
    .command('check')
    .description('say everything that is wrong with a configuration')
    .argument('<file>', 'the configuration file')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Reads the file and every rule file that it names, and starts nothing. Exit code 1 if there is a problem; warnings are no problem.
Secrets from \${env:NAME} and \${file:/path} are looked for and never shown.

Examples:
  $ holdpoint check holdpoint.yaml
  holdpoint.yaml:12:5: unknown key "gate.lisen"; did you mean "listen"?
  1 problem
  $ holdpoint check holdpoint.yaml --json | jq .rules`,
    )
    .action(async (file: string, { json }: { json?: true }) => {
      const loaded = await loadSettings(file, process.env)
      process.stdout.write(`${json ? JSON.stringify(reportJson(loaded), null, 2) : report(loaded)}\n`)
      if ('problems' in loaded) process.exitCode = 1
    })
}
