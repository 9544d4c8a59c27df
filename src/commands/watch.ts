// holdpoint watch: what happens to holds, as it happens. A connection that breaks is made again, from where it was.
import type { Command } from 'commander'
import { printable } from '../mask.ts'
import type { HoldRow } from '../views.ts'
import { askConsole, orSay, type Where, type WhereOptions, whereOf, withWhere } from './ask-console.ts'
import { rowLine } from './holds.ts'

const firstWaitMs = 1_000
const longestWaitMs = 30_000
const longestLine = 64 * 1024
/** The console shows that it lives every 15 s. */
const silentMs = 45_000

type Options = WhereOptions & { readonly json?: true }

const print = (row: HoldRow, json: boolean): void => {
  process.stdout.write(`${json ? JSON.stringify(row) : rowLine(row)}\n`)
}

const pending = async (where: Where): Promise<readonly HoldRow[]> => {
  const answer = (await askConsole(where, 'GET', '/api/holds?status=pending&limit=200')) as {
    holds: readonly HoldRow[]
  }
  return answer.holds
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > longestLine) throw new Error('the console sends a line without an end')
    yield* lines
  }
}

/** Follows one connection to its end; answers the id of the last event. */
const follow = async (
  where: Where,
  after: string | undefined,
  stop: AbortSignal,
  changed: (hold: string | undefined) => Promise<void>,
  opened: () => Promise<void>,
): Promise<string | undefined> => {
  const silent = new AbortController()
  const timer = setTimeout(() => silent.abort(), silentMs)
  const signal = AbortSignal.any([stop, silent.signal])
  let last = after
  try {
    const answer = await fetch(`${where.console}/api/events`, {
      redirect: 'error',
      signal,
      headers: { authorization: `Bearer ${where.token}`, ...(after === undefined ? {} : { 'last-event-id': after }) },
    })
    if (!answer.ok || answer.body === null) {
      const said = (await answer.json().catch(() => ({}))) as { title?: string; detail?: string }
      const text = `${answer.status}: ${[said.title, said.detail].filter(Boolean).join('. ')}`
      throw answer.status >= 500 || answer.status === 429 ? new Error(text) : new Refused(text)
    }
    await opened()
    let event: { id?: string; event?: string; data?: string } = {}
    for await (const line of linesOf(answer.body)) {
      timer.refresh()
      const [, field = '', value = ''] = /^(id|event|data): ?(.*)$/.exec(line) ?? []
      if (line !== '') {
        if (field !== '') event = { ...event, [field]: value }
        continue
      }
      if (event.event === 'gap') await changed(undefined)
      if (event.event === 'hold') await changed(String((JSON.parse(event.data ?? '{}') as { id?: unknown }).id))
      last = event.id ?? last
      event = {}
    }
  } catch (error) {
    if (error instanceof Refused) throw error
    // The next one goes on from here.
    if (!stop.aborted) process.stderr.write(`the connection broke (${printable((error as Error).message)})\n`)
  } finally {
    clearTimeout(timer)
  }
  return last
}

/** It would be refused again. */
class Refused extends Error {}

const watch = async (options: Options, stop: AbortSignal): Promise<void> => {
  const json = options.json === true
  let last: string | undefined
  let waitMs = firstWaitMs
  const said = new Map<string, string>()
  const tell = (row: HoldRow): void => {
    const now = JSON.stringify([row.status, row.votes, row.delivery])
    if (said.get(row.id) === now) return
    said.set(row.id, now)
    print(row, json)
  }
  while (!stop.aborted) {
    const where = await whereOf(options, process.env)
    const all = async (): Promise<void> => {
      for (const row of await pending(where)) tell(row)
    }
    const changed = async (hold: string | undefined): Promise<void> => {
      if (hold === undefined) return all()
      if (/^h_[A-Za-z0-9_-]{22}$/.test(hold)) tell((await askConsole(where, 'GET', `/api/holds/${hold}`)) as HoldRow)
    }
    const opened = async (): Promise<void> => {
      waitMs = firstWaitMs
      if (last === undefined) await all()
    }
    last = await follow(where, last, stop, changed, opened)
    if (!stop.aborted) await pause(waitMs, stop)
    waitMs = Math.min(waitMs * 2, longestWaitMs)
  }
}

const pause = (ms: number, stop: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      stop.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    stop.addEventListener('abort', done, { once: true })
  })

export const registerWatch = (program: Command): void => {
  withWhere(
    program
      .command('watch')
      .description('follow what happens to holds')
      .option('--json', 'one JSON document per line, for machines'),
  )
    .addHelpText(
      'after',
      `
Prints what waits now, then a line whenever a hold that you may see changes, until it is interrupted (Ctrl-C).

Examples:
  $ holdpoint watch
  $ holdpoint watch --json | jq -r 'select(.status == "pending" and .you.may_decide) | .line'`,
    )
    .action((options: Options) =>
      orSay(async () => {
        const stop = new AbortController()
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
        // Whoever read this has left.
        process.stdout.once('error', () => stop.abort())
        await watch(options, stop.signal)
      }),
    )
}
