// Whom the tokens of the issuers in use stand for: every row of tables/callers.json, through an entry with the defaults or what it says.
import { expect, it, test } from 'vitest'
import { callerOf, claimAt } from '../src/claims.ts'
import type { Issuer } from '../src/settings.ts'
import type { Claims } from '../src/token.ts'
import { issuerEntry } from './support/gate-settings.ts'
import table from './tables/callers.json' with { type: 'json' }

type Row = {
  readonly name: string
  readonly issuer?: { readonly kind?: Issuer['kind']; readonly claims?: Partial<Issuer['claims']> }
  readonly claims: Claims
  readonly expect: { readonly [field: string]: unknown }
}

it.each(table as unknown as Row[])('$name', row => {
  const plain = issuerEntry('main', 'https://issuer.example')
  const entry = { ...plain, ...row.issuer, claims: { ...plain.claims, ...row.issuer?.claims } }
  const caller = callerOf(row.claims, entry, 0, detail => {
    throw new Error(detail)
  })
  const seen: { [field: string]: unknown } = { ...caller, actors: caller.actors.map(actor => actor.subject) }
  expect(Object.fromEntries(Object.keys(row.expect).map(field => [field, seen[field] ?? null]))).toEqual(row.expect)
})

test.each(['toString', '__proto__', '/toString', '/a/toString', '/a/b/length', '/', ''])('%s is no claim', name => {
  expect(claimAt({ a: { b: 'text' } }, name)).toBeUndefined()
})
