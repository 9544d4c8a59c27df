// The SQLite file of the embedded store: made, locked for one process, and written in steps.
// A step is one savepoint; all steps that come while the disk is waited for share one transaction, so that many callers pay for one wait.
// Nobody is answered, and no event is told, before it is over.
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { type FileHandle, open as openAside } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { HoldpointError } from '../errors.ts'
import { outboxTable } from './sqlite-outbox.ts'

// In version 1 each entry of the log had a row of its own, which reads the same today.
const version = 2

const schema = `
  CREATE TABLE schema (version INTEGER NOT NULL) STRICT;
  INSERT INTO schema VALUES (${version});
  CREATE TABLE holds (
    id TEXT PRIMARY KEY, caller TEXT NOT NULL, fingerprint TEXT NOT NULL, bytes INTEGER NOT NULL, head TEXT NOT NULL,
    state TEXT NOT NULL, live INTEGER NOT NULL, rev INTEGER NOT NULL, fence INTEGER NOT NULL, due_at INTEGER NOT NULL, state_at INTEGER NOT NULL,
    findable_until_at INTEGER NOT NULL, verdicts TEXT NOT NULL, facts TEXT NOT NULL
  ) STRICT;
  CREATE INDEX holds_by_due ON holds (state, due_at, id) WHERE live = 1;
  CREATE INDEX holds_by_state ON holds (state, state_at, id);
  CREATE INDEX holds_by_fingerprint ON holds (fingerprint);
  CREATE TABLE totals (holds INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
  INSERT INTO totals VALUES (0, 0);
  CREATE TABLE sealed (hold TEXT NOT NULL, part TEXT NOT NULL, value TEXT NOT NULL, until_at INTEGER, PRIMARY KEY (hold, part)) STRICT;
  CREATE TABLE idempotency (key TEXT PRIMARY KEY, hold TEXT NOT NULL, fingerprint TEXT NOT NULL, until_at INTEGER NOT NULL) STRICT;
  CREATE TABLE remembered (fingerprint TEXT PRIMARY KEY, hold TEXT NOT NULL, until_at INTEGER NOT NULL) STRICT;
  CREATE TABLE denials (
    key TEXT PRIMARY KEY, times TEXT NOT NULL, paused_until_at INTEGER NOT NULL, pauses INTEGER NOT NULL, until_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE shelf (key TEXT PRIMARY KEY, value TEXT NOT NULL, until_at INTEGER) STRICT;
  CREATE INDEX sealed_by_end ON sealed (until_at) WHERE until_at IS NOT NULL;
  CREATE INDEX idempotency_by_end ON idempotency (until_at);
  CREATE INDEX remembered_by_end ON remembered (until_at);
  CREATE INDEX denials_by_end ON denials (until_at);
  CREATE INDEX shelf_by_end ON shelf (until_at) WHERE until_at IS NOT NULL;
  CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
  CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, hold TEXT NOT NULL, state TEXT NOT NULL, rev INTEGER NOT NULL, async INTEGER NOT NULL
  ) STRICT;`

// With so many pages of 4 KiB the log is copied into the file, inside of a COMMIT: that stops the thread for 4 ms, where the thousand that SQLite
// would wait for stop it for 10.
const logPages = 256

/** How many live holds each caller has. Made where it is missing: files of the first version counted them at every opening. */
const callersTable = `
  CREATE TABLE IF NOT EXISTS callers (caller TEXT PRIMARY KEY, holds INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO callers SELECT caller, count(*) FROM holds WHERE live = 1 AND NOT EXISTS (SELECT 1 FROM callers) GROUP BY caller;
  DROP INDEX IF EXISTS live_holds_by_caller;`

export type Database = {
  row<Row>(text: string, ...values: SQLInputValue[]): Row | undefined
  rows<Row>(text: string, ...values: SQLInputValue[]): Row[]
  /** Row by row, as far as somebody asks. */
  each<Row>(text: string, ...values: SQLInputValue[]): Iterable<Row>
  /** Answers how many rows it changed. Inside a step only. */
  write(text: string, ...values: SQLInputValue[]): number
  /** Does all of `act` or nothing of it; answers when it is on disk. */
  step<T>(act: () => T): Promise<T>
  /** Reads; what cannot be read is `store_unavailable`. */
  look<T>(act: () => T): Promise<T>
  close(): void
}

/**
 * @param path made with its folder if it is not there; `:memory:` keeps nothing.
 * @param written called after every transaction, once it is on disk.
 * Throws `store_unavailable` if another process has the file, if it is not ours, and if a newer Holdpoint wrote it.
 */
