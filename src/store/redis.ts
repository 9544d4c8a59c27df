// The store of replicas: Redis 7 or Valkey 8. Every step is one Lua script, one round trip, all keys in one slot; instants are the server's.
// Scripts answer with words. They judge by the table of states.ts, which they are handed.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { HoldpointError } from '../errors.ts'
import type { HoldFacts } from '../nouns.ts'
import { live, moves, type State } from '../states.ts'
import { type Bell, follow, newBell, type Reach } from './follow.ts'
import { away, type Link, openLink, retryStrategy, type Server, type Standing, serverOf } from './link.ts'
import { pageStart, placeText } from './place.ts'
import { redisOutbox } from './redis-outbox.ts'
import {
  type LogEntry,
  type Move,
  type Moved,
  type Opened,
  type Opening,
  quiet,
  type Store,
  type StoredHold,
  type StoreEvent,
} from './store.ts'

const root = 'hp:{0}'
const version = '1'
// A disk is written once a second (appendfsync everysec), and a replica tells once a second how far it got.
const confirmMs = 3000
/** While events come in floods they are looked for this often. */
const busyMs = 5
const liveStates = [...live]

type Script = { readonly text: string; readonly sha: string }
type Argument = string | number

const load = (name: string): Script => {
  const file = (part: string): string => readFileSync(new URL(`./${part}.lua`, import.meta.url), 'utf8')
  const [first = '', ...rest] = file(name).split('\n')
  const text = [first, file('prelude'), ...rest].join('\n')
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

const scripts = {
  begin: load('begin'),
  open: load('open'),
  move: load('move'),
  read: load('read'),
  list: load('list'),
  due: load('due'),
  sealed: load('sealed'),
  append: load('append'),
  follow: load('follow'),
  get: load('get'),
  put: load('put'),
  take: load('take'),
  names: load('names'),
  outboxAdd: load('outbox-add'),
  outboxGet: load('outbox-get'),
  outboxClaim: load('outbox-claim'),
  outboxWrite: load('outbox-write'),
  outboxWake: load('outbox-wake'),
}

/**
 * @param options.url redis:// or rediss://; options.durable: the operator's word that the server loses nothing it confirmed;
 *   options.skewMs: added to the server's clock (tests).
 * Throws an Error for an address that cannot be used, and `store_unavailable` if the server is away, too old, may evict, or holds newer data.
 */
export const redisStore = async (options: {
  readonly url: string
  readonly durable?: 'always' | undefined
  readonly skewMs?: () => number
}): Promise<Store> => {
  const skewMs = options.skewMs ?? (() => 0)
  const server = serverOf(options.url)
  const bell = newBell()
  const closing = new AbortController()
  const always = options.durable === 'always'

  const run = async (redis: Redis, script: Script, args: readonly Argument[]): Promise<unknown> => {
    const all = [root, skewMs(), ...args]
    try {
      return await redis.evalsha(script.sha, 1, ...all)
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw away(error)
    }
    return redis.eval(script.text, 1, ...all).catch(fail)
  }
  const begin = async (redis: Redis): Promise<void> => {
    // Loaded at once, so that commands run in the order in which they were given, the first time too.
    await Promise.all(Object.values(scripts).map(({ text }) => redis.script('LOAD', text))).catch(fail)
    const found = await run(redis, scripts.begin, [version])
    if (found !== version)
      throw new HoldpointError(
        'store_unavailable',
        `store: the data at ${server.host}:${server.port} have schema version ${found}, and this Holdpoint knows ${version}: start the Holdpoint that wrote them, or a newer one`,
      )
  }
  const link = await openLink({ server, always, begin, ready: bell.ring })
  // Confirmed moves have a connection of their own: WAITAOF makes the server deaf to whatever follows on its connection.
  const sure = await openLink({ server, always, begin, ready: bell.ring }).catch((error: unknown) => {
    link.close()
    throw error
  })
  const ask = async (script: Script, ...args: Argument[]): Promise<unknown> => run(link.use().redis, script, args)
  const confirm = confirmer(sure, skewMs)
  let reader: Redis | undefined

  // Whoever asks for the time in one turn of the event loop is told the same: it leaves with what else is asked in that turn.
  let time: Promise<readonly [seconds: number, micros: number]> | undefined
  const timed = async (): Promise<readonly [number, number]> => {
    setImmediate(() => {
      time = undefined
    })
    const [seconds = 0, micros = 0] = await link.use().redis.time().catch(fail)
    return [seconds, micros]
  }

  const events = async (after: string | undefined): Promise<Reach> => {
    const known = after === undefined || /^\d{1,15}-\d{1,15}$/.test(after)
    const [word, at, found = []] = (await ask(scripts.follow, known ? (after ?? '') : '', 500)) as [
      string,
      string,
      [string, string[]][]?,
    ]
    return word === 'gap' || !known ? { word: 'gap', at } : { word: 'from', at, events: found.map(eventOf) }
  }
  const logged = async (reply: Promise<[string, string[]][]>): Promise<LogEntry[]> =>
    (await reply.catch(fail)).map(([id, [, at, , json = '']]) => ({
      seq: Number.parseInt(id, 10),
      at: Number(at),
      json,
    }))

  return {
    kind: 'redis',
    async now() {
      time ??= timed()
      const [seconds, micros] = await time
      return seconds * 1000 + Math.floor(micros / 1000) + skewMs()
    },
    events(after, signal) {
      if (!closing.signal.aborted) reader ??= ringer(server, bell)
      return follow({ read: events, bell, after, signal, closing: closing.signal })
    },
    async health() {
      try {
        const { redis, standing } = link.use()
        await redis.ping()
        const { durability, why } = sure.use().standing
        return { ok: true, durability: weaker(standing.durability, durability), notes: [why] }
      } catch (error) {
        return {
          ok: false,
          durability: 'epoch',
          notes: [`The Redis server at ${server.host}:${server.port} does not answer: ${reason(error)}.`],
        }
      }
    },
    async close() {
      closing.abort()
      link.close()
      sure.close()
      reader?.disconnect()
      bell.ring()
    },
    holds: {
      async open(opening) {
        const { redis, standing } = link.use()
        return openedOf((await run(redis, scripts.open, openArguments(opening, standing))) as [string, ...never[]])
      },
      async move(move) {
        if (move.entry === undefined && !quiet.has(move.move))
          throw new TypeError(`the move ${move.move} needs an entry for the log`)
        if (move.durable) return movedOf(await confirm(move))
        const { redis, standing } = link.use()
        return movedOf((await run(redis, scripts.move, moveArguments(move, standing))) as MovedReply)
      },
      async read(id) {
        const [now, fields] = (await ask(scripts.read, id)) as [number, string[]?]
        return fields === undefined ? undefined : holdOf(fields, now)
      },
      async list(query) {
        const from = pageStart(query)
        const after = from === undefined ? '' : placeText(from)
        const [now, more, ...found] = (await ask(scripts.list, query.order, query.limit, after, ...query.states)) as [
          number,
          string,
          ...string[][],
        ]
        const holds = found.filter(fields => fields.length > 1).map(fields => holdOf(fields, now))
        return more === '' ? { holds } : { holds, next: more }
      },
      due: async limit => (await ask(scripts.due, limit, ...liveStates)) as string[],
      sealed: async (id, part) => ((await ask(scripts.sealed, id, part)) as string | null) ?? undefined,
    },
    log: {
      async append(entries) {
        if (entries.length > 0) await ask(scripts.append, ...entries)
      },
      read: async (after, limit) =>
        logged(link.use().redis.xrange(`${root}:log`, `${after + 1}-0`, '+', 'COUNT', limit)),
      newest: async (before, limit) =>
        before !== undefined && before <= 1
          ? []
          : logged(
              link
                .use()
                .redis.xrevrange(`${root}:log`, before === undefined ? '+' : `${before - 1}-0`, '-', 'COUNT', limit),
            ),
    },
    shelf: {
      get: async key => ((await ask(scripts.get, key)) as string | null) ?? undefined,
      async put(key, value, { ttlMs, when } = {}) {
        const condition = when === undefined ? ['always', ''] : when === 'absent' ? ['absent', ''] : ['is', when.is]
        return (await ask(scripts.put, key, value, ttlMs ?? '', ...condition)) === 1
      },
      take: async key => ((await ask(scripts.take, key)) as string | null) ?? undefined,
      async list(prefix) {
        return pairs((await ask(scripts.names, prefix)) as string[])
      },
    },
    outbox: redisOutbox((script, ...args) => ask(scripts[script], ...args)),
  }
}

/**
 * Moves that must be on disk. Their scripts and one WAITAOF leave in one write on one connection, which answers for all of them;
 * those that come meanwhile leave together after it. Whatever is not confirmed throws `store_unavailable`.
 */
const confirmer = (link: Link, skewMs: () => number): ((move: Move) => Promise<MovedReply>) => {
  type Waiting = {
    readonly move: Move
    readonly done: (reply: MovedReply) => void
    readonly failed: (error: unknown) => void
  }
  let waiting: Waiting[] = []
  let busy = false

  const send = async (batch: readonly Waiting[]): Promise<void> => {
    const { redis, standing } = link.use()
    const pipeline = redis.pipeline()
    for (const { move } of batch) pipeline.eval(scripts.move.text, 1, root, skewMs(), ...moveArguments(move, standing))
    if (standing.durability === 'confirmed') pipeline.call('WAITAOF', 1, standing.replicas, confirmMs)
    const replies = (await pipeline.exec()) ?? []
    const sure = standing.durability !== 'confirmed' || confirmed(replies[batch.length], standing)
    for (const [index, { done, failed }] of batch.entries()) {
      const [error, reply] = replies[index] ?? [new Error('no reply')]
      if (error) failed(away(error))
      else if ((reply as MovedReply)[0] === 'moved' && !sure)
        failed(away(new Error('the move is not confirmed to be on disk')))
      else done(reply as MovedReply)
    }
  }
  const sendAll = async (): Promise<void> => {
    busy = true
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      await send(batch).catch((error: unknown) => {
        for (const { failed } of batch) failed(away(error))
      })
    }
    busy = false
  }
  return move =>
    new Promise((done, failed) => {
      waiting.push({ move, done, failed })
      if (!busy) void sendAll()
    })
}

