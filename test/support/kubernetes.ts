// A small API server: discovery, a few kinds of objects in memory, dry runs, and exec over both protocols that kubectl speaks. It believes
// its one service account's token, and impersonation headers from nobody else; it keeps what it saw.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { spdyShell } from './spdy.ts'

export type ApiRequest = {
  readonly method: string
  readonly target: string
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type Thing = { metadata: { name: string; namespace?: string; [key: string]: unknown }; [key: string]: unknown }

export type ApiServer = {
  readonly url: string
  /** Whoever shows this is the service account. */
  token: string
  /** Requests for resources, oldest first. */
  readonly seen: readonly ApiRequest[]
  /** `apps/prod/deployments/web` -> object; the core group has no name. */
  readonly objects: Map<string, Thing>
  close(): Promise<void>
}

const served = {
  '': { namespaces: 'Namespace', pods: 'Pod', secrets: 'Secret', configmaps: 'ConfigMap' },
  apps: { deployments: 'Deployment' },
} as const

const resourceList = (group: '' | 'apps') => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: group === '' ? 'v1' : `${group}/v1`,
  resources: [
    ...Object.entries(served[group]).map(([name, kind]) => ({
      name,
      singularName: kind.toLowerCase(),
      namespaced: name !== 'namespaces',
      kind,
      verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'],
      shortNames: name === 'pods' ? ['po'] : [],
    })),
    ...(group === ''
      ? [{ name: 'pods/exec', singularName: '', namespaced: true, kind: 'PodExecOptions', verbs: ['create', 'get'] }]
      : []),
  ],
})

const documents: { readonly [path: string]: object } = {
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: [
      {
        name: 'apps',
        versions: [{ groupVersion: 'apps/v1', version: 'v1' }],
        preferredVersion: { groupVersion: 'apps/v1', version: 'v1' },
      },
    ],
  },
  '/api/v1': resourceList(''),
  '/apis/apps/v1': resourceList('apps'),
  '/version': { major: '1', minor: '35', gitVersion: 'v1.35.2', platform: 'linux/amd64' },
}

const path =
  /^\/(?:api|apis\/(?<group>[^/]+))\/v1(?:\/namespaces\/(?<namespace>[^/]+))?\/(?<resource>[a-z]+)(?:\/(?<name>[^/]+))?(?:\/(?<sub>.+))?$/

const status = (code: number, reason: string, message: string) => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: code < 400 ? 'Success' : 'Failure',
  ...(code < 400 ? {} : { reason, message }),
  code,
})

export const startApiServer = async (
  token: string,
  things: readonly (readonly [key: string, thing: Thing])[],
): Promise<ApiServer> => {
  const seen: ApiRequest[] = []
  const objects = new Map(things)
  const sockets = new Set<Socket>()
  const server = createServer(async (request, response) => {
    const body = await textOf(request)
    note(request, body)
    const [code, answer] = isOurs(request) ? act(request, body) : [401, status(401, 'Unauthorized', 'Unauthorized')]
    say(response, code, answer)
  })
  const api: { token: string } = { token }

  const isOurs = ({ headers }: IncomingMessage): boolean => headers.authorization === `Bearer ${api.token}`

  const note = ({ method = '', url = '', rawHeaders, headers }: IncomingMessage, body: string): void => {
    if (path.test(url.split('?')[0] ?? '')) seen.push({ method, target: url, rawHeaders, headers, body })
  }

  const act = ({ method, url = '' }: IncomingMessage, body: string): readonly [number, object] => {
    const { pathname, searchParams } = new URL(url, 'http://api')
    const document = documents[pathname]
    if (document !== undefined) return [200, document]
    const found = path.exec(pathname)?.groups
    if (found === undefined) return [404, status(404, 'NotFound', 'the server could not find the requested resource')]
    const { group = '', namespace = '', resource = '', name } = found
    const kind = (served as { [group: string]: { [resource: string]: string } })[group]?.[resource]
    const apiVersion = group === '' ? 'v1' : `${group}/v1`
    const keyOf = (one: string): string => `${group}/${namespace}/${resource}/${one}`
    const rehearsed = searchParams.get('dryRun') === 'All' || /"dryRun":\["All"\]/.test(body)
    const shown = (thing: Thing) => ({ apiVersion, kind, ...thing })
    if (name === undefined && method === 'GET') {
      const fits = ([key]: readonly [string, Thing]): boolean =>
        key.startsWith(`${group}/${namespace}`) && key.split('/')[2] === resource
      const selected = /^metadata\.name=(.*)$/.exec(searchParams.get('fieldSelector') ?? '')?.[1]
      const items = [...objects].filter(fits).map(([, thing]) => shown(thing))
      return [
        200,
        {
          kind: `${kind}List`,
          apiVersion,
          metadata: { resourceVersion: '1' },
          items: items.filter(({ metadata }) => selected === undefined || metadata.name === selected),
        },
      ]
    }
    if (method === 'POST') {
      const thing = JSON.parse(body) as Thing
      if (!rehearsed) objects.set(keyOf(thing.metadata.name), thing)
      return [201, shown(thing)]
    }
    const old = objects.get(keyOf(name ?? ''))
    if (method === 'PATCH' || method === 'PUT') {
      const thing = { ...old, ...JSON.parse(body), metadata: { name: name ?? '', namespace } } as Thing
      if (!rehearsed) objects.set(keyOf(name ?? ''), thing)
      return [200, shown(thing)]
    }
    if (old === undefined) return [404, status(404, 'NotFound', `${resource} "${name}" not found`)]
    if (method === 'DELETE') {
      if (!rehearsed) objects.delete(keyOf(name ?? ''))
      return [200, status(200, '', '')]
    }
    return [200, shown(old)]
  }

  const shells = new WebSocketServer({
    noServer: true,
    handleProtocols: offered => (offered.has('v5.channel.k8s.io') ? 'v5.channel.k8s.io' : false),
  })
  server.on('upgrade', (request, socket: Socket, head) => {
    note(request, '')
    socket.on('error', () => {})
    if (!isOurs(request)) return void socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
    const said = shellOf(request.url ?? '')
    if (request.headers.upgrade?.toLowerCase() === 'spdy/3.1') return spdyShell(socket, said)
    // Channels: 1 is stdout, 3 how it ended.
    shells.handleUpgrade(request, socket, head, shell => {
      shell.send(Buffer.concat([Buffer.of(1), Buffer.from(said)]))
      shell.send(Buffer.concat([Buffer.of(3), Buffer.from('{"metadata":{},"status":"Success"}')]))
      shell.close(1000)
    })
  })
  server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.assign(api, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    objects,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  })
}

const shellOf = (target: string): string =>
  `ran ${new URL(target, 'http://api').searchParams.getAll('command').join(' ')}\n`

const textOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

const say = (response: ServerResponse, code: number, answer: object): void => {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
}
