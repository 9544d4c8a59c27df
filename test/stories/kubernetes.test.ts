// kubectl, as agents run it, through the gate: reads pass, what changes something is held, and its own retries bring it back to its hold.
import { copyFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppsV1Api, CoreV1Api, KubeConfig } from '@kubernetes/client-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'
import { type Kubectl, kubectl } from '../support/kubectl.ts'
import { type ApiServer, startApiServer } from '../support/kubernetes.ts'
import { agentToken, clients, people, signIn, startCast } from '../support/people.ts'
import { type Program, runHoldpoint, startHoldpoint } from '../support/program.ts'
import { type Desk, deskAt, stageConfig, waiting } from '../support/stage.ts'

const rules = `
defaults:
  approve: { by: { groups: [finance-leads] }, within: 30m, wait: 2s }
rules:
  - name: nobody-touches-the-api
    match: { upstream: cluster, fields: { resource: namespaces, verb: delete } }
    then: deny
  - { name: reads, match: { upstream: cluster, access: read }, then: allow }
  - { name: rehearsals, match: { upstream: cluster, access: write, fields: { dryRun: true } }, then: allow }
  - name: shells
    match: { upstream: cluster, action: "k8s:create pods/exec" }
    then: hold
    preview: true
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 60s }
  - { name: secrets, match: { upstream: cluster, fields: { resource: secrets } }, then: hold, preview: true }
  - name: the-rest
    match: { upstream: cluster, access: [write, permissions, credentials, unknown] }
    then: hold
    preview: true
`

let certificates: Certificates
let issuer: Awaited<ReturnType<typeof startCast>>
let api: ApiServer
let holdpoint: Program
let ana: Desk
let token: string
let anaToken: string
let tokenFile: string

const deployment = (name: string) =>
  [
    `apps/prod/deployments/${name}`,
    {
      metadata: { name, namespace: 'prod' },
      spec: { replicas: 1, template: { spec: { containers: [{ name: 'c', image: 'old' }] } } },
    },
  ] as const
const objects = () =>
  [
    [
      '/prod/pods/web',
      {
        metadata: { name: 'web', namespace: 'prod' },
        spec: { containers: [{ name: 'c' }] },
        status: { phase: 'Running' },
      },
    ],
    ['/prod/secrets/db', { metadata: { name: 'db', namespace: 'prod' }, data: { password: 'aHVudGVyMg==' } }],
    ...['v132', 'v135', 'node', 'kept', 'changed-v132', 'changed-v135', 'denied-v132', 'denied-v135'].map(deployment),
  ] as const

beforeAll(async () => {
  certificates = await makeCertificates()
  const pair = await certificates.make('gate', ['127.0.0.1', 'localhost'])
  issuer = await startCast()
  api = await startApiServer('first-token-of-the-account', objects())
  tokenFile = join(certificates.dir, 'token')
  await writeFile(tokenFile, `${api.token}\n`)
  const config = (await stageConfig(issuer.issuer, api.url)) as { gate: { listen: string }; console: object }
  holdpoint = await startHoldpoint({
    rules,
    config: {
      ...config,
      gate: { listen: config.gate.listen, tls: pair },
      upstreams: [
        {
          name: 'cluster',
          kind: 'kubernetes',
          url: api.url,
          at: { prefix: '/cluster' },
          credential: {
            kubernetes: {
              tokenFile,
              impersonate: {
                user: 'agents:{caller.subject}',
                groups: ['all-agents', 'agents:{caller.groups}'],
                extra: { 'acme.test/owner': '{caller.owner}' },
              },
            },
          },
        },
      ],
    },
  })
  token = await agentToken(issuer.issuer, clients.agent)
  anaToken = await signIn(issuer.issuer, people.ana)
  ana = deskAt(holdpoint.console, anaToken)
})
afterAll(async () => {
  await holdpoint?.[Symbol.asyncDispose]()
  await api?.close()
  await issuer?.close()
  await certificates?.close()
})

