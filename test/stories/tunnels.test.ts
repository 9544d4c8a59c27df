// WebSockets through the whole way: judged, held and released like any call, carried only after a proven 101, cut by whoever may.

import { WebSocket } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { people } from '../support/people.ts'
import { type Desk, type Stage, stageConfig, startStage, upstreamKey, waiting } from '../support/stage.ts'
import { acceptOf, agree, dial, handshake, type SocketUpstream, startSocketUpstream } from '../support/websocket.ts'

const rules = `
rules:
  - { name: no-secret-sockets, match: { upstream: live, path: '/secret/**' }, then: deny }
  - { name: sockets-only-held, match: { upstream: live, path: '/plain', fields: { upgrade: websocket } }, then: deny }
  - name: shells
    match: { upstream: live, path: '/shell/**' }
    then: hold
    approve: { by: { groups: [finance-leads] }, within: 30m, wait: 30s }
  - { name: reads-only, match: { upstream: live, path: '/readable', access: read }, then: allow }
  - { name: the-rest, match: { upstream: live, path: ['/open/**', '/plain'] }, then: allow }
`
// What the upstream says: by the path of the head.
const answer = (head: string): string => {
  const path = head.split(' ')[1] ?? ''
  if (path === '/open/forbidden')
    return 'HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nno!\n'
  if (path === '/open/liar') return agree('Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n')
  if (path === '/open/bare') return 'HTTP/1.1 101 Switching Protocols\r\n\r\n'
  if (path === '/open/h2c') return agree(head).replace('Upgrade: websocket', 'Upgrade: h2c')
  if (path === '/open/eager') return `${agree(head)}early bird`
  return agree(head, [
    'Sec-WebSocket-Protocol: chat',
    'Set-Cookie: a=1',
    'Keep-Alive: timeout=5',
    'Holdpoint-Hold: forged',
  ])
}

let upstream: SocketUpstream
let stage: Stage
let ana: Desk

beforeAll(async () => {
  upstream = await startSocketUpstream(answer)
  const config = (await stageConfig('http://127.0.0.1:1', 'http://127.0.0.1:1')) as { upstreams: object[] }
  const live = {
    ...config.upstreams[0],
    name: 'live',
    url: upstream.url,
    at: { prefix: '/live' },
    timeouts: { headers: '5s' },
  }
  const hasty = { ...live, name: 'hasty', at: { prefix: '/hasty' }, timeouts: { idle: '300ms' } }
  const short = { ...live, name: 'short', at: { prefix: '/short' }, timeouts: { idle: 0, tunnel: '500ms' } }
  stage = await startStage({
    rules: `${rules}  - { name: short-ones, match: { upstream: [hasty, short] }, then: allow }\n`,
    config: { upstreams: [live, hasty, short] },
  })
  ana = await stage.desk(people.ana)
})
afterAll(async () => {
  await stage.close()
  await upstream.close()
})

const open = (path: string, lines: readonly string[] = []) =>
  dial(stage.holdpoint.gate, handshake(path, [`Authorization: Bearer ${stage.token}`, ...lines]))
const headOf = (text: string): string => text.slice(0, text.indexOf('\r\n\r\n') + 4)
const hasHead = (text: string): boolean => text.includes('\r\n\r\n')

