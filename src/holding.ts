// The held branch of a call's way: may it be held at all, then open or re-attach, wait, and answer its caller in exactly one way.
// Also sends approved async holds, for which nobody waits on a connection.
import { answerJson } from './answer.ts'
import { attend, type Ear, listen, newEar, type Wait } from './attend.ts'
import { HoldpointError, toError } from './errors.ts'
import { toResponse } from './forward.ts'
import { heldCallers } from './heap.ts'
import { newHoldId, readHold, shownToken } from './hold.ts'
import type { CallerResponse } from './incoming.ts'
import { kindOf } from './judge.ts'
import { type Meanwhile, meanwhile } from './meanwhile.ts'
import type { Caller } from './nouns.ts'
import { type Held, openHold } from './open.ts'
import type { Parts } from './parts.ts'
import { namedPerson, samePerson } from './people.ts'
import { preferOf } from './prefer.ts'
import { callRate } from './rate.ts'
import { shortest } from './ready.ts'
import { aboutHold, whoCalls } from './record.ts'
import { release } from './release.ts'
import type { Line } from './session.ts'
import type { Rule, Settings } from './settings.ts'
import { statusUrl, taskOf } from './task.ts'
import { seeAnswer, seeToken, writeKept } from './tasks.ts'

type Waiting = Wait & Partial<Pick<Meanwhile, 'replay'>> & { readonly id: string }

type Opened = (refused: Meanwhile['refused'] | undefined) => void

export type Holding = {
  /**
   * Holds a call until it has an answer. `opened` is called once the hold is on record, with what ends an answer that was opened while
   * the call waits; `line` is the connection of a call that asks
   * for a tunnel, which is cut when `cut` aborts.
   * @throws no_owner, reason_required, no_eligible_reviewer, and whatever a hold ends with
   */
  hold(response: CallerResponse, held: Held, opened: Opened, line?: Line): Promise<void>
  /** Sends an async hold that nobody has sent yet, if it is approved or there is a grant for it. */
  deliver(id: string): Promise<void>
  /** Resolves when nothing is being sent for async callers any more. */
  idle(): Promise<void>
}

