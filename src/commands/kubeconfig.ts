// holdpoint kubeconfig: what an agent's kubectl needs to go through the gate. It names where the token comes from and holds no secret.
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { loadSettings } from '../config.ts'
import type { Settings, Upstream } from '../settings.ts'
import { line } from './check.ts'

type Options = {
  readonly upstream?: string
  readonly ca?: string
  readonly tokenFile?: string
  readonly exec?: string
  readonly namespace?: string
}

/** @throws an Error that says which option to give */
export const kubeconfig = (
  settings: Pick<Settings, 'gate' | 'upstreams'>,
  options: Options,
  ca: string | undefined,
): object => {
  const upstream = clusterOf(settings.upstreams, options.upstream)
  const server = addressOf(settings.gate.url, upstream)
  if (!server.startsWith('https:'))
    throw new Error(
      `kubectl sends no token to ${server}: serve TLS (gate.tls, or what is in front of it) and say so in gate.url`,
    )
  const name = `holdpoint-${upstream.name}`
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name,
        cluster: {
          server,
          ...(ca === undefined ? {} : { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
        },
      },
    ],
    users: [{ name, user: userOf(options) }],
    contexts: [
      {
        name,
        context: {
          cluster: name,
          user: name,
          ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
        },
      },
    ],
    'current-context': name,
  }
}

const clusterOf = (upstreams: readonly Upstream[], wanted: string | undefined): Upstream => {
  const clusters = upstreams.filter(({ kind }) => kind === 'kubernetes')
  const names = clusters.map(({ name }) => name).join(', ')
  const fitting = wanted === undefined ? clusters : clusters.filter(({ name }) => name === wanted)
  const [only, ...more] = fitting
  if (only === undefined)
    throw new Error(clusters.length === 0 ? 'no upstream is of kind kubernetes' : `--upstream: must be one of ${names}`)
  if (more.length > 0) throw new Error(`--upstream: say which of ${names}`)
  return only
}

const addressOf = (gate: string, { at, name }: Upstream): string => {
  if ('prefix' in at) return gate + at.prefix.replace(/\/$/, '')
  const host = at.hosts.find(one => !one.startsWith('*'))
  if (host === undefined) throw new Error(`${name}.at.host: only names with * lead to it; add a plain one`)
  const url = new URL(gate)
  url.hostname = host
  return url.href.replace(/\/$/, '')
}

const userOf = ({ tokenFile, exec }: Options): object => {
  if ((tokenFile === undefined) === (exec === undefined))
    throw new Error('say where the token comes from: --token-file, or --exec')
  if (tokenFile !== undefined) return { tokenFile: resolve(tokenFile) }
  const [command, ...args] = exec?.trim().split(/\s+/) ?? []
  return { exec: { apiVersion: 'client.authentication.k8s.io/v1', command, args, interactiveMode: 'IfAvailable' } }
}

export const registerKubeconfig = (program: Command): void => {
  program
    .command('kubeconfig')
    .description('print a kubeconfig that leads through the gate')
    .argument('<file>', 'the configuration file')
    .option('--upstream <name>', 'which one, if several are of kind kubernetes')
    .option('--ca <file>', "the CA of the gate's certificate, if the system does not know it")
    .option('--token-file <file>', "a file with the agent's access token; kubectl reads it anew")
    .option('--exec <command>', 'a credential plugin that prints an ExecCredential, with its arguments in one text')
    .option('--namespace <name>', 'the namespace to start in')
    .addHelpText(
      'after',
      `
Examples:
  $ holdpoint kubeconfig holdpoint.yaml --ca gate-ca.crt --token-file /run/secrets/agent-token > kubeconfig
  $ holdpoint kubeconfig holdpoint.yaml --exec "agent-login --json" > kubeconfig
  $ KUBECONFIG=kubeconfig kubectl get pods`,
    )
    .action(async (file: string, options: Options) => {
      const loaded = await loadSettings(file, process.env)
      try {
        if ('problems' in loaded) throw new Error(loaded.problems.map(line).join('\n'))
        const ca = options.ca === undefined ? undefined : await readFile(options.ca, 'utf8')
        if (ca !== undefined && !ca.includes('-----BEGIN CERTIFICATE-----'))
          throw new Error(`--ca: ${options.ca} is no PEM certificate`)
        process.stdout.write(`${JSON.stringify(kubeconfig(loaded.settings, options, ca), null, 2)}\n`)
      } catch (error) {
        process.stderr.write(`${(error as Error).message}\n`)
        process.exitCode = 1
      }
    })
}
