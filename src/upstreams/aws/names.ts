// What AWS calls things: the prefix of a signing name's actions in IAM, and what each operation is for (access.json, made by
// scripts/aws-routes.ts). An operation that is not listed is unknown, never guessed from its name.
import { readFileSync } from 'node:fs'
import type { Action } from '../../nouns.ts'

/** Signing names whose actions IAM lists under another one. */
const prefixes: { readonly [service: string]: string } = {
  email: 'ses',
  iotdata: 'iot',
  monitoring: 'cloudwatch',
  'servicecatalog-appregistry': 'servicecatalog',
  tagging: 'tag',
}

export const prefixOf = (service: string): string =>
  Object.hasOwn(prefixes, service) ? (prefixes[service] ?? service) : service

type Access = Action['access']
type Packed = { readonly [prefix: string]: { readonly [access: string]: string } }

let packed: Packed | undefined
const unpacked = new Map<string, ReadonlyMap<string, Access>>()

/** `Get: Role User List: Roles` is GetRole, GetUser, ListRoles. */
const namesIn = (text: string): readonly string[] => {
  let verb = ''
  return text.split(' ').flatMap(word => {
    if (!word.endsWith(':')) return [verb + word]
    verb = word.slice(0, -1)
    return []
  })
}

const operationsOf = (prefix: string): ReadonlyMap<string, Access> | undefined => {
  const found = unpacked.get(prefix)
  if (found !== undefined) return found
  packed ??= JSON.parse(readFileSync(new URL('./access.json', import.meta.url), 'utf8')) as Packed
  if (!Object.hasOwn(packed, prefix)) return undefined
  const names = new Map(
    Object.entries(packed[prefix] ?? {}).flatMap(([access, text]) =>
      namesIn(text).map(name => [name, access as Access] as const),
    ),
  )
  unpacked.set(prefix, names)
  return names
}

/** What an operation is for; undefined if no such operation is known. */
export const accessOf = (prefix: string, operation: string): Access | undefined => operationsOf(prefix)?.get(operation)
