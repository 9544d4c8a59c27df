// `${env:NAME}` and `${file:/path}` in the strings of a configuration. Never in rules and what belongs to them; never twice; a value that was put in
// is never shown: what cannot be found is named by its reference.
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Path } from './source.ts'

export type Interpolation = {
  readonly folder: string
  readonly env: Record<string, string | undefined>
  readonly say: (path: Path, message: string) => void
  /** Told of every file that was looked for, with its content. */
  readonly read: (file: string, content: string | undefined) => void
}

/** Top-level keys whose strings stay as they are written: who may approve must not depend on an environment that nobody reviews. */
export const literalKeys: ReadonlySet<string> = new Set(['rules', 'reviewers', 'defaults', 'callers', 'tests'])

const reference = /\$\{([^}]*)\}?/g

/** A copy of `value` with every reference replaced. */
export const interpolate = async (value: unknown, using: Interpolation, path: Path = []): Promise<unknown> => {
  if (typeof value === 'string') return replaced(value, using, path)
  if (Array.isArray(value)) return Promise.all(value.map((item, index) => interpolate(item, using, [...path, index])))
  if (value === null || typeof value !== 'object') return value
  const members = Object.entries(value).map(async ([key, member]) => {
    const literal = path.length === 0 && literalKeys.has(key)
    return [key, literal ? member : await interpolate(member, using, [...path, key])] as const
  })
  return Object.fromEntries(await Promise.all(members))
}

const replaced = async (text: string, using: Interpolation, path: Path): Promise<string> => {
  if (!text.includes('${')) return text
  const parts: string[] = []
  let end = 0
  for (const found of text.matchAll(reference)) {
    parts.push(text.slice(end, found.index), await resolved(found[0], found[1] ?? '', using, path))
    end = found.index + found[0].length
  }
  return parts.join('') + text.slice(end)
}

const resolved = async (written: string, inside: string, using: Interpolation, path: Path): Promise<string> => {
  const missing = (why: string): string => {
    using.say(path, why)
    return 'missing'
  }
  const [, kind, name = ''] = /^(env|file):(.+)$/.exec(inside) ?? []
  // What stands in other braces may be part of a secret, so it is not shown.
  if (kind === undefined || !written.endsWith('}'))
    return missing(`what begins with "\${" must be \${env:NAME} or \${file:/path}`)
  if (kind === 'env') return using.env[name] ?? missing(`${written}: the environment variable ${name} is not set`)
  const file = resolve(using.folder, name)
  try {
    const content = await readFile(file, 'utf8')
    using.read(file, content)
    return content.replace(/\r?\n$/, '')
  } catch (error) {
    using.read(file, undefined)
    return missing(`${written}: the file cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`)
  }
}
