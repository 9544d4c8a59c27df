// What SQL statements would do. A statement only reads if it begins like one that reads and no word in it could write; what is not known
// writes. Functions can write too: a few that do are known, others are not told from harmless ones (docs say so).
import type { Action } from '../../nouns.ts'
import { reading, relations, type Table, telling } from './relations.ts'
import { type Dialect, isSign, type Token, tokens, upper } from './tokens.ts'

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
  const all = split(read)
  // After `USE` a name without a database means another table.
  const moved = all.some(statement => upper(statement[0]) === 'USE')
  const actions = all.flatMap(statement => actionsOf(statement, moved ? { ...context, database: undefined } : context))
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
  if (words[0] !== 'INSERT' || words.some(word => word === 'SELECT' || word === 'WITH' || word === 'FROM')) return false
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

// ---- what a statement does

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

const permissions: ReadonlySet<string> = new Set(['GRANT', 'REVOKE', 'REASSIGN'])
const principals: ReadonlySet<string> = new Set([
  'USER',
  'ROLE',
  'LOGIN',
  'POLICY',
  'QUOTA',
  'PROFILE',
  'GROUP',
  'OWNER',
  'PASSWORD',
  'AUTHORIZATION',
  'PRIVILEGES',
])

// They act although they stand in a SELECT, or run a text. Of what begins with `pg_` only these are known to tell and do nothing.
const acting =
  /^(?:pg_(?!(?:typeof|size_\w+|total_relation_size|relation_size|table_size|indexes_size|database_size|column_size|get_\w+|stat_get_\w+|is_in_recovery|backend_pid|postmaster_start_time|\w+_is_visible|encoding_to_char|describe_object)$).*|set_config|setval|nextval|lo_.*|lo(?:read|write|creat\w*|unlink)|dblink.*|\w+_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*|connectby|txid_current|xp_.*|sp_.*|openrowset|openquery|opendatasource|load_file|load_extension|readfile|writefile|edit|eval|fts\w*_tokenizer|sys_exec|sys_eval|get_lock|release_\w*lock\w*|executable|sleep\w*|benchmark|notify|http_?\w*|aws_\w+|query_export_to_s3|invoke)$/i
const actionsOf = (statement: readonly Token[], context: Context): readonly Action[] => {
  const [first] = statement.map(upper)
  if (first === undefined || first === '') {
    // `(SELECT …) UNION …`
    return isSign(statement[0], '(') && statement.length > 1 ? actionsOf(statement.slice(1), context) : [opaque]
  }
  if (explaining.has(first)) {
    const inner = statement.slice(1).findIndex(token => starts.has(upper(token)))
    const runs = statement.slice(1).some(token => upper(token) === 'ANALYZE' || upper(token) === 'ANALYSE')
    if (runs) return inner < 0 ? [opaque] : actionsOf(statement.slice(1 + inner), context)
    // Planning works out constants, and some servers work out whole subqueries: so it reads what the statement reads.
    if (first === 'EXPLAIN') return explained(statement, inner < 0 ? [] : statement.slice(1 + inner), context)
  }
  const also = writers(statement, first)
  const verb = first === 'WITH' || first === 'FROM' ? (also[0] ?? 'SELECT') : first
  const isRead = reading.has(verb) && also.length === 0
  const found = relations(statement, verb, isRead, context.dialect)
  const access = isRead ? (acts(statement, context) ? 'unknown' : 'read') : accessOf(statement, verb)
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

const explaining: ReadonlySet<string> = new Set(['EXPLAIN', 'DESCRIBE', 'DESC'])

const explained = (statement: readonly Token[], inner: readonly Token[], context: Context): readonly Action[] => {
  const { sources, targets, told } = relations(inner, upper(inner[0]), true, context.dialect)
  const access = acts(statement, context) ? 'unknown' : 'read'
  const tables = [...targets, ...sources]
  return (tables.length > 0 ? tables : [undefined]).map(table =>
    one('explain', access, table, statement, context, told && inner.length > 0),
  )
}

/** Does it call a function that does more than tell? Whoever qualifies a function's name calls one of the database's own. */
const acts = (statement: readonly Token[], { dialect }: Context): boolean =>
  statement.some((token, at) => {
    if ((token.kind !== 'word' && token.kind !== 'name') || !isSign(statement[at + 1], '(')) return false
    const owner = isSign(statement[at - 1], '.') ? statement[at - 2] : undefined
    return acting.test(token.text) || (dialect === 'any' && owner !== undefined && upper(owner) !== 'PG_CATALOG')
  })

const starts: ReadonlySet<string> = new Set(
  [...reading, ...writing].filter(word => !['EXPLAIN', 'ANALYZE', 'TABLE', 'INTO'].includes(word)),
)

const accessOf = (statement: readonly Token[], verb: string): Action['access'] => {
  if (permissions.has(verb)) return 'permissions'
  if (!['CREATE', 'ALTER', 'DROP', 'SET', 'RESET', 'RENAME'].includes(verb)) return 'write'
  const words = statement.map(upper)
  const guards = words.some(
    (word, at) =>
      (word === 'OWNER' && words[at + 1] === 'TO') ||
      (word === 'ROW' && ['LEVEL', 'POLICY'].includes(words[at + 1] ?? '')),
  )
  return guards || words.slice(1, 4).some(word => principals.has(word)) ? 'permissions' : 'write'
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
      statement: written(statement, table),
      ...(table === undefined ? {} : { table: table.table }),
      ...(table === undefined || database === undefined ? {} : { database }),
    },
    ...(unknown.length === 0 ? {} : { unknown }),
  }
}

/**
 * The statement on one line, with `?` for every text and number, so that equal shapes are equal texts. Nothing in it is secret: what is a
 * quoted name to one server is a text to another, so it stays only where it names a table.
 */
const written = (statement: readonly Token[], shown: Table | undefined): string => {
  let text = ''
  for (const token of statement) {
    const word =
      token.kind === 'literal'
        ? '?'
        : token.kind !== 'name'
          ? token.text
          : token.text === shown?.table || token.text === shown?.database
            ? JSON.stringify(token.text)
            : '"?"'
    const glued = /^[.,;)(]$/.test(word) || /[.(]$/.test(text) || text === ''
    text += glued ? word : ` ${word}`
  }
  return text
}
