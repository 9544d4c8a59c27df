// Keys for a role, from AWS's token service: one POST, signed with the keys there are, or unsigned with a web identity token.
import { readFile } from 'node:fs/promises'
import type { Sigv4Settings } from '../../settings.ts'
import type { Expiring } from './keys.ts'
import { type AccessKeys, amzDate, authorization, sha256 } from './sign.ts'

const askMs = 5_000
const form = 'application/x-www-form-urlencoded; charset=utf-8'

type Asking = Pick<Sigv4Settings, 'sts' | 'region' | 'sessionName'>

export const assumedRole = async (settings: Asking, role: string, keys: AccessKeys): Promise<Expiring> => {
  const url = addressOf(settings)
  const body = questionOf('AssumeRole', role, settings.sessionName)
  const at = new Date()
  const headers = [
    ['Content-Type', form],
    ['Host', url.host],
    ['X-Amz-Date', amzDate(at)],
    ...(keys.sessionToken === undefined ? [] : [['X-Amz-Security-Token', keys.sessionToken] as const]),
  ] as const
  const line = authorization(
    {
      method: 'POST',
      target: url.pathname,
      headers,
      payload: sha256(body),
      service: 'sts',
      region: settings.region,
      at,
    },
    keys,
  )
  const sent = headers.filter(([name]) => name !== 'Host')
  return ask(url, body, [...sent, ['Authorization', line]])
}

/** The token file is read for each question: whoever writes it renews it. */
export const webIdentityRole = async (
  settings: Asking & Pick<Sigv4Settings, 'role' | 'tokenFile'>,
): Promise<Expiring> => {
  const role = settings.role ?? process.env.AWS_ROLE_ARN
  const file = settings.tokenFile ?? process.env.AWS_WEB_IDENTITY_TOKEN_FILE
  if (!role) throw new Error('credential.sigv4: set role, or AWS_ROLE_ARN')
  if (!file) throw new Error('credential.sigv4: set tokenFile, or AWS_WEB_IDENTITY_TOKEN_FILE')
  const token = (await readFile(file, 'utf8')).trim()
  const body = `${questionOf('AssumeRoleWithWebIdentity', role, settings.sessionName)}&${new URLSearchParams({ WebIdentityToken: token })}`
  return ask(addressOf(settings), body, [['Content-Type', form]])
}

const addressOf = ({ sts, region }: Asking): URL =>
  new URL(sts ?? `https://sts.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/`)

const questionOf = (action: string, role: string, sessionName: string): string =>
  new URLSearchParams({ Action: action, Version: '2011-06-15', RoleArn: role, RoleSessionName: sessionName }).toString()

const ask = async (url: URL, body: string, headers: readonly (readonly [string, string])[]): Promise<Expiring> => {
  const answer = await fetch(url, {
    method: 'POST',
    redirect: 'error',
    signal: AbortSignal.timeout(askMs),
    headers: headers.map(([name, value]) => [name, value] as [string, string]),
    body,
  })
  const text = await answer.text()
  const one = (name: string): string => new RegExp(`<${name}>([^<]+)</${name}>`).exec(text)?.[1] ?? ''
  if (!answer.ok) throw new Error(`credential.sigv4: the role was refused (${answer.status} ${one('Code')})`)
  const keys = {
    accessKeyId: one('AccessKeyId'),
    secretAccessKey: one('SecretAccessKey'),
    sessionToken: one('SessionToken'),
    expiresAt: Date.parse(one('Expiration')),
  }
  if (!keys.accessKeyId || !keys.secretAccessKey || !keys.sessionToken || Number.isNaN(keys.expiresAt))
    throw new Error('credential.sigv4: the answer of the token service has no complete credentials')
  return keys
}
