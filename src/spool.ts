// Where audit entries wait on disk while the store is away: one file of JSON lines, bounded, drained from the front. How far it is
// drained stands in a file beside it, so that neither a crash nor a second failure sends much twice; a line torn by a crash is cut off.
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

const groupSize = 1_000
const defaultMaxBytes = 256 * 1024 * 1024

export type Spool = {
  /** Puts texts at the end, on disk; false if there is no room or the disk refuses: then nothing of them is in it. */
  add(texts: readonly string[]): Promise<boolean>
  /** Hands everything to `to`, group by group, oldest first; what it took is gone from here. Rejects as `to` does. */
  drain(to: (texts: readonly string[]) => Promise<void>): Promise<void>
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
        const rest = (await readFile(path)).subarray(done, size)
        let end = 0
        for (let lines = 0; lines < groupSize && end < rest.length; lines++) end = rest.indexOf(0x0a, end) + 1
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

const isObject = (text: string): boolean => {
  try {
    return typeof JSON.parse(text) === 'object'
  } catch {
    return false
  }
}
