// The held branch of a call's way: may it be held at all, then open or re-attach, wait, and answer its caller in exactly one way.
// Also sends approved async holds, for which nobody waits on a connection.
import type { ServerResponse } from 'node:http'
import { answerJson, write } from './answer.ts'
import { attend, type Held, openHold } from './attend.ts'
import { HoldpointError, toError } from './errors.ts'
import { toResponse } from './forward.ts'
import { readHold } from './hold.ts'
import type { Caller } from './nouns.ts'
import type { Parts } from './parts.ts'
import { foldEmail } from './people.ts'
import { preferOf } from './prefer.ts'
import { aboutHold } from './record.ts'
import { release, shortest, type Taker } from './release.ts'
import type { Rule } from './settings.ts'
import { statusUrl, taskOf } from './task.ts'
import { seeToken } from './tasks.ts'

export type Holding = {
  /**
   * Holds a call until it has an answer. `opened` is called once the hold is on record.
   * @throws no_owner, reason_required, no_eligible_reviewer, and whatever a hold ends with
   */
  hold(response: ServerResponse, held: Held, opened: () => void): Promise<void>
  /** Sends an approved async hold that nobody has sent yet. */
  deliver(id: string): Promise<void>
}

export const holding = (parts: Parts, draining: AbortSignal): Holding => {
  const sending = new Set<string>()

  const hold = async (response: ServerResponse, held: Held, opened: () => void): Promise<void> => {
    const { settings, call, caller, rules } = held
    refuseUnheld(held)
    const prefer = preferOf(call.headers)
    const id = await openHold(parts, held)
    opened()
    const full = shortest(rules, approve => approve.waitMs)
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    if (prefer.async) await makeAsync(id, caller)
    const taker: Extract<Taker, { kind: 'caller' }> = {
      kind: 'caller',
      sink: toResponse(response, [['Holdpoint-Hold', id]]),
      gone: () => response.destroyed,
      trace: call.headers.filter(([name]) => ['traceparent', 'tracestate'].includes(name.toLowerCase())),
    }
    const waitMs = prefer.async ? Math.min(prefer.waitMs ?? 0, full) : Math.min(prefer.waitMs ?? full, full)
    const ended = await attend(parts, id, {
      settings,
      caller,
      prefer,
      waitMs,
      gone: gone.signal,
      drain: draining,
      taker,
    })
      .catch(thrown => {
        throw ofHold(thrown, id, statusUrl(settings, id))
      })
      .finally(() => {
        if (gone.signal.aborted) void withdrawn(id)
      })
    if (ended.word === 'kept') {
      const { status, headers, body } = ended.answer
      return write(
        response,
        status,
        [...headers.filter(([name]) => name.toLowerCase() !== 'content-length'), ['Holdpoint-Hold', id]],
        Buffer.from(body, 'base64'),
      )
    }
    if (ended.word === 'waiting') {
      answerJson(response, 202, taskOf(ended.hold, settings), [
        ['Location', statusUrl(settings, id)],
        ['Retry-After', '2'],
        ['Preference-Applied', prefer.applied],
        ['Holdpoint-Hold', id],
      ])
    }
  }

  /** A hold that its caller wants to fetch later: from now on Holdpoint sends it by itself. */
  const makeAsync = async (id: string, caller: Caller): Promise<void> => {
    for (let tries = 0; tries < 20; tries++) {
      const hold = await readHold(parts.store, parts.keys, id)
      if (hold === undefined || (hold.state !== 'pending' && hold.state !== 'approved')) return
      if (hold.facts.async) return seeToken(parts, hold, caller)
      const moved = await parts.store.holds.move({
        hold: id,
        move: 'touch',
        rev: hold.rev,
        facts: { async: true, tokenUntilAt: caller.expiresAt },
      })
      if (moved.word === 'changed') continue
      if (moved.word === 'moved' && hold.state === 'approved') void deliver(id)
      return
    }
  }

  /** The caller hung up: by the rule, its hold goes with it or stays. */
  const withdrawn = async (id: string): Promise<void> => {
    try {
      const hold = await readHold(parts.store, parts.keys, id)
      if (hold?.state !== 'pending' || hold.head.onDisconnect !== 'cancel' || hold.facts.async) return
      await parts.store.holds.move({
        hold: id,
        move: 'cancel',
        rev: hold.rev,
        facts: { closedAt: hold.now, decidedBy: 'its caller, by hanging up' },
        dueAt: null,
        findableUntilAt: null,
        entry: parts.record.entry({ ...aboutHold(hold.head), kind: 'hold.cancelled', detail: 'its caller hung up' }),
      })
    } catch (error) {
      parts.log.warn({ err: toError(error), hold: id }, 'a hold whose caller hung up could not be withdrawn')
    }
  }

  const deliver = async (id: string): Promise<void> => {
    if (sending.has(id) || draining.aborted) return
    sending.add(id)
    try {
      const hold = await readHold(parts.store, parts.keys, id)
      if (hold?.state === 'approved' && hold.facts.async)
        await release(parts, hold, { kind: 'store' }, hold.facts.tokenUntilAt ?? 0)
    } catch (error) {
      const known = toError(error)
      parts.log[known.code === 'internal' ? 'error' : 'info'](
        { err: known, hold: id },
        'an async hold was not delivered',
      )
    } finally {
      sending.delete(id)
    }
  }

  return { hold, deliver }
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
  if (deadEnd(rules, behind.keys)) {
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
const deadEnd = (rules: readonly Rule[], behind: readonly string[]): boolean => {
  const keys = new Set(behind)
  const isBehind = (person: string): boolean => {
    const folded = foldEmail(person)
    return (folded !== undefined && keys.has(`email:${folded}`)) || keys.has(`account:${person}`)
  }
  return rules.some(rule =>
    rule.approve.some(
      approve =>
        approve.groups.length === 0 && approve.people.filter(person => !isBehind(person)).length < approve.votes,
    ),
  )
}
