// What a call would change, asked of its upstream before anybody is asked to approve it: only reads and rehearsals that the upstream's kind
// names, under the caller's own name, once for each hold whose rule says so. Bounded in time and size; it never delays a hold for long, never
// stops one, and is masked like everything else that reviewers see.
import { toError } from './errors.ts'
import { forward, rebuilt, toMemory } from './forward.ts'
import { kindOf, secretsOf } from './judge.ts'
import { makeView, maskText } from './mask.ts'
import type { Action, Body, Call, Caller, Header, HeldCall } from './nouns.ts'
import type { Parts } from './parts.ts'
import { prove } from './prove.ts'
import { whoCalls } from './record.ts'
import type { Rule, Settings, Upstream } from './settings.ts'
import type { Asked, Rehearsal } from './upstreams/upstream.ts'
import type { Preview } from './views.ts'

const askMs = 5_000
const mostBytes = 256 * 1024
/** Lines that are compared, and lines that are shown. */
const mostCompared = 1_500
const mostShown = 300
const around = 2
/** Whoever asks for many things at once gets no preview of some: an upstream is not asked more than this at a time. */
const mostAtOnce = 16
let underWay = 0

export type Previewed = {
  readonly settings: Settings
  readonly caller: Caller
  readonly upstream: Upstream
  readonly call: Call
  readonly body: Body
  readonly action: Action
  readonly rules: readonly Rule[]
  readonly request: HeldCall
  readonly fingerprint: (value: string) => string
}

const none = (why: string): Preview => ({ kind: 'none', why })

/** Never rejects: what goes wrong is why there is none. */
export const preview = async (parts: Parts, held: Previewed): Promise<Preview> => {
  try {
    const { upstream, call, body, request } = held
    const [path, ...readings] = request.paths
    const kind = kindOf(upstream)
    if (kind.rehearsal === undefined) return none(`an upstream of kind ${kind.kind} has no rehearsals`)
    if (path === undefined || readings.length > 0) return none('the call has several readings')
    const rehearsal = kind.rehearsal({ call: { ...call, headers: request.headers }, path, body, upstream })
    if (typeof rehearsal === 'string') return none(rehearsal)

    if (underWay >= mostAtOnce) return none('too many were asked for at once')
    underWay++
    try {
      return await shown(parts, held, rehearsal)
    } finally {
      underWay--
    }
  } catch (error) {
    parts.log.info({ err: toError(error), call: held.call.id }, 'there is no preview of a held call')
    return none(error instanceof Unshown ? error.message : 'the upstream could not be asked')
  }
}

const shown = async (parts: Parts, held: Previewed, { before, after, removes }: Rehearsal): Promise<Preview> => {
  const was = before && (await ask(parts, held, before))
  if (was !== undefined && was.status !== 404 && was.status >= 300)
    return none(`how it is now was answered with ${said(was, held)}`)
  const would = await ask(parts, held, after)
  if (would.status >= 300) return none(`its rehearsal was answered with ${said(would, held)}`)
  const old = was === undefined || was.status === 404 ? [] : linesOf(was, held)
  const changed = removes ? [] : linesOf(would, held)
  return { kind: 'shown', text: compared(old, changed) }
}

/** Why there is no preview, fit to be shown. */
class Unshown extends Error {}

// ---- asking

type Said = { readonly status: number; readonly text: string }

const ask = async (parts: Parts, held: Previewed, { method, target, headers, body }: Asked): Promise<Said> => {
  const { upstream, caller, call, settings } = held
  parts.record.note({
    kind: 'call.previewed',
    call: call.id,
    caller: whoCalls(caller),
    upstream: upstream.name,
    method,
    detail: method === 'GET' ? 'read' : 'rehearsed',
    config: settings.hash,
  })
  const memory = toMemory(mostBytes)
  const over = AbortSignal.timeout(askMs)
  const head = await prove(
    { upstream, caller, method, target, headers, body: body ?? new Uint8Array() },
    rebuilt(call, settings.gate),
  )
  const sent = await forward(
    {
      upstream,
      method,
      target,
      ...head,
      body,
      contentLength: body?.length ?? (method === 'GET' ? undefined : 0),
      fresh: true,
      signal: over,
    },
    memory,
  )
  if (sent.state !== 'answered' || !sent.complete)
    throw new Unshown(over.aborted ? 'the upstream did not answer in time' : 'the upstream could not be asked')
  const answer = memory.answer()
  if (answer === 'too_large') throw new Unshown(`the answer is larger than ${mostBytes} bytes`)
  return { status: answer.status, text: answer.body.toString() }
}

