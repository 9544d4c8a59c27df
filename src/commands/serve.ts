// `holdpoint serve`: configuration -> parts -> listeners, and back again without losing anything.
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { adminServer, readiness } from '../admin.ts'
import { assertions } from '../assertion.ts'
import { channelsNow } from '../channels/make.ts'
import type { Looked } from '../config/files.ts'
import { watchSettings } from '../config/watch.ts'
import { type Finding, loadSettings, readSettings } from '../config.ts'
import { consoleApp } from '../console/app.ts'
import { listenConsole } from '../console/listen.ts'
import { socketsOf } from '../console/slack.ts'
import { slackSockets } from '../console/slack-socket.ts'
import { decide } from '../decide.ts'
import { toError } from '../errors.ts'
import { closePools } from '../forward.ts'
import { followFreezes } from '../freezes.ts'
import { gate } from '../gate.ts'
import { isTrusted } from '../headers.ts'
import { readHold, verifiedHold } from '../hold.ts'
import { identifier } from '../identify.ts'
import { listenGate, listening } from '../listen.ts'
import { accessLog, type Log, makeLog } from '../log.ts'
import { prepare } from '../match.ts'
import { countedRecorder, countedStore, liveHolds, newMeter } from '../metrics.ts'
import { notify } from '../notify.ts'
import type { Hold } from '../nouns.ts'
import type { Parts } from '../parts.ts'
import { recorder } from '../record.ts'
import { type KeyRing, keyRing, newKey } from '../seal.ts'
import type { ListenTls, Settings } from '../settings.ts'
import { takeSpool } from '../spool.ts'
import type { Store } from '../store/store.ts'
import { sweep } from '../sweep.ts'
import { fileTrail } from '../trails/file.ts'
import { pump } from '../trails/pump.ts'
import { stdoutTrail } from '../trails/stdout.ts'
import { watchStore } from '../watch.ts'
import { type Asked, startWorkers, tellFailed, tellStarted, type Workers, workerNumber } from './workers.ts'

export type ServeOptions = {
  readonly config: string
  readonly env?: Record<string, string | undefined>
  readonly log?: Log
  /** As one of several processes on this machine, counted from 1: they share ports, and one process speaks for all at the admin port. */
  readonly worker?: number
}

export type Serving = {
  readonly gate: string
  readonly console: string
  readonly admin: string
  /** What the process that speaks for several asks each of them. */
  readonly asked: Asked
  close(): Promise<void>
}

/** Nothing starts on a bad file: every problem is in `findings`. */
export class BadConfiguration extends Error {
  readonly findings: readonly Finding[]
  constructor(findings: readonly Finding[]) {
    super(
      `the configuration has ${findings.length} problem${findings.length === 1 ? '' : 's'}:\n${findings.map(line).join('\n')}`,
    )
    this.name = 'BadConfiguration'
    this.findings = findings
  }
}

const line = (finding: Finding): string => `${finding.file}:${finding.line}:${finding.column}: ${finding.message}`

/**
 * Starts gate, console and admin listener from one configuration file.
 * @throws BadConfiguration, or an Error that says what is in the way (a port, the store, a key)
 */
export const serve = async (options: ServeOptions): Promise<Serving> => {
  const env = options.env ?? process.env
  const log = options.log ?? makeLog(env.HOLDPOINT_LOG)
  const { loaded, looked } = await readSettings(options.config, env)
  if ('problems' in loaded) throw new BadConfiguration(loaded.problems)
  for (const warning of loaded.warnings)
    log.warn({ where: `${warning.file}:${warning.line}:${warning.column}` }, warning.message)

  const closers: (() => Promise<void>)[] = []
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse())
      await closer().catch(error => log.error({ err: toError(error) }, 'a part did not close'))
  }
  try {
    return await started(options, env, log, loaded.settings, looked, closers, close)
  } catch (error) {
    await close()
    throw error
  }
}

