import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reader } from '../src/console/frame.ts'
import { holdPage } from '../src/console/hold-page.ts'
import { openapi } from '../src/console/openapi.ts'
import { HoldpointError } from '../src/errors.ts'
import type { HoldView } from '../src/views.ts'
import { type Browser, type ConsoleStage, hidden, startConsole, words } from './support/console.ts'
import { people, signIn } from './support/people.ts'

const cleo = { ...people.cleo, groups: ['security'] }

let stage: ConsoleStage
let ana: Browser
let ben: Browser

beforeAll(async () => {
  stage = await startConsole({ people: [...Object.values(people).filter(one => one.id !== 'cleo'), cleo] })
  ana = await stage.browserOf(people.ana)
  ben = await stage.browserOf(people.ben)
})
afterAll(() => stage.close())

const anon = (path: string, options: RequestInit = {}): Promise<Response> =>
  fetch(`${stage.url}${path}`, { redirect: 'manual', ...options })

const cookieOf = (one: Browser) => ({ cookie: `holdpoint_session=${one.session()}` })

const pages = ['/', '/history', '/audit', '/rules', '/holds/h_nobody']
const reads = ['/api/holds', '/api/holds/h_nobody', '/api/audit', '/api/rules', '/api/events']

describe('somebody who has not signed in', () => {
  test.each(pages)('is sent from %s to the sign-in', async path => {
    const answer = await anon(path)
    expect([answer.status, answer.headers.get('location')]).toEqual([303, `/login?to=${encodeURIComponent(path)}`])
  })

  test.each(reads)('gets 401 at %s, as a problem', async path => {
    const answer = await anon(path)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([401, 'application/problem+json'])
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm=/)
    expect(await answer.json()).toMatchObject({ code: 'unauthenticated', type: 'urn:holdpoint:error:unauthenticated' })
  })

  test.each(['approve', 'deny', 'revoke', 'resolve'])('cannot %s', async verb => {
    const id = await stage.hold()
    const form = await anon(`/holds/${id}/${verb}`, { method: 'POST', body: new URLSearchParams({ comment: 'x' }) })
    const api = await anon(`/api/holds/${id}/${verb}`, {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'application/json' },
    })
    expect([form.status, api.status]).toEqual([401, 401])
    expect((await stage.read(id)).state).toBe('pending')
  })
})

describe('every answer', () => {
  test.each([
    ...pages,
    ...reads,
    '/login?out=1',
    '/nowhere',
    '/api/nowhere',
    '/api/openapi.json',
    '/login/callback/idp',
  ])('%s has the headers that keep a browser safe', async path => {
    const { headers } = await anon(path)
    const policy = headers.get('content-security-policy') ?? ''
    expect(policy.split('; ')).toEqual(
      expect.arrayContaining([
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
      ]),
    )
    expect(policy).not.toContain('unsafe')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('referrer-policy')).toBe('same-origin')
    expect(headers.get('x-robots-tag')).toBe('noindex, nofollow')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('strict-transport-security')).toBeNull()
    expect(headers.get('access-control-allow-origin')).toBeNull()
  })

  test('pages have no inline script or style, and their files exist and never change', async () => {
    const { text } = await ana.visit(`${stage.url}/holds/${await stage.hold()}`)
    expect(text).not.toMatch(/<style|style=|<script(?! src=")|\son\w+=|javascript:/i)
    const files = [...text.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path = '']) => path)
    expect(new Set(files.map(path => path.split('.').at(-1)))).toEqual(new Set(['css', 'js', 'svg']))
    for (const path of new Set(files)) {
      const answer = await anon(path)
      expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'public, max-age=31536000, immutable'])
    }
  })
})