const said = ({ status, text }: Said, { fingerprint }: Previewed): string => {
  const message = messageOf(text)
  return message === undefined ? String(status) : `${status}: ${maskText(message.slice(0, 500), fingerprint)}`
}

const messageOf = (text: string): string | undefined => {
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown }
    return typeof message === 'string' ? message : undefined
  } catch {
    return undefined
  }
}

// ---- showing

/** What changes with every write and tells nobody anything. */
const noise: ReadonlySet<string> = new Set([
  'managedFields',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'uid',
])

const json: readonly Header[] = [['Content-Type', 'application/json']]

/** The lines of an object, masked as a body of the call would be. */
const linesOf = ({ text }: Said, { upstream, request, action, rules, fingerprint }: Previewed): readonly string[] => {
  let value: { metadata?: object }
  try {
    value = JSON.parse(text)
  } catch {
    throw new Unshown('the answer is not JSON')
  }
  const metadata = Object.entries(value?.metadata ?? {}).filter(([name]) => !noise.has(name))
  const plain = JSON.stringify({ ...value, metadata: Object.fromEntries(metadata) })
  const held: HeldCall = { ...request, headers: json, body: Buffer.from(plain).toString('base64') }
  const secrets = secretsOf(upstream, held)
  const { body } = makeView({ held, action, rules, body: { kind: 'unread' }, secrets, fingerprint })
  if (body.kind !== 'shown')
    throw new Unshown(body.kind === 'opaque' ? `of the answer: ${body.why}` : 'the answer is empty')
  return body.text.split('\n')
}

/** What goes, what comes, and a little of what stays around it. */
const compared = (old: readonly string[], changed: readonly string[]): string => {
  if (Math.max(old.length, changed.length) > mostCompared) throw new Unshown('it has too many lines to be compared')
  const steps = difference(old, changed)
  const near = steps.map((_, at) =>
    steps.slice(Math.max(0, at - around), at + around + 1).some(([sign]) => sign !== ' '),
  )
  if (!near.includes(true)) return ' nothing would change'
  const shown: string[] = []
  for (const [at, [sign, line]] of steps.entries()) {
    if (near[at]) shown.push(`${sign} ${line}`)
    else if (near[at - 1] || at === 0) shown.push('  …')
  }
  const rest = shown.length - mostShown
  return [...shown.slice(0, mostShown), ...(rest > 0 ? [`  … and ${rest} lines more`] : [])].join('\n')
}

type Step = readonly [sign: '-' | '+' | ' ', line: string]

/** By the longest common subsequence of lines. */
const difference = (old: readonly string[], changed: readonly string[]): readonly Step[] => {
  const width = changed.length + 1
  const common = new Uint16Array((old.length + 1) * width)
  const at = (row: number, column: number): number => common[row * width + column] ?? 0
  for (let row = old.length - 1; row >= 0; row--)
    for (let column = changed.length - 1; column >= 0; column--)
      common[row * width + column] =
        old[row] === changed[column] ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1))
  const steps: Step[] = []
  let row = 0
  let column = 0
  while (row < old.length || column < changed.length) {
    const [one, other] = [old[row], changed[column]]
    if (one !== undefined && one === other) {
      steps.push([' ', one])
      row++
      column++
    } else if (one !== undefined && (other === undefined || at(row + 1, column) >= at(row, column + 1))) {
      steps.push(['-', one])
      row++
    } else {
      steps.push(['+', other ?? ''])
      column++
    }
  }
  return steps
}