const started = async (
  options: ServeOptions,
  env: Record<string, string | undefined>,
  log: Log,
  first: Settings,
  looked: Looked,
  closers: (() => Promise<void>)[],
  close: () => Promise<void>,
): Promise<Serving> => {
  const access = accessLog(env.HOLDPOINT_LOG, env.HOLDPOINT_ACCESS)
  let settings = first
  let problems: readonly Finding[] = []
  const clock = Date.now
  let loadedAt = clock()
  const opened = await openStore(first)
  closers.push(() => opened.close())
  const keys = await openKeys(first)
  const meter = newMeter()
  const store = countedStore(opened, meter, async id => (await readHold(opened, keys, id))?.head.openedAt)
  const spool = first.audit.spool === undefined ? undefined : takeSpool(first.audit.spool)
  closers.push(async () => spool?.giveBack())
  await spool
    ?.drainLeft(store.log.append)
    .catch(error => log.error({ err: toError(error) }, 'a spool that another process left waits for the next start'))
  const record = countedRecorder(
    recorder({
      log: store.log,
      spool: spool?.path,
      strict: () => settings.audit.strict,
      clock,
      report: log,
    }),
    meter,
  )
  closers.push(() => record.close())
  const watch = watchStore(store, log)
  const freezes = await followFreezes(store.shelf, keys, clock, log)
  closers.push(() => freezes.close())
  const parts: Parts = {
    settings: () => settings,
    store,
    keys,
    watch,
    record,
    freezes,
    assertions: assertions({ shelf: store.shelf, keys, clock }),
    identify: identifier({ clock, shelf: store.shelf }),
    again: earlier => app.again(earlier),
    meter,
    log,
    access: access.line,
    clock,
  }
  const desk = decide(parts)
  const theGate = gate(parts)

  const trails = pump(
    store,
    first.audit.trails.map(trail => (trail.kind === 'stdout' ? stdoutTrail() : fileTrail(trail.path))),
    log,
  )
  // Closed last but one: what the other parts still record on their way out is carried too.
  closers.splice(1, 0, () => trails.close())

  prepare(first)
  const gateListening = await listenGate(
    {
      handle: theGate.handle,
      unparsed: (address, code) => record.count(address, code),
      limits: () => settings.gate.limits,
      trusted: address => isTrusted(address, settings.gate.trustedProxies),
    },
    first.gate.listen,
    first.gate.tls,
  )
  closers.push(() => gateListening.close())
  const telling = notify(
    parts,
    channelsNow(() => settings.channels),
  )
  const app = consoleApp({
    settings: () => settings,
    store,
    keys,
    desk,
    retell: telling.retell,
    tells: telling.tells,
    events: (after, signal) => store.events(after, signal),
    log,
  })
  const consoleListening = await listenConsole(app, first.console.listen, first.console.tls)
  const sockets = slackSockets(socketsOf(first), app.slack, log)
  closers.push(
    () => telling.close(),
    () => app.slack.close(),
    () => app.teams.close(),
    () => sockets.close(),
    () => consoleListening.close(),
    async () => app.close(),
  )

  // With `listen: host:0` the addresses are known only now; a url that was not given follows them.
  const addressed = (next: Settings): Settings =>
    [next.gate.url, next.console.url].some(url => url.endsWith(':0'))
      ? {
          ...next,
          gate: { ...next.gate, url: next.gate.url.endsWith(':0') ? gateListening.url : next.gate.url },
          console: { ...next.console, url: next.console.url.endsWith(':0') ? consoleListening.url : next.console.url },
        }
      : next
  settings = addressed(settings)

  const speaking = {
    parts,
    problems: () => problems.map(line),
    loadedAt: () => loadedAt,
    live: liveHolds(store, stored => namesOf(verifiedHold(keys, stored)), clock),
  }
  const server = adminServer(speaking)
  const admin =
    options.worker === undefined
      ? await listening(server, first.admin.listen, 'admin')
      : { url: '', close: () => Promise.resolve() }
  closers.push(() => admin.close())
  const sweeping = sweep(parts, theGate.deliver)
  closers.push(
    () => sweeping.close(),
    () => watch.close(),
  )

  const watching = watchSettings(options.config, looked, {
    env,
    onSettings(read: Settings) {
      const next = addressed(read)
      for (const what of restartOnly(settings, next))
        log.warn({ what }, 'this part of the configuration needs a restart to change')
      prepare(next)
      settings = next
      if (next.gate.tls !== undefined) gateListening.secure(next.gate.tls)
      if (next.console.tls !== undefined) consoleListening.secure(next.console.tls)
      loadedAt = clock()
      problems = []
      log.info({ config: next.hash }, 'configuration loaded')
      noted(parts, { kind: 'config.loaded', config: next.hash })
    },
    onProblems(found: readonly Finding[]) {
      problems = found
      log.error({ problems: found.map(line) }, 'the new configuration is bad; the last good one stays in force')
      noted(parts, { kind: 'config.refused', detail: `${found.length} problems` })
    },
  })
  const onHangup = (): void => void watching.reload()
  process.on('SIGHUP', onHangup)
  closers.push(async () => {
    process.off('SIGHUP', onHangup)
    watching.stop()
  })
  // First of all on the way down: nobody is held any more, and what is being sent is let finish.
  closers.push(() => theGate.drain())
  closers.unshift(
    () => access.close(),
    () => closePools(),
  )

  noted(parts, { kind: 'config.loaded', config: first.hash })
  const health = await store.health()
  for (const note of health.notes)
    log[health.durability === 'epoch' ? 'warn' : 'info']({ durability: health.durability }, note)
  const asked = { ready: () => readiness(speaking), metrics: () => meter.data() }
  return { gate: settings.gate.url, console: settings.console.url, admin: admin.url, asked, close }
}

