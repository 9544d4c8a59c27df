// What the name of a header line means to a gateway: the tables, and everything they say of one name, looked up once. Names are compared in
// lower case with everything but letters and digits read as "-", because CGI, WSGI and PHP make one variable of `X-User`, `X_User` and
// `X.User`.

/** Headers of which a second line means that two readers may take different ones. Lower case. */
const singletons: ReadonlySet<string> = new Set([
  'authorization',
  'content-disposition',
  'content-encoding',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'destination',
  'dpop',
  'expect',
  'holdpoint-authorization',
  'holdpoint-reason',
  'host',
  'idempotency-key',
  'if-modified-since',
  'if-range',
  'if-unmodified-since',
  'impersonate-uid',
  'impersonate-user',
  'max-forwards',
  'origin',
  'proxy-authorization',
  'range',
  'referer',
  'sec-websocket-key',
  'sec-websocket-version',
  'smithy-protocol',
  'soapaction',
  'transfer-encoding',
  'user-agent',
  'x-amz-content-sha256',
  'x-amz-copy-source',
  'x-amz-date',
  'x-amz-decoded-content-length',
  'x-amz-rename-source',
  'x-amz-security-token',
  'x-amz-target',
  'x-amz-trailer',
  'x-api-key',
])

/** Meant for the next hop only (RFC 9110 §7.6.1, and the custom ones); never forwarded in either direction. Lower case. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'proxy-connection',
])

/** What a parser does with the rest depends on these in ways that are not plain. Lower case. */
const framing: ReadonlySet<string> = new Set([
  'expect',
  'http2-settings',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

/** Written anew for every forwarded call, or meant for us. */
const rewritten: ReadonlySet<string> = new Set(['host', 'content-length', 'expect', 'traceparent', 'tracestate', 'via'])

// Where a call comes from and what was really asked for: servers and frameworks believe these of their proxy.
const forwarding: ReadonlySet<string> = new Set([
  'forwarded',
  'forwarded-for',
  'x-forwarded',
  'x-forward-for',
  'client-ip',
  'true-client-ip',
  'x-real-ip',
  'x-real-host',
  'x-client-ip',
  'x-client-host',
  'x-cluster-client-ip',
  'x-originating-ip',
  'x-true-ip',
  'x-vercel-forwarded-for',
  'ali-cdn-real-ip',
  'x-proxyuser-ip',
  'x-appengine-user-ip',
  'x-azure-clientip',
  'x-azure-socketip',
  'fastly-client-ip',
  'incap-client-ip',
  'front-end-https',
  'x-scheme',
  'x-url-scheme',
  'x-arr-ssl',
  'x-host',
  'x-backend-host',
  'x-http-host-override',
  'x-http-destinationurl',
  'x-http-path-override',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-middleware-subrequest',
  // CGI makes HTTP_PROXY of it, through which a program then calls out (httpoxy).
  'proxy',
  'base-url',
  'request-uri',
  'x-request-uri',
])

// Who is calling: servers behind an identity-aware proxy believe these of it.
const identity: ReadonlySet<string> = new Set([
  'x-user',
  'x-user-id',
  'x-user-name',
  'x-user-email',
  'x-user-groups',
  'x-user-role',
  'x-user-roles',
  'x-userid',
  'x-userinfo',
  'x-username',
  'x-email',
  'x-group',
  'x-groups',
  'x-role',
  'x-roles',
  'x-identity',
  'x-principal',
  'x-subject',
  'x-id-token',
  'x-auth-email',
  'x-auth-groups',
  'x-auth-roles',
  'x-auth-subject',
  'x-spiffe-id',
  'x-anonymous-consumer',
  'x-apigateway-api-userinfo',
  'x-endpoint-api-userinfo',
  'x-jwt-assertion',
  'x-client-cert',
  'x-client-dn',
  'x-client-verify',
  'client-cert',
  'client-cert-chain',
  'x-arr-clientcert',
  'x-iisnode-auth-user',
  'auth-user',
  'eppn',
  'gap-auth',
  'logon-user',
  'user',
  'rpc-user',
  'sm-user',
])

const prefixes: readonly string[] = [
  'holdpoint-',
  'proxy-',
  'wl-proxy-',
  // forwarding
  'x-forwarded-',
  'x-original-',
  'x-rewrite-',
  'x-envoy-',
  'x-waf-',
  'cf-connecting-',
  'cf-pseudo-',
  // identity
  'impersonate-',
  'remote-',
  'x-remote-',
  'x-auth-request-',
  'x-auth-user',
  'x-authenticated-',
  'x-authentik-',
  'x-amzn-oidc-',
  'x-consumer-',
  'x-jwt-claim-',
  'x-shib-',
  'x-saml-',
  'shib-',
  'mellon-',
  'x-credential-',
  'x-goog-authenticated-',
  'x-goog-iap-',
  'x-ms-client-principal',
  'x-ms-token-',
  'x-pomerium-',
  'x-oauth2-proxy-',
  'x-ssl-',
  'x-vouch-',
  'x-webauth-',
  'cf-access-',
  'oidc-',
  'ssl-client-',
  'tailscale-',
  'teleport-',
  'x-teleport-',
]

const stripped = new RegExp(`^(?:${prefixes.join('|')})`)

/** What is known of a name, however it is written. */
export type Name = {
  /** As it was written, and one text for all who write it like that. */
  readonly name: string
  readonly lower: string
  /** RFC 9110 §5.6.2: every character of it may stand in a name. */
  readonly valid: boolean
  /** There may be one line of it only. */
  readonly single: boolean
  /** Never taken from a caller. */
  readonly stripped: boolean
  /** Has an underscore, which many servers take for "-". */
  readonly underscored: boolean
  /** What becomes of it in an upstream's answer; `asked`: it depends on the line. */
  readonly answered: 'kept' | 'dropped' | 'asked'
  /** May it stand in a plain request (plain.ts)? `never`: it says how the rest is to be read; `asked`: it depends on the line. */
  readonly plain: 'kept' | 'asked' | 'never'
}

// The same few names come again and again; what callers make up must neither fill the memory nor keep the others out of it.
const known = new Map<string, Name>()
const maxKnown = 2000

export const nameOf = (name: string): Name => known.get(name) ?? learn(name)

const learn = (raw: string): Name => {
  const ascii = !/[^\x00-\x7f]/.test(raw)
  // A copy, since a name that was cut out of a longer text keeps all of that text alive.
  const name = ascii ? Buffer.from(raw, 'latin1').toString('latin1') : raw
  const lower = name.toLowerCase()
  const plain = lower.replace(/[^a-z0-9]/g, '-')
  const read: Name = {
    name,
    lower,
    valid: ascii && /^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(lower),
    single: singletons.has(lower),
    stripped:
      hopByHop.has(plain) ||
      rewritten.has(plain) ||
      forwarding.has(plain) ||
      identity.has(plain) ||
      stripped.test(plain),
    underscored: name.includes('_'),
    // Alt-Svc would send callers past the gate; nobody but us speaks for us.
    answered:
      hopByHop.has(lower) || lower.startsWith('holdpoint-') || lower === 'alt-svc'
        ? 'dropped'
        : lower === 'set-cookie' || lower === 'content-length'
          ? 'asked'
          : 'kept',
    plain: framing.has(lower) ? 'never' : lower === 'connection' || lower === 'content-length' ? 'asked' : 'kept',
  }
  if (read.valid && name.length <= 100) {
    if (known.size >= maxKnown) known.clear()
    known.set(name, read)
  }
  return read
}
