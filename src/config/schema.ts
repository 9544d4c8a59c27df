// The shape of the configuration file, with its defaults. What is planned but not built is named beside the keys that are, and refused.
// What several keys have to say to each other is checked in config.ts, what rules say in rules.ts.
import { z } from 'zod'
import { channels } from './channels.ts'
import { issuer } from './issuer-schema.ts'
import * as rules from './rules-schema.ts'
import {
  baseUrl,
  count,
  domain,
  duration,
  durationOrNone,
  flag,
  headerName,
  host,
  list,
  listen,
  name,
  network,
  oneOf,
  oneOrMore,
  origin,
  prefix,
  secureUrl,
  size,
  text,
  timeout,
} from './scalars.ts'
import { strict } from './strict.ts'

const limits = strict({
  header: size.prefault('32KiB').describe('Largest request head.'),
  inspect: size.prefault('1MiB').describe('Largest body that rules read; a larger one is unknown to them.'),
  held: size.prefault('10MiB').describe('Largest body that may be held.'),
  heldBytes: size.prefault('2GiB').describe('All held bodies together.'),
  answer: size.prefault('10MiB').describe('Largest answer kept for an async caller.'),
  holdsPerCaller: count(1, 'holds').prefault(20),
  holds: count(1, 'holds').prefault(100_000),
  holdsPerMinute: count(0, 'holds')
    .prefault(60)
    .describe('Opened by one caller, at each replica; repeats of a held call are not counted. 0 is no limit.'),
  callsPerSecond: count(0, 'calls').prefault(0).describe('Of one caller, at each replica. 0 is no limit.'),
  connections: count(1, 'connections').prefault(20_000).describe('At each replica.'),
  connectionsPerAddress: count(1, 'connections')
    .prefault(1_000)
    .describe('At each replica; trusted proxies are not counted.'),
})

export const listenTls = strict({
  cert: text('a path').describe('A file with the certificate and what is between it and its CA, PEM.'),
  key: text('a path').describe('A file with its key, PEM.'),
  clientCa: text('a path').optional().describe('CAs of client certificates. One that is shown must then be good.'),
  clientCert: oneOf(['optional', 'required']).prefault('optional'),
})

export { issuer }

/** For what is checked while the gate's own section cannot be read. */
export const defaultLimits = limits.parse({})

const gate = strict({
  listen: listen.prefault('127.0.0.1:8080'),
  tls: listenTls.optional(),
  url: origin.optional().describe('What callers use. Default: http:// and `listen`, on loopback addresses.'),
  trustedProxies: list(network).prefault([]).describe('Whose X-Forwarded-* are believed.'),
  limits: limits.prefault({}),
  tokenGrace: durationOrNone.prefault('5m').describe("How long an async hold outlives its caller's last valid token."),
  assertionKey: text('PEM')
    .optional()
    .describe('EC P-256 keys, PEM: the first one signs assertions. Default: made and kept in the store.'),
})

const claim = oneOrMore(text('a claim name'))

const login = strict({
  name,
  issuer: secureUrl,
  clientId: text(),
  clientSecret: text().optional(),
  scopes: list(text()).prefault(['openid', 'profile', 'email']),
  claims: strict({
    person: claim.prefault(['uid', 'oid', 'sub']),
    client: claim.prefault(['azp', 'client_id', 'cid', 'appid']),
    email: claim.prefault('email'),
    groups: claim.prefault('groups'),
    name: claim.prefault('name'),
  }).prefault({}),
  emailDomains: list(domain).prefault([]).describe('Domains whose verified addresses this login may vouch for.'),
  interactive: strict({
    clients: list(text()).min(1, 'must name at least one client'),
    amr: list(text()).prefault([]),
    maxAge: duration.optional(),
  })
    .optional()
    .describe('Whose bearer tokens may decide at the API; without it they may only read.'),
})

const groups = strict({ groups: list(text('a group')).prefault([]) })

const console = strict({
  listen: listen.prefault('127.0.0.1:8081'),
  tls: listenTls.optional(),
  url: origin.optional().describe('Links to the console. Default: http:// and `listen`, on loopback addresses.'),
  audience: text().optional().describe("Audience of bearer tokens for the API; never the gate's."),
  login: list(login).prefault([]),
  auditors: groups.prefault({}).describe('May read everything, decide nothing.'),
  operators: groups.prefault({}).describe('May revoke, freeze and resolve, decide nothing.'),
})

