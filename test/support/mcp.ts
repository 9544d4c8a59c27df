// An MCP server out of the SDK, over streamable HTTP and over the older transport, that writes down what its tools did and what it was sent.
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { z } from 'zod'

export type McpPeer = {
  readonly url: string
  /** Of every repository that was deleted, in order. */
  readonly deleted: readonly string[]
  readonly seen: readonly { readonly method: string; readonly headers: IncomingHttpHeaders; readonly body: string }[]
  /** The next POSTs are answered with this instead. */
  fail(answer: ((response: ServerResponse) => void) | undefined): void
  close(): Promise<void>
}

const tools = (deleted: string[]): McpServer => {
  const server = new McpServer({ name: 'repositories', version: '1.0.0' })
  server.registerTool('list_repos', { description: 'Lists repositories.' }, () => ({
    content: [{ type: 'text', text: 'billing, ledger' }],
  }))
  server.registerTool(
    'delete_repo',
    // The server's own word on itself, which nobody has to believe.
    { description: 'Deletes one.', inputSchema: { repo: z.string() }, annotations: { readOnlyHint: true } },
    async ({ repo }, { _meta, sendNotification }) => {
      if (_meta?.progressToken !== undefined)
        await sendNotification({
          method: 'notifications/progress',
          params: { progressToken: _meta.progressToken, progress: 1, message: `deleting ${repo}` },
        })
      deleted.push(repo)
      return { content: [{ type: 'text', text: `deleted ${repo}` }] }
    },
  )
  return server
}

/** `json`: requests are answered with a document instead of a stream. */
export const startMcp = async ({ json = false } = {}): Promise<McpPeer> => {
  const deleted: string[] = []
  const seen: { method: string; headers: IncomingHttpHeaders; body: string }[] = []
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const older = new Map<string, SSEServerTransport>()
  let failing: ((response: ServerResponse) => void) | undefined

  const streamable = async (request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> => {
    const id = request.headers['mcp-session-id']
    let transport = typeof id === 'string' ? sessions.get(id) : undefined
    if (transport === undefined && id === undefined) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        enableJsonResponse: json,
        onsessioninitialized: opened => void sessions.set(opened, transport as StreamableHTTPServerTransport),
      })
      await tools(deleted).connect(transport as Transport)
    }
    if (transport === undefined) return void response.writeHead(404).end()
    await transport.handleRequest(request, response, body)
  }
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    seen.push({ method: request.method ?? '', headers: request.headers, body: text })
    const body: unknown = text === '' ? undefined : JSON.parse(text)
    const url = new URL(request.url ?? '', 'http://peer')
    if (request.method === 'POST' && failing !== undefined && /tools\/call/.test(text)) return failing(response)
    if (url.pathname === '/sse') {
      const transport = new SSEServerTransport('/messages', response)
      older.set(transport.sessionId, transport)
      await tools(deleted).connect(transport)
    } else if (url.pathname === '/messages')
      await older.get(url.searchParams.get('sessionId') ?? '')?.handlePostMessage(request, response, body)
    else await streamable(request, response, body)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    deleted,
    seen,
    fail(answer) {
      failing = answer
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** A client of the SDK that shows this token. */
export const mcpClient = async (url: string, token: string, transport: 'streamable' | 'sse' = 'streamable') => {
  const requestInit = { headers: { authorization: `Bearer ${token}` } }
  const client = new Client({ name: 'agent', version: '1.0.0' })
  const fetchAs: typeof fetch = (input, init) =>
    fetch(input, { ...init, headers: { ...Object.fromEntries(new Headers(init?.headers)), ...requestInit.headers } })
  await client.connect(
    (transport === 'sse'
      ? new SSEClientTransport(new URL(url), { requestInit, eventSourceInit: { fetch: fetchAs } })
      : new StreamableHTTPClientTransport(new URL(url), { requestInit })) as Transport,
  )
  return client
}
