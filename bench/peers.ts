// What is measured, each in front of the same upstream: Holdpoint in the sizes the scenarios ask for, and what people use instead.
// Where a peer can verify tokens it does so as strictly as it can; none of the peers writes a log,
// so Holdpoint writes no line per call (HOLDPOINT_LOG=warn); its audit entries are always written.
import { execFileSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { find } from '../test/support/debian.ts'
import { loadCore, proxyCore, type Running, start } from './programs.ts'

export const audience = 'api://holdpoint'
const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '..')

export type Place = {
  readonly dir: string
  readonly upstream: number
  readonly issuer: string
  /** The issuer's public key as a JWK. */
  readonly jwk: { readonly [name: string]: unknown }
  port(): Promise<number>
}

export type Peer = { readonly name: string; readonly port: number; readonly running: Running }

const program = (name: string): string => {
  const path = find(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return path
}

const nginxGlobal = (dir: string): string =>
  `daemon off; ${process.getuid?.() === 0 ? 'user root;' : ''} worker_processes 1; pid ${dir}/pid; error_log ${dir}/error.log crit;
events { worker_connections 4096; }`

const nginxPaths = (dir: string): string =>
  ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(what => `${what}_temp_path ${dir}/${what};`).join(' ')

/** The upstream of everybody: a small JSON answer, and files of 1 and 100 MiB. */
export const startUpstream = async (dir: string, port: number): Promise<Running> => {
  const own = join(dir, 'upstream')
  await mkdir(own)
  await writeFile(join(own, '1m'), Buffer.alloc(1024 * 1024, 'a'))
  await writeFile(join(own, '100m'), Buffer.alloc(100 * 1024 * 1024, 'a'))
  const answer = JSON.stringify({
    id: 'inv_1',
    status: 'open',
    lines: Array.from({ length: 8 }, (_, n) => ({ n, amount: 100 })),
  })
  await writeFile(
    join(own, 'nginx.conf'),
    `${nginxGlobal(own)}
http {
  access_log off; sendfile on; keepalive_requests 100000000; client_max_body_size 0; ${nginxPaths(own)}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location /v1/ { default_type application/json; return 200 '${answer}'; }
    location /files/ { alias ${own}/; }
    location = /status { stub_status; }
  }
}
`,
  )
  return start(loadCore, [program('nginx'), '-p', own, '-c', join(own, 'nginx.conf')], port)
}

/** How many requests the upstream has answered, this one not counted. */
export const upstreamCount = async (port: number): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${port}/status`)).text()
  return Number(/requests\s+\d+ \d+ (\d+)/.exec(text)?.[1] ?? Number.NaN) - 1
}

// ---- Holdpoint

/** `count` rules, of which the last ones match what the scenarios ask; the others are for other paths of the same API. */
const rules = (count: number): object[] => [
  ...Array.from({ length: count - 3 }, (_, n) => ({
    name: `area-${n}`,
    match: { upstream: 'api', method: ['GET', 'POST'], path: `/v1/area-${n}/**` },
    then: n % 3 === 0 ? 'deny' : 'allow',
  })),
  {
    name: 'large-refunds',
    match: { upstream: 'api', method: 'POST', path: '/v1/refunds', json: { '/amount': { over: 100 } } },
    then: 'hold',
    approve: { by: { groups: ['finance-leads'] }, within: '30m', wait: '30s' },
  },
  { name: 'small-refunds', match: { upstream: 'api', method: 'POST', path: '/v1/refunds' }, then: 'allow' },
  { name: 'reads', match: { upstream: 'api', method: 'GET' }, then: 'allow' },
]

export type Holdpoint = Peer & {
  /** From starting the process to its listening gate. */
  readonly startMs: number
  /** Audit entries of allowed calls; call it once the program has ended. */
  audited(): number
}

