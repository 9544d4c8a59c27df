// Which tables a statement names, and whether all of them stand where plain names are expected. Whoever names tables in a rule must not
// miss one, so in every doubt they are not told.
import { type Dialect, isSign, type Token, upper } from './tokens.ts'

export const reading: ReadonlySet<string> = new Set([
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
export const telling: ReadonlySet<string> = new Set(['SHOW', 'DESCRIBE', 'DESC', 'EXISTS'])

export type Table = { readonly database: string | undefined; readonly table: string }

export type Relations = {
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

/** `isRead`: nothing is done to any of them. */
export const relations = (statement: readonly Token[], verb: string, isRead: boolean, dialect: Dialect): Relations => {
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

/** They name a table in a text. */
const naming = /^(?:dict\w*|joinget\w*|hascolumnintable)$/i

const harmlessSettings =
  /^(?:max_|min_|output_format_|input_format_|join_|optimize_|async_insert|wait_)\w*$|^(?:final|readonly|log_comment|limit|offset|use_query_cache|mutations_sync|alter_sync)$/i

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
