// Real nginx: as a server that serves and deletes files over WebDAV, and as a proxy that logs what it understood.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type LoggingProxy, readLog, startDaemon } from './daemon.ts'

export type Nginx = {
  readonly url: string
  /** What it serves and deletes. */
  readonly folder: string
  close(): Promise<void>
}

const start = (http: (dir: string, port: number) => string) =>
  startDaemon({
    program: 'nginx',
    args: (dir, config) => ['-p', dir, '-c', config],
    signal: 'SIGQUIT',
    config: (dir, port) => {
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map(what => `${what}_temp_path ${dir}/${what};`)
        .join(' ')
      // Root's nginx gives its work to a user that may not write here, unless told otherwise.
      const user = process.getuid?.() === 0 ? 'user root;' : ''
      return `daemon off; ${user} worker_processes 1; pid ${dir}/pid; error_log stderr crit;
events {}
http { client_max_body_size 0; ${temporary} ${http(dir, port)} }
`
    },
  })

export const startNginx = async (): Promise<Nginx> => {
  const daemon = await start(
    (dir, port) =>
      `access_log off; server { listen 127.0.0.1:${port}; root ${dir}/files; location / { dav_methods PUT DELETE; } }`,
  )
  const folder = join(daemon.dir, 'files')
  await mkdir(folder)
  return {
    url: daemon.url,
    folder,
    async close() {
      await daemon.end()
      await daemon.remove()
    },
  }
}

/** @param headers lower-case names of those that it logs */
export const startNginxProxy = async (upstream: string, headers: readonly string[]): Promise<LoggingProxy> => {
  const logged = [
    ['method', '$request_method'],
    ['target', '$request_uri'],
    ['status', '$status'],
    ...headers.map(name => [name, `$http_${name.replaceAll('-', '_')}`]),
  ]
  const format = `{${logged.map(([name, value]) => `"${name}":"${value}"`).join(',')}}`
  const daemon = await start(
    (_, port) => `
  log_format seen escape=json '${format}';
  access_log /dev/stdout seen;
  large_client_header_buffers 8 64k;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${upstream}; proxy_http_version 1.1; proxy_intercept_errors off;
      proxy_set_header Host $http_host; proxy_set_header Connection keep-alive;
    }
  }`,
  )
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