export const startHoldpoint = async (
  place: Place,
  ruleCount: number,
  options: {
    readonly nodeArgs?: readonly string[]
    readonly config?: object
    /** So many processes, on both cores; they need Redis as the store. */
    readonly workers?: number
    /** What tells it from another one with as many rules. */
    readonly name?: string
  } = {},
): Promise<Holdpoint> => {
  const { workers } = options
  const name =
    options.name ??
    (workers !== undefined
      ? `holdpoint, ${workers} workers (Redis, both cores)`
      : ruleCount === 20
        ? 'holdpoint'
        : `holdpoint, ${ruleCount} rules`)
  const dir = join(place.dir, name.replaceAll(/[^a-z0-9]+/g, '-'))
  await mkdir(dir)
  const [port, console] = [await place.port(), await place.port()]
  await writeFile(join(dir, 'rules.yaml'), JSON.stringify({ rules: rules(ruleCount) }))
  await writeFile(
    join(dir, 'holdpoint.yaml'),
    JSON.stringify({
      version: 1,
      gate: { listen: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}` },
      console: {
        listen: `127.0.0.1:${console}`,
        url: `http://127.0.0.1:${console}`,
        audience: 'api://console',
        login: [{ name: 'idp', issuer: place.issuer, clientId: 'console' }],
      },
      admin: { listen: '127.0.0.1:0' },
      store: 'sqlite:./holdpoint.db',
      issuers: [{ name: 'agents', issuer: place.issuer, audience, kind: 'agent', directory: 'idp' }],
      upstreams: [
        {
          name: 'api',
          kind: 'http',
          url: `http://127.0.0.1:${place.upstream}`,
          at: { prefix: '/' },
          credential: { bearer: 'upstream-key' },
        },
      ],
      audit: { spool: './spool' },
      rules: 'rules.yaml',
      ...options.config,
    }),
  )
  const startedAt = performance.now()
  const running = await start(
    workers === undefined ? proxyCore : `${proxyCore},${loadCore}`,
    [
      process.execPath,
      ...(options.nodeArgs ?? []),
      join(root, 'bin/holdpoint.js'),
      'serve',
      '-c',
      join(dir, 'holdpoint.yaml'),
      ...(workers === undefined ? [] : ['--workers', String(workers)]),
    ],
    port,
    { cwd: dir, env: { HOLDPOINT_LOG: 'warn' } },
  )
  const startMs = performance.now() - startedAt
  return {
    name,
    port,
    running,
    startMs,
    audited() {
      const db = new DatabaseSync(join(dir, 'holdpoint.db'), { readOnly: true })
      try {
        // A row has many entries. In a text that somebody sent, the quotes are escaped.
        const mark = '"kind":"call.allowed"'
        const { n } = db
          .prepare("SELECT coalesce(sum(length(json) - length(replace(json, ?, ''))), 0) / length(?) AS n FROM log")
          .get(mark, mark) as { n: number }
        return n
      } finally {
        db.close()
      }
    },
  }
}

// ---- the others

const haproxy = async (place: Place): Promise<Peer> => {
  const port = await place.port()
  const dir = join(place.dir, 'haproxy')
  await mkdir(dir)
  const pem = join(dir, 'issuer.pem')
  await writeFile(
    pem,
    createPublicKey({ key: place.jwk, format: 'jwk' } as never).export({ type: 'spki', format: 'pem' }),
  )
  await writeFile(
    join(dir, 'haproxy.cfg'),
    `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  option http-keep-alive
  http-reuse always
frontend gate
  bind 127.0.0.1:${port}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
  http-request deny deny_status 401 unless { var(txn.iss) -m str ${place.issuer} }
  http-request deny deny_status 401 unless { var(txn.aud) -m str ${audience} }
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"${pem}") -m int 1 }
  http-request set-header Authorization "Bearer upstream-key"
  default_backend api
backend api
  server api 127.0.0.1:${place.upstream}
`,
  )
  const running = await start(proxyCore, [program('haproxy'), '-db', '-f', join(dir, 'haproxy.cfg')], port)
  return { name: 'HAProxy jwt_verify', port, running }
}

