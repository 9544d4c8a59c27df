// Where audit entries wait on disk while the store is away: one file of JSON lines, bounded, drained from the front. How far it is
// drained stands in a file beside it, so that neither a crash nor a second failure sends much twice; a line torn by a crash is cut off.
// Each process has a spool of its own below the configured folder, by a lock of the operating system that ends with it; what a process
// left that does not come back is drained by the next one that starts.
import { mkdirSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

const groupSize = 1_000
const pieceBytes = 1024 * 1024
const defaultMaxBytes = 256 * 1024 * 1024

type Append = (texts: readonly string[]) => Promise<void>

export type Spool = {
  /** Puts texts at the end, on disk; false if there is no room or the disk refuses: then nothing of them is in it. */
  add(texts: readonly string[]): Promise<boolean>
  /** Hands everything to `to`, group by group, oldest first; what it took is gone from here. Rejects as `to` does. */
  drain(to: Append): Promise<void>
  hasRoom(): boolean
  /** Is there anything to drain, as far as is known? True until the first look. */
  waits(): boolean
  /** How many lines could not be read, and were left out. */
  readonly torn: () => number
}

export const openSpool = (path: string, maxBytes = defaultMaxBytes): Spool => {
  const mark = `${path}.done`
  let size = 0
  let done = 0
  let torn = 0
  let looked: Promise<void> | undefined

  // What an earlier process left: its whole lines, from where it had come.
  const look = async (): Promise<void> => {
    const bytes = await readFile(path).catch(unlessMissing)
    size = bytes.lastIndexOf(0x0a) + 1
    // A crash between removing the two left a mark: it would hide what is spooled next.
    if (size === 0) await rm(mark, { force: true })
    done = Math.min(size, Number(await readFile(mark, 'utf8').catch(() => '0')) || 0)
    if (size < bytes.length) {
      torn++
      await cut(size)
    }
  }
  const known = (): Promise<void> => {
    looked ??= look().catch(error => {
      looked = undefined
      throw error
    })
    return looked
  }
  const cut = async (to: number): Promise<void> => {
    const file = await open(path, 'r+')
    try {
      await file.truncate(to)
      await file.sync()
    } finally {
      await file.close()
    }
  }
  /** What is there from a place on: some of it, and one whole line at least. */
  const piece = async (from: number): Promise<Buffer> => {
    const file = await open(path, 'r')
    try {
      for (let length = pieceBytes; ; length *= 2) {
        const bytes = Buffer.alloc(Math.min(length, size - from))
        await file.read(bytes, 0, bytes.length, from)
        if (bytes.includes(0x0a) || bytes.length < length) return bytes
      }
    } finally {
      await file.close()
    }
  }
  const append = async (lines: Buffer): Promise<void> => {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const file = await open(path, 'a', 0o600)
    try {
      await file.writeFile(lines)
      await file.sync()
    } finally {
      await file.close()
    }
  }

  return {
    async add(texts) {
      const lines = Buffer.from(`${texts.join('\n')}\n`)
      try {
        await known()
      } catch {
        return false
      }
      if (size + lines.length > maxBytes) return false
      try {
        await append(lines)
        size += lines.length
        return true
      } catch {
        // A full disk may have taken a part of it.
        await cut(size).catch(() => undefined)
        return false
      }
    },
    async drain(to) {
      await known()
      while (done < size) {
        const rest = await piece(done)
        const end = endOf(rest, groupSize)
        // Somebody else cut it short: what was there is gone.
        if (end === 0) {
          torn++
          done = size
          break
        }
        const texts = rest.subarray(0, end).toString('utf8').split('\n').filter(Boolean)
        const whole = texts.filter(isObject)
        torn += texts.length - whole.length
        if (whole.length > 0) await to(whole)
        done += end
        await writeFile(mark, String(done), { mode: 0o600 })
      }
      if (size === 0) return
      await rm(path, { force: true })
      await rm(mark, { force: true })
      size = 0
      done = 0
    },
    hasRoom: () => size < maxBytes,
    waits: () => looked === undefined || done < size,
    torn: () => torn,
  }
}

const unlessMissing = (error: NodeJS.ErrnoException): Buffer => {
  if (error.code !== 'ENOENT') throw error
  return Buffer.alloc(0)
}

/** Where the first whole lines end, so many at most. */
const endOf = (bytes: Buffer, most: number): number => {
  let end = 0
  for (let lines = 0; lines < most; lines++) {
    const next = bytes.indexOf(0x0a, end) + 1
    if (next === 0) break
    end = next
  }
  return end
}

const isObject = (text: string): boolean => {
  try {
    return typeof JSON.parse(text) === 'object'
  } catch {
    return false
  }
}

// ---- whose spool it is

export type Own = {
  /** The file of this process. */
  readonly path: string
  /** Drains what processes left that are gone. Rejects as `to` does; the rest then waits for the next start. */
  drainLeft(to: Append): Promise<void>
  giveBack(): void
}

const slots = 1_000

/**
 * Takes the first spool in `folder` that no living process has, until it is given back or this process ends.
 * Throws an Error that says what is wrong with the folder.
 */
export const takeSpool = (folder: string): Own => {
  const pathOf = (slot: number): string => join(folder, String(slot), 'entries.jsonl')
  for (let slot = 1; slot <= slots; slot++) {
    const giveBack = lock(join(folder, String(slot)))
    if (giveBack === undefined) continue
    return {
      path: pathOf(slot),
      async drainLeft(to) {
        const left = (await readdir(folder)).map(Number).filter(other => other > 0 && other !== slot)
        for (const other of left) {
          const unlock = lock(join(folder, String(other)))
          try {
            if (unlock !== undefined) await openSpool(pathOf(other)).drain(to)
          } finally {
            unlock?.()
          }
        }
      },
      giveBack,
    }
  }
  throw new Error(`audit.spool: ${folder} has no room for another process; give this one a folder of its own`)
}

/** Locks a folder for this process; undefined if another one has it. SQLite knows how, on every system. */
const lock = (folder: string): (() => void) | undefined => {
  let file: DatabaseSync | undefined
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    file = new DatabaseSync(join(folder, 'lock'), { timeout: 0 })
    file.exec('BEGIN EXCLUSIVE')
    const locked = file
    return () => {
      if (locked.isOpen) locked.close()
    }
  } catch (error) {
    file?.close()
    const busy = 5
    if (((error as { errcode?: number }).errcode ?? 0) % 256 === busy) return undefined
    throw new Error(`audit.spool: ${folder} cannot be used: ${(error as Error).message}`)
  }
}