export const holding = (parts: Parts, draining: AbortSignal, cut: AbortSignal): Holding => {
  const sending = new Map<string, Promise<void>>()
  /** How many callers of this process wait with each hold. */
  const waiting = new Map<string, number>()
  const openings = callRate(() => performance.now(), 60_000)

  /** Those that wait now. */
  const ears = new Set<Ear>()
  draining.addEventListener(
    'abort',
    () => {
      for (const ear of ears) ear.wake()
    },
    { once: true },
  )

  const hold = async (response: CallerResponse, held: Held, opened: Opened, line?: Line): Promise<void> => {
    const { caller } = held
    refuseUnheld(held)
    const fresh = newHoldId()
    const ear = newEar()
    // From the first moment on: a caller may hang up, and its hold may be decided, while it opens.
    ear.gone = response.destroyed
    response.once('close', () => {
      ear.gone = true
      ear.wake()
    })
    const deaf = listen(parts.watch, fresh, ear)
    const opener = JSON.stringify([caller.issuer, caller.subject, caller.client])
    const { holdsPerMinute } = held.settings.gate.limits
    const found = await openHold(parts, held, openings.look(opener, holdsPerMinute), fresh).catch((error: unknown) => {
      deaf()
      throw error
    })
    const { id, attached } = found
    let off = deaf
    if (attached) {
      deaf()
      ear.told = 0
      off = listen(parts.watch, id, ear)
    }
    let wait: Waiting
    try {
      const { during, ...rest } = waitOf(response, id, attached, held, ear, line)
      wait = attached ? rest : { ...rest, opened: found.hold }
      opened(during?.refused)
      if (attached) noteAttached(id, held)
      else openings.early(opener, holdsPerMinute)
    } catch (error) {
      off()
      throw error
    }
    // What waits is small: the body is the store's now, and nothing here keeps it.
    return waited(response, wait, off)
  }

  /** How a call waits with its hold: of the call itself only what its answer will need. */
  const waitOf = (
    response: CallerResponse,
    id: string,
    attached: boolean,
    { settings, call, caller, rules, upstream, body, again, opaque, idempotencyKey }: Held,
    ear: Ear,
    line: Line | undefined,
  ): Waiting & { readonly during: Meanwhile | undefined } => {
    const said = preferOf(call.headers)
    // A tunnel needs its caller's connection: it cannot be fetched later, and a preference may be passed over (RFC 7240 §2).
    const prefer = { ...said, async: said.async && call.upgrade === undefined }
    const answering = prefer.async ? undefined : kindOf(upstream).answering?.(call, body)
    const own = [['Holdpoint-Hold', id]] as const
    const during = answering && meanwhile(response, own, answering, { attached, limit: settings.gate.limits.answer })
    const full = shortest(rules, approve => approve.waitMs)
    return {
      id,
      settings,
      again,
      opaque,
      prefer,
      waitMs: Math.min(prefer.waitMs ?? (prefer.async ? 0 : full), full),
      ear,
      drain: draining,
      taker: {
        kind: 'caller',
        by: { caller, call: call.id, address: call.address },
        sink: () => during?.sink ?? toResponse(response, own),
        gone: () => response.destroyed,
        trace: call.headers.filter(([name]) => ['traceparent', 'tracestate'].includes(name.toLowerCase())),
        ...(line === undefined ? {} : { tunnel: { line, call, cut } }),
      },
      keyed: idempotencyKey !== undefined,
      during,
      ...(during === undefined ? {} : { waits: during.waits, replay: during.replay }),
    }
  }

  const waited = async (response: CallerResponse, wait: Waiting, off: () => void): Promise<void> => {
    const { id, settings, prefer, ear, taker } = wait
    waiting.set(id, (waiting.get(id) ?? 0) + 1)
    ears.add(ear)
    heldCallers(ears.size)
    try {
      if (prefer.async) {
        await makeAsync(id, taker.by.caller, wait.opaque)
        void deliver(id)
      }
      const ended = await attend(parts, id, wait)
      if (ended.word === 'kept') {
        if (wait.replay !== undefined) wait.replay(ended.answer)
        else writeKept(response, id, ended.answer)
        await seeAnswer(parts, id)
      }
      if (ended.word === 'waiting') {
        answerJson(response, 202, taskOf(ended.hold, settings), [
          ['Location', statusUrl(settings, id)],
          ['Retry-After', '2'],
          ['Preference-Applied', prefer.applied],
          ['Holdpoint-Hold', id],
        ])
      }
    } catch (thrown) {
      throw ofHold(thrown, id, statusUrl(settings, id))
    } finally {
      off()
      ears.delete(ear)
      heldCallers(ears.size)
      const others = (waiting.get(id) ?? 1) - 1
      if (others > 0) waiting.set(id, others)
      else waiting.delete(id)
      if (ear.gone && others === 0) void withdrawn(id)
    }
  }

  /** A call that joined a hold is on record with its own id and address. */
  const noteAttached = (id: string, { call, caller, upstream }: Held): void =>
    parts.record.note({
      kind: 'call.attached',
      call: call.id,
      hold: id,
      caller: whoCalls(caller),
      upstream: upstream.name,
      method: call.method,
      address: call.address,
    })

  /** A hold that its caller wants to fetch later: from now on Holdpoint sends it by itself. */
  const makeAsync = async (id: string, caller: Caller, opaque: Held['opaque']): Promise<void> => {
    for (let tries = 0; tries < 20; tries++) {
      const hold = await readHold(parts.store, parts.keys, id)
      if (hold === undefined || (hold.state !== 'pending' && hold.state !== 'approved')) return
      if (hold.facts.async) return seeToken(parts, hold, caller, opaque)
      const moved = await parts.store.holds.move({
        hold: id,
        move: 'touch',
        rev: hold.rev,
        facts: { async: true, ...shownToken(parts.keys, id, caller, opaque) },
      })
      if (moved.word === 'changed') continue
      if (moved.word === 'moved' && hold.state === 'approved') void deliver(id)
      return
    }
  }

  /** The last caller hung up: by the rule, its hold goes with it or stays. */
  const withdrawn = async (id: string): Promise<void> => {
    try {
      for (;;) {
        const hold = await readHold(parts.store, parts.keys, id)
        if (hold?.state !== 'pending' || hold.head.onDisconnect !== 'cancel' || hold.facts.async) return
        if (waiting.has(id)) return
        const moved = await parts.store.holds.move({
          hold: id,
          move: 'cancel',
          rev: hold.rev,
          facts: { closedAt: hold.now, decidedBy: 'its caller, by hanging up' },
          dueAt: null,
          findableUntilAt: null,
          entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.cancelled', detail: 'its caller hung up' }),
        })
        if (moved.word !== 'changed') return
      }
    } catch (error) {
      parts.log.warn({ err: toError(error), hold: id }, 'a hold whose caller hung up could not be withdrawn')
    }
  }

  const sent = async (id: string): Promise<void> => {
    try {
      const hold = await readHold(parts.store, parts.keys, id)
      if (!hold?.facts.async || (hold.state !== 'approved' && hold.state !== 'pending') || draining.aborted) return
      // An upstream that could not be reached gets time; the sweep comes by again.
      if ((hold.facts.retryAt ?? 0) > hold.now) return
      await release(parts, hold, { kind: 'store' })
    } catch (error) {
      const known = toError(error)
      parts.log[known.code === 'internal' ? 'error' : 'info'](
        { err: known, hold: id },
        'an async hold was not delivered',
      )
    }
  }

  const deliver = (id: string): Promise<void> => {
    const underWay = sending.get(id)
    if (underWay !== undefined || draining.aborted) return underWay ?? Promise.resolve()
    const work = sent(id).finally(() => sending.delete(id))
    sending.set(id, work)
    return work
  }

  return { hold, deliver, idle: async () => void (await Promise.allSettled(sending.values())) }
}

