// Documents tell the truth: what is made from the code equals it, links lead somewhere, commands exist.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { errorsDocument } from '../scripts/docs.ts'

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
