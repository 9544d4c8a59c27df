// The chart with helm 3 and helm 4: it lints, renders valid objects over a matrix of values, refuses what cannot work, and the
// configuration it writes is one that the program takes.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Deployment } from 'kubernetes-models/apps/v1'
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2'
import { Ingress, NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1'
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1'
import { ConfigMap, PersistentVolumeClaim, Service, ServiceAccount } from 'kubernetes-models/v1'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { sections as ruleSections } from '../src/config/rules-schema.ts'
import { sections } from '../src/config/schema.ts'
import { loadSettings } from '../src/config.ts'
import { makeCertificates } from './support/certificates.ts'
import { helm } from './support/helm.ts'

const chart = join(import.meta.dirname, '../helm/holdpoint')
const dir = mkdtempSync(join(tmpdir(), 'holdpoint-chart-'))
afterAll(() => rmSync(dir, { recursive: true }))

type Values = { readonly [key: string]: unknown }
// biome-ignore lint/suspicious/noExplicitAny: a rendered object has no type of its own until a model has judged it
type Rendered = any

const models: { readonly [kind: string]: new (data: never) => { validate(): void } } = {
  ConfigMap,
  Deployment,
  HorizontalPodAutoscaler,
  Ingress,
  NetworkPolicy,
  PersistentVolumeClaim,
  PodDisruptionBudget,
  Service,
  ServiceAccount,
}

const base: Values = {
  config: {
    version: 1,
    store: 'redis://redis:6379',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the program's own way to name a variable
    keys: '${env:HOLDPOINT_KEYS}',
    gate: { url: 'https://gate.acme.test' },
    console: {
      url: 'https://holdpoint.acme.test',
      login: [{ name: 'acme', issuer: 'https://acme.okta.test', clientId: 'console' }],
    },
    issuers: [{ name: 'okta', issuer: 'https://acme.okta.test', audience: 'api://holdpoint' }],
    upstreams: [{ name: 'billing', kind: 'http', url: 'https://billing.test', at: { prefix: '/billing' } }],
  },
  rules: [{ name: 'reads', match: { upstream: 'billing', method: 'GET' }, then: 'allow' }],
  existingSecret: 'holdpoint',
}
const sqlite: Values = {
  ...base,
  config: { ...(base.config as object), store: 'sqlite:/var/lib/holdpoint/holdpoint.db' },
  replicaCount: 1,
  persistence: { enabled: true },
}
const door = { ingress: { enabled: true, className: 'nginx', host: 'gate.acme.test', tls: { secretName: 'gate-tls' } } }

/** Values, and which kinds come out of them besides what always does. */
const matrix: readonly (readonly [name: string, values: Values, kinds: readonly string[]])[] = [
  ['as it comes, with Redis', base, ['NetworkPolicy', 'PodDisruptionBudget']],
  ['SQLite on a volume', sqlite, ['NetworkPolicy', 'PersistentVolumeClaim', 'PodDisruptionBudget']],
  [
    'a volume that is there already',
    { ...sqlite, persistence: { enabled: true, existingClaim: 'mine' } },
    ['NetworkPolicy', 'PodDisruptionBudget'],
  ],
  [
    'everything on',
    {
      ...base,
      image: { repository: 'registry.acme.test/holdpoint', digest: `sha256:${'a'.repeat(64)}` },
      imagePullSecrets: [{ name: 'registry' }],
      env: { HOLDPOINT_LOG: 'debug', RETRIES: 3 },
      extraCa: { configMap: 'acme-ca' },
      gate: { ...door, service: { type: 'LoadBalancer', port: 8080, annotations: { a: 'b' } } },
      console: door,
      hpa: { enabled: true },
      serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
      networkPolicy: {
        gateFrom: [{ namespaceSelector: {} }],
        consoleFrom: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
        adminFrom: [{ podSelector: { matchLabels: { app: 'prometheus' } } }],
        egress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: 443, protocol: 'TCP' }] }],
      },
      podLabels: { team: 'platform' },
      podAnnotations: { note: 'x' },
      nodeSelector: { disk: 'ssd' },
      tolerations: [{ key: 'dedicated', operator: 'Exists' }],
      affinity: { podAntiAffinity: {} },
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway', labelSelector: {} },
      ],
    },
    ['HorizontalPodAutoscaler', 'Ingress', 'Ingress', 'NetworkPolicy', 'PodDisruptionBudget', 'ServiceMonitor'],
  ],
  [
    'TLS that ends at the pods, of which one asks for client certificates',
    {
      ...base,
      gate: { tls: { secretName: 'gate-tls', clientCaSecret: 'agents-ca', clientCert: 'required' } },
      console: { tls: { secretName: 'console-tls' } },
    },
    ['NetworkPolicy', 'PodDisruptionBudget'],
  ],
  [
    'everything off',
    { ...base, pdb: { enabled: false }, networkPolicy: { enabled: false }, serviceAccount: { create: false } },
    [],
  ],
  [
    'a file of rules with more in it',
    { ...base, rulesFile: { reviewers: { leads: { by: { groups: ['leads'] } } } } },
    ['NetworkPolicy', 'PodDisruptionBudget'],
  ],
]

