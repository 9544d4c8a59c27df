// Three issuers at once, each a certified OpenID provider: one in Okta's manner, one in a cluster's, one whose tokens are opaque.
// Each is believed for its own tokens only; a token that is taken back while its call waits sends nothing; one that is away takes
// nobody else with it, and /readyz says so.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Client, gateClient, type Idp } from '../../src/commands/demo/idp.ts'
import { eventually } from '../support/eventually.ts'
import { agentToken, gateAudience, people, signIn, startCast } from '../support/people.ts'
import { type Program, startHoldpoint } from '../support/program.ts'
import { callGate, type Desk, deskAt, stageConfig, waiting } from '../support/stage.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const okta = {
  id: 'okta-app',
  secret: 's',
  claims: { sub: '0oa7', cid: '0oa7', client_id: undefined, owner: 'ben@acme.test' },
}
const deployer = {
  ...{ id: 'deployer', secret: 's' },
  claims: { sub: 'system:serviceaccount:ops:deployer', 'kubernetes.io': { namespace: 'ops' }, client_id: undefined },
}
const legacy = { id: 'legacy-job', secret: 's', opaque: true, owner: 'ben@acme.test' } as const

const rules = `
rules:
  - { name: okta-reads, match: { method: GET, path: /okta, caller: { issuer: okta, kind: agent } }, then: allow }
  - { name: cluster-reads, match: { method: GET, path: /cluster, caller: { issuer: cluster, kind: workload, group: ops } }, then: allow }
  - { name: legacy-reads, match: { method: GET, path: /legacy, caller: { issuer: legacy, kind: agent } }, then: allow }
  - name: writes
    match: { method: POST }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
`

let idps: { readonly okta: Idp; readonly cluster: Idp; readonly legacy: Idp }
let upstream: Upstream
let holdpoint: Program
let ana: Desk

beforeAll(async () => {
  const [one, two, three] = await Promise.all(
    [okta, deployer, legacy].map(client => startCast({ clients: [client as Client] })),
  )
  idps = { okta: one as Idp, cluster: two as Idp, legacy: three as Idp }
  upstream = await startUpstream()
  const config = {
    ...(await stageConfig(idps.okta.issuer, upstream.url)),
    issuers: [
      { name: 'okta', issuer: idps.okta.issuer, audience: gateAudience, directory: 'idp' },
      {
        ...{ name: 'cluster', issuer: idps.cluster.issuer, jwksUri: `${idps.cluster.issuer}/jwks` },
        ...{ audience: gateAudience, claims: { groups: '/kubernetes.io/namespace' }, ownerless: 'accept' },
      },
      {
        ...{ name: 'legacy', introspect: `${idps.legacy.issuer}/token/introspection`, cacheFor: '1ms' },
        ...{ clientId: gateClient.id, clientSecret: gateClient.secret, audience: gateAudience },
        claims: { subject: ['sub', 'client_id'] },
      },
    ],
  }
  holdpoint = await startHoldpoint({ config, rules })
  ana = deskAt(holdpoint.console, await signIn(idps.okta.issuer, people.ana))
})
afterAll(async () => {
  await holdpoint[Symbol.asyncDispose]()
  await upstream.close()
  await Promise.all([idps.okta, idps.cluster].map(idp => idp.close()))
})

const tokens = {
  okta: () => agentToken(idps.okta.issuer, okta),
  cluster: () => agentToken(idps.cluster.issuer, deployer),
  legacy: () => agentToken(idps.legacy.issuer, legacy),
}
const names = ['okta', 'cluster', 'legacy'] as const
const get = (path: string, token: string) => callGate(holdpoint.gate, 'GET', `/billing${path}`, { token })

test.each(names)('%s: its callers may do what its rule says, and no other', async name => {
  const token = await tokens[name]()
  const before = upstream.seen.length
  for (const path of names)
    expect([path, (await get(`/${path}`, token)).status]).toEqual([path, path === name ? 200 : 403])
  expect(upstream.seen.slice(before).map(seen => seen.target)).toEqual([`/${name}`])
  expect(JSON.stringify(upstream.seen)).not.toContain(token)
})

test('a token for another program is nobody, wherever it is from', async () => {
  const others = [
    await agentToken(idps.okta.issuer, okta, 'https://console.test'),
    await agentToken(idps.legacy.issuer, legacy, 'https://console.test'),
    'made-up',
  ]
  for (const token of others) expect((await get('/okta', token)).status).toBe(401)
})

/** A held write, as soon as Ana sees it. */
const held = async (token: string, body: string) => {
  const answer = callGate(holdpoint.gate, 'POST', '/billing/legacy', { token, body })
  answer.catch(() => undefined)
  return { answer, id: (await waiting(ana)).id }
}
const sent = (): number => upstream.seen.filter(seen => seen.method === 'POST').length

