// Is a request a rehearsal (`dryRun=All`), which changes nothing? Only where the server itself would take it for one.
import type { Body, Call, Json } from '../../nouns.ts'
import type { RequestInfo } from './request-info.ts'

export type DryRun = 'true' | 'false' | 'unknown'

/** Groups that the API server answers for itself. Whoever answers for another may not know what a rehearsal is, and do it. */
export const knowsRehearsals: ReadonlySet<string> = new Set([
  '',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'apps',
  'autoscaling',
  'batch',
  'certificates.k8s.io',
  'coordination.k8s.io',
  'discovery.k8s.io',
  'events.k8s.io',
  'flowcontrol.apiserver.k8s.io',
  'networking.k8s.io',
  'node.k8s.io',
  'policy',
  'rbac.authorization.k8s.io',
  'resource.k8s.io',
  'scheduling.k8s.io',
  'storage.k8s.io',
])
const rehearsable: ReadonlySet<string> = new Set(['create', 'update', 'patch', 'delete', 'deletecollection'])
const deleting: ReadonlySet<string> = new Set(['delete', 'deletecollection'])

/** Undefined for a verb that changes nothing by itself; 'unread' if the body says it. */
export const dryRunOf = (info: RequestInfo, call: Call, body: Body): DryRun | 'unread' | undefined => {
  if (!rehearsable.has(info.verb)) return undefined
  const said = askedFor(info, call, body)
  return said === 'true' && !knowsRehearsals.has(info.group) ? 'unknown' : said
}

const askedFor = (info: RequestInfo, { query, contentLength }: Call, body: Body): DryRun | 'unread' => {
  const asked = query.filter(([name]) => name === 'dryRun').map(([, value]) => value)
  const said = saysAll(asked)
  if (said === 'true' && `${info.group}/${info.resource}/${info.subresource}` === '/serviceaccounts/token')
    return 'unknown'
  if (!deleting.has(info.verb) || contentLength === 0 || body.kind === 'none') return said
  if (body.kind === 'unread') return 'unread'
  // With DeleteOptions in the body the server does not look at the query at all; a rehearsal that only one of them asks for is no rehearsal
  // to everybody.
  const options = body.kind === 'json' ? optionsSay(body.value) : 'unknown'
  return asked.length === 0 || options === said ? options : 'unknown'
}

/** `All` is the only value there is. */
const saysAll = (values: readonly string[]): DryRun =>
  values.length === 0 ? 'false' : values.every(value => value === 'All') ? 'true' : 'unknown'

const optionsSay = (options: Json): DryRun => {
  if (options === null || typeof options !== 'object' || Array.isArray(options)) return 'unknown'
  const named = Object.entries(options).filter(([name]) => name.toLowerCase() === 'dryrun')
  const [[name, value] = []] = named
  if (name === undefined || (Array.isArray(value) && value.length === 0)) return 'false'
  const strange = named.length > 1 || name !== 'dryRun' || !Array.isArray(value)
  return strange ? 'unknown' : saysAll(value.map(String))
}
