// Long lists and what is looked up in them: the history between two days, the log by a text, how rules fared, what stands beside a hold.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Beside, Counts } from '../src/console/desk.ts'
import { countsOf } from '../src/counts.ts'
import type { Hold } from '../src/nouns.ts'
import type { HoldRow } from '../src/views.ts'
import { type Browser, type ConsoleStage, startConsole, words } from './support/console.ts'
import { people } from './support/people.ts'

const cleo = { ...people.cleo, groups: ['security'] }
const dayMs = 24 * 3_600_000

let stage: ConsoleStage
let ana: Browser
let auditor: Browser

beforeAll(async () => {
  stage = await startConsole({ people: [people.ana, people.ben, people.dora, cleo] })
  ana = await stage.browserOf(people.ana)
  auditor = await stage.browserOf(cleo)
})
afterAll(() => stage.close())

const get = async (one: Browser, path: string) => {
  const answer = await fetch(`${stage.url}${path}`, { headers: { cookie: `holdpoint_session=${one.session()}` } })
  return { status: answer.status, headers: answer.headers, text: await answer.text() }
}
const read = async <T>(one: Browser, path: string): Promise<T> => JSON.parse((await get(one, path)).text) as T
const decide = async (id: string, verdict: 'approve' | 'deny') => {
  const { csrf = '', view = '' } = await ana.fields(`/holds/${id}`)
  await ana.visit(`${stage.url}/holds/${id}/${verdict}`, { form: { csrf, view } })
}
const day = (at: number): string => new Date(at).toISOString().slice(0, 10)

/** Every page of a list, and how many rows each had. */
const paged = async (one: Browser, query: string): Promise<readonly (readonly string[])[]> => {
  const pages: string[][] = []
  let after = ''
  do {
    const page = await read<{ holds: HoldRow[]; next?: string }>(one, `/api/holds?${query}${after}`)
    pages.push(page.holds.map(({ id }) => id))
    after = page.next === undefined ? '' : `&after=${encodeURIComponent(page.next)}`
  } while (after !== '' && pages.length < 100)
  return pages
}

describe('the history', () => {
  test('is cut by days and instants, newest first', async () => {
    const [early, late] = [await stage.hold(), await stage.hold()]
    await decide(early, 'deny')
    const between = stage.now() + dayMs
    stage.pass(2 * dayMs)
    const fresh = await stage.browserOf(people.ana)
    const after = await stage.hold()
    const { csrf = '', view = '' } = await fresh.fields(`/holds/${after}`)
    await fresh.visit(`${stage.url}/holds/${after}/deny`, { form: { csrf, view } })
    ana = fresh
    auditor = await stage.browserOf(cleo)
    const closed = (more: string) => paged(ana, `status=closed&${more}`)
    expect((await closed(`to=${day(between - dayMs)}`)).flat()).toEqual([early])
    expect((await closed(`from=${day(between)}`)).flat()).toEqual([after])
    expect((await closed(`from=${new Date(between).toISOString()}`)).flat()).toEqual([after])
    expect((await closed('from=2020-01-01')).flat()).toEqual([after, early])
    expect((await closed('limit=1')).map(page => page.length)).toEqual([1, 1])
    expect(words((await ana.visit(`${stage.url}/history?to=2020-01-01`)).text)).toContain('Nothing fits this filter.')
    expect((await get(ana, '/history?from=yesterday')).status).toBe(400)
    expect((await get(ana, '/api/holds?status=pending&from=2020-01-01')).status).toBe(400)
    expect((await stage.read(late)).state).toBe('pending')
  })

  test('filtered, names every hold once, on pages that are as long as asked for', async () => {
    const mine: string[] = []
    for (let n = 0; n < 9; n += 1) {
      const id = await stage.hold(n % 2 === 0 ? { caller: { subject: 'agent-filtered' } } : {})
      if (n % 2 === 0) mine.push(id)
    }
    for (const limit of [1, 2, 3, 50]) {
      const pages = await paged(ana, `status=pending&caller=agent-filtered&limit=${limit}`)
      expect(pages.flat().toSorted()).toEqual(mine.toSorted())
      for (const page of pages) expect(page.length).toBeLessThanOrEqual(limit)
    }
  })
})

