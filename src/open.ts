// Opens the hold of a call, or finds the one that it belongs to: what the call is (its digest), what reviewers will see of it, and what is
// sealed and signed until it is decided. Nobody waits here.
import { HoldpointError } from './errors.ts'
import { limitsOf } from './grant.ts'
import {
  callerIdentity,
  digestOf,
  isVolatile,
  maskedPrint,
  newHoldId,
  newSalt,
  readHold,
  saltedDigest,
  sealRequest,
  sealView,
  shownToken,
  signHead,
} from './hold.ts'
import type { Identified } from './identify.ts'
import { withoutValues } from './json.ts'
import { kindOf, secretsOf } from './judge.ts'
import { partsOf } from './like.ts'
import { makeView } from './mask.ts'
import type { Action, Behind, Body, Call, Caller, Header, HeldCall, Hold, HoldFacts, HoldHead } from './nouns.ts'
import type { Parts } from './parts.ts'
import { preview } from './preview.ts'
import { shortest } from './ready.ts'
import { aboutHold } from './record.ts'
import type { Rule, Settings, Upstream } from './settings.ts'
import type { Opened, Opening } from './store/store.ts'
import type { View } from './views.ts'

const dayMs = 24 * 3600_000
/** Of the hidden values of a partly seen hold, so many are named in its head; the view names all. */
const unseenNamed = 8
const denials = { windowMs: 10 * 60_000, limit: 3, pauseMs: 10 * 60_000 }
/** For this long the same call gets the same denial, and nobody is asked again. */
export const coolDownMs = 60_000

export type Held = {
  readonly settings: Settings
  readonly call: Call
  readonly caller: Caller
  readonly again: Identified['again']
  readonly opaque: Identified['opaque']
  readonly behind: Behind
  readonly upstream: Upstream
  readonly upstreamTarget: string
  readonly paths: readonly string[]
  readonly headers: readonly Header[]
  readonly body: Body
  readonly bytes: Buffer
  readonly actions: readonly Action[]
  readonly rules: readonly Rule[]
  readonly reason: string | undefined
  readonly idempotencyKey: string | undefined
  readonly async: boolean
  readonly trace: string | undefined
}

/** Keyed hash of who is behind a rule's denials. */
export const denialKeys = (
  parts: Parts,
  identity: string,
  rules: readonly { readonly name: string }[],
): readonly string[] =>
  rules.map(rule => parts.keys.fingerprints(JSON.stringify([identity, rule.name]), 'denials').at(-1) ?? '')

/** What a denial of this hold counts towards: three in ten minutes pause the caller's holds of the rule. */
export const denialOf = (
  parts: Parts,
  head: HoldHead,
): { keys: readonly string[]; windowMs: number; limit: number; pauseMs: number } => ({
  keys: denialKeys(parts, callerIdentity(head.caller, head.behind), head.rules),
  ...denials,
})

/** `attached`: the hold was there already; if not, here it is, as far as is known without reading it. */
export type OpenedHold =
  | { readonly id: string; readonly attached: true }
  | { readonly id: string; readonly attached: false; readonly hold: Hold }

/**
 * Opens a hold for this call, or finds the one it belongs to.
 * @param earlyMs for so long this caller may open no other hold; it may still find one
 * @param id of the hold, if it is a new one
 * @throws duplicate_request, denied_too_often, too_many_holds, unreadable_body, store_unavailable
 */
