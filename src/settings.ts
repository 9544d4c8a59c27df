// The configuration as the parts see it: one immutable snapshot, made by config.ts, replaced whole on reload. Types only.
// Durations are milliseconds, sizes are bytes; every default is filled in.
import type { CallerKind, Json, Rate } from './nouns.ts'

export type Settings = {
  /** SHA-256 over the configuration's files before interpolation, hex. */
  readonly hash: string
  readonly file: string
  readonly loadedAt: number
  readonly gate: {
    readonly listen: Listen
    /** What callers use, without a trailing slash. */
    readonly url: string
    /** Undefined: plain HTTP. */
    readonly tls: ListenTls | undefined
    readonly trustedProxies: readonly string[]
    readonly limits: Limits
    /** EC P-256 private keys, PEM: the first one signs assertions, all of them are published. Undefined: made and kept in the store. */
    readonly assertionKey: string | undefined
  }
  readonly console: ConsoleSettings
  readonly admin: { readonly listen: Listen }
  readonly store: StoreSettings
  /** Key ring text (seal.ts); undefined: made and kept beside the SQLite file. */
  readonly keys: string | undefined
  readonly issuers: readonly Issuer[]
  readonly people: readonly PersonEntry[]
  readonly upstreams: readonly Upstream[]
  /** In order of evaluation. */
  readonly rules: readonly Rule[]
  readonly ruleFiles: readonly string[]
  readonly callers: { readonly [name: string]: TestCaller }
  readonly tests: readonly RuleTest[]
  readonly channels: readonly ChannelSettings[]
  readonly audit: { readonly strict: boolean; readonly spool: string | undefined; readonly trails: readonly Trail[] }
  /** How long an async hold outlives its caller's last valid token. */
  readonly tokenGraceMs: number
}

export type Listen = { readonly host: string; readonly port: number }

/** PEM texts. `clientCa` asks clients for a certificate; one that is shown must be good, `required` wants one of everybody. */
export type ListenTls = {
  readonly cert: string
  readonly key: string
  readonly clientCa: string | undefined
  readonly clientCert: 'optional' | 'required'
}

export type Limits = {
  readonly header: number
  readonly inspect: number
  readonly held: number
  readonly heldBytes: number
  readonly answer: number
  readonly holdsPerCaller: number
  readonly holds: number
  /** Opened by one caller at one replica; 0: no limit. */
  readonly holdsPerMinute: number
  /** Of one caller at one replica; 0: no limit. */
  readonly callsPerSecond: number
  readonly connections: number
  /** Trusted proxies are not counted. */
  readonly connectionsPerAddress: number
}

export type ConsoleSettings = {
  readonly listen: Listen
  readonly tls: ListenTls | undefined
  readonly url: string
  readonly audience: string | undefined
  readonly login: readonly Login[]
  readonly auditors: readonly string[]
  readonly operators: readonly string[]
}

export type Login = {
  readonly name: string
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string | undefined
  readonly scopes: readonly string[]
  /** Claim names, first present wins. */
  readonly claims: {
    readonly person: readonly string[]
    readonly client: readonly string[]
    readonly email: readonly string[]
    readonly groups: readonly string[]
    readonly name: readonly string[]
  }
  readonly emailDomains: readonly string[]
  readonly interactive:
    | { readonly clients: readonly string[]; readonly amr: readonly string[]; readonly maxAgeMs: number | undefined }
    | undefined
}

