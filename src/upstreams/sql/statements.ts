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
/** They name a table in a text. */
const naming = /^(?:dict\w*|joinget\w*|hascolumnintable)$/i

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
  const found = relations(statement, verb, isRead, context)
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
  const { sources, targets, told } = relations(inner, upper(inner[0]), true, context)
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
      (word === 'OWNER' && words[at + 1] === 'TO') || (word === 'ROW' && ['LEVEL', 'POLICY'].includes(words[at + 1] ?? '')),
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
const leading: ReadonlySet<string> = new Set([
  'FROM',
  'JOIN',
  'STRAIGHT_JOIN',
  'INTO',
  'UPDATE',
  'TABLE',
  'VIEW',
  'USING',
  'DICTIONARY',
])
const endings: ReadonlySet<string> = new Set(['DATABASE', 'SCHEMA'])

const relations = (statement: readonly Token[], verb: string, isRead: boolean, { dialect }: Context): Relations => {
  const targets: Table[] = []
  const sources: Table[] = []
  const common = commonNames(statement)
  const inside = insideFunctions(statement)
  const followed = new Set<number>()
  let told = isPlain(statement, verb) && !statement.some((token, at) => hidesTables(statement, token, at, dialect))
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
    if (isSign(statement[here + 1], '(') && !(target && (verb === 'INSERT' || verb === 'REPLACE' || verb === 'CREATE')))
      told = false
    else if (names.length > (dialect === 'influx' ? 3 : 2)) told = false
    else if (upper(token) === 'FUNCTION' && names.length === 1) told = false
    else {
      // `database.retention.measurement`, and with two names the first one is the retention.
      const database = dialect === 'influx' && names.length < 3 ? undefined : names.length > 1 ? names[0] : undefined
      const isCommon = !target && names.length === 1 && common.some(one => one.fits(token, here))
      if (!isCommon) (target ? targets : sources).push({ database, table: names.at(-1) ?? '' })
    }
    return here
  }
  // `a, b AS x, c`: from the name that stands at `at` on.
  const list = (at: number, target: boolean): number => {
    let here = take(at, target)
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
      if (!isSign(statement[comma], ',')) return here
      followed.add(comma)
      here = take(comma + 1, target)
    }
  }
  const simple =
    verb === 'TRUNCATE' || verb === 'OPTIMIZE' || verb === 'DESCRIBE' || verb === 'DESC' || verb === 'EXISTS'
  if (simple && !leading.has(upper(statement[1])) && !endings.has(upper(statement[1]))) {
    list(1, true)
    targeted = true
  }
  for (let at = 0; at < statement.length; at += 1) {
    const word = upper(statement[at])
    if (isSign(statement[at - 1], '.') || isSign(statement[at + 1], '.')) continue
    if (endings.has(word) && ['CREATE', 'DROP', 'ALTER', 'USE', 'SHOW'].includes(verb)) told = false
    // ClickHouse: `x IN a_table`.
    const listed = word === 'IN' && dialect === 'clickhouse' && !isSign(statement[at + 1], '(')
    if ((!leading.has(word) && !listed) || inside.has(at) || comparesDistinct(statement, at)) continue
    if (word === 'USING' && isSign(statement[at + 1], '(')) continue
    if (word === 'UPDATE' && at > 0 && verb !== 'WITH' && verb !== 'UPDATE') continue
    // `DELETE FROM`, `INSERT INTO`, `UPDATE`, `DROP TABLE`: the first one is what it is done to.
    const target = !targeted && !isRead && !listed && (word !== 'FROM' || verb === 'DELETE' || telling.has(verb))
    const here = listed || word === 'INTO' ? take(at + 1, target) : list(at + 1, target)
    if (target) targeted = true
    at = Math.max(at, here - 1)
  }
  // A comma behind a subquery, a condition or a sample is not followed so far: whoever names tables must not miss one.
  if (openCommas(statement, followed) || isJoined(statement, verb, targets)) told = false
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

type Common = { readonly fits: (token: Token, at: number) => boolean }

/**
 * Names that the WITH at the beginning gives to subqueries, from behind their definition to the end of what they belong to. Only there: in
 * its own definition and in another scope the same name is a table.
 */
