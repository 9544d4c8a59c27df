// One connection to a Redis server: what the server is, what it promises, and when it may be used. Looked at anew after every reconnect;
// until that is done, and while the server is away, every use fails at once. No command is ever sent a second time by itself.
import { Redis } from 'ioredis'
import { HoldpointError } from '../errors.ts'
import type { Durability } from './store.ts'

/** What a confirmed move survives, by how many replicas it has to be acknowledged, and why so. */
export type Standing = { readonly durability: Durability; readonly replicas: number; readonly why: string }

/** Where and as whom to connect. */
export type Server = {
  readonly host: string
  readonly port: number
  readonly db: number
  readonly username?: string
  readonly password?: string
  readonly tls?: Record<string, never>
}

export type Link = {
  /** The connection and what its server promises; throws `store_unavailable` while there is none. */
  use(): { readonly redis: Redis; readonly standing: Standing }
  close(): void
}

export type LinkOptions = {
  readonly server: Server
  /** The operator's word that nothing the server confirmed is ever lost. */
  readonly always: boolean
  /** Makes sure that the data there are ours to read; throws if they are not. */
  readonly begin: (redis: Redis) => Promise<void>
  readonly ready: () => void
}

/**
 * Where and as whom to connect, from `redis://[user[:password]@]host[:port][/database]` or `rediss://…`.
 * Throws an Error that says what is wrong, without showing the password.
 */
export const serverOf = (url: string): Server => {
  const scheme = /^[a-z+]+(?=:\/\/)/.exec(url)?.[0]
  if (scheme === 'redis+sentinel' || scheme === 'redis+cluster')
    throw new Error(
      `store: ${scheme}:// is not supported: name the primary itself, as redis:// or rediss://, behind an address that follows it`,
    )
  if ((scheme !== 'redis' && scheme !== 'rediss') || !URL.canParse(url))
    throw new Error(
      'store: not an address of a Redis server: write redis://user:password@host:6379/0, or rediss:// for TLS',
    )
  const { hostname, port, username, password, pathname, search, hash } = new URL(url)
  const [, db] = /^\/?(\d{0,4})$/.exec(pathname) ?? []
  if (hostname === '') throw new Error('store: the address names no host: write redis://host:6379')
  if (db === undefined)
    throw new Error(`store: the path ${pathname} is not a database number: write redis://host:6379/0`)
  if (search !== '' || hash !== '') throw new Error('store: the address takes no ? or # part: leave it out')
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? 6379 : Number(port),
    db: Number(db),
    ...(username === '' ? {} : { username: decoded(username) }),
    ...(password === '' ? {} : { password: decoded(password) }),
    ...(scheme === 'rediss' ? { tls: {} } : {}),
  }
}

export const away = (cause?: unknown): HoldpointError =>
  cause instanceof HoldpointError ? cause : new HoldpointError('store_unavailable', undefined, { cause: bare(cause) })

// ioredis hangs the command on its errors, arguments and all: a password, a sealed call. Neither belongs into a log.
const bare = (error: unknown): unknown => {
  if (error instanceof Error) Reflect.deleteProperty(error, 'command')
  return error
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error('store: user and password are written percent-encoded: a % sign itself is %25')
  }
}

/** How long a reconnect waits: 50 ms at first, 2 s at most. */
export const retryStrategy = (times: number): number => Math.min(50 * 2 ** (times - 1), 2000)

/** Connects and looks at the server. Throws if it cannot be reached or must not be used. */
export const openLink = async ({ server, always, begin, ready }: LinkOptions): Promise<Link> => {
  const redis = new Redis({
    ...server,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 5000,
    socketTimeout: 5000,
    retryStrategy,
  })
  let connection = 0
  let standing: Standing | undefined
  let problem: unknown
  let closed = false
  let again: NodeJS.Timeout | undefined
  let inspected: Promise<void> = Promise.resolve()

  const inspect = async (): Promise<void> => {
    const looked = connection
    const found = await standingOf(redis, always)
    await begin(redis)
    if (closed || looked !== connection) throw new Error('the connection was lost while the server was looked at')
    standing = found
    problem = undefined
    ready()
  }
  redis.on('error', (error: unknown) => {
    problem = bare(error)
  })
  redis.on('close', () => {
    connection++
    standing = undefined
  })
  redis.on('ready', () => {
    inspected = inspect()
    inspected.catch((error: unknown) => {
      problem = bare(error)
      if (!closed) again = setTimeout(() => redis.disconnect(true), 1000)
    })
  })

  const close = (): void => {
    closed = true
    standing = undefined
    clearTimeout(again)
    redis.disconnect()
  }
  try {
    await redis.connect()
    await inspected
  } catch (error) {
    close()
    throw unusable(server, problem ?? bare(error))
  }
  return {
    use() {
      // What is wrong with the server is for the log and for /readyz, not for callers.
      if (standing === undefined) throw new HoldpointError('store_unavailable', undefined, { cause: problem })
      together(redis)
      return { redis, standing }
    },
    close,
  }
}

