// `serve --workers N`: several processes behind the same ports of one machine, each a whole replica. The first process only starts them,
// starts one again that ended by itself, passes signals on, and speaks for all of them on the admin listener.
import cluster, { type Worker } from 'node:cluster'
import { speaking } from '../admin.ts'
import { toError } from '../errors.ts'
import { listening } from '../listen.ts'
import type { Log } from '../log.ts'
import { mergedMetrics, metricsType } from '../metrics.ts'
import type { Listen } from '../settings.ts'

/** A worker that ends by itself is started again after this, doubling while it does not live for a minute. */
const againMs = 500
const againMaxMs = 30_000
const steadyMs = 60_000
const askMs = 3_000

type Question = { readonly ask: 'ready' | 'metrics'; readonly id: number }
type Answer = { readonly id: number; readonly answer: unknown }
type Started = { readonly ready: { readonly gate: string; readonly console: string } }
type Failed = { readonly failed: string }

/** What a worker answers about itself. */
export type Asked = { readonly ready: () => Promise<unknown>; readonly metrics: () => Promise<unknown> }

/** Which of the workers this process is, counted from 1; undefined if it is none. */
export const workerNumber = (): number | undefined =>
  cluster.isWorker ? Number(process.env.HOLDPOINT_WORKER) || undefined : undefined

/** From within a worker: it has started, and answers what is asked of it. */
export const tellStarted = (urls: Started['ready'], asked: Asked): void => {
  process.on('message', (question: Question) => {
    if (question?.ask !== 'ready' && question?.ask !== 'metrics') return
    void asked[question.ask]().then(
      answer => process.send?.({ id: question.id, answer } satisfies Answer),
      () => undefined,
    )
  })
  process.send?.({ ready: urls } satisfies Started)
}

/** From within a worker: it cannot start, and why. */
export const tellFailed = (why: string): void => void process.send?.({ failed: why } satisfies Failed)

export type Workers = {
  readonly gate: string
  readonly console: string
  readonly admin: string
  close(): Promise<void>
}

/** Starts `count` workers. @throws Error with the reason of the first one that cannot start */
export const startWorkers = async (count: number, admin: Listen, log: Log): Promise<Workers> => {
  const workers = new Map<number, Worker>()
  const asked = new Map<number, (answer: unknown) => void>()
  let questions = 0
  let stopping = false

  const start = (number: number, pauseMs: number): Promise<Started['ready']> =>
    new Promise((resolve, reject) => {
      const startedAt = performance.now()
      const worker = cluster.fork({ HOLDPOINT_WORKER: String(number) })
      workers.set(number, worker)
      let why = 'it ended while it started'
      worker.on('message', (message: Partial<Started & Failed & Answer>) => {
        if (message.ready !== undefined) resolve(message.ready)
        else if (message.failed !== undefined) why = message.failed
        else if (message.id !== undefined) asked.get(message.id)?.(message.answer)
      })
      worker.once('exit', (code, signal) => {
        workers.delete(number)
        reject(new Error(why))
        if (stopping) return
        const nextMs = performance.now() - startedAt > steadyMs ? againMs : Math.min(againMaxMs, pauseMs * 2)
        log.error({ worker: number, code, signal, againMs: nextMs }, 'a worker ended and is started again')
        setTimeout(() => {
          if (!stopping) start(number, nextMs).catch(error => log.error({ worker: number }, (error as Error).message))
        }, nextMs)
      })
    })

  /** What every worker answers; undefined for one that does not in time. */
  const ask = (what: Question['ask']): Promise<readonly unknown[]> =>
    Promise.all(
      Array.from({ length: count }, (_, index) => {
        const worker = workers.get(index + 1)
        if (worker === undefined) return Promise.resolve(undefined)
        const id = ++questions
        return new Promise<unknown>(resolve => {
          setTimeout(() => resolve(undefined), askMs).unref()
          asked.set(id, resolve)
          worker.send({ ask: what, id } satisfies Question, error => error && resolve(undefined))
        }).finally(() => asked.delete(id))
      }),
    )

  const stop = async (): Promise<void> => {
    stopping = true
    await Promise.all(
      [...workers.values()].map(
        worker =>
          new Promise<void>(resolve => {
            worker.once('exit', () => resolve())
            worker.process.kill('SIGTERM')
          }),
      ),
    )
  }

  try {
    const ready = await Promise.all(Array.from({ length: count }, (_, index) => start(index + 1, againMs)))
    const [first] = ready
    if (first === undefined) throw new Error('--workers: start at least one')
    const server = await listening(speaker(ask, log), admin, 'admin')
    const onHangup = (): void => {
      for (const worker of workers.values()) worker.process.kill('SIGHUP')
    }
    process.on('SIGHUP', onHangup)
    return {
      ...first,
      admin: server.url,
      async close() {
        process.off('SIGHUP', onHangup)
        await stop()
        await server.close()
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** The admin listener for all of them: ready only if each of them is, metrics added up. */
const speaker = (ask: (what: Question['ask']) => Promise<readonly unknown[]>, log: Log) =>
  speaking({
    async ready() {
      const workers = (await ask('ready')).map(one => (one ?? { ready: false }) as { readonly ready: boolean })
      return { ready: workers.every(({ ready }) => ready), workers }
    },
    metrics: async () => mergedMetrics((await ask('metrics')).filter(one => one !== undefined)),
    type: metricsType,
    failed: error => log.error({ err: toError(error) }, 'metrics cannot be read'),
  })
