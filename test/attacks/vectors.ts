// Reads vectors in two formats: request targets with the answer they must get, and raw bytes (each character a byte).
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Vector } from './oracle.ts'

/** `{{repeat}}` stands for the first item, as often as the second says. */
type Repeating = { readonly repeat?: readonly [text: string, times: number] }
type TargetRow = Repeating & {
  readonly target: string
  readonly expect: string
  readonly canonical?: string
  readonly method?: string
  readonly code?: string
}
type RawRow = Repeating & {
  readonly id: string
  readonly raw: string
  readonly suite?: string
  readonly must?: 'refused' | 'passed'
  readonly code?: string
}

/** Every vector of every `.json` file in a folder. Throws if a file has a row that is neither. */
export const readVectors = (folder: string): readonly Vector[] =>
  globSync('*.json', { cwd: folder })
    .sort()
    .flatMap(file => {
      const rows = JSON.parse(readFileSync(join(folder, file), 'utf8')) as readonly (TargetRow | RawRow)[]
      return rows.map((row, index) => {
        if ('raw' in row) return ofBytes(row)
        if ('target' in row) return ofTarget(row)
        throw new Error(`${basename(file)}, row ${index}: it has neither "target" nor "raw"`)
      })
    })

const unfold = (text: string, { repeat: [unit, times] = ['', 0] }: Repeating): string =>
  text.replaceAll('{{repeat}}', () => unit.repeat(times))

const ofBytes = ({ suite, id, raw, must, code, ...row }: RawRow): Vector => ({
  id: suite === undefined ? id : `${suite} ${id}`,
  raw: Buffer.from(unfold(raw, row), 'latin1'),
  ...(must === undefined ? {} : { must }),
  ...(code === undefined ? {} : { code }),
})

/** `profile`: a gate may let it through for some upstreams; whoever does must still not be deceived. */
const musts: { readonly [expect: string]: Vector['must'] } = { reject400: 'refused', 'match-any-glob': 'passed' }

const ofTarget = ({ target, expect, canonical, method = 'GET', code, ...row }: TargetRow): Vector => {
  const must = musts[expect]
  return {
    id: `${method} ${target}`,
    raw: Buffer.from(`${method} ${unfold(target, row)} HTTP/1.1\r\nHost: gate\r\n\r\n`, 'latin1'),
    ...(must === undefined ? {} : { must }),
    ...(code === undefined ? {} : { code }),
    ...(canonical === undefined ? {} : { canonical }),
  }
}