const cluster = () => ({ server: `${holdpoint.gate}/cluster`, ca: certificates.caText, token })
/** What happened; rehearsals are no more than that. */
const sent = (method: string, part: string) =>
  api.seen.filter(one => one.method === method && one.target.includes(part) && !/dryRun/.test(one.target + one.body))
const rehearsed = (method: string, part: string) =>
  api.seen.filter(one => one.method === method && one.target.includes(part) && /dryRun/.test(one.target + one.body))

describe.each(['1.32', '1.35'])('kubectl %s', version => {
  let run: Kubectl
  const own = `v${version.replace('.', '')}`
  beforeAll(async () => {
    run = await kubectl(version, cluster())
  })
  afterAll(() => run?.close())

  test('reads pass, as the caller and not as whoever it says it is', async () => {
    const { out, err, code } = await run(['get', 'pods', '--as', 'system:admin', '--as-group', 'system:masters'])
    expect(`${code} ${err}${out}`).toMatch(/^0 NAME.*\nweb /)
    const last = api.seen.at(-1)
    const impersonating = (last?.rawHeaders ?? []).flatMap((name, index, all) =>
      index % 2 === 0 && /^impersonate/i.test(name) ? [[name, all[index + 1]]] : [],
    )
    expect(impersonating).toEqual([
      ['Impersonate-User', 'agents:agent-7'],
      ['Impersonate-Group', 'all-agents'],
      ['Impersonate-Group', 'agents:finance-agents'],
      ['Impersonate-Extra-acme.test%2Fowner', 'ben@acme.test'],
    ])
    expect(last?.headers.authorization).toBe(`Bearer ${api.token}`)
  })

  test('a delete is held; kubectl comes back to its hold by itself, and once it is approved it happens once', async () => {
    const running = run(['delete', 'deployment', own, '--wait=false'])
    const row = await waiting(ana)
    expect(row.line).toBe(`k8s:delete deployments apps/v1/prod/deployments/${own}`)
    // It was told to come again, and did.
    await eventually(async () => ((await attached(row.id)) >= 1 ? true : undefined), 20_000)
    const { preview } = await ana.hold(row.id)
    expect(preview).toMatchObject({ kind: 'shown', text: expect.stringMatching(/^- {3}"spec": \{$/m) })
    expect((await ana.approve(row.id)).status).toBe(200)
    const { out, err, code } = await running
    expect(rehearsed('DELETE', `/deployments/${own}`)).toHaveLength(1)
    expect(`${code} ${err}${out}`).toMatch(new RegExp(`^0 deployment.apps "${own}" deleted`))
    expect(sent('DELETE', `/deployments/${own}`)).toHaveLength(1)
    expect(await ana.pending()).toEqual([])
  })

  test('a denial says why', async () => {
    const running = run(['delete', 'deployment', `denied-${own}`, '--wait=false'])
    const row = await waiting(ana)
    await ana.deny(row.id, 'not before the release')
    const { err, code } = await running
    expect(code).toBe(1)
    expect(err).toContain('Error from server (Forbidden)')
    expect(err).toContain('A reviewer denied this call: not before the release')
    expect(api.objects.has(`apps/prod/deployments/denied-${own}`)).toBe(true)
  })

  test('a rule that denies is named', async () => {
    const { err, code } = await run(['delete', 'namespace', 'prod', '--wait=false'])
    expect(code).toBe(1)
    expect(err).toMatch(/Error from server \(Forbidden\).*nobody-touches-the-api/)
  })

  test('a rehearsal passes, whichever way it is asked for', async () => {
    for (const args of [
      ['delete', 'deployment', 'kept', '--dry-run=server'],
      ['set', 'image', 'deployment/kept', 'c=new', '--dry-run=server'],
    ]) {
      const { err, code } = await run(args)
      expect(`${code} ${err}`).toBe('0 ')
    }
    expect(api.objects.get('apps/prod/deployments/kept')).toMatchObject({ spec: { replicas: 1 } })
    expect(await ana.pending()).toEqual([])
  })

  test('a change is shown before it is made', async () => {
    const image = `image:${own}`
    const running = run(['set', 'image', `deployment/changed-${own}`, `c=${image}`])
    const row = await waiting(ana)
    const { preview } = await ana.hold(row.id)
    const text = preview?.kind === 'shown' ? preview.text : preview?.why
    expect(text).toMatch(new RegExp(`^\\+ +"image": "${image}"`, 'm'))
    expect(text).toMatch(/^- +"image": /m)
    // Whoever is behind the call may not be allowed to read what it changes.
    const ben = deskAt(holdpoint.console, await signIn(issuer.issuer, people.ben))
    expect((await ben.hold(row.id)).preview).toEqual({
      kind: 'none',
      why: 'what the upstream answers is shown to reviewers only',
    })
    expect(JSON.stringify(api.objects.get(`apps/prod/deployments/changed-${own}`))).not.toContain(image)
    await ana.approve(row.id)
    expect((await running).code).toBe(0)
    expect(JSON.stringify(api.objects.get(`apps/prod/deployments/changed-${own}`))).toContain(image)
  })

  test.each([
    ['a WebSocket', {}],
    ['SPDY', { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' }],
  ])('a shell over %s is held as one, and works once it is approved', async (protocol, env) => {
    const running = run(['exec', 'web', '--', 'ls', '-la'], { env })
    const row = await waiting(ana)
    const upgrade = protocol === 'SPDY' ? 'spdy/3.1' : 'websocket'
    expect(row.line).toBe(`Open an interactive session (${upgrade}): k8s:create pods/exec core/v1/prod/pods/exec/web`)
    const { request, preview } = await ana.hold(row.id)
    expect(request.target).toContain('command=ls&command=-la')
    expect(preview).toEqual({ kind: 'none', why: 'Kubernetes has no rehearsal of this' })
    expect(sent(protocol === 'SPDY' ? 'POST' : 'GET', '/exec')).toEqual([])
    await ana.approve(row.id)
    const { out, err, code } = await running
    expect(`${code} ${err}${out}`).toBe('0 ran ls -la\n')
    const shells = sent(protocol === 'SPDY' ? 'POST' : 'GET', '/exec')
    expect(shells).toHaveLength(1)
    expect(shells[0]?.headers.upgrade).toBe(protocol === 'SPDY' ? 'SPDY/3.1' : 'websocket')
    forget('/exec')
  })

  test('the values of a Secret are nowhere to be seen', async () => {
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: own },
      data: { plain: Buffer.from('correct horse').toString('base64') },
      stringData: { colour: 'battery staple' },
    }
    const running = run(['apply', '--validate=false', '-f', '-'], { input: JSON.stringify(secret) })
    // apply looks first, and that is held as well.
    const looking = await waiting(ana)
    expect(looking.line).toBe(`k8s:get secrets core/v1/prod/secrets/${own}`)
    await ana.approve(looking.id)
    const row = await eventually(async () => (await ana.pending()).find(one => one.id !== looking.id), 20_000)
    const view = await ana.hold(row.id)
    expect(row.line).toBe('k8s:create secrets core/v1/prod/secrets/-')
    const all = JSON.stringify(view)
    expect(all).toContain('last-applied-configuration')
    expect(all).not.toMatch(/correct horse|battery staple|Y29ycmVjdCBob3JzZQ/)
    expect(view.hidden.unseen).toContain('json./stringData/colour')
    const revealed = await fetch(`${holdpoint.console}/api/holds/${row.id}/reveal`, {
      method: 'POST',
      headers: { authorization: `Bearer ${anaToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ field: 'json./stringData/colour', view: view.view }),
    })
    expect(await revealed.json()).toMatchObject({ values: ['battery staple'] })
    expect(view.preview).toMatchObject({ kind: 'shown', text: expect.stringMatching(/^\+ {5}"plain": ‹/m) })
    await ana.deny(row.id)
    expect((await running).code).toBe(1)
    const entries = JSON.stringify(await holdpoint.audit()) + JSON.stringify(holdpoint.logs())
    expect(entries).not.toMatch(/correct horse|battery staple|Y29ycmVjdCBob3JzZQ/)
  })
})

/** How many later calls have joined a hold. */
const attached = async (id: string): Promise<number> =>
  (await holdpoint.audit()).filter(one => one.kind === 'call.attached' && one.hold === id).length

const forget = (part: string): void => {
  const kept = api.seen.filter(one => !one.target.includes(part))
  ;(api.seen as unknown[]).splice(0, api.seen.length, ...kept)
}

test('the client of Kubernetes for Node', async () => {
  const config = new KubeConfig()
  config.loadFromClusterAndUser(
    {
      name: 'gate',
      server: cluster().server,
      caData: Buffer.from(certificates.caText).toString('base64'),
      skipTLSVerify: false,
    },
    { name: 'agent', token },
  )
  const pods = await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: 'prod' })
  expect(pods.items.map(({ metadata }) => metadata?.name)).toEqual(['web'])
  const apps = config.makeApiClient(AppsV1Api)
  const remove = () => apps.deleteNamespacedDeployment({ name: 'node', namespace: 'prod' })
  await expect(remove()).rejects.toMatchObject({ code: 503 })
  const row = await waiting(ana)
  await ana.approve(row.id)
  await remove()
  expect(sent('DELETE', '/deployments/node')).toHaveLength(1)
})

test('the kubeconfig that Holdpoint writes', async () => {
  const file = join(certificates.dir, 'agent-token')
  await writeFile(file, token)
  const ask = (...args: string[]) => runHoldpoint(['kubeconfig', 'holdpoint.yaml', ...args], { cwd: holdpoint.dir })
  const unsaid = await ask('--ca', certificates.ca)
  expect([unsaid.code, unsaid.stdout, unsaid.stderr]).toEqual([
    1,
    '',
    'say where the token comes from: --token-file, or --exec\n',
  ])
  expect((await ask('--upstream', 'other', '--token-file', file)).stderr).toBe('--upstream: must be one of cluster\n')
  expect((await ask('--ca', file, '--token-file', file)).stderr).toMatch(/is no PEM certificate/)
  const plugin = JSON.parse((await ask('--exec', 'agent-login --json')).stdout)
  expect(plugin.users[0].user.exec).toMatchObject({ command: 'agent-login', args: ['--json'] })
  const { code, stdout } = await ask('--ca', certificates.ca, '--token-file', file, '--namespace', 'prod')
  expect(code).toBe(0)
  expect(stdout).not.toContain(token)
  const written = join(certificates.dir, 'kubeconfig')
  await writeFile(written, stdout)
  const run = await kubectl('1.35', cluster())
  const { out } = await run(['get', 'pods'], { env: { KUBECONFIG: written } })
  expect(out).toMatch(/\nweb /)
  await run.close()
})

test('a renewed token of the service account is used soon', async () => {
  const run = await kubectl('1.35', cluster())
  api.token = 'second-token-of-the-account'
  await writeFile(`${tokenFile}.new`, `${api.token}\n`)
  await copyFile(`${tokenFile}.new`, tokenFile)
  await eventually(async () => ((await run(['get', 'pods'])).code === 0 ? true : undefined), 30_000)
  await run.close()
})

test('what a Secret holds now is not in the preview of its change', async () => {
  const run = await kubectl('1.35', cluster())
  const patch = JSON.stringify({ stringData: { password: 'battery staple' } })
  const running = run(['patch', 'secret', 'db', '-p', patch])
  // kubectl looks first.
  const looking = await waiting(ana)
  await ana.approve(looking.id)
  const row = await eventually(async () => (await ana.pending()).find(one => one.id !== looking.id), 20_000)
  const view = await ana.hold(row.id)
  expect(row.line).toBe('k8s:patch secrets core/v1/prod/secrets/db')
  expect(view.preview).toMatchObject({ kind: 'shown', text: expect.stringMatching(/^ .*"password": ‹secret 12/m) })
  expect(JSON.stringify(view)).not.toMatch(/battery staple|hunter2|aHVudGVyMg/)
  await ana.deny(row.id)
  expect((await running).code).toBe(1)
  await run.close()
})
