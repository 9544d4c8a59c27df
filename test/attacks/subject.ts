// What is attacked: the real program in front of a recorder, with a real server between them or without, or a gate that somebody started
// in front of one.
import type { Logged, LoggingProxy } from '../support/daemon.ts'
import { startHaproxy } from '../support/haproxy.ts'
import { startIssuer } from '../support/issuer.ts'
import { startNginxProxy } from '../support/nginx.ts'
import { startHoldpoint, trailFolder } from '../support/program.ts'
import { ok, type Recorder, startRecorder } from '../support/recorder.ts'

/** What the audit says of one call that got as far as a caller. */
export type Audited = { readonly kind: string; readonly trace: string; readonly method: string; readonly path: string }

export type Ended = {
  /** Everything that was audited, if that can be known. */
  readonly audited?: readonly Audited[]
  /** Everything that the server between gate and recorder says it saw, if there is one. */
  readonly logged?: readonly Logged[]
}

export type Subject = {
  readonly port: number
  readonly recorder: Recorder
  /** Header lines that make the caller known. */
  readonly lines: readonly string[]
  /** What must never reach the upstream. */
  readonly secret: string
  /** What only the gate may say of a caller: by lower-case name all its lines, "" for none. */
  readonly ours: { readonly [lower: string]: RegExp }
  stop(): Promise<Ended>
}

/** Upstreams of the real program: each reads requests by rules of its own. */
export const upstreams = ['recorder', 'nginx', 'haproxy'] as const
export type UpstreamName = (typeof upstreams)[number]

const ours: Subject['ours'] = {
  'holdpoint-assertion': /^[\w-]+\.[\w-]+\.[\w-]+$/,
  'x-forwarded-for': /^127\.0\.0\.1$/,
  'x-forwarded-proto': /^http$/,
  'x-forwarded-host': /^[\w.:[\]-]+$/,
  'x-forwarded-port': /^\d+$/,
  via: /^1\.1 holdpoint$/,
  traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/,
  ...Object.fromEntries(
    ['forwarded', 'x-real-ip', 'x-forwarded-user', 'x-user', 'remote-user', 'impersonate-user'].map(name => [
      name,
      /^$/,
    ]),
  ),
}

/** What the server between gate and recorder is. */
const between = async (name: UpstreamName, recorder: Recorder): Promise<LoggingProxy | undefined> => {
  if (name === 'recorder') return undefined
  const start = name === 'nginx' ? startNginxProxy : startHaproxy
  return start(recorder.url, Object.keys(ours))
}

// Whatever is below /admin is denied, so a path that an upstream may take for it must never arrive there.
const rules = `
rules:
  - { name: no-admin, match: { upstream: target, path: '/admin/**' }, then: deny }
  - { name: no-large, match: { upstream: target, path: '/judged/pay', json: { /amount: { over: 100 } } }, then: deny }
  - { name: no-drops, match: { upstream: target, path: '/judged/form', form: { action: drop } }, then: deny }
  - { name: no-dropping, match: { upstream: target, path: '/judged/query', query: { action: drop } }, then: deny }
  - { name: no-danger, match: { upstream: target, path: '/judged/header', header: { x-mode: danger } }, then: deny }
  - { name: no-deletes, match: { upstream: target, path: '/judged/method', method: DELETE }, then: deny }
  - { name: the-rest, match: { upstream: target, path: '/**' }, then: allow }
`

export const startProgram = async (upstream: UpstreamName): Promise<Subject> => {
  const recorder = await startRecorder({ answer: ({ method }) => (method === 'HEAD' ? ok.slice(0, -3) : ok) })
  const server = await between(upstream, recorder)
  const issuer = await startIssuer()
  const program = await startHoldpoint({
    rules,
    config: {
      version: 1,
      gate: { listen: '127.0.0.1:0', url: 'http://127.0.0.1:0' },
      console: { listen: '127.0.0.1:0', url: 'http://127.0.0.1:0' },
      admin: { listen: '127.0.0.1:0' },
      store: 'sqlite:./holdpoint.db',
      issuers: [{ name: 'test', issuer: issuer.url, audience: 'api://holdpoint', kind: 'workload' }],
      upstreams: [
        { name: 'target', kind: 'http', url: server?.url ?? recorder.url, at: { prefix: '/' }, assertion: 'always' },
      ],
      // Without a spool half a second of a busy disk is a store that is away.
      audit: { spool: './spool', trails: [{ kind: 'file', path: trailFolder }] },
      rules: 'rules.yaml',
    },
  })
  const token = await issuer.token({ exp: Math.floor(Date.now() / 1000) + 3600 })
  return {
    port: Number(new URL(program.gate).port),
    recorder,
    lines: [`Holdpoint-Authorization: Bearer ${token}`],
    secret: token,
    ours,
    async stop() {
      await program.stop()
      const entries = (await program.audit()).map(audited)
      await program[Symbol.asyncDispose]()
      const logged = await server?.stop()
      await recorder.close()
      await issuer.close()
      return {
        audited: entries.filter(entry => entry.kind.startsWith('call.')),
        ...(logged === undefined ? {} : { logged }),
      }
    },
  }
}

const audited = (entry: { readonly [key: string]: unknown }): Audited => ({
  kind: String(entry.kind),
  trace: String(entry.trace),
  method: String(entry.method),
  path: String((entry.action as { resource?: string } | undefined)?.resource),
})

/** A gate at `url` whose upstream is `http://127.0.0.1:upstreamPort`, at the prefix `/`; `line` makes the caller known. */
export const someGate = async (url: URL, upstreamPort: number, line: string): Promise<Subject> => {
  const recorder = await startRecorder({}, upstreamPort)
  return {
    port: Number(url.port || 80),
    recorder,
    lines: [line],
    secret: line.split(' ').at(-1) ?? line,
    ours: {},
    async stop() {
      await recorder.close()
      return {}
    },
  }
}
