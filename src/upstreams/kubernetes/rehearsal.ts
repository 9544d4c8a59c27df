// What may be asked of the API server before somebody decides: how the object is now, and how it would be (`dryRun=All`). Nothing else, and
// only of groups that the API server answers for itself: whoever else does may not know what a rehearsal is, and would do it.
import type { Body, Json } from '../../nouns.ts'
import type { Rehearsal, Seen } from '../upstream.ts'
import { dryRunOf, knowsRehearsals } from './dry-run.ts'
import type { RequestInfo } from './request-info.ts'

const rehearsed: ReadonlySet<string> = new Set(['create', 'update', 'patch', 'delete'])
const subresources: ReadonlySet<string> = new Set(['', 'scale', 'status'])

/** Or why there is none. */
export const rehearsalOf = (info: RequestInfo, { call, path, body }: Seen): Rehearsal | string => {
  if (call.upgrade !== undefined || !rehearsed.has(info.verb) || info.verbInPath || !subresources.has(info.subresource))
    return 'Kubernetes has no rehearsal of this'
  if (!knowsRehearsals.has(info.group) || info.resource === 'bindings')
    return `who answers for ${info.group || info.resource} may not know rehearsals`
  if (dryRunOf(info, call, body) !== 'false') return 'it is a rehearsal itself, or may be one'
  const accept = ['Accept', 'application/json'] as const
  const query = (call.rawQuery ?? '').split('&').filter(pair => pair !== '')
  const content = info.verb === 'delete' ? optionsOf(body) : contentOf(body)
  if (content === 'unreadable') return 'its body cannot be read'
  return {
    before: info.verb === 'create' ? undefined : { method: 'GET', target: path, headers: [accept], body: undefined },
    after: {
      method: call.method,
      target: `${path}?${[...query, 'dryRun=All'].join('&')}`,
      headers: [
        ...call.headers.filter(([name]) => !/^(?:accept|accept-encoding|content-encoding)$/i.test(name)),
        accept,
      ],
      body: content,
    },
    removes: info.verb === 'delete',
  }
}

const contentOf = (body: Body): Buffer | undefined | 'unreadable' =>
  body.kind === 'none' ? undefined : (body.content ?? 'unreadable')

/** A body decides alone whether a deletion is a rehearsal. */
const optionsOf = (body: Body): Buffer | undefined | 'unreadable' => {
  if (body.kind === 'none') return undefined
  if (body.kind !== 'json' || body.value === null || typeof body.value !== 'object' || Array.isArray(body.value))
    return 'unreadable'
  return Buffer.from(JSON.stringify({ ...(body.value as { [name: string]: Json }), dryRun: ['All'] }))
}
