// What SQL statements would do. A statement only reads if it begins like one that reads and no word in it could write; what is not known
// writes. Functions can write too: a few that do are known, others are not told from harmless ones (docs say so).
import type { Action } from '../../nouns.ts'
import { type Dialect, type Token, tokens } from './tokens.ts'

/** Nothing of it can be told. */
export const opaque: Action = { name: 'sql:unknown', resource: '', access: 'unknown', fields: {}, unknown: ['*'] }

export type Context = {
  readonly dialect: Dialect
  /** Of a table that is named without one; undefined: whatever the server takes. */
  readonly database: string | undefined
}

const maxActions = 500

/** Every statement's actions; never none. */
export const statements = (text: string, context: Context): readonly Action[] => {
  const read = tokens(text, context.dialect)
  if (typeof read === 'string') return [opaque]
  const actions = split(read).flatMap(statement => actionsOf(statement, context))
  return actions.length === 0 || actions.length > maxActions ? [opaque] : unique(actions)
}

export const unique = (actions: readonly Action[]): readonly Action[] => [
  ...new Map(actions.map(action => [JSON.stringify(action), action])).values(),
]

/** Does the text end inside an INSERT whose rows follow, as ClickHouse has it: `… VALUES` or `… FORMAT name`? */
export const awaitsRows = (text: string, dialect: Dialect): boolean => {
  const read = tokens(text, dialect)
  if (typeof read === 'string' || split(read).length !== 1) return false
  const words = read.map(upper)
  if (words[0] !== 'INSERT') return false
  return words.at(-1) === 'VALUES' || (words.at(-2) === 'FORMAT' && read.at(-1)?.kind === 'word')
}

const split = (all: readonly Token[]): readonly (readonly Token[])[] => {
  const found: Token[][] = [[]]
  for (const token of all) {
    if (isSign(token, ';')) found.push([])
    else found.at(-1)?.push(token)
  }
  return found.filter(statement => statement.length > 0)
}

const isSign = (token: Token | undefined, text: string): boolean => token?.kind === 'sign' && token.text === text

/** The keyword that a word may be; quoted names are none. */
const upper = (token: Token | undefined): string => (token?.kind === 'word' ? token.text.toUpperCase() : '')

// ---- what a statement does

const reading: ReadonlySet<string> = new Set([
  'SELECT',
  'SHOW',
  'DESCRIBE',
  'DESC',
  'EXISTS',
  'VALUES',
  'TABLE',
  'EXPLAIN',
  'WITH',
  'FROM',
])
/** These only tell how something is made. */
const telling: ReadonlySet<string> = new Set(['SHOW', 'DESCRIBE', 'DESC', 'EXISTS'])

const writing: ReadonlySet<string> = new Set([
  'INSERT',
  'UPDATE',
  'DELETE',
  'MERGE',
  'UPSERT',
  'REPLACE',
  'DROP',
  'UNDROP',
  'ALTER',
  'CREATE',
  'TRUNCATE',
  'GRANT',
  'REVOKE',
  'INTO',
  'COPY',
  'CALL',
  'EXEC',
  'EXECUTE',
  'PREPARE',
  'SET',
  'RESET',
  'SYSTEM',
  'KILL',
  'ATTACH',
  'DETACH',
  'OPTIMIZE',
  'RENAME',
  'EXCHANGE',
  'MOVE',
  'BACKUP',
  'RESTORE',
  'VACUUM',
  'ANALYZE',
  'REINDEX',
  'REFRESH',
  'LOAD',
  'LOCK',
  'OUTFILE',
  'DUMPFILE',
  'PRAGMA',
  'DO',
  'SHUTDOWN',
])

/** Part of what these statements say anyway, not something they do besides. */
const within: { readonly [verb: string]: ReadonlySet<string> } = {
  INSERT: new Set(['INTO', 'UPDATE', 'SET', 'DO', 'REPLACE']),
  REPLACE: new Set(['INTO', 'SET']),
  UPSERT: new Set(['INTO']),
  MERGE: new Set(['INTO', 'SET', 'DO']),
  UPDATE: new Set(['SET']),
  CREATE: new Set(['REPLACE', 'SET']),
}

const permissions: ReadonlySet<string> = new Set(['GRANT', 'REVOKE'])
const principals: ReadonlySet<string> = new Set([
  'USER',
  'ROLE',
  'LOGIN',
  'POLICY',
  'QUOTA',
  'PROFILE',
  'GROUP',
  'OWNER',
])

