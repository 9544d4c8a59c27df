// Live updates: who hears of what, from where on, and when a stream ends.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Browser, type ConsoleStage, startConsole, streamOf } from './support/console.ts'
import { people } from './support/people.ts'

const cleo = { ...people.cleo, groups: ['security'] }

let stage: ConsoleStage
let ana: Browser

beforeAll(async () => {
  stage = await startConsole({ people: [...Object.values(people).filter(one => one.id !== 'cleo'), cleo] })
  ana = await stage.browserOf(people.ana)
})
afterAll(() => stage.close())

const anon = (path: string, options: RequestInit = {}): Promise<Response> =>
  fetch(`${stage.url}${path}`, { redirect: 'manual', ...options })

const cookieOf = (one: Browser) => ({ cookie: `holdpoint_session=${one.session()}` })

describe('live updates', () => {
  test('tell what happens to holds one may see, with ids to go on from', async () => {
    const stream = await streamOf(stage.url, cookieOf(ana))
    await stream.read(text => text.includes(': connected'))
    const first = await stage.hold()
    const text = await stream.read(seen => seen.includes(first))
    expect(text).toMatch(
      new RegExp(`id: \\S+\\nevent: hold\\ndata: {"id":"${first}","status":"pending","rev":\\d+}\\n\\n`),
    )
    const id = /id: (\S+)/.exec(text.slice(text.indexOf('event: hold') - 40))?.[1] ?? ''
    stream.close()
    const second = await stage.hold()
    const again = await streamOf(stage.url, { ...cookieOf(ana), 'last-event-id': id })
    const rest = await again.read(seen => seen.includes(second))
    expect(rest).not.toContain(`"${first}"`)
    again.close()
  })

  test('say nothing about holds one may not see', async () => {
    Object.assign(cleo, { groups: [] })
    const stranger = await stage.browserOf(cleo)
    Object.assign(cleo, { groups: ['security'] })
    const streams = [await streamOf(stage.url, cookieOf(stranger)), await streamOf(stage.url, cookieOf(ana))] as const
    await Promise.all(streams.map(stream => stream.read(text => text.includes(': connected'))))
    const id = await stage.hold()
    await streams[1].read(text => text.includes(id))
    const own = await stage.hold({ caller: { owner: people.cleo.email } })
    expect(await streams[0].read(text => text.includes(own))).not.toContain(id)
    for (const stream of streams) stream.close()
  })

  test('say no more about holds once their reader has lost the group', async () => {
    const lost = { ...people.dora }
    const one = await startConsole({ people: [people.ana, lost, people.ben] })
    const [dora, ana] = [await one.browserOf(lost), await one.browserOf(people.ana)]
    const [hers, anas] = [await streamOf(one.url, cookieOf(dora)), await streamOf(one.url, cookieOf(ana))]
    await Promise.all([hers, anas].map(stream => stream.read(text => text.includes(': connected'))))
    const before = await one.hold()
    await hers.read(text => text.includes(before))
    // Her groups are read again at a verdict, sixteen minutes on; by then she leads nobody.
    const page = await dora.fields(`/holds/${before}`)
    Object.assign(lost, { groups: [] })
    one.pass(16 * 60_000)
    await dora.visit(`${one.url}/holds/${before}/approve`, { form: page })
    const hidden = await one.hold()
    const own = await one.hold({ caller: { owner: people.dora.email } })
    await anas.read(text => text.includes(hidden))
    expect(await hers.read(text => text.includes(own))).not.toContain(hidden)
    for (const stream of [hers, anas]) stream.close()
    await one.close()
  })

  test('end with the session, and show that they live', async () => {
    const quick = await startConsole({ heartbeatMs: 20 })
    const one = await quick.browserOf(people.ana)
    const stream = await streamOf(quick.url, cookieOf(one))
    await stream.read(text => text.includes(': still here'))
    await one.visit(`${quick.url}/logout`, { form: { csrf: (await one.fields('/')).csrf ?? '' } })
    await stream.read(() => false)
    await stream.ended
    const other = await streamOf(quick.url, cookieOf(await quick.browserOf(people.ana)))
    await other.read(text => text.includes(': connected'))
    await quick.close()
    await other.ended
  })

  test('are not endless in number, and a strange Last-Event-ID is refused', async () => {
    const headers = cookieOf(await stage.browserOf(people.benPlus))
    const streams = []
    for (let count = 0; count < 20; count += 1) {
      const stream = await streamOf(stage.url, headers)
      await stream.read(text => text.includes(': connected'))
      streams.push(stream)
    }
    expect((await streamOf(stage.url, headers)).status).toBe(429)
    for (const stream of streams) stream.close()
    await expect.poll(async () => (await anon('/api/events', { method: 'HEAD', headers })).status).toBe(200)
    expect((await anon('/api/events', { headers: { ...headers, 'last-event-id': 'a b\u00e9' } })).status).toBe(400)
  })
})
