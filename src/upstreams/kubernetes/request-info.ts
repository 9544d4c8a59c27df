// What a Kubernetes API server takes a request for, computed as it does itself (k8s.io/apiserver, endpoints/request: RequestInfo), so that
// rules and RBAC speak of the same thing. Pure; judges nothing.

export type RequestInfo = {
  readonly isResource: boolean
  readonly verb: string
  /** Empty: the core group. */
  readonly group: string
  readonly version: string
  readonly namespace: string
  readonly resource: string
  readonly subresource: string
  readonly name: string
  /** `/api/v1/proxy/…` and `/api/v1/watch/…`: the verb stands in the path. */
  readonly verbInPath: boolean
  /** The resource and what follows it. */
  readonly parts: readonly string[]
}

type Pairs = readonly (readonly [name: string, value: string])[]

const apiPrefixes: ReadonlySet<string> = new Set(['api', 'apis'])
const specialVerbs: ReadonlySet<string> = new Set(['proxy', 'watch'])
const namespaceSubresources: ReadonlySet<string> = new Set(['status', 'finalize'])
const verbs: ReadonlyMap<string, string> = new Map([
  ['POST', 'create'],
  ['GET', 'get'],
  ['HEAD', 'get'],
  ['PUT', 'update'],
  ['PATCH', 'patch'],
  ['DELETE', 'delete'],
])

/**
 * @param path decoded, as the server's own router sees it
 * @returns undefined where the server finds that the path names nothing (`/api/v1/watch`)
 */
export const requestInfo = (method: string, path: string, query: Pairs): RequestInfo | undefined => {
  const none: RequestInfo = {
    isResource: false,
    verb: method.toLowerCase(),
    group: '',
    version: '',
    namespace: '',
    resource: '',
    subresource: '',
    name: '',
    verbInPath: false,
    parts: [],
  }
  const [prefix = '', ...below] = split(path)
  const grouped = prefix === 'apis'
  if (!apiPrefixes.has(prefix) || below.length < (grouped ? 3 : 2)) return none
  const [group, [version = '', ...rest]] = grouped ? [below[0] ?? '', below.slice(1)] : ['', below]

  const verbInPath = specialVerbs.has(rest[0] ?? '')
  const parts = resourceParts(verbInPath ? rest.slice(1) : rest)
  if (parts === undefined) return undefined
  const verb = verbInPath ? (rest[0] ?? '') : (verbs.get(method) ?? '')
  const [resource = '', name = '', subresource = ''] = parts.of
  return {
    ...none,
    isResource: true,
    ...named(verb, name, query),
    group,
    version,
    namespace: parts.namespace,
    resource,
    subresource: verb === 'proxy' ? '' : subresource,
    verbInPath,
    parts: parts.of,
  }
}

const split = (path: string): readonly string[] => {
  const trimmed = path.replace(/^\/+/, '').replace(/(?<!\/)\/+$/, '')
  return trimmed === '' ? [] : trimmed.split('/')
}

/** `namespaces/x/pods/y` is about pods; `namespaces/x` and `namespaces/x/status` are about the namespace. */
const resourceParts = (
  parts: readonly string[],
): { readonly namespace: string; readonly of: readonly string[] } | undefined => {
  if (parts.length === 0) return undefined
  if (parts[0] !== 'namespaces' || parts.length < 2) return { namespace: '', of: parts }
  const namespace = parts[1] ?? ''
  const own = parts.length > 2 && !namespaceSubresources.has(parts[2] ?? '')
  return { namespace, of: own ? parts.slice(2) : parts }
}

/** Without a name a get is a list or a watch (of one thing, if the field selector says so), and a delete means all of them. */
const named = (verb: string, name: string, query: Pairs): { readonly verb: string; readonly name: string } => {
  if (name !== '') return { verb, name }
  if (verb === 'delete') return { verb: 'deletecollection', name }
  if (verb !== 'get') return { verb, name }
  return { verb: watches(query) ? 'watch' : 'list', name: selectedName(query) ?? '' }
}

const firstOf = (query: Pairs, key: string): string | undefined => query.find(([name]) => name === key)?.[1]

const watches = (query: Pairs): boolean => {
  const value = firstOf(query, 'watch')
  return value !== undefined && value !== '0' && value.toLowerCase() !== 'false'
}

/** The name that `fieldSelector=metadata.name=x` asks for. Said twice, or not understood: none. */
const selectedName = (query: Pairs): string | undefined => {
  const [selector, ...more] = query.filter(([name]) => name === 'fieldSelector')
  if (selector === undefined || more.length > 0) return undefined
  const terms = selectorTerms(selector[1])
  const name = terms?.find(([field, is]) => field === 'metadata.name' && is)?.[2]
  return name === undefined || /^\.{0,2}$|[/%]/.test(name) ? undefined : name
}

type Term = readonly [field: string, is: boolean, value: string]

/** `a=b,c!=d`, with `\` before a comma, an equals sign or itself; undefined if it is no selector. */
const selectorTerms = (text: string): readonly Term[] | undefined => {
  const terms: Term[] = []
  for (const term of text.match(/(?:\\.|[^\\,])+|\\$/gs) ?? []) {
    const [, field = '', operator = '', escaped = ''] = /^(.*?)(!=|==|=)(.*)$/s.exec(term) ?? []
    if (operator === '' || /(?<!\\)(?:\\\\)*(?:\\(?![\\,=])|[,=])/.test(escaped)) return undefined
    terms.push([field, operator !== '!=', escaped.replace(/\\(.)/gs, '$1')])
  }
  return terms
}