// They act although they stand in a SELECT.
const acting =
  /^(?:pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_promote|pg_read_.*|pg_ls_.*|pg_write_.*|pg_file_.*|pg_switch_wal|pg_advisory_.*|set_config|setval|nextval|lo_.*|dblink.*|query_to_xml.*|database_to_xml.*|xp_.*|sp_.*|load_file|load_extension|sys_exec|sys_eval|executable|sleep|pg_sleep.*|benchmark)$/i

const actionsOf = (statement: readonly Token[], context: Context): readonly Action[] => {
  const [first] = statement.map(upper)
  if (first === undefined || first === '') {
    // `(SELECT …) UNION …`
    return isSign(statement[0], '(') && statement.length > 1 ? actionsOf(statement.slice(1), context) : [opaque]
  }
  if (first === 'EXPLAIN') {
    const inner = statement.slice(1).findIndex(token => starts.has(upper(token)))
    const runs = statement.slice(1).some(token => upper(token) === 'ANALYZE' || upper(token) === 'ANALYSE')
    if (runs) return inner < 0 ? [opaque] : actionsOf(statement.slice(1 + inner), context)
    return [one('explain', 'read', undefined, statement, context)]
  }
  const also = writers(statement, first)
  const verb = first === 'WITH' || first === 'FROM' ? (also[0] ?? 'SELECT') : first
  const isRead = reading.has(verb) && also.length === 0
  const found = relations(statement, verb, isRead, context)
  const access = isRead
    ? statement.some((token, at) => token.kind === 'word' && acting.test(token.text) && isSign(statement[at + 1], '('))
      ? 'unknown'
      : 'read'
    : accessOf(statement, verb)
  const name = (verb === 'WITH' ? 'SELECT' : verb).toLowerCase()
  const main = found.targets.length > 0 ? found.targets : isRead ? found.sources : []
  const actions = (main.length > 0 ? main : [undefined]).map(table =>
    one(name, access, table, statement, context, found.told),
  )
  for (const other of also.filter(word => word !== verb)) {
    const tables = found.targets.length > 0 ? found.targets : [undefined]
    actions.push(
      ...tables.map(table =>
        one(
          other.toLowerCase(),
          accessOf(statement, other),
          table,
          statement,
          context,
          found.told && table !== undefined,
        ),
      ),
    )
  }
  // What it reads besides.
  if (!isRead) actions.push(...found.sources.map(table => one('select', 'read', table, statement, context, found.told)))
  return actions
}

const starts: ReadonlySet<string> = new Set(
  [...reading, ...writing].filter(word => !['EXPLAIN', 'ANALYZE', 'TABLE', 'INTO'].includes(word)),
)

const accessOf = (statement: readonly Token[], verb: string): Action['access'] => {
  if (permissions.has(verb)) return 'permissions'
  return ['CREATE', 'ALTER', 'DROP', 'SET', 'RESET', 'RENAME'].includes(verb) &&
    statement.slice(1, 4).some(token => principals.has(upper(token)))
    ? 'permissions'
    : 'write'
}

/** Words in it that could write, besides those that belong to its first one. */
const writers = (statement: readonly Token[], first: string): readonly string[] => {
  if (telling.has(first) || permissions.has(first)) return []
  const found: string[] = []
  for (const [at, token] of statement.entries()) {
    const word = upper(token)
    if (!writing.has(word) || (at === 0 && word === first)) continue
    const before = statement[at - 1]
    const after = statement[at + 1]
    // A part of a name, or a function of that name (replace, insert, truncate).
    if (isSign(before, '.') || isSign(after, '.') || (isSign(after, '(') && word !== 'VALUES')) continue
    if (within[first]?.has(word) || (word === 'INTO' && within[upper(before)]?.has(word))) continue
    found.push(word === 'INTO' ? 'SELECT_INTO' : word)
  }
  return [...new Set(found)]
}

// ---- what it does it to

type Table = { readonly database: string | undefined; readonly table: string }

type Relations = {
  readonly targets: readonly Table[]
  readonly sources: readonly Table[]
  /** False if something stands where a plain name of a table is expected. */
  readonly told: boolean
}

const modifiers: ReadonlySet<string> = new Set([
  'IF',
  'NOT',
  'EXISTS',
  'ONLY',
  'LOCAL',
  'TEMPORARY',
  'TEMP',
  'TABLE',
  'VIEW',
  'MATERIALIZED',
  'DICTIONARY',
  'LATERAL',
  'IGNORE',
  'LOW_PRIORITY',
  'FINAL',
])

