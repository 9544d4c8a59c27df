// The differential oracle: for every vector the gate refuses and closes, or the upstream gets exactly the one request that a reader by
// the letter sees in the bytes, and the audit has that request too. It knows nothing of how a gate works.
import { connect } from 'node:net'
import type { Logged } from '../support/daemon.ts'
import { type Recorded, readRequest } from '../support/recorder.ts'
import type { Audited, Subject } from './subject.ts'

export type Vector = {
  readonly id: string
  readonly raw: Buffer
  /** Must it be refused, or must it pass? Undefined: either, as long as nobody is deceived. */
  readonly must?: 'refused' | 'passed'
  /** What the refusal must say. */
  readonly code?: string
  /** The path that must have been judged. */
  readonly canonical?: string
}

export type Outcome = {
  readonly vector: Vector
  readonly result: 'refused' | 'passed' | 'bypass'
  readonly why: string
}

/** Stands for the caller's lines in a raw vector; without it they are put after the first Host line. */
const place = '{{caller}}'
/** Stands for the lines of somebody who shows no token. */
const nobody = '{{nobody}}'
/** How long a gate may take for its answer, and how long its connection may be silent after one, until a vector is over. */
const answerMs = 2000
const quietMs = 200
const atOnce = 8

/** Tries every vector, ends the subject, and says what became of each; the last outcomes may be about all of them. */
export const attack = async (subject: Subject, vectors: readonly Vector[]): Promise<readonly Outcome[]> => {
  const tried: Tried[] = []
  const queue = vectors.map((vector, index) => ({ vector, trace: (index + 1).toString(16).padStart(32, '0') }))
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const sent = withCaller(next.vector.raw, subject.lines, `traceparent: 00-${next.trace}-00000000000000aa-00`)
      tried.push({ ...next, sent, ...(await exchange(subject.port, sent)) })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const ended = await subject.stop()
  const everything = { ...ended, recorded: subject.recorder.requests }

  const outcomes = tried.map(one => outcomeOf(one, about(one.trace, everything), subject))
  return [...outcomes, ...overall(everything, tried)]
}

/** What is known from the far side: what arrived in the end, what a server on the way says of it, and what the gate says. */
type Known = {
  readonly recorded: readonly Recorded[]
  readonly logged?: readonly Logged[]
  readonly audited?: readonly Audited[]
}

const about = (trace: string, { recorded, logged, audited }: Known): Known => ({
  recorded: recorded.filter(request => traceOf(lineOf(request, 'traceparent')) === trace),
  ...(logged === undefined ? {} : { logged: logged.filter(one => traceOf(one.headers.traceparent) === trace) }),
  ...(audited === undefined ? {} : { audited: audited.filter(entry => entry.trace === trace) }),
})

type Answer = { readonly text: string; readonly closed: boolean }
type Tried = Answer & { readonly vector: Vector; readonly trace: string; readonly sent: Buffer }

const withCaller = (raw: Buffer, caller: readonly string[], trace: string): Buffer => {
  const lines = [...caller, trace]
  const text = raw.toString('latin1')
  if (text.includes(nobody)) return Buffer.from(text.replaceAll(nobody, trace), 'latin1')
  if (text.includes(place)) return Buffer.from(text.replaceAll(place, lines.join('\r\n')), 'latin1')
  const host = /\r\nHost:[^\r\n]*\r\n/i.exec(text)
  const first = host ?? /[^\r\n][^\n]*\r\n/.exec(text)
  if (first === null) return raw
  const at = first.index + first[0].length
  return Buffer.from(`${text.slice(0, at)}${lines.join('\r\n')}\r\n${text.slice(at)}`, 'latin1')
}

/** Sends the bytes and listens until the other side closes, or says nothing more. */
const exchange = (port: number, bytes: Buffer): Promise<Answer> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    let closed = false
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      socket.setTimeout(quietMs)
    })
    socket.on('end', () => {
      closed = true
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve({ text, closed }))
    socket.setTimeout(answerMs, () => socket.destroy())
    socket.write(bytes)
  })

const traceOf = (traceparent: string | undefined): string | undefined =>
  /^00-([0-9a-f]{32})-/.exec(traceparent ?? '')?.[1]

const linesOf = (request: Recorded, lower: string): readonly string[] =>
  request.headers.filter(([name]) => name.toLowerCase() === lower).map(([, value]) => value)

