// What reviewers see and what they never see: every row of tables/mask.json and tables/canaries.json, and the properties behind them.
import { createHmac } from 'node:crypto'
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { secretName } from '../src/mask/names.ts'
import { freeText } from '../src/mask/paths.ts'
import { masker } from '../src/mask/values.ts'
import { certainSecretIn, makeView, maskText, printable } from '../src/mask.ts'
import type { Action, Body, Header, HeldCall } from '../src/nouns.ts'
import type { Rule } from '../src/settings.ts'
import type { View } from '../src/views.ts'
import canaries from './tables/canaries.json' with { type: 'json' }
import table from './tables/mask.json' with { type: 'json' }

const fingerprint = (value: string): string => createHmac('sha256', 'rule').update(value).digest('hex').slice(0, 8)

type Given = {
  readonly method?: string
  readonly target?: string
  readonly paths?: readonly string[]
  readonly headers?: readonly Header[]
  readonly body?: string | Buffer
  readonly reason?: string
  readonly action?: Partial<Action>
  readonly read?: Body
  readonly rules?: readonly Partial<Rule>[]
}

const viewOf = (given: Given): View => {
  const held = {
    version: 1,
    call: { method: given.method ?? 'POST' },
    upstreamTarget: given.target ?? '/v1/things',
    paths: given.paths ?? [],
    headers: given.headers ?? [],
    salt: '',
    ...(given.reason === undefined ? {} : { reason: given.reason }),
    body: Buffer.from(given.body ?? '').toString('base64'),
  } as unknown as HeldCall
  const action: Action = { name: 'http:POST', resource: '/v1/things', access: 'write', fields: {}, ...given.action }
  const rules = (given.rules ?? [{}]).map(
    rule => ({ name: 'r', where: 'rules.yaml:1', show: [], mask: [], ...rule }) as unknown as Rule,
  )
  return makeView({ held, action, rules, body: given.read ?? { kind: 'unread' }, fingerprint })
}

const json: Header = ['Content-Type', 'application/json']
const form: Header = ['Content-Type', 'application/x-www-form-urlencoded']
const plain: Header = ['Content-Type', 'text/plain']

const bodyText = (view: View): string => (view.body.kind === 'shown' ? view.body.text : '')

describe('the table', () => {
  type Row = {
    readonly why: string
    readonly place: string
    readonly name: string | readonly string[]
    /** Instead of a name: one row for each. */
    readonly names?: readonly string[]
    readonly value?: unknown
    readonly parts?: readonly string[]
    readonly shown?: boolean
    readonly kind?: string
    readonly part?: string | readonly string[]
    readonly unseen?: boolean
    readonly path?: string
    readonly hides?: string | readonly string[]
    readonly mask?: readonly string[]
    readonly show?: readonly string[]
    readonly summary?: string
  }

  const join = (value: string | readonly string[]): string => (typeof value === 'string' ? value : value.join(''))
  // Texts that look like a secret are written in parts, so that no scanner takes the table for a leak.
  const whole = (row: Row): unknown => row.parts?.join('') ?? row.value

  const given = (row: Row): Given => {
    const value = whole(row)
    const name = join(row.name)
    const text = String(value)
    const rules = [{ mask: row.mask ?? [], show: row.show ?? [], summary: row.summary }]
    switch (row.place) {
      case 'json':
        return { rules, headers: [json], body: JSON.stringify({ [name]: value }) }
      case 'form':
        return { rules, headers: [form], body: `${name}=${encodeURIComponent(text)}` }
      case 'query':
        return { rules, target: `/v1/things?${name}=${encodeURIComponent(text)}` }
      case 'header':
        return { rules, headers: [[name, text]] }
      case 'reason':
        return { rules, reason: text }
      default:
        return { rules, headers: [plain], body: text }
    }
  }

  const pathOf = (row: Row): string => {
    const name = join(row.name)
    if (row.place === 'json') return `json./${printable(name).replaceAll('~', '~0').replaceAll('/', '~1')}`
    return `${row.place}.${row.place === 'header' ? name.toLowerCase() : decodeURIComponent(name)}`
  }

  const rows = (table as unknown as readonly Row[]).flatMap(row => row.names?.map(name => ({ ...row, name })) ?? [row])

  it.each(rows.map((row, index) => [`${index + 1}. ${row.why}: ${join(row.name)}`, row] as const))('%s', (_, row) => {
    const view = viewOf(given(row))
    const seen = JSON.stringify(view)
    const value = whole(row)
    if (row.shown) {
      expect(seen).not.toContain('‹')
      expect([view.hidden, view.unseen]).toEqual([0, []])
      const text = typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? '')
      const quoted = row.place === 'text' ? text : JSON.stringify(text).slice(1, -1)
      const surfaces = [bodyText(view), view.reason ?? '', decodeURIComponent(view.target), ...view.headers.flat()]
      const compact = surfaces.map(surface => surface.replace(/\s+/g, ''))
      expect(compact.join(' ')).toContain(
        (row.place === 'json' && typeof value !== 'string' ? text : quoted).replace(/\s+/g, ''),
      )
      return
    }
    const leaf = row.part ?? (typeof value === 'object' || row.hides !== undefined ? 'aa1-bb2' : String(value))
    const hidden = join(row.hides !== undefined && row.part === undefined ? row.hides : leaf)
    expect(seen).toContain(`‹${row.kind} `)
    if (row.kind !== 'encoded' && (row.hides === undefined || row.part !== undefined))
      expect(seen).toContain(`‹${row.kind} ${hidden.length}, #${fingerprint(hidden)}›`)
    for (const surface of [bodyText(view), view.reason ?? '', view.target, view.line, ...view.headers.flat()]) {
      expect(decodeURIComponent(surface)).not.toContain(hidden)
      expect(surface).not.toContain(JSON.stringify(hidden).slice(1, -1))
      if (row.hides !== undefined) expect(surface).not.toContain(join(row.hides))
    }
    expect(view.unseen).toEqual(row.unseen ? [row.path ?? pathOf(row)] : [])
  })
})