const account = text('an account').regex(
  /^[^:\s]+:.+$/,
  'must be the name of a login or issuer, a colon and an id, such as "okta:00u1"',
)

export const person = strict({ name: text(), accounts: list(account).prefault([]), owns: list(account).prefault([]) })

const visible = (what: string) =>
  text(what).regex(/^[\x21-\x7e]+$/, `must be ${what} of visible ASCII characters without spaces`)

const sigv4 = strict({
  from: oneOf(['static', 'env', 'file', 'webIdentity', 'container', 'chain']),
  accessKeyId: visible('a key id').optional(),
  secretAccessKey: visible('a key').optional(),
  sessionToken: visible('a token').optional(),
  file: text('a path').optional().describe('A shared credentials file. Default: where the AWS tools have theirs.'),
  profile: text('a profile').optional(),
  tokenFile: text('a path').optional().describe('Default: AWS_WEB_IDENTITY_TOKEN_FILE.'),
  role: text('a role')
    .regex(/^arn:[a-z-]+:iam::\d{12}:role\/[\w+=,.@/-]+$/, 'must be the ARN of a role')
    .optional(),
  sessionName: text('a session name')
    .regex(/^[\w+=,.@-]{2,64}$/, 'must be 2 to 64 letters, digits or +=,.@_-')
    .prefault('holdpoint'),
  region: text('a region')
    .regex(/^[a-z0-9-]+$/, 'must be a region such as eu-central-1')
    .optional(),
  sts: secureUrl.optional().describe('Where the token service is asked. Default: the one of `region`.'),
})

