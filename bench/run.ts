// `npm run bench`: Holdpoint and its peers, interleaved in one run over several rounds, each on one core in front of the same upstream.
// Ratios are made within a round and their median is the figure, because what else the machine does changes from round to round.
// Writes bench/results.json and the tables of docs/performance.md. It sends nothing beyond this machine and stops by itself.
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { freePorts } from '../src/commands/demo/ports.ts'
import { newKey } from '../src/seal.ts'
import { find, provide } from '../test/support/debian.ts'
import { startIssuer } from '../test/support/issuer.ts'
import { startRedis } from '../test/support/redis.ts'
import { type Load, type Measured, measure } from './load.ts'
import {
  audience,
  type Holdpoint,
  installPeers,
  type Peer,
  startHoldpoint,
  startPeers,
  startUpstream,
  upstreamCount,
} from './peers.ts'
import { loadCore, pinSelf } from './programs.ts'
import { median, type Result, type Results, type Row, tables, verdicts } from './report.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '2' } },
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
if (!(rounds >= 1 && rounds <= 20 && seconds >= 1 && seconds <= 10))
  throw new Error('--rounds: 1 to 20; --seconds: 1 to 10')

// Before anything is started: from here on the load is our own.
const [loadBefore = 0] = loadavg()

provide([
  { name: 'wrk', package: 'wrk', why: 'the load' },
  { name: 'haproxy', package: 'haproxy', why: 'a proxy that verifies tokens' },
  { name: 'apache2', package: 'apache2', why: 'a proxy that verifies tokens, with mod_auth_openidc' },
  { name: 'redis-server', package: 'redis-server', why: 'the store of several workers' },
  { name: 'nginx', package: 'nginx', why: 'the upstream, and a plain proxy' },
])
if (process.getuid?.() === 0 && find('apt-get') !== undefined)
  execFileSync('apt-get', ['install', '-q', '-y', '--no-install-recommends', 'libapache2-mod-auth-openidc'], {
    stdio: 'ignore',
  })
installPeers()
pinSelf(loadCore)

const connections = 64
const dir = await mkdtemp(join(tmpdir(), 'holdpoint-bench-'))
const port = async (): Promise<number> => (await freePorts(1))[0] ?? 0
const issuer = await startIssuer()
const { keys } = (await (await fetch(`${issuer.url}/keys`)).json()) as { keys: { [name: string]: unknown }[] }
const place = { dir, upstream: await port(), issuer: issuer.url, jwk: keys[0] ?? {}, port }

const say = (text: string): void => void process.stderr.write(`${text}\n`)

// ---- what is sent

const exp = Math.floor(Date.now() / 1000) + 3600
const tokens = await Promise.all(
  Array.from({ length: 1000 }, (_, n) =>
    issuer.token({ aud: audience, sub: `agent-${n}`, client_id: `agent-${n}`, exp }),
  ),
)
const one = join(dir, 'token')
const thousand = join(dir, 'tokens')
const body = join(dir, 'body')
await writeFile(one, `${tokens[0]}\n`)
await writeFile(thousand, `${tokens.join('\n')}\n`)
await writeFile(body, JSON.stringify({ amount: 50, currency: 'EUR', note: 'x'.repeat(2000) }))

const get: Load = { method: 'GET', path: '/v1/items/7', tokens: one, connections, seconds }
const post: Load = { ...get, method: 'POST', path: '/v1/refunds', body }
const mebibyte: Load = { ...get, path: '/files/1m', connections: 16 }
const hundred: Load = { ...get, path: '/files/100m', connections: 4, seconds: Math.max(3, seconds) }

// ---- who is asked