describe('canaries', () => {
  const canary = 'hp-canary-q7Zk2v'

  type Row = {
    readonly where: string
    readonly header?: readonly [string, string]
    readonly query?: string | { readonly [name: string]: string }
    readonly type?: string
    readonly body?: string
    readonly encoding?: string
    readonly plain?: boolean
    readonly after?: string
    readonly reason?: string
    readonly wrap?: readonly string[]
    readonly summary?: string
    readonly mask?: readonly string[]
    readonly control?: boolean
  }

  const wrappers: { readonly [name: string]: (text: string) => string } = {
    base64: text => Buffer.from(text).toString('base64'),
    base64url: text => Buffer.from(text).toString('base64url'),
    string: text => JSON.stringify({ remark: text }),
  }
  const encoders: { readonly [name: string]: (text: string) => Buffer } = {
    gzip: text => gzipSync(text),
    deflate: text => deflateSync(text),
    br: text => brotliCompressSync(text),
    zstd: text => zstdCompressSync(text),
  }

  const plant = (row: Row): Given => {
    const put = (text: string): string =>
      (row.wrap ?? []).reduce((inner, name) => wrappers[name]?.(inner) ?? inner, text.replaceAll('§', canary))
    const pairs = typeof row.query === 'object' ? Object.entries(row.query) : []
    const query =
      typeof row.query === 'string'
        ? put(row.query)
        : pairs.map(([name, value]) => `${name}=${encodeURIComponent(put(value))}`).join('&')
    const body = put(row.body ?? '')
    const encode = row.plain || row.encoding === undefined ? undefined : encoders[row.encoding.split(',')[0] ?? '']
    return {
      target: query === '' ? '/v1/things' : `/v1/things?${query}`,
      headers: [
        ...(row.header === undefined ? [] : [[row.header[0], put(row.header[1])] as const]),
        ...(row.type === undefined ? [] : [['Content-Type', row.type] as const]),
        ...(row.encoding === undefined ? [] : [['Content-Encoding', row.encoding] as const]),
      ],
      body: Buffer.concat([
        encode?.(body) ?? Buffer.from(body),
        Buffer.from((row.after ?? '').replaceAll('§', canary)),
      ]),
      ...(row.reason === undefined ? {} : { reason: put(row.reason) }),
      rules: [{ summary: row.summary, mask: row.mask ?? [] }],
    }
  }

  const rows = canaries as unknown as readonly Row[]

  it.each(rows.map(row => [row.where, row] as const))('%s hides it', (_, row) => {
    const view = viewOf(plant(row))
    expect(JSON.stringify(view)).not.toContain(canary)
    expect(JSON.stringify(view)).not.toContain(Buffer.from(canary).toString('base64').slice(4, 16))
    expect(JSON.stringify(view)).not.toContain(encodeURIComponent(canary).slice(0, 12))
    const opaque = view.body.kind === 'opaque' || (view.body.kind === 'shown' && view.body.unshown !== undefined)
    expect(opaque || view.unseen.length > 0 || row.reason !== undefined || row.mask !== undefined).toBe(true)
  })

  it.each(rows.filter(row => row.control !== false).map(row => [row.where, row] as const))(
    '%s shows it under an ordinary name',
    (_, row) => {
      const harmless = JSON.parse(JSON.stringify(row).replaceAll(/password/gi, 'remark')) as Row
      const view = viewOf(plant(harmless))
      expect(JSON.stringify(view)).toContain(canary)
      expect(view.unseen).toEqual([])
    },
  )

  it('is not found under a secret name at any depth, whatever surrounds it', () => {
    const name = fc.constantFrom(
      'password',
      'clientSecret',
      'api-key',
      'X_AUTH_TOKEN',
      'credentials',
      'Session-Id',
      'pin',
    )
    const planted = fc.letrec(tie => ({
      leaf: fc.constantFrom<unknown>(canary, [canary], { a: canary }, JSON.stringify({ b: [canary] })),
      node: fc.oneof(
        { maxDepth: 6 },
        fc.tuple(name, tie('leaf')).map(([key, leaf]) => ({ [key]: leaf })),
        fc.tuple(fc.string(), tie('node'), fc.json()).map(([key, node, other]) => ({ other, [key]: node })),
        fc.tuple(tie('node'), fc.jsonValue()).map(([node, other]) => [other, node]),
        tie('node').map(node => ({ inner: JSON.stringify(node) })),
        tie('node').map(node => Buffer.from(JSON.stringify(node)).toString('base64')),
      ),
    })).node
    fc.assert(
      fc.property(planted, document => {
        const view = viewOf({ headers: [json], body: JSON.stringify(document), rules: [{ summary: 'All of {json.}' }] })
        expect(JSON.stringify(view)).not.toContain(canary)
      }),
      { numRuns: 300 },
    )
  })
})

