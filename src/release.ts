// From approved to an answer. An approved call is matched again with everything as it is now, released once, in the store, and sent:
// the held bytes, on a connection of its own, never twice. Whoever holds the fence finishes; everybody else only looks.

import { parseBody } from './body.ts'
import { credential } from './credentials/make.ts'
import { HoldpointError, toError } from './errors.ts'
import { forward, type MemoryAnswer, rebuilt, type Sending, type Sink, toMemory } from './forward.ts'
import type { Stoppable } from './freezes.ts'
import { openRequest, readHold, sealAnswer, viewOf } from './hold.ts'
import { judge } from './judge.ts'
import type { Entry, Header, HeldCall, Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import { peopleBehind, reviewerKeys, samePerson, tally, type Vote } from './people.ts'
import { aboutHold } from './record.ts'
import type { Rule, Settings, Upstream } from './settings.ts'
import type { MoveName } from './states.ts'
import type { Move } from './store/store.ts'

const leaseMs = 30_000
/** For this long an identical call is told that an earlier one was delivered, or may have been, without an answer. */
const uncertainMs = 10 * 60_000
const keptMs = 3600_000
const finishTriesMs = [0, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000]

/** Who gets the answer: a caller that waits on its connection, or the store, for an async caller. */
export type Taker =
  | { readonly kind: 'caller'; readonly sink: Sink; readonly gone: () => boolean; readonly trace: readonly Header[] }
  | { readonly kind: 'store' }

export type Released =
  /** The upstream answered, and the taker has it. */
  | { readonly word: 'answered' }
  /** Somebody else moved the hold first: read it again. */
  | { readonly word: 'moved' }

/**
 * Releases an approved hold and sends its call.
 * @param tokenUntilAt when the newest valid token that its caller showed runs out
 * @throws approval_void, upstream_unreachable (nothing was sent), upstream_timeout or delivery_unknown (something was), frozen, store_unavailable
 */
export const release = async (parts: Parts, hold: Hold, taker: Taker, tokenUntilAt: number): Promise<Released> => {
  const settings = parts.settings()
  const { store, keys } = parts
  const { id } = hold.head
  if (hold.state !== 'approved') return { word: 'moved' }
  const held = await openRequest(store, keys, id)
  if (held === undefined) return { word: 'moved' }

  await parts.freezes.read()
  parts.freezes.refuse(stoppable(hold, settings), id)
  const ready = readiness(hold, held, settings, tokenUntilAt, taker.kind === 'store' ? settings.tokenGraceMs : 60_000)
  if ('void' in ready) {
    await store.holds.move({
      hold: id,
      move: 'void',
      rev: hold.rev,
      facts: { why: ready.void, closedAt: hold.now },
      findableUntilAt: null,
      dueAt: null,
      entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.void', detail: ready.void }),
      durable: true,
    })
    throw new HoldpointError(
      'approval_void',
      `${ready.void} Nothing was sent. The same call asks for a new approval.`,
      { hold: id },
    )
  }

  const moved = await store.holds.move({
    hold: id,
    move: 'release',
    rev: hold.rev,
    fence: hold.fence,
    beforeAt: ready.untilAt,
    dueAt: hold.now + leaseMs,
    entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.released' }),
    durable: true,
  })
  if (moved.word === 'epoch') return voidEpoch(parts, hold)
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
    ready.upstream,
    taker,
    ready.untilAt,
  )
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

// ---- may it go?

type Readiness = { readonly void: string } | { readonly upstream: Upstream; readonly untilAt: number }

/** The rules that hold this call as they are now, or why it would no longer be held by them. Also judges verdicts (decide.ts). */
export const rulesNow = (
  hold: Hold,
  held: HeldCall,
  settings: Settings,
): { readonly rules: readonly Rule[]; readonly upstream: Upstream } | { readonly void: string } => {
  const { head } = hold
  const upstream = settings.upstreams.find(one => one.name === head.upstream)
  if (upstream === undefined || upstream.hash !== head.upstreamHash)
    return { void: `The upstream ${head.upstream} is configured differently now.` }
  const bytes = Buffer.from(held.body, 'base64')
  const { judgement } = judge(settings, {
    call: { ...held.call, headers: held.headers },
    paths: held.paths,
    upstream,
    caller: head.caller,
    body: parseBody(held.headers, bytes, upstream.limits.inspect),
    at: hold.now,
  })
  const same =
    judgement.outcome === 'hold' &&
    judgement.rules.length === head.rules.length &&
    head.rules.every(ref => judgement.rules.some(rule => rule.name === ref.name && rule.hash === ref.hash))
  return same ? { rules: judgement.rules, upstream } : { void: 'The rules say something else of this call now.' }
}

/** The verdicts that still count: signed approvals of people who are, as things are now, not behind the call. */
export const countedVotes = (hold: Hold, settings: Settings): readonly Vote[] => {
  const behind = new Set([...hold.head.behind.keys, ...peopleBehind(hold.head.caller, settings).keys])
  return hold.verdicts
    .filter(verdict => verdict.verdict === 'approve' && verdict.view === viewOf(hold.head))
    .map(verdict => ({
      keys: [...new Set([...verdict.keys, ...reviewerKeys(verdict.reviewer, settings)])],
      reviewer: verdict.reviewer,
    }))
    .filter(vote => vote.reviewer.interactive && !samePerson(vote.keys, [...behind]))
}

/** What a freeze may say of a held call. Whoever approved it is concerned as well as whoever is behind it. */
export const stoppable = (hold: Hold, settings: Settings): Stoppable => ({
  caller: hold.head.caller,
  upstream: hold.head.upstream,
  people: () => [
    ...hold.head.behind.keys,
    ...peopleBehind(hold.head.caller, settings).keys,
    ...hold.verdicts.flatMap(verdict => [...verdict.keys, ...reviewerKeys(verdict.reviewer, settings)]),
  ],
})

const readiness = (
  hold: Hold,
  held: HeldCall,
  settings: Settings,
  tokenUntilAt: number,
  graceMs: number,
): Readiness => {
  const now = rulesNow(hold, held, settings)
  if ('void' in now) return now
  const votes = countedVotes(hold, settings)
  if (now.rules.length === 0 || now.rules.some(rule => unmet(rule, votes, settings)))
    return { void: 'A vote for it no longer counts.' }
  if (!settings.issuers.some(issuer => issuer.name === hold.head.caller.issuer))
    return { void: "The caller's issuer is no longer trusted." }
  if (tokenUntilAt + graceMs <= hold.now) return { void: "The caller's token ran out before the call could be sent." }
  return { upstream: now.upstream, untilAt: approvedUntil(hold, now.rules) }
}

const unmet = (rule: Rule, votes: readonly Vote[], settings: Settings): boolean => {
  const { have, needed } = tally(rule, votes, settings)
  return needed < 1 || have < needed
}

/** When an approval runs out: counted from the last signed verdict, not from anything that could be written into the store. */
export const approvedUntil = (hold: Hold, rules: readonly Rule[]): number =>
  Math.max(...hold.verdicts.map(verdict => verdict.at)) + shortest(rules, approve => approve.approvedForMs)

/** The shortest of a duration over every entry of every rule. */
export const shortest = (rules: readonly Rule[], pick: (approve: Rule['approve'][number]) => number): number =>
  Math.min(...rules.flatMap(rule => rule.approve.map(pick)))

// ---- send

const send = async (
  parts: Parts,
  hold: Hold,
  held: HeldCall,
  upstream: Upstream,
  taker: Taker,
  untilAt: number,
): Promise<Released> => {
  const settings = parts.settings()
  const { id } = hold.head
  const lease = setInterval(() => void renew(parts, id, hold.fence), leaseMs / 3)
  const finish: Finish = (move, entry, what) => finished(parts, hold, move, { ...aboutHold(hold.head), ...entry }, what)
  try {
    let proof: readonly Header[]
    try {
      proof = await credential(upstream.credential).headers()
    } catch (cause) {
      return await giveBack(hold, upstream, untilAt, finish, cause)
    }
    const memory = taker.kind === 'store' ? toMemory(settings.gate.limits.answer) : undefined
    let answering: Promise<void> | undefined
    const sink =
      taker.kind === 'store' || memory !== undefined
        ? (memory as Sink)
        : watchedHead(taker.sink, status => {
            // The head is on its way to the caller; only now does the hold say so.
            answering = delivered(status, !taker.gone(), held.call.method, finish)
          })
    const sent = await forward(
      sendingOf(hold, held, upstream, settings, proof, taker.kind === 'caller' ? taker.trace : []),
      sink,
    )
    if (sent.state === 'unreachable') return await giveBack(hold, upstream, untilAt, finish, sent.cause)
    if (sent.state === 'lost') return await lost(id, upstream, sent, finish)
    if (memory === undefined) await answering
    else await kept(parts, id, sent, memory.answer(), finish)
    return { word: 'answered' }
  } finally {
    clearInterval(lease)
  }
}

/** The held bytes with what is ours added now. The trace context may be the collecting call's; nothing else of it is forwarded. */
const sendingOf = (
  hold: Hold,
  held: HeldCall,
  upstream: Upstream,
  settings: Settings,
  proof: readonly Header[],
  trace: readonly Header[],
): Sending => {
  const added = [...rebuilt(held.call, settings.gate, trace), ...proof]
  const replaced = new Set(added.map(([name]) => name.toLowerCase()))
  const { size } = hold.head
  const body = size > 0 ? Buffer.from(held.body, 'base64') : undefined
  return {
    upstream,
    method: held.call.method,
    target: held.upstreamTarget,
    headers: [...held.headers.filter(([name]) => !replaced.has(name.toLowerCase())), ...added],
    body,
    contentLength: body !== undefined || ['POST', 'PUT', 'PATCH'].includes(held.call.method) ? size : undefined,
    fresh: true,
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
  sent: { readonly status: number; readonly complete: boolean },
  answer: MemoryAnswer,
  finish: Finish,
): Promise<void> => {
  const whyNot =
    answer === 'too_large' ? 'it was larger than limits.answer' : sent.complete ? undefined : 'it broke off'
  return finish('deliver', { kind: 'hold.delivered', status: sent.status }, at => ({
    facts: {
      closedAt: at,
      delivery: { state: 'delivered', status: sent.status, answered: true, at },
      ...(whyNot === undefined ? { keptUntilAt: at + keptMs } : { keptWhyNot: whyNot }),
    },
    dueAt: null,
    findableUntilAt: null,
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
  hold: Hold,
  upstream: Upstream,
  untilAt: number,
  finish: Finish,
  cause: unknown,
): Promise<never> => {
  let over = false
  await finish('return', { kind: 'hold.returned' }, at => {
    over = at >= untilAt
    return { dueAt: untilAt }
  })
  if (over) {
    await finish('fail', { kind: 'hold.failed' }, at => ({
      facts: { closedAt: at, delivery: { state: 'failed', at } },
      dueAt: null,
      findableUntilAt: null,
    }))
  }
  throw new HoldpointError(
    'upstream_unreachable',
    `${upstream.name} could not be reached and nothing was sent. ${over ? 'The approval has run out.' : 'The approval stands: send the same call again.'}`,
    {
      hold: hold.head.id,
      cause,
      ...(over ? {} : { retryAfterS: 5 }),
    },
  )
}

const lost = async (
  id: string,
  upstream: Upstream,
  sent: { readonly timeout: boolean; readonly cause: unknown },
  finish: Finish,
): Promise<never> => {
  const code = sent.timeout ? 'upstream_timeout' : 'delivery_unknown'
  await finish('lose', { kind: 'hold.unknown', code }, at => ({
    facts: { closedAt: at, delivery: { state: 'unknown', at } },
    dueAt: null,
    findableUntilAt: at + uncertainMs,
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

const watchedHead = (sink: Sink, seen: (status: number) => void): Sink => ({
  ...sink,
  head(status, headers, statusText) {
    sink.head(status, headers, statusText)
    seen(status)
  },
})
