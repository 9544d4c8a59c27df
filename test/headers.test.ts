import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HoldpointError } from '../src/errors.ts'
import { endToEnd, rebuilt } from '../src/headers.ts'
import { nameOf } from '../src/names.ts'
import type { Call, Header } from '../src/nouns.ts'
import { callOf, type Head } from './support/heads.ts'

describe('what reaches the upstream', () => {
  const linesOf = (headers: readonly Header[]): readonly string[] => headers.map(([name, value]) => `${name}: ${value}`)
  const passed = (lines: readonly string[], own?: readonly string[]): readonly string[] =>
    linesOf(endToEnd(callOf({ lines }), own))

  const theirs = [
    'Accept: */*',
    'Authorization: Basic abc',
    'Content-Type: application/json',
    'Idempotency-Key: k',
    'Range: bytes=0-1',
    'User-Agent: curl',
    'X-Amz-Target: A.B',
    'X-Request-Id: 1',
    'x-a: 1',
    'x-a: 2',
  ]

  // Spelled out here once more, so that no line of the tables can be lost unseen.
  const never = `
    Connection Keep-Alive Proxy-Connection TE Trailer Transfer-Encoding Upgrade HTTP2-Settings Host Content-Length Expect Via
    Forwarded X-Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri
    X-Forwarded-Method X-Forwarded-Client-Cert X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Access-Token
    X-Forwarded-Preferred-Username Forwarded-For Client-IP True-Client-IP X-Real-IP X-Client-IP X-Cluster-Client-IP
    CF-Connecting-IP CF-Connecting-IPv6 Fastly-Client-IP X-Azure-ClientIP X-Azure-SocketIP X-AppEngine-User-IP X-ProxyUser-Ip
    Front-End-Https X-Scheme X-Url-Scheme X-Host X-HTTP-Host-Override X-Original-URL X-Original-URI X-Original-Host
    X-Original-Method X-Original-Forwarded-For X-Rewrite-URL X-HTTP-Method X-HTTP-Method-Override X-Method-Override
    X-Envoy-Original-Path X-Envoy-External-Address X-Middleware-Subrequest
    X-User X-User-Id X-User-Email X-Username X-Email X-Groups X-Roles X-Remote-User X-Remote-Group X-Remote-Extra-Scopes
    Remote-User Remote-Groups Remote-Email Remote-Name X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups
    X-Auth-Request-Access-Token X-WebAuth-User X-Goog-Authenticated-User-Email X-Goog-IAP-JWT-Assertion
    X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-MS-Client-Principal X-MS-Client-Principal-Name X-MS-Token-AAD-Id-Token
    X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email
    X-Authentik-Username X-Consumer-Username X-Consumer-Custom-ID X-Credential-Identifier X-Anonymous-Consumer
    X-SSL-Client-CN SSL-Client-Cert SSL-Client-S-DN X-Client-Cert X-Vouch-User Tailscale-User-Login OIDC-Claim-Sub Client-Cert
    Impersonate-User Impersonate-Group Impersonate-Uid Impersonate-Extra-Reason
    Proxy WL-Proxy-Client-IP X-Originating-IP X-True-IP X-Vercel-Forwarded-For Ali-CDN-Real-IP X-ARR-SSL X-Backend-Host X-User-Role
    X-UserId X-Userinfo X-ID-Token X-Auth-Email X-Auth-Groups X-Auth-Roles X-Auth-Subject X-SPIFFE-ID EPPN GAP-Auth X-JWT-Claim-Sub
    X-Shib-User Shib-Session-ID X-SAML-User Mellon-Name-ID
    Proxy-Authorization Proxy-Authenticate Proxy-Foo Holdpoint-Authorization Holdpoint-Reason Holdpoint-Assertion Holdpoint-Anything
    traceparent tracestate
  `
    .trim()
    .split(/\s+/)

  const spellings: readonly ((name: string) => string)[] = [
    name => name,
    name => name.toLowerCase(),
    name => name.toUpperCase(),
    name => name.replaceAll('-', '_'),
    name => name.replaceAll('-', '.'),
    name => name.replace('-', '_'),
  ]

  it.each(never)('never takes %s from a caller, in any spelling', name => {
    for (const spelled of spellings.map(spell => spell(name))) {
      expect(nameOf(spelled).stripped).toBe(true)
      expect(endToEnd({ ...callOf({}), headers: [[spelled, 'x']] })).toEqual([])
    }
  })

  it('knows a name for good, however many are made up', () => {
    for (let n = 0; n < 5_000; n++) nameOf(`x-made-up-${n}`)
    const [user, proto] = [nameOf('X-User'), nameOf('__proto__')]
    expect([user.stripped, user.valid, proto.stripped, proto.valid]).toEqual([true, true, false, true])
    // One that comes after those is looked up once as well: nobody can keep it from being remembered.
    expect(nameOf('x-comes-late')).toBe(nameOf('x-comes-late'))
    // What is no name has no place among them: here are a Kelvin sign and a long s, which lower case brings into ASCII.
    for (const name of ['', 'x user', 'x-\u212aey', 'x-u\u017fer', 'x\u0000', 'x-b\u00e4r'])
      expect(nameOf(name).valid, name).toBe(false)
  })

  it('takes everything else as it is', () => {
    expect(passed(theirs)).toEqual(theirs)
    const others = 'X-Api-Key Accept-Encoding If-Match Origin X-Userland Remoted X-Amz-Date DPoP X-Groupset Usery'
    for (const name of others.split(' ')) expect(nameOf(name).stripped).toBe(false)
  })

  it('takes no name with an underscore', () => {
    expect(passed(['X_Tenant: 1', 'X-Tenant: 2'])).toEqual(['X-Tenant: 2'])
  })

  it('leaves out the headers that carry our token', () => {
    const own = ['authorization', 'x-api-key']
    expect(passed([...theirs, 'X-API-Key: t'], own)).toEqual(theirs.filter(line => !line.startsWith('Auth')))
  })

  it.each([
    ['a=1; b=2', ['a=1; b=2']],
    ['a=1;b=2', ['a=1;b=2']],
    ['__Host-holdpoint=x', []],
    ['holdpoint_session=x; a=1', ['a=1']],
    ['a=1; __Host-holdpoint_csrf=x; b="2"', ['a=1; b="2"']],
    ['a=1;HOLDPOINT_session=x;b=2', ['a=1; b=2']],
    ['my-holdpoint=1', ['my-holdpoint=1']],
  ])('passes the cookies %j on as %j', (cookie, kept) => {
    expect(passed([`Cookie: ${cookie}`])).toEqual(kept.map(value => `Cookie: ${value}`))
  })

  it.each([
    ['return=minimal', ['return=minimal']],
    ['respond-async', []],
    ['respond-async, wait=10', []],
    ['return=minimal, Respond-Async, wait = 10; x=1, handling=lenient', ['return=minimal, handling=lenient']],
    ['x="a, respond-async, b", wait=1', ['x="a, respond-async, b"']],
    ['waiting=1', ['waiting=1']],
    ['x="a, wait=1', ['x="a']],
  ])('passes the preferences %j on as %j', (prefer, kept) => {
    expect(passed([`Prefer: ${prefer}`])).toEqual(kept.map(value => `Prefer: ${value}`))
  })

  it("for any order and spelling of a caller's lines, the upstream sees each line of ours once, with our value", () => {
    // These are refused as a whole, or make the framing (receive.test.ts).
    const names = never.filter(
      name => !/^(host|content-length|transfer-encoding|expect|connection|upgrade)$/i.test(name),
    )
    const line = fc
      .tuple(fc.constantFrom(...names, 'XMine', 'Accept'), fc.constantFrom(...spellings))
      .map(([name, spell]) => `${spell(name)}: forged`)
    fc.assert(
      fc.property(fc.array(line, { maxLength: 30 }), lines => {
        let call: Call
        try {
          call = callOf({ lines })
        } catch (error) {
          expect(error).toMatchObject({ detail: expect.stringContaining('twice') })
          expect(error).toBeInstanceOf(HoldpointError)
          return
        }
        const assertion: Header = ['Holdpoint-Assertion', 'ours']
        const sent = [...endToEnd(call), ...rebuilt(call, { trustedProxies: [] }), assertion]
        const forged = sent.filter(([, value]) => value === 'forged').map(([name]) => name.toLowerCase())
        expect(forged.filter(name => name !== 'xmine' && name !== 'accept')).toEqual([])
        const ours =
          'x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port via traceparent holdpoint-assertion'
        for (const lower of ours.split(' ')) {
          expect(sent.filter(([name]) => name.toLowerCase() === lower)).toHaveLength(1)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('what we say of the caller', () => {
  const said = (
    head: Head,
    trustedProxies: readonly string[] = [],
    trace: readonly Header[] = [],
  ): { [name: string]: string } => Object.fromEntries(rebuilt(callOf(head), { trustedProxies }, trace))

  it('is made fresh', () => {
    expect(said({ host: 'Gate.acme:8443', tls: true })).toEqual({
      'X-Forwarded-For': '10.0.0.9',
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'Gate.acme:8443',
      'X-Forwarded-Port': '8443',
      Via: '1.1 holdpoint',
      traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/),
    })
    expect(said({})).toMatchObject({ 'X-Forwarded-Proto': 'http', 'X-Forwarded-Port': '80' })
    expect(said({ host: '[::1]', tls: true })).toMatchObject({ 'X-Forwarded-Port': '443' })
  })

  const before = ['X-Forwarded-For: 203.0.113.1, 2001:db8::1', 'x-forwarded-for: 10.1.1.1', 'X-Forwarded-Proto: https']

  it.each([
    [['10.0.0.0/8'], '10.0.0.9', true],
    [['10.0.0.9'], '10.0.0.9', true],
    [['192.0.2.1', '2001:db8::/32'], '2001:db8::9', true],
    [['10.0.0.9'], '::ffff:10.0.0.9', true],
    [[], '10.0.0.9', false],
    [['10.0.0.8'], '10.0.0.9', false],
    [['10.0.1.0/24'], '10.0.0.9', false],
  ])('hears proxies %j at %s: %s', (proxies, address, heard) => {
    const peer = address.replace('::ffff:', '')
    expect(said({ lines: before, address }, proxies)).toMatchObject({
      'X-Forwarded-For': heard ? `203.0.113.1, 2001:db8::1, 10.1.1.1, ${peer}` : peer,
      'X-Forwarded-Proto': heard ? 'https' : 'http',
    })
  })

  it.each(['203.0.113.1, unknown', '203.0.113.1,', '203.0.113.1:80', 'evil'])(
    'does not repeat a list in which something is no address: %j',
    value => {
      const lines = [`X-Forwarded-For: ${value}`, 'X-Forwarded-Proto: ftp']
      expect(said({ lines }, ['10.0.0.9'])).toMatchObject({
        'X-Forwarded-For': '10.0.0.9',
        'X-Forwarded-Proto': 'http',
      })
    },
  )

  const id = '0af7651916cd43dd8448eb211c80319c'
  const parent = `00-${id}-b7ad6b7169203331-01`

  it('goes on with a trace, or starts one', () => {
    expect(said({ lines: [`traceparent: ${parent}`, 'tracestate: a=b'] })).toMatchObject({
      traceparent: parent,
      tracestate: 'a=b',
    })
    const none = [`00-${'0'.repeat(32)}-b7ad6b7169203331-01`, `00-${id}-${'0'.repeat(16)}-01`]
    for (const bad of [parent.replace('00-', 'ff-'), parent.toUpperCase(), `${parent}-x`, ...none]) {
      const sent = said({ lines: [`traceparent: ${bad}`, 'tracestate: a=b'] })
      expect(sent.traceparent).not.toBe(bad)
      expect(sent).not.toHaveProperty('tracestate')
    }
    const twice = [`traceparent: ${parent}`, `traceparent: ${parent}`]
    expect(said({ lines: twice }).traceparent).not.toBe(parent)
  })

  it('takes the trace of the call that collects before that of the call that asked', () => {
    const other = parent.replace('0af7', '1bf7')
    expect(said({ lines: [`traceparent: ${parent}`] }, [], [['traceparent', other]]).traceparent).toBe(other)
  })
})
