// Where the keys that sign come from, asked anew for each call: what is kept is kept until shortly before it runs out, files are read
// again when they change. A source that cannot be had is an error, and nothing is sent.
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Sigv4Settings } from '../../settings.ts'
import { kept } from '../kept.ts'
import type { AccessKeys } from './sign.ts'
import { assumedRole, webIdentityRole } from './sts.ts'

export type Expiring = AccessKeys & { readonly expiresAt: number }

/** Keys that are good for less than this are fetched anew. */
const marginMs = 5 * 60_000
const askMs = 5_000

type Keys = () => Promise<AccessKeys>

/** Throws an Error that names the field if the settings cannot lead to keys. */
export const keysFrom = (settings: Sigv4Settings): Keys => {
  const base = source(settings)
  const { role } = settings
  if (role === undefined || settings.from === 'webIdentity') return base
  return kept(async () => assumedRole(settings, role, await base()), marginMs)
}

const source = (settings: Sigv4Settings): Keys => {
  switch (settings.from) {
    case 'static':
      return async () => settings
    case 'env':
      return async () => fromEnvironment()
    case 'file':
      return async () => fromFile(settings.file, settings.profile)
    case 'webIdentity':
      return kept(async () => webIdentityRole(settings), marginMs)
    case 'container':
      return kept(fromContainer, marginMs)
    case 'chain':
      return fromChain()
  }
}

const complete = (keys: { [K in keyof AccessKeys]?: string | undefined }, where: string): AccessKeys => {
  const { accessKeyId, secretAccessKey, sessionToken } = keys
  if (!accessKeyId || !secretAccessKey)
    throw new Error(`credential.sigv4: ${where} has no access key id and secret access key`)
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
}

const fromEnvironment = (): AccessKeys => {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env
  return complete(
    { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY, sessionToken: AWS_SESSION_TOKEN },
    'the environment',
  )
}

/** The shared credentials file of the AWS tools: `[profile]`, then `aws_access_key_id = …`. Small, so it is simply read each time. */
const fromFile = async (file: string | undefined, profile: string): Promise<AccessKeys> => {
  const path = file ?? process.env.AWS_SHARED_CREDENTIALS_FILE ?? join(homedir(), '.aws', 'credentials')
  const values: { [name: string]: string } = {}
  let section = ''
  for (const line of (await readFile(path, 'utf8')).split(/\r?\n/)) {
    const [, named] = /^\s*\[\s*(.+?)\s*\]\s*$/.exec(line) ?? []
    if (named !== undefined) section = named
    const [, name, value] = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (section === profile && name !== undefined && value !== undefined) values[name] = value
  }
  return complete(
    {
      accessKeyId: values.aws_access_key_id,
      secretAccessKey: values.aws_secret_access_key,
      sessionToken: values.aws_session_token,
    },
    `the profile "${profile}" of ${path}`,
  )
}

// ---- containers (ECS, EKS Pod Identity): an address in the environment that answers with keys

const linkLocal = 'http://169.254.170.2'
/** Where plain http may be asked: this machine and the two addresses of AWS's own agents. */
const agents: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]', '169.254.170.2', '169.254.170.23'])

const fromContainer = async (): Promise<Expiring> => {
  const { env } = process
  const relative = env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
  const address = relative === undefined ? env.AWS_CONTAINER_CREDENTIALS_FULL_URI : linkLocal + relative
  if (address === undefined)
    throw new Error('credential.sigv4: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor …_FULL_URI is set')
  const url = new URL(address)
  if (url.protocol !== 'https:' && !agents.has(url.hostname))
    throw new Error('credential.sigv4: AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or on this machine')
  const tokenFile = env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE
  const token =
    tokenFile === undefined ? env.AWS_CONTAINER_AUTHORIZATION_TOKEN : (await readFile(tokenFile, 'utf8')).trim()
  const answer = await fetch(url, {
    redirect: 'error',
    signal: AbortSignal.timeout(askMs),
    headers: token === undefined ? {} : { authorization: token },
  })
  if (!answer.ok) throw new Error(`credential.sigv4: the container's credentials were refused (${answer.status})`)
  // What JSON.parse says of a text repeats a part of it.
  const said = (await answer.json().catch(() => undefined)) as { [name: string]: string } | null | undefined
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = said ?? {}
  const keys = complete(
    { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token },
    "the container's answer",
  )
  const expiresAt = Date.parse(Expiration ?? '')
  if (Number.isNaN(expiresAt)) throw new Error("credential.sigv4: the container's answer has no Expiration")
  return { ...keys, expiresAt }
}

// ---- everything the AWS SDK knows, if it is installed

const provider = '@aws-sdk/credential-provider-node'

type Chain = { defaultProvider(options: object): Keys }

const fromChain = (): Keys => {
  let chain: Promise<Keys> | undefined
  return async () => {
    chain ??= (import(provider) as Promise<Chain>).then(
      ({ defaultProvider }) => defaultProvider({}),
      cause => {
        chain = undefined
        throw new Error(`credential.sigv4: "from: chain" needs the package ${provider}; install it beside holdpoint`, {
          cause,
        })
      },
    )
    const { accessKeyId, secretAccessKey, sessionToken } = await (await chain)()
    return { accessKeyId, secretAccessKey, sessionToken }
  }
}