const namesOf = (hold: Hold | undefined): string => hold?.head.rules.map(rule => rule.name).join(', ') ?? ''

const noted = (parts: Parts, entry: Parameters<Parts['record']['note']>[0]): void => {
  try {
    parts.record.note(entry)
  } catch (error) {
    parts.log.error({ err: toError(error), kind: entry.kind }, 'an audit entry could not be written')
  }
}

const openStore = async ({ store }: Settings): Promise<Store> => {
  if (store.kind === 'redis')
    return (await import('../store/redis.ts')).redisStore({
      url: store.url,
      ...(store.durable === undefined ? {} : { durable: store.durable }),
    })
  if (store.path !== ':memory:') await mkdir(dirname(store.path), { recursive: true, mode: 0o700 })
  return (await import('../store/sqlite.ts')).sqliteStore({ path: store.path })
}

/** The key ring of the configuration, or the one made and kept beside the SQLite file. */
const openKeys = async ({ keys, store }: Settings): Promise<KeyRing> => {
  try {
    if (keys !== undefined) return keyRing(keys)
  } catch (error) {
    throw new Error(`keys: ${(error as Error).message}`)
  }
  if (store.kind !== 'sqlite')
    throw new Error('keys: needed with Redis (holdpoint needs the same keys in every replica)')
  if (store.path === ':memory:') return keyRing(newKey('k1'))
  const path = `${store.path}.keys`
  if (!existsSync(path)) await writeFile(path, `${newKey('k1')}\n`, { mode: 0o600, flag: 'wx' })
  return keyRing(await readFile(path, 'utf8'))
}

// Certificates may change at any time, but not whether clients are asked for theirs.
const askedOf = (tls: ListenTls | undefined): string => (tls?.clientCa === undefined ? 'nobody' : tls.clientCert)