describe('certainSecretIn', () => {
  const secrets: readonly (readonly [string, string])[] = [
    [`/v1/keys/${'AKIA'}IOSFODNN7EXAMPLE`, 'aws key'],
    [`/x?k=${'ghp_'}${'a1'.repeat(18)}`, 'github token'],
    [`/x?k=%67hp_${'a1'.repeat(18)}`, 'github token'],
    [`/x?k=%2567hp_${'a1'.repeat(18)}`, 'github token'],
    [`/x?k=${'whsec_'}a1B2c3D4e5F6+1B2c3D4e5F6a1B2`, 'stripe key'],
    [`/x?a%3D${'ghp_'}${'a1'.repeat(18)}`, 'github token'],
    [`/x?t=${'eyJhbGciOiJub25lIn0'}.${'eyJzdWIiOiJ4In0'}.`, 'jwt'],
    [`/x?k=-----BEGIN+EC+${'PRIVATE'}+KEY-----%0AMHc`, 'private key'],
    [`/x?k=-----BEGIN%20${'PRIVATE'}%20KEY-----`, 'private key'],
  ]
  it.each(secrets)('finds one in %s', (target, kind) => {
    expect(certainSecretIn(target)).toBe(kind)
  })

  it.each([
    '/v1/models/sk-learn-model-2024-v1-final',
    '/v1/objects/8f14e45f-ceea-467a-9c36-dedd4bea2543/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    '/api/v1/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIzfQ',
    '/v1/customers/cus_NffrFeUfNV2Hib/charges/ch_3MmlLrLkdIwHu7ix0snN0B15',
    '/v1/users?email=ana%40acme.example&token=abc',
    '/v1/x?to=https://app:secret@db.internal/',
    '/AKIA/ASIAN-MARKETS?k=AKIA1234',
    '/certs?pem=-----BEGIN+CERTIFICATE-----',
    '/%zz%',
  ])('finds none in %s', target => {
    expect(certainSecretIn(target)).toBeUndefined()
  })
})

