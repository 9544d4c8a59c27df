// From approved to an answer. An approved call is matched again with everything as it is now, released once, in the store, and sent:
// the held bytes, on a connection of its own, never twice. Whoever holds the fence finishes; everybody else only looks.
import type { Duplex } from 'node:stream'
import { HoldpointError, toError } from './errors.ts'
import { forward, type MemoryAnswer, rebuilt, type Sending, type Sink, targetAt, toMemory } from './forward.ts'
import { aboutGrant, grantable, makersOf, type Use, useOf } from './grant.ts'
import { endToldMs, keptToken, openRequest, readHold, sealAnswer, uncertainMs } from './hold.ts'
import { located } from './judge.ts'
import type { Call, Caller, Entry, Header, HeldCall, Hold, HoldFacts, Reviewer } from './nouns.ts'
import type { Parts } from './parts.ts'
import { type Proven, prove } from './prove.ts'
import { countedVotes, given, type Readiness, readiness, stoppable } from './ready.ts'
import { aboutHold, whoReviews } from './record.ts'
import { carryHeld, type Line } from './session.ts'
import type { Settings, Upstream } from './settings.ts'
import type { MoveName } from './states.ts'
import type { Move } from './store/store.ts'

const leaseMs = 30_000
/** A token that ran out this lately still counts: clocks differ. */
const skewMs = 60_000
/** An async hold whose upstream refuses is tried again after this, doubling. */
const retryMs = 5_000
const retryMaxMs = 60_000
/** An async answer that takes longer than this to end is not kept. */
const answerMs = 10 * 60_000
const keptMs = 3600_000
const finishTriesMs = [0, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000]