export const openHold = async (parts: Parts, held: Held, earlyMs = 0, id = newHoldId()): Promise<OpenedHold> => {
  const { settings, call, caller, behind, upstream, rules } = held
  const { keys, store } = parts
  const identity = callerIdentity(caller, behind)
  const volatile = new Set([...kindOf(upstream).volatileHeaders, ...upstream.volatileHeaders])
  // A call that asks for a tunnel is another one than the same without.
  const headers: readonly Header[] = [
    ...(call.upgrade === undefined ? held.headers : [...held.headers, ['upgrade', call.upgrade] as const]),
    ...scoped(call),
  ]
  const stable = stableOf(held)
  const digestWithout = (left: ReadonlySet<string>): Buffer =>
    digestOf({
      identity,
      upstream: upstream.name,
      method: call.method,
      target: held.upstreamTarget,
      headers,
      volatile: left,
      body: stable,
    })
  const digest = digestWithout(volatile)
  const fingerprints = keys.fingerprints(digest, 'digest')
  const bare = held.idempotencyKey === undefined ? digest : digestWithout(new Set([...volatile, 'idempotency-key']))
  const salt = newSalt()
  const now = await store.now()
  const action = held.actions[0]
  if (action === undefined)
    throw new HoldpointError('internal', undefined, { cause: new Error('a held call without an action') })
  const request: HeldCall = {
    version: 1,
    call,
    upstreamTarget: held.upstreamTarget,
    paths: held.paths,
    headers: held.headers,
    salt,
    ...(held.reason === undefined ? {} : { reason: held.reason }),
    body: held.bytes.toString('base64'),
  }
  const fingerprint = maskedPrint(keys, rules)
  const made = makeView({
    held: call.upgrade === undefined ? request : { ...request, headers: shownOf(held.headers, call.upgrade) },
    action,
    rules,
    body: held.body,
    secrets: secretsOf(upstream, request),
    idle: kindOf(upstream).idlePaths ?? [],
    fingerprint,
  })
  // Once it is open nobody sees what goes through it: whoever approves it must know.
  const view =
    call.upgrade === undefined
      ? {
          ...made,
          ...likened(
            held,
            headers.filter(([name]) => !isVolatile(name.toLowerCase(), volatile)),
            keys,
          ),
        }
      : { ...made, line: `Open an interactive session (${call.upgrade}): ${made.line}` }
  // What nobody can be shown, nobody can approve; it is refused now rather than after a reviewer has been called.
  const unshown =
    view.body.kind === 'opaque' ? view.body.why : view.body.kind === 'shown' ? view.body.unshown : undefined
  if (unshown !== undefined && rules.some(rule => rule.approve.some(approve => approve.unreadable === 'deny'))) {
    throw new HoldpointError(
      'unreadable_body',
      `The body cannot be shown to a reviewer (${unshown}), so it cannot be approved. A rule may say "unreadable: digest".`,
      { rule: ruleNames(rules) },
    )
  }
  const head: HoldHead = {
    version: 1,
    id,
    call: call.id,
    openedAt: now,
    expiresAt: now + shortest(rules, approve => approve.withinMs),
    caller,
    behind,
    upstream: upstream.name,
    upstreamHash: upstream.hash,
    rules: rules.map(rule => ({ name: rule.name, hash: rule.hash })),
    configHash: settings.hash,
    action,
    method: call.method,
    digest: saltedDigest(salt, digest),
    fingerprint: fingerprints[0] ?? '',
    same: keys.fingerprints(bare, 'same')[0] ?? '',
    ...(view.unseen.length === 0
      ? {}
      : { unseen: { count: view.unseen.length, paths: view.unseen.slice(0, unseenNamed) } }),
    size: held.bytes.length,
    onDisconnect: rules.some(rule => rule.approve.some(approve => approve.onDisconnect === 'cancel'))
      ? 'cancel'
      : 'keep',
    ...(call.upgrade === undefined ? {} : { upgrade: call.upgrade }),
    ...(held.trace === undefined ? {} : { trace: held.trace }),
  }
  const { limits } = settings.gate
  const facts: HoldFacts = held.async
    ? { async: true, ...shownToken(keys, id, caller, held.opaque) }
    : shownToken(keys, id, caller, undefined)
  const opening = (shown: View): Opening => ({
    id,
    caller: keys.fingerprints(identity, 'caller').at(-1) ?? '',
    fingerprints,
    ...(held.idempotencyKey === undefined
      ? {}
      : {
          idempotency: {
            keys: keys.fingerprints(JSON.stringify([identity, held.idempotencyKey]), 'idempotency'),
            keepMs: dayMs,
          },
        }),
    pauses: denialKeys(parts, identity, rules),
    caps: { perCaller: earlyMs > 0 ? 0 : limits.holdsPerCaller, holds: limits.holds, bytes: limits.heldBytes },
    head: signHead(keys, head),
    facts,
    sealed: { request: sealRequest(keys, id, request), view: sealView(keys, id, shown) },
    bytes: held.bytes.length,
    dueAt: head.expiresAt,
    entry: parts.record.entry({
      ...aboutHold(head),
      kind: 'call.held',
      address: call.address,
      controls: rules.flatMap(rule => rule.controls),
    }),
  })
  const open = async (): Promise<Opened> => {
    if (earlyMs > 0 || !rules.some(rule => rule.preview)) return store.holds.open(opening(view))
    // A call that joins a hold, or that there is no room for, asks its upstream nothing: a store that is full finds what is there already.
    const plain = opening(view)
    const found = await store.holds.open({ ...plain, caps: { ...plain.caps, holds: 0 } })
    if (found.word !== 'full' || found.scope !== 'holds') return found
    const { body } = held
    const previewed = await preview(parts, {
      settings,
      caller,
      upstream,
      call,
      body,
      action,
      rules,
      request,
      fingerprint,
    })
    return store.holds.open(opening({ ...view, preview: previewed }))
  }
  const opened = await open()
  switch (opened.word) {
    case 'opened':
      return {
        id,
        attached: false,
        hold: { head, state: 'pending', rev: opened.rev, dueAt: head.expiresAt, verdicts: [], fence: 0, facts, now },
      }
    case 'attached':
      await ownCall(parts, opened.id, identity, fingerprints)
      return { id: opened.id, attached: true }
    case 'conflict':
      throw new HoldpointError(
        'duplicate_request',
        'This Idempotency-Key was used for another request. Use a new key, or send the very same request.',
      )
    case 'paused': {
      const seconds = Math.max(1, Math.ceil((opened.untilAt - now) / 1000))
      throw new HoldpointError(
        'denied_too_often',
        `Reviewers denied calls like this three times in ten minutes. Nobody is asked again for ${seconds} s.`,
        {
          retryAfterS: seconds,
          rule: ruleNames(rules),
        },
      )
    }
    case 'full':
      throw earlyMs > 0 && opened.scope === 'caller'
        ? new HoldpointError(
            'too_many_holds',
            `You opened ${limits.holdsPerMinute} holds within a minute (limits.holdsPerMinute). Those that are open go on.`,
            { retryAfterS: Math.ceil(earlyMs / 1000) },
          )
        : new HoldpointError('too_many_holds', fullDetail(opened.scope, limits.holdsPerCaller), { retryAfterS: 5 })
  }
}