describe('the log', () => {
  type Found = {
    readonly entries: readonly { readonly seq: number; readonly hold?: string; readonly kind: string }[]
    readonly next?: number
  }
  const find = (query: string) => read<Found>(auditor, `/api/audit?${query}`)

  test('is searched for a text, whatever its case, but not for the names of its members', async () => {
    const id = await stage.hold({ caller: { subject: 'Agent-Findable' } })
    await decide(id, 'deny')
    await stage.entries()
    expect((await find('find=agent-findable')).entries.map(({ kind }) => kind)).toEqual([
      'verdict.accepted',
      'call.held',
    ])
    expect((await find(`find=${id}&limit=1`)).entries).toMatchObject([{ kind: 'verdict.accepted' }])
    const [, second] = [
      await find(`find=${id}&limit=1`),
      await find(`find=${id}&limit=1&before=${(await find(`find=${id}&limit=1`)).next}`),
    ]
    expect(second.entries).toMatchObject([{ kind: 'call.held' }])
    expect((await find('find=recordedAt')).entries).toEqual([])
    expect(words((await auditor.visit(`${stage.url}/audit?find=${id}`)).text)).toContain('call.held')
  })

  test('is cut by instants, from either end', async () => {
    const all = (await find('limit=1000')).entries
    const middle = new Date(stage.now() - dayMs).toISOString()
    const [older, newer] = [await find(`limit=1000&to=${middle}`), await find(`limit=1000&from=${middle}`)]
    expect(older.entries.length * newer.entries.length).toBeGreaterThan(0)
    expect([...newer.entries, ...older.entries]).toEqual(all)
    const forward = await find(`limit=1000&after=0&from=${middle}`)
    expect(forward.entries).toEqual(newer.entries.toReversed())
    expect((await find(`limit=1000&after=0&to=${middle}`)).entries).toEqual(older.entries.toReversed())
  })

  test('leaves as JSON lines, all of it, to auditors only', async () => {
    const all = (await find('limit=1000&after=0')).entries
    const answer = await get(auditor, '/api/audit/export')
    expect(answer.headers.get('content-type')).toMatch(/^application\/x-ndjson/)
    expect(answer.headers.get('content-disposition')).toContain('attachment')
    expect(
      answer.text
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line)),
    ).toEqual(all)
    expect((await get(ana, '/api/audit/export')).status).toBe(403)
    expect((await get(ana, '/api/audit?find=x')).status).toBe(403)
  })
})

describe('how rules fared', () => {
  const hold = (
    state: Hold['state'],
    verdict: 'approve' | 'deny' | undefined,
    ms = 0,
    paths?: readonly string[],
  ): Hold =>
    ({
      head: { openedAt: 1_000, ...(paths === undefined ? {} : { unseen: { count: paths.length, paths } }) },
      state,
      verdicts: verdict === undefined ? [] : [{ verdict, at: 1_000 + ms }],
    }) as unknown as Hold

  test('is counted from signed verdicts; what waits is not expired yet', () => {
    const counts = countsOf([
      ...[hold('delivered', 'approve', 1_000), hold('approved', 'approve', 3_000), hold('denied', 'deny', 8_000)],
      ...[hold('expired', undefined), hold('pending', undefined), hold('pending', 'approve', 9_000)],
    ])
    expect(counts).toMatchObject({
      held: 6,
      waiting: 2,
      approved: 2,
      denied: 1,
      expired: 1,
      expiry_rate: 0.25,
      median_decision_s: 3,
    })
    expect(countsOf([hold('pending', undefined)])).not.toHaveProperty('median_decision_s')
  })

  test('names the places that make holds partly seen, elements of a list as one', () => {
    const counts = countsOf([
      hold('pending', undefined, 0, ['json./users/0/password', 'json./users/17/password', 'header.x-key']),
      hold('pending', undefined, 0, ['json./users/1/password']),
      hold('pending', undefined),
    ])
    expect(counts.partly_seen).toBe(2)
    expect(counts.hidden_at).toEqual([
      { path: 'json./users/*/password', holds: 2 },
      { path: 'header.x-key', holds: 1 },
    ])
  })

  test('stands on the page of the rules, with the lines that would mend it', async () => {
    await stage.hold({ body: '{"amount": 1, "a \\"b\\" password": "x"}', headers: [['x-password', 'y']] })
    stage.pass(20_000)
    const { counts } = await read<{ counts: Counts }>(ana, '/api/rules')
    expect(counts.rules.refunds).toMatchObject({ partly_seen: 1 })
    const page = words((await ana.visit(`${stage.url}/rules`)).text)
    expect(page).toMatch(/1 of \d+ holds partly seen/)
    expect(page).toContain('show: [header.x-password] # or mask: [header.x-password]')
    expect(page).toContain('show: [&quot;json./a \\&quot;b\\&quot; password&quot;]')
  })
})

describe('beside a hold', () => {
  test('what cannot be decided along with it is named, and the hold itself is decided', async () => {
    const [id, done] = [await stage.hold(), await stage.hold()]
    const { view: other = '' } = await ana.fields(`/holds/${done}`)
    await decide(done, 'deny')
    const { csrf = '', view = '' } = await ana.fields(`/holds/${id}`)
    const form = { csrf, view, also: `${done}.${other} h_nobody.x nothing` }
    const { status, text } = await ana.visit(`${stage.url}/holds/${id}/approve`, { form })
    expect([status, (await stage.read(id)).state, (await stage.read(done)).state]).toEqual([409, 'approved', 'denied'])
    expect(words(text)).toMatch(/Not all of them were decided.*It is denied already.*h_nobody: .*nothing: /)
  })

  test('stands what its caller did lately, as far as the reader may see it', async () => {
    const caller = { subject: 'agent-lately' }
    const [one, two, other] = [await stage.hold({ caller }), await stage.hold({ caller }), await stage.hold()]
    await decide(one, 'deny')
    const { lately } = await read<Beside>(ana, `/api/holds/${two}/beside`)
    expect(lately.map(({ id, status }) => [id, status])).toEqual([[one, 'denied']])
    expect((await read<Beside>(ana, `/api/holds/${other}/beside`)).lately).toEqual([])
    expect(words((await ana.visit(`${stage.url}/holds/${two}`)).text)).toMatch(/This caller lately .* Denied/)
    expect((await get(ana, '/api/holds/h_AAAAAAAAAAAAAAAAAAAAAA/beside')).status).toBe(404)
  })
})
