// The programs that tests start and npm does not bring. On Debian and Ubuntu, as root, what is missing is installed from the machine's own
// package sources; anywhere else the tests stop and say what to install.
import { execFileSync } from 'node:child_process'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

export type Program = { readonly name: string; readonly package: string; readonly why: string }

/** Servers that stand behind Holdpoint, and read requests by rules of their own. */
export const realUpstreams: readonly Program[] = [
  { name: 'nginx', package: 'nginx', why: 'an upstream and a proxy of another make' },
  { name: 'haproxy', package: 'haproxy', why: 'an upstream of another make' },
]

const places = (): string[] => [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].filter(Boolean)

/** The program's full path, or undefined if it is not installed. Daemons live in sbin, which is often not on a user's PATH. */
export const find = (name: string): string | undefined =>
  places()
    .map(place => join(place, name))
    .find(path => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })

/** Makes sure that every program is there. Throws an Error that names each missing one and how to install it. */
export const provide = (programs: readonly Program[]): void => {
  const missing = (): Program[] => programs.filter(program => find(program.name) === undefined)
  if (missing().length === 0) return
  const apt = find('apt-get')
  if (apt !== undefined && process.getuid?.() === 0 && debian() !== undefined) {
    attempt(apt, ['update'])
    for (const program of missing())
      if (!attempt(apt, ['install', program.package])) attemptBackports(apt, program.package)
  }
  const left = missing()
  if (left.length === 0) return
  throw new Error(
    [
      'The tests start programs that are not installed:',
      ...left.map(program => `  ${program.name}: ${program.why}`),
      `On Debian or Ubuntu, as root: apt-get update && apt-get install ${left.map(program => program.package).join(' ')}`,
      '(valkey-server is in the backports of Debian 12). Elsewhere install them so that they are found on PATH.',
    ].join('\n'),
  )
}

const debian = (): string | undefined => {
  if (!existsSync('/etc/os-release')) return undefined
  const release = readFileSync('/etc/os-release', 'utf8')
  if (!/^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release)) return undefined
  return /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1]
}

const attempt = (apt: string, args: readonly string[], options: readonly string[] = []): boolean => {
  try {
    const quietly = ['-q', '-y', '--no-install-recommends', ...options.flatMap(option => ['-o', option])]
    execFileSync(apt, [...quietly, ...args], {
      stdio: 'pipe',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
    return true
  } catch (error) {
    process.stderr.write(`apt-get ${args.join(' ')}: ${(error as { stderr?: Buffer }).stderr ?? error}\n`)
    return false
  }
}

// The backports are asked through a list of sources of our own, so the machine's stays as it is.
const attemptBackports = (apt: string, name: string): void => {
  const codename = debian()
  const mirror = codename === undefined ? undefined : mirrorOf(codename)
  if (mirror === undefined) return
  const dir = mkdtempSync(join(tmpdir(), 'holdpoint-apt-'))
  try {
    const list = join(dir, 'backports.list')
    mkdirSync(join(dir, 'lists/partial'), { recursive: true })
    writeFileSync(list, `deb ${mirror.options}${mirror.uri} ${codename}-backports main\n`)
    const options = [
      `Dir::Etc::sourcelist=${list}`,
      'Dir::Etc::sourceparts=-',
      `Dir::State::lists=${join(dir, 'lists')}`,
    ]
    if (attempt(apt, ['update'], options)) attempt(apt, ['install', name], options)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Where the machine gets its release from: one-line sources, or stanzas (deb822). */
const mirrorOf = (codename: string): { readonly uri: string; readonly options: string } | undefined => {
  const parts = '/etc/apt/sources.list.d'
  const files = [
    '/etc/apt/sources.list',
    ...(existsSync(parts) ? readdirSync(parts).map(name => join(parts, name)) : []),
  ]
  for (const text of files.filter(file => existsSync(file)).map(file => readFileSync(file, 'utf8'))) {
    const line = new RegExp(`^deb\\s+(\\[[^\\]]*\\]\\s+)?(\\S+)\\s+${codename}\\s`, 'm').exec(text)
    if (line?.[2] !== undefined) return { uri: line[2], options: line[1] ?? '' }
    for (const stanza of text.split(/\n\s*\n/)) {
      const field = (name: string): string | undefined =>
        new RegExp(`^${name}:\\s*(.+)$`, 'm').exec(stanza)?.[1]?.trim()
      const uri = field('URIs')?.split(/\s+/)[0]
      const key = field('Signed-By')
      if (uri !== undefined && field('Suites')?.split(/\s+/).includes(codename))
        return { uri, options: key?.startsWith('/') ? `[signed-by=${key}] ` : '' }
    }
  }
  return undefined
}
