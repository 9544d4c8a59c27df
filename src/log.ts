// The program's own log: JSON lines on stderr. It never carries a header, a body or a token; the audit log is another thing (record.ts).
import { type Logger, pino } from 'pino'

export type Log = Pick<Logger, 'info' | 'warn' | 'error' | 'debug'>

/** @param level `HOLDPOINT_LOG` of the environment: debug, info, warn, error or silent. */
export const makeLog = (level = 'info'): Log =>
  pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      redact: ['*.token', '*.authorization'],
    },
    pino.destination({ fd: 2, sync: true }),
  )

/** What is said of one call when it has ended: never its path, a header, a body or a token. */
export type AccessLine = {
  readonly call: string | undefined
  readonly address: string
  readonly caller: { readonly issuer: string; readonly subject: string } | undefined
  readonly upstream: string | undefined
  readonly method: string
  /** The name alone. */
  readonly action: string | undefined
  readonly outcome: 'allowed' | 'held' | 'denied' | 'refused' | 'answered'
  /** Why it ended badly. */
  readonly code: string | undefined
  /** Undefined if the caller was sent nothing. */
  readonly status: number | undefined
  readonly ms: number
  readonly trace: string | undefined
}

/** Without `line` nobody wants any. */
export type Access = { readonly line: ((said: AccessLine) => void) | undefined; close(): Promise<void> }

const pieceBytes = 8 * 1024
const behindBytes = 4 * 1024 * 1024
const everyMs = 1_000
const closeMs = 1_000

/**
 * One line per call on stderr, beside the log. Written in pieces, at least once a second, so that no call waits for whoever reads them; if
 * nobody does, lines are dropped before memory fills: the audit log is the record, not this.
 * @param wanted `HOLDPOINT_ACCESS` of the environment: off, or anything else. Without level info there is none either.
 */
export const accessLog = (level = 'info', wanted = 'on'): Access => {
  if (wanted === 'off' || !['info', 'debug'].includes(level)) return { line: undefined, close: async () => {} }
  const out = pino.destination({ fd: 2, sync: false, minLength: pieceBytes, maxLength: behindBytes })
  out.on('error', () => {})
  const timer = setInterval(() => out.flush(), everyMs).unref()
  return {
    line: said =>
      void out.write(`${JSON.stringify({ level: 'info', time: new Date().toISOString(), ...said, msg: 'call' })}\n`),
    close: () =>
      new Promise(resolve => {
        clearInterval(timer)
        // Whoever reads stderr may have stopped.
        const late = setTimeout(resolve, closeMs)
        out.once('close', () => {
          clearTimeout(late)
          resolve()
        })
        out.end()
      }),
  }
}
