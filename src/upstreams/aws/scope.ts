// What an AWS client's head says to us alone: the service and region it signed for (SigV4's credential scope), and the bucket that a
// host names. The signature itself is made with keys that stand for nothing, so it is not checked and goes no further.
import { HoldpointError } from '../../errors.ts'
import type { Call, Scope } from '../../nouns.ts'
import type { Upstream } from '../../settings.ts'

const refuse: (detail: string) => never = detail => {
  throw new HoldpointError('malformed', detail)
}

/** Of a signature in the query, in every version. */
const presigned =
  /^(?:x-amz-(?:signature|credential|algorithm|security-token|signedheaders)|awsaccesskeyid|signature)$/i

const algorithm = 'AWS4-HMAC-SHA256 '
const credential = /^Credential=[^/\s]{1,200}\/\d{8}\/([a-z0-9-]{1,40})\/([a-z0-9.-]{1,60})\/aws4_request$/

type Signed = { readonly region: string; readonly service: string }

/** What an Authorization line was signed for: `AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …`, once. */
const signedFor = (line: string): Signed | undefined => {
  if (!line.startsWith(algorithm)) return undefined
  const [found, ...more] = line
    .slice(algorithm.length)
    .split(',')
    .map(part => part.trim())
    .filter(part => part.includes('Credential='))
  const [, region, service] = credential.exec(found ?? '') ?? []
  return region === undefined || service === undefined || more.length > 0 ? undefined : { region, service }
}

const authorizationOf = ({ headers }: Call): string =>
  headers.find(([name]) => name.toLowerCase() === 'authorization')?.[1] ?? ''

/** Whose client this is, as far as its signature says it; for nothing but the words of a refusal. */
export const signedService = (call: Call): string | undefined => signedFor(authorizationOf(call))?.service

/**
 * The call with the scope of its signature; without one if it has no such signature.
 * @throws malformed for a signature in the query, one of another kind, or two scopes
 */
export const scoped = (call: Call, { at }: Upstream): Call => {
  if (call.query.some(([name]) => presigned.test(name)))
    refuse('query: it carries a signature, and whoever reads a presigned address may use it: sign the head instead')
  const authorization = authorizationOf(call)
  if (!/^AWS4-/i.test(authorization)) return call
  const { region, service } =
    signedFor(authorization) ??
    refuse(
      'Authorization: sign with AWS4-HMAC-SHA256 for one region: Credential=<key>/<date>/<region>/<service>/aws4_request, once',
    )
  const wildcard = 'hosts' in at && !at.hosts.includes(call.host)
  const bucket = wildcard && service === 's3' ? call.host.split('.', 1)[0] : undefined
  const scope: Scope = { service, region, ...(bucket === undefined ? {} : { bucket }) }
  return { ...call, scope }
}

/**
 * The scope of a call that an upstream serves.
 * @throws malformed without a signature, no_route for a service or region that the upstream is not configured for
 */
export const servedScope = (call: Call, { aws, name }: Upstream, prefix: (service: string) => string): Scope => {
  const scope =
    call.scope ??
    refuse(
      'Authorization: sign the call as AWS clients do (AWS4-HMAC-SHA256); any keys will do, the token is the session token',
    )
  const unserved = (what: string, value: string, key: string): never => {
    throw new HoldpointError('no_route', `The ${what} ${value} is not one of those of ${name} (upstreams: ${key}).`)
  }
  if (aws?.services.includes(scope.service) !== true && aws?.services.includes(prefix(scope.service)) !== true)
    return unserved('service', scope.service, 'services')
  if (!aws.regions.includes(scope.region)) return unserved('region', scope.region, 'regions')
  return scope
}
