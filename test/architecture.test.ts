// ARCHITECTURE.md shows the house as it is: every file has its layer there, and imports only go up the table.
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const source = join(root, 'src')
const files = globSync('**/*.ts', { cwd: source }).sort()

type Layer = { readonly name: string; readonly entries: readonly string[]; readonly together: boolean }

const layers: readonly Layer[] = (() => {
  const document = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
  const table = /```\nwords [\s\S]*?```/.exec(document)?.[0].split('\n').slice(1, -1) ?? []
  const found: { name: string; entries: string[]; together: boolean }[] = []
  for (const line of table) {
    const word = line.trim().split(/\s+/)[0] ?? ''
    if (line.startsWith('  ')) found.at(-1)?.entries.push(word)
    else found.push({ name: word, entries: [], together: line.includes('(together)') })
  }
  return found
})()

// A file has the layer where it is named, else that of its nearest folder.
const levelOf = (file: string): number => {
  const named = layers.findIndex(layer => layer.entries.includes(file))
  return named >= 0
    ? named
    : layers.findIndex(layer => layer.entries.some(entry => entry.endsWith('/') && file.startsWith(entry)))
}

const nameOf = (file: string): string => layers[levelOf(file)]?.name ?? 'none'
// `match.ts` and what is in `match/` are one family.
const familyOf = (file: string): string => (file.split('/')[0] ?? '').replace(/\.ts$/, '')
const sameFamily = (one: string, other: string): boolean => familyOf(one) === familyOf(other)

