// What an aws upstream and its credential have to say: where it is reached, which services and regions, and keys from one source.
import { resolve } from 'node:path'
import type { z } from 'zod'
import type { Sigv4Settings, Upstream } from '../settings.ts'
import type * as schema from './schema.ts'
import type { Path } from './source.ts'
import { type Reader, spell } from './strict.ts'

type Entry = z.output<typeof schema.upstream>
type Sigv4 = NonNullable<NonNullable<Entry['credential']>['sigv4']>

/** Where calls go that are located by what they were signed for; nothing is sent to this address itself. */
const publicUrl = 'https://amazonaws.com'

const only = ['services', 'regions'] as const

/** Says which upstreams lack their url: all kinds but aws need one. Asked of the list as it is written, whatever else is wrong with it. */
export const checkUrls = (reader: Reader, upstreams: unknown): void => {
  for (const [index, one] of (Array.isArray(upstreams) ? upstreams : []).entries()) {
    const { kind, url } = (one ?? {}) as { readonly kind?: unknown; readonly url?: unknown }
    if (url === undefined && kind !== 'aws')
      reader.say(['upstreams', index, 'url'], `${spell(['upstreams', index, 'url'])} is missing`)
  }
}

/** The url of an upstream and, of an aws one, what may be called there and where its callers carry their token. */
export const reached = (
  reader: Reader,
  value: Entry,
  path: Path,
): Pick<Upstream, 'url' | 'tokenHeader'> & Pick<Upstream, 'aws'> => {
  const say = (key: string, message: string): void =>
    reader.say(
      [...path, key],
      `${spell([...path, key])} ${message}`,
      value[key as keyof Entry] === undefined ? undefined : 'key',
    )
  const { url, services, regions, token, credential } = value
  if (value.kind !== 'aws') {
    for (const key of only) if (value[key] !== undefined) say(key, 'is for upstreams of kind aws')
    if (credential?.sigv4 !== undefined)
      reader.say([...path, 'credential', 'sigv4'], 'credential.sigv4 is for upstreams of kind aws', 'key')
    return { url: url ?? publicUrl, tokenHeader: token?.header }
  }
  for (const key of only) if (value[key] === undefined) say(key, 'is missing: name what may be called')
  if (token !== undefined) say('token', 'is not for kind aws: its callers carry their token as the session token')
  if (credential?.sigv4 === undefined)
    reader.say([...path, 'credential'], 'an aws upstream needs credential.sigv4: nothing else proves anything to AWS')
  return {
    url: url ?? publicUrl,
    tokenHeader: 'x-amz-security-token',
    aws: { services: services ?? [], regions: regions ?? [], url: url === undefined ? 'public' : 'own' },
  }
}

/** Which keys go with which source; all others are mistakes. */
const belongs: { readonly [from in Sigv4['from']]: readonly (keyof Sigv4)[] } = {
  static: ['accessKeyId', 'secretAccessKey', 'sessionToken'],
  env: [],
  file: ['file', 'profile'],
  webIdentity: ['tokenFile'],
  container: [],
  chain: [],
}

const sourced = ['accessKeyId', 'secretAccessKey', 'sessionToken', 'file', 'profile', 'tokenFile'] as const

/** `regions` are the upstream's: the token service is asked in the first one unless something else is said. */
export const buildSigv4 = (
  reader: Reader,
  value: Sigv4,
  path: Path,
  folder: string,
  regions: readonly string[] | undefined,
): Sigv4Settings => {
  const { from, accessKeyId, secretAccessKey, sessionToken, file, profile, tokenFile, role, sessionName, region, sts } =
    value
  for (const key of sourced)
    if (value[key] !== undefined && !belongs[from].includes(key))
      reader.say([...path, key], `credential.sigv4.${key} does not go with "from: ${from}"`, 'key')
  for (const key of ['accessKeyId', 'secretAccessKey'] as const)
    if (from === 'static' && value[key] === undefined) reader.say([...path, key], `credential.sigv4.${key} is missing`)
  return {
    kind: 'sigv4',
    from,
    accessKeyId: accessKeyId ?? '',
    secretAccessKey: secretAccessKey ?? '',
    sessionToken,
    file: file === undefined ? undefined : resolve(folder, file),
    profile: profile ?? 'default',
    tokenFile: tokenFile === undefined ? undefined : resolve(folder, tokenFile),
    role,
    sessionName,
    region: region ?? regions?.[0] ?? 'us-east-1',
    sts,
  }
}
