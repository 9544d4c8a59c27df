// Why the rules say of a call what they say: every rule in order, and of each the key at which it failed. For a call that is only described.
import type { Explained } from './console/desk.ts'
import { errors, HoldpointError } from './errors.ts'
import { explained } from './judge.ts'
import { printable } from './mask.ts'
import { type Described, rehearse } from './rehearse.ts'
import type { Settings } from './settings.ts'

const answers = { true: 'yes', false: 'no', unknown: 'unknown', unread: 'unread' } as const

/** A call that would not get as far as the rules says by which error it ends. */
export const explainCall = (settings: Settings, described: Described): Explained => {
  try {
    const seen = rehearse(settings, described)
    const { judgement, readings } = explained(settings, seen)
    return {
      outcome: judgement.outcome,
      ...(judgement.rule === undefined ? {} : { rule: judgement.rule.name }),
      rules: judgement.rules.map(rule => rule.name),
      upstream: seen.upstream.name,
      readings: readings.map(({ path, action, outcome, rules }) => ({
        path: printable(path),
        ...(action === undefined ? {} : { action: { ...action, resource: printable(action.resource) } }),
        outcome,
        rules: rules.map(({ rule, result, keys }) => ({
          name: rule.name,
          where: rule.where,
          then: rule.then,
          result,
          keys: keys.map(({ key, answer }) => ({ key, answer: answers[String(answer) as keyof typeof answers] })),
        })),
      })),
    }
  } catch (error) {
    if (!(error instanceof HoldpointError) || error.status >= 500) throw error
    const { title } = errors[error.code]
    const detail = error.detail === undefined ? {} : { detail: error.detail }
    return { outcome: 'deny', rules: [], readings: [], refused: { code: error.code, title, ...detail } }
  }
}
