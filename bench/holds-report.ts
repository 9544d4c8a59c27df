// From a run of bench/holds.ts to a verdict per target, and the table of docs/performance.md. Pure.

export type Scene = {
  readonly store: string
  readonly held: number
  /** From the first call to the last hold on record. */
  readonly openedPerS: number
  readonly bytesPerCaller: number
  /** Of a node:http server that holds as many sockets and does nothing else. */
  readonly bareBytesPerCaller: number
  /** From sending the approval to the first byte of the upstream's answer at the caller, while the others stay held. */
  readonly approvals: number
  readonly firstByteP50Ms: number
  readonly firstByteP99Ms: number
  /** What the store's server says it uses more per hold; undefined for SQLite. */
  readonly storeBytesPerHold?: number
}

export type Listing = {
  readonly store: string
  readonly holds: number
  readonly apiP50Ms: number
  readonly apiP99Ms: number
  readonly pageP50Ms: number
  readonly pageP99Ms: number
}

export type HoldsResult = {
  readonly at: string
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string; readonly load: number }
  readonly scenes: readonly Scene[]
  readonly listings: readonly Listing[]
}

export type Verdict = {
  readonly what: string
  readonly store: string
  readonly value: string
  readonly target: string
  readonly word: 'met' | 'missed'
}

const perCallerKiB = 32
const overBare = 1.6
const firstByteMs = 50
const listMs = 50
const opening = (store: string): number => (store === 'SQLite' ? 500 : 1500)

export const quantile = (values: readonly number[], part: number): number => {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

/** A verdict per target and store. */
export const verdicts = ({ scenes, listings }: HoldsResult): readonly Verdict[] => {
  const one = (store: string, what: string, value: string, target: string, met: boolean): Verdict => ({
    ...{ what, store, value, target },
    word: met ? 'met' : 'missed',
  })
  return [
    ...scenes.flatMap(scene => {
      const { store, held, openedPerS, bytesPerCaller, bareBytesPerCaller, firstByteP99Ms } = scene
      const kiB = bytesPerCaller / 1024
      const ratio = bytesPerCaller / bareBytesPerCaller
      return [
        one(
          store,
          `memory per held caller (${held} held)`,
          `${kiB.toFixed(1)} KiB`,
          `≤ ${perCallerKiB} KiB`,
          kiB <= perCallerKiB,
        ),
        one(store, 'the same, bare node:http', ratio.toFixed(2), `≤ ${overBare}`, ratio <= overBare),
        one(
          store,
          'holds opened per second',
          openedPerS.toFixed(0),
          `≥ ${opening(store)}`,
          openedPerS >= opening(store),
        ),
        one(
          store,
          'approval to first byte, p99',
          `${firstByteP99Ms.toFixed(1)} ms`,
          `< ${firstByteMs} ms`,
          firstByteP99Ms < firstByteMs,
        ),
      ]
    }),
    ...listings.flatMap(({ store, holds, apiP99Ms, pageP99Ms }) => [
      one(
        store,
        `GET /api/holds, p99 (${holds} in the store)`,
        `${apiP99Ms.toFixed(1)} ms`,
        `< ${listMs} ms`,
        apiP99Ms < listMs,
      ),
      one(
        store,
        `the queue page, p99 (${holds} in the store)`,
        `${pageP99Ms.toFixed(1)} ms`,
        `< ${listMs} ms`,
        pageP99Ms < listMs,
      ),
    ]),
  ]
}

/** The generated part of docs/performance.md. */
export const table = (result: HoldsResult): string => {
  const { at, machine, scenes } = result
  const rows = verdicts(result).map(
    ({ what, store, value, target, word }) => `| ${what} | ${store} | ${value} | ${target} | ${word} |`,
  )
  const sizes = scenes.flatMap(({ store, storeBytesPerHold }) =>
    storeBytesPerHold === undefined ? [] : [`${store} ${storeBytesPerHold.toFixed(0)}`],
  )
  return `
Taken ${at.slice(0, 10)} on ${machine.cores} cores (${machine.cpu}), Node ${machine.node}; load average over the minute before the end: ${machine.load.toFixed(1)}.

| what | store | figure | target | verdict |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

${sizes.length === 0 ? '' : `Bytes per hold in the store's server: ${sizes.join(', ')}.\n\n`}`
}