export type Issuer = {
  readonly name: string
  /** Exactly as tokens say it; undefined where opaque tokens are asked about and nothing is said of their issuer. */
  readonly issuer: string | undefined
  /** Its tokens are asked about (RFC 7662), never verified with keys. */
  readonly introspect?: Introspection | undefined
  readonly directory: string | undefined
  /** Empty only where tokens are asked about. */
  readonly audience: readonly string[]
  readonly algorithms: readonly string[]
  /** Only tokens that say they are access tokens (RFC 9068). */
  readonly typ?: 'at+jwt' | undefined
  /** Claim names, or JSON pointers; first present wins. */
  readonly claims: {
    readonly subject: readonly string[]
    readonly person: readonly string[]
    readonly client: readonly string[]
    readonly email: readonly string[]
    readonly groups: readonly string[]
    readonly owner: readonly string[]
    readonly name: readonly string[]
    readonly reason: readonly string[]
  }
  readonly kind:
    | 'auto'
    | CallerKind
    | readonly { readonly when: { readonly [claim: string]: ValueTest }; readonly kind: CallerKind }[]
  readonly ownerless: 'refuse' | 'accept'
  readonly jwksUri: string | undefined
  /** Absolute paths, read anew each time. */
  readonly caFile?: string | undefined
  readonly bearerTokenFile?: string | undefined
  /** For how long keys serve that cannot be fetched anew. */
  readonly staleForMs?: number | undefined
  /** Only tokens that are bound to a key of their caller: by DPoP (RFC 9449), by client certificate (RFC 8705). */
  readonly dpop?: 'required' | undefined
  readonly mtls?: 'required' | undefined
}

export type Introspection = {
  readonly url: string
  readonly clientId: string | undefined
  readonly clientSecret: string | undefined
  /** What opaque tokens of this entry begin with; undefined: all that have no other entry's prefix. */
  readonly prefix: string | undefined
  /** For how long an answer is remembered. */
  readonly cacheForMs: number
}

export type PersonEntry = {
  readonly name: string
  readonly accounts: readonly string[]
  readonly owns: readonly string[]
}

export type Upstream = {
  readonly name: string
  readonly kind:
    | 'http'
    | 'aws'
    | 'clickhouse'
    | 'elasticsearch'
    | 'graphql'
    | 'influxdb'
    | 'kubernetes'
    | 'mcp'
    | 'postgrest'
    | 'sql'
  /** Without a trailing slash. An aws upstream without one of its own has the public address; each call goes to its service (located). */
  readonly url: string
  /** What may be called at AWS; `own`: the url is for all of it. */
  readonly aws?: {
    readonly services: readonly string[]
    readonly regions: readonly string[]
    readonly url: 'own' | 'public'
  }
  readonly at: { readonly prefix: string } | { readonly hosts: readonly string[] }
  readonly credential: CredentialSettings | undefined
  /** A header (lower case) in which callers carry their token, instead of Authorization. */
  readonly tokenHeader: string | undefined
  /** `tunnelMs`: how long a tunnel may last at most. 0 is none. */
  readonly timeouts: {
    readonly connectMs: number
    readonly headersMs: number
    readonly idleMs: number
    readonly tunnelMs: number
  }
  readonly tls: UpstreamTls | undefined
  /** May HTTP/2 be spoken with it? */
  readonly http2: boolean
  /** Which forwarded calls carry an assertion. */
  readonly assertion: 'held' | 'always'
  /** Lower case. */
  readonly volatileHeaders: readonly string[]
  readonly limits: { readonly inspect: number; readonly held: number }
  readonly encodedSlash: 'refuse' | 'keep'
  readonly doubleSlash: 'refuse' | 'keep'
  readonly pathParameters: 'refuse' | 'keep'
  readonly caseSensitive: boolean
  readonly getBody: boolean
  readonly underscores: 'refuse' | 'drop'
  /** Over url, kind and credential reference: a release needs the same as at approval. */
  readonly hash: string
}

/** PEM texts; `id` is another one whenever any of it is. */
export type UpstreamTls = {
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly serverName: string | undefined
  readonly id: string
}

/** Values are secrets; `hash` of the upstream covers where they come from, not what they are. */
export type CredentialSettings =
  | { readonly kind: 'bearer'; readonly token: string }
  | { readonly kind: 'basic'; readonly user: string; readonly password: string }
  | { readonly kind: 'headers'; readonly headers: { readonly [name: string]: string } }
  | Sigv4Settings
  | Oauth2Settings
  | ExecSettings
  | { readonly kind: 'kubernetes'; readonly tokenFile: string; readonly impersonate: Impersonation | undefined }

export type Oauth2Settings = {
  readonly kind: 'oauth2'
  readonly tokenUrl: string
  readonly clientId: string
  readonly clientSecret: string
  readonly scope?: string
  readonly audience?: string
  /** Tokens of the callers, for the assertions that name them, instead of one of our own. */
  readonly exchange: boolean
}

