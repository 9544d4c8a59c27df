import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Logged } from '../support/daemon.ts'
import { startRecorder } from '../support/recorder.ts'
import { attack, type Outcome, type Vector } from './oracle.ts'
import { type Audited, type Subject, startProgram, upstreams } from './subject.ts'
import { readVectors } from './vectors.ts'

it.concurrent.each(upstreams)('nothing gets past the real program in front of %s', async upstream => {
  const outcomes = await attack(await startProgram(upstream), readVectors(join(import.meta.dirname, 'vectors')))
  const bypasses = outcomes.filter(outcome => outcome.result === 'bypass')
  expect(bypasses.map(({ vector, why }) => `${vector.id}: ${why}`)).toEqual([])
  for (const result of ['refused', 'passed']) {
    expect(outcomes.filter(outcome => outcome.result === result).length).toBeGreaterThan(100)
  }
})

// ---- an oracle that finds nothing proves nothing, so here are gates that are bad

/** Hands every byte on, changed by `change`; `audited` is what it says it audited, `logged` what a server behind it says it saw. */
const pipe = async (
  change: (bytes: Buffer) => Buffer = bytes => bytes,
  audited?: readonly Audited[],
  logged?: readonly Logged[],
): Promise<Subject> => {
  const recorder = await startRecorder()
  const server = createServer(socket => {
    const upstream = connect(recorder.port, '127.0.0.1')
    socket.on('data', chunk => upstream.write(change(chunk)))
    upstream.pipe(socket)
    for (const end of [socket, upstream]) end.on('error', () => {})
    socket.on('close', () => upstream.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    recorder,
    lines: ['X-Caller: our-secret'],
    secret: 'our-secret',
    ours: { via: /^1\.1 x$/, 'x-other': /^$/ },
    async stop() {
      server.close()
      await recorder.close()
      return { ...(audited === undefined ? {} : { audited }), ...(logged === undefined ? {} : { logged }) }
    },
  }
}

const text = (bytes: Buffer): string => bytes.toString('latin1')
const replacing = (from: string | RegExp, to: string) => (bytes: Buffer) =>
  Buffer.from(text(bytes).replace(from, to), 'latin1')
const ours = 'Via: 1.1 x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nConnection: keep-alive'
/** As a good gate would: without the caller's token, with the gate's own lines. */
const polite = replacing('X-Caller: our-secret', ours)

const vector = (raw: string, more: Partial<Vector> = {}): Vector => ({
  id: raw,
  raw: Buffer.from(raw, 'latin1'),
  ...more,
})
const good = vector('POST /a HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\nabc')
const trace = `${'0'.repeat(31)}1`
const allowed: Audited = { kind: 'call.allowed', trace, method: 'POST', path: '/a' }
const seen: Logged = {
  method: 'POST',
  target: '/a',
  status: 200,
  headers: { traceparent: `00-${trace}-00000000000000aa-00`, via: '1.1 x' },
}

const bypassesOf = async (subject: Subject, one: Vector): Promise<string> => {
  const outcomes = await attack(subject, [one])
  return outcomes.flatMap((outcome: Outcome) => (outcome.result === 'bypass' ? [outcome.why] : [])).join('; ')
}

it('takes a polite gate for what it is', async () => {
  expect(await bypassesOf(await pipe(polite, [allowed]), good)).toBe('')
  expect(await bypassesOf(await pipe(polite, [allowed], [seen]), good)).toBe('')
})

const two = vector(
  'POST /a HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: gate\r\n\r\n',
)
const rude: readonly [found: string, gate: () => Promise<Subject>, vector: Vector][] = [
  ["the caller's token", () => pipe(), good],
  ['x-forwarded-for not once', () => pipe(replacing('X-Caller: our-secret', 'X: y')), good],
  ['others', () => pipe(bytes => replacing('abc', 'abd')(polite(bytes))), good],
  ['the upstream saw POST /b', () => pipe(bytes => replacing('/a', '/b')(polite(bytes))), good],
  ['another content-type', () => pipe(bytes => replacing('Via', 'Content-Type: a/b\r\nVia')(polite(bytes))), good],
  ['a forged X-User', () => pipe(polite), vector('GET /a HTTP/1.1\r\nHost: gate\r\nX-User: forged\r\n\r\n')],
  ['the upstream saw TE', () => pipe(polite), vector('GET /a HTTP/1.1\r\nHost: gate\r\nTE: trailers\r\n\r\n')],
  ['no caller of ours', () => pipe(polite), two],
  ['must be refused', () => pipe(polite), { ...good, must: 'refused' }],
  ['may be taken for /admin', () => pipe(polite), vector('GET /x/%2e%2e/admin HTTP/1.1\r\nHost: gate\r\n\r\n')],
  [
    'bytes that are none',
    () => pipe(bytes => replacing('X : y\r\n', '')(polite(bytes))),
    vector('GET /a HTTP/1.1\r\nHost: gate\r\nX : y\r\n\r\n'),
  ],
  ['the audit has 0 such calls', () => pipe(polite, []), good],
  ['the audit has 2 such calls', () => pipe(polite, [allowed, allowed]), good],
  ['judged was POST /c', () => pipe(polite, [{ ...allowed, path: '/c' }]), good],
  ['the upstream saw 2 requests, the audit has 1', () => pipe(polite, [allowed]), two],
  ['a via that is not ours', () => pipe(bytes => replacing('Via: 1.1 x', 'Via: 1.1 y')(polite(bytes))), good],
  ['a x-other that is not ours', () => pipe(bytes => replacing('Via', 'X-Other: y\r\nVia')(polite(bytes))), good],
  ['the server on the way knows nothing', () => pipe(polite, [allowed], []), good],
  ['the server on the way saw 2 requests', () => pipe(polite, [allowed], [seen, seen]), good],
  ['the upstream saw GET /a', () => pipe(polite, [allowed], [{ ...seen, method: 'GET' }]), good],
  ['the upstream saw POST /b', () => pipe(polite, [allowed], [{ ...seen, target: '/b' }]), good],
  [
    'saw a via that is not ours',
    () => pipe(polite, [allowed], [{ ...seen, headers: { ...seen.headers, via: '1.1 y' } }]),
    good,
  ],
  ['saw no request', () => pipe(polite, [allowed], [seen, { ...seen, method: '', headers: {} }]), good],
  ['not /v', () => pipe(polite, [allowed]), { ...good, canonical: '/v' }],
]

it.each(rude)('finds out: %s', async (found, gate, one) => {
  expect(await bypassesOf(await gate(), one)).toContain(found)
})

/** Answers everything by itself. */
const deaf = async (answer: string): Promise<Subject> => {
  const recorder = await startRecorder()
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    recorder,
    lines: [],
    secret: 'our-secret',
    ours: {},
    async stop() {
      server.close()
      await recorder.close()
      return {}
    },
  }
}

it.each([
  ['answered 500', 'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n'],
  ['did not send', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['left the connection open', 'HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n'],
  ['a good request was refused', 'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n'],
])('finds out: %s, though nothing was sent', async (found, answer) => {
  expect(await bypassesOf(await deaf(answer), { ...good, must: 'passed' })).toContain(found)
})
