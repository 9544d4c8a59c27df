// Real HAProxy as a proxy that logs what it understood.
import { join } from 'node:path'
import { type LoggingProxy, readLog, startDaemon } from './daemon.ts'

/** @param headers lower-case names of those that it logs */
export const startHaproxy = async (upstream: string, headers: readonly string[]): Promise<LoggingProxy> => {
  const variable = (name: string): string => `txn.h_${name.replaceAll('-', '_')}`
  const logged = [
    ['method', 'capture.req.method'],
    ['target', 'capture.req.uri'],
    ['status', 'txn.status'],
    ...headers.map(name => [name, `var(${variable(name)})`]),
  ].map(([name, value]) => `"${name}":"${name === 'status' ? '%ST' : `%[${value},json(utf8s)]`}"`)
  const daemon = await startDaemon({
    program: 'haproxy',
    args: (_, config) => ['-db', '-f', config],
    signal: 'SIGUSR1',
    config: (_, port) => `global
  log stdout len 65535 format raw daemon
  tune.bufsize 131072
  tune.http.maxhdr 256
  tune.http.logurilen 65535
defaults
  mode http
  log global
  option dontlognull
  option http-server-close
  http-reuse never
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend seen
  bind 127.0.0.1:${port}
  log-format '{${logged.join(',')}}'
${headers.map(name => `  http-request set-var(${variable(name)}) req.fhdr(${name})`).join('\n')}
  default_backend behind
backend behind
  server upstream ${new URL(upstream).host}
`,
  })
  return {
    url: daemon.url,
    async stop() {
      await daemon.end()
      const log = await readLog(join(daemon.dir, 'stdout'))
      await daemon.remove()
      return log
    },
  }
}