const confirmed = (reply: readonly [Error | null, unknown?] | undefined, { replicas }: Standing): boolean => {
  const [error, counts] = reply ?? [new Error('no reply')]
  const [onDisk = 0, onReplicas = 0] = Array.isArray(counts) ? counts.map(Number) : []
  return !error && onDisk >= 1 && onReplicas >= replicas
}

/** Rings when there may be new events: it waits for them at the server, on a connection of its own, and rings every few seconds anyway. */
const ringer = (server: Server, bell: Bell): Redis => {
  const redis = new Redis({
    ...server,
    maxRetriesPerRequest: null,
    connectTimeout: 5000,
    socketTimeout: 15_000,
    retryStrategy,
  })
  const key = `${root}:events`
  let last: string | undefined
  redis.on('error', () => undefined)
  redis.on('ready', () => {
    last = undefined
    bell.ring()
  })
  const newest = async (): Promise<string | undefined> => (await redis.xrevrange(key, '+', '-', 'COUNT', 1))[0]?.[0]
  const listen = async (): Promise<void> => {
    last ??= (await newest()) ?? '0-0'
    // That there is one is enough to know: whoever follows reads them all.
    const [stream] = (await redis.xread('COUNT', 1, 'BLOCK', 5000, 'STREAMS', key, last)) ?? []
    bell.ring()
    const first = stream?.[1][0]?.[0]
    if (first === undefined) return
    last = (await newest()) ?? first
    if (last === first) return
    // Where several come at once, more will: they are fetched together.
    bell.ring()
    await new Promise(resolve => setTimeout(resolve, busyMs))
  }
  const loop = async (): Promise<void> => {
    while (redis.status !== 'end') await listen().catch(() => new Promise(resolve => setTimeout(resolve, 200)))
  }
  void loop()
  return redis
}

