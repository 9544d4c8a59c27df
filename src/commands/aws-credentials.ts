// holdpoint aws-credentials: what the AWS SDKs and CLI call as `credential_process`. Keys that stand for nothing, and the caller's token as
// their session token, good for as long as the token says.
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Command } from 'commander'

/** What the tools sign with: the gate looks at no signature of theirs. */
const placeholder = { AccessKeyId: 'HOLDPOINT', SecretAccessKey: 'placeholder' }

/** A token that does not say when it runs out is asked for again after this. */
const unsaidMs = 5 * 60_000

/** When a token runs out, as it says itself; nothing is verified here. */
const expiryOf = (token: string, now: number): number => {
  try {
    const { exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      exp?: unknown
    }
    return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : now + unsaidMs
  } catch {
    return now + unsaidMs
  }
}

/** The document that a credential process prints. @throws Error if the text is no token */
export const awsCredentials = (text: string, now: number): object => {
  const token = text.trim()
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Error('there is no token: one line of visible ASCII without spaces is needed')
  return { Version: 1, ...placeholder, SessionToken: token, Expiration: new Date(expiryOf(token, now)).toISOString() }
}

type Options = { readonly tokenFile?: string; readonly tokenCommand?: string }

const tokenBy = async ({ tokenFile, tokenCommand }: Options): Promise<string> => {
  if (tokenFile !== undefined && tokenCommand !== undefined)
    throw new Error('give one of --token-file and --token-command')
  if (tokenFile !== undefined) return readFile(tokenFile, 'utf8')
  if (tokenCommand !== undefined) return (await promisify(execFile)('/bin/sh', ['-c', tokenCommand])).stdout
  const { HOLDPOINT_TOKEN } = process.env
  if (HOLDPOINT_TOKEN === undefined) throw new Error('give --token-file or --token-command, or set HOLDPOINT_TOKEN')
  return HOLDPOINT_TOKEN
}

export const registerAwsCredentials = (program: Command): void => {
  program
    .command('aws-credentials')
    .description('print a token as credentials for the AWS SDKs and CLI')
    .option('--token-file <path>', 'a file with the access token')
    .option('--token-command <command>', 'a command that prints it (default: the variable HOLDPOINT_TOKEN)')
    .addHelpText(
      'after',
      `
In ~/.aws/config, for every tool that speaks with AWS:
  [default]
  region = eu-central-1
  endpoint_url = https://gate.acme.internal/aws
  credential_process = holdpoint aws-credentials --token-file /run/secrets/agent-token
  s3 =
    addressing_style = path`,
    )
    .action(async (options: Options) => {
      try {
        process.stdout.write(`${JSON.stringify(awsCredentials(await tokenBy(options), Date.now()))}\n`)
      } catch (error) {
        process.stderr.write(`aws-credentials: ${(error as Error).message}\n`)
        process.exitCode = 1
      }
    })
}
