// What a call is about, as an ARN, where nothing but the call is needed to say it exactly. What may have a second name (an alias, a name
// without its account, a list in the body) is unknown: a rule about the ARN must not be passed by under the other name.
import type { Action, Body, Call, Header, Scope } from '../../nouns.ts'

export type Resource = { readonly resource: string; readonly known: boolean }

const unknown: Resource = { resource: '*', known: false }

const partition = (region: string): string =>
  region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws'

// ---- S3

/** Names that stand for a bucket of another name. */
const aliased = /(?:-s3alias|--ol-s3|--x-s3|\.mrap)$/

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const s3Arn = (path: string, region: string): Resource => {
  const [bucket = '', ...key] = path.slice(1).split('/')
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket) || aliased.test(bucket)) return unknown
  const name = decoded(key.join('/'))
  if (name === undefined) return unknown
  return { resource: `arn:${partition(region)}:s3:::${bucket}${name === '' ? '' : `/${name}`}`, known: true }
}

/** Operations that are about objects which only the body names. */
const listing: ReadonlySet<string> = new Set(['DeleteObjects'])

const ofS3 = (operation: string, path: string, region: string): Resource => {
  if (path === '/') return { resource: '*', known: true }
  const found = s3Arn(path, region)
  return listing.has(operation) ? { resource: found.known ? `${found.resource}/*` : '*', known: false } : found
}

/** What an operation of S3 does besides, by what its head says. */
export const besides = (call: Call, operation: string, path: string, scope: Scope): readonly Action[] => {
  const has = (test: (name: string) => boolean): boolean => call.headers.some(([name]) => test(name.toLowerCase()))
  const also = (name: string, access: Action['access'], { resource, known }: Resource): Action => ({
    name: `s3:${name}`,
    resource,
    access,
    fields: { service: 's3', operation: name, region: scope.region },
    ...(known ? {} : { unknown: ['resource'] }),
  })
  const own = s3Arn(path, scope.region)
  const ofBucket = operation.includes('Bucket')
  const heads = ofBucket ? bucketHeads : objectHeads
  return [
    ...sources(call.headers).map(([header, source]) =>
      also(...header, source === undefined ? unknown : s3Arn(source, scope.region)),
    ),
    ...heads
      .filter(([test, name]) => name !== operation && has(one => test.test(one)))
      .map(([, name, access]) =>
        also(name, access, listing.has(operation) ? ofS3(operation, path, scope.region) : own),
      ),
  ]
}

type Head = readonly [test: RegExp, name: string, access: Action['access']]

const acls = /^x-amz-(?:acl$|grant-)/
const bucketHeads: readonly Head[] = [
  [acls, 'PutBucketAcl', 'permissions'],
  [/^x-amz-object-ownership$/, 'PutBucketOwnershipControls', 'permissions'],
]
const objectHeads: readonly Head[] = [
  [acls, 'PutObjectAcl', 'permissions'],
  [/^x-amz-tagging$/, 'PutObjectTagging', 'write'],
  [/^x-amz-object-lock-(?:mode|retain-until-date)$/, 'PutObjectRetention', 'write'],
  [/^x-amz-object-lock-legal-hold$/, 'PutObjectLegalHold', 'write'],
  [/^x-amz-bypass-governance-retention$/, 'BypassGovernanceRetention', 'permissions'],
]

/** What becomes of the object that a head names as a source. */
const sourceHeads: { readonly [lower: string]: readonly [name: string, access: Action['access']] } = {
  'x-amz-copy-source': ['GetObject', 'read'],
  'x-amz-rename-source': ['DeleteObject', 'write'],
}

/** `bucket/key`, encoded, with or without a slash before it and a version behind it. */
const sources = (
  headers: readonly Header[],
): readonly (readonly [name: readonly [string, Action['access']], path: string | undefined])[] =>
  headers.flatMap(([name, value]) => {
    const header = Object.hasOwn(sourceHeads, name.toLowerCase()) ? sourceHeads[name.toLowerCase()] : undefined
    if (header === undefined) return []
    const [path = ''] = value.replace(/^\//, '').split('?')
    const plain = decoded(path)
    // What is encoded once more stays as it is: decoding it here would name another object.
    const known = plain !== undefined && !/[%?+]/.test(plain) && /^[^/]+\/./.test(plain)
    return [[header, known ? `/${plain}` : undefined] as const]
  })

// ---- services whose calls name an ARN

type Named = {
  readonly operation?: RegExp
  readonly field: string
  readonly arn: (value: string, region: string) => string | undefined
}

const exactly =
  (pattern: RegExp) =>
  (value: string): string | undefined =>
    pattern.test(value) ? value : undefined

const named: { readonly [prefix: string]: Named } = {
  iam: {
    operation:
      /^(?:(?:Create|Delete|Get)PolicyVersion|(?:Delete|Get)Policy|SetDefaultPolicyVersion|ListPolicyVersions|ListEntitiesForPolicy)$/,
    field: 'PolicyArn',
    arn: exactly(/^arn:[a-z-]+:iam::(?:\d{12}|aws):policy\/[\w+=,.@/-]+$/),
  },
  kms: { field: 'KeyId', arn: exactly(/^arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key\/[A-Za-z0-9-]+$/) },
  sns: {
    operation:
      /^(?:DeleteTopic|GetTopicAttributes|SetTopicAttributes|AddPermission|RemovePermission|ListSubscriptionsByTopic|Subscribe)$/,
    field: 'TopicArn',
    arn: exactly(/^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w.-]+$/),
  },
  sqs: {
    field: 'QueueUrl',
    arn: (value, region) => {
      const [, account, name] = /^https?:\/\/[^/?#]+\/(\d{12})\/([\w.-]{1,80})$/.exec(value) ?? []
      return name === undefined ? undefined : `arn:${partition(region)}:sqs:${region}:${account}:${name}`
    },
  },
}

/** What exactly one value of a field is, in a form or in JSON. */
const valueIn = (body: Body, field: string): string | undefined => {
  if (body.kind === 'form') {
    const found = body.pairs.filter(([name]) => name.toLowerCase() === field.toLowerCase())
    return found.length === 1 && found[0]?.[0] === field ? found[0][1] : undefined
  }
  if (body.kind !== 'json' || body.value === null || typeof body.value !== 'object' || Array.isArray(body.value))
    return undefined
  const entries = Object.entries(body.value).filter(([name]) => name.toLowerCase() === field.toLowerCase())
  const [entry] = entries
  return entries.length === 1 && entry?.[0] === field && typeof entry[1] === 'string' ? entry[1] : undefined
}

/** `path` is canonical; for S3 it begins with the bucket. */
export const resourceOf = (
  { prefix, operation, region }: { readonly prefix: string; readonly operation: string; readonly region: string },
  path: string,
  body: Body,
): Resource => {
  if (prefix === 's3') return ofS3(operation, path, region)
  const way = Object.hasOwn(named, prefix) ? named[prefix] : undefined
  if (way === undefined || way.operation?.test(operation) === false) return unknown
  const value = valueIn(body, way.field)
  // A queue's own path names a queue as well, and perhaps another one.
  if (value === undefined || (path !== '/' && !value.endsWith(path))) return unknown
  const arn = way.arn(value, region)
  return arn === undefined ? unknown : { resource: arn, known: true }
}
