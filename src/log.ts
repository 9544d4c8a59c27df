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
