// The audit log as JSON lines in `audit.jsonl` in a folder, fsynced at every write. A line cut off by a crash is completed by writing it again.
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Line, Trail } from './trail.ts'

const tailBytes = 256 * 1024
const newline = 0x0a

export const fileTrail = (folder: string): Trail => {
  const path = join(folder, 'audit.jsonl')
  return {
    name: `file ${path}`,
    async tail() {
      await mkdir(folder, { recursive: true, mode: 0o750 })
      const file = await open(path, 'a+', 0o640)
      try {
        return await lastWhole(file)
      } finally {
        await file.close()
      }
    },
    async write(lines) {
      const file = await open(path, 'a', 0o640)
      try {
        await file.writeFile(`${lines.map(line => line.text).join('\n')}\n`)
        await file.sync()
      } finally {
        await file.close()
      }
    },
  }
}

/** The last whole lines, at least one if there is any; what follows them is cut off. */
const lastWhole = async (file: FileHandle): Promise<readonly Line[]> => {
  const { size } = await file.stat()
  for (let length = Math.min(size, tailBytes); ; length = Math.min(size, 4 * length)) {
    const from = size - length
    const bytes = Buffer.alloc(length)
    await file.read(bytes, 0, length, from)
    const start = from === 0 ? 0 : bytes.indexOf(newline) + 1
    const end = bytes.lastIndexOf(newline) + 1
    // One line longer than all this.
    if (from > 0 && (start === 0 || start === end)) continue
    if (from + end < size) await file.truncate(from + end)
    const texts = bytes.subarray(start, end).toString('utf8').split('\n').slice(0, -1)
    const lines = texts.flatMap(text => lineOf(text) ?? [])
    if (lines.length === 0 && texts.length > 0)
      throw new Error('its last lines have no seq: it is not an audit log of this program')
    return lines
  }
}

const lineOf = (text: string): Line | undefined => {
  try {
    const { seq } = JSON.parse(text) as { seq?: unknown }
    return typeof seq === 'number' && Number.isSafeInteger(seq) && seq > 0 ? { seq, text } : undefined
  } catch {
    return undefined
  }
}
