// Reloads the configuration when its files change. Folders are watched, not files, so that swaps of a symbolic link (Kubernetes) are
// seen; a poll of the contents every 15 s sees what the watch cannot. A bad file changes nothing and is told of once.
import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import { type Finding, readSettings } from '../config.ts'
import type { Settings } from '../settings.ts'
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

/** Follows the files of a configuration, of which `current` is in force. */
export const watchSettings = (
  file: string,
  current: Settings,
  { env, onSettings, onProblems }: Watching,
): SettingsWatch => {
  const folders = new Map<string, FSWatcher>()
  let seen: string | undefined
  let inForce = current.hash
  let stopped = false
  let quiet: NodeJS.Timeout | undefined
  let running = Promise.resolve()

  const soon = (): void => {
    clearTimeout(quiet)
    quiet = setTimeout(() => void reload(), quietMs).unref()
  }
  const follow = (paths: Iterable<string>): void => {
    const wanted = new Set([...paths].map(path => dirname(path)))
    for (const folder of wanted) if (!folders.has(folder)) open(folder)
    for (const [folder, watcher] of folders) if (!wanted.has(folder)) close(folder, watcher)
  }
  const open = (folder: string): void => {
    try {
      const watcher = watch(folder, { persistent: false }, soon)
      folders.set(folder, watcher)
      watcher.on('error', () => close(folder, watcher))
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
    const { loaded, contents } = await readSettings(file, env)
    if (stopped) return
    follow(contents.keys())
    const content = hashOf(
      ...[...contents]
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .flatMap(([path, text]) => [path, text ?? '', String(text === undefined)]),
    )
    if (content === seen) return
    // What is in force was read before the watch began: the first look tells only of what has changed since.
    const first = seen === undefined
    seen = content
    if ('problems' in loaded) return onProblems(loaded.problems)
    if (first && loaded.settings.hash === inForce) return
    inForce = loaded.settings.hash
    onSettings(loaded.settings, loaded.warnings)
  }
  const reload = (): Promise<void> => {
    running = running.catch(() => undefined).then(look)
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