export type ExecSettings = {
  readonly kind: 'exec'
  /** Absolute, or a bare name. */
  readonly command: string
  readonly args: readonly string[]
  /** Beside PATH and HOME. */
  readonly env: { readonly [name: string]: string }
}

/** Templates over the caller. `insecureSystem`: users and groups of Kubernetes' own may come out of them. */
export type Impersonation = {
  readonly user: string
  readonly groups: readonly string[]
  readonly extra: { readonly [key: string]: readonly string[] }
  readonly insecureSystem: boolean
}

export type Sigv4Settings = {
  readonly kind: 'sigv4'
  readonly from: 'static' | 'env' | 'file' | 'webIdentity' | 'container' | 'chain'
  /** Of `static`. */
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken: string | undefined
  /** Of `file`; undefined: where the AWS tools keep theirs. */
  readonly file: string | undefined
  readonly profile: string
  /** Of `webIdentity`; undefined: AWS_WEB_IDENTITY_TOKEN_FILE. */
  readonly tokenFile: string | undefined
  /** Assumed with what was found; of `webIdentity` undefined is AWS_ROLE_ARN. */
  readonly role: string | undefined
  readonly sessionName: string
  /** Where the token service is asked: in this region, or at this address. */
  readonly region: string
  readonly sts: string | undefined
}

export type StoreSettings =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'redis'; readonly url: string; readonly durable: 'always' | undefined }

export type Trail = { readonly kind: 'stdout' } | { readonly kind: 'file'; readonly path: string }

// ---- channels

export type ChannelSettings = EmailSettings | SlackSettings | TeamsSettings | WebhookSettings

/** What every channel has. `minimal`: nothing of the call is told, only that there is one and where it is looked at. */
export type ChannelBasics = { readonly name: string; readonly content: 'full' | 'minimal' }

export type SlackSettings = ChannelBasics & {
  readonly kind: 'slack'
  readonly token: string
  /** Verifies what comes to /slack/interactions; undefined: nothing is taken there. */
  readonly signingSecret?: string | undefined
  /** Opens Socket Mode. */
  readonly appToken?: string | undefined
  /** The one workspace whose members may decide. */
  readonly team: string
  readonly channel: string
  readonly apiUrl: string
  /** The people behind a call are told of it directly, too. */
  readonly dm?: 'owner' | undefined
}

export type WebhookSettings = ChannelBasics & {
  readonly kind: 'webhook'
  readonly url: string
  readonly secret: string
}

/** By a Workflows webhook, or by a bot: one of the two. */
export type TeamsSettings = ChannelBasics & {
  readonly kind: 'teams'
  readonly cardVersion: '1.4' | '1.5'
  /** Of the workflow; its query is the credential. */
  readonly url?: string | undefined
  readonly bot?: TeamsBot | undefined
}

export type TeamsBot = {
  /** The bot's application (client) id. */
  readonly appId: string
  readonly secret: string
  /** The one tenant whose members may decide. */
  readonly tenant: string
  /** The channel or chat that is told. */
  readonly conversation: string
  /** The Bot connector. What comes in has to name it, or one of the same host. */
  readonly serviceUrl: string
  /** Further hosts that what comes in may name. Nothing is ever sent there. */
  readonly serviceHosts: readonly string[]
  readonly tokenUrl: string
  readonly scope: string
  /** Who signs what comes in, and where their keys are found. */
  readonly issuer: string
  readonly metadataUrl: string
}

export type EmailSettings = ChannelBasics & {
  readonly kind: 'email'
  readonly content: 'minimal'
  readonly host: string
  readonly port: number
  /** `none` only on loopback addresses, or where the configuration insists. */
  readonly security: 'tls' | 'starttls' | 'none'
  /** PEM; undefined: the system's authorities. */
  readonly ca?: string | undefined
  readonly user?: string | undefined
  readonly password?: string | undefined
  readonly from: string
  readonly to: readonly string[]
}

// ---- rules

export type Outcome = 'allow' | 'hold' | 'deny'