/** Words after which a table is named. */
const leading: ReadonlySet<string> = new Set(['FROM', 'JOIN', 'INTO', 'UPDATE', 'TABLE', 'VIEW', 'USING', 'DICTIONARY'])
const endings: ReadonlySet<string> = new Set(['DATABASE', 'SCHEMA'])

const relations = (statement: readonly Token[], verb: string, isRead: boolean, { dialect }: Context): Relations => {
  const targets: Table[] = []
  const sources: Table[] = []
  const common = commonNames(statement)
  const inside = insideFunctions(statement)
  let told = isPlain(statement, verb)
  let targeted = false
  const take = (at: number, target: boolean): number => {
    let here = at
    while (modifiers.has(upper(statement[here])) && !isSign(statement[here + 1], '.')) here += 1
    const token = statement[here]
    // A subquery is read when its own FROM comes; a list after USING is of columns.
    if (isSign(token, '(')) return here
    if (token === undefined || (token.kind !== 'word' && token.kind !== 'name')) {
      told = false
      return here
    }
    const parts = [token]
    while (isSign(statement[here + 1], '.')) {
      const part = statement[here + 2]
      if (part === undefined || (part.kind !== 'word' && part.kind !== 'name')) {
        told = false
        return here + 1
      }
      parts.push(part)
      here += 2
    }
    const names = parts.map(part => ('text' in part ? part.text : ''))
    if (isSign(statement[here + 1], '(') && !target) told = false
    else if (names.length > 2 && dialect !== 'influx') told = false
    else if (upper(token) === 'FUNCTION' && names.length === 1) told = false
    else {
      const table = { database: names.length > 1 ? names.slice(0, -1).join('.') : undefined, table: names.at(-1) ?? '' }
      if (!(names.length === 1 && common.has(table.table.toLowerCase()))) (target ? targets : sources).push(table)
    }
    return here
  }
  const simple =
    verb === 'TRUNCATE' || verb === 'OPTIMIZE' || verb === 'DESCRIBE' || verb === 'DESC' || verb === 'EXISTS'
  if (simple && !leading.has(upper(statement[1])) && !endings.has(upper(statement[1]))) {
    take(1, true)
    targeted = true
  }
  for (let at = 0; at < statement.length; at += 1) {
    const word = upper(statement[at])
    if (isSign(statement[at - 1], '.') || isSign(statement[at + 1], '.')) continue
    if (endings.has(word) && ['CREATE', 'DROP', 'ALTER', 'USE', 'SHOW'].includes(verb)) told = false
    if (!leading.has(word) || inside.has(at) || comparesDistinct(statement, at)) continue
    if (word === 'USING' && isSign(statement[at + 1], '(')) continue
    // `DELETE FROM`, `INSERT INTO`, `UPDATE`, `DROP TABLE`: the first one is what it is done to.
    const target = !targeted && !isRead && (word !== 'FROM' || verb === 'DELETE' || telling.has(verb))
    if (word === 'UPDATE' && at > 0 && verb !== 'WITH' && verb !== 'UPDATE') continue
    let here = take(at + 1, target)
    if (target) targeted = true
    // `FROM a, b` and `DROP TABLE a, b`; an alias may stand between.
    if (word === 'FROM' || word === 'TABLE' || word === 'VIEW' || word === 'USING' || word === 'JOIN') {
      for (;;) {
        let comma = here + 1
        if (upper(statement[comma]) === 'AS') comma += 1
        if (
          !isSign(statement[comma], ',') &&
          (statement[comma]?.kind === 'word' || statement[comma]?.kind === 'name') &&
          isSign(statement[comma + 1], ',') &&
          !clauses.has(upper(statement[comma]))
        )
          comma += 1
        if (!isSign(statement[comma], ',')) break
        here = take(comma + 1, target)
      }
    }
    at = Math.max(at, here - 1)
  }
  // A comma join behind a subquery, a sample or another clause is not followed so far: whoever names tables must not miss one.
  if (openCommas(statement)) told = false
  return { targets, sources, told }
}

const clauses: ReadonlySet<string> = new Set([
  'WHERE',
  'GROUP',
  'ORDER',
  'LIMIT',
  'SET',
  'ON',
  'HAVING',
  'UNION',
  'VALUES',
  'SELECT',
  'RETURNING',
])

const tables: ReadonlySet<string> = new Set(['TABLE', 'VIEW', 'DICTIONARY'])
/** Further tables in an ALTER are named behind these. */
const further: ReadonlySet<string> = new Set(['RENAME', 'ATTACH', 'EXCHANGE', 'MOVE', 'FETCH', 'INHERIT', 'REFERENCES'])