/** Values, and what the refusal says. */
const refusals: readonly (readonly [name: string, values: Values, says: RegExp])[] = [
  ['a count as text', { ...base, replicaCount: '2' }, /replicaCount/],
  ['a key that does not exist', { ...base, replicas: 2 }, /replicas/],
  ['a section that does not exist', { ...base, config: { version: 1, upstream: [] } }, /upstream/],
  ['a listener of its own', { ...base, config: { version: 1, gate: { listen: '0.0.0.0:80' } } }, /gate/],
  ['keys in the open', { ...base, config: { version: 1, keys: 'k1:AAAA' } }, /keys/],
  ['a container as root', { ...base, podSecurityContext: { runAsUser: 0 } }, /runAsUser/],
  ['a container that may become root', { ...base, securityContext: { allowPrivilegeEscalation: true } }, /allowPriv/],
  ['an image by half a digest', { ...base, image: { digest: 'sha256:abc' } }, /digest/],
  ['nobody who may be peer', { ...base, networkPolicy: { adminFrom: [{}] } }, /adminFrom/],
  ['SQLite for two', { ...sqlite, replicaCount: 2 }, /SQLite serves one replica/],
  ['SQLite that scales', { ...sqlite, hpa: { enabled: true } }, /SQLite serves one replica/],
  ['SQLite without a volume', { ...sqlite, persistence: { enabled: false } }, /persistence\.enabled/],
  ['SQLite in a folder that is not writable', { ...sqlite, config: { version: 1, store: 'sqlite:./x.db' } }, /below/],
  ['Redis without keys', { ...base, config: { version: 1, store: 'redis://r' } }, /config\.keys/],
  ['an Ingress for every name', { ...base, gate: { ingress: { enabled: true } } }, /gate\.ingress\.host/],
  ['client certificates without TLS', { ...base, gate: { tls: { clientCaSecret: 'ca' } } }, /gate\.tls\.secretName/],
  [
    'two certificates for one listener',
    {
      ...base,
      config: {
        ...(base.config as object),
        console: { ...(base.config as { console: object }).console, tls: { cert: 'c', key: 'k' } },
      },
      console: { tls: { secretName: 'console-tls' } },
    },
    /config\.console\.tls/,
  ],
  ['no address', { ...sqlite, config: { version: 1, store: 'sqlite:/var/lib/holdpoint/h.db' } }, /config\.\w+\.url/],
]

/** The Secrets that the values name, as they are mounted. */
let secrets: { readonly [folder: string]: { readonly [file: string]: string } }
beforeAll(async () => {
  const made = await makeCertificates()
  const { cert, key } = await made.make('gate', ['gate.acme.test'])
  const pair = { 'tls.crt': await made.text(cert), 'tls.key': await made.text(key) }
  secrets = { 'gate-tls': pair, 'console-tls': pair, 'gate-ca': { 'ca.crt': made.caText } }
  await made.close()
})

let files = 0
const written = (values: Values): string => {
  const file = join(dir, `values-${files++}.json`)
  writeFileSync(file, JSON.stringify(values))
  return file
}

