// Kubernetes: an action is the API server's own verb on its own resource (kubernetes/request-info.ts), as RBAC names them.
//   - A connection into a pod or through the server (exec, attach, portforward, proxy) is `create` and `interactive`, whatever the method.
//   - A list without a namespace is about all of them, so its namespace is unknown rather than absent; so is a name that is not in the path.
//   - What may answer with a Secret is also a reading of it, rehearsal or not.
// A refusal is a Status, which kubectl and client-go print.
import { HoldpointError } from '../errors.ts'
import type { Action, Header } from '../nouns.ts'
import { accessOf, accessOfPath, acrossNamespaces, isSecret } from './kubernetes/access.ts'
import { dryRunOf } from './kubernetes/dry-run.ts'
import { rehearsalOf } from './kubernetes/rehearsal.ts'
import { type RequestInfo, requestInfo } from './kubernetes/request-info.ts'
import { secretsIn } from './kubernetes/secrets.ts'
import type { Seen, UpstreamKind } from './upstream.ts'

const connecting: ReadonlySet<string> = new Set(['exec', 'attach', 'portforward', 'proxy'])
/** Verbs besides reading whose answer may be the object as it was before. */
const answering: ReadonlySet<string> = new Set(['patch', 'delete', 'deletecollection'])

export const kubernetes: UpstreamKind = {
  kind: 'kubernetes',
  volatileHeaders: ['kubectl-session'],
  strippedHeaders: [],
  upgrades: ['websocket', 'spdy/3.1'],
  describe(seen) {
    const { call, body } = seen
    refuseTokens(call.headers)
    const path = decoded(seen.path)
    const info = path === undefined ? undefined : requestInfo(call.method, path, call.query)
    // The server knows no group "core"; here it is what the nameless one is called.
    if (path === undefined || info === undefined || info.group === 'core') return [unknown(seen)]
    if (!info.isResource) return [call.upgrade === undefined ? ofPath(info.verb, path) : unknown(seen)]
    if (info.verb === 'proxy' || connecting.has(info.subresource.toLowerCase()))
      return [{ ...ofResource(info, { verb: 'create', interactive: 'true' }), access: 'write' }]
    // What else speaks another protocol could be a watch, or a console.
    if (call.upgrade !== undefined) {
      const open = ofResource(info, { interactive: 'true' })
      return [{ ...open, access: 'unknown', unknown: [...(open.unknown ?? []), 'name', 'verb'] }]
    }
    if (info.verb === '' || (info.verbInPath && !['GET', 'HEAD'].includes(call.method))) return [unknown(seen)]
    const dryRun = dryRunOf(info, call, body)
    if (dryRun === 'unread') return 'unread'
    const action = ofResource(info, dryRun === undefined ? {} : { dryRun })
    if (!isSecret(info) || !answering.has(info.verb)) return [action]
    return [action, ofResource({ ...info, verb: info.name === '' ? 'list' : 'get', subresource: '' }, {})]
  },
  secrets({ path, body }) {
    const about = requestInfo('GET', decoded(path) ?? '', [])
    return secretsIn(body, about !== undefined && isSecret(about))
  },
  rehearsal(seen) {
    const path = decoded(seen.path)
    const info = path === undefined ? undefined : requestInfo(seen.call.method, path, seen.call.query)
    return info?.isResource ? rehearsalOf(info, seen) : 'it is about no resource'
  },
  refusal(error, { title, detail, status, code, rule }) {
    const { retryAfterS } = error.extras
    return {
      headers: [['Content-Type', 'application/json']],
      body: JSON.stringify({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: `${detail ?? title}${rule === undefined || detail?.includes(rule) ? '' : ` (rule ${rule})`}`,
        reason: reasons.get(status) ?? (status >= 500 ? 'InternalError' : 'BadRequest'),
        details: {
          causes: [{ reason: `holdpoint:${code}`, message: title }],
          ...(retryAfterS === undefined ? {} : { retryAfterSeconds: retryAfterS }),
        },
        code: status,
      }),
    }
  },
}

/** Browsers' clients put a token beside the protocols of a WebSocket, and the API server would take it for who calls. */
const refuseTokens = (headers: readonly Header[]): void => {
  for (const [name, value] of headers)
    if (name.toLowerCase() === 'sec-websocket-protocol' && /base64url\.bearer\.authorization\.k8s\.io/i.test(value))
      throw new HoldpointError('malformed', 'Sec-WebSocket-Protocol: it carries a token: send yours in Authorization')
}

/** metav1.StatusReason. */
const reasons: ReadonlyMap<number, string> = new Map([
  [400, 'BadRequest'],
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'NotFound'],
  [405, 'MethodNotAllowed'],
  [409, 'Conflict'],
  [410, 'Gone'],
  [413, 'RequestEntityTooLarge'],
  [415, 'UnsupportedMediaType'],
  [429, 'TooManyRequests'],
  [500, 'InternalError'],
  [503, 'ServiceUnavailable'],
  [504, 'Timeout'],
])

/** The path as the server's router sees it; undefined where it could be taken apart in two ways. */
const decoded = (path: string): string | undefined => {
  try {
    const segments = path.slice(1).split('/').map(decodeURIComponent)
    if (segments.slice(0, -1).includes('') || segments.some(segment => segment.includes('/'))) return undefined
    return `/${segments.join('/')}`
  } catch {
    return undefined
  }
}

const unknown = ({ call, path }: Seen): Action => ({
  name: `k8s:${call.method.toLowerCase()}`,
  resource: path,
  access: 'unknown',
  fields: {},
  unknown: ['*'],
})

const ofPath = (verb: string, path: string): Action => ({
  name: `k8s:${verb} ${path}`,
  resource: path,
  access: accessOfPath(verb, path),
  fields: { verb },
})

/** `more` are fields to add, or to say otherwise. */
const ofResource = (info: RequestInfo, more: { readonly [name: string]: string }): Action => {
  const { version, namespace, resource, subresource, name } = info
  const group = info.group === '' ? 'core' : info.group
  const what = subresource === '' ? resource : `${resource}/${subresource}`
  const own = { verb: info.verb, group, version, resource, subresource, namespace, name }
  const fields: typeof own & { readonly [name: string]: string } = { ...own, ...more }
  const everywhere = acrossNamespaces(info)
  const untold = [
    ...(everywhere ? ['namespace'] : []),
    // Not the action's own name, which is known.
    ...(name === '' ? ['fields.name'] : []),
    ...(fields.dryRun === 'unknown' ? ['dryRun'] : []),
  ]
  return {
    name: `k8s:${fields.verb} ${what}`,
    resource: `${group}/${version}/${namespace || '-'}/${what}/${name || '-'}`,
    access: accessOf(info),
    fields: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '' && value !== 'unknown')),
    ...(untold.length === 0 ? {} : { unknown: untold }),
    // A rule about one object is also about a list that it is in.
    ...(name === '' ? { reach: `${group}/${version}/${everywhere ? '*' : namespace || '-'}/${what}/*` } : {}),
  }
}