describe('addresses', () => {
  test.each([
    '/nowhere',
    '/holds',
    '/holds/',
    '/assets/console.css',
    '/../etc/passwd',
    '/%2e%2e/x',
    '/login/callback/',
  ])('there is nothing at %s', async path => {
    const answer = await anon(path)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([404, 'text/html; charset=UTF-8'])
  })

  test.each(['/api/nowhere', '/api/', '/api/holds/h_1/approve/x'])('%s is a problem', async path => {
    const answer = await anon(path)
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([404, 'no_route'])
  })

  test.each([
    ['GET', '/holds/h_1/approve', 'POST'],
    ['HEAD', '/holds/h_1/deny', 'POST'],
    ['GET', '/api/holds/h_1/approve', 'POST'],
    ['GET', '/logout', 'POST'],
    ['POST', '/', 'HEAD, GET'],
    ['PUT', '/holds/h_1', 'HEAD, GET'],
    ['DELETE', '/api/holds/h_1', 'HEAD, GET'],
    ['OPTIONS', '/api/holds', 'HEAD, GET'],
    ['PATCH', '/api/audit', 'HEAD, GET'],
  ])('%s %s is not served: %s is', async (method, path, allow) => {
    const answer = await anon(path, { method })
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, allow])
  })

  test('the description of the API names every route there is, and no other', () => {
    const described = Object.entries(openapi(stage.url).paths).flatMap(([path, methods]) =>
      Object.keys(methods).map(method => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
    )
    const served = stage.app.routes.filter(route => route.includes(' /api/'))
    expect(described.toSorted()).toEqual(served.toSorted())
  })
})

describe('GET changes nothing', () => {
  test('not by any address of a hold, whatever it says', async () => {
    const id = await stage.hold()
    const before = await stage.read(id)
    const { csrf = '', view = '' } = await ana.fields(`/holds/${id}`)
    const query = new URLSearchParams({ csrf, view, verdict: 'approve', _method: 'POST' })
    for (const path of ['', '/approve', '/deny', '/revoke', '/resolve']) {
      await ana.visit(`${stage.url}/holds/${id}${path}?${query}`)
      await fetch(`${stage.url}/api/holds/${id}${path}?${query}`, {
        headers: { ...cookieOf(ana), 'x-csrf-token': csrf },
      })
      await fetch(`${stage.url}/holds/${id}${path}`, {
        headers: { ...cookieOf(ana), 'x-http-method-override': 'POST', 'x-csrf-token': csrf },
      })
    }
    expect(await stage.read(id)).toEqual({ ...before, now: expect.any(Number) })
    expect(stage.deciders).toEqual([])
  })
})