describe.each([3, 4] as const)('helm %i', major => {
  const run = helm(major)
  const render = async (values: Values): Promise<readonly Rendered[]> => {
    const { code, out, err } = await run('template', 'acme', chart, '--namespace', 'gates', '-f', written(values))
    expect(err.replace(/^level=.*$/gm, '').trim()).toBe('')
    expect(code).toBe(0)
    return parseAllDocuments(out).flatMap(document => {
      expect(document.errors).toEqual([])
      const object = document.toJS() as Rendered
      return object === null ? [] : [object]
    })
  }

  test('is the major it should be', async () => {
    expect((await run('version', '--short')).out).toMatch(new RegExp(`^v${major}\\.`))
  })

  test('lints without a warning', async () => {
    const { code, out } = await run('lint', chart, '--strict', '-f', written(base))
    expect(out).not.toMatch(/\[(WARNING|ERROR)\]/)
    expect(code).toBe(0)
  })

  test.each(matrix)('%s: valid objects, and those that were asked for', async (_name, values, kinds) => {
    const objects = await render(values)
    for (const object of objects) {
      if (object.kind === 'ServiceMonitor') continue
      const Model = models[object.kind]
      if (Model === undefined) throw new Error(`${object.kind} is not expected`)
      new Model(object as never).validate()
      expect(object.metadata.namespace).toBe('gates')
    }
    const account = (values.serviceAccount as { create?: boolean })?.create === false ? [] : ['ServiceAccount']
    expect(objects.map(object => object.kind).sort()).toEqual(
      ['ConfigMap', 'Deployment', 'Service', 'Service', 'Service', ...account, ...kinds].sort(),
    )
    const names = objects.map(object => `${object.kind} ${object.metadata.name}`)
    expect(new Set(names).size).toBe(names.length)
  })

  test.each(matrix)('%s: the parts fit together', async (_name, values) => {
    const objects = await render(values)
    const of = (kind: string): Rendered[] => objects.filter(object => object.kind === kind)
    const [deployment] = of('Deployment')
    const { labels } = deployment.spec.template.metadata
    const { containers, volumes, securityContext } = deployment.spec.template.spec
    const [container] = containers
    const ports = new Set(container.ports.map((port: { name: string }) => port.name))
    const selects = (selector: { readonly [name: string]: string }): boolean =>
      Object.entries(selector).every(([name, value]) => labels[name] === value)
    expect(selects(deployment.spec.selector.matchLabels)).toBe(true)
    for (const service of of('Service')) {
      expect(selects(service.spec.selector)).toBe(true)
      for (const port of service.spec.ports) expect(ports).toContain(port.targetPort)
    }
    const serviceNames = of('Service').map(service => service.metadata.name)
    for (const ingress of of('Ingress'))
      for (const rule of ingress.spec.rules) expect(serviceNames).toContain(rule.http.paths[0].backend.service.name)
    for (const policy of of('NetworkPolicy')) {
      expect(selects(policy.spec.podSelector.matchLabels)).toBe(true)
      const admin = policy.spec.ingress.find((rule: Rendered) => rule.ports[0].port === 'admin')
      expect(admin === undefined || admin.from.length > 0).toBe(true)
    }
    for (const monitor of of('ServiceMonitor')) {
      const wanted = Object.entries(monitor.spec.selector.matchLabels)
      const found = of('Service').filter(service =>
        wanted.every(([name, value]) => service.metadata.labels[name] === value),
      )
      expect(found.map(service => service.spec.ports[0].name)).toEqual([monitor.spec.endpoints[0].port])
    }
    const mounted = container.volumeMounts.map((mount: { name: string }) => mount.name)
    expect(mounted.sort()).toEqual(volumes.map((volume: { name: string }) => volume.name).sort())
    expect(container.volumeMounts.every((mount: { subPath?: string }) => mount.subPath === undefined)).toBe(true)
    expect(securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    expect(deployment.spec.template.spec.automountServiceAccountToken).toBe(false)
    expect(deployment.spec.replicas === undefined).toBe(of('HorizontalPodAutoscaler').length === 1)
  })

  test.each(matrix)('%s: the program takes the configuration', async (name, values) => {
    const [map] = (await render(values)).filter(object => object.kind === 'ConfigMap')
    const folder = mkdtempSync(join(dir, 'config-'))
    // Where the pod would have its Secrets.
    for (const [file, text] of Object.entries(map.data as { [file: string]: string }))
      writeFileSync(join(folder, file), text.replaceAll('/etc/holdpoint-', `${folder}/`))
    for (const [secret, files] of Object.entries(secrets)) {
      mkdirSync(join(folder, secret))
      for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, secret, file), text)
    }
    const loaded = await loadSettings(join(folder, 'holdpoint.yaml'), { HOLDPOINT_KEYS: `k1:${'A'.repeat(43)}=` })
    expect(loaded, name).toMatchObject({
      settings: { rules: [{ name: 'reads' }], audit: { spool: '/var/lib/holdpoint/spool' } },
    })
  })

  test.each(refusals)('%s is refused', async (_name, values, says) => {
    const { code, err } = await run('template', 'acme', chart, '-f', written(values))
    expect(err).toMatch(says)
    expect(code).not.toBe(0)
  })
})

// With helm 4 only: helm 3 asks a cluster even for a dry run.
test('the notes say where to go', async () => {
  const { out, code } = await helm(4)('install', 'acme', chart, '--dry-run=client', '-f', written(base))
  expect(code).toBe(0)
  expect(out).toContain('https://gate.acme.test')
  expect(out).toContain('networkPolicy.adminFrom')
})

test('the schema of the values knows the sections of the configuration', () => {
  const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8')) as Rendered
  const own = ['admin', 'rules', ...Object.keys(ruleSections)]
  const expected = Object.keys(sections).filter(name => !own.includes(name))
  expect([...schema.properties.config.propertyNames.enum].sort()).toEqual(expected.sort())
})

test('chart and program have the same version', () => {
  const { version, appVersion } = parse(readFileSync(join(chart, 'Chart.yaml'), 'utf8')) as Rendered
  const program = JSON.parse(readFileSync(join(chart, '../../package.json'), 'utf8')) as Rendered
  expect([version, appVersion]).toEqual([program.version, program.version])
})
