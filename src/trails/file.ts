// The audit log as JSON lines in `audit.jsonl` in a folder, fsynced at every write. A line cut off by a crash is completed by writing it again.
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Trail } from './trail.ts'

const tailBytes = 256 * 1024

export const fileTrail = (folder: string): Trail => {
  const path = join(folder, 'audit.jsonl')
  return {
    name: `file ${path}`,
    async reached() {
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

/** The sequence number of the last whole line; what follows it is cut off. */
const lastWhole = async (file: FileHandle): Promise<number> => {
  const { size } = await file.stat()
  const from = Math.max(0, size - tailBytes)
  const tail = Buffer.alloc(size - from)
  await file.read(tail, 0, tail.length, from)
  const end = tail.lastIndexOf(0x0a) + 1
  if (from + end < size) await file.truncate(from + end)
  const line =
    tail
      .subarray(0, Math.max(0, end - 1))
      .toString('utf8')
      .split('\n')
      .at(-1) ?? ''
  if (line === '') return 0
  const { seq } = JSON.parse(line) as { seq?: unknown }
  if (typeof seq !== 'number') throw new Error('its last line has no seq: it is not an audit log of this program')
  return seq
}
