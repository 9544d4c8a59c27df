// A held call from its caller's side: opens a hold or re-attaches to the one there is, waits with it, and ends in exactly one answer.
// Any number of callers may be attached, here or on other replicas; one of them (or, for an async hold, Holdpoint itself) releases it.

import type { Taker } from './deliver.ts'
import { type ErrorCode, HoldpointError } from './errors.ts'
import { limitsOf } from './grant.ts'
import {
  callerIdentity,
  digestOf,
  isVolatile,
  maskedPrint,
  newHoldId,
  newSalt,
  openAnswer,
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
import type { Action, Behind, Body, Call, Caller, Header, HeldCall, Hold, HoldHead, KeptAnswer, View } from './nouns.ts'
import type { Parts } from './parts.ts'
import { approversOf } from './people.ts'
import type { Prefer } from './prefer.ts'
import { preview } from './preview.ts'
import { shortest } from './ready.ts'
import { aboutHold } from './record.ts'
import { release } from './release.ts'
import type { Rule, Settings, Upstream } from './settings.ts'
import { live } from './states.ts'
import type { Opened, Opening } from './store/store.ts'
import { statusUrl } from './task.ts'

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

// ---- open

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

/** `attached`: the hold was there already. */
export type OpenedHold = { readonly id: string; readonly attached: boolean }

/**
 * Opens a hold for this call, or finds the one it belongs to.
 * @param earlyMs for so long this caller may open no other hold; it may still find one
 * @throws duplicate_request, denied_too_often, too_many_holds, unreadable_body, store_unavailable
 */
export const openHold = async (parts: Parts, held: Held, earlyMs = 0): Promise<OpenedHold> => {
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
  const bare = held.idempotencyKey === undefined ? digest : digestWithout(new Set([...volatile, 'idempotency-key']))
  const id = newHoldId()
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
      { rule: names(rules) },
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
    fingerprint: keys.fingerprints(digest, 'digest')[0] ?? '',
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
  const opening = (shown: View): Opening => ({
    id,
    caller: keys.fingerprints(identity, 'caller').at(-1) ?? '',
    fingerprints: keys.fingerprints(digest, 'digest'),
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
    facts: held.async
      ? { async: true, ...shownToken(keys, id, caller, held.opaque) }
      : shownToken(keys, id, caller, undefined),
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
      return { id, attached: false }
    case 'attached':
      await ownCall(parts, opened.id, identity, keys.fingerprints(digest, 'digest'))
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
          rule: names(rules),
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

const names = (rules: readonly { readonly name: string }[]): string => rules.map(rule => rule.name).join(', ')

// ---- wait

export type Wait = {
  readonly settings: Settings
  /** Is the caller's token still good? */
  readonly again: Identified['again']
  readonly opaque: Identified['opaque']
  readonly prefer: Prefer
  /** How long to block, counted from now. */
  readonly waitMs: number
  /** Aborts when the caller is gone (`gone`) or this process is shutting down (`drain`). */
  readonly gone: AbortSignal
  readonly drain: AbortSignal
  readonly taker: Extract<Taker, { readonly kind: 'caller' }>
  /** Told, each time the call goes on waiting, what it waits for. */
  readonly waits?: (text: string) => void
  /** The call came with an Idempotency-Key: its hold's end is its answer for as long as the key is kept. */
  readonly keyed: boolean
}

/** How a wait ends well: the answer went to the caller, is kept and can be replayed, or (async) the hold simply goes on. */
export type Ended =
  | { readonly word: 'answered' }
  | { readonly word: 'kept'; readonly answer: KeptAnswer }
  | { readonly word: 'waiting'; readonly hold: Hold }

/**
 * Waits with a hold until it ends, can be released, or the waiting is over.
 * @throws the error of the hold's end, hold_pending or shutting_down
 */
export const attend = async (parts: Parts, id: string, wait: Wait): Promise<Ended> => {
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), wait.waitMs)
  const until = AbortSignal.any([over.signal, wait.gone, wait.drain])
  let wasLive = false
  try {
    for (let tried = -1, first = true; ; ) {
      const woken = wakened(parts, id, until)
      try {
        const hold = await readHold(parts.store, parts.keys, id)
        if (hold === undefined)
          throw new HoldpointError('unknown_hold', 'The hold is gone. The same call asks for a new approval.')
        wasLive ||= live.has(hold.state)
        const ended = await step(parts, hold, wait, wasLive || wait.keyed, first)
        // Somebody else moved it: look again at once, but never twice at the same revision.
        if (ended === 'again' && hold.rev !== tried) {
          tried = hold.rev
          continue
        }
        first = false
        if (ended !== 'wait' && ended !== 'again') return ended
        if (until.aborted) return stillWaiting(hold, wait)
        wait.waits?.(`${whatFor(hold, wait)}${hold.state === 'pending' ? '; waiting for approval' : ''}`)
        await woken.next
      } finally {
        woken.stop()
      }
    }
  } finally {
    clearTimeout(timer)
  }
}

// Registered before the hold is read, so that no change in between is missed.
const wakened = (parts: Parts, id: string, until: AbortSignal): { next: Promise<void>; stop(): void } => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const wake = (): void => resolve()
  const off = parts.watch.on(id, wake)
  until.addEventListener('abort', wake, { once: true })
  return {
    next: promise,
    stop() {
      off()
      until.removeEventListener('abort', wake)
    },
  }
}

const step = async (
  parts: Parts,
  hold: Hold,
  wait: Wait,
  mine: boolean,
  first: boolean,
): Promise<Ended | 'wait' | 'again'> => {
  const { head, state, facts } = hold
  const again = wait.keyed ? ' To ask again, use a new Idempotency-Key.' : ''
  const end = (code: ErrorCode, detail: string): never => {
    throw new HoldpointError(code, `${detail}${again}`, {
      hold: head.id,
      statusUrl: statusUrl(wait.settings, head.id),
      rule: names(head.rules),
    })
  }
  switch (state) {
    case 'released':
      return facts.tunnel === undefined
        ? 'wait'
        : end(
            'already_delivered',
            'The tunnel of this approval is open already. End it first, or ask for another one with an Idempotency-Key of its own.',
          )
    case 'pending': {
      // A grant is asked for when a call comes, not while it waits: then it is its reviewers' to decide.
      if (!first || facts.async || wait.prefer.async || wait.gone.aborted) return 'wait'
      const released = await release(parts, hold, wait.taker)
      return released.word === 'answered' ? released : released.word === 'held' ? 'wait' : 'again'
    }
    case 'approved': {
      if (facts.async || wait.prefer.async || wait.gone.aborted) return 'wait'
      // The call has waited: its token may have been taken back meanwhile. The approval stands for one that is still good.
      const caller = await wait.again(parts.settings())
      if (caller === undefined)
        return end('unauthenticated', 'The token is no longer good. Send the same call with a fresh one.')
      const released = await release(parts, hold, { ...wait.taker, by: { ...wait.taker.by, caller } })
      return released.word === 'answered' ? released : 'again'
    }
    case 'delivered': {
      if (!facts.async)
        return end(
          'already_delivered',
          `This call was delivered${facts.delivery?.answered ? ' and another caller has its answer' : ', but its answer reached no caller'}. It is not sent again.`,
        )
      // A repeat that comes after the delivery is another call: it is told where the answer is, and takes nothing.
      if (!mine)
        return end(
          'already_delivered',
          `This call was delivered at ${new Date(facts.delivery?.at ?? hold.now).toISOString()}. Its answer is at ${statusUrl(wait.settings, head.id)}/response.`,
        )
      const answer = await openAnswer(parts.store, parts.keys, head.id)
      return answer === undefined
        ? end(
            'answer_not_kept',
            `The call was delivered; its answer is not kept (${facts.keptWhyNot ?? 'kept for one hour only'}).`,
          )
        : { word: 'kept', answer }
    }
    case 'denied':
      return end(
        'hold_denied',
        facts.comment === undefined ? 'A reviewer denied this call.' : `A reviewer denied this call: ${facts.comment}`,
      )
    case 'expired':
      return end('hold_expired', 'Nobody decided in time.')
    case 'cancelled':
      return end('hold_cancelled', 'The call was withdrawn.')
    case 'lapsed':
      return end('hold_expired', 'The call was approved but not sent before the approval ran out.')
    case 'revoked':
      return end(
        'hold_revoked',
        `The approval was taken back${facts.comment === undefined ? '.' : `: ${facts.comment}`}`,
      )
    case 'void':
      return end(
        'approval_void',
        `${facts.why ?? 'The approval no longer holds.'} Nothing was sent.${wait.keyed ? '' : ' The same call asks for a new approval.'}`,
      )
    case 'unknown':
      return end(
        'delivery_unknown',
        'The call was sent once and no answer came back. It may have been carried out. Ask a reviewer to look before you repeat it.',
      )
    case 'failed':
      return end(
        'upstream_unreachable',
        'The upstream could not be reached while the approval lasted. Nothing was sent.',
      )
  }
}

const stillWaiting = (hold: Hold, wait: Wait): Ended => {
  const { head } = hold
  const where = { hold: head.id, statusUrl: statusUrl(wait.settings, head.id), rule: names(head.rules), retryAfterS: 1 }
  if (wait.drain.aborted)
    throw new HoldpointError(
      'shutting_down',
      `Held as ${head.id}. Run the same call again: another replica goes on with it. Nothing was sent.`,
      where,
    )
  if (wait.prefer.async) return { word: 'waiting', hold }
  throw new HoldpointError(
    'hold_pending',
    `${whatFor(hold, wait)}. Run the same call again, or GET ${where.statusUrl}.${hold.state === 'pending' ? ' Nothing was sent.' : ''}`,
    where,
  )
}

const whatFor = ({ head, state }: Hold, { settings }: Wait): string => {
  const rules = settings.rules.filter(rule => head.rules.some(ref => ref.name === rule.name))
  const next =
    state === 'pending' ? `for ${approversOf(rules).join(', ') || 'its approvers'}` : 'and approved; it is being sent'
  return `Held as ${head.id} ${next}`
}
