// Tries hostile requests on the real program in front of every kind of upstream, or on a gate that is running, and counts those that get
// past it:
//   node test/attacks/run.ts [--vectors DIR]... [--gate URL --upstream-port PORT --header 'Name: value']
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { provide, realUpstreams } from '../support/debian.ts'
import { attack, type Outcome } from './oracle.ts'
import { type Subject, someGate, startProgram, upstreams } from './subject.ts'
import { readVectors } from './vectors.ts'

const { values } = parseArgs({
  options: {
    vectors: { type: 'string', multiple: true, default: [] },
    gate: { type: 'string' },
    'upstream-port': { type: 'string' },
    header: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
})

const startAll = (): readonly (readonly [name: string, subject: Promise<Subject>])[] => {
  if (values.gate === undefined) {
    provide(realUpstreams)
    return upstreams.map(name => [name, startProgram(name)])
  }
  const { header, 'upstream-port': port } = values
  if (header === undefined || port === undefined) {
    throw new Error('--gate also needs --upstream-port (where its upstream is expected) and --header (who calls)')
  }
  return [['recorder', someGate(new URL(values.gate), Number(port), header)]]
}

const vectors = [join(import.meta.dirname, 'vectors'), ...values.vectors].flatMap(readVectors)
const results = await Promise.all(
  startAll().map(async ([name, subject]) => ({ name, outcomes: await attack(await subject, vectors) })),
)
const count = (outcomes: readonly Outcome[], result: Outcome['result']): number =>
  outcomes.filter(outcome => outcome.result === result).length
const line = (name: string, tried: number, outcomes: readonly Outcome[]): string =>
  `${name}: vectors tried ${tried}, refused ${count(outcomes, 'refused')}, passed ${count(outcomes, 'passed')}, bypasses ${count(outcomes, 'bypass')}`

for (const { name, outcomes } of results) {
  for (const { vector, result, why } of outcomes) {
    if (values.verbose || result === 'bypass') console.log(`${name}: ${result}: ${JSON.stringify(vector.id)}: ${why}`)
  }
}
for (const { name, outcomes } of results) console.log(line(name, vectors.length, outcomes))
const all = results.flatMap(({ outcomes }) => outcomes)
console.log(line('all', vectors.length * results.length, all))
process.exitCode = count(all, 'bypass') > 0 ? 1 : 0
