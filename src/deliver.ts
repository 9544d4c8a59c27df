// A released call on its way: the held bytes, on a connection of its own, never twice; what became of it is recorded under the fence.
import type { Duplex } from 'node:stream'
import { HoldpointError, toError } from './errors.ts'
import { forward, type MemoryAnswer, rebuilt, type Sending, type Sink, targetAt, toMemory } from './forward.ts'
import { endToldMs, readHold, sealAnswer, uncertainMs } from './hold.ts'
import type { Call, Caller, Entry, Header, HeldCall, Hold, Reviewer } from './nouns.ts'
import type { Parts } from './parts.ts'
import { type Proven, prove } from './prove.ts'
import { countedVotes, given, stoppable } from './ready.ts'
import { aboutHold } from './record.ts'
import { carryHeld, type Line } from './session.ts'
import type { Upstream } from './settings.ts'
import type { MoveName } from './states.ts'
import type { Move } from './store/store.ts'

/** For how long one replica may send before the sweep takes the hold for lost; renewed while it does. */
export const leaseMs = 30_000
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
      /** Made when there is something to take. */
      readonly sink: () => Sink
      readonly gone: () => boolean
      readonly trace: readonly Header[]
      /** The connection of the call that asks for a tunnel now. */
      readonly tunnel?: { readonly line: Line; readonly call: Call; readonly cut: AbortSignal }
    }
  | { readonly kind: 'store' }

export type Delivered =
  /** The upstream answered, and the taker has it. */
  { readonly word: 'answered' }

/**
 * Sends a released call, to its end. Whoever holds the fence finishes; everybody else only looks.
 * @throws upstream_unreachable (nothing was sent), upstream_timeout or delivery_unknown (something was)
 */
export const deliver = async (
  parts: Parts,
  hold: Hold,
  held: HeldCall,
  upstream: Upstream,
  taker: Taker,
  untilAt: number,
  makers: readonly Reviewer[],
): Promise<Delivered> => {
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
        : watchedHead(taker.sink(), status => {
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
): Promise<Delivered> => {
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
