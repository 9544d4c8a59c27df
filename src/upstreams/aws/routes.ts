// Method, path and query -> operation, for services that have no other name for it (routes.json, made by scripts/aws-routes.ts).
// What two operations could be meant by is none. S3 tells its operations apart by names in the query: one that the operation does not
// have makes it unknown, because it may be what S3 goes by.
import { readFileSync } from 'node:fs'

type Route = {
  readonly method: string
  readonly segments: readonly string[]
  /** Names in the query, with a value where it has to be that one. */
  readonly wanted: readonly (readonly [name: string, value: string | undefined])[]
  readonly optional: readonly string[]
  readonly operation: string
}

type Listed = { readonly [service: string]: readonly string[] }

let listed: Listed | undefined
const compiled = new Map<string, readonly Route[]>()

const read = (line: string): Route => {
  const [method = '', target = '', operation = '', optional = ''] = line.split(' ')
  const [path = '', query = ''] = target.split('?')
  return {
    method,
    segments: segmentsOf(path),
    wanted: query.split('&').flatMap(pair => {
      const [name = '', value] = pair.split('=')
      return name === '' ? [] : [[name, value] as const]
    }),
    optional: optional.split(',').filter(Boolean),
    operation,
  }
}

/** A slash at the end says nothing. */
const segmentsOf = (path: string): readonly string[] => {
  const segments = path.split('/').slice(1)
  return segments.at(-1) === '' ? segments.slice(0, -1) : segments
}

const routesOf = (service: string): readonly Route[] => {
  const found = compiled.get(service)
  if (found !== undefined) return found
  listed ??= JSON.parse(readFileSync(new URL('./routes.json', import.meta.url), 'utf8')) as Listed
  const routes = Object.hasOwn(listed, service) ? (listed[service] ?? []).map(read) : []
  compiled.set(service, routes)
  return routes
}

/** Is the service known by its paths? */
export const hasRoutes = (service: string): boolean => routesOf(service).length > 0

export type Asked = {
  readonly service: string
  readonly method: string
  /** Canonical; for S3 it begins with the bucket. */
  readonly path: string
  readonly query: readonly (readonly [name: string, value: string])[]
  /** Does its head name an object of S3 to copy from? That alone tells copying from putting. */
  readonly copies: boolean
}

/** Without a value these are not there at all to some who speak S3: ending an upload would be deleting the object. */
const valued: ReadonlySet<string> = new Set(['annotationName', 'id', 'partNumber', 'uploadId', 'versionId'])

const copying: ReadonlySet<string> = new Set(['CopyObject', 'UploadPartCopy'])

/** Undefined if it is none that is known, or could be several. */
export const operationAt = (asked: Asked): string | undefined => {
  const { service, method, query } = asked
  const segments = segmentsOf(asked.path)
  const isS3 = service === 's3'
  const named = query.filter(([name]) => name !== 'x-id')
  const fitting = routesOf(service)
    .filter(route => route.method === method && fits(route.segments, isS3 ? keyed(segments, asked.path) : segments))
    .filter(({ wanted, optional, operation }) => {
      if (isS3 && copying.has(operation) !== asked.copies) return false
      const has = wanted.every(([name, value]) => named.some(one => one[0] === name && (value ?? one[1]) === one[1]))
      const knows = ([name, value]: Asked['query'][number]): boolean =>
        (value !== '' || !valued.has(name)) && (optional.includes(name) || wanted.some(one => one[0] === name))
      return has && (!isS3 || (named.every(knows) && !repeated(named)))
    })
  const best = Math.max(...fitting.map(rank))
  const [found, ...others] = fitting.filter(route => rank(route) === best)
  return others.length === 0 ? found?.operation : undefined
}

const repeated = (pairs: Asked['query']): boolean => new Set(pairs.map(([name]) => name)).size < pairs.length

// An object's name may end in a slash; a bucket's does not.
const keyed = (segments: readonly string[], path: string): readonly string[] =>
  segments.length > 1 && path.endsWith('/') ? [...segments, ''] : segments

/** `{name}` is one segment, `{name+}` one or more. */
const fits = (template: readonly string[], segments: readonly string[]): boolean => {
  const greedy = template.findIndex(one => one.endsWith('+}'))
  if (greedy < 0 ? template.length !== segments.length : template.length > segments.length) return false
  const behind = greedy < 0 ? 0 : segments.length - template.length
  return template.every((part, index) => {
    const segment = segments[greedy >= 0 && index > greedy ? index + behind : index] ?? ''
    if (part.endsWith('+}')) return segments.slice(index, index + behind + 1).join('/') !== ''
    return part.startsWith('{') ? segment !== '' : part === segment
  })
}

/** Words of its own count before names in the query: `/tags/list` is not `/tags/{name}`. */
const rank = ({ segments, wanted }: Route): number =>
  segments.filter(one => !one.startsWith('{')).length * 16 + wanted.length
