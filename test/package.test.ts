// The package as somebody gets it: packed, installed into an empty folder, and run there without the repository and without any compiler.
import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const minute = 60_000
let dir: string
let files: readonly string[]

type Ran = { readonly code: number; readonly out: string; readonly err: string }

/** The newer Node that is supported. @throws an Error that says what to do where it cannot be had */
const node26 = (): string => {
  const home = join(root, 'test/node26')
  const program = join(home, `node_modules/node-${process.platform}-${process.arch}/bin/node`)
  if (!existsSync(program))
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: home, stdio: 'pipe' })
  if (!existsSync(program))
    throw new Error(
      `Node 26 for ${process.platform} on ${process.arch} is not among the packages of test/node26: add node-${process.platform}-${process.arch} there`,
    )
  return program
}

const run = (cwd: string, command: string, ...args: readonly string[]): Promise<Ran> =>
  runWith(process.execPath, cwd, command, ...args)

// A Node of our choice comes first on PATH, as on a machine that has it installed.
const runWith = (node: string, cwd: string, command: string, ...args: readonly string[]): Promise<Ran> =>
  new Promise(resolve => {
    const PATH = [dirname(node), process.env.PATH].join(delimiter)
    const env = { ...process.env, PATH, NO_COLOR: '1' }
    execFile(command, [...args], { cwd, env, maxBuffer: 16 * 1024 * 1024 }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err }),
    )
  })

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-package-'))
  const packed = await run(root, 'npm', 'pack', '--json', '--pack-destination', dir)
  if (packed.code !== 0) throw new Error(`${packed.out}${packed.err}`)
  const [name = ''] = (await readdir(dir)).filter(file => file.endsWith('.tgz'))
  files = (await run(dir, 'tar', '-tzf', name)).out.split('\n').filter(Boolean)
  await writeFile(join(dir, 'package.json'), '{ "name": "empty", "private": true }')
  const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
  const installed = await run(dir, 'npm', 'install', ...quietly, `./${name}`)
  if (installed.code !== 0) throw new Error(`${installed.out}${installed.err}`)
}, 5 * minute)

afterAll(() => rm(dir, { recursive: true, force: true }))

test('it brings compiled JavaScript with types and what is read as a file, and nothing else', () => {
  const folders = new Set(files.map(file => file.split('/')[1] ?? ''))
  const allowed = ['bin', 'config', 'dist', 'helm', 'scripts', 'package.json', 'README.md', 'LICENSE']
  expect([...folders].filter(folder => !allowed.includes(folder))).toEqual([])
  expect(files.filter(file => /(?<!\.d)\.ts$/.test(file))).toEqual([])
  for (const file of ['main.js', 'main.d.ts', 'store/open.lua', 'console/assets/console.css'])
    expect(files).toContain(`package/dist/${file}`)
})

test('nothing of it runs while it is installed', async () => {
  const { scripts } = JSON.parse(await readFile(join(dir, 'node_modules/holdpoint/package.json'), 'utf8')) as {
    scripts: { readonly [name: string]: string }
  }
  expect(Object.keys(scripts).filter(name => /^(pre|post)?install$|^prepare$/.test(name))).toEqual([])
})

test('nothing that was built stays behind in the repository', () => {
  expect(existsSync(join(root, 'dist'))).toBe(false)
})

test.each([
  ['24', () => process.execPath],
  ['26', node26],
] as const)(
  'with Node %s npx holdpoint demo --once plays to its end',
  { timeout: 4 * minute },
  async (major, program) => {
    const node = program()
    expect((await runWith(node, dir, 'node', '--version')).out).toMatch(new RegExp(`^v${major}\\.`))
    const npx = ['--no-install', 'holdpoint', 'demo', '--once']
    const { code, out, err } = await runWith(node, dir, 'npx', ...npx)
    expect(out, err).toContain('Every step was as it should be.')
    expect(code).toBe(0)
    // What V8 is asked for differs between its versions.
    expect(err).not.toContain('unrecognized flag')
  },
)

test('what V8 made of it is kept beside it, for its owner only', async () => {
  const cache = join(dir, 'node_modules/holdpoint/.cache')
  expect((await stat(cache)).mode & 0o777).toBe(0o700)
  const kept = await readdir(cache)
  expect(kept.map(name => /^v\d+/.exec(name)?.[0]).sort()).toEqual(['v24', 'v26'])
})
