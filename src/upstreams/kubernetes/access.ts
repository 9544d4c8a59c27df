// How far a Kubernetes request reaches: reading, writing, changing who may do what, or getting at credentials. What is not known is never
// taken for a read.
import type { Action } from '../../nouns.ts'
import type { RequestInfo } from './request-info.ts'

type Access = Action['access']

const reading: ReadonlySet<string> = new Set(['get', 'list', 'watch'])

// They answer a question and keep nothing. (TokenReview is not among them: it tells whether somebody's token is good.)
const questions: ReadonlySet<string> = new Set([
  'authorization.k8s.io/selfsubjectaccessreviews',
  'authorization.k8s.io/selfsubjectrulesreviews',
  'authorization.k8s.io/subjectaccessreviews',
  'authorization.k8s.io/localsubjectaccessreviews',
  'authentication.k8s.io/selfsubjectreviews',
])

// Whoever writes these decides what others may do, what is checked on the way, or who answers for an API.
const authority: ReadonlySet<string> = new Set([
  'rbac.authorization.k8s.io/roles',
  'rbac.authorization.k8s.io/rolebindings',
  'rbac.authorization.k8s.io/clusterroles',
  'rbac.authorization.k8s.io/clusterrolebindings',
  'certificates.k8s.io/certificatesigningrequests/approval',
  'certificates.k8s.io/certificatesigningrequests/status',
  'admissionregistration.k8s.io/mutatingwebhookconfigurations',
  'admissionregistration.k8s.io/validatingwebhookconfigurations',
  'admissionregistration.k8s.io/mutatingadmissionpolicies',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings',
  'admissionregistration.k8s.io/validatingadmissionpolicies',
  'admissionregistration.k8s.io/validatingadmissionpolicybindings',
  'apiregistration.k8s.io/apiservices',
])

/** Of a request for a resource that opens no connection of its own. */
export const accessOf = ({ verb, group, resource, subresource }: RequestInfo): Access => {
  const what = subresource === '' ? `${group}/${resource}` : `${group}/${resource}/${subresource}`
  if (what === '/serviceaccounts/token') return 'credentials'
  if (reading.has(verb)) return isSecret({ group, resource }) ? 'credentials' : 'read'
  if (questions.has(what)) return verb === 'create' ? 'read' : 'write'
  if (authority.has(what) || authority.has(`${group}/${resource}`)) return 'permissions'
  return 'write'
}

export const isSecret = ({ group, resource }: Pick<RequestInfo, 'group' | 'resource'>): boolean =>
  group === '' && resource === 'secrets'

// Read like this by every kubectl before it does anything, and telling nothing of what runs in the cluster.
const published =
  /^\/(?:(?:api|apis)(?:\/.*)?|openapi\/.*|version|healthz(?:\/.*)?|livez(?:\/.*)?|readyz(?:\/.*)?|metrics(?:\/.*)?|\.well-known\/openid-configuration|openid\/v1\/jwks)?$/

/** Of a path that names no resource. Others than the server's own may be anything: a dashboard, a proxy. */
export const accessOfPath = (verb: string, path: string): Access => {
  if (verb !== 'get' && verb !== 'head') return 'unknown'
  return published.test(path.replace(/(?<=.)\/$/, '')) ? 'read' : 'unknown'
}

// Namespaces do not divide these, so that a request without one means them and nothing else.
const clusterWide: ReadonlySet<string> = new Set([
  '/componentstatuses',
  '/namespaces',
  '/nodes',
  '/persistentvolumes',
  'admissionregistration.k8s.io/mutatingadmissionpolicies',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings',
  'admissionregistration.k8s.io/mutatingwebhookconfigurations',
  'admissionregistration.k8s.io/validatingadmissionpolicies',
  'admissionregistration.k8s.io/validatingadmissionpolicybindings',
  'admissionregistration.k8s.io/validatingwebhookconfigurations',
  'apiextensions.k8s.io/customresourcedefinitions',
  'apiregistration.k8s.io/apiservices',
  'authentication.k8s.io/selfsubjectreviews',
  'authentication.k8s.io/tokenreviews',
  'authorization.k8s.io/selfsubjectaccessreviews',
  'authorization.k8s.io/selfsubjectrulesreviews',
  'authorization.k8s.io/subjectaccessreviews',
  'certificates.k8s.io/certificatesigningrequests',
  'certificates.k8s.io/clustertrustbundles',
  'flowcontrol.apiserver.k8s.io/flowschemas',
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations',
  'networking.k8s.io/ingressclasses',
  'networking.k8s.io/ipaddresses',
  'networking.k8s.io/servicecidrs',
  'node.k8s.io/runtimeclasses',
  'rbac.authorization.k8s.io/clusterrolebindings',
  'rbac.authorization.k8s.io/clusterroles',
  'resource.k8s.io/deviceclasses',
  'resource.k8s.io/resourceslices',
  'scheduling.k8s.io/priorityclasses',
  'storage.k8s.io/csidrivers',
  'storage.k8s.io/csinodes',
  'storage.k8s.io/storageclasses',
  'storage.k8s.io/volumeattachments',
])

/** Without a namespace and a name, may this request be about every namespace? A namespace that is created may be any. */
export const acrossNamespaces = ({ verb, group, resource, namespace, name }: RequestInfo): boolean => {
  if (namespace !== '' || name !== '') return false
  const what = `${group}/${resource}`
  return !clusterWide.has(what) || (what === '/namespaces' && !reading.has(verb))
}