describe('a post from a browser', () => {
  type Sent = { readonly form?: object; readonly headers?: object }
  const cases: [string, (csrf: string) => Sent][] = [
    ['without a token', () => ({ form: { csrf: '' } })],
    ['with a token that is not ours', () => ({ form: { csrf: 'A'.repeat(43) } })],
    ['from another site', () => ({ headers: { origin: 'https://evil.example' } })],
    ['from nowhere (a sandboxed frame)', () => ({ headers: { origin: 'null' } })],
    ['from another port', () => ({ headers: { origin: 'http://127.0.0.1:1' } })],
    ['that the browser calls cross-site', () => ({ headers: { 'sec-fetch-site': 'cross-site' } })],
    ['that the browser calls same-site', () => ({ headers: { 'sec-fetch-site': 'same-site' } })],
    ['that the browser calls typed in', () => ({ headers: { 'sec-fetch-site': 'none' } })],
    ['that says nothing about where it comes from', () => ({ headers: { origin: undefined } })],
  ]

  const post = async (one: Browser, id: string, sent: Sent, by: 'form' | 'api'): Promise<Response> => {
    const { csrf = '', view = '' } = await one.fields(`/holds/${id}`)
    const form = { csrf, view, ...sent.form }
    const given = { origin: stage.url, ...cookieOf(one), ...sent.headers }
    const headers = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
      [name: string]: string
    }
    return by === 'form'
      ? anon(`/holds/${id}/approve`, { method: 'POST', headers, body: new URLSearchParams(form) })
      : anon(`/api/holds/${id}/approve`, {
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/json', 'x-csrf-token': form.csrf },
          body: JSON.stringify({ view }),
        })
  }

  test.each(cases)('%s decides nothing', async (_, sent) => {
    const id = await stage.hold()
    for (const by of ['form', 'api'] as const) {
      const answer = await post(ana, id, sent(''), by)
      expect([answer.status, (await stage.read(id)).state]).toEqual([403, 'pending'])
    }
  })

  test("with another session's token decides nothing", async () => {
    const id = await stage.hold()
    const other = await (await stage.browserOf(people.ana)).fields(`/holds/${id}`)
    expect((await post(ana, id, { form: { csrf: other.csrf } }, 'form')).status).toBe(403)
    expect((await stage.read(id)).state).toBe('pending')
  })

  test.each(['form', 'api'] as const)('by %s with everything right decides', async by => {
    const id = await stage.hold()
    const answer = await post(ana, id, { headers: { 'sec-fetch-site': 'same-origin' } }, by)
    expect(answer.status).toBe(by === 'form' ? 303 : 200)
    expect((await stage.read(id)).state).toBe('approved')
  })

  test('that never ends is not read to its end', async () => {
    const id = await stage.hold()
    const chunk = new TextEncoder().encode('comment=x'.repeat(1_000))
    let chunks = 0
    const body = new ReadableStream({
      pull(controller) {
        chunks += 1
        if (chunks > 2_000) controller.close()
        else controller.enqueue(chunk)
      },
    })
    const headers = { 'content-type': 'application/x-www-form-urlencoded', origin: stage.url, ...cookieOf(ana) }
    const answer = await anon(`/holds/${id}/approve`, { method: 'POST', headers, body, duplex: 'half' } as RequestInit)
    expect(answer.status).toBe(413)
  })

  test.each<[string, string, string, number]>([
    ['a form of another kind', 'text/plain', 'csrf=x', 415],
    ['a multipart form', 'multipart/form-data; boundary=x', '--x--', 415],
    ['a field twice', 'application/x-www-form-urlencoded', 'csrf=a&csrf=b', 400],
    ['a field nobody knows', 'application/x-www-form-urlencoded', 'csrf=a&admin=1', 400],
    ['too much', 'application/x-www-form-urlencoded', `comment=${'x'.repeat(70_000)}`, 413],
    ['a comment that is too long', 'application/x-www-form-urlencoded', `comment=${'x'.repeat(2_001)}`, 400],
  ])('with %s is refused', async (_, type, body, status) => {
    const id = await stage.hold()
    const headers = { 'content-type': type, origin: stage.url, ...cookieOf(ana) }
    expect((await anon(`/holds/${id}/approve`, { method: 'POST', headers, body })).status).toBe(status)
  })
})

