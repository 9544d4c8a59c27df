// The differential oracle: for every vector the gate refuses and closes, or the upstream gets exactly the one request that a reader by
// the letter sees in the bytes, and the audit has that request too. It knows nothing of how a gate works.
import { connect } from 'node:net'
import { type Recorded, readRequest } from '../support/recorder.ts'
import type { Audited, Subject } from './subject.ts'

export type Vector = {
  readonly id: string
  readonly raw: Buffer
  /** Must it be refused, or must it pass? Undefined: either, as long as nobody is deceived. */
  readonly must?: 'refused' | 'passed'
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
      const sent = withCaller(next.vector.raw, [...subject.lines, `traceparent: 00-${next.trace}-00000000000000aa-00`])
      tried.push({ ...next, sent, ...(await exchange(subject.port, sent)) })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const audited = await subject.stop()
  const { requests } = subject.recorder

  const outcomes = tried.map(one =>
    outcomeOf(
      one,
      requests.filter(request => traceOf(request) === one.trace),
      audited?.filter(entry => entry.trace === one.trace),
      subject.secret,
    ),
  )
  return [...outcomes, ...overall(requests, audited, tried)]
}

type Answer = { readonly text: string; readonly closed: boolean }
type Tried = Answer & { readonly vector: Vector; readonly trace: string; readonly sent: Buffer }

const withCaller = (raw: Buffer, lines: readonly string[]): Buffer => {
  const text = raw.toString('latin1')
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

const traceOf = (request: Recorded): string | undefined =>
  /^00-([0-9a-f]{32})-/.exec(lineOf(request, 'traceparent') ?? '')?.[1]

const lineOf = (request: Recorded, lower: string): string | undefined =>
  request.headers.find(([name]) => name.toLowerCase() === lower)?.[1]

const outcomeOf = (
  { vector, sent, text, closed }: Tried,
  upstream: readonly Recorded[],
  audited: readonly Audited[] | undefined,
  secret: string,
): Outcome => {
  const bypass = (why: string): Outcome => ({ vector, result: 'bypass', why })
  const status = Number(/^(?:HTTP\/1\.1 1\d\d [\s\S]*?\r\n\r\n)*HTTP\/1\.1 ([2-5]\d\d) /.exec(text)?.[1] ?? 0)
  if (status >= 500) return bypass(`the gate answered ${status}`)
  if (
    vector.canonical !== undefined &&
    audited !== undefined &&
    !audited.some(entry => entry.path === vector.canonical)
  ) {
    return bypass(`judged was ${JSON.stringify(audited.map(entry => entry.path))}, not ${vector.canonical}`)
  }
  const [request, ...more] = upstream
  if (request === undefined) {
    if (status >= 200 && status < 400) return bypass(`the gate answered ${status} for something that it did not send`)
    if (status === 400 && !closed) return bypass('the gate refused, but left the connection open')
    if (vector.must === 'passed')
      return bypass(`a good request was refused: ${status} ${/"detail":"([^"]*)/.exec(text)?.[1] ?? ''}`)
    return { vector, result: 'refused', why: status === 0 ? 'no answer' : String(status) }
  }
  if (more.length > 0) return bypass(`the upstream saw ${upstream.length} requests`)
  if (vector.must === 'refused') return bypass('the upstream saw a request that must be refused')
  const deceived = difference(request, readRequest(withoutLeadingLines(sent))?.request) ?? impure(request, secret)
  if (deceived !== undefined) return bypass(deceived)
  if (audited !== undefined) {
    const [entry, ...others] = audited.filter(one => one.kind === 'call.allowed')
    if (entry === undefined || others.length > 0) return bypass(`the audit has ${others.length} such calls`)
    if (entry.method !== request.method || entry.path !== canonical(request.target)) {
      return bypass(`judged was ${entry.method} ${entry.path}, the upstream saw ${request.method} ${request.target}`)
    }
  }
  if (mayBeAdmin(request.target)) return bypass(`${request.target} may be taken for /admin`)
  return { vector, result: 'passed', why: String(status) }
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
const impure = (seen: Recorded, secret: string): string | undefined => {
  if (seen.head.includes(secret)) return "the upstream saw the caller's token"
  const forged = seen.headers.find(([, value]) => value.includes('forged'))
  if (forged !== undefined) return `the upstream saw a forged ${forged[0]}`
  const hop = seen.headers.find(([name]) =>
    /^(?:keep-alive|proxy-.*|te|trailer|upgrade|http2-settings|expect)$/i.test(name),
  )
  if (hop !== undefined) return `the upstream saw ${hop[0]}`
  const names = seen.headers.map(([name]) => name.toLowerCase())
  for (const once of ['host', 'x-forwarded-for', 'x-forwarded-proto', 'via', 'connection']) {
    if (names.filter(name => name === once).length !== 1) return `the upstream saw ${once} not once`
  }
  return undefined
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
const overall = (
  requests: readonly Recorded[],
  audited: readonly Audited[] | undefined,
  tried: readonly Tried[],
): readonly Outcome[] => {
  const vector = { id: 'all of them', raw: Buffer.alloc(0) }
  const known = new Set(tried.map(({ trace }) => trace))
  const strangers = requests.filter(request => !known.has(traceOf(request) ?? ''))
  const found: Outcome[] = strangers.map(request => ({
    vector,
    result: 'bypass',
    why: `the upstream saw ${request.method} ${request.target} (${request.broken ?? 'no caller of ours'})`,
  }))
  const allowed = audited?.filter(entry => entry.kind === 'call.allowed').length
  if (allowed !== undefined && allowed < requests.length) {
    found.push({
      vector,
      result: 'bypass',
      why: `the upstream saw ${requests.length} requests, the audit has ${allowed}`,
    })
  }
  return found
}