test('an allowed one: the handshake is made fresh, and bytes go both ways unchanged', async () => {
  const caller = await open('/live/open/a?x=1', [
    'Sec-WebSocket-Protocol: chat, log',
    'Sec-WebSocket-Extensions: permessage-deflate',
    'Origin: https://app.test',
    'Proxy-Connection: x',
    'X-Forwarded-User: root',
  ])
  const [other, text] = await Promise.all([upstream.next('/open/a?x=1'), caller.until(hasHead)])
  const head = upstream.heads.at(-1) ?? ''
  expect(head.split('\r\n')[0]).toBe('GET /open/a?x=1 HTTP/1.1')
  for (const line of [
    /^connection: upgrade$/im,
    /^upgrade: websocket$/im,
    /^sec-websocket-version: 13$/im,
    /^sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==$/im,
    /^sec-websocket-protocol: chat, log$/im,
    /^sec-websocket-extensions: permessage-deflate$/im,
    /^origin: https:\/\/app\.test$/im,
    new RegExp(`^authorization: Bearer ${upstreamKey}$`, 'im'),
    /^via: 1\.1 holdpoint$/im,
  ])
    expect(head.match(new RegExp(line, 'gim')) ?? []).toHaveLength(1)
  expect(head).not.toMatch(/root|proxy-connection|content-length|transfer-encoding/i)
  expect(head).not.toContain(stage.token)

  expect(headOf(text).split('\r\n').sort()).toEqual(
    [
      'HTTP/1.1 101 Switching Protocols',
      'Connection: Upgrade',
      'Upgrade: websocket',
      `Sec-WebSocket-Accept: ${acceptOf('dGhlIHNhbXBsZSBub25jZQ==')}`,
      'Sec-WebSocket-Protocol: chat',
      'Set-Cookie: a=1',
      '',
      '',
    ].sort(),
  )
  caller.socket.write('GET /live/open/b HTTP/1.1\r\n\r\n\x00\xff', 'latin1')
  expect((await other.until(all => all.endsWith('\xff'))).slice(head.length)).toBe(
    'GET /live/open/b HTTP/1.1\r\n\r\n\x00\xff',
  )
  other.socket.write('HTTP/1.1 200 OK\r\n\r\n')
  expect((await caller.until(all => all.endsWith('OK\r\n\r\n'))).slice(headOf(text).length)).toBe(
    'HTTP/1.1 200 OK\r\n\r\n',
  )
  // Half-closed, it still carries the other way.
  caller.socket.end('bye')
  await other.until(all => all.endsWith('bye'))
  other.socket.end('bye yourself')
  await caller.until(all => all.endsWith('bye yourself'))
  await Promise.all([caller.closed, other.closed])
})

test('16 MiB each way at once, past a reader that stops for a while', async () => {
  const caller = await open('/live/open/large')
  const other = await upstream.next('/open/large')
  const start = (await caller.until(hasHead)).length
  const size = 16 * 1024 * 1024
  const block = Buffer.alloc(size, 'x')
  const begun = other.text().length
  other.socket.pause()
  caller.socket.write(block)
  other.socket.write(block)
  await caller.until(all => all.length === start + size)
  expect(other.text().length).toBe(begun)
  other.socket.resume()
  await other.until(all => all.length === begun + size)
  caller.socket.destroy()
  await other.closed
})

test('what came right behind the 101 is not lost', async () => {
  const caller = await open('/live/open/eager')
  expect(await caller.until(all => all.endsWith('early bird'))).toMatch(/^HTTP\/1\.1 101 /)
  caller.socket.destroy()
})

test("undici's WebSocket talks through it to a real server", async () => {
  const caller = new WebSocket(`${stage.holdpoint.gate.replace('http', 'ws')}/live/open/frames`, {
    headers: { authorization: `Bearer ${stage.token}` },
    protocols: ['chat'],
  })
  const opened = new Promise((resolve, reject) => {
    caller.addEventListener('open', resolve)
    caller.addEventListener('error', reject)
  })
  const other = await upstream.next('/open/frames')
  await opened
  expect(caller.protocol).toBe('chat')
  const said = new Promise(resolve => caller.addEventListener('message', event => resolve(event.data)))
  other.socket.write(Buffer.from([0x81, 2, 0x68, 0x69]))
  expect(await said).toBe('hi')
  const before = other.text().length
  caller.send('ping')
  // A masked text frame of four bytes.
  expect((await other.until(all => all.length === before + 10)).charCodeAt(before)).toBe(0x81)
  const closed = new Promise(resolve => caller.addEventListener('close', event => resolve(event.code)))
  other.socket.end(Buffer.from([0x88, 2, 0x03, 0xe8]))
  expect(await closed).toBe(1000)
})