/** Who gets the answer: a caller that waits on its connection, or the store, for an async caller. */
export type Taker =
  | {
      readonly kind: 'caller'
      /** Who collects now: judged beside who opened. */
      readonly by: { readonly caller: Caller; readonly call: string; readonly address: string }
      readonly sink: Sink
      readonly gone: () => boolean
      readonly trace: readonly Header[]
      /** The connection of the call that asks for a tunnel now. */
      readonly tunnel?: { readonly line: Line; readonly call: Call; readonly cut: AbortSignal }
    }
  | { readonly kind: 'store' }

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
  await parts.freezes.read()
  // The fact only says where to look: what lets the call go is proved again.
  const use = waits || hold.facts.grant !== undefined ? await useOf(parts, hold, settings, stale) : undefined
  if (waits && use === undefined) return { word: 'held' }
  const held = await openRequest(store, keys, id)
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
  return send(
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

// ---- send

const send = async (
  parts: Parts,
  hold: Hold,
  held: HeldCall,
  upstream: Upstream,
  taker: Taker,
  untilAt: number,
  makers: readonly Reviewer[],
): Promise<Released> => {
  const settings = parts.settings()
  const { id } = hold.head
  const lease = setInterval(() => void renew(parts, id, hold.fence), leaseMs / 3)
  const finish: Finish = (move, entry, what) => finished(parts, hold, move, { ...aboutHold(hold.head), ...entry }, what)
  try {
    let head: Proven
    try {
      head = await headOf(parts, hold, held, upstream, makers, taker.kind === 'caller' ? taker.trace : [])
    } catch (cause) {
      return await giveBack(parts, hold, upstream, untilAt, finish, cause)
    }
    const memory = taker.kind === 'store' ? toMemory(settings.gate.limits.answer) : undefined
    const enough = new AbortController()
    let answering: Promise<void> | undefined
    const sink =
      taker.kind === 'store' || memory !== undefined
        ? bounded(memory as Memory, enough)
        : watchedHead(taker.sink, status => {
            // The head is on its way to the caller; only now does the hold say so.
            answering = delivered(status, !taker.gone(), held.call.method, finish)
          })
    const sent = await forward(
      {
        ...sendingOf(hold, held, upstream, head),
        signal: enough.signal,
      },
      sink,
    )
    if (sent.state === 'unreachable') return await giveBack(parts, hold, upstream, untilAt, finish, sent.cause)
    if (sent.state === 'lost') return await lost(hold, upstream, sent, finish)
    if (sent.state === 'upgraded') return await opened(parts, hold, upstream, taker, sent, finish)
    if (memory === undefined) await answering
    else await kept(parts, id, held.call.method, sent, memory.answer(), finish)
    return { word: 'answered' }
  } finally {
    clearInterval(lease)
  }
}

const asserted = (
  parts: Parts,
  hold: Hold,
  held: HeldCall,
  upstream: Upstream,
  makers: readonly Reviewer[],
): Promise<Header> => {
  const settings = parts.settings()
  const { caller, id, rules, method } = hold.head
  return parts.assertions.held(
    settings.gate.assertionKey,
    { issuer: settings.gate.url, audience: upstream.name, caller, rule: rules.map(({ name }) => name).join(', ') },
    {
      hold: id,
      approvers: [
        ...[...countedVotes(hold, settings), ...given(hold, settings, 'break_glass')].map(({ reviewer }) => reviewer),
        ...makers,
      ].map(({ login, subject }) => ({ login, subject })),
      method,
      target: targetAt(upstream, held.upstreamTarget),
      body: Buffer.from(held.body, 'base64'),
    },
  )
}

const bodyOf = (hold: Hold, held: HeldCall): Buffer | undefined =>
  hold.head.size > 0 ? Buffer.from(held.body, 'base64') : undefined

/** The held head with what is ours added now. The trace context may be the collecting call's; nothing else of it is forwarded. */
const headOf = async (
  parts: Parts,
  hold: Hold,
  held: HeldCall,
  upstream: Upstream,
  makers: readonly Reviewer[],
  trace: readonly Header[],
): Promise<Proven> => {
  const { method } = held.call
  const { caller } = hold.head
  const added = [
    ...rebuilt(held.call, parts.settings().gate, trace),
    await asserted(parts, hold, held, upstream, makers),
  ]
  const { upstreamTarget: target, headers } = held
  const body = Buffer.from(held.body, 'base64')
  return prove({ upstream, caller, method, target, scope: held.call.scope, headers, body }, added)
}

const sendingOf = (hold: Hold, held: HeldCall, upstream: Upstream, head: Proven): Sending => {
  const body = bodyOf(hold, held)
  const { method, upgrade } = held.call
  return {
    upstream,
    method,
    target: held.upstreamTarget,
    ...head,
    body,
    contentLength: body !== undefined || ['POST', 'PUT', 'PATCH'].includes(method) ? hold.head.size : undefined,
    fresh: true,
    ...(upgrade === undefined ? {} : { upgrade }),
  }
}

/** What a delivery's end changes, given the store's clock. */
type Finish = (
  move: MoveName,
  entry: Entry,
  what: (at: number) => Omit<Partial<Move>, 'move' | 'hold' | 'rev' | 'fence' | 'entry'>,
) => Promise<void>

const isRead = (method: string): boolean => ['GET', 'HEAD', 'OPTIONS'].includes(method)

const delivered = (status: number, answered: boolean, method: string, finish: Finish): Promise<void> =>
  finish('deliver', { kind: 'hold.delivered', status }, at => ({
    facts: { closedAt: at, delivery: { state: 'delivered', status, answered, at } },
    dueAt: null,
    // A write whose answer never reached its caller must not be repeated unawares.
    ...(answered || isRead(method) ? { findableUntilAt: null } : { findableUntilAt: at + uncertainMs, remember: true }),
  }))

const kept = (
  parts: Parts,
  id: string,
  method: string,
  sent: { readonly status: number; readonly complete: boolean },
  answer: MemoryAnswer,
  finish: Finish,
): Promise<void> => {
  const whyNot =
    answer === 'too_large' ? 'it was larger than limits.answer' : sent.complete ? undefined : 'it broke off'
  return finish('deliver', { kind: 'hold.delivered', status: sent.status }, at => ({
    facts: {
      closedAt: at,
      delivery: { state: 'delivered', status: sent.status, answered: false, at },
      ...(whyNot === undefined ? { keptUntilAt: at + keptMs } : { keptWhyNot: whyNot }),
    },
    dueAt: null,
    // Until its caller has fetched the answer, a write must not be repeated unawares (tasks.ts notes that it was).
    ...(isRead(method) ? { findableUntilAt: null } : { findableUntilAt: at + uncertainMs, remember: true }),
    ...(whyNot !== undefined || answer === 'too_large'
      ? {}
      : {
          answer: {
            sealed: sealAnswer(parts.keys, id, {
              version: 1,
              status: answer.status,
              headers: answer.headers,
              body: answer.body.toString('base64'),
            }),
            untilAt: at + keptMs,
          },
        }),
  }))
}

/** No connection, or no credential: surely nothing was sent, so the approval stands while it lasts. */
const giveBack = async (
  parts: Parts,
  hold: Hold,
  upstream: Upstream,
  untilAt: number,
  finish: Finish,
  cause: unknown,
): Promise<never> => {
  const over = (await parts.store.now().catch(() => Date.now())) >= untilAt
  if (over) {
    await finish('fail', { kind: 'hold.failed' }, at => ({
      facts: { closedAt: at, delivery: { state: 'failed', at } },
      dueAt: null,
      findableUntilAt: at + endToldMs,
    }))
  } else {
    const backOff = Math.min(retryMaxMs, retryMs * 2 ** Math.min(10, hold.fence - 1))
    await finish('return', { kind: 'hold.returned' }, at => ({ dueAt: untilAt, facts: { retryAt: at + backOff } }))
  }
  throw new HoldpointError(
    'upstream_unreachable',
    `${upstream.name} could not be reached and nothing was sent. ${over ? 'The approval has run out.' : 'The approval stands: send the same call again.'}`,
    { hold: hold.head.id, cause, ...(over ? {} : { retryAfterS: 5 }) },
  )
}

/** The upstream switched: the tunnel is carried to its end; until then the hold stays released and can be revoked. */
const opened = async (
  parts: Parts,
  hold: Hold,
  upstream: Upstream,
  taker: Taker,
  sent: { readonly headers: readonly Header[]; readonly socket: Duplex },
  finish: Finish,
): Promise<Released> => {
  const { head } = hold
  if (taker.kind !== 'caller' || taker.tunnel === undefined) {
    sent.socket.destroy()
    return lost(hold, upstream, { timeout: false, cause: new Error('a tunnel without a caller') }, finish)
  }
  const settings = parts.settings()
  try {
    await carryHeld(
      parts,
      hold,
      {
        ...taker.tunnel,
        upstream,
        answer: sent,
        own: [['Holdpoint-Hold', head.id]],
        about: aboutHold(head),
        stoppable: stoppable(hold, settings),
      },
      leaseMs,
    )
  } catch (cause) {
    return lost(hold, upstream, { timeout: false, cause }, finish)
  }
  await delivered(101, !taker.gone(), head.method, finish)
  return { word: 'answered' }
}

const lost = async (
  { head: { id, upgrade } }: Hold,
  upstream: Upstream,
  sent: { readonly timeout: boolean; readonly cause: unknown },
  finish: Finish,
): Promise<never> => {
  const code = sent.timeout ? 'upstream_timeout' : 'delivery_unknown'
  await finish('lose', { kind: 'hold.unknown', code }, at => ({
    facts: { closedAt: at, delivery: { state: 'unknown', at } },
    dueAt: null,
    findableUntilAt: upgrade === undefined ? at + uncertainMs : null,
    remember: true,
  }))
  throw new HoldpointError(
    code,
    `The call was sent to ${upstream.name}, but no answer came back. It may have been carried out; it is not sent again by itself.`,
    {
      hold: id,
      cause: sent.cause,
    },
  )
}

/** Ends a release by its fencing number, however often the store has to be asked. */
const finished = async (
  parts: Parts,
  hold: Hold,
  move: MoveName,
  entry: Entry,
  what: Parameters<Finish>[2],
): Promise<void> => {
  for (const waitMs of finishTriesMs) {
    if (waitMs > 0) await new Promise(resolve => setTimeout(resolve, waitMs))
    try {
      for (;;) {
        const now = await readHold(parts.store, parts.keys, hold.head.id)
        if (now === undefined || now.fence !== hold.fence) return
        const moved = await parts.store.holds.move({
          ...what(now.now),
          hold: hold.head.id,
          move,
          rev: now.rev,
          fence: hold.fence,
          entry: parts.record.entry(entry),
        })
        if (moved.word !== 'changed') return
      }
    } catch (error) {
      parts.log.warn(
        { err: toError(error), hold: hold.head.id, move },
        'the end of a delivery could not be recorded yet',
      )
    }
  }
  parts.log.error({ hold: hold.head.id, move }, 'the end of a delivery was not recorded; the hold will show as unknown')
}

const renew = async (parts: Parts, id: string, fence: number): Promise<void> => {
  try {
    const hold = await readHold(parts.store, parts.keys, id)
    if (hold === undefined || hold.state !== 'released' || hold.fence !== fence) return
    await parts.store.holds.move({ hold: id, move: 'renew', rev: hold.rev, fence, dueAt: hold.now + leaseMs })
  } catch {
    // The next turn tries again; if none succeeds the hold becomes unknown, which is the truth for everybody else.
  }
}

type Memory = ReturnType<typeof toMemory>

/** An answer that nobody waits for on a connection ends when it is too large or takes too long: what is kept is bounded. */
const bounded = (memory: Memory, enough: AbortController): Sink => {
  let timer: NodeJS.Timeout | undefined
  return {
    ...memory,
    head(status, headers) {
      memory.head(status, headers)
      timer = setTimeout(() => enough.abort(), answerMs).unref()
    },
    data(chunk) {
      const more = memory.data(chunk)
      if (memory.full()) enough.abort()
      return more
    },
    end() {
      clearTimeout(timer)
    },
  }
}

const watchedHead = (sink: Sink, seen: (status: number) => void): Sink => ({
  ...sink,
  head(status, headers, statusText) {
    sink.head(status, headers, statusText)
    seen(status)
  },
})