describe('a verdict on the page', () => {
  test('leads back to the hold, which says what became of it', async () => {
    const id = await stage.hold({ customer: 'cus-leads-back' })
    const fields = await ana.fields(`/holds/${id}`)
    const after = await ana.visit(`${stage.url}/holds/${id}/deny`, { form: { ...fields, comment: 'Not this one.' } })
    expect([after.status, after.url]).toEqual([200, `${stage.url}/holds/${id}`])
    expect(words(after.text)).toMatch(/Denied.*Ana Ruiz denied.*Not this one\./)
    expect((await stage.read(id)).state).toBe('denied')
    expect(words((await ana.visit(`${stage.url}/history`)).text)).toContain('cus-leads-back')
  })

  test('that comes too late shows why, the hold as it is, and keeps the words', async () => {
    const id = await stage.hold()
    const fields = await ana.fields(`/holds/${id}`)
    const dora = await stage.browserOf(people.dora)
    await dora.visit(`${stage.url}/holds/${id}/approve`, { form: await dora.fields(`/holds/${id}`) })
    const late = await ana.visit(`${stage.url}/holds/${id}/deny`, { form: { ...fields, comment: 'mine' } })
    expect(late.status).toBe(409)
    expect(words(late.text)).toContain('This hold is already decided')
    expect((await stage.read(id)).state).toBe('approved')
  })

  test('for another view than the one that was shown is refused, and the comment is kept', async () => {
    const id = await stage.hold()
    const { csrf = '' } = await ana.fields(`/holds/${id}`)
    const answer = await ana.visit(`${stage.url}/holds/${id}/approve`, {
      form: { csrf, view: 'other', comment: '<b>mine</b>' },
    })
    expect(answer.status).toBe(409)
    expect(answer.text).toContain('&lt;b&gt;mine&lt;/b&gt;</textarea>')
    expect((await stage.read(id)).state).toBe('pending')
  })

  test('is not offered to who is behind the call, who is told why and may withdraw it', async () => {
    const id = await stage.hold()
    const page = await ben.visit(`${stage.url}/holds/${id}`)
    expect(words(page.text)).toContain('You are one of the people behind this call')
    expect(page.text).not.toContain('>Approve<')
    const tried = await ben.visit(`${stage.url}/holds/${id}/approve`, { form: hidden(page.text) })
    expect([tried.status, (await stage.read(id)).state]).toEqual([403, 'pending'])
    await ben.visit(`${stage.url}/holds/${id}/revoke`, { form: { csrf: hidden(page.text).csrf ?? '' } })
    expect((await stage.read(id)).state).toBe('cancelled')
  })

  test('is not offered to an auditor, who may read', async () => {
    const id = await stage.hold()
    const auditor = await stage.browserOf(cleo)
    const page = await auditor.visit(`${stage.url}/holds/${id}`)
    expect(words(page.text)).toContain('You may read this call, but not decide it.')
    expect(page.text).not.toContain('>Approve<')
    expect((await auditor.visit(`${stage.url}/audit`)).status).toBe(200)
    expect((await ana.visit(`${stage.url}/audit`)).status).toBe(403)
  })

  test('takes an approval back', async () => {
    const id = await stage.hold()
    await ana.visit(`${stage.url}/holds/${id}/approve`, { form: await ana.fields(`/holds/${id}`) })
    const page = await ana.visit(`${stage.url}/holds/${id}`)
    expect(page.text).toContain('>Revoke<')
    await ana.visit(`${stage.url}/holds/${id}/revoke`, { form: hidden(page.text) })
    expect((await stage.read(id)).state).toBe('revoked')
  })
})

describe('what somebody else wrote', () => {
  const evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>\'&amp;'

  test('is text on every page, whatever is in it', async () => {
    const id = await stage.hold({
      customer: evil,
      reason: `${evil} \u202ereversed\u200b`,
      caller: { subject: `agent-7${evil}\u202e`, name: evil, client: evil, email: evil },
      target: `/v1/refunds?q=${evil.replaceAll(/[" <>]/g, '_')}`,
      headers: [['x-note', evil]],
    })
    const dora = await stage.browserOf(people.dora)
    const auditor = await stage.browserOf(cleo)
    const shown = [await dora.visit(`${stage.url}/`), await dora.visit(`${stage.url}/holds/${id}`)]
    await dora.visit(`${stage.url}/holds/${id}/deny`, {
      form: { ...(await dora.fields(`/holds/${id}`)), comment: evil },
    })
    shown.push(await dora.visit(`${stage.url}/history`), await dora.visit(`${stage.url}/holds/${id}`))
    shown.push(await auditor.visit(`${stage.url}/audit`))
    shown.push(await dora.visit(`${stage.url}/history?${new URLSearchParams({ caller: evil, rule: evil })}`))
    for (const { status, text } of shown) {
      expect(status).toBe(200)
      expect(text).toContain('&lt;script&gt;')
      expect(text).not.toMatch(/<script>|<img src=x/)
      expect(text).not.toMatch(/[\u202e\u200b]/)
    }
    expect(shown[1]?.text).toContain('\\u{202e}reversed')
    expect(words(shown[1]?.text ?? '')).toContain("The agent's own words. Nobody has checked them.")
  })

  test('is not a header of ours, nor a way out of one', async () => {
    const answer = await anon(`/login?to=${encodeURIComponent('/\r\nset-cookie: a=b')}`)
    expect(answer.headers.get('set-cookie')).not.toContain('a=b')
  })
})

