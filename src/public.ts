// What the gate tells everybody, without asking who they are: where tokens for it come from (RFC 9728), and the keys of its assertions.
import { answerJson, write } from './answer.ts'
import { proofAlgorithms } from './dpop.ts'
import { HoldpointError } from './errors.ts'
import type { CallerResponse } from './incoming.ts'
import type { Call } from './nouns.ts'
import type { Parts } from './parts.ts'
import type { Settings } from './settings.ts'

const metadataPath = '/.well-known/oauth-protected-resource'
const keysPath = '/.holdpoint/jwks.json'
// Shorter than keys are published before they sign.
const keysForS = 300

export const isPublic = (path: string): boolean => path === metadataPath || path === keysPath

/** Answers a call for which `isPublic` holds. @throws method_not_allowed, store_unavailable */
export const publicEndpoint = async (
  parts: Parts,
  settings: Settings,
  call: Call,
  response: CallerResponse,
): Promise<void> => {
  if (call.method !== 'GET' && call.method !== 'HEAD')
    throw new HoldpointError('method_not_allowed', 'Use GET here.', { headers: { Allow: 'GET, HEAD' } })
  if (call.path === metadataPath) return answerJson(response, 200, metadata(settings))
  const keys = await parts.assertions.publicKeys(settings.gate.assertionKey)
  const head = [
    ['Content-Type', 'application/jwk-set+json'],
    ['Cache-Control', `public, max-age=${keysForS}`],
  ] as const
  write(response, 200, head, JSON.stringify(keys))
}

const metadata = ({ gate, issuers }: Settings): object => ({
  resource: gate.url,
  authorization_servers: issuers.flatMap(({ issuer }) => (issuer === undefined ? [] : [issuer])),
  bearer_methods_supported: ['header'],
  dpop_signing_alg_values_supported: proofAlgorithms,
  // RFC 9728 §2: both say that nothing else will do.
  dpop_bound_access_tokens_required: issuers.length > 0 && issuers.every(({ dpop }) => dpop === 'required'),
  tls_client_certificate_bound_access_tokens: issuers.length > 0 && issuers.every(({ mtls }) => mtls === 'required'),
})
