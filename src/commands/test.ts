// holdpoint test: runs the tests that stand beside rules, through the same steps as a call: target, route, body, judge.
import type { Command } from 'commander'
import { loadSettings } from '../config.ts'
import { HoldpointError } from '../errors.ts'
import { judge } from '../judge.ts'
import { rehearse } from '../rehearse.ts'
import type { RuleTest, Settings, TestCaller } from '../settings.ts'
import { line } from './check.ts'

export type TestResult = {
  readonly name: string
  readonly where: string
  readonly passed: boolean
  readonly got: string
  readonly expected: string
}

/** Runs one test. A call that would not get as far as the rules is named by its error code. */
export const runTest = (settings: Settings, test: RuleTest): TestResult => {
  const { outcome, rule } = test.expect
  const result = (got: string, passed: boolean): TestResult => ({
    name: test.name,
    where: test.where,
    passed,
    got,
    expected: rule === undefined ? outcome : spelled(outcome, rule),
  })
  try {
    const judgement = judged(settings, test)
    const names = judgement.outcome === 'hold' ? judgement.rules.map(({ name }) => name) : [judgement.rule?.name]
    return result(
      spelled(judgement.outcome, names.join(', ')),
      judgement.outcome === outcome && (rule === undefined || names.includes(rule)),
    )
  } catch (error) {
    if (!(error instanceof HoldpointError)) throw error
    return result(`refused: ${error.code} (${error.message})`, false)
  }
}

const spelled = (outcome: string, rule: string): string => `${outcome} by ${rule === '' ? 'no rule' : rule}`

const judged = (settings: Settings, { call }: RuleTest): ReturnType<typeof judge>['judgement'] =>
  judge(settings, rehearse(settings, { ...call, caller: settings.callers[call.caller] as TestCaller })).judgement

export const registerTest = (program: Command): void => {
  program
    .command('test')
    .description('run the tests that stand beside rules')
    .argument('<file>', 'the configuration file')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Judges each call under "tests" by the rules as they are, without sending anything. Exit code 1 if one fails or the configuration is bad.

  callers:
    agent-7: { issuer: okta-api, subject: agent-7, kind: agent, groups: [finance-agents] }
  tests:
    - name: a small refund passes
      call: { caller: agent-7, method: POST, url: /billing/v1/refunds, json: { amount: 20 } }
      expect: { outcome: allow, rule: small-refunds }

Examples:
  $ holdpoint test holdpoint.yaml
  PASS  a small refund passes
  FAIL  a large refund is held (rules/billing.yaml:31): expected hold, got allow by small-refunds`,
    )
    .action(async (file: string, { json }: { json?: true }) => {
      const loaded = await loadSettings(file, process.env)
      if ('problems' in loaded) {
        process.stdout.write(
          json
            ? `${JSON.stringify({ ok: false, problems: loaded.problems, tests: [] }, null, 2)}\n`
            : `${loaded.problems.map(line).join('\n')}\n`,
        )
        process.exitCode = 1
        return
      }
      const results = loaded.settings.tests.map(test => runTest(loaded.settings, test))
      const failed = results.filter(({ passed }) => !passed)
      const lines = results.map(one =>
        one.passed ? `PASS  ${one.name}` : `FAIL  ${one.name} (${one.where}): expected ${one.expected}, got ${one.got}`,
      )
      process.stdout.write(
        json
          ? `${JSON.stringify({ ok: failed.length === 0, problems: [], tests: results }, null, 2)}\n`
          : `${[...lines, `${results.length - failed.length} of ${results.length} passed`].join('\n')}\n`,
      )
      if (failed.length > 0) process.exitCode = 1
    })
}
