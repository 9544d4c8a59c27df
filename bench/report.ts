// From the rows of a run to medians of ratios, a verdict per target, and the tables of docs/performance.md. Pure.
import type { Measured } from './load.ts'

export type Row = Measured & { readonly round: number; readonly scenario: string; readonly peer: string }

export type Result = {
  readonly at: string
  readonly machine: {
    readonly cpu: string
    readonly cores: number
    readonly memoryGiB: number
    readonly kernel: string
    readonly node: string
    /** Load average over the minute before anything was started; undefined of a run that did not measure it. */
    readonly loadBefore?: number
  }
  readonly rounds: number
  readonly seconds: number
  readonly startMs: number
  readonly answered: number
  readonly audited: number
  readonly upstreamRequests: number
  /** How many calls at most were under way when a measurement ended. */
  readonly openEnds: number
}

export type Results = Result & { readonly rows: readonly Row[] }

type Figure = 'perS' | 'perCpuS' | 'bytesPerCpuS' | 'p99Ms'
type Which = { readonly scenario: string; readonly peer: string }

export const median = (values: readonly number[]): number => {
  const sorted = values.filter(Number.isFinite).toSorted((one, other) => one - other)
  const middle = sorted.length / 2
  return sorted.length === 0
    ? Number.NaN
    : ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}

const figures = ({ rows }: Results, which: Which, figure: Figure): ReadonlyMap<number, number> =>
  new Map(
    rows
      .filter(row => row.scenario === which.scenario && row.peer.startsWith(which.peer))
      .map(row => [row.round, row[figure]]),
  )

/** Median over the rounds of one figure divided by another of the same round. */
export const ratio = (results: Results, over: Which, under: Which, figure: Figure): number => {
  const below = figures(results, under, figure)
  return median([...figures(results, over, figure)].map(([round, value]) => value / (below.get(round) ?? Number.NaN)))
}

const own = 'holdpoint'
const small = { scenario: 'small GET', peer: own }

type Target = {
  readonly what: string
  readonly over: Which
  readonly under: Which
  readonly figure: Figure
  readonly required: number
  readonly goal?: number
  /** The figure may not be above, instead of not below. */
  readonly atMost?: true
}

const against = (peer: string): Which => ({ scenario: 'small GET', peer })
const self = (scenario: string, peer: string = own): Which => ({ scenario, peer })

const targets: readonly Target[] = [
  {
    what: 'small GET, HAProxy `jwt_verify`',
    over: small,
    under: against('HAProxy'),
    figure: 'perS',
    required: 0.7,
    goal: 1,
  },
  {
    what: 'small GET, mod_auth_openidc',
    over: small,
    under: against('Apache'),
    figure: 'perS',
    required: 1.4,
    goal: 1.8,
  },
  {
    what: 'small GET, http-proxy',
    over: small,
    under: against('http-proxy ('),
    figure: 'perS',
    required: 1.6,
    goal: 2,
  },
  {
    what: 'small GET, http-proxy-3',
    over: small,
    under: against('http-proxy-3'),
    figure: 'perS',
    required: 1.6,
    goal: 2,
  },
  {
    what: 'p99 at half of saturation, HAProxy',
    over: self('p99 at half of its own saturation'),
    under: self('p99 at half of its own saturation', 'HAProxy'),
    figure: 'p99Ms',
    required: 2,
    atMost: true,
  },
  {
    what: '10 000 rules, 20 rules',
    over: self('10 000 rules, the last one matches'),
    under: self('20 rules, the last one matches'),
    figure: 'perS',
    required: 0.9,
  },
  { what: '1 000 tokens, one token', over: self('1 000 tokens in turn'), under: small, figure: 'perS', required: 0.9 },
  {
    what: 'read POST, small GET',
    over: self('JSON POST of 2 KiB that a rule reads'),
    under: small,
    figure: 'perS',
    required: 0.6,
  },
  {
    what: '100 MiB answers, nginx, in bytes per CPU second',
    over: self('answers of 100 MiB'),
    under: self('answers of 100 MiB', 'nginx'),
    figure: 'bytesPerCpuS',
    required: 0.8,
  },
]

export type Verdict = {
  readonly what: string
  readonly value: string
  readonly cpu?: string
  readonly target: string
  readonly word: 'goal' | 'met' | 'missed'
}

/** One verdict per target of the run. */
export const verdicts = (results: Results): readonly Verdict[] => {
  const ratios = targets.map(({ what, over, under, figure, required, goal, atMost }): Verdict => {
    const value = ratio(results, over, under, figure)
    const meets = (bound: number): boolean => (atMost ? value <= bound : value >= bound)
    return {
      what,
      value: value.toFixed(2),
      ...(figure === 'perS' ? { cpu: ratio(results, over, under, 'perCpuS').toFixed(2) } : {}),
      target: `${atMost ? '≤' : '≥'} ${required}${goal === undefined ? '' : ` (goal ${goal})`}`,
      word: goal !== undefined && meets(goal) ? 'goal' : meets(required) ? 'met' : 'missed',
    }
  })
  const { answered, audited, openEnds, startMs } = results
  return [
    ...ratios,
    {
      what: 'start to listening, ms',
      value: String(startMs),
      target: '≤ 1000',
      word: startMs <= 1000 ? 'met' : 'missed',
    },
    {
      what: 'audit entries for answered calls',
      value: `${audited} for ${answered}`,
      target: 'as many, and those under way at an end',
      word: audited >= answered && audited <= answered + openEnds ? 'met' : 'missed',
    },
  ]
}

const whole = (value: number): string => Math.round(value).toLocaleString('en').replaceAll(',', ' ')

/** Half a core: the benchmark wants all of them. */
const otherWork = 0.5

const loadSaid = (load: number): string =>
  ` Load average over the minute before it: ${load.toFixed(1)}${load > otherWork ? ' — the machine had other work' : ''}.`

/** The generated part of docs/performance.md. */
export const tables = (results: Results): string => {
  const { machine } = results
  const pairs = [...new Map(results.rows.map(row => [`${row.scenario}|${row.peer}`, row])).values()]
  const order = (row: Row): number =>
    results.rows.findIndex(one => one.round === 1 && one.scenario === row.scenario && one.peer === row.peer)
  const measured = pairs
    .toSorted((one, other) => order(one) - order(other))
    .map(({ scenario, peer }) => {
      const of = (figure: Figure): number => median([...figures(results, { scenario, peer }, figure).values()])
      return `| ${scenario} | ${peer} | ${whole(of('perS'))} | ${whole(of('perCpuS'))} | ${whole(of('bytesPerCpuS') / 2 ** 20)} | ${of('p99Ms').toFixed(1)} |`
    })
  const judged = verdicts(results).map(
    ({ what, value, cpu, target, word }) => `| ${what} | ${value} | ${cpu ?? ''} | ${target} | ${word} |`,
  )
  return `
Taken ${results.at.slice(0, 10)} on ${machine.cores} cores (${machine.cpu}), Node ${machine.node}, Linux ${machine.kernel}; ${results.rounds} rounds of
${results.seconds} s.${machine.loadBefore === undefined ? '' : loadSaid(machine.loadBefore)}

| Holdpoint's figure divided by the other's | median of ratios | per CPU second | target | verdict |
| --- | --- | --- | --- | --- |
${judged.join('\n')}

| scenario | who | requests/s | requests per CPU s | MiB per CPU s | p99, ms |
| --- | --- | --- | --- | --- | --- |
${measured.join('\n')}

`
}
