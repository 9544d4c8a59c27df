// Reloads the configuration when its files change. Folders are watched, not files, so that swaps of a symbolic link (Kubernetes) are
// seen; a poll of the contents every 15 s sees what the watch cannot. What has not changed is not judged again: ten thousand rules take
// seconds. A bad file changes nothing and is told of once.
import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { type Finding, readSettings } from '../config.ts'
import type { Settings } from '../settings.ts'
import { isUnchanged, type Looked } from './files.ts'
import { hashOf } from './hash.ts'

const quietMs = 200
const pollMs = 15_000

export type Watching = {
  readonly env: Record<string, string | undefined>
  readonly onSettings: (settings: Settings, warnings: readonly Finding[]) => void
  readonly onProblems: (problems: readonly Finding[]) => void
}

export type SettingsWatch = {
  stop(): void
  /** Reads the files now (SIGHUP); resolves when they have been judged. */
  reload(): Promise<void>
}

/** Follows the files of a configuration, from what `first` found in them: that is in force. */
export const watchSettings = (
  file: string,
  first: Looked,
  { env, onSettings, onProblems }: Watching,
): SettingsWatch => {
  const folders = new Map<string, FSWatcher>()
  let names: ReadonlySet<string> = new Set()
  let last = first
  let stopped = false
  let quiet: NodeJS.Timeout | undefined
  let running = Promise.resolve()

  const soon = (): void => {
    clearTimeout(quiet)
    quiet = setTimeout(() => void reload(), quietMs).unref()
  }
  // A store or a log in the same folder changes all the time; whoever waited until it is quiet there would wait for ever.
  const concerns = (name: string): boolean => names.has(name) || name.startsWith('..') || /\.ya?ml$/.test(name)
  const follow = (paths: readonly string[]): void => {
    names = new Set(paths.map(path => basename(path)))
    const wanted = new Set(paths.map(path => dirname(path)))
    for (const folder of wanted) if (!folders.has(folder)) open(folder)
    for (const [folder, watcher] of folders) if (!wanted.has(folder)) close(folder, watcher)
  }
  const open = (folder: string): void => {
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => {
        if (name === null || concerns(name)) soon()
      })
      folders.set(folder, watcher)
      watcher.on('error', () => close(folder, watcher))
      // What changed between the reading and the watch is seen by looking once more.
      soon()
    } catch {
      // The folder is not there now: the poll looks again.
    }
  }
  const close = (folder: string, watcher: FSWatcher): void => {
    watcher.close()
    folders.delete(folder)
  }

  const look = async (): Promise<void> => {
    if (stopped) return
    follow([...last.contents.keys()])
    if (await isUnchanged(last)) return
    const { loaded, looked } = await readSettings(file, env)
    if (stopped) return
    follow([...looked.contents.keys()])
    const before = textsOf(last)
    last = looked
    if (textsOf(looked) === before) return
    if ('problems' in loaded) onProblems(loaded.problems)
    else onSettings(loaded.settings, loaded.warnings)
  }
  const reload = (): Promise<void> => {
    running = running.then(look).catch((error: unknown) =>
      // Whatever went wrong, the last good one stays in force.
      onProblems([{ file, line: 1, column: 1, message: `this cannot be judged: ${(error as Error).message}` }]),
    )
    return running
  }
  const poll = setInterval(() => void reload(), pollMs).unref()
  void reload()

  return {
    reload,
    stop() {
      stopped = true
      clearTimeout(quiet)
      clearInterval(poll)
      for (const [folder, watcher] of folders) close(folder, watcher)
    },
  }
}

/** Of every file that was looked at: the hash of a configuration says nothing of secrets and certificates. */
const textsOf = ({ contents }: Looked): string =>
  hashOf(
    ...[...contents]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .flatMap(([path, text]) => [path, text ?? '', String(text === undefined)]),
  )