/** What is asked in one turn of the event loop leaves in one write: with many callers, writing each by itself costs more than the asking. */
const together = ({ stream }: Redis): void => {
  if (stream.writableCorked > 0) return
  stream.cork()
  setImmediate(() => stream.uncork())
}

const unusable = ({ host, port }: Server, thrown: unknown): HoldpointError => {
  if (thrown instanceof HoldpointError && thrown.detail !== undefined) return thrown
  const cause = thrown instanceof HoldpointError ? thrown.extras.cause : thrown
  const why = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : String(cause)
  return new HoldpointError('store_unavailable', `store: the Redis server at ${host}:${port} cannot be used: ${why}`, {
    cause,
  })
}

const refuse = (why: string): never => {
  throw new HoldpointError('store_unavailable', `store: ${why}`)
}

/** Decided once per connection, from what the server itself says (DESIGN, "Durable or void"). */
const standingOf = async (redis: Redis, always: boolean): Promise<Standing> => {
  const info = await redis.info()
  const said = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1]

  const version = said('redis_version') ?? 'unknown'
  if (!(Number.parseInt(version, 10) >= 7)) refuse(`the server is Redis ${version}: 7 or newer is needed (or Valkey 8)`)
  if (said('redis_mode') === 'cluster')
    refuse('the server is part of a Redis Cluster, which is not supported: name a server of its own')
  if (said('role') !== 'master') refuse('the server is a replica, which cannot be written to: name the primary')
  const policy = said('maxmemory_policy')
  if (policy !== 'noeviction')
    refuse(
      `the server's maxmemory-policy is ${policy ?? 'unknown'}, so it may throw holds away: set "maxmemory-policy noeviction"`,
    )

  if (always)
    return {
      durability: 'disk',
      replicas: 0,
      why: 'The configuration says that the server loses nothing (durable: always).',
    }
  const replicas = Number(said('connected_slaves') ?? 0)
  const fsync = await appendfsync(redis)
  // A replica may be made the primary without the newest writes, however the old primary kept them.
  if (fsync === 'always' && replicas === 0)
    return { durability: 'disk', replicas, why: 'Redis writes to disk before it answers (appendfsync always).' }
  if (await waitaof(redis)) {
    const acknowledged = replicas === 0 ? '' : ` and for ${replicas} replica${replicas === 1 ? '' : 's'}`
    return {
      durability: 'confirmed',
      replicas,
      why: `Every release waits for the server's disk${acknowledged} (WAITAOF).`,
    }
  }
  const reason =
    said('aof_enabled') === '1'
      ? `Redis ${version} offers no WAITAOF, and appendfsync is ${fsync ?? 'not known'}`
      : 'Redis keeps no append-only file'
  return {
    durability: 'epoch',
    replicas,
    why: `${reason}: if it restarts, open holds are void and callers ask again. For durable holds set appendonly yes, with appendfsync always or Redis 7.2.`,
  }
}

/** What CONFIG GET shows, or undefined where it is blocked (managed servers) or there is no append-only file. */
const appendfsync = async (redis: Redis): Promise<string | undefined> => {
  try {
    const flat = (await redis.call('CONFIG', 'GET', 'append*')) as string[]
    const value = (name: string): string | undefined => flat[flat.indexOf(name) + 1]
    return value('appendonly') === 'yes' ? value('appendfsync') : undefined
  } catch {
    return undefined
  }
}

/** Can the server confirm that writes are on its disk? It refuses at once if it cannot. */
const waitaof = async (redis: Redis): Promise<boolean> => {
  try {
    await redis.call('WAITAOF', 1, 0, 1)
    return true
  } catch {
    return false
  }
}
