// Entries of calls: grouped, spooled while the store is away, never lost and not twice, and no call without one.
import { appendFile, mkdir, mkdtemp, readFile, rm, rmdir, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { makeLog } from '../src/log.ts'
import { type Recorder, recorder } from '../src/record.ts'
import { type Own, openSpool, takeSpool } from '../src/spool.ts'

type Line = {
  kind: string
  call?: string
  status?: number
  code?: string
  count?: number
  number?: number
  boot?: string
}

let dir: string
const open: Recorder[] = []

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdpoint-record-'))
})
afterEach(async () => {
  await Promise.all(open.splice(0).map(one => one.close()))
  await rm(dir, { recursive: true, force: true })
})

/** A log that can be away (rejects) or hang until it is let go. */
const logOf = () => {
  const lines: Line[] = []
  /** How many entries came at once. */
  const sizes: number[] = []
  let away = false
  let gate: Promise<void> | undefined
  let letGo = (): void => undefined
  let slowMs = 0
  return {
    lines,
    sizes,
    /** From now on every append answers after so long. */
    slow(ms: number) {
      slowMs = ms
    },
    calls: () => lines.map(line => line.call),
    away(yes: boolean) {
      away = yes
    },
    hang() {
      gate = new Promise(resolve => {
        letGo = resolve
      })
    },
    letGo() {
      gate = undefined
      letGo()
    },
    log: {
      async append(entries: readonly string[]) {
        if (gate !== undefined) await gate
        if (slowMs > 0) await new Promise(resolve => setTimeout(resolve, slowMs))
        if (away) throw new Error('away')
        sizes.push(entries.length)
        lines.push(...entries.map(entry => JSON.parse(entry) as Line))
      },
      read: async () => [],
      newest: async () => [],
    },
  }
}

const start = (store: ReturnType<typeof logOf>, options: { spool?: boolean; strict?: boolean } = {}): Recorder => {
  const one = recorder({
    log: store.log,
    spool: options.spool === false ? undefined : join(dir, 'entries.jsonl'),
    strict: () => options.strict ?? false,
    clock: Date.now,
    report: makeLog('silent'),
  })
  open.push(one)
  return one
}

const allow = async (record: Recorder, call: string) => {
  const entry = record.allowed({ kind: 'call.allowed', call })
  await entry.written
  return entry
}

