// The file tree of the image, assembled by the same steps and run as its entry point would: by an unprivileged user where the tests may
// become one, in a tree that nobody can write to, with no shell and no PATH.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { image } from '../scripts/image.ts'
import { freePorts } from '../src/commands/demo/ports.ts'
import { eventually } from './support/eventually.ts'

const root = join(import.meta.dirname, '..')
const user = 65_532
let dir: string
let app: string
let data: string
let admin: string
let program: ChildProcess
let said = ''

const identity = process.getuid?.() === 0 ? { uid: user, gid: user } : {}
const start = (args: readonly string[], env: { readonly [name: string]: string } = {}): ChildProcess =>
  spawn(process.execPath, [...args], { cwd: data, env, stdio: ['ignore', 'ignore', 'pipe'], ...identity })
const health = async (url: string): Promise<unknown> =>
  (await once(start([join(app, 'health.js')], { HOLDPOINT_ADMIN: url }), 'exit'))[0]

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-image-'))
  await chmod(dir, 0o755)
  app = join(dir, 'app')
  data = join(dir, 'data')
  image(app)
  await mkdir(data)
  if (identity.uid !== undefined) await chown(data, user, user)
  const [gate, console, port] = await freePorts(3)
  admin = `http://127.0.0.1:${port}`
  const config = {
    version: 1,
    gate: { listen: `127.0.0.1:${gate}` },
    console: { listen: `127.0.0.1:${console}` },
    admin: { listen: `127.0.0.1:${port}` },
    store: `sqlite:${join(data, 'holdpoint.db')}`,
  }
  await writeFile(join(dir, 'holdpoint.yaml'), JSON.stringify(config), { mode: 0o644 })
  program = start([join(app, 'bin/holdpoint.js'), 'serve', '--config', join(dir, 'holdpoint.yaml')])
  program.stderr?.on('data', chunk => {
    said += chunk
  })
}, 180_000)

afterAll(async () => {
  program?.kill('SIGKILL')
  await rm(dir, { recursive: true, force: true })
})

test('it serves, and its health check says so', async () => {
  await eventually(async () => {
    if (program.exitCode !== null) throw new Error(said)
    return (await fetch(`${admin}/readyz`).catch(() => undefined))?.status === 200 ? true : undefined
  })
  expect(await health(admin)).toBe(0)
})

test('its health check fails where nothing answers', async () => {
  const [port] = await freePorts(1)
  expect(await health(`http://127.0.0.1:${port}`)).toBe(1)
})

test('it stops at SIGTERM without being killed', async () => {
  const ended = once(program, 'exit')
  program.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
})

test('it brings what V8 made of the program, for the user it runs as', async () => {
  const [folder = '', ...more] = await readdir(join(app, '.cache'))
  expect(more).toEqual([])
  expect(folder).toMatch(new RegExp(`-${identity.uid ?? process.getuid?.()}$`))
  expect((await readdir(join(app, '.cache', folder))).length).toBeGreaterThan(300)
})

test('it brings nothing to build, test or install with', async () => {
  expect((await readdir(app)).sort()).toEqual([
    '.cache',
    'LICENSE',
    'bin',
    'dist',
    'health.js',
    'node_modules',
    'package.json',
    'scripts',
  ])
  const modules = await readdir(join(app, 'node_modules'))
  for (const name of ['typescript', 'vitest', 'node', 'oidc-provider', 'playwright-core', 'npm'])
    expect(modules).not.toContain(name)
  expect(await readdir(join(app, 'scripts'))).toEqual(['ready.js'])
})

test('the Dockerfile takes these steps, and runs as nobody special without a shell', async () => {
  const text = await readFile(join(root, 'Dockerfile'), 'utf8')
  const [, last = ''] = text.split(/^FROM scratch$/m)
  expect(text).toMatch(/^RUN node scripts\/image\.ts \/image$/m)
  expect(last).toMatch(/^COPY --from=build --chown=0:0 \/image \/app$/m)
  expect(last).toMatch(/^USER 65532:65532$/m)
  expect(last).not.toMatch(/^RUN /m)
  for (const name of ['ENTRYPOINT', 'CMD']) expect(last).toMatch(new RegExp(`^${name} \\[`, 'm'))
  expect(last).toMatch(/^HEALTHCHECK .* CMD \[/m)
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  expect(last).toContain(`ARG VERSION=${version}\n`)
})

test('the build sees every file that it copies, and nothing of tests or notes', async () => {
  const lines = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n')
  const kept = lines.filter(line => line.startsWith('!')).map(line => line.slice(1))
  expect(lines).toContain('*')
  for (const name of [
    'package.json',
    'package-lock.json',
    '.npmrc',
    'src',
    'bin',
    'scripts',
    'tsconfig.json',
    'tsconfig.build.json',
  ])
    expect(kept).toContain(name)
  expect(kept).not.toContain('test')
})