/** A call that could be held but never rightly approved is refused before anybody is asked. */
const refuseUnheld = ({ settings, caller, rules, behind, reason }: Held): void => {
  const rule = rules.map(one => one.name).join(', ')
  const issuer = settings.issuers.find(one => one.name === caller.issuer)
  if (!behind.known && issuer?.ownerless !== 'accept') {
    throw new HoldpointError(
      'no_owner',
      `Nobody is known to own ${caller.subject}, so nobody can be kept from approving their own agent's call. Put an owner claim into its tokens, list it under people[].owns, or set ownerless: accept for the issuer ${caller.issuer}.`,
      { rule },
    )
  }
  if (reason === undefined && rules.some(one => one.approve.some(approve => approve.reason === 'required'))) {
    throw new HoldpointError(
      'reason_required',
      'Holdpoint-Reason: say in this header why the call is needed; the reviewer reads it.',
      { rule },
    )
  }
  if (deadEnd(rules, behind.keys, settings)) {
    throw new HoldpointError(
      'no_eligible_reviewer',
      'Everybody who could approve this call is behind it. The rule needs another approver.',
      { rule },
    )
  }
}

/** The error of a held call, naming its hold whatever went wrong. */
const ofHold = (thrown: unknown, hold: string, url: string): HoldpointError => {
  const error = toError(thrown)
  if (error.extras.hold !== undefined) return error
  return new HoldpointError(error.code, error.detail, { ...error.extras, hold, statusUrl: url })
}

// Only where approvers are people by name can it be known that all of them are behind the call; groups are never a dead end.
const deadEnd = (rules: readonly Rule[], behind: readonly string[], settings: Settings): boolean => {
  const isBehind = (person: string): boolean => samePerson(namedPerson(person, settings) ?? [], behind)
  return rules.some(rule =>
    rule.approve.some(
      approve =>
        approve.groups.length === 0 &&
        (approve.escalate?.groups ?? []).length === 0 &&
        [...approve.people, ...(approve.escalate?.people ?? [])].filter(person => !isBehind(person)).length <
          approve.votes,
    ),
  )
}
