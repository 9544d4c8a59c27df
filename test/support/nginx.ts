// A real nginx that serves a folder over WebDAV, on a free port, ended by its own process.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../../src/commands/demo/ports.ts'
import { find } from './debian.ts'
import { eventually } from './eventually.ts'

export type Nginx = {
  readonly url: string
  /** What it serves and deletes. */
  readonly folder: string
  close(): Promise<void>
}

export const startNginx = async (): Promise<Nginx> => {
  const program = find('nginx')
  if (program === undefined) throw new Error('nginx is not installed')
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-nginx-'))
  const folder = join(dir, 'files')
  await mkdir(folder)
  const [port = 0] = await freePorts(1)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(what => `${what}_temp_path ${dir}/${what};`)
    .join(' ')
  // Root's nginx gives its work to a user that may not write here, unless told otherwise.
  const user = process.getuid?.() === 0 ? 'user root;' : ''
  await writeFile(
    join(dir, 'nginx.conf'),
    `daemon off; ${user} worker_processes 1; pid ${dir}/pid; error_log stderr;
events {}
http {
  access_log off; client_max_body_size 0; ${temporary}
  server { listen 127.0.0.1:${port}; root ${folder}; location / { dav_methods PUT DELETE; } }
}
`,
  )
  const child = spawn(program, ['-p', dir, '-c', join(dir, 'nginx.conf')], { stdio: 'inherit' })
  process.once('exit', () => child.kill('SIGTERM'))
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`)
    return (await answers(port)) ? true : undefined
  })
  return {
    url: `http://127.0.0.1:${port}`,
    folder,
    async close() {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
      await rm(dir, { recursive: true, force: true })
    },
  }
}

const answers = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