/** Statements whose tables stand where they are looked for. */
const isPlain = (statement: readonly Token[], verb: string): boolean => {
  if (['CREATE', 'DROP', 'ALTER'].includes(verb)) {
    const second = statement
      .slice(1)
      .map(upper)
      .find(word => !modifiers.has(word) || tables.has(word))
    return tables.has(second ?? '') && !(verb === 'ALTER' && statement.some(token => further.has(upper(token))))
  }
  return reading.has(verb) || ['INSERT', 'REPLACE', 'MERGE', 'UPDATE', 'DELETE', 'TRUNCATE', 'OPTIMIZE'].includes(verb)
}

/** Functions that have a FROM of their own: `EXTRACT(YEAR FROM at)`. */
const fromFunctions: ReadonlySet<string> = new Set(['EXTRACT', 'TRIM', 'SUBSTRING', 'OVERLAY'])

const insideFunctions = (statement: readonly Token[]): ReadonlySet<number> => {
  const found = new Set<number>()
  const open: { word: string; taken: boolean }[] = []
  for (const [at, token] of statement.entries()) {
    const here = open.at(-1)
    if (isSign(token, '(')) open.push({ word: upper(statement[at - 1]), taken: false })
    else if (isSign(token, ')')) open.pop()
    else if (upper(token) === 'SELECT' && here !== undefined) here.taken = true
    else if (upper(token) === 'FROM' && here !== undefined && !here.taken && fromFunctions.has(here.word)) {
      found.add(at)
      here.taken = true
    }
  }
  return found
}

/** `a IS DISTINCT FROM b`. */
const comparesDistinct = (statement: readonly Token[], at: number): boolean => {
  const before = [1, 2, 3].map(back => upper(statement[at - back]))
  return (
    upper(statement[at]) === 'FROM' &&
    before[0] === 'DISTINCT' &&
    (before[1] === 'IS' || (before[1] === 'NOT' && before[2] === 'IS'))
  )
}

/** Names that `WITH a AS (…)` gives to subqueries. */
const commonNames = (statement: readonly Token[]): ReadonlySet<string> => {
  const names = new Set<string>()
  if (upper(statement[0]) !== 'WITH') return names
  for (const [at, token] of statement.entries()) {
    if (upper(token) !== 'AS' || !isSign(statement[at + 1], '(')) continue
    const name = statement[at - 1]
    if (name !== undefined && 'text' in name && name.kind !== 'sign') names.add(name.text.toLowerCase())
  }
  return names
}

/** Is there a comma in a FROM list behind something that is no plain name? */
const openCommas = (statement: readonly Token[]): boolean => {
  let depth = 0
  const from: { depth: number; plain: boolean }[] = []
  for (const token of statement) {
    if (isSign(token, '(')) {
      depth += 1
      const open = from.at(-1)
      if (open !== undefined && open.depth === depth - 1) open.plain = false
    } else if (isSign(token, ')')) {
      while (from.length > 0 && (from.at(-1)?.depth ?? 0) >= depth) from.pop()
      depth -= 1
    } else if (upper(token) === 'FROM') from.push({ depth, plain: true })
    else if (clauses.has(upper(token)) && from.at(-1)?.depth === depth) from.pop()
    else if (isSign(token, ',') && from.at(-1)?.depth === depth && from.at(-1)?.plain === false) return true
  }
  return false
}

// ---- as an action

const one = (
  name: string,
  access: Action['access'],
  table: Table | undefined,
  statement: readonly Token[],
  context: Context,
  told = true,
): Action => {
  const database = table?.database ?? context.database
  const resource = table === undefined ? '' : database === undefined ? table.table : `${database}.${table.table}`
  const unknown = [
    ...(told ? [] : ['table', 'resource', 'database']),
    ...(told && table !== undefined && database === undefined ? ['database', 'resource'] : []),
  ]
  return {
    name: `sql:${name}`,
    resource,
    access,
    fields: {
      statement: written(statement),
      ...(table === undefined ? {} : { table: table.table }),
      ...(table === undefined || database === undefined ? {} : { database }),
    },
    ...(unknown.length === 0 ? {} : { unknown }),
  }
}

/** The statement on one line, with `?` for every text and number: nothing in it is secret, and equal shapes are equal texts. */
const written = (statement: readonly Token[]): string => {
  let text = ''
  for (const token of statement) {
    const word = token.kind === 'literal' ? '?' : token.kind === 'name' ? JSON.stringify(token.text) : token.text
    const glued = /^[.,;)(]$/.test(word) || /[.(]$/.test(text) || text === ''
    text += glued ? word : ` ${word}`
  }
  return text
}