const importsOf = (file: string): readonly string[] =>
  [
    ...readFileSync(join(source, file), 'utf8').matchAll(
      /^(?:import|export)\b[^'"`;]*?\bfrom '([^']+)'|\b(?:import|createRequire\(import\.meta\.url\))\('([^']+)'\)|^import '([^']+)'/gm,
    ),
  ].map(([, one, two, three]) => one ?? two ?? three ?? '')

const ownImports = (file: string): readonly string[] =>
  importsOf(file)
    .filter(name => name.startsWith('.'))
    .map(name => normalize(join(dirname(file), name)))

/** Adapters see the words, their own interface and their own folder. */
const seenByAdapter = (file: string, target: string): boolean => nameOf(target) === 'words' || sameFamily(file, target)

const allowed = (file: string, target: string): boolean => {
  if (nameOf(file) === 'adapters') return seenByAdapter(file, target)
  if (levelOf(target) < levelOf(file) || sameFamily(file, target)) return true
  return levelOf(target) === levelOf(file) && layers[levelOf(file)]?.together === true
}

test('every file of src/ has one layer, and every entry of the table exists', () => {
  expect(files.filter(file => levelOf(file) < 0)).toEqual([])
  const entries = layers.flatMap(layer => layer.entries)
  const exists = (entry: string): boolean =>
    entry.endsWith('/') ? files.some(file => file.startsWith(entry)) : files.includes(entry)
  expect(entries.filter(entry => !exists(entry))).toEqual([])
  expect(entries.length).toBe(new Set(entries).size)
})

test('imports only go up the table', () => {
  const wrong = files.flatMap(file =>
    ownImports(file)
      .filter(target => !allowed(file, target))
      .map(target => `${file} -> ${target}`),
  )
  expect(wrong).toEqual([])
})

test('no two files import each other, directly or around', () => {
  const typeOnly = /^import type /
  const graph = new Map(
    files.map(file => {
      const text = readFileSync(join(source, file), 'utf8')
      const lines = [...text.matchAll(/^import[^'"`;]*?\bfrom '(\.[^']+)'/gm)].filter(([line]) => !typeOnly.test(line))
      return [file, lines.map(([, name = '']) => normalize(join(dirname(file), name)))] as const
    }),
  )
  const circle = (file: string, path: readonly string[]): readonly string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    for (const target of graph.get(file) ?? []) {
      const found = circle(target, [...path, file])
      if (found) return found
    }
    return undefined
  }
  expect(files.map(file => circle(file, [])).find(found => found !== undefined)).toBeUndefined()
})

/** Where each package lives: a file, or a folder. */
const homes: { readonly [name: string]: readonly string[] } = {
  '@slack/socket-mode': ['console/slack-socket.ts'],
  '@slack/web-api': ['channels/'],
  '@bufbuild/cel': ['match/when.ts'],
  '@hono/node-server': ['console/'],
  commander: ['commands/', 'main.ts'],
  graphql: ['upstreams/graphql.ts'],
  hono: ['console/'],
  ioredis: ['store/'],
  jose: ['token.ts', 'dpop.ts', 'issuer-keys.ts'],
  minimatch: ['path.ts', 'config/files.ts'],
  nodemailer: ['channels/email.ts'],
  'oidc-provider': ['commands/demo/'],
  'openid-client': ['console/'],
  pino: ['log.ts'],
  'prom-client': ['metrics.ts'],
  re2js: ['value.ts'],
  undici: ['wire/http2.ts'],
  yaml: ['config/source.ts'],
  zod: ['config/', 'config.ts'],
}

describe('packages', () => {
  const used = files.flatMap(file =>
    importsOf(file)
      .filter(name => !/^(\.|node:)/.test(name))
      .map(name => ({
        file,
        name: name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/'),
      })),
  )

  test('each has its home', () => {
    const away = used.filter(
      ({ file, name }) => !homes[name]?.some(home => (home.endsWith('/') ? file.startsWith(home) : file === home)),
    )
    expect(away).toEqual([])
  })

  test('what only some configurations need is not loaded before one of them is', () => {
    const reached = new Set(['commands/serve.ts'])
    for (const file of reached) {
      if (!files.includes(file)) continue
      const text = readFileSync(join(source, file), 'utf8')
      for (const [line, name = ''] of text.matchAll(/^(?:import|export)\b[^'"`;]*?\bfrom '([^']+)'/gm))
        if (!/^(import|export) type /.test(line))
          reached.add(name.startsWith('.') ? normalize(join(dirname(file), name)) : name)
    }
    expect([...reached]).toEqual(expect.arrayContaining(['zod', 'jose', 'upstreams/http.ts', 'console/signin.ts']))
    const some = ['@bufbuild/cel', '@slack/socket-mode', '@slack/web-api', 'graphql', 'ioredis', 'nodemailer']
    const others = ['oidc-provider', 'openid-client', 'undici', 'store/redis.ts', 'store/sqlite.ts', 'upstreams/sql.ts']
    expect([...some, ...others].filter(one => reached.has(one))).toEqual([])
  })

  test('each that package.json brings is used, and each has a row in the decision on dependencies', () => {
    const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      dependencies: object
      optionalDependencies: object
    }
    const names = Object.keys({ ...dependencies, ...optionalDependencies })
    expect(names.sort()).toEqual([...new Set(used.map(({ name }) => name))].sort())
    const decision = readFileSync(join(root, 'docs/decisions/005-dependencies.md'), 'utf8')
    expect(names.filter(name => !decision.includes(name))).toEqual([])
  })
})

test('nothing but decide.ts moves a hold to approved', () => {
  const approving = files.filter(file => /move: 'approve'/.test(readFileSync(join(source, file), 'utf8')))
  expect(approving).toEqual(['decide.ts'])
})

test('nothing but release.ts, which proves it again, lets a hold go by a grant', () => {
  const granting = files.filter(file =>
    /'grant' : 'release'|move: 'grant'/.test(readFileSync(join(source, file), 'utf8')),
  )
  expect(granting).toEqual(['release.ts'])
})

test('nothing but the demo uses the parts of the demo', () => {
  const knowing = files.filter(
    file => !file.startsWith('commands/demo') && ownImports(file).some(target => target.startsWith('commands/demo/')),
  )
  expect(knowing).toEqual([])
})
