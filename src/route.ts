// Host or prefix -> upstream. A host is looked up exactly; of several prefixes the longest wins; nothing is guessed.
import { HoldpointError } from './errors.ts'
import type { Call } from './nouns.ts'
import type { Settings, Upstream } from './settings.ts'

export type Routed = {
  readonly upstream: Upstream
  /** What was cut from the front of the path: the upstream's prefix, or nothing. */
  readonly cut: string
  /** The exact target as the upstream sees it. */
  readonly target: string
}

/** The upstream of a call, or undefined. @throws malformed if the prefix is written in another way than in configuration */
export const route = (call: Call, settings: Settings): Routed | undefined => {
  for (const upstream of settings.upstreams) {
    if ('hosts' in upstream.at && upstream.at.hosts.some(pattern => hostFits(pattern, call.host)))
      return { upstream, cut: '', target: call.target }
  }
  let best: { upstream: Upstream; prefix: string } | undefined
  for (const upstream of settings.upstreams) {
    if (!('prefix' in upstream.at)) continue
    const prefix = upstream.at.prefix === '/' ? '' : upstream.at.prefix
    if (below(call.path, prefix) && (best === undefined || prefix.length > best.prefix.length))
      best = { upstream, prefix }
  }
  if (best === undefined) return undefined
  if (!below(call.rawPath, best.prefix))
    throw new HoldpointError('malformed', `path: write the prefix ${best.prefix} without percent-encoding`)
  const rest = call.target.slice(best.prefix.length)
  return { upstream: best.upstream, cut: best.prefix, target: rest.startsWith('/') ? rest : `/${rest}` }
}

/** A path below a prefix, or the prefix itself. */
export const below = (path: string, prefix: string): boolean =>
  path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/')

// `*.name` stands for exactly one label.
const hostFits = (pattern: string, host: string): boolean =>
  pattern.startsWith('*.')
    ? host.endsWith(pattern.slice(1)) &&
      !host.slice(0, -pattern.length + 1).includes('.') &&
      host.length > pattern.length - 1
    : pattern === host

/** Is this host one that we answer for? Only asked where upstreams are told apart by host. */
export const hostServed = (call: Call, settings: Settings): boolean => {
  let anyHost = true
  for (const { at } of settings.upstreams) {
    if (!('hosts' in at)) continue
    if (at.hosts.some(pattern => hostFits(pattern, call.host))) return true
    anyHost &&= at.hosts.length === 0
  }
  return anyHost || call.host === new URL(settings.gate.url).hostname
}
