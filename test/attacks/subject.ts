// What is attacked: the real program in front of a recorder, or a gate that somebody started in front of one.

import { startIssuer } from '../support/issuer.ts'
import { startHoldpoint, trailFolder } from '../support/program.ts'
import { type Recorder, startRecorder } from '../support/recorder.ts'

/** What the audit says of one call that got as far as a caller. */
export type Audited = { readonly kind: string; readonly trace: string; readonly method: string; readonly path: string }

export type Subject = {
  readonly port: number
  readonly recorder: Recorder
  /** Header lines that make the caller known. */
  readonly lines: readonly string[]
  /** What must never reach the upstream. */
  readonly secret: string
  /** Ends it; everything that was audited by then, if that can be known. */
  stop(): Promise<readonly Audited[] | undefined>
}

// Whatever is below /admin is denied, so a path that an upstream may take for it must never arrive there.
const rules = `
rules:
  - { name: no-admin, match: { upstream: target, path: '/admin/**' }, then: deny }
  - { name: no-large, match: { upstream: target, path: '/judged/pay', json: { /amount: { over: 100 } } }, then: deny }
  - { name: no-drops, match: { upstream: target, path: '/judged/form', form: { action: drop } }, then: deny }
  - { name: the-rest, match: { upstream: target, path: '/**' }, then: allow }
`

export const startProgram = async (): Promise<Subject> => {
  const recorder = await startRecorder()
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
      upstreams: [{ name: 'target', kind: 'http', url: recorder.url, at: { prefix: '/' } }],
      audit: { trails: [{ kind: 'file', path: trailFolder }] },
      rules: 'rules.yaml',
    },
  })
  const token = await issuer.token({ exp: Math.floor(Date.now() / 1000) + 3600 })
  return {
    port: Number(new URL(program.gate).port),
    recorder,
    lines: [`Holdpoint-Authorization: Bearer ${token}`],
    secret: token,
    async stop() {
      await program.stop()
      const entries = (await program.audit()).map(audited)
      await program[Symbol.asyncDispose]()
      await recorder.close()
      await issuer.close()
      return entries.filter(entry => entry.kind.startsWith('call.'))
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
    async stop() {
      await recorder.close()
      return undefined
    },
  }
}
