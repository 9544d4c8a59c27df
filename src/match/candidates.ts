// Which rules can match at all: an index by upstream, method and the literal beginning of the path, built on first use.
// It only leaves out rules whose own tests would certainly fail, so ten thousand rules cost about as much as twenty.
import { expand, literalPrefix } from '../path.ts'
import type { Upstream } from '../settings.ts'
import { foldCase } from '../target.ts'
import type { CompiledRule } from './keys.ts'

/** Rules in order that may match a path of this upstream with this method. */
export type Candidates = (upstream: Upstream, method: string, path: string) => Iterable<CompiledRule>

type Node = { readonly rules: CompiledRule[]; readonly children: Map<string, Node> }

const node = (): Node => ({ rules: [], children: new Map() })

export const candidates = (rules: readonly CompiledRule[]): Candidates => {
  const trees = new WeakMap<Upstream, Map<string, Node>>()
  return (upstream, method, path) => {
    const methods = trees.get(upstream) ?? new Map<string, Node>()
    const tree = methods.get(method) ?? plant(rules, upstream, method)
    trees.set(upstream, methods.set(method, tree))
    return inOrder(along(tree, upstream.caseSensitive ? path : foldCase(path)))
  }
}

const plant = (rules: readonly CompiledRule[], upstream: Upstream, method: string): Node => {
  const root = node()
  for (const compiled of rules) {
    if (compiled.upstream?.(upstream.name) === false || compiled.method?.(method) === false) continue
    const globs = compiled.rule.match.path === undefined ? ['/**'] : [compiled.rule.match.path].flat().flatMap(expand)
    for (const glob of globs) {
      const at = descend(root, upstream.caseSensitive ? glob : foldCase(glob))
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
const along = (root: Node, path: string): (readonly CompiledRule[])[] => {
  const lists = root.rules.length === 0 ? [] : [root.rules]
  let at: Node | undefined = root
  for (let start = 1; start <= path.length; ) {
    const slash = path.indexOf('/', start)
    const end = slash < 0 ? path.length : slash
    at = at.children.get(path.slice(start, end))
    if (at === undefined) break
    if (at.rules.length > 0) lists.push(at.rules)
    start = end + 1
  }
  return lists
}

/** Merges lists that are in order each. A rule with several globs may lie in several of them: it comes once. */
const inOrder = (lists: readonly (readonly CompiledRule[])[]): Iterable<CompiledRule> => {
  const [only] = lists
  return lists.length === 0 ? [] : lists.length === 1 && only !== undefined ? only : merged(lists)
}

function* merged(lists: readonly (readonly CompiledRule[])[]): Generator<CompiledRule> {
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
