// From approved to sent. An approved call, or one that a grant lets go, is matched again with everything as it is now and released
// once, in the store; deliver.ts sends it.
import { deliver, leaseMs, type Taker } from './deliver.ts'
import { HoldpointError } from './errors.ts'
import { aboutGrant, grantable, makersOf, type Use, useOf } from './grant.ts'
import { keptToken, openRequest } from './hold.ts'
import { located } from './judge.ts'
import type { Caller, Hold, HoldFacts } from './nouns.ts'
import type { Parts } from './parts.ts'
import { type Readiness, readiness, stoppable } from './ready.ts'
import { aboutHold, whoReviews } from './record.ts'
import type { Settings } from './settings.ts'

/** A token that ran out this lately still counts: clocks differ. */
const skewMs = 60_000

export type Released =
  /** The upstream answered, and the taker has it. */
  | { readonly word: 'answered' }
  /** Somebody else moved the hold first: read it again. */
  | { readonly word: 'moved' }
  /** It waits for verdicts, and there is no grant for it. */
  | { readonly word: 'held' }

/**
 * Releases an approved hold, or one that waits and for which there is a grant, and sends its call.
 * @throws unauthenticated (the collecting caller's token has run out), approval_void, upstream_unreachable (nothing was sent), upstream_timeout or delivery_unknown (something was), frozen, store_unavailable
 */
export const release = async (parts: Parts, hold: Hold, taker: Taker): Promise<Released> => {
  // Of a grant's uses at the same time one changes its ledger; the others read it again.
  for (const stale = new Set<string>(); ; ) {
    const released = await attempt(parts, hold, taker, stale)
    if (released.word !== 'stale') return released
    stale.add(released.ledger)
  }
}

const attempt = async (
  parts: Parts,
  hold: Hold,
  taker: Taker,
  stale: ReadonlySet<string>,
): Promise<Released | { readonly word: 'stale'; readonly ledger: string }> => {
  const settings = parts.settings()
  const { store, keys } = parts
  const { id } = hold.head
  const waits = hold.state === 'pending'
  if (hold.state !== 'approved' && !waits) return { word: 'moved' }
  if (waits && !grantable(hold, settings)) return { word: 'held' }
  // What waits goes only by a grant, which there hardly ever is.
  const request = waits ? undefined : openRequest(store, keys, id)
  await Promise.all([parts.freezes.read(), request])
  // The fact only says where to look: what lets the call go is proved again.
  const use = waits || hold.facts.grant !== undefined ? await useOf(parts, hold, settings, stale) : undefined
  if (waits && use === undefined) return { word: 'held' }
  const held = await (request ?? openRequest(store, keys, id))
  if (held === undefined) return { word: 'moved' }

  parts.freezes.refuse(stoppable(hold, settings), id)
  if (taker.kind === 'caller' && taker.by.caller.expiresAt + skewMs <= hold.now) {
    // Its own call ends; the approval stands for one that shows a valid token.
    throw new HoldpointError(
      'unauthenticated',
      'The token ran out while the call waited. Send the same call with a fresh one.',
      { hold: id },
    )
  }
  const collector = taker.kind === 'caller' ? taker.by.caller : await asked(parts, hold, settings)
  const ready: Readiness =
    collector === 'taken back'
      ? { void: "The caller's token is no longer good." }
      : readiness(hold, held, settings, collector, use?.grant)
  if ('void' in ready) {
    if (waits) return { word: 'held' }
    const voided = await store.holds.move({
      hold: id,
      move: 'void',
      rev: hold.rev,
      facts: { why: ready.void, closedAt: hold.now },
      findableUntilAt: null,
      dueAt: null,
      entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.void', detail: ready.void }),
      durable: true,
    })
    if (voided.word !== 'moved') return { word: 'moved' }
    throw new HoldpointError(
      'approval_void',
      `${ready.void} Nothing was sent. The same call asks for a new approval.`,
      { hold: id },
    )
  }

  const moved = await store.holds.move({
    hold: id,
    move: waits ? 'grant' : 'release',
    rev: hold.rev,
    fence: hold.fence,
    beforeAt: waits ? Math.min(ready.untilAt, hold.head.expiresAt) : ready.untilAt,
    dueAt: hold.now + leaseMs,
    ...(use === undefined ? {} : { swap: use.swap, facts: factsOf(use, hold, ready.untilAt) }),
    entry: parts.record.entry({
      ...aboutHold(hold.head),
      kind: 'hold.released',
      ...(ready.glass === undefined ? {} : { detail: 'break_glass', reviewer: whoReviews(ready.glass.reviewer) }),
      ...(use === undefined ? {} : { detail: 'grant', grant: aboutGrant(use.grant) }),
      ...(taker.kind === 'caller' && taker.by.call !== hold.head.call
        ? { collectedBy: { call: taker.by.call, address: taker.by.address } }
        : {}),
    }),
    durable: true,
  })
  if (moved.word === 'epoch') return voidEpoch(parts, hold)
  if (moved.word === 'stale' && use?.swap.was !== undefined) return { word: 'stale', ledger: use.swap.was }
  if (moved.word === 'late' && waits) return { word: 'held' }
  if (moved.word === 'late') {
    await store.holds.move({
      hold: id,
      move: 'lapse',
      rev: hold.rev,
      afterAt: ready.untilAt,
      facts: { closedAt: hold.now },
      findableUntilAt: null,
      dueAt: null,
      entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.lapsed' }),
    })
  }
  if (moved.word !== 'moved') return { word: 'moved' }
  return deliver(
    parts,
    { ...hold, state: 'released', rev: moved.rev, fence: moved.fence },
    held,
    located(ready.upstream, held.call),
    taker,
    ready.untilAt,
    use === undefined ? [] : makersOf(use.grant),
  )
}

const factsOf = ({ grant }: Use, { now }: Hold, approvedUntilAt: number): HoldFacts => ({
  grant: grant.id,
  approvedAt: now,
  approvedUntilAt,
  decidedBy: makersOf(grant)
    .map(({ name }) => name)
    .join(', '),
})

/**
 * Who an async caller is now, where only its issuer can tell: nobody shows the token at this moment, so the one that was shown last is
 * asked about. Undefined where a token says by itself how long it is good.
 * @throws unauthenticated if that cannot be told at present: the approval stands, and it is tried again
 */
const asked = async (parts: Parts, hold: Hold, settings: Settings): Promise<Caller | 'taken back' | undefined> => {
  const { caller } = hold.head
  const issuer = settings.issuers.find(one => one.name === caller.issuer)
  if (issuer?.introspect === undefined) return undefined
  const token = keptToken(parts.keys, hold)
  return (token === undefined ? undefined : await parts.identify.again(token, caller, settings)) ?? 'taken back'
}

const voidEpoch = async (parts: Parts, hold: Hold): Promise<never> => {
  const why = 'The store was restarted without keeping its data on disk, so this approval cannot be relied on.'
  await parts.store.holds.move({
    hold: hold.head.id,
    move: 'void',
    rev: hold.rev,
    facts: { why, closedAt: hold.now },
    findableUntilAt: null,
    dueAt: null,
    entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.void', detail: why }),
  })
  throw new HoldpointError('approval_void', `${why} The same call asks for a new approval.`, { hold: hold.head.id })
}
