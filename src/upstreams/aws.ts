// AWS: an action is the operation as IAM names it, found by the protocol of the service (aws/operation.ts), its resource an ARN.
//   - Callers sign with keys that stand for nothing; their token is the session token. Service and region are those they signed for.
//   - What no table knows is aws:unknown: no service or operation is taken for harmless by its name.
//   - S3's framing of streamed bodies is undone before anything looks at them.
import type { Action, Json } from '../nouns.ts'
import { isChecksum, unchunked } from './aws/chunked.ts'
import { endpointOf } from './aws/endpoints.ts'
import { refusal } from './aws/errors.ts'
import { accessOf, prefixOf } from './aws/names.ts'
import { headerOf, operationOf } from './aws/operation.ts'
import { besides, resourceOf } from './aws/resource.ts'
import { scoped, servedScope, signedService } from './aws/scope.ts'
import type { Seen, UpstreamKind } from './upstream.ts'

export const aws: UpstreamKind = {
  kind: 'aws',
  volatileHeaders: ['x-amz-user-agent'],
  strippedHeaders: ['authorization', 'x-amz-date', 'x-amz-security-token'],
  upgrades: [],
  admit: scoped,
  speaks: call => signedService(call) !== undefined,
  plain: unchunked,
  // A hash that the client made, or none at all, lets the body pass as it comes; anything else has to be hashed here. So has what ends
  // in more than a checksum: S3 must not learn anything behind the body that nobody saw.
  wantsWhole: call => {
    const sentinel = headerOf(call, 'x-amz-content-sha256') ?? ''
    if (sentinel === 'STREAMING-UNSIGNED-PAYLOAD-TRAILER') return !isChecksum(headerOf(call, 'x-amz-trailer') ?? '')
    return !/^(?:[0-9a-f]{64}|UNSIGNED-PAYLOAD)$/.test(sentinel)
  },
  located: (upstream, { scope }) =>
    scope === undefined || upstream.aws?.url === 'own' ? upstream : { ...upstream, url: endpointOf(scope) },
  describe(seen) {
    const { call, body, upstream } = seen
    const scope = servedScope(call, upstream, prefixOf)
    const { region } = scope
    const path = scope.bucket === undefined ? seen.path : `/${scope.bucket}${seen.path}`
    const operation = operationOf({ scope, call, path, body })
    // Whoever signs needs all of such a body anyway.
    if (operation === 'unread' || (scope.service !== 's3' && body.kind === 'unread')) return 'unread'
    const prefix = prefixOf(scope.service)
    const access = operation === undefined ? undefined : accessOf(prefix, operation)
    if (operation === undefined || access === undefined) return [nameless(prefix, region)]
    const { resource, known } = resourceOf({ prefix, operation, region }, path, body)
    const action: Action = {
      name: `${prefix}:${operation}`,
      resource,
      access,
      fields: { service: prefix, operation, region },
      ...(known ? {} : { unknown: ['resource'] }),
    }
    return scope.service === 's3' ? [action, ...besides(call, operation, path, scope)] : [action]
  },
  secrets: seen => secretsIn(seen),
  refusal,
}

const nameless = (service: string, region: string): Action => ({
  name: 'aws:unknown',
  resource: '*',
  access: 'unknown',
  fields: { service, region },
  unknown: ['*'],
})

/** What is secret by what the operation is, not by its own name. */
const fields: { readonly [operation: string]: readonly string[] } = {
  'kms:Encrypt': ['json./Plaintext'],
  'lambda:CreateFunction': ['json./Environment/Variables/*'],
  'lambda:UpdateFunctionConfiguration': ['json./Environment/Variables/*'],
  'secretsmanager:CreateSecret': ['json./SecretString', 'json./SecretBinary'],
  'secretsmanager:PutSecretValue': ['json./SecretString', 'json./SecretBinary'],
  'secretsmanager:UpdateSecret': ['json./SecretString', 'json./SecretBinary'],
}

/** Keys with which S3 seals an object for its caller. */
const customerKeys: readonly string[] = [
  'header.x-amz-server-side-encryption-customer-key',
  'header.x-amz-copy-source-server-side-encryption-customer-key',
]

const plainTypes: readonly (Json | undefined)[] = ['String', 'StringList']

const secretsIn = (seen: Seen): readonly string[] => {
  const described = aws.describe(seen)
  const name = described === 'unread' ? '' : (described[0]?.name ?? '')
  if (name.startsWith('s3:')) return customerKeys
  if (name !== 'ssm:PutParameter') return Object.hasOwn(fields, name) ? (fields[name] ?? []) : []
  const { body } = seen
  const type =
    body.kind === 'json' && body.value !== null && typeof body.value === 'object' && !Array.isArray(body.value)
      ? (body.value as { readonly Type?: Json }).Type
      : undefined
  return plainTypes.includes(type) ? [] : ['json./Value']
}