const credential = strict({
  bearer: visible('a token').optional(),
  basic: strict({
    user: text().regex(/^[^:\x00-\x1f\x7f]+$/, 'must have no colon and no control characters'),
    password: text().regex(/^[^\x00-\x1f\x7f]+$/, 'must have no control characters'),
  }).optional(),
  headers: z
    .record(
      text('a header name').regex(/^[!#$%&'*+.^`|~0-9A-Za-z-]+$/, 'must be a header name'),
      text().regex(/^[\x20-\x7e]+$/, 'must be printable ASCII on one line'),
      { error: 'must be a mapping of header names to values' },
    )
    .refine(headers => Object.keys(headers).length > 0, 'must not be empty')
    .optional(),
  kubernetes: strict({
    tokenFile: text('a path').describe('A service account token; read anew as it is renewed.'),
    impersonate: strict({
      user: text().describe('A text with {caller.subject}, {caller.email} and the like.'),
      groups: list(text()).prefault([]).describe('{caller.groups} stands for each of them.'),
      extra: z.record(text('a key'), oneOrMore(text()), { error: 'must be a mapping of keys to texts' }).prefault({}),
      insecureSystem: flag.prefault(false).describe('Users and groups that begin with system: may come out of it.'),
    })
      .optional()
      .describe('Act as the caller (Impersonate-User and the like).'),
  }).optional(),
  sigv4: sigv4.optional(),
  oauth2: strict({
    tokenUrl: secureUrl,
    clientId: text(),
    clientSecret: text(),
    scope: text().optional(),
    audience: text().optional(),
    exchange: flag.prefault(false).describe('A token for each caller, for the assertion that names them (RFC 8693).'),
  })
    .optional()
    .describe('A token from an authorization server, by client credentials.'),
  exec: strict({
    command: text('a program').describe('A path, or a name to be found in PATH once. It prints {token, expiresAt}.'),
    args: list(z.string({ error: 'must be a text' })).prefault([]),
    env: z
      .record(text('a name'), z.string({ error: 'must be a text' }), { error: 'must be a mapping of names to texts' })
      .prefault({})
      .describe('Its environment, beside PATH and HOME.'),
  })
    .optional()
    .describe('A token from a program.'),
})

const kinds = [
  'http',
  'clickhouse',
  'elasticsearch',
  'graphql',
  'influxdb',
  'kubernetes',
  'mcp',
  'postgrest',
  'sql',
  'aws',
] as const

const choice = oneOf(['refuse', 'keep']).prefault('refuse')

export const upstream = strict({
  name,
  kind: oneOf(kinds),
  url: baseUrl.optional().describe('Of kind aws: where all of it is reached instead of at AWS itself.'),
  services: list(text('a service').regex(/^[a-z0-9.-]+$/, 'must be a service as clients sign for it, such as s3'))
    .min(1, 'must name at least one service')
    .optional()
    .describe('Of kind aws: what may be called.'),
  regions: list(text('a region').regex(/^[a-z0-9-]+$/, 'must be a region such as eu-central-1'))
    .min(1, 'must name at least one region')
    .optional()
    .describe('Of kind aws: where. Global services such as iam are signed for us-east-1.'),
  at: strict({ prefix: prefix.optional(), host: oneOrMore(host).optional() }),
  credential: credential.optional(),
  token: strict({ header: headerName })
    .optional()
    .describe('Where callers carry their token, if not in Authorization.'),
  timeouts: strict({
    connect: timeout.prefault('5s'),
    headers: timeout.prefault('60s'),
    idle: timeout.prefault('5m'),
    tunnel: timeout.prefault('1h').describe('How long a WebSocket may last.'),
  })
    .prefault({})
    .describe('0 is none.'),
  volatileHeaders: list(headerName)
    .prefault([])
    .describe('Headers that change from retry to retry without changing the call.'),
  limits: strict({ inspect: size.optional(), held: size.optional() }).prefault({}),
  encodedSlash: choice,
  doubleSlash: choice,
  pathParameters: choice,
  caseSensitive: flag.prefault(true),
  getBody: flag.prefault(false),
  underscores: oneOf(['refuse', 'drop']).prefault('refuse'),
  tls: strict({
    ca: text('a path').optional().describe('A file with the CAs to trust instead of the usual ones, PEM.'),
    cert: text('a path').optional().describe('A file with our own certificate, PEM.'),
    key: text('a path').optional(),
    serverName: host.optional().describe('The name in its certificate, if it is not the one in the url.'),
  }).optional(),
  http2: flag.prefault(false).describe('Speak HTTP/2 with it if it offers that.'),
  assertion: oneOf(['held', 'always']).prefault('held').describe('Which calls carry Holdpoint-Assertion.'),
})

const storeUrl = text('a store').regex(
  /^(sqlite:.+|rediss?:\/\/.+|redis\+(sentinel|cluster):\/\/.+)$/,
  'must be sqlite:<path>, redis://, rediss://, redis+sentinel:// or redis+cluster://',
)

const store = z.union([storeUrl, strict({ url: storeUrl, durable: oneOf(['always']).optional() })])

const plannedTrails = ['s3', 'otlp', 'syslog']

const trail = strict({
  kind: z.enum(['stdout', 'file'], {
    error: ({ input }) =>
      plannedTrails.includes(String(input))
        ? `"${String(input)}" is not built yet; only "file" and "stdout" are`
        : 'must be "file" or "stdout"',
  }),
  path: text('a path').optional(),
})

const audit = strict(
  {
    strict: flag.prefault(false).describe('An allowed call waits until its entry is written.'),
    spool: text('a path').optional().describe('Where entries of allowed calls wait while the store is away.'),
    trails: list(trail).prefault([]),
  },
  ['key', 'checkpoint'],
)

const inlineOrFiles = z.union([text('a path or a glob'), list(z.union([text('a path or a glob'), rules.rule]))])

/** What may stand at the top of the configuration file. */
export const sections = {
  version: z.literal(1, { error: 'must be 1' }),
  gate: gate.prefault({}),
  console: console.prefault({}),
  admin: strict({ listen: listen.prefault('127.0.0.1:9090') }).prefault({}),
  store: store.prefault('sqlite:./data/holdpoint.db'),
  keys: text().optional().describe('id:base64 AES-256 keys, the first one seals. Required with Redis.'),
  issuers: list(issuer).prefault([]),
  people: list(person).prefault([]),
  upstreams: list(upstream).prefault([]),
  rules: inlineOrFiles.optional().describe('Files with rules, or the rules themselves.'),
  channels: channels.prefault({}).describe('Where reviewers are told, by names that rules use in `notify`.'),
  audit: audit.prefault({}),
  mode: z
    .literal('enforce', {
      error: ({ input }) =>
        input === 'observe' ? '"observe" is not built yet; only "enforce" is' : 'must be "enforce"',
    })
    .prefault('enforce'),
  ...rules.sections,
}

const unbuilt = ['observeUntil', 'shards']

/** The configuration file. */
export const file = strict(sections, unbuilt)

/** Its keys alone: each section is read by itself, so that a problem in one hides none in another. */
export const keys = strict(Object.fromEntries(Object.keys(sections).map(key => [key, z.unknown().optional()])), unbuilt)