const commonNames = (statement: readonly Token[]): readonly Common[] => {
  if (upper(statement[0]) !== 'WITH') return []
  const found: Common[] = []
  let depth = 0
  let open: { readonly name: Token; readonly depth: number } | undefined
  const end = endOfScope(statement)
  for (const [at, token] of statement.entries()) {
    if (at >= end) break
    if (isSign(token, '(')) {
      const name = statement[at - 2]
      if (depth === 0 && open === undefined && upper(statement[at - 1]) === 'AS' && name !== undefined)
        open = { name, depth }
      depth += 1
    } else if (isSign(token, ')')) {
      depth -= 1
      if (open === undefined || depth !== open.depth) continue
      const { name } = open
      open = undefined
      found.push({ fits: (other, here) => here > at && here < end && sameName(name, other) })
      // Behind the last definition stands the statement itself: there `a AS (…)` is something else.
      if (!isSign(statement[at + 1], ',')) break
    }
  }
  return found
}

const sameName = (one: Token, other: Token): boolean =>
  one.kind === other.kind && 'text' in one && 'text' in other && one.kind !== 'sign' && one.text === other.text

/** Where the parenthesis closes in which the statement stands: `(WITH a AS (…) SELECT …) UNION SELECT …`. */
const endOfScope = (statement: readonly Token[]): number => {
  let depth = 0
  for (const [at, token] of statement.entries()) {
    if (isSign(token, '(')) depth += 1
    else if (isSign(token, ')') && --depth < 0) return at
  }
  return statement.length
}

// Reserved wherever a table may have another name.
const fromEnds: ReadonlySet<string> = new Set([
  'WHERE',
  'PREWHERE',
  'GROUP',
  'ORDER',
  'HAVING',
  'LIMIT',
  'UNION',
  'INTERSECT',
  'EXCEPT',
  'SELECT',
  'SETTINGS',
])

/** Is there a comma in a FROM list that was not followed? */
const openCommas = (statement: readonly Token[], followed: ReadonlySet<number>): boolean => {
  let depth = 0
  let from: readonly number[] = []
  for (const [at, token] of statement.entries()) {
    if (isSign(token, '(') || isSign(token, '[')) depth += 1
    else if (isSign(token, ')') || isSign(token, ']')) {
      const closed = depth
      from = from.filter(one => one < closed)
      depth -= 1
    } else if (upper(token) === 'FROM') from = [...from, depth]
    else if (fromEnds.has(upper(token)) && upper(statement[at - 1]) !== 'AS' && !isSign(statement[at - 1], '.'))
      from = from.filter(one => one !== depth)
    else if (isSign(token, ',') && from.includes(depth) && !followed.has(at)) return true
  }
  return false
}

/** What changes several tables, or one by another name, does not say at its beginning which. */
const isJoined = (statement: readonly Token[], verb: string, targets: readonly Table[]): boolean => {
  if (verb !== 'UPDATE' && verb !== 'DELETE') return false
  const words = statement.map(upper)
  const start = words.indexOf(verb)
  if (verb === 'DELETE' && words[start + 1] !== 'FROM') return true
  const list = statement.slice(start, verb === 'UPDATE' ? words.indexOf('SET', start) : undefined)
  if (verb === 'UPDATE' && list.some(token => isSign(token, ',') || /JOIN$/.test(upper(token)))) return true
  const [target] = targets
  const again = statement.filter(
    (token, at) =>
      target?.database === undefined &&
      (token.kind === 'word' || token.kind === 'name') &&
      token.text === target?.table &&
      !isSign(statement[at + 1], '.') &&
      !isSign(statement[at - 1], '.'),
  )
  return again.length > 1
}

const harmlessSettings = /^(?:max_|min_|output_format_|input_format_|join_|optimize_|async_insert|wait_)\w*$|^(?:final|readonly|log_comment|limit|offset|use_query_cache|mutations_sync|alter_sync)$/i

/** Is this something through which tables are read or written that are not named as tables are? */
const hidesTables = (statement: readonly Token[], token: Token, at: number, dialect: Dialect): boolean => {
  // In brackets some servers quote a name.
  if (dialect === 'any' && (isSign(token, '[') || isSign(token, ']'))) return true
  if (dialect !== 'clickhouse') return false
  if ((token.kind === 'word' || token.kind === 'name') && naming.test(token.text)) return isSign(statement[at + 1], '(')
  if (upper(token) !== 'SETTINGS') return false
  return statement.slice(at).some((one, index, rest) => {
    const before = rest[index - 1]
    return isSign(rest[index + 1], '=') && (index === 1 || isSign(before, ',')) && !harmlessSettings.test(nameOf(one))
  })
}

const nameOf = (token: Token): string => ('text' in token ? token.text : '')

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