// ---- what scripts take

const openArguments = (opening: Opening, standing: Standing): Argument[] => {
  const { id, caller, fingerprints, idempotency, pauses, caps, bytes, dueAt } = opening
  const facts = Object.fromEntries(Object.entries(opening.facts).map(([name, value]) => [name, JSON.stringify(value)]))
  const bound = standing.durability === 'epoch'
  const asked = { id, caller, fingerprints, idempotency, pauses, caps, bytes, dueAt, facts, live: liveStates, bound }
  return [JSON.stringify(asked), opening.head, opening.sealed.request, opening.sealed.view, opening.entry]
}

const moveArguments = (move: Move, standing: Standing): Argument[] => {
  const { hold, rev, beforeAt, afterAt, fence, dueAt, remember, denial, swap } = move
  const changes = Object.entries(move.facts ?? {}).filter(([, value]) => value !== undefined)
  const asked = {
    ...{ hold, rev, beforeAt, afterAt, fence, dueAt, remember, denial, swap },
    move: move.move,
    next: moves[move.move],
    live: liveStates,
    bound: standing.durability === 'epoch',
    survives: move.move === 'void' || move.move === 'lose',
    quiet: quiet.has(move.move),
    set: Object.fromEntries(
      changes.filter(([, value]) => value !== null).map(([name, value]) => [name, JSON.stringify(value)]),
    ),
    unset: changes.filter(([, value]) => value === null).map(([name]) => name),
    findableUntilAt: move.findableUntilAt === null ? 0 : move.findableUntilAt,
    answerUntilAt: move.answer?.untilAt,
  }
  return [JSON.stringify(asked), move.entry ?? '', move.verdict ?? '', move.answer?.sealed ?? '']
}