describe('the hold page', () => {
  test('says things in the order in which they should be read', async () => {
    const id = await stage.hold({
      reason: 'Because of reasons.',
      customer: 'cus-order',
      headers: [['x-api-key', 'sk_live_0123456789abcdefghij']],
    })
    const text = words((await ana.visit(`${stage.url}/holds/${id}`)).text)
    const digest = (await stage.read(id)).head.digest
    const order = [
      'Refund 250 EUR to cus-order',
      'On behalf of ben@acme.test',
      'Because of reasons.',
      'Held by refunds',
      'POST /v1/refunds',
      'hidden',
      digest,
      '0 of 1 vote',
      'left',
      'Approve',
    ]
    const places = order.map(part => text.indexOf(part, text.indexOf('Waiting')))
    expect(places).not.toContain(-1)
    expect(places).toEqual(places.toSorted((one, other) => one - other))
    expect(text).not.toContain('sk_live_0123456789')
    expect(text).toMatch(/Approve, 1 value unseen/)
  })

  test('counts blank lines instead of letting them push something out of sight', async () => {
    const id = await stage.hold({ body: `{"amount": 250,${'\n'.repeat(400)}"customer": "cus-low"}` })
    const { text } = await ana.visit(`${stage.url}/holds/${id}`)
    expect(text.split('<span class="line"').length).toBeLessThan(20)
    expect(text).toContain('cus-low')
  })

  test('is made in a time that grows with the lines of a body, not with their square', async () => {
    const answer = await fetch(`${stage.url}/api/holds/${await stage.hold()}`, { headers: cookieOf(ana) })
    const view = (await answer.json()) as HoldView
    const body = { kind: 'shown', type: 'text/plain', size: 256_000, text: 'a\n'.repeat(128_000) } as const
    const reader = { csrf: '', auditor: false } as Reader
    const began = process.cpuUsage()
    const hold = { ...view, request: { ...view.request, body } }
    const page = await holdPage({ hold, beside: { lately: [], same: [] }, reader, now: stage.now() })
    const { user, system } = process.cpuUsage(began)
    expect(String(page).split('<span class="line"')).toHaveLength(128_002)
    // Of the order of a tenth of this; the square of it is half a minute.
    expect(user + system).toBeLessThan(6_000_000)
  })

  test('of somebody who may not see it is as unknown as one that does not exist', async () => {
    const id = await stage.hold()
    const stranger = await startConsoleFor({ groups: ['nobody'] })
    const bodies = await Promise.all(
      [id, 'h_AAAAAAAAAAAAAAAAAAAAAA', 'x', 'a'.repeat(300), '..%2f..'].map(async one => {
        const { status, text } = await stranger.visit(`${stage.url}/holds/${one}`)
        return [status, words(text)]
      }),
    )
    expect(new Set(bodies.map(body => JSON.stringify(body))).size).toBe(1)
    expect(bodies[0]?.[0]).toBe(404)
  })

  const startConsoleFor = async (more: { readonly groups: string[] }): Promise<Browser> => {
    Object.assign(cleo, { groups: more.groups })
    const one = await stage.browserOf(cleo)
    Object.assign(cleo, { groups: ['security'] })
    return one
  }
})

