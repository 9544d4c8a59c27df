// Which operation a call asks for, by each of AWS's protocols. A call that names one in two places is refused, even if both agree:
// which of them a service goes by is not ours to guess.
//   rpc v2    POST /service/<Service>/operation/<Operation>, smithy-protocol: rpc-v2-cbor
//   JSON      POST /, X-Amz-Target: <Prefix>.<Operation>
//   query     GET or POST /, Action=<Operation> in the query or in a form
//   REST      method, path and query (routes.ts)
import { HoldpointError } from '../../errors.ts'
import type { Body, Call, Scope } from '../../nouns.ts'
import { operationAt } from './routes.ts'

const refuse: (detail: string) => never = detail => {
  throw new HoldpointError('malformed', detail)
}

export const headerOf = ({ headers }: Call, lower: string): string | undefined =>
  headers.find(([name]) => name.toLowerCase() === lower)?.[1]

export const mediaOf = (call: Call): string =>
  (headerOf(call, 'content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''

export const formType = 'application/x-www-form-urlencoded'
export const jsonType = /^application\/(?:x-amz-json-1\.[01]|json)$/

/** `path` is canonical; for S3 it begins with the bucket. Undefined: nobody can tell. */
export type Asking = { readonly scope: Scope; readonly call: Call; readonly path: string; readonly body: Body }

/** Services that go by Action alone, and may find one in a body that is called JSON. */
const goByAction: ReadonlySet<string> = new Set([
  ...['autoscaling', 'cloudformation', 'ec2', 'elasticache', 'elasticbeanstalk', 'elasticloadbalancing', 'iam'],
  ...['importexport', 'rds', 'redshift', 'sdb', 'sns', 'sts'],
])

/** @throws malformed for what names two operations, or one in a place where clients do not */
export const operationOf = (asking: Asking): string | undefined | 'unread' => {
  const { scope, call, path, body } = asking
  const target = headerOf(call, 'x-amz-target')
  const rpc = rpcOperation(call, path)
  if (scope.service === 's3') {
    if (target !== undefined || headerOf(call, 'smithy-protocol') !== undefined)
      refuse('X-Amz-Target, smithy-protocol: S3 goes by method and path alone: leave them out')
    return ofS3(asking)
  }
  const inBody = actionInBody(call, body)
  if (inBody === 'unread') return 'unread'
  const named = [target, rpc, actionIn(call.query, 'query'), inBody.action].filter(one => one !== undefined)
  if (named.length > 1) refuse('X-Amz-Target, Action, path: the call names its operation in two places: name it in one')
  if (rpc !== undefined) return rest(asking) === undefined ? rpc : refuse('path: it stands for two operations')
  if (headerOf(call, 'smithy-protocol') !== undefined || !inBody.readable) return undefined
  if (named.length > 0 && call.query.length > 0 && (target !== undefined || body.kind === 'form'))
    refuse('query: the call has its parameters in the body as well: send them in one place')
  if (target !== undefined) return goByAction.has(scope.service) ? undefined : ofTarget(call, path, target)
  const [action] = named
  if (action === undefined) return rest(asking)
  if (!isQueryPath(scope.service, path)) refuse('path: a call that names its operation in Action goes to /')
  const pairs = body.kind === 'form' ? body.pairs : call.query
  if (pairs.some(([name]) => name.toLowerCase() === 'operation')) refuse('Operation: some services take it for Action')
  // A body that is no form may still be read as one where forms are expected.
  const plain = body.kind === 'none' || body.kind === 'form'
  return plain && (call.method === 'GET' || call.method === 'POST') ? wellFormed(action) : undefined
}

const rest = ({ scope, call, path }: Asking): string | undefined =>
  operationAt({ service: scope.service, method: call.method, path, query: call.query, copies: false })

const wellFormed = (name: string): string | undefined => (/^[A-Za-z][A-Za-z0-9]{1,127}$/.test(name) ? name : undefined)

const rpcOperation = (call: Call, path: string): string | undefined => {
  const [, operation] = /^\/service\/[A-Za-z0-9_.]+\/operation\/([A-Za-z0-9]+)$/.exec(path) ?? []
  const speaks = call.method === 'POST' && headerOf(call, 'smithy-protocol')?.toLowerCase() === 'rpc-v2-cbor'
  return speaks ? operation : undefined
}

const ofTarget = (call: Call, path: string, target: string): string | undefined => {
  if (path !== '/') refuse('path: a call with X-Amz-Target goes to /')
  if (!jsonType.test(mediaOf(call)))
    refuse('Content-Type: a call with X-Amz-Target is application/x-amz-json-1.0 or -1.1')
  const [, name] = /^[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*\.([A-Za-z0-9]+)$/.exec(target) ?? []
  return call.method === 'POST' && name !== undefined ? wellFormed(name) : undefined
}

/** Queues have a path of their own for their older clients. */
const isQueryPath = (service: string, path: string): boolean =>
  path === '/' || (service === 'sqs' && /^\/\d{12}\/[\w.-]{1,80}$/.test(path))

const actionIn = (pairs: readonly (readonly [string, string])[], where: string): string | undefined => {
  // Some readers trim names, or take what is in brackets for a place in a list.
  const found = pairs.filter(([name]) => name.replace(/[^A-Za-z]/g, '').toLowerCase() === 'action')
  if (found.length > 1 || found.some(([name]) => name !== 'Action')) refuse(`${where}: write Action once, in this case`)
  return found[0]?.[1]
}

/** `readable`: nothing in the body could name an operation that was not seen. */
const actionInBody = (
  call: Call,
  body: Body,
): { readonly action?: string | undefined; readonly readable: boolean } | 'unread' => {
  if (body.kind === 'none') return { readable: true }
  if (body.kind === 'form') return { action: actionIn(body.pairs, 'form'), readable: true }
  const media = mediaOf(call)
  // What a service takes for a form although it is called something else, or nothing, must be none.
  if (media === formType || media === '' || media === 'text/plain')
    return body.kind === 'unread' ? 'unread' : { readable: false }
  return { readable: true }
}

const ofS3 = ({ call, path }: Asking): string | undefined => {
  if (path.includes('+')) refuse('path: write %2B for a plus, or %20 for a space')
  // Not everybody who speaks S3 decodes the names it goes by.
  if (/(?:^|&)[^=&]*[%+]/.test(call.rawQuery ?? '')) refuse('query: write its names without percent-encoding')
  const copies = headerOf(call, 'x-amz-copy-source') !== undefined
  const operation = operationAt({ service: 's3', method: call.method, path, query: call.query, copies })
  const said = call.query.filter(([name]) => name === 'x-id').map(([, value]) => value)
  if (operation !== undefined && said.some(one => one !== operation))
    refuse(`x-id: it names another operation than the rest of the call (${operation})`)
  return operation
}
