// Documents tell the truth: what is made from the code equals it, links lead somewhere, commands exist.
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { errorsDocument } from '../scripts/docs.ts'
import { loadSettings } from '../src/config.ts'
import { runHoldpoint } from './support/program.ts'

const root = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const documents = globSync(['*.md', 'docs/**/*.md'], { cwd: root })
const { scripts } = JSON.parse(read('package.json')) as { scripts: { readonly [name: string]: string } }

test('docs/errors.md is what `npm run docs` writes', () => {
  expect(read('docs/errors.md')).toBe(errorsDocument())
})

describe.each(documents)('%s', path => {
  const text = read(path)

  test('its links lead to files that exist', () => {
    const targets = [...text.matchAll(/\]\(([^)#\s]+)/g)]
      .map(([, target = '']) => target)
      .filter(target => !/^[a-z]+:/.test(target))
    expect(targets.filter(target => !existsSync(join(root, dirname(path), target)))).toEqual([])
  })

  test('its files and folders exist', () => {
    const named = [...text.matchAll(/`((?:src|test|docs|config|scripts|bin|\.ci)\/[\w./-]*)`/g)].map(
      ([, name = '']) => name,
    )
    expect(named.filter(name => !existsSync(join(root, name)))).toEqual([])
  })

  test('its npm scripts exist', () => {
    const named = [...text.matchAll(/(?:^|`)npm (?:run )?([a-z]+)/gm)].map(([, name = '']) => name)
    const builtIn = ['ci', 'install', 'rebuild']
    expect(named.filter(name => !builtIn.includes(name) && scripts[name] === undefined)).toEqual([])
  })
})

test('the configuration in README.md is one that starts', async () => {
  const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(read('README.md')) ?? []
  const dir = mkdtempSync(join(tmpdir(), 'holdpoint-docs-'))
  try {
    const file = join(dir, 'holdpoint.yaml')
    writeFileSync(file, yaml)
    expect(await loadSettings(file, { OKTA_SECRET: 'x', BILLING_KEY: 'y' })).toHaveProperty('settings.rules.length', 3)
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('the commands in README.md and CHANGELOG.md are those that exist', async () => {
  const { stdout } = await runHoldpoint(['--help'])
  const [, list = ''] = /Commands:\n([\s\S]*?)\n\n/.exec(`${stdout}\n\n`) ?? []
  const existing = [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map(([, name = '']) => name)
    .filter(name => name !== 'help')
  const named = [...read('README.md').matchAll(/`holdpoint ([a-z][a-z-]*)/g)].map(([, name = '']) => name)
  expect(named.sort()).toEqual(existing.sort())
  const [, changed = ''] = /^- Commands: (.*)$/m.exec(read('CHANGELOG.md')) ?? []
  expect([...changed.matchAll(/`([a-z][a-z-]*)`/g)].map(([, name = '']) => name).sort()).toEqual(existing.sort())
})
