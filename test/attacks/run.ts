// Tries hostile requests on the real program, or on a gate that is running, and counts those that get past it:
//   node test/attacks/run.ts [--vectors DIR]... [--gate URL --upstream-port PORT --header 'Name: value']
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { attack, type Outcome } from './oracle.ts'
import { someGate, startProgram } from './subject.ts'
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

const start = () => {
  if (values.gate === undefined) return startProgram()
  const { header, 'upstream-port': port } = values
  if (header === undefined || port === undefined) {
    throw new Error('--gate also needs --upstream-port (where its upstream is expected) and --header (who calls)')
  }
  return someGate(new URL(values.gate), Number(port), header)
}

const vectors = [join(import.meta.dirname, 'vectors'), ...values.vectors].flatMap(readVectors)
const outcomes = await attack(await start(), vectors)
const having = (result: Outcome['result']): readonly Outcome[] => outcomes.filter(outcome => outcome.result === result)
for (const { vector, result, why } of values.verbose ? outcomes : having('bypass')) {
  console.log(`${result}: ${JSON.stringify(vector.id)}: ${why}`)
}
console.log(
  `vectors tried ${vectors.length}, refused ${having('refused').length}, passed ${having('passed').length}, bypasses ${having('bypass').length}`,
)
process.exitCode = having('bypass').length > 0 ? 1 : 0