describe('the line', () => {
  const body =
    '{"amount":12345678901234567890,"to":["cus_1","cus_2"],"deep":{"a":[{"b":1},{"b":null}]},"password":"hunter2","t":1,"t":2}'
  const line = (summary: string | undefined, extra: Given = {}): string =>
    viewOf({
      target: '/v1/refunds?q=a%20b&q=c',
      headers: [json, ['X-Env', 'prod']],
      body,
      rules: [{ summary }],
      ...extra,
    }).line

  it.each([
    [undefined, 'POST /v1/refunds'],
    ['Refund {json./amount} to {json./to/1}', 'Refund 12345678901234567890 to cus_2'],
    ['All: {json./to/*}; {json./deep/a/*/b}; {json./t}', 'All: cus_1, cus_2; 1, null; 1, 2'],
    ['{json./deep}', '{"a":[{"b":1},{"b":null}]}'],
    [
      '{query.q} {header.x-env} {header.X-Env} {method} {path} {path.2} {action} {resource}',
      'a b, c prod prod POST /v1/refunds refunds http:POST /v1/things',
    ],
    [
      '{json./nope} {query.nope} {header.nope} {form.to} {path.9} {nonsense} {}',
      '‹absent› ‹absent› ‹absent› ‹absent› ‹absent› ‹absent› ‹absent›',
    ],
    ['a\nb\u202e', 'a\\u{a}b\\u{202e}'],
  ])('%j', (summary, expected) => {
    expect(line(summary)).toBe(expected)
  })

  it('says the action and resource of kinds other than http', () => {
    expect(viewOf({ action: { name: 'iam:AttachRolePolicy', resource: 'arn:aws:iam::1:role/x' } }).line).toBe(
      'iam:AttachRolePolicy arn:aws:iam::1:role/x',
    )
  })

  it('reads the canonical path', () => {
    expect(line('{path}', { target: '/%761/refunds', paths: ['/v1/refunds'] })).toBe('/v1/refunds')
  })

  it('is printable', () => {
    expect(line('{json./a}', { body: JSON.stringify({ a: 'x\u202e\n' }) })).toBe('x\\u{202e}\\u{a}')
    expect(viewOf({ action: { name: 'x\u202e', resource: 'y\u2066' } }).line).toBe('x\\u{202e} y\\u{2066}')
  })

  it('takes the first rule that has a summary', () => {
    expect(line('', { rules: [{}, { summary: 'second' }, { summary: 'third' }] })).toBe('second')
  })

  it('fills in what each of several lines says', () => {
    const body = '{"a":1}\n{"a":"x"}\n{"card":"4111111111111111"}\n[{"a":2}]\n'
    const extra: Given = { headers: [['Content-Type', 'application/x-ndjson']], body }
    expect(line('{json./a} {json./0/a} {json./b}', extra)).toBe('1, x 2 ‹absent›')
    const masked = { ...extra, rules: [{ summary: '{json./a} {json./0/a}', mask: ['json./a'] }] }
    expect(viewOf(masked).line).toBe(
      `‹masked 1, #${fingerprint('1')}›, ‹masked 1, #${fingerprint('x')}› ‹masked 1, #${fingerprint('2')}›`,
    )
  })

  it('fills in a form in parts, and what is a file is a mark', () => {
    const disposition = 'Content-Disposition: form-data; '
    const part = (rest: string): string => `--7Q\r\n${disposition}${rest}\r\n`
    const extra: Given = {
      headers: [['Content-Type', 'multipart/form-data; boundary=7Q']],
      body: `${part('name="to"\r\n\r\nana')}${part('name="to"\r\n\r\nben')}${part('name="doc"; filename="x"\r\n\r\n\0')}--7Q--`,
    }
    expect(line('Pay {form.to} by {form.doc}', extra)).toBe(`Pay ana, ben by ‹binary 1, #${fingerprint('\0')}›`)
  })

  it('fills in a form', () => {
    const extra: Given = { headers: [form], body: 'to=ana&to=ben&x=%F0%9F%90%88' }
    expect(line('Pay {form.to} {form.x}', extra)).toBe('Pay ana, ben 🐈')
  })

  it('says so when the body was not understood', () => {
    expect(line('Pay {json./amount}', { read: { kind: 'unknown', why: 'a key is given twice', size: 1 } })).toBe(
      'Pay ‹unreadable›',
    )
    expect(line('Pay {json./amount}', { headers: [json, ['Content-Encoding', 'x']] })).toBe('Pay ‹unreadable›')
    const late = `{"pad":"${'x'.repeat(300_000)}","amount":1}`
    expect(line('Pay {json./amount}', { body: late })).toBe('Pay ‹unreadable›')
  })

  it('does not let one value push out another, and has at most 200 characters', () => {
    const long: Given = { body: JSON.stringify({ a: 'x'.repeat(500), b: 'the end' }) }
    const filled = line('{json./a} -> {json./b}', long)
    expect(filled).toMatch(/^x{79}… -> the end$/)
    expect(line('{json./a}{json./a}{json./a}', long)).toHaveLength(200)
    expect(viewOf({ target: `/${'x'.repeat(500)}` }).line).toHaveLength(200)
  })

  it('hides certain secrets, and shows what the summary names otherwise', () => {
    const jwt = `${'eyJhbGciOiJub25lIn0'}.${'eyJzdWIiOiJ4In0'}.`
    expect(line('{json./password} {json./t}', { body: JSON.stringify({ password: 'hunter2', t: jwt }) })).toBe(
      `hunter2 ‹jwt ${jwt.length}, #${fingerprint(jwt)}›`,
    )
  })
})

