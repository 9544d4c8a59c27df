// The admin listener: /livez, /readyz and /metrics, for the machine's own network only. Ready means that calls can be held and recorded;
// an issuer that is away or a bad new configuration is told, but takes no replica out of service: everything that does not need it works.
import { createServer, type Server } from 'node:http'
import { toError } from './errors.ts'
import type { Reading } from './metrics.ts'
import type { Parts } from './parts.ts'
import type { StoreHealth } from './store/store.ts'

export type Admin = {
  readonly parts: Parts
  /** Problems of the newest configuration, if it was refused, one line each. */
  readonly problems: () => readonly string[]
  readonly loadedAt: () => number
  /** Live holds, for the gauge. */
  readonly live: () => Promise<Reading['live']>
}

type Readiness = { readonly ready: boolean; readonly [what: string]: unknown }

export const adminServer = (admin: Admin): Server => {
  const { parts } = admin
  parts.meter.watch(() => reading(admin))
  return speaking({
    ready: () => readiness(admin),
    metrics: () => parts.meter.text(),
    type: parts.meter.contentType,
    failed: error => parts.log.error({ err: toError(error) }, 'metrics cannot be read'),
  })
}

/** What is asked at the admin port, answered for one process or for several. */
export const speaking = (about: {
  readonly ready: () => Promise<Readiness>
  readonly metrics: () => Promise<string>
  readonly type: string
  readonly failed: (error: unknown) => void
}): Server =>
  createServer((request, response) => {
    const send = (status: number, type: string, text: string): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
      response.end(request.method === 'HEAD' ? undefined : text)
    }
    const answer = (status: number, body: unknown): void => send(status, 'application/json', JSON.stringify(body))
    const path = request.url?.split('?', 1)[0]
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, { error: 'use GET' })
    if (path === '/livez') return answer(200, { live: true })
    if (path === '/readyz')
      return void about.ready().then(
        ready => answer(ready.ready ? 200 : 503, ready),
        () => answer(503, { ready: false }),
      )
    if (path === '/metrics')
      return void about.metrics().then(
        text => send(200, about.type, text),
        error => {
          about.failed(error)
          answer(500, { error: 'metrics cannot be read' })
        },
      )
    answer(404, { error: 'there are /livez, /readyz and /metrics here' })
  })

const healthOf = async ({ store }: Parts): Promise<Omit<StoreHealth, 'durability'> & Partial<StoreHealth>> =>
  store.health().catch(error => ({ ok: false, notes: [toError(error).message] }))

/** Can calls be held and recorded, and what is in the way? */
export const readiness = async ({ parts, problems }: Admin): Promise<Readiness> => {
  const store = await healthOf(parts)
  const audit = parts.record.trouble()
  const issuers = parts.identify.health(parts.settings())
  return {
    ready: store.ok,
    store: { kind: parts.store.kind, ok: store.ok, durability: store.durability, notes: store.notes },
    audit: { ok: audit === undefined, ...(audit === undefined ? {} : { reason: audit }) },
    issuers: { ok: issuers.length === 0, trouble: issuers },
    configuration: { ok: problems().length === 0, hash: parts.settings().hash, problems: problems() },
  }
}

const reading = async ({ parts, problems, loadedAt, live }: Admin): Promise<Reading> => ({
  config: { hash: parts.settings().hash, loadedAt: loadedAt(), problems: problems().length },
  auditTrouble: parts.record.trouble() !== undefined,
  issuersInTrouble: parts.identify.health(parts.settings()).length,
  storeOk: (await healthOf(parts)).ok,
  live: await live().catch(() => []),
})