const lineOf = (request: Recorded, lower: string): string | undefined => linesOf(request, lower)[0]

const outcomeOf = (
  { vector, sent, text, closed }: Tried,
  { recorded, logged, audited }: Known,
  { secret, ours }: Pick<Subject, 'secret' | 'ours'>,
): Outcome => {
  const bypass = (why: string): Outcome => ({ vector, result: 'bypass', why })
  const status = Number(/^(?:HTTP\/1\.1 1\d\d [\s\S]*?\r\n\r\n)*HTTP\/1\.1 ([2-5]\d\d) /.exec(text)?.[1] ?? 0)
  const code = /"code":"([^"]*)/.exec(text)?.[1]
  if (status >= 500) return bypass(`the gate answered ${status}`)
  if (
    vector.canonical !== undefined &&
    audited !== undefined &&
    !audited.some(entry => entry.path === vector.canonical)
  ) {
    return bypass(`judged was ${JSON.stringify(audited.map(entry => entry.path))}, not ${vector.canonical}`)
  }
  const understood = misunderstood(logged ?? [], audited, ours)
  if (understood !== undefined) return bypass(understood)
  const [request, ...more] = recorded
  if (request === undefined) {
    if (status >= 200 && status < 400) return bypass(`the gate answered ${status} for something that it did not send`)
    // Only a request that was understood to its last byte may be refused as bad, and the next one be read.
    if (status === 400 && (code ?? 'malformed') === 'malformed' && !closed)
      return bypass('the gate refused, but left the connection open')
    if (vector.must === 'passed')
      return bypass(`a good request was refused: ${status} ${/"detail":"([^"]*)/.exec(text)?.[1] ?? ''}`)
    // A refusal may be lost on a connection that is reset while more is still being sent.
    if (vector.code !== undefined && status !== 0 && code !== vector.code)
      return bypass(`refused as ${code}, not as ${vector.code}`)
    return { vector, result: 'refused', why: status === 0 ? 'no answer' : `${status} ${code ?? ''}`.trim() }
  }
  if (more.length > 0) return bypass(`the upstream saw ${recorded.length} requests`)
  if (logged?.length === 0) return bypass('the server on the way knows nothing of a request that arrived')
  if (vector.must === 'refused') return bypass('the upstream saw a request that must be refused')
  const deceived = difference(request, readRequest(withoutLeadingLines(sent))?.request) ?? impure(request, secret, ours)
  if (deceived !== undefined) return bypass(deceived)
  if (audited !== undefined) {
    const unjudged = notJudged(request, audited)
    if (unjudged !== undefined) return bypass(unjudged)
  }
  if (mayBeAdmin(request.target)) return bypass(`${request.target} may be taken for /admin`)
  return { vector, result: 'passed', why: String(status) }
}

/** How what was judged differs from what an upstream took a request for. */
const notJudged = (seen: Pick<Logged, 'method' | 'target'>, audited: readonly Audited[]): string | undefined => {
  const allowed = audited.filter(entry => entry.kind === 'call.allowed')
  const [entry] = allowed
  if (entry === undefined || allowed.length > 1) return `the audit has ${allowed.length} such calls`
  if (entry.method === seen.method && entry.path === canonical(seen.target)) return undefined
  return `judged was ${entry.method} ${entry.path}, the upstream saw ${seen.method} ${seen.target}`
}

/** What a server on the way made of a call, also of one that broke off, if it is not the one call that was judged. */
const misunderstood = (
  logged: readonly Logged[],
  audited: readonly Audited[] | undefined,
  ours: Subject['ours'],
): string | undefined => {
  const [seen] = logged
  if (seen === undefined) return undefined
  if (logged.length > 1) return `the server on the way saw ${logged.length} requests`
  const foreign = Object.entries(ours).find(([name, form]) => !form.test(seen.headers[name] ?? ''))
  if (foreign !== undefined) return `the server on the way saw a ${foreign[0]} that is not ours`
  return audited === undefined ? undefined : notJudged(seen, audited)
}

// RFC 9112 §2.2: empty lines before a request line are to be ignored.
const withoutLeadingLines = (bytes: Buffer): Buffer => {
  let at = 0
  while (bytes[at] === 0x0d && bytes[at + 1] === 0x0a) at += 2
  return bytes.subarray(at)
}