// ---- what scripts return

type MovedReply = readonly [word: string, ...rest: unknown[]]

const openedOf = (reply: readonly unknown[]): Opened => {
  const [word, value] = reply as readonly [Opened['word'], unknown]
  switch (word) {
    case 'opened':
      return { word, id: String(value), rev: 1 }
    case 'attached':
    case 'conflict':
      return { word, id: String(value) }
    case 'paused':
      return { word, untilAt: Number(value) }
    case 'full':
      return { word, scope: value as 'caller' | 'holds' | 'bytes' }
  }
}

const movedOf = (reply: MovedReply): Moved => {
  const [word, ...rest] = reply as readonly [Moved['word'], ...unknown[]]
  if (word === 'moved') {
    const [rev, state, fence, now] = rest
    return { word, rev: Number(rev), state: state as State, fence: Number(fence), now: Number(now) }
  }
  return word === 'refused' ? { word, state: rest[0] as State } : { word }
}

const pairs = (flat: readonly string[]): [name: string, value: string][] =>
  Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index] ?? '', flat[2 * index + 1] ?? ''])

const holdOf = ([id = '', ...flat]: readonly string[], now: number): StoredHold => {
  const fields = new Map(pairs(flat))
  const facts = [...fields]
    .filter(([name]) => name.startsWith('fact.'))
    .flatMap(([name, json]) => {
      // A fact that was changed under our hands reads as absent; what matters is signed.
      try {
        return [[name.slice(5), JSON.parse(json)]]
      } catch {
        return []
      }
    })
  const dueAt = fields.get('dueAt')
  return {
    id,
    head: fields.get('head') ?? '',
    state: fields.get('state') as State,
    rev: Number(fields.get('rev')),
    dueAt: dueAt === undefined ? undefined : Number(dueAt),
    verdicts: Array.from(
      { length: Number(fields.get('votes') ?? 0) },
      (_, index) => fields.get(`verdict.${index + 1}`) ?? '',
    ),
    fence: Number(fields.get('fence')),
    facts: Object.fromEntries(facts) as HoldFacts,
    now,
  }
}

const eventOf = ([id, flat]: readonly [string, readonly string[]]): StoreEvent => {
  const fields = new Map(pairs(flat))
  return {
    kind: 'hold',
    id,
    hold: fields.get('hold') ?? '',
    state: fields.get('state') as State,
    rev: Number(fields.get('rev')),
    async: fields.get('async') === '1',
  }
}

const fail = (error: unknown): never => {
  throw away(error)
}

const order = ['disk', 'confirmed', 'epoch'] as const
const weaker = (a: Standing['durability'], b: Standing['durability']) => (order.indexOf(a) > order.indexOf(b) ? a : b)

const reason = (error: unknown): string => {
  const cause = error instanceof HoldpointError ? error.extras.cause : error
  return cause instanceof Error
    ? cause.message || cause.name
    : error instanceof HoldpointError
      ? (error.detail ?? 'it is away')
      : String(cause)
}