const upstream = await startUpstream(dir, place.upstream)
const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'everysec'] })
const holdpoints: Holdpoint[] = []
const peers: Peer[] = []
const rows: Row[] = []
let sent = 0
try {
  // The first start leaves what later ones read (bin/holdpoint.js), and a gate is started more than once in its life.
  const starts: number[] = []
  for (const n of [0, 1, 2, 3]) {
    const own = join(dir, `start-${n}`)
    await mkdir(own)
    const { startMs, running } = await startHoldpoint({ ...place, dir: own }, 20)
    await running.stop()
    if (n > 0) starts.push(startMs)
  }
  for (const count of [20, 1_000, 10_000]) holdpoints.push(await startHoldpoint(place, count))
  const [holdpoint, rules1000, rules10000] = holdpoints as [Holdpoint, Holdpoint, Holdpoint]
  // Most scenarios are for the first gate, which is warm from them; those with more rules are set beside one that rests as long as they do.
  const rules20 = await startHoldpoint(place, 20, { name: 'holdpoint, 20 rules' })
  holdpoints.push(rules20)
  peers.push(...(await startPeers(place)))
  // Its entries are in Redis, so it is not counted among those whose log is read at the end; the load takes its share of both cores.
  const workers = await startHoldpoint(place, 20, { workers: 2, config: { store: redis.url, keys: newKey('k1') } })
  peers.push(workers)
  const named = (start: string): Peer => {
    const found = peers.find(peer => peer.name.startsWith(start))
    if (found === undefined) throw new Error(`no peer ${start}`)
    return found
  }

  const scenarios: readonly (readonly [scenario: string, peer: Peer, load: Load])[] = [
    ...[holdpoint, ...peers.filter(peer => peer !== workers)].map(peer => ['small GET', peer, get] as const),
    ['20 rules, the last one matches', rules20, get],
    ['1 000 rules, the last one matches', rules1000, get],
    ['10 000 rules, the last one matches', rules10000, get],
    ['1 000 tokens in turn', holdpoint, { ...get, tokens: thousand }],
    ['JSON POST of 2 KiB that a rule reads', holdpoint, post],
    ['JSON POST of 2 KiB', named('HAProxy'), post],
    ['answers of 1 MiB', holdpoint, mebibyte],
    ['answers of 1 MiB', named('nginx'), mebibyte],
    ['answers of 100 MiB', holdpoint, hundred],
    ['answers of 100 MiB', named('nginx'), hundred],
    ['small GET, several workers', workers, get],
  ]

  const take = async (scenario: string, peer: Peer, load: Load, round: number): Promise<Measured> => {
    const measured = await measure(peer, load)
    if (holdpoints.some(own => own.port === peer.port)) sent += measured.requests
    if (round > 0) rows.push({ round, scenario, peer: peer.name, ...measured })
    return measured
  }

  say('warming up')
  for (const [scenario, peer, load] of scenarios)
    if (load.path === get.path || load.path === post.path) await take(scenario, peer, { ...load, seconds: 3 }, 0)
  for (let round = 1; round <= rounds; round++) {
    say(`round ${round} of ${rounds}`)
    // Every other round backwards, so that nobody always comes after the same one.
    for (const [scenario, peer, load] of round % 2 === 1 ? scenarios : scenarios.toReversed())
      await take(scenario, peer, load, round)
    for (const peer of [holdpoint, named('HAProxy')]) {
      const full = rows.findLast(row => row.scenario === 'small GET' && row.peer === peer.name)?.perS ?? 1000
      // A connection asks every 20 ms, so this many connections make half of what the peer can.
      const half = { ...get, pauseMs: 20, connections: Math.max(1, Math.round((full / 2) * 0.02)) }
      await take('p99 at half of its own saturation', peer, half, round)
    }
  }

  const reached = await upstreamCount(place.upstream)
  for (const own of [...holdpoints, ...peers].splice(0)) await own.running.stop()
  const audited = holdpoints.map(own => own.audited()).reduce((sum, n) => sum + n, 0)
  const result: Result = {
    at: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? '',
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      node: process.version,
      loadBefore,
    },
    rounds,
    seconds,
    startMs: Math.round(median(starts)),
    answered: sent,
    audited,
    upstreamRequests: reached,
    // wrk closes its connections at the end of each measurement; the calls that were under way then are on record but not answered.
    openEnds: rows.length * connections,
  }
  const results: Results = { ...result, rows }
  const here = fileURLToPath(new URL('.', import.meta.url))
  await writeFile(join(here, 'results.json'), `${JSON.stringify(results, null, 1)}\n`)
  const document = join(here, '../docs/performance.md')
  const text = await readFile(document, 'utf8')
  await writeFile(document, text.replace(/(<!-- bench -->\n)[\s\S]*?(<!-- \/bench -->)/, `$1${tables(results)}$2`))
  process.stdout.write(`${tables(results)}\n`)
  if (verdicts(results).some(verdict => verdict.word === 'missed')) say('Some required targets are missed; see above.')
} finally {
  for (const own of [...holdpoints, ...peers]) await own.running.stop()
  await upstream.stop()
  await issuer.close()
  await redis.stop()
  await rm(dir, { recursive: true, force: true })
}
