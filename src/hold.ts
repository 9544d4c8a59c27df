// A held call's record: what its digest covers, what is sealed, what is signed, and how it is read back without trusting the store.
import { createHash } from 'node:crypto'
import { HoldpointError } from './errors.ts'
import type { Behind, Caller, Header, HeldCall, Hold, HoldFacts, HoldHead, KeptAnswer, Verdict } from './nouns.ts'
import { type KeyRing, random } from './seal.ts'
import type { Store, StoredHold } from './store/store.ts'
import type { View } from './views.ts'

/** A retry that comes this soon after its hold expired, lapsed or was revoked is told so, instead of paging reviewers again. */
export const endToldMs = 30_000

/** For this long an identical call is told that an earlier one was delivered, or may have been, without an answer. */
export const uncertainMs = 10 * 60_000

const digestVersion = 'holdpoint digest v1'

/** Headers that change from retry to retry without changing the call (DESIGN §3, "Digest"). Lower case. */
const volatileNames: ReadonlySet<string> = new Set([
  'date',
  'x-amz-date',
  'x-amz-security-token',
  'x-amzn-trace-id',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-request-id',
  'kubectl-session',
  'sec-websocket-key',
  'cf-ray',
])
const volatilePrefixes: readonly string[] = ['amz-sdk-', 'x-stainless-', 'holdpoint-']

/** Is a header left out of the digest? `more` are the kind's and the upstream's own, lower case. */
export const isVolatile = (name: string, more: ReadonlySet<string>): boolean =>
  volatileNames.has(name) || more.has(name) || volatilePrefixes.some(prefix => name.startsWith(prefix))

/** Who a caller is, for the digest, for caps and for who may see a task: never two different sets of people under one key. */
export const callerIdentity = (caller: Caller, behind: Behind): string =>
  JSON.stringify([
    caller.issuer,
    caller.subject,
    caller.client ?? null,
    caller.actors.map(actor => [actor.issuer, actor.subject, actor.client ?? null]),
    behind.keys,
  ])

/** SHA-256 over length-prefixed parts: caller, upstream, method, exact target, digested headers (sorted by name, in order), every body byte. */
export const digestOf = (parts: {
  readonly identity: string
  readonly upstream: string
  readonly method: string
  readonly target: string
  readonly headers: readonly Header[]
  readonly volatile: ReadonlySet<string>
  readonly body: Uint8Array
}): Buffer => {
  // Everything but the body is short: it is hashed in one go.
  const pieces: Uint8Array[] = []
  const add = (part: string | Uint8Array): void => {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part
    const length = Buffer.alloc(8)
    length.writeBigUInt64BE(BigInt(bytes.length))
    pieces.push(length, bytes)
  }
  const headers = parts.headers
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !isVolatile(name, parts.volatile))
    .sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0))
  for (const part of [
    digestVersion,
    parts.identity,
    parts.upstream,
    parts.method,
    parts.target,
    String(headers.length),
  ])
    add(part)
  for (const [name, value] of headers) {
    add(name)
    add(Buffer.from(value, 'latin1'))
  }
  add(parts.body)
  const body = pieces.pop() ?? parts.body
  return createHash('sha256').update(Buffer.concat(pieces)).update(body).digest()
}

/** What is shown and logged of a digest: salted, so that it cannot be used to guess what was masked. Hex. */
export const saltedDigest = (salt: string, digest: Uint8Array): string =>
  createHash('sha256').update(Buffer.from(salt, 'base64url')).update(digest).digest('hex')

/** An unguessable id: 128 random bits. */
export const newHoldId = (): string => `h_${random(16).toString('base64url')}`
export const newSalt = (): string => random(16).toString('base64url')

// Each sealed or signed text is bound to its hold and its field.
const place = (id: string, field: 'head' | 'verdict' | 'request' | 'view' | 'answer' | 'token'): string =>
  `hold ${id} ${field}`

export const sealRequest = (keys: KeyRing, id: string, held: HeldCall): string =>
  keys.seal(JSON.stringify(held), place(id, 'request'))
export const sealView = (keys: KeyRing, id: string, view: View): string =>
  keys.seal(JSON.stringify(view), place(id, 'view'))
export const sealAnswer = (keys: KeyRing, id: string, answer: KeptAnswer): string =>
  keys.seal(JSON.stringify(answer), place(id, 'answer'))
export const signHead = (keys: KeyRing, head: HoldHead): string =>
  keys.sign(JSON.stringify(head), place(head.id, 'head'))
export const signVerdict = (keys: KeyRing, verdict: Verdict): string =>
  keys.sign(JSON.stringify(verdict), place(verdict.hold, 'verdict'))