const apache = async (place: Place): Promise<Peer> => {
  const port = await place.port()
  const dir = join(place.dir, 'apache')
  await mkdir(dir)
  const modules =
    ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/lib/httpd/modules'].find(one => existsSync(one)) ??
    ''
  const present = new Set(readdirSync(modules))
  const load = ['mpm_event', 'authn_core', 'authz_core', 'authz_user', 'headers', 'proxy', 'proxy_http', 'auth_openidc']
    .filter(name => present.has(`mod_${name}.so`))
    .map(name => `LoadModule ${name}_module ${modules}/mod_${name}.so`)
    .join('\n')
  const pem = join(dir, 'issuer.pem')
  await writeFile(
    pem,
    createPublicKey({ key: place.jwk, format: 'jwk' } as never).export({ type: 'spki', format: 'pem' }),
  )
  await writeFile(
    join(dir, 'apache.conf'),
    `${load}
ServerRoot ${dir}
ServerName localhost
PidFile ${dir}/pid
DefaultRuntimeDir ${dir}
Mutex file:${dir} default
${process.getuid?.() === 0 ? 'User www-data\nGroup www-data' : ''}
ErrorLog ${dir}/error.log
LogLevel crit
Listen 127.0.0.1:${port}
ListenBacklog 4096
ServerLimit 1
StartServers 1
ThreadsPerChild 256
ThreadLimit 256
MaxRequestWorkers 256
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
OIDCCryptoPassphrase bench
OIDCOAuthVerifyCertFiles ${String(place.jwk.kid)}#${pem}
OIDCOAuthRemoteUserClaim sub
<Location />
  AuthType oauth20
  Require claim iss:${place.issuer}
  RequestHeader set Authorization "Bearer upstream-key"
</Location>
ProxyPass / http://127.0.0.1:${place.upstream}/ keepalive=On max=256
`,
  )
  const running = await start(proxyCore, [program('apache2'), '-D', 'FOREGROUND', '-f', join(dir, 'apache.conf')], port)
  return { name: 'Apache mod_auth_openidc', port, running }
}

const nginx = async (place: Place): Promise<Peer> => {
  const port = await place.port()
  const dir = join(place.dir, 'nginx')
  await mkdir(dir)
  await writeFile(
    join(dir, 'nginx.conf'),
    `${nginxGlobal(dir)}
http {
  access_log off; keepalive_requests 100000000; client_max_body_size 0; ${nginxPaths(dir)}
  upstream api { server 127.0.0.1:${place.upstream}; keepalive 128; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  )
  const running = await start(proxyCore, [program('nginx'), '-p', dir, '-c', join(dir, 'nginx.conf')], port)
  return { name: 'nginx (no tokens)', port, running }
}

const nodePeer = async (
  place: Place,
  name: string,
  args: (port: number, target: string) => string[],
): Promise<Peer> => {
  const port = await place.port()
  const target = `http://127.0.0.1:${place.upstream}`
  const running = await start(proxyCore, [process.execPath, ...args(port, target)], port, { cwd: here })
  return { name: `${name} (no tokens)`, port, running }
}

/** Installs the Node peers where they are not: they have a package.json of their own. */
export const installPeers = (): void => {
  if (!existsSync(join(here, 'node_modules')))
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: here, stdio: 'inherit' })
}

export const startPeers = async (place: Place): Promise<readonly Peer[]> => [
  await haproxy(place),
  await apache(place),
  await nginx(place),
  await nodePeer(place, 'http-proxy', (port, to) => ['peers/http-proxy.js', 'http-proxy', String(port), to]),
  await nodePeer(place, 'http-proxy-3', (port, to) => ['peers/http-proxy.js', 'http-proxy-3', String(port), to]),
  await nodePeer(place, '@fastify/http-proxy', (port, to) => ['peers/fastify.js', String(port), to]),
]