test('an opaque token that is taken back while its call waits sends nothing; another one collects the approval', async () => {
  const token = await tokens.legacy()
  const { answer, id } = await held(token, 'refund 1')
  await takeBack(token)
  expect((await ana.approve(id)).status).toBe(200)
  const { status, json } = await answer
  expect([status, json?.code, json?.hold]).toEqual([401, 'unauthenticated', id])
  expect(sent()).toBe(0)
  const again = await callGate(holdpoint.gate, 'POST', '/billing/legacy', {
    token: await tokens.legacy(),
    body: 'refund 1',
  })
  expect([again.status, again.headers.get('holdpoint-hold'), sent()]).toEqual([200, id, 1])
})

test('one that is still good is sent', async () => {
  const before = sent()
  const { answer, id } = await held(await tokens.legacy(), 'refund 2')
  await ana.approve(id)
  expect([(await answer).status, sent()]).toEqual([200, before + 1])
})

const takeBack = async (token: string): Promise<void> => {
  const { status } = await fetch(`${idps.legacy.issuer}/token/revocation`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${legacy.id}:${legacy.secret}`).toString('base64')}` },
    body: new URLSearchParams({ token }),
  })
  expect(status).toBe(200)
}
/** A held write whose caller does not wait. */
const left = async (token: string, body: string): Promise<string> => {
  const answer = await callGate(holdpoint.gate, 'POST', '/billing/legacy', {
    token,
    body,
    headers: { prefer: 'respond-async' },
  })
  expect(answer.status).toBe(202)
  return answer.headers.get('holdpoint-hold') ?? ''
}
const ended = (id: string) =>
  eventually(async () => {
    const { status, why } = await ana.hold(id)
    return status === 'approved' || status === 'released' ? undefined : { status, why }
  })

test('where nobody waits the issuer is asked again before the call is sent: a token that was taken back sends nothing', async () => {
  const before = sent()
  const token = await tokens.legacy()
  const id = await left(token, 'refund 3')
  await takeBack(token)
  await ana.approve(id)
  expect(await ended(id)).toEqual({ status: 'void', why: "The caller's token is no longer good." })
  expect(sent()).toBe(before)
})

test('where nobody waits the newest token counts, whether it was shown by polling or by asking again', async () => {
  const before = sent()
  for (const [body, show] of [
    ['refund 4', (id: string, token: string) => callGate(holdpoint.gate, 'GET', `/.holdpoint/holds/${id}`, { token })],
    ['refund 5', (_: string, token: string) => left(token, 'refund 5')],
  ] as const) {
    const first = await tokens.legacy()
    const id = await left(first, body)
    await show(id, await tokens.legacy())
    await takeBack(first)
    await ana.approve(id)
    expect((await ended(id)).status).toBe('delivered')
  }
  expect(sent()).toBe(before + 2)
})

test('a kept token stands in no log and in no answer', async () => {
  const token = await tokens.legacy()
  const id = await left(token, 'refund 6')
  await ana.approve(id)
  await ended(id)
  const shown = JSON.stringify([await ana.hold(id), holdpoint.logs(), await holdpoint.audit()])
  expect(shown).not.toContain(token)
})

test('an issuer that is away keeps out its own callers only, and is named', async () => {
  const token = await tokens.legacy()
  expect((await get('/legacy', token)).status).toBe(200)
  const before = sent()
  const id = await left(token, 'refund 7')
  await idps.legacy.close()
  // Nobody can say whether the token is still good: nothing is sent, and the approval stands for when somebody can.
  await ana.approve(id)
  await holdpoint.logged(line => line.hold === id && line.msg === 'an async hold was not delivered')
  expect([(await ana.hold(id)).status, sent()]).toEqual(['approved', before])
  const refused = await get('/legacy', token)
  expect([refused.status, refused.json?.code]).toEqual([401, 'unauthenticated'])
  expect((await get('/okta', await tokens.okta())).status).toBe(200)
  expect((await get('/cluster', await tokens.cluster())).status).toBe(200)
  const { issuers, ready } = await eventually(async () => {
    const readiness = (await (await fetch(`${holdpoint.admin}/readyz`)).json()) as {
      readonly ready: boolean
      readonly issuers: { readonly ok: boolean; readonly trouble: readonly string[] }
    }
    return readiness.issuers.ok ? undefined : readiness
  })
  expect([ready, issuers.trouble]).toEqual([true, [expect.stringMatching(/^issuer legacy: it cannot be reached/)]])
})

test('the log names each caller by its issuer', async () => {
  await holdpoint.stop()
  const callers = (await holdpoint.audit()).flatMap(({ kind, caller }) => {
    const { issuer, subject } = (caller ?? {}) as { issuer?: string; subject?: string }
    return kind === 'call.allowed' ? [`${issuer} ${subject}`] : []
  })
  expect([...new Set(callers)].sort()).toEqual([
    'cluster system:serviceaccount:ops:deployer',
    'legacy legacy-job',
    'okta 0oa7',
  ])
})