/** The held bytes without what changes from retry to retry. Compressed ones are taken as they are. */
const stableOf = ({ upstream, body, bytes }: Held): Uint8Array => {
  const { volatileJson = [] } = kindOf(upstream)
  const plain = volatileJson.length > 0 && body.kind === 'json' && body.content === bytes
  return plain
    ? withoutValues(
        bytes,
        volatileJson.map(pointer => pointer.slice(1).split('/')),
      )
    : bytes
}

// What a grant compares. Keyed per rule, so that equal values under two rules are not to be recognised.
const likened = (held: Held, headers: readonly Header[], keys: Parts['keys']): Partial<Pick<View, 'parts'>> => {
  const [rule, ...more] = held.rules
  if (rule === undefined || more.length > 0 || limitsOf(rule) === undefined) return {}
  const { upstream, upstreamTarget: target } = held
  const print = (value: string | Uint8Array): string =>
    keys.fingerprints(value, `grant ${rule.name}`)[0]?.slice(0, 22) ?? ''
  const volatile = kindOf(upstream).volatileJson ?? []
  return { parts: partsOf({ ...held, upstream: upstream.name, target, headers, volatile }, print) }
}

// Where a signed call goes is in no header that is left: no header of a caller has such a name.
const scoped = ({ scope }: Call): readonly Header[] =>
  scope === undefined ? [] : [[':scope', JSON.stringify([scope.service, scope.region, scope.bucket ?? null])]]

// The key of a handshake is a number used once: it says nothing, and looks like a secret.
const shownOf = (headers: readonly Header[], upgrade: string): readonly Header[] => [
  ...headers.filter(([name]) => name.toLowerCase() !== 'sec-websocket-key'),
  ['Upgrade', upgrade],
]

// What the store says is this call's hold must be signed as such: the same caller with the same people behind, the same digest.
const ownCall = async (parts: Parts, id: string, identity: string, fingerprints: readonly string[]): Promise<void> => {
  const hold = await readHold(parts.store, parts.keys, id)
  if (
    hold !== undefined &&
    fingerprints.includes(hold.head.fingerprint) &&
    callerIdentity(hold.head.caller, hold.head.behind) === identity
  ) {
    return
  }
  throw new HoldpointError('internal', undefined, {
    cause: new Error(`the store gives ${id} as the hold of this call, but its record does not verify as that`),
  })
}

const fullDetail = (scope: 'caller' | 'holds' | 'bytes', perCaller: number): string =>
  scope === 'caller'
    ? `You have ${perCaller} calls waiting already. Wait until some are decided, or withdraw some.`
    : 'As many calls are waiting as this gate can hold. Try again soon.'

/** The rules that hold a call, in one text. */
export const ruleNames = (rules: readonly { readonly name: string }[]): string =>
  rules.map(rule => rule.name).join(', ')
