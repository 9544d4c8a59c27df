// Which rules can match at all: an index by the literal beginning of the path, and at each of its places by upstream and method. The tree is
// built once for each reading of letters, a place's lists when the first call comes by. It only leaves out rules whose own tests would
// certainly fail, so ten thousand rules cost about as much as twenty.
import { expand, literalPrefix } from '../path.ts'
import type { Upstream } from '../settings.ts'
import { foldCase } from '../target.ts'
import type { CompiledRule } from './keys.ts'

export type Candidates = {
  /** Rules in order that may match a path of this upstream with this method. */
  (upstream: Upstream, method: string, path: string): Iterable<CompiledRule>
  /** Builds the tree that calls of this upstream need, so that none of them waits for it. */
  prepare(upstream: Upstream): void
}

type List = readonly CompiledRule[]

type Node = {
  readonly rules: CompiledRule[]
  readonly children: Map<string, Node>
  /** Of `rules`, by upstream and method; Node's parser knows some forty of those. */
  readonly lists: Map<string, Map<string, List>>
}

const node = (): Node => ({ rules: [], children: new Map(), lists: new Map() })

export const candidates = (rules: List): Candidates => {
  const trees = new Map<boolean, Node>()
  const treeOf = ({ caseSensitive }: Upstream): Node => {
    const tree = trees.get(caseSensitive) ?? plant(rules, glob => (caseSensitive ? glob : foldCase(glob)))
    trees.set(caseSensitive, tree)
    return tree
  }
  const find = (upstream: Upstream, method: string, path: string): Iterable<CompiledRule> =>
    inOrder(along(treeOf(upstream), upstream.caseSensitive ? path : foldCase(path), upstream.name, method))
  return Object.assign(find, { prepare: (upstream: Upstream) => void treeOf(upstream) })
}

const plant = (rules: List, spell: (glob: string) => string): Node => {
  const root = node()
  for (const compiled of rules) {
    const globs = compiled.rule.match.path === undefined ? ['/**'] : [compiled.rule.match.path].flat().flatMap(expand)
    for (const glob of globs) {
      const at = descend(root, spell(glob))
      if (at.rules.at(-1) !== compiled) at.rules.push(compiled)
    }
  }
  return root
}

// A trailing slash in a hold or deny rule's glob is ignored, so its empty last segment must not be asked for.
const descend = (root: Node, glob: string): Node => {
  let at = root
  for (const segment of literalPrefix(glob).segments) {
    if (segment === '') break
    const child = at.children.get(segment) ?? node()
    at.children.set(segment, child)
    at = child
  }
  return at
}

/** The lists of rules that lie along a path, from the root down. */
const along = (root: Node, path: string, upstream: string, method: string): List[] => {
  const lists: List[] = []
  let at: Node | undefined = root
  for (let start = 1; at !== undefined; ) {
    const list = at.rules.length === 0 ? at.rules : listAt(at, upstream, method)
    if (list.length > 0) lists.push(list)
    if (start > path.length) break
    const slash = path.indexOf('/', start)
    const end = slash < 0 ? path.length : slash
    at = at.children.get(path.slice(start, end))
    start = end + 1
  }
  return lists
}

const listAt = ({ rules, lists }: Node, upstream: string, method: string): List => {
  const methods = lists.get(upstream) ?? new Map<string, List>()
  const known = methods.get(method)
  if (known !== undefined) return known
  const list = rules.filter(compiled => compiled.upstream?.(upstream) !== false && compiled.method?.(method) !== false)
  lists.set(upstream, methods.set(method, list))
  return list
}

/** Merges lists that are in order each. A rule with several globs may lie in several of them: it comes once. */
const inOrder = (lists: readonly List[]): Iterable<CompiledRule> => {
  const [only] = lists
  return lists.length === 0 ? [] : lists.length === 1 && only !== undefined ? only : merged(lists)
}

function* merged(lists: readonly List[]): Generator<CompiledRule> {
  const heads = lists.map(() => 0)
  for (let last = -1; ; ) {
    let best: CompiledRule | undefined
    for (const [index, list] of lists.entries()) {
      let head = heads[index] as number
      while ((list[head]?.order ?? Number.POSITIVE_INFINITY) <= last) head++
      heads[index] = head
      const next = list[head]
      if (next !== undefined && (best === undefined || next.order < best.order)) best = next
    }
    if (best === undefined) return
    last = best.order
    yield best
  }
}
