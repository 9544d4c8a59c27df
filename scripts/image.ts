// `node scripts/image.ts FOLDER`: assembles what the image has in /app: the built program, its dependencies for production, and nothing
// to build, test or install with. The Dockerfile runs it; so does test/image.test.ts, without a container engine.
import { execFileSync } from 'node:child_process'
import { chownSync, cpSync, mkdirSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from './build.ts'

/** Whom the Dockerfile runs it as. */
const user = 65_532

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Assembles into `to`, which is emptied first. The demo's identity provider is left out: nobody serves with it. */
export const image = (to: string): void => {
  rmSync(to, { recursive: true, force: true })
  mkdirSync(to, { recursive: true })
  for (const file of ['package.json', 'package-lock.json', '.npmrc']) cpSync(join(root, file), join(to, file))
  const production = [
    '--omit=dev',
    '--omit=optional',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--prefer-offline',
  ]
  execFileSync('npm', ['ci', ...production], { cwd: to, stdio: ['ignore', 'ignore', 'inherit'] })
  for (const file of ['package-lock.json', '.npmrc']) rmSync(join(to, file))
  build(join(to, 'dist'))
  for (const [from, name] of [
    ['bin', 'bin'],
    ['scripts/ready.js', 'scripts/ready.js'],
    ['scripts/health.js', 'health.js'],
    ['LICENSE', 'LICENSE'],
  ] as const)
    cpSync(join(root, from), join(to, name), { recursive: true })
  // What V8 makes of the program is read from there at every start (bin/holdpoint.js), by each user from a folder of their own. Help loads
  // every command.
  const cache = join(to, '.cache')
  const identity = process.getuid?.() === 0 ? { uid: user, gid: user } : {}
  mkdirSync(cache)
  if (identity.uid !== undefined) chownSync(cache, user, user)
  execFileSync(process.execPath, [join(to, 'bin/holdpoint.js'), '--help'], { stdio: 'ignore', ...identity })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , to] = process.argv
  if (to === undefined) throw new Error('Name the folder to assemble: node scripts/image.ts FOLDER')
  image(resolve(to))
}
