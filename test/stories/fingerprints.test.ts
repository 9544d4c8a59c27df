// Reviewers recognise equal hidden values by their fingerprints; the people behind a call see none, on any page or list.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { people } from '../support/people.ts'
import { type Stage, startStage } from '../support/stage.ts'

let stage: Stage

beforeAll(async () => {
  stage = await startStage({
    rules: `
rules:
  - name: refunds
    match: { upstream: billing, method: POST, path: /v1/refunds }
    then: hold
    approve: { by: { groups: [finance-leads] }, wait: 1s }
    summary: "Refund to {json./card}"
    mask: [json./card]
`,
  })
  const body = JSON.stringify({ card: '4111 1111 1111 1111' })
  await stage.call('POST', '/billing/v1/refunds', { body, headers: { 'content-type': 'application/json' } })
})
afterAll(() => stage.close())

const fingerprint = /#[0-9a-f]{8}›/

test.each([
  ['Ana, who decides', people.ana, true],
  ['Ben, who owns the agent', people.ben, false],
] as const)('%s', async (_, person, sees) => {
  const desk = await stage.desk(person)
  const [row] = await desk.pending()
  expect(row?.line).toContain('‹')
  expect(row?.line).not.toContain('4111')
  expect(fingerprint.test(row?.line ?? '')).toBe(sees)
  const view = JSON.stringify(await desk.hold(row?.id ?? ''))
  expect(view).not.toContain('4111')
  expect(fingerprint.test(view)).toBe(sees)
})
