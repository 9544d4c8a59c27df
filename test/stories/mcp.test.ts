// An agent with the SDK's MCP client: reads pass, a tool that deletes is held, the agent is told while it waits, and what it gets in the
// end is a result or an error of its own protocol.
import type { Client } from '@modelcontextprotocol/sdk/client/index.js'
import type { McpError } from '@modelcontextprotocol/sdk/types.js'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type McpPeer, mcpClient, startMcp } from '../support/mcp.ts'
import { people } from '../support/people.ts'
import { type Desk, type Stage, startStage, waiting } from '../support/stage.ts'

const rules = `
rules:
  - { name: reads, match: { upstream: [repos, documents, older], access: read }, then: allow }
  - { name: the-end, match: { upstream: [repos, documents, older], action: "mcp:DELETE" }, then: allow }
  - { name: harmless-tools, match: { upstream: [repos, documents, older], fields: { tool: list_repos } }, then: allow }
  - { name: never, match: { upstream: [repos, documents, older], json: { /params/arguments/repo: ledger } }, then: deny }
  - name: impatient
    match: { upstream: [repos, documents, older], json: { /params/arguments/repo: "quick-*" } }
    then: hold
    summary: "Delete the repository {json./params/arguments/repo}"
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 1s }
  - name: tools
    match: { upstream: [repos, documents, older], action: "mcp:tools/call" }
    then: hold
    summary: "Delete the repository {json./params/arguments/repo}"
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
`

let stage: Stage
let peer: McpPeer
let documents: McpPeer
let ana: Desk
let client: Client

beforeAll(async () => {
  peer = await startMcp()
  documents = await startMcp({ json: true })
  stage = await startStage({
    rules,
    config: {
      upstreams: [
        { name: 'repos', kind: 'mcp', url: `${peer.url}/mcp`, at: { prefix: '/repos' } },
        { name: 'documents', kind: 'mcp', url: `${documents.url}/mcp`, at: { prefix: '/documents' } },
        { name: 'older', kind: 'mcp', url: peer.url, at: { host: 'localhost' } },
      ],
    },
  })
  ana = await stage.desk(people.ana)
})
afterAll(async () => {
  await stage.close()
  await peer.close()
  await documents.close()
})
beforeEach(async () => {
  client = await mcpClient(`${stage.holdpoint.gate}/repos`, stage.token)
})
afterEach(async () => {
  peer.fail(undefined)
  documents.fail(undefined)
  await client.close()
})

type Called = { readonly content: readonly { readonly text: string }[] }

const remove = (repo: string, told?: string[], from = client): Promise<Called> =>
  from.callTool({ name: 'delete_repo', arguments: { repo } }, undefined, {
    ...(told === undefined ? {} : { onprogress: ({ message }) => void told.push(message ?? '') }),
  }) as Promise<Called>

const errorOf = (call: Promise<unknown>): Promise<McpError & { readonly data: { readonly [name: string]: unknown } }> =>
  call.then(
    () => Promise.reject(new Error('there is a result')),
    error => error,
  )

const approve = async (id: string): Promise<void> => {
  expect(await ana.approve(id)).toMatchObject({ status: 200 })
}

