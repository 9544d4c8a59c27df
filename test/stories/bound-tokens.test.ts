// Tokens that are bound to a key, on the real program and over TLS: with a proof of their own for every try (RFC 9449), or on a connection
// that shows their certificate (RFC 8705). A retry with a new proof is the same call, and no proof reaches a reviewer or the upstream.
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { request } from 'node:https'
import { text } from 'node:stream/consumers'
import { calculateJwkThumbprint, type JWK, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Idp } from '../../src/commands/demo/idp.ts'
import { type Certificates, makeCertificates, type Pair } from '../support/certificates.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { type Desk, deskAt, financeRules, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwk = keys.publicKey.export({ format: 'jwk' }) as JWK

let certificates: Certificates
let client: Pair
let x5t: string
let idp: Idp
let issuer: TestIssuer
let upstream: Upstream
let holdpoint: Program
let gate: string
let ana: Desk

beforeAll(async () => {
  certificates = await makeCertificates()
  const server = await certificates.make('server', ['127.0.0.1'])
  const { cert, key } = await certificates.make('client', ['agent-7.test'])
  client = { cert: await certificates.text(cert), key: await certificates.text(key) }
  x5t = createHash('sha256').update(new X509Certificate(client.cert).raw).digest('base64url')
  idp = await startCast()
  issuer = await startIssuer()
  upstream = await startUpstream()
  const base = (await stageConfig(idp.issuer, upstream.url)) as { readonly gate: { readonly listen: string } }
  gate = `https://${base.gate.listen}`
  const tls = { ...server, clientCa: certificates.ca }
  const config = {
    ...base,
    gate: { listen: base.gate.listen, url: gate, tls },
    issuers: [{ name: 'agents', issuer: issuer.url, audience: 'api://holdpoint' }],
  }
  holdpoint = await startHoldpoint({ config, rules: financeRules() })
  ana = deskAt(holdpoint.console, await signIn(idp.issuer, people.ana))
})
afterAll(async () => {
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
  await issuer.close()
  await idp.close()
  await certificates.close()
})

type Answer = { readonly status: number; readonly hold: string | undefined; readonly challenge: string | undefined }

const send = (method: string, path: string, headers: Record<string, string>, certificate = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const options = { method, headers, ca: certificates.caText, agent: false as const, ...certificate }
    request(`${gate}${path}`, options, async response => {
      await text(response)
      const { 'holdpoint-hold': hold, 'www-authenticate': challenge } = response.headers
      resolve({ status: response.statusCode ?? 0, hold: hold as string | undefined, challenge })
    })
      .on('error', reject)
      .end()
  })

const bound = async (cnf: object): Promise<string> =>
  issuer.token({ sub: 'agent-7', client_id: 'agent-7', owner: 'ben@acme.test', cnf })

const proof = async (token: string, method: string, path: string): Promise<string> =>
  new SignJWT({
    jti: crypto.randomUUID(),
    htm: method,
    htu: `${gate}${path}`,
    ath: createHash('sha256').update(token).digest('base64url'),
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
    .setIssuedAt()
    .sign(keys.privateKey)

const withProof = async (token: string, method: string, path: string, more = {}): Promise<Answer> =>
  send(method, path, { authorization: `DPoP ${token}`, dpop: await proof(token, method, path), ...more })

test('a proof opens the gate, once', async () => {
  const token = await bound({ jkt: await calculateJwkThumbprint(jwk) })
  const dpop = await proof(token, 'GET', '/billing/invoices')
  const headers = { authorization: `DPoP ${token}`, dpop }
  expect((await send('GET', '/billing/invoices', headers)).status).toBe(200)
  const again = await send('GET', '/billing/invoices', headers)
  expect([again.status, again.challenge]).toEqual([401, expect.stringMatching(/^DPoP error="invalid_dpop_proof"/)])
  expect((await send('GET', '/billing/invoices', { authorization: `Bearer ${token}` })).status).toBe(401)
  expect(upstream.seen).toHaveLength(1)
  expect(JSON.stringify(upstream.seen).toLowerCase()).not.toContain('dpop')
})

test('a retry with a new proof finds its hold, and collects it', async () => {
  const token = await bound({ jkt: await calculateJwkThumbprint(jwk) })
  const path = '/billing/v1/refunds'
  const first = await withProof(token, 'POST', path, { prefer: 'wait=0' })
  const second = await withProof(token, 'POST', path, { prefer: 'wait=0' })
  expect([first.status, second.status, second.hold]).toEqual([503, 503, first.hold])
  const { id } = await waiting(ana)
  expect(JSON.stringify((await ana.hold(id)).request).toLowerCase()).not.toContain('dpop')
  await ana.approve(id)
  const third = await withProof(token, 'POST', path)
  expect([third.status, third.hold]).toEqual([200, id])
})

test('a certificate opens the gate to its own token only', async () => {
  const headers = { authorization: `Bearer ${await bound({ 'x5t#S256': x5t })}` }
  expect((await send('GET', '/billing/invoices', headers, client)).status).toBe(200)
  expect((await send('GET', '/billing/invoices', headers)).status).toBe(401)
  const other = {
    authorization: `Bearer ${await bound({ 'x5t#S256': x5t.replace(/^./, first => (first === 'A' ? 'B' : 'A')) })}`,
  }
  expect((await send('GET', '/billing/invoices', other, client)).status).toBe(401)
})

test('the gate says which proofs it takes', async () => {
  const found = await new Promise<string>((resolve, reject) =>
    request(`${gate}/.well-known/oauth-protected-resource`, { ca: certificates.caText, agent: false }, response =>
      resolve(text(response)),
    )
      .on('error', reject)
      .end(),
  )
  expect(JSON.parse(found)).toMatchObject({
    ...{ resource: gate, authorization_servers: [issuer.url], dpop_bound_access_tokens_required: false },
    dpop_signing_alg_values_supported: expect.arrayContaining(['ES256', 'EdDSA']),
  })
})
