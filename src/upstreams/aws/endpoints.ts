// Where a service of AWS is in a region. The address comes from what was signed and was found in the configuration, never from Host.
import type { Scope } from '../../nouns.ts'

/** Hosts that are not `<signing name>.<region>`; `*` is the region. Those without one are the same everywhere. */
const hosts: { readonly [service: string]: string } = {
  budgets: 'budgets',
  ce: 'ce.us-east-1',
  cloudfront: 'cloudfront',
  ecr: 'api.ecr.*',
  globalaccelerator: 'globalaccelerator.us-west-2',
  health: 'health.us-east-1',
  iam: 'iam',
  organizations: 'organizations.us-east-1',
  route53: 'route53',
  sagemaker: 'api.sagemaker.*',
  savingsplans: 'savingsplans',
  ses: 'email.*',
  shield: 'shield.us-east-1',
  support: 'support.us-east-1',
  waf: 'waf',
}

/** Without buckets: the one of a virtual host is in the Host line that is signed (credentials/sigv4.ts). */
export const endpointOf = ({ service, region }: Scope): string => {
  const host = (Object.hasOwn(hosts, service) ? hosts[service] : undefined) ?? `${service}.*`
  if (region.startsWith('cn-')) return `https://${service}.${region}.amazonaws.com.cn`
  if (region.startsWith('us-gov-') && !host.includes('*')) return `https://${service}.us-gov.amazonaws.com`
  return `https://${host.replace('*', region)}.amazonaws.com`
}