describe('the API', () => {
  let token: string
  beforeAll(async () => {
    token = await signIn(stage.idp.issuer, people.dora)
  })
  const api = async (path: string, options: RequestInit = {}) => {
    const { headers, ...rest } = options
    const answer = await anon(`/api${path}`, { ...rest, headers: { authorization: `Bearer ${token}`, ...headers } })
    return {
      status: answer.status,
      headers: answer.headers,
      json: (await answer.json()) as { [name: string]: unknown },
    }
  }
  const json = (body: unknown): RequestInit => ({
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

  test('lists, shows and decides', async () => {
    const id = await stage.hold()
    const { holds } = (await api('/holds?status=pending&limit=200')).json as { holds: { id: string }[] }
    expect(holds.map(hold => hold.id)).toContain(id)
    const shown = await api(`/holds/${id}`)
    expect(shown.json).toMatchObject({ id, status: 'pending', you: { may_decide: true } })
    const done = await api(`/holds/${id}/approve`, json({ view: shown.json.view, comment: 'ok' }))
    expect([done.status, done.json.status]).toEqual([200, 'approved'])
    expect(stage.deciders.at(-1)).toMatchObject({ login: 'idp', subject: 'dora', via: 'api', interactive: true })
    expect((await api(`/holds/${id}/deny`, json({}))).json.code).toBe('already_decided')
    expect((await api(`/holds/${id}/revoke`, json({ comment: 'no' }))).json.status).toBe('revoked')
    expect((await api(`/holds/${id}/resolve`, json({ outcome: 'failed', comment: 'x' }))).json.code).toBe(
      'already_decided',
    )
    expect((await api('/rules')).json).toMatchObject({ rules: [{ name: 'refunds' }] })
    expect((await api('/audit')).json.code).toBe('not_approver')
  })

  test('pages through a list', async () => {
    await Promise.all([stage.hold(), stage.hold(), stage.hold()])
    const first = (await api('/holds?limit=2')).json as { holds: { id: string }[]; next: string }
    const second = (await api(`/holds?limit=2&after=${encodeURIComponent(first.next)}`)).json as {
      holds: { id: string }[]
    }
    expect(first.holds).toHaveLength(2)
    expect(second.holds.map(hold => hold.id)).not.toContain(first.holds[0]?.id)
  })

  test('a cursor names no hold, and belongs to the reviewer and the list it was given for', async () => {
    const kept = await Promise.all([stage.hold(), stage.hold(), stage.hold()])
    const { next } = (await api('/holds?limit=1')).json as { next: string }
    expect(next).toMatch(/^[\w.-]+$/)
    const inside = next.split('.').map(part => Buffer.from(part, 'base64url').toString('latin1'))
    for (const id of kept) expect([next, ...inside].join(' ')).not.toContain(id)
    const others = { headers: { authorization: `Bearer ${await signIn(stage.idp.issuer, people.ana)}` } }
    const answers = [
      await api(`/holds?limit=1&after=${next}`),
      await api(`/holds?limit=1&after=${next}`, others),
      await api(`/holds?limit=1&status=closed&after=${next}`),
      await api(`/holds?limit=1&after=${next.slice(0, -4)}AAAA`),
      await api(`/holds?limit=1&after=${encodeURIComponent(`000000000000000:${kept[0]}`)}`),
    ]
    expect(answers.map(answer => answer.status)).toEqual([200, 400, 400, 400, 400])
    expect(answers[1]?.json).toMatchObject({ code: 'malformed', detail: expect.stringContaining('"after"') })
  })

  const invisible = [
    '',
    '  ',
    '\u200b',
    '\u00a0 \u2060',
    '\u202e\u2066',
    '\u3164',
    '\u2800',
    '\u0301',
    '\u{e0041}',
    '\u0000',
  ]

  test.each(invisible)('a comment in which nothing shows is none: %#', async comment => {
    const [first] = stage.settings.rules
    const before = stage.settings
    const approve = first?.approve.map(one => ({ ...one, comment: 'required' as const }))
    stage.settings = { ...before, rules: [{ ...first, approve }] as typeof before.rules }
    const id = await stage.hold()
    const bare = await api(`/holds/${id}/approve`, json({ comment }))
    const state = (await stage.read(id)).state
    const said = await api(`/holds/${id}/approve`, json({ comment: `${comment}\u2705${comment}` }))
    stage.settings = before
    expect([bare.status, bare.json.code, state, said.status]).toEqual([400, 'malformed', 'pending', 200])
  })

  test.each<[string, string, RequestInit, number, string]>([
    ['an empty view', '/approve', json({ view: '' }), 400, 'malformed'],
    ['a view that is null', '/deny', json({ view: null }), 400, 'malformed'],
    ['no type', '/approve', { method: 'POST', body: new Uint8Array(2) }, 415, 'unreadable_body'],
    ['a form', '/approve', { method: 'POST', body: new URLSearchParams() }, 415, 'unreadable_body'],
    ['no JSON', '/approve', json('{'), 400, 'malformed'],
    ['a list', '/approve', json([]), 400, 'malformed'],
    ['null', '/approve', json('null'), 400, 'malformed'],
    ['a member twice', '/deny', json('{"comment":"a","comment":"b"}'), 400, 'malformed'],
    ['a member nobody knows', '/approve', json({ reviewer: 'ana' }), 400, 'malformed'],
    ['a prototype', '/approve', json('{"__proto__":{"view":"x"}}'), 400, 'malformed'],
    ['a comment that is no text', '/approve', json({ comment: { isEscaped: true } }), 400, 'malformed'],
    ['too much', '/approve', json({ comment: 'x'.repeat(70_000) }), 413, 'body_too_large'],
    ['no outcome', '/resolve', json({ comment: 'x' }), 400, 'malformed'],
    ['another outcome', '/resolve', json({ outcome: 'perhaps' }), 400, 'malformed'],
  ])('refuses a post with %s', async (_, verb, options, status, code) => {
    const id = await stage.hold()
    const answer = await api(`/holds/${id}${verb}`, options)
    expect([answer.status, answer.json.code]).toEqual([status, code])
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect((await stage.read(id)).state).toBe('pending')
  })

  test.each([
    '/holds?status=lost',
    '/holds?limit=0',
    '/holds?limit=201',
    '/holds?limit=1e2',
    '/holds?limit=5&limit=6',
    '/holds?colour=red',
    `/holds?caller=${'x'.repeat(300)}`,
    '/audit?after=1&before=2',
    '/audit?after=-1',
    '/rules?x=1',
  ])('refuses %s and says why', async path => {
    const { status, json } = await api(path)
    expect([status, json.code]).toEqual([400, 'malformed'])
    expect(json.detail).toMatch(/"\w+"/)
  })

  test.each(['access_token', 'token', 'authorization'])('takes no token as ?%s', async name => {
    const answer = await anon(`/api/holds?${name}=${token}`)
    expect(answer.status).toBe(401)
    const both = await api(`/holds?${name}=${token}`)
    expect(both.status).toBe(400)
    expect(JSON.stringify(both.json)).not.toContain(token)
  })
})

describe('trouble inside', () => {
  const secret = 'db password is hunter2'
  const broken = (thrown: () => Error) =>
    startConsole({
      desk: desk => ({ ...desk, list: () => Promise.reject(thrown()), note: desk.note }),
    })

  test('is told to nobody', async () => {
    const one = await broken(() => new Error(secret))
    const visitor = await one.browserOf(people.ana).catch(() => undefined)
    const headers = { authorization: `Bearer ${await signIn(one.idp.issuer, people.ana)}` }
    const answers = [await fetch(`${one.url}/api/holds`, { headers }), await visitor?.visit(`${one.url}/`)]
    for (const answer of answers) {
      expect(answer?.status).toBe(500)
      expect(typeof answer?.text === 'string' ? answer.text : await answer?.text()).not.toContain('hunter2')
    }
    await one.close()
  })

  test('of the store is 503', async () => {
    const one = await broken(() => new HoldpointError('store_unavailable', 'Try again.', { retryAfterS: 1 }))
    const headers = { authorization: `Bearer ${await signIn(one.idp.issuer, people.ana)}` }
    const answer = await fetch(`${one.url}/api/holds`, { headers })
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    await one.close()
  })

  test('of the audit log lets nobody in', async () => {
    const one = await startConsole({
      desk: desk => ({ ...desk, note: () => Promise.reject(new HoldpointError('audit_unavailable')) }),
    })
    await expect(one.browserOf(people.ana)).rejects.toThrow('503')
    expect(await one.store.shelf.list('session:')).toEqual([])
    await one.close()
  })
})