test.each([
  ['another answer is passed on as it is', '/live/open/forbidden', 403, 'no!\n'],
  ['a proof of another key is none', '/live/open/liar', 502, 'upstream_unreachable'],
  ['a 101 that names no protocol', '/live/open/bare', 502, 'upstream_unreachable'],
  ['a 101 to another protocol', '/live/open/h2c', 502, 'upstream_unreachable'],
])('%s, and the connection ends', async (_, path, status, body) => {
  const caller = await open(path)
  const other = await upstream.next(path.replace(/^\/\w+/, ''))
  await Promise.all([caller.closed, other.closed])
  expect(caller.text()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  expect(headOf(caller.text())).toMatch(/\r\nconnection: close\r\n/i)
  expect(headOf(caller.text())).not.toMatch(/\r\nupgrade:/i)
  expect(caller.text().slice(headOf(caller.text()).length)).toContain(body)
})

test.each([
  ['a rule denies the path', '/live/secret/x', [], 403, 'denied_by_rule'],
  ['a rule denies tunnels', '/live/plain', [], 403, 'denied_by_rule'],
  ['a WebSocket is no read', '/live/readable', [], 403, 'no_rule'],
  ['the key is none', '/live/open/a', ['Sec-WebSocket-Key: short'], 400, 'malformed'],
  ['it has a body', '/live/open/a', ['Content-Length: 5'], 400, 'malformed'],
])('nothing reaches the upstream where %s', async (_, path, lines, status, code) => {
  const before = upstream.heads.length
  const caller = await open(path, lines)
  await caller.closed
  expect(caller.text()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  expect(caller.text()).toContain(`"code":"${code}"`)
  expect(upstream.heads).toHaveLength(before)
})

test('without a token there is no tunnel', async () => {
  const caller = await dial(stage.holdpoint.gate, handshake('/live/open/a', []))
  await caller.closed
  expect(caller.text()).toMatch(/^HTTP\/1\.1 401 /)
})

test.each([
  ['h2c', ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA']],
  ['something nobody knows', ['Connection: Upgrade', 'Upgrade: foo/2']],
  ['two at once', ['Connection: Upgrade', 'Upgrade: websocket, h2c']],
])('an upgrade to %s is a plain request', async (_, lines) => {
  const raw = ['GET /live/plain HTTP/1.1', 'Host: g', `Authorization: Bearer ${stage.token}`, ...lines, '', '']
  const caller = await dial(stage.holdpoint.gate, raw.join('\r\n'))
  const other = await upstream.next('/plain')
  expect(upstream.heads.at(-1)).not.toMatch(/upgrade|http2-settings|h2c|foo/i)
  // This upstream answers everything with a 101, which is no answer to a plain request.
  expect(await caller.until(all => all.includes('}'))).toMatch(/^HTTP\/1\.1 502 /)
  await other.closed
  caller.socket.destroy()
})

test('SPDY is for Kubernetes, which this upstream is not', async () => {
  const lines = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', `Authorization: Bearer ${stage.token}`]
  const before = upstream.heads.length
  const caller = await dial(
    stage.holdpoint.gate,
    ['POST /live/open/a HTTP/1.1', 'Host: g', ...lines, '', ''].join('\r\n'),
  )
  await caller.closed
  expect(caller.text()).toMatch(/^HTTP\/1\.1 400 [\s\S]*kind http knows no spdy/)
  expect(upstream.heads).toHaveLength(before)
})

test('bytes before the answer, and a handshake behind an unanswered request, open nothing', async () => {
  const before = upstream.heads.length
  const early = await dial(
    stage.holdpoint.gate,
    `${handshake('/live/open/a', [`Authorization: Bearer ${stage.token}`])}GET /live/open/b HTTP/1.1\r\n\r\n`,
  )
  await early.closed
  expect(early.text()).toMatch(/^HTTP\/1\.1 400 [\s\S]*Connection: close/)
  const late = await open('/live/shell/early')
  await waiting(ana)
  late.socket.write('x')
  await late.closed
  expect(late.text()).toBe('')
  const lines = `Host: g\r\nAuthorization: Bearer ${stage.token}\r\n`
  const piped = await dial(
    stage.holdpoint.gate,
    `GET /live/nothing HTTP/1.1\r\n${lines}\r\n${handshake('/live/open/c', [`Authorization: Bearer ${stage.token}`])}`,
  )
  await piped.closed
  expect(piped.text().match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 403', 'HTTP/1.1 400'])
  expect(upstream.heads).toHaveLength(before)
  for (const { id } of await ana.pending()) await ana.approve(id)
})

test.each([
  ['silent', '/hasty/a', 'silent'],
  ['long', '/short/a', 'time'],
])('a tunnel that is %s for too long is closed on both sides', async (_, path) => {
  const caller = await open(path)
  const other = await upstream.next(path.replace(/^\/\w+/, ''))
  await caller.until(hasHead)
  await Promise.all([caller.closed, other.closed])
})

test('who vanishes takes the other side along', async () => {
  const caller = await open('/live/open/a')
  const other = await upstream.next('/open/a')
  await caller.until(hasHead)
  other.socket.resetAndDestroy()
  await caller.closed
  const again = await open('/live/open/a')
  const third = await upstream.next('/open/a')
  await again.until(hasHead)
  again.socket.resetAndDestroy()
  await third.closed
})

test('a held one waits, opens after the approval, and its hold is delivered when it ends', async () => {
  const caller = await open('/live/shell/1', ['Prefer: respond-async, wait=20'])
  const row = await waiting(ana)
  expect(row.line).toMatch(/interactive session \(websocket\)/)
  const seen = await ana.hold(row.id)
  expect(seen.request.headers.map(([name]) => name)).toContain('Upgrade')
  expect(seen.hidden.unseen).toEqual([])
  expect(caller.text()).toBe('')
  await ana.approve(row.id)
  const other = await upstream.next('/shell/1')
  const text = await caller.until(hasHead)
  expect(text).toMatch(/^HTTP\/1\.1 101 /)
  expect(text.match(/^holdpoint-hold: .*$/gim)).toEqual([`Holdpoint-Hold: ${row.id}`])
  expect(await ana.hold(row.id)).toMatchObject({ status: 'released', you: { may_revoke: true } })

  // The same call while it is open is not a second tunnel under the same approval.
  const twin = await open('/live/shell/1')
  await twin.closed
  expect(twin.text()).toMatch(/^HTTP\/1\.1 409 [\s\S]*already_delivered/)

  caller.socket.end('exit')
  await other.until(all => all.endsWith('exit'))
  other.socket.end()
  await caller.closed
  const done = await eventually(async () => {
    const hold = await ana.hold(row.id)
    return hold.status === 'delivered' ? hold : undefined
  })
  expect(done.delivery).toMatchObject({ state: 'delivered', status: 101 })
})

test('the call that collects has a key of its own', async () => {
  const first = await open('/live/shell/2', ['Prefer: wait=1'])
  const row = await waiting(ana)
  await first.closed
  expect(first.text()).toMatch(/^HTTP\/1\.1 503 [\s\S]*hold_pending/)
  await ana.approve(row.id)
  const key = 'AQIDBAUGBwgJCgsMDQ4PEA=='
  const second = await open('/live/shell/2', [`Sec-WebSocket-Key: ${key}`])
  const other = await upstream.next('/shell/2')
  expect(upstream.heads.at(-1)).toMatch(/^sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==$/im)
  expect(await second.until(hasHead)).toContain(`Sec-WebSocket-Accept: ${acceptOf(key)}\r\n`)
  second.socket.destroy()
  await other.closed
})

test('an approval of a plain call opens no tunnel, and the other way round', async () => {
  const lines = `Host: 127.0.0.1\r\nAuthorization: Bearer ${stage.token}\r\nSec-WebSocket-Version: 13\r\nPrefer: wait=1\r\n`
  const plain = await dial(stage.holdpoint.gate, `GET /live/shell/3 HTTP/1.1\r\n${lines}Connection: close\r\n\r\n`)
  await plain.closed
  const tunnel = await open('/live/shell/3', ['Prefer: wait=1'])
  await tunnel.closed
  const id = (text: string) => /holdpoint-hold: (\S+)/i.exec(text)?.[1]
  expect(id(plain.text())).toBeDefined()
  expect(id(tunnel.text())).not.toBe(id(plain.text()))
  for (const { id } of await ana.pending()) await ana.approve(id)
})

test('revoking the approval of an open tunnel closes it', async () => {
  const caller = await open('/live/shell/4')
  const row = await waiting(ana)
  await ana.approve(row.id)
  const other = await upstream.next('/shell/4')
  await caller.until(hasHead)
  caller.socket.write('abc')
  await other.until(all => all.endsWith('abc'))
  expect(await ana.revoke(row.id, 'enough')).toMatchObject({ status: 200, json: { status: 'revoked' } })
  await Promise.all([caller.closed, other.closed])
  expect((await ana.hold(row.id)).status).toBe('revoked')
})

test('a caller that hangs up while it is held opens nothing later', async () => {
  const before = upstream.heads.length
  const caller = await open('/live/shell/5')
  const row = await waiting(ana)
  caller.socket.destroy()
  await ana.approve(row.id)
  const again = await open('/live/shell/5')
  const other = await upstream.next('/shell/5')
  await again.until(hasHead)
  expect(upstream.heads).toHaveLength(before + 1)
  again.socket.destroy()
  await other.closed
})

test('stopping closes what is still open; every tunnel is in the log with its bytes', async () => {
  const held = await open('/live/shell/6')
  const row = await waiting(ana)
  await ana.approve(row.id)
  const other = await upstream.next('/shell/6')
  await held.until(hasHead)
  held.socket.write('12345')
  await other.until(all => all.endsWith('12345'))
  await stage.holdpoint.stop()
  await Promise.all([held.closed, other.closed])
  const entries = await stage.holdpoint.audit()
  const ends = entries.filter(entry => entry.kind === 'tunnel.closed')
  const last = ends.find(entry => entry.hold === row.id)
  expect(last).toMatchObject({ detail: 'the gate was stopped', bytesUp: 5, bytesDown: 0, upstream: 'live' })
  expect(entries.filter(entry => entry.hold === row.id).map(entry => entry.kind)).toEqual(
    expect.arrayContaining(['call.held', 'hold.released', 'tunnel.opened', 'tunnel.closed', 'hold.delivered']),
  )
  expect(ends.filter(entry => entry.rule === 'short-ones').map(entry => entry.detail)).toEqual([
    'it was silent for too long',
    'its time was over',
  ])
  expect(ends.map(entry => entry.detail)).toEqual(
    expect.arrayContaining(['its approval was revoked', 'the caller ended it', 'the upstream ended it']),
  )
  const large = 16 * 1024 * 1024
  expect(ends.filter(entry => entry.bytesUp === large && entry.bytesDown === large)).toHaveLength(1)
  // Every tunnel that the upstream agreed to was opened by a call that has its entry.
  const opened = entries.filter(
    entry => entry.kind === 'tunnel.opened' || (entry.kind === 'call.allowed' && entry.status === 101),
  )
  expect(ends.length).toBeGreaterThan(opened.length - 1)
})