describe('the view', () => {
  it('never masks method, path and action', () => {
    const view = viewOf({
      method: 'PURGE',
      target: '/v1/users/ana@acme.example/password=hunter2/4111111111111111?x=1',
      action: { name: 'x:ana@acme.example', resource: 'token:4111111111111111' },
    })
    expect(view.method).toBe('PURGE')
    expect(view.target).toBe('/v1/users/ana@acme.example/password=hunter2/4111111111111111?x=1')
    expect(view.line).toBe('x:ana@acme.example token:4111111111111111')
  })

  it('keeps JSON as it was sent: order, doubles and every digit', () => {
    const text = '{"b":1.10,"a":100000000000000000001,"2":-0,"1":1e400,"a":"x","__proto__":null,"empty":{},"none":[]}'
    expect(bodyText(viewOf({ headers: [json], body: text }))).toBe(
      '{\n  "b": 1.10,\n  "a": 100000000000000000001,\n  "2": -0,\n  "1": 1e400,\n  "a": "x",\n  "__proto__": null,\n  "empty": {},\n  "none": []\n}',
    )
  })

  it('shows a form line by line and other text as it is', () => {
    expect(bodyText(viewOf({ headers: [form], body: 'a=1&b=x+y%0Az&&flag&c=' }))).toBe(
      'a = 1\nb = x y\\u{a}z\nflag = \nc = \n',
    )
    expect(bodyText(viewOf({ headers: [plain], body: 'SELECT 1;\n  -- two\n' }))).toBe('SELECT 1;\n  -- two\n')
    for (const body of ['{"nearly": json', '"x', '{"a":1} {"a":2}', '[1,]'])
      expect(bodyText(viewOf({ body }))).toBe(body)
  })

  describe('a form in parts', () => {
    const inParts = (...parts: readonly string[]): Given => ({
      headers: [['Content-Type', 'multipart/form-data; boundary=7Q']],
      body: Buffer.from(
        `${parts.map(part => `--7Q\r\nContent-Disposition: form-data; ${part}\r\n`).join('')}--7Q--\r\n`,
        'latin1',
      ),
    })

    it('shows every part, what it is called and what it holds; no value looks like another part', () => {
      const view = viewOf(
        inParts(
          'name="to"\r\n\r\nana\r\namount = 7\n',
          'name="doc"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\none\ntwo',
          'name="meta"\r\nContent-Type: application/json\r\n\r\n{"card":"4111111111111111"}',
          'name="none"; filename=""\r\n\r\n',
        ),
      )
      expect(bodyText(view)).toBe(
        [
          'to = ana\\u{d}',
          '    amount = 7',
          '    ',
          'doc (file "a.txt", text/plain, 7 bytes) = one',
          '    two',
          `meta (application/json, 27 bytes) = {"card":‹card 16, #${fingerprint('4111111111111111')}›}`,
          'none (file "", 0 bytes) = ',
          '',
        ].join('\n'),
      )
      expect(view.body).not.toHaveProperty('unshown')
    })

    it.each([
      ['bytes', 'name="doc"; filename="a"\r\n\r\n\xff', '\xff'],
      ['an image', 'name="doc"; filename="a"\r\nContent-Type: image/svg+xml\r\n\r\n<svg>', '<svg>'],
      ['a field with a NUL', 'name="doc"\r\n\r\n\0', '\0'],
    ])('shows %s as a mark, and says that not all is shown', (_, part, hidden) => {
      const view = viewOf(inParts(part, 'name="a"\r\n\r\n1'))
      expect(bodyText(view)).toMatch(/^doc.* = ‹binary \d+, #[0-9a-f]{8}›\na = 1\n$/)
      expect(bodyText(view)).toContain(`‹binary ${hidden.length}, #${fingerprint(hidden)}›`)
      expect(view.body).toMatchObject({ unshown: 'a part of it is not shown as text' })
      expect(view.hidden).toBe(hidden.length)
    })

    it('shows nothing of what has two readings', () => {
      const body = inParts('name="a"; name="b"\r\n\r\n1')
      expect(viewOf(body).body).toMatchObject({ kind: 'opaque', why: expect.stringContaining('Content-Disposition') })
    })

    it('masks a field by the rule, whatever its case, and is opaque to a mask that it cannot have', () => {
      const body = inParts('name="Customer"\r\n\r\nana')
      expect(bodyText(viewOf({ ...body, rules: [{ mask: ['form.customer'] }] }))).toMatch(/^Customer = ‹masked 3/)
      expect(viewOf({ ...body, rules: [{ mask: ['json./customer'] }] }).body.kind).toBe('opaque')
    })
  })

  it.each([
    ['image/png', Buffer.from([0x89, 0x50]), 'image/png is not shown as text'],
    ['application/grpc', Buffer.from('x'), 'application/grpc is not shown as text'],
    ['text/plain; charset=utf-16', Buffer.from('x'), 'its character set is utf-16'],
    ['text/plain', Buffer.from([0xff, 0xfe]), 'it is not text'],
    ['text/plain', Buffer.from('a\0b'), 'it is not text'],
    [
      'application/json',
      Buffer.from(`${'['.repeat(200)}${']'.repeat(200)}`),
      'its JSON is nested too deeply to be read',
    ],
  ])('does not show %s', (type, body, why) => {
    const view = viewOf({ headers: [['content-type', type]], body })
    expect(view.body).toEqual({ kind: 'opaque', type, size: body.length, why })
    expect([view.hidden, view.total]).toEqual([body.length + 0, body.length + type.length])
  })

  it('does not show a body of two types', () => {
    expect(viewOf({ headers: [json, plain], body: '1' }).body).toMatchObject({
      kind: 'opaque',
      why: 'it has several content types',
    })
  })

  it('unpacks within bounds, and counts the held bytes as the size', () => {
    const packed = deflateSync('{"a":1}')
    expect(viewOf({ headers: [json, ['Content-Encoding', 'deflate']], body: packed }).body).toEqual({
      kind: 'shown',
      type: 'application/json',
      size: packed.length,
      text: '{\n  "a": 1\n}',
    })
    const bomb = gzipSync(Buffer.alloc(2 * 1024 * 1024, 0x20))
    expect(viewOf({ headers: [json, ['Content-Encoding', 'gzip']], body: bomb }).body).toMatchObject({
      kind: 'opaque',
      why: 'decoded it is larger than can be shown',
    })
  })

  it('counts what is hidden over header values, query values and body', () => {
    const view = viewOf({
      target: '/x?token=12345&q=abc',
      headers: [
        ['X-Api-Key', '1234567'],
        ['X-A', 'bb'],
      ],
      body: '{"password":"123","a":"é"}',
    })
    expect(view.hidden).toBe(5 + 7 + 3)
    expect(view.total).toBe(5 + 3 + 7 + 2 + Buffer.byteLength('{"password":"123","a":"é"}'))
  })

  it('lists a hidden path once and counts every hiding', () => {
    const view = viewOf({ target: '/x?token=1&token=2' })
    expect([view.unseen, view.hidden]).toEqual([['query.token'], 2])
  })

  it('keeps the query as it was sent but for what is hidden', () => {
    const view = viewOf({ target: '/x?a=%41+%2f&b&note=to+ana%40acme.example+%26+%C3%BC&=z&%' })
    expect(view.target).toBe(
      `/x?a=%41+%2f&b&note=to%20‹email 16, #${fingerprint('ana@acme.example')}›%20%26%20%C3%BC&=z&%`,
    )
    expect(viewOf({ target: '/x?' }).target).toBe('/x?')
  })

  it('hides a certain secret that stands as a name', () => {
    const token = `${'ghp_'}${'a1'.repeat(18)}`
    for (const view of [
      viewOf({ target: `/x?${token}` }),
      viewOf({ headers: [form], body: `${token}=1` }),
      viewOf({ headers: [json], body: JSON.stringify({ [token]: { password: 'x' } }) }),
    ]) {
      expect(JSON.stringify(view)).not.toContain(token)
      expect(view.unseen.length).toBeGreaterThan(0)
    }
  })

  describe('what is too long to be shown whole', () => {
    const longest = 64 * 1024
    const text = (length: number): string => 'x '.repeat(length / 2)
    const numbers = (count: number): string => JSON.stringify(Array.from({ length: count }, (_, index) => index % 10))

    it.each([
      ['a text', plain, text(longest), text(longest + 2)],
      ['JSON, indented', json, numbers(10_000), numbers(13_500)],
      ['JSON of one value', json, JSON.stringify(text(longest - 4)), JSON.stringify(text(longest))],
      ['a form, line by line', form, 'a=b&'.repeat(10_000), 'a=b&'.repeat(11_000)],
      ['records', plain, '{"a":1}\n'.repeat(8_000), '{"a":1}\n'.repeat(8_200)],
      ['a text of which much is hidden', plain, `password="${text(250_000)}"`, `password="${text(270_000)}"`],
      ['a text with escapes', plain, '\u202e'.repeat(7_000), '\u202e'.repeat(9_000)],
    ])('%s', (_, header, fits, over) => {
      expect(viewOf({ headers: [header], body: fits }).body).toMatchObject({ kind: 'shown' })
      const view = viewOf({ headers: [header, ['X-Api-Key', '1234567']], body: over })
      const [type, size] = [header[1], Buffer.byteLength(over)]
      expect(view.body).toEqual({ kind: 'opaque', type, size, why: 'it is too long to be shown whole' })
      expect(view.hidden).toBe(size + 7)
      expect(view.unseen).toEqual(['header.x-api-key'])
    })

    it('still has its values in the line, if all of it was read', () => {
      const body = JSON.stringify({ pad: text(longest), amount: 7 })
      expect(viewOf({ headers: [json], body, rules: [{ summary: 'Pay {json./amount}' }] }).line).toBe('Pay 7')
    })

    it('has no values of a form in the line, where one more could follow', () => {
      const body = `to=ana&${'a=b&'.repeat(11_000)}to=ben`
      expect(viewOf({ headers: [form], body, rules: [{ summary: 'Pay {form.to}' }] }).line).toBe('Pay ‹unreadable›')
    })
  })

  it('has fingerprints that tell equal from different values, wherever they are', () => {
    const view = viewOf({
      target: '/x?token=one',
      headers: [json, ['Authorization', 'Bearer one'], ['X-Api-Key', 'two']],
      body: '{"password":"one","secret":"two"}',
    })
    const prints = [...JSON.stringify(view).matchAll(/#([0-9a-f]{8})›/g)].map(match => match[1])
    expect(prints).toEqual(['one', 'one', 'two', 'one', 'two'].map(fingerprint))
  })

  it('makes the type of a body and the reason for not showing it printable', () => {
    const odd: Header = ['Content-Type', 'text/plain;\u202e']
    expect(viewOf({ headers: [odd], body: 'x' }).body).toMatchObject({ kind: 'shown', type: 'text/plain;\\u{202e}' })
    const encoded = viewOf({ headers: [['Content-Type', 'text/plain;charset=\u202e']], body: 'x' })
    expect(encoded.body).toMatchObject({ kind: 'opaque', why: 'its character set is \\u{202e}' })
  })

  it('does not stumble over half a surrogate pair', () => {
    expect(viewOf({ target: '/x?q=\ud800+ana@acme.example' }).target).toContain('?q=%EF%BF%BD%20‹email 16, #')
  })

  it('lets nobody forge a mark', () => {
    const view = viewOf({
      target: '/x?a=‹b›',
      headers: [json, ['X-A', '‹secret 1, #00000000›']],
      body: '{"‹a›":"‹absent›"}',
      reason: '‹x›',
    })
    expect(JSON.stringify(view)).not.toMatch(/[‹›]/)
    expect(view.reason).toBe('\\u{2039}x\\u{203a}')
  })

  it('joins the masks of several rules', () => {
    const view = viewOf({
      headers: [json],
      body: '{"a":"1","b":"2"}',
      rules: [{ mask: ['json./a'], show: ['json./b'] }, { mask: ['json./b'] }],
    })
    expect(bodyText(view)).toBe(
      `{\n  "a": ‹masked 1, #${fingerprint('1')}›,\n  "b": ‹masked 1, #${fingerprint('2')}›\n}`,
    )
  })

  it.each([
    ['records', plain, '{"a":"1","b":"2"}\n{"b":"3"}', ['json./a'], '{"a":§1,"b":"2"}\n{"b":"3"}\n'],
    ['a batch', json, '[{"a":"1","b":"2"}]', ['json./a'], '[\n  {\n    "a": §1,\n    "b": "2"\n  }\n]'],
    ['a form', form, 'a[]=1&b=2', ['json./a', 'form.a'], 'a[] = §1\nb = 2\n'],
    ['JSON', json, '{"a":"1","b":"2"}', ['json./a', 'form.b'], '{\n  "a": §1,\n  "b": "2"\n}'],
    ['a text without a mask for bodies', plain, 'a=1', ['query.a', 'header.a'], 'a=1'],
  ] as const)('masks what a rule names and no more: %s', (_, header, body, mask, expected) => {
    const view = viewOf({ headers: [header], body, rules: [{ mask }] })
    expect(bodyText(view)).toBe(expected.replace('§1', `‹masked 1, #${fingerprint('1')}›`))
    expect(view.unseen).toEqual([])
  })

  it('says why a body is not shown that a mask does not fit', () => {
    const view = viewOf({ headers: [plain], body: 'a=1', rules: [{ mask: ['form.a'] }] })
    expect(view.body).toMatchObject({ kind: 'opaque', why: 'a rule masks fields that cannot be found in it' })
    expect(viewOf({ rules: [{ mask: ['form.a'] }] }).body).toEqual({ kind: 'none' })
  })

  it.each(['body./a', 'json.a', 'json', 'query.', ''])('refuses the mask %j rather than show what it was for', path => {
    expect(() => viewOf({ rules: [{ mask: [path] }] })).toThrow(/rules\.yaml:1: mask of rule "r"/)
  })

  it('shows what may be hidden in base64', () => {
    const packed = Buffer.from('#!/bin/sh\nrm -rf /srv').toString('base64')
    expect(bodyText(viewOf({ headers: [json], body: JSON.stringify({ script: packed }) }))).toContain(
      '"‹base64›#!/bin/sh\\nrm -rf /srv‹/base64›"',
    )
  })

  it('counts readable text that could not be shown apart as not seen', () => {
    // The base64 is part of what looks like an address, so it is hidden with it.
    const packed = Buffer.from('delete everything').toString('base64').replace(/=+$/, '')
    const view = viewOf({ headers: [json], body: JSON.stringify({ note: `${packed}@acme.example` }) })
    expect(view.unseen).toEqual(['json./note'])
  })
})

describe('maskText', () => {
  it('masks free text, makes it one printable line and keeps it short', () => {
    expect(maskText('by ana@acme.example\npassword=hunter2\u202e', fingerprint)).toBe(
      `by ‹email 16, #${fingerprint('ana@acme.example')}›\\u{a}password=‹secret 8, #${fingerprint('hunter2\u202e')}›`,
    )
    expect(maskText('x '.repeat(9_000), fingerprint)).toHaveLength(4_000)
  })
})

describe('values that are too short for most shapes', () => {
  // Each would be missed if one of the looks that spare the others were too quick.
  it.each([
    [`xoxb-${'a1b2c3d4e5'}`, 'slack token'],
    ['x://a:b@c', 'password'],
    ['%3A%2F%2Fa:b@c', 'password'],
    ['dpop a1b2c3d4', 'secret'],
    ['pin=1', 'secret'],
    ['pin%3D1', 'secret'],
    ['pin：1', 'secret'],
    ['<pin>1</pin>', 'secret'],
    ['curl -ux:y', 'secret'],
    ["password'x'", 'secret'],
    ['crypt("x")', 'secret'],
    ['h:5432:d:u:p', 'secret'],
    ['a@b.co', 'email'],
    ['078-05-1120', 'ssn'],
    ['212-555-1234', 'phone'],
  ])('%s', (text, kind) => {
    expect(maskText(text, fingerprint)).toContain(`‹${kind} `)
  })
})

describe('printable', () => {
  it.each([
    ['plain text, ümläüts, 日本語, हिन्दी, ไทย, עברית, 🐈', 'plain text, ümläüts, 日本語, हिन्दी, ไทย, עברית, 🐈'],
    ['a\nb\r\tc\u001b[31m\u007f\u0085', 'a\\u{a}b\\u{d}\\u{9}c\\u{1b}[31m\\u{7f}\\u{85}'],
    ['a\u202eb\u2066c\u200f', 'a\\u{202e}b\\u{2066}c\\u{200f}'],
    ['a\u200bb\u200dc\ufeffd\u2060', 'a\\u{200b}b\\u{200d}c\\u{feff}d\\u{2060}'],
    ['a\u{e0041}\u{e0100}\ufe0f', 'a\\u{e0041}\\u{e0100}\\u{fe0f}'],
    ['a\u00a0b\u3000c\u2003d\u2800', 'a\\u{a0}b\\u{3000}c\\u{2003}d\\u{2800}'],
    ['a\u2028b\u2029c', 'a\\u{2028}b\\u{2029}c'],
    ['\u0301a \u0301', '\\u{301}a \\u{301}'],
    ['e\u0301\u0301\u0301\u0301\u0301', 'e\u0301\u0301\u0301\\u{301}\\u{301}'],
    ['p\u0336a\u0336y', 'p\\u{336}a\\u{336}y'],
    ['\ud800x\u3164\ue000\uffff', '\\u{d800}x\\u{3164}\\u{e000}\\u{ffff}'],
    ['р\u0430ypal привет', '\\u{440}\\u{430}ypal привет'],
    ['‹mark›', '‹mark›'],
  ])('%j', (text, expected) => {
    expect(printable(text)).toBe(expected)
  })

  const bad = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/u

  it('leaves nothing unseen, and changes nothing twice', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        expect(printable(text)).not.toMatch(bad)
        expect(printable(printable(text))).toBe(printable(text))
      }),
    )
  })

  it('holds for every text of a view', () => {
    const any = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(any, any, any, (name, value, other) => {
        for (const [header, body] of [
          [json, JSON.stringify({ [name]: value, password: other })],
          [form, new URLSearchParams([[name, value.toWellFormed()]]).toString()],
          [plain, value],
        ] as const) {
          const view = viewOf({
            target: `/${name}?${value}=${other}`,
            headers: [header, [name, value]],
            body,
            reason: other,
            action: { name, resource: value },
            method: name,
            rules: [{ summary: `${other}{json./a}{resource}` }],
          })
          const texts = [view.line, view.method, view.target, view.reason ?? '', ...view.headers.flat(), ...view.unseen]
          if (view.body.kind === 'opaque') texts.push(view.body.type, view.body.why)
          for (const text of [...texts, ...bodyText(view).split('\n')]) expect(text).not.toMatch(bad)
        }
      }),
    )
  })
})