export const openDatabase = (path: string, written: () => void): Database => {
  const db = openFile(path)
  const statements = new Map<string, StatementSync>()
  const sql = (text: string): StatementSync => {
    const known = statements.get(text) ?? db.prepare(text)
    statements.set(text, known)
    return known
  }

  type Step = { readonly run: () => void; readonly done: () => void; readonly failed: (error: unknown) => void }
  let steps: Step[] = []
  let busy = false
  let broken: unknown

  // A commit in WAL mode writes the log; waiting for the disk is for the thread pool, so that nobody else waits for it. SQLite locks the
  // database file, not its log, so closing another handle of the log takes no lock away. The log is written front to back: what is on disk
  // of it includes all that was committed before.
  let logFile: Promise<FileHandle> | undefined
  const onDisk = async (): Promise<void> => {
    if (path === ':memory:') return
    logFile ??= openAside(`${path}-wal`, 'r+')
    await (await logFile).datasync()
  }

  /** Writes what waits as one transaction; answers those steps that were carried out. */
  const commit = (): readonly Step[] => {
    const taken = steps
    steps = []
    const kept: Step[] = []
    try {
      db.exec('BEGIN IMMEDIATE')
      for (const one of taken) {
        db.exec('SAVEPOINT step')
        try {
          one.run()
          kept.push(one)
        } catch (error) {
          db.exec('ROLLBACK TO step')
          one.failed(error)
        }
        db.exec('RELEASE step')
      }
      db.exec('COMMIT')
      return kept
    } catch (error) {
      if (db.isOpen && db.isTransaction) db.exec('ROLLBACK')
      for (const one of taken) one.failed(error)
      return []
    }
  }

  /** Commits until nothing waits. What comes while the disk is waited for is the next transaction. */
  const commitAll = async (): Promise<void> => {
    busy = true
    while (steps.length > 0) {
      const kept = commit()
      if (kept.length === 0) continue
      try {
        await onDisk()
      } catch (error) {
        // Of what a disk failed to write nobody knows what is there, nor whether it says so a second time: nothing counts until the file
        // is opened again.
        broken = error
        for (const one of [...kept, ...steps.splice(0)]) one.failed(error)
        break
      }
      written()
      for (const one of kept) one.done()
    }
    busy = false
  }

  const step = <T>(act: () => T): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      let answer: T
      const run = (): void => {
        answer = act()
      }
      const failed = (error: unknown): void => reject(unavailable(error))
      if (broken !== undefined) return failed(broken)
      const waiting = steps.push({ run, done: () => resolve(answer), failed })
      if (waiting === 1 && !busy) setImmediate(() => void commitAll())
    })

  return {
    row: <Row>(text: string, ...values: SQLInputValue[]) => sql(text).get(...values) as Row | undefined,
    rows: <Row>(text: string, ...values: SQLInputValue[]) => sql(text).all(...values) as Row[],
    each: <Row>(text: string, ...values: SQLInputValue[]) => sql(text).iterate(...values) as Iterable<Row>,
    write: (text, ...values) => Number(sql(text).run(...values).changes),
    step,
    async look(act) {
      try {
        if (broken !== undefined) throw broken
        return act()
      } catch (error) {
        throw unavailable(error)
      }
    },
    close() {
      if (steps.length > 0) for (const one of commit()) one.done()
      void logFile?.then(file => file.close()).catch(() => {})
      // Closing writes everything into the database file, and waits for it.
      db.close()
    },
  }
}

/** What SQLite throws means that the store cannot answer; a mistake in how it was asked stays what it is. */
const unavailable = (error: unknown): unknown =>
  error instanceof HoldpointError || error instanceof TypeError
    ? error
    : new HoldpointError('store_unavailable', undefined, { cause: error })

/** Opens the file for this process alone. The lock is the operating system's, so it ends with the process, however that ends. */
const openFile = (path: string): DatabaseSync => {
  const unusable = (why: string, cause?: unknown) =>
    new HoldpointError('store_unavailable', `store sqlite:${path} ${why}`, { cause })
  let db: DatabaseSync | undefined
  try {
    if (path !== ':memory:') makeFile(path)
    db = new DatabaseSync(path, { timeout: 1000 })
    // In exclusive mode the first write takes the lock for good. FULL would wait for the disk inside of COMMIT; here that is commitAll's.
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
    db.exec(`PRAGMA wal_autocheckpoint = ${logPages}; BEGIN EXCLUSIVE`)
    const tables = db.prepare('SELECT name FROM sqlite_schema').all()
    if (tables.length === 0) db.exec(schema)
    else if (!tables.some(({ name }) => name === 'schema'))
      throw unusable('belongs to another program: name a file of its own for Holdpoint')
    const found = Number(db.prepare('SELECT version FROM schema').get()?.version)
    if (found === 1) db.exec(`UPDATE schema SET version = ${version}`)
    else if (found !== version)
      throw unusable(
        `has schema version ${found}, and this Holdpoint knows ${version}: start the Holdpoint that wrote it, or a newer one`,
      )
    db.exec(outboxTable)
    db.exec(callersTable)
    db.exec('COMMIT')
    return db
  } catch (error) {
    db?.close()
    if (error instanceof HoldpointError) throw error
    const busy = 5
    if (((error as { errcode?: number }).errcode ?? 0) % 256 === busy)
      throw unusable(
        'is in use by another process: SQLite serves one Holdpoint only. Stop the other one, or give both a redis:// store',
        error,
      )
    throw unusable(
      `cannot be opened (${error instanceof Error ? error.message : error}): check the path and its permissions`,
      error,
    )
  }
}

// Made here, because SQLite would let everybody read it. Never opened twice: closing a second descriptor would drop SQLite's lock (POSIX).
const makeFile = (path: string): void => {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}