/**
 * What an async hold keeps of the newest token that its caller showed: until when it says it is good and, where only its issuer can
 * tell whether it still is, the token itself, sealed.
 */
export const shownToken = (
  keys: KeyRing,
  id: string,
  { expiresAt }: Caller,
  opaque: string | undefined,
): Pick<HoldFacts, 'tokenUntilAt' | 'token'> => ({
  tokenUntilAt: expiresAt,
  ...(opaque === undefined ? {} : { token: keys.seal(opaque, place(id, 'token')) }),
})

/** The opaque token that a hold keeps; undefined if it keeps none, or what it keeps was not sealed by us for this hold. */
export const keptToken = (keys: KeyRing, { head, facts }: Pick<Hold, 'head' | 'facts'>): string | undefined => {
  try {
    return facts.token === undefined ? undefined : keys.open(facts.token, place(head.id, 'token')).toString('utf8')
  } catch {
    return undefined
  }
}

/** Opens a sealed part, or undefined if the store no longer has it. Throws `internal` if it is not what was sealed. */
const opened = async <T>(
  store: Store,
  keys: KeyRing,
  id: string,
  part: 'request' | 'view' | 'answer',
): Promise<T | undefined> => {
  const sealed = await store.holds.sealed(id, part)
  if (sealed === undefined) return undefined
  try {
    return JSON.parse(keys.open(sealed, place(id, part)).toString('utf8')) as T
  } catch (cause) {
    throw new HoldpointError('internal', undefined, {
      cause: new Error(`the sealed ${part} of ${id} does not open`, { cause }),
    })
  }
}

export const openRequest = (store: Store, keys: KeyRing, id: string): Promise<HeldCall | undefined> =>
  opened(store, keys, id, 'request')
export const openView = (store: Store, keys: KeyRing, id: string): Promise<View | undefined> =>
  opened(store, keys, id, 'view')
export const openAnswer = (store: Store, keys: KeyRing, id: string): Promise<KeptAnswer | undefined> =>
  opened(store, keys, id, 'answer')

/**
 * A stored hold with its signatures checked. Undefined if the head is not ours or is of another hold: such a record is no hold.
 * Verdicts that are not ours, or were given for another hold, are left out: they count for nothing.
 */
export const verifiedHold = (keys: KeyRing, stored: StoredHold): Hold | undefined => {
  const payload = keys.verify(stored.head, place(stored.id, 'head'))
  if (payload === undefined) return undefined
  const head = JSON.parse(payload) as HoldHead
  // A record of a newer schema is for newer replicas to move.
  if (head.version !== 1 || head.id !== stored.id) return undefined
  const verdicts = stored.verdicts.flatMap(signed => {
    const text = keys.verify(signed, place(stored.id, 'verdict'))
    if (text === undefined) return []
    const verdict = JSON.parse(text) as Verdict
    return verdict.version === 1 && verdict.hold === stored.id ? [verdict] : []
  })
  return {
    head,
    state: stored.state,
    rev: stored.rev,
    dueAt: stored.dueAt,
    verdicts,
    fence: stored.fence,
    facts: stored.facts,
    now: stored.now,
  }
}

/** Is this our record, but of a schema that only newer replicas know? */
export const isNewer = (keys: KeyRing, stored: StoredHold): boolean => {
  const payload = keys.verify(stored.head, place(stored.id, 'head'))
  return payload !== undefined && (JSON.parse(payload) as { version?: unknown }).version !== 1
}

/** Reads a hold; undefined if there is none (or none of ours) with this id. @throws store_unavailable */
export const readHold = async (store: Store, keys: KeyRing, id: string): Promise<Hold | undefined> => {
  if (!/^h_[A-Za-z0-9_-]{22}$/.test(id)) return undefined
  const stored = await store.holds.read(id)
  return stored === undefined ? undefined : verifiedHold(keys, stored)
}

/** How a masked value of a hold is told from others: eight hex digits, keyed by the rule that holds it. */
export const maskedPrint =
  (keys: KeyRing, [rule]: readonly { readonly name: string }[]) =>
  (value: string): string =>
    Buffer.from(keys.fingerprints(value, `mask ${rule?.name ?? ''}`)[0] ?? '', 'base64url')
      .toString('hex')
      .slice(0, 8)

/** Names what a reviewer saw: the digest of the bytes and the rules (hashes cover masks and summary) it was shown under. */
export const viewOf = (head: HoldHead): string =>
  createHash('sha256')
    .update(JSON.stringify([head.id, head.digest, head.rules.map(rule => rule.hash)]))
    .digest('base64url')
    .slice(0, 22)
