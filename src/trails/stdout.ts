// The audit log as JSON lines on standard output, for whatever collects it there.
import type { Trail } from './trail.ts'

export const stdoutTrail = (): Trail => ({
  name: 'stdout',
  tail: async () => undefined,
  write: lines =>
    new Promise((resolve, reject) => {
      process.stdout.write(`${lines.map(line => line.text).join('\n')}\n`, error => (error ? reject(error) : resolve()))
    }),
})