describe('while the store is there', () => {
  it('writes entries in order, with the status that came before they left', async () => {
    const store = logOf()
    const record = start(store)
    const first = await allow(record, 'a')
    await allow(record, 'b')
    first.answered(200)
    await record.flush()
    expect(store.lines.map(({ call, status, number }) => [call, status, number])).toEqual([
      ['a', 200, 1],
      ['b', undefined, 2],
    ])
    first.answered(204)
    await record.flush()
    expect(store.lines.at(-1)).toMatchObject({ kind: 'call.answered', call: 'a', status: 204 })
  })

  it('keeps an entry for 25 to 50 ms, so that its answer joins it, however much there is to write', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const store = logOf()
      const record = start(store, { spool: false })
      const pass = async (ms: number): Promise<void> => {
        await vi.advanceTimersByTimeAsync(ms)
      }
      await allow(record, 'early')
      await pass(40)
      expect(store.calls()).toEqual([])
      const late = await allow(record, 'late')
      await pass(10)
      expect(store.calls()).toEqual(['early'])
      late.answered(200)
      await pass(24)
      expect(store.calls()).toEqual(['early'])
      await pass(16)
      expect(store.lines.slice(1)).toEqual([expect.objectContaining({ call: 'late', status: 200 })])
      // Nothing is left to wake for.
      await pass(50)
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  it('writes few at a time, and many only where many have piled up', async () => {
    const store = logOf()
    const record = start(store)
    for (let n = 1; n <= 250; n++) await allow(record, `call ${n}`)
    await record.flush()
    expect(store.sizes.splice(0)).toEqual([100, 100, 50])
    const late = [...Array(1500).keys()].map(n => record.allowed({ kind: 'call.allowed', call: `call ${n + 251}` }))
    expect(late).toHaveLength(1500)
    await record.flush()
    expect(store.sizes).toEqual([1000, 100, 100, 100, 100, 100])
    expect(store.lines.map(line => line.number)).toEqual([...Array(1750).keys()].map(n => n + 1))
  })

  it('writes many at a time to a store that takes its time', async () => {
    const store = logOf()
    const record = start(store)
    store.slow(20)
    for (let n = 1; n <= 900; n++) await allow(record, `call ${n}`)
    await record.flush()
    expect(store.sizes).toEqual([100, 800])
  })

  it('writes what is noted while it closes', async () => {
    const store = logOf()
    const record = start(store)
    store.slow(20)
    const first = await allow(record, 'a')
    record.count('127.0.0.1', 'malformed')
    const closing = record.close()
    await expect.poll(() => store.calls().length, { interval: 1 }).toBe(1)
    first.answered(200)
    await expect.poll(() => store.calls().length, { interval: 1 }).toBe(2)
    record.note({ kind: 'tunnel.closed', call: 'b' })
    await closing
    expect(store.lines.map(line => line.kind)).toEqual([
      'call.allowed',
      'calls.refused',
      'call.answered',
      'tunnel.closed',
    ])
  })

  it('counts what has no caller', async () => {
    const store = logOf()
    const record = start(store)
    for (let n = 0; n < 3; n++) record.count('127.0.0.1', 'malformed')
    await record.close()
    expect(store.lines).toEqual([expect.objectContaining({ kind: 'calls.refused', code: 'malformed', count: 3 })])
  })
})

describe('while the store is away', () => {
  it('spools, and drains in order when it is back', async () => {
    const store = logOf()
    const record = start(store)
    store.away(true)
    for (const call of ['a', 'b', 'c']) {
      await allow(record, call)
      await record.flush()
    }
    expect(store.lines).toEqual([])
    expect(record.trouble()).toBeDefined()
    store.away(false)
    await allow(record, 'd')
    await record.flush()
    expect(store.calls()).toEqual(['a', 'b', 'c', 'd'])
    expect(record.trouble()).toBeUndefined()
  })

  it('keeps the spool over a restart', async () => {
    const store = logOf()
    const record = start(store)
    store.away(true)
    await allow(record, 'a')
    await record.close()
    store.away(false)
    const again = start(store)
    await again.flush()
    expect(store.calls()).toEqual(['a'])
  })

  it('lets nothing through without a spool', async () => {
    const store = logOf()
    const record = start(store, { spool: false })
    store.away(true)
    await allow(record, 'a')
    await expect(record.flush()).rejects.toMatchObject({ code: 'audit_unavailable' })
    await expect(allow(record, 'b')).rejects.toMatchObject({ code: 'audit_unavailable' })
    store.away(false)
    await record.flush()
    await allow(record, 'c')
    await record.flush()
    expect(store.calls()).toEqual(['a', 'c'])
  })

  it('takes a store that does not answer for one that is away, and writes nothing twice when it answers after all', async () => {
    const store = logOf()
    const record = start(store)
    store.hang()
    await allow(record, 'a')
    await record.flush()
    expect(record.trouble()).toBe('the store does not answer')
    expect(await readFile(join(dir, 'entries.jsonl'), 'utf8')).toContain('"call":"a"')
    await allow(record, 'b')
    await record.flush()
    store.letGo()
    await expect.poll(() => store.calls()).toEqual(['a'])
    await record.flush()
    await expect.poll(() => store.calls()).toEqual(['a', 'b'])
  })

  it('waits for a store that is only slow before it closes, and loses nothing', async () => {
    const store = logOf()
    const record = start(store, { spool: false })
    store.hang()
    await allow(record, 'a')
    await expect(record.flush()).rejects.toMatchObject({ code: 'audit_unavailable' })
    expect(record.trouble()).toBe('the store does not answer')
    const closing = record.close()
    setImmediate(() => store.letGo())
    await closing
    expect(store.calls().filter(call => call !== undefined)).toEqual(['a'])
    expect(record.trouble()).toBeUndefined()
  })

  it('waits for every slow step before it closes, so that nothing is both in the spool and in the store', async () => {
    const store = logOf()
    const record = start(store)
    store.slow(600)
    await allow(record, 'a')
    await record.flush()
    expect(record.trouble()).toBe('the store does not answer')
    await allow(record, 'b')
    await record.close()
    const again = start(store)
    await again.flush()
    expect(store.calls()).toEqual(['a', 'b'])
  })

  it('loses no count of callers without a token because the store was away before', async () => {
    const store = logOf()
    const record = start(store, { spool: false })
    store.away(true)
    await allow(record, 'a')
    await expect(record.flush()).rejects.toMatchObject({ code: 'audit_unavailable' })
    record.count('127.0.0.1', 'malformed')
    store.away(false)
    await record.close()
    expect(store.lines.at(-1)).toMatchObject({ kind: 'calls.refused', count: 1 })
  })

  it('waits for each entry if it has to be strict', async () => {
    const store = logOf()
    const record = start(store, { spool: false, strict: true })
    await allow(record, 'a')
    expect(store.calls()).toEqual(['a'])
    store.away(true)
    await expect(allow(record, 'b')).rejects.toMatchObject({ code: 'audit_unavailable' })
    store.away(false)
    await record.flush()
    expect(store.lines.at(-1)).toMatchObject({ call: 'b', kind: 'call.refused', code: 'audit_unavailable' })
  })
})

describe('a strict log without a spool, whose store is slow', () => {
  it('says of a call that it was refused after all, though its entry was on its way', async () => {
    const store = logOf()
    const record = start(store, { spool: false, strict: true })
    store.hang()
    const refused = allow(record, 'a')
    await expect(refused).rejects.toMatchObject({ code: 'audit_unavailable' })
    store.letGo()
    await record.close()
    expect(store.lines.map(({ call, kind, code, number }) => [call, kind, code, number])).toEqual([
      ['a', 'call.allowed', undefined, 1],
      ['a', 'call.refused', 'audit_unavailable', 2],
    ])
  })
})

describe('the spool', () => {
  const texts = (from: number, count: number): string[] =>
    Array.from({ length: count }, (_, n) => JSON.stringify({ n: from + n }))

  it('goes on where a drain that failed had come', async () => {
    const path = join(dir, 'spool')
    const spool = openSpool(path)
    await spool.add(texts(0, 2_500))
    const seen: string[] = []
    const twice = async (group: readonly string[]): Promise<void> => {
      if (seen.length > 0) throw new Error('away')
      seen.push(...group)
    }
    await expect(spool.drain(twice)).rejects.toThrow('away')
    // As after a crash: another process takes it up.
    await openSpool(path).drain(async group => void seen.push(...group))
    expect(seen).toEqual(texts(0, 2_500))
  })

  it('cuts off a torn line, and leaves out what does not read', async () => {
    const path = join(dir, 'spool')
    await writeFile(path, '{"n":1}\nnot json\n{"n":2}\n{"n":3,"torn')
    const spool = openSpool(path)
    await spool.add(['{"n":4}'])
    const seen: string[] = []
    await spool.drain(async group => void seen.push(...group))
    expect(seen).toEqual(['{"n":1}', '{"n":2}', '{"n":4}'])
    expect(spool.torn()).toBe(2)
    expect(spool.waits()).toBe(false)
  })

  it('hides nothing behind the mark of a spool that is gone', async () => {
    const path = join(dir, 'spool')
    await writeFile(`${path}.done`, '14')
    await openSpool(path).add(['{"n":1}', '{"n":2}'])
    const seen: string[] = []
    await openSpool(path).drain(async group => void seen.push(...group))
    expect(seen).toEqual(['{"n":1}', '{"n":2}'])
  })

  it('takes nothing while what is there cannot be read, and looks again', async () => {
    const path = join(dir, 'spool')
    await mkdir(path)
    const spool = openSpool(path)
    expect(await spool.add(['{"n":1}'])).toBe(false)
    await expect(spool.drain(async () => undefined)).rejects.toThrow('EISDIR')
    await rmdir(path)
    expect(await spool.add(['{"n":1}'])).toBe(true)
  })

  it('drains lines longer than what it reads at first, and ends where somebody cut it short', async () => {
    const path = join(dir, 'spool')
    const long = `{"n":"${'x'.repeat(2_500_000)}"}`
    const spool = openSpool(path)
    await spool.add([long, '{"n":1}'])
    await spool.add(['{"n":2}'])
    await truncate(path, long.length + 9)
    const seen: string[] = []
    await spool.drain(async group => void seen.push(...group))
    expect(seen).toEqual([long, '{"n":1}'])
    expect(spool.torn()).toBe(1)
  })

  it('is bounded', async () => {
    const spool = openSpool(join(dir, 'spool'), 20)
    expect(await spool.add(['{"n":1}'])).toBe(true)
    expect(await spool.add(['{"n":"a long one, too long"}'])).toBe(false)
    await appendFile(join(dir, 'other'), '')
    const seen: string[] = []
    await spool.drain(async group => void seen.push(...group))
    expect(seen).toEqual(['{"n":1}'])
  })
})

describe('whose spool it is', () => {
  const taken: Own[] = []
  const take = (): Own => {
    const own = takeSpool(dir)
    taken.push(own)
    return own
  }
  afterEach(() => {
    for (const own of taken.splice(0)) own.giveBack()
  })

  it('gives each process its own, and one that was given back to the next', async () => {
    const [first, second] = [take(), take()]
    expect(second.path).not.toBe(first.path)
    first.giveBack()
    expect(take().path).toBe(first.path)
  })

  it('drains what others left that are gone, and nothing of those that live', async () => {
    const [first, gone, living] = [take(), take(), take()]
    await openSpool(gone.path).add(['{"n":1}', '{"n":2}'])
    await openSpool(living.path).add(['{"n":3}'])
    gone.giveBack()
    const seen: string[] = []
    const away = async (): Promise<void> => {
      throw new Error('away')
    }
    await expect(first.drainLeft(away)).rejects.toThrow('away')
    await first.drainLeft(async group => void seen.push(...group))
    expect(seen).toEqual(['{"n":1}', '{"n":2}'])
    expect(take().path).toBe(gone.path)
  })

  it('says what is wrong with the folder', async () => {
    await writeFile(join(dir, 'file'), '')
    expect(() => takeSpool(join(dir, 'file'))).toThrow(/^audit\.spool: .*cannot be used/)
  })
})