const restartOnly = (before: Settings, after: Settings): string[] =>
  (
    [
      ['gate.listen', before.gate.listen, after.gate.listen],
      ['gate.tls', before.gate.tls === undefined, after.gate.tls === undefined],
      ['gate.tls.clientCa', askedOf(before.gate.tls), askedOf(after.gate.tls)],
      ['console.tls', before.console.tls === undefined, after.console.tls === undefined],
      ['console.tls.clientCa', askedOf(before.console.tls), askedOf(after.console.tls)],
      ['gate.limits.header', before.gate.limits.header, after.gate.limits.header],
      ['console.listen', before.console.listen, after.console.listen],
      ['admin.listen', before.admin.listen, after.admin.listen],
      ['store', before.store, after.store],
      ['keys', before.keys, after.keys],
      ['audit.spool', before.audit.spool, after.audit.spool],
      ['audit.trails', before.audit.trails, after.audit.trails],
      ['channels[].appToken', socketsOf(before), socketsOf(after)],
    ] as const
  ).flatMap(([what, one, other]) => (JSON.stringify(one) === JSON.stringify(other) ? [] : [what]))

export const registerServe = (program: Command): void => {
  program
    .command('serve')
    .description('run gate and console from a configuration file')
    .requiredOption('-c, --config <file>', 'the configuration file (see config/holdpoint.yaml)')
    .option('-w, --workers <number>', 'so many processes behind the same ports; needs Redis as the store', toCount)
    .addHelpText(
      'after',
      `
Examples:
  $ holdpoint serve --config holdpoint.yaml
  $ holdpoint check holdpoint.yaml && holdpoint serve -c holdpoint.yaml
  $ holdpoint serve -c holdpoint.yaml --workers 4

Signals: SIGHUP reads the configuration again (files are watched as well), SIGTERM and SIGINT drain and stop.
Environment: HOLDPOINT_LOG=debug|info|warn|error|silent sets what goes to stderr; HOLDPOINT_ACCESS=off leaves out
the line of each call.`,
    )
    .action(async ({ config, workers }: { config: string; workers?: number }) => {
      const log = makeLog(process.env.HOLDPOINT_LOG)
      const worker = workerNumber()
      const begin = async (): Promise<Pick<Serving, 'gate' | 'console' | 'admin' | 'close'>> => {
        if (workers !== undefined && worker === undefined) return several(config, workers, log)
        const alone = await serve({ config, log, ...(worker === undefined ? {} : { worker }) })
        if (worker !== undefined) tellStarted({ gate: alone.gate, console: alone.console }, alone.asked)
        return alone
      }
      const starting = begin()
      // Heard from the first moment on: a gate that is only just there has calls and entries as well.
      const stop = (): void => {
        process.off('SIGTERM', stop)
        process.off('SIGINT', stop)
        if (worker === undefined) log.info('stopping')
        void starting
          .then(serving => serving.close())
          .then(
            () => process.exit(0),
            () => undefined,
          )
      }
      process.on('SIGTERM', stop)
      // A terminal tells every process of its group; the workers wait for the first one to tell them.
      process.on('SIGINT', worker === undefined ? stop : () => undefined)
      // Without the process that started it a worker has nobody who would start or stop it.
      if (worker !== undefined) process.on('disconnect', stop)
      try {
        const { gate, console, admin } = await starting
        if (worker === undefined) log.info({ gate, console, admin }, 'ready')
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        if (worker === undefined) process.stderr.write(`${why}\n`)
        else tellFailed(why)
        process.exitCode = 1
        if (worker !== undefined) process.disconnect()
      }
    })
}

const toCount = (text: string): number => {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 64) throw new InvalidArgumentError('give a number from 1 to 64.')
  return count
}

/** @throws BadConfiguration, or an Error that says what is in the way */
const several = async (config: string, count: number, log: Log): Promise<Workers> => {
  const loaded = await loadSettings(config, process.env)
  if ('problems' in loaded) throw new BadConfiguration(loaded.problems)
  const { store, admin } = loaded.settings
  if (store.kind !== 'redis')
    throw new Error(
      '--workers: several processes share their holds in Redis; set "store" to redis://... or leave it out',
    )
  return startWorkers(count, admin.listen, log)
}