// Quadratic work on these takes longer than a test may take.
describe('bounded work', () => {
  const size = 512 * 1024
  const parts = (
    'a,eyJ,eyJ.,a@,@,4,4 ,-----BEGIN ,-----BEGIN PRIVATE KEY,password,password=,password=",<password>,<password ,token={,[,{"a":,",\\,' +
    '://,://a:, ,DE89,+1 ,sk-,8Q~,a.,&,a=b&,[],name: token\n,password:\n,password: |\n x\n,identified by ,basic ,Bearer ,\u0301,A,' +
    '密,password=\n,password="""\n,Private-Lines: 1\n,%3a%2f%2fa%3a,%3a%2f%2f,curl ,curl -u ,mysql -p,sshpass -p,' +
    'into a(password) values (,into a(password) values (\',into a(password) values ("b")\n,into ,set password for ,' +
    '<key>pin</key><a>,machine a ,default login a ,a:5432:b:c:,a: ,password: $'
  ).split(',')

  it.each(parts)('reads half a megabyte of %j', part => {
    const text = part.repeat(Math.ceil(size / part.length))
    const shown = text.slice(0, size / 2)
    for (const header of [json, form, plain])
      viewOf({ headers: [header], body: header === json ? JSON.stringify({ query: shown, variables: {} }) : shown })
    masker([], [], fingerprint).text(text, freeText, 'usual')
    maskText(text, fingerprint)
    certainSecretIn(text)
  })

  it('judges long names by their end', () => {
    expect(secretName(`${'Aa'.repeat(size)}_password`)).toBe(true)
    expect(secretName(`password_${'Aa'.repeat(size)}`)).toBe(false)
  })
})