/** How what the upstream saw differs from what was in the bytes. */
const difference = (seen: Recorded, read: Recorded | undefined): string | undefined => {
  if (seen.broken !== undefined) return `the upstream saw something broken: ${seen.broken}`
  if (read === undefined) return 'the upstream saw a whole request, and there was none'
  if (read.broken !== undefined) return `the upstream saw a request in bytes that are none: ${read.broken}`
  if (seen.method !== read.method || seen.target !== read.target) {
    return `sent was ${read.method} ${read.target}, the upstream saw ${seen.method} ${seen.target}`
  }
  if (!seen.body.equals(read.body))
    return `sent were ${read.body.length} bytes, the upstream saw ${seen.body.length} others`
  for (const lower of ['content-type', 'content-encoding', 'authorization', 'cookie', 'accept']) {
    if (lineOf(seen, lower) !== lineOf(read, lower)) return `the upstream saw another ${lower}`
  }
  return undefined
}

/** What no upstream may ever see: the caller's token, lines of the caller that speak for the gate, lines for one connection. */
const impure = (seen: Recorded, secret: string, ours: Subject['ours']): string | undefined => {
  if (seen.head.includes(secret)) return "the upstream saw the caller's token"
  const forged = seen.headers.find(([, value]) => value.includes('forged'))
  if (forged !== undefined) return `the upstream saw a forged ${forged[0]}`
  // A WebSocket is asked for anew; whether it may be is a matter of the vector.
  const hop = seen.headers.find(
    ([name, value]) =>
      /^(?:keep-alive|proxy-.*|te|trailer|upgrade|http2-settings|expect)$/i.test(name) &&
      !(name.toLowerCase() === 'upgrade' && value === 'websocket'),
  )
  if (hop !== undefined) return `the upstream saw ${hop[0]}`
  const names = seen.headers.map(([name]) => name.toLowerCase())
  for (const once of ['host', 'x-forwarded-for', 'x-forwarded-proto', 'via', 'connection']) {
    if (names.filter(name => name === once).length !== 1) return `the upstream saw ${once} not once`
  }
  const foreign = Object.entries(ours).find(([lower, form]) => !form.test(linesOf(seen, lower).join('\n')))
  return foreign === undefined ? undefined : `the upstream saw a ${foreign[0]} that is not ours`
}

/** RFC 3986 §6.2.2, written for this purpose: only unreserved characters are decoded. */
const canonical = (target: string): string =>
  (target.split('?')[0] ?? '').replace(/%../g, part => {
    const char = String.fromCharCode(Number.parseInt(part.slice(1), 16))
    return /[\w.~-]/.test(char) ? char : part.toUpperCase()
  })

/** Would a careless server find /admin in this? */
const mayBeAdmin = (target: string): boolean => {
  let path = target.split(/[?#]/)[0] ?? ''
  for (let times = 0; times < 3; times++) {
    path = path.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
  }
  const parts: string[] = []
  for (const part of path.replaceAll('\\', '/').split('/')) {
    const name = (part.split(';')[0] ?? '').replace(/[. ]+$/, dots =>
      /^\.\.?$/.test(part.split(';')[0] ?? '') ? dots : '',
    )
    if (name === '..') parts.pop()
    else if (name !== '' && name !== '.') parts.push(name)
  }
  return parts[0] === 'admin'
}

/** What can be said only of all vectors together. */
const overall = ({ recorded, logged = [], audited }: Known, tried: readonly Tried[]): readonly Outcome[] => {
  const vector = { id: 'all of them', raw: Buffer.alloc(0) }
  const known = new Set<string | undefined>(tried.map(({ trace }) => trace))
  const found: Outcome[] = []
  const bypass = (why: string): void => void found.push({ vector, result: 'bypass', why })
  for (const request of recorded) {
    if (known.has(traceOf(lineOf(request, 'traceparent')))) continue
    bypass(`the upstream saw ${request.method} ${request.target} (${request.broken ?? 'no caller of ours'})`)
  }
  for (const { method, target, status, headers } of logged) {
    if (known.has(traceOf(headers.traceparent))) continue
    bypass(`the server on the way saw ${method || 'no request'} ${target}, and answered ${status} (no caller of ours)`)
  }
  const allowed = audited?.filter(entry => entry.kind === 'call.allowed').length
  const seen = Math.max(recorded.length, logged.length)
  if (allowed !== undefined && allowed < seen) bypass(`the upstream saw ${seen} requests, the audit has ${allowed}`)
  return found
}