export type Rule = {
  readonly name: string
  /** `file:line` where it is written. */
  readonly where: string
  readonly match: Match
  readonly then: Outcome
  /** Every one of them must be met; empty unless `then` is hold. */
  readonly approve: readonly Approve[]
  readonly notify: readonly string[]
  readonly summary: string | undefined
  readonly show: readonly string[]
  readonly mask: readonly string[]
  readonly controls: readonly string[]
  /** Reviewers are shown what the call would change, where the upstream's kind can tell. */
  readonly preview?: true
  /** Over everything the rule says (canonical JSON, names of reviewers resolved), hex. */
  readonly hash: string
}

export type Approve = {
  readonly groups: readonly string[]
  readonly people: readonly string[]
  readonly votes: number
  readonly withinMs: number
  readonly approvedForMs: number
  readonly waitMs: number
  readonly onDisconnect: 'keep' | 'cancel'
  readonly reason: 'required' | 'optional'
  readonly comment: 'required' | 'optional'
  readonly unreadable: 'deny' | 'digest'
  readonly approveUnseen: boolean
  /** What the sign-in of whoever lets a call go must be: one of these `acr`, if any are named, and not older than this. */
  readonly stepUp?: { readonly acr: readonly string[]; readonly maxAgeMs: number | undefined }
  /** Who may let a call go alone, in an emergency. */
  readonly breakGlass?: { readonly groups: readonly string[] }
  /** The most that a grant may allow; absent: there are none. */
  readonly grant?: { readonly uses: number; readonly forMs: number; readonly rate?: Rate }
  /** Who is told, and may approve as well, once the hold is this old. */
  readonly escalate?: {
    readonly afterMs: number
    readonly notify: readonly string[]
    readonly groups: readonly string[]
    readonly people: readonly string[]
  }
}

/**
 * A test on a value. A string is a glob in which `*` matches any characters; a list fits if one of its items does.
 * Numbers and booleans compare by JSON type.
 */
export type ValueTest =
  | string
  | number
  | boolean
  | null
  | readonly ValueTest[]
  | {
      readonly is?: string | number | boolean | null | readonly (string | number | boolean | null)[]
      readonly not?: ValueTest
      readonly over?: number
      readonly under?: number
      readonly matches?: string
      readonly exists?: boolean
      readonly contains?: string | number | boolean
    }

/** Every key must match. */
export type Match = {
  readonly upstream?: ValueTest
  readonly method?: ValueTest
  readonly host?: ValueTest
  /** Segment globs on the canonical path as the upstream sees it. */
  readonly path?: string | readonly string[]
  readonly query?: { readonly [name: string]: ValueTest }
  readonly header?: { readonly [name: string]: ValueTest }
  /** By JSON pointer; a segment `*` means every element or member. */
  readonly json?: { readonly [pointer: string]: ValueTest }
  readonly form?: { readonly [name: string]: ValueTest }
  readonly body?: { readonly type?: ValueTest; readonly size?: ValueTest }
  readonly action?: ValueTest
  readonly resource?: ValueTest
  readonly access?: ValueTest
  readonly fields?: { readonly [name: string]: ValueTest }
  readonly caller?: {
    readonly kind?: ValueTest
    readonly subject?: ValueTest
    readonly client?: ValueTest
    readonly group?: ValueTest
    readonly issuer?: ValueTest
    readonly email?: ValueTest
    readonly claim?: { readonly [name: string]: ValueTest }
  }
  readonly time?: { readonly days?: readonly string[]; readonly hours?: string; readonly zone?: string }
  /** A CEL expression (match/when.ts). */
  readonly when?: string
}

export type TestCaller = {
  readonly issuer: string
  readonly subject: string
  readonly kind: CallerKind
  readonly client?: string
  readonly groups: readonly string[]
  readonly owner?: string
  readonly email?: string
  readonly claims: { readonly [name: string]: Json }
}

export type RuleTest = {
  readonly name: string
  readonly where: string
  readonly call: {
    readonly caller: string
    readonly method: string
    readonly url: string
    readonly headers: { readonly [name: string]: string }
    readonly json?: Json
    readonly form?: { readonly [name: string]: string }
    readonly body?: string
    readonly at?: string
  }
  readonly expect: { readonly outcome: Outcome; readonly rule?: string }
}
