// The files of a configuration: which there are, what is in them, and whether they are still as they were.
import { readdir, readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { minimatch } from 'minimatch'

/** What was looked at for a configuration. */
export type Looked = {
  readonly folder: string
  /** What `rules` names, and the files that this was, each glob with its own. */
  readonly globs: ReadonlyMap<string, readonly string[]>
  /** Every file by absolute path, with its content as far as it could be read. */
  readonly contents: ReadonlyMap<string, string | undefined>
}

/** Would another reading find the same files with the same contents? */
export const isUnchanged = async ({ folder, globs, contents }: Looked): Promise<boolean> => {
  for (const [glob, found] of globs) if ((await filesOf(glob, folder)).join('\0') !== found.join('\0')) return false
  for (const [path, content] of contents) {
    const text = await readText(path)
    if ((text instanceof Error ? undefined : text) !== content) return false
  }
  return true
}

/** The text of a file, or why it cannot be read. What is not UTF-8 is no text. */
export const readText = async (path: string): Promise<string | Error> => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
  } catch (error) {
    return error as Error
  }
}

export const isGlob = (path: string): boolean => /[*?[\]{}]/.test(path)

/** Paths below `folder` that fit, in order; hidden files and folders (such as Kubernetes' `..data`) do not, unless they are named. */
export const filesOf = async (glob: string, folder: string): Promise<readonly string[]> => {
  if (!isGlob(glob)) return [glob]
  const segments = glob.split('/')
  const base = segments.slice(0, segments.findIndex(isGlob)).join('/')
  try {
    const found = await readdir(resolve(folder, base === '' && glob.startsWith('/') ? '/' : base), {
      recursive: segments.includes('**') || segments.findIndex(isGlob) < segments.length - 1,
    })
    return found
      .map(name => (segments.findIndex(isGlob) === 0 ? name : `${base}/${name}`))
      .filter(path => minimatch(path, glob, { nonegate: true, nocomment: true }))
      .sort()
  } catch {
    return []
  }
}