describe('over streamable HTTP', () => {
  test('reads pass, within a session, and the session is ended', async () => {
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['list_repos', 'delete_repo'])
    expect(await client.callTool({ name: 'list_repos', arguments: {} })).toMatchObject({
      content: [{ text: 'billing, ledger' }],
    })
    const posts = peer.seen.filter(({ method }) => method === 'POST')
    expect(new Set(posts.slice(1).map(({ headers }) => headers['mcp-session-id'])).size).toBe(1)
    expect(posts.at(-1)?.headers).not.toHaveProperty('authorization')
    await (client.transport as unknown as { terminateSession(): Promise<void> }).terminateSession()
    expect(peer.seen.at(-1)?.method).toBe('DELETE')
  })

  test('a tool is held, its caller is told, and it runs once when somebody approves', async () => {
    const told: string[] = []
    const result = remove('billing', told)
    const row = await waiting(ana)
    expect(row).toMatchObject({
      line: 'Delete the repository billing',
      action: { name: 'mcp:tools/call', resource: 'delete_repo', access: 'unknown' },
    })
    expect(peer.deleted).not.toContain('billing')
    await approve(row.id)
    expect(await result).toMatchObject({ content: [{ text: 'deleted billing' }] })
    expect(told).toEqual([`Held as ${row.id} for idp:finance-leads; waiting for approval`, 'deleting billing'])
    expect(peer.deleted.filter(repo => repo === 'billing')).toHaveLength(1)
    await expect.poll(async () => (await ana.hold(row.id)).status).toBe('delivered')
  })

  test('a caller that gave no token for progress waits in silence, and has the answer as it came', async () => {
    const result = remove('silent')
    const { id } = await waiting(ana)
    await approve(id)
    expect(await result).toMatchObject({ content: [{ text: 'deleted silent' }] })
  })

  test.each([['told'], ['not told']])('a denial is an error with the reason of the reviewer (%s)', async how => {
    const result = errorOf(remove('kept', how === 'told' ? [] : undefined))
    const { id } = await waiting(ana)
    await ana.deny(id, 'It is still in use.')
    expect(await result).toMatchObject({
      code: -32050,
      message: expect.stringContaining('A reviewer denied this call: It is still in use.'),
      data: { code: 'hold_denied', hold: id, status: 403 },
    })
    expect(peer.deleted).not.toContain('kept')
  })

  test('a rule that denies is an error too', async () => {
    expect(await errorOf(remove('ledger'))).toMatchObject({ data: { code: 'denied_by_rule', rule: 'never' } })
  })

  test.each([['told'], ['not told']])(
    'the same tool called again joins its hold and has the result, under its own id (%s)',
    async how => {
      const repo = `quick-${how.replace(' ', '-')}`
      const told: string[] = []
      const first = await errorOf(remove(repo, how === 'told' ? told : undefined))
      expect(first).toMatchObject({ data: { code: 'hold_pending', retryable: true } })
      expect(first.message).toMatch(/Run the same call again/)
      const again = remove(repo, how === 'told' ? told : undefined)
      const { id } = await waiting(ana)
      expect(first.data.hold).toBe(id)
      await approve(id)
      expect(await again).toMatchObject({ content: [{ text: `deleted ${repo}` }] })
      if (how === 'told') expect(told.at(-1)).toBe(`deleting ${repo}`)
      expect(peer.deleted.filter(one => one === repo)).toHaveLength(1)
    },
  )

  test.each<[string, Parameters<McpPeer['fail']>[0], object]>([
    ['answers with an error page', response => response.writeHead(502).end('<html>'), { data: { status: 502 } }],
    [
      'ends its stream before the result',
      response => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('data: {"jsonrpc":"2.0","id":', () => response.destroy())
      },
      { data: { code: 'already_delivered' } },
    ],
    ['does not answer', response => response.destroy(), { data: { code: 'delivery_unknown' } }],
  ])('an upstream that %s while the stream is open is an error', async (name, answer, error) => {
    peer.fail(answer)
    const result = errorOf(remove(`lost-${name.length}`, []))
    await approve((await waiting(ana)).id)
    expect(await result).toMatchObject(error)
  })
})

test('a server that answers with documents is heard in the stream that is open, and without one', async () => {
  const other = await mcpClient(`${stage.holdpoint.gate}/documents`, stage.token)
  for (const told of [[], undefined] as (string[] | undefined)[]) {
    const result = remove('papers', told, other)
    const { id } = await waiting(ana)
    await approve(id)
    expect(await result).toMatchObject({ content: [{ text: 'deleted papers' }] })
  }
  expect(documents.deleted).toEqual(['papers', 'papers'])
  await other.close()
})

test('over the older transport a tool is held, and refusals are told by status and text', async () => {
  const { port } = new URL(stage.holdpoint.gate)
  const older = await mcpClient(`http://localhost:${port}/sse`, stage.token, 'sse')
  expect((await older.listTools()).tools).toHaveLength(2)
  const result = remove('ancient', [], older)
  await approve((await waiting(ana)).id)
  expect(await result).toMatchObject({ content: [{ text: 'deleted ancient' }] })
  expect((await errorOf(remove('ledger', [], older))).message).toMatch(/HTTP 400.*denied_by_rule/)
  await older.close()
})
