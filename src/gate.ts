// A call's whole way: receive, route, identify, describe, match, hold, release, forward, record. Read this first.
// Everything that ends a call badly is thrown and becomes an answer in one place (`refuse`); what is not known forwards nothing.
import { Buffer } from 'node:buffer'
import { answerError } from './answer.ts'
import { type Read, readWhole } from './body.ts'
import { credentialOf } from './credentials/make.ts'
import { HoldpointError, toError } from './errors.ts'
import { forward, rebuilt, type Sending, type Sent, toResponse } from './forward.ts'
import { endToEnd, valuesOf } from './headers.ts'
import { holding } from './holding.ts'
import type { Identified } from './identify.ts'
import type { CallerRequest, CallerResponse } from './incoming.ts'
import { type Judged, judge, kindOf, located, type Seen, speakerOf } from './judge.ts'
import { certainSecretIn } from './mask.ts'
import { nameOf } from './names.ts'
import type { Body, Call, Caller, Header } from './nouns.ts'
import type { Parts } from './parts.ts'
import { peopleBehind } from './people.ts'
import { preferOf } from './prefer.ts'
import { prove } from './prove.ts'
import { isPublic, publicEndpoint } from './public.ts'
import { callRate } from './rate.ts'
import { receive, settle } from './receive.ts'
import { below, hostServed, type Routed, route } from './route.ts'
import { carry, type Line } from './session.ts'
import type { Settings, Upstream } from './settings.ts'
import { taskEndpoint } from './tasks.ts'
import { withOthers } from './turn.ts'
import {
  aboutCall,
  bodyOf,
  bodyToSend,
  denying,
  idempotencyKey,
  type Known,
  lineOf,
  refuseUpgrade,
  ruleOf,
  single,
  traceOf,
  type Way,
  whenGone,
  within,
} from './way.ts'

const nothing = new Uint8Array()
const turned = Promise.resolve()

/** For this long a stopping gate lets answers under way finish. */
const drainMs = 15_000
/** After those, whoever is at the end of a tunnel has so long to end it. */
const tunnelMs = 2_000
/** And so long the end of its tunnels may take to be recorded. */
const cutMs = 3_000

export type Gate = {
  /**
   * Answers one call. `continues`: the caller waits for `100 Continue` before it sends the body. `line`: it asks for a tunnel, and its
   * connection can become one.
   */
  handle(request: CallerRequest, response: CallerResponse, continues?: boolean, line?: Line): void
  /** Sends an approved async hold that nobody has sent yet. */
  deliver(id: string): Promise<void>
  /** Held callers get 503 and come again elsewhere; what is being sent is let finish. */
  drain(): Promise<void>
}

export const gate = (parts: Parts): Gate => {
  const draining = new AbortController()
  /** Calls that are no tunnels, and what is to be done when none is left. */
  let underWay = 0
  let emptied = (): void => {}
  const tunnels = new Set<Promise<void>>()
  const cut = new AbortController()
  const rate = callRate(() => performance.now())
  const holds = holding(parts, draining.signal, cut.signal)

  // Connections on which something was not understood: whatever follows it there may be part of it, so it is not answered any more.
  const misread = new WeakSet<CallerRequest['socket']>()

  /** The head's own way, in one turn: pipelined requests are handed over together, and none may overtake the refusal of one before it. */
  const admit = (way: Way): { received: Call; routed: Routed | undefined; readings: readonly string[] } => {
    try {
      const sent = receive(way.request, way.settings.gate.limits)
      way.call = sent
      if (sent.target === '*')
        throw new HoldpointError('malformed', 'target: "*" asks about the server itself; name a path.')
      const routed = route(sent, way.settings)
      const received = routed === undefined ? sent : (kindOf(routed.upstream).admit?.(sent, routed.upstream) ?? sent)
      way.call = received
      return { received, routed, readings: settle(received, routed?.upstream) }
    } catch (error) {
      misread.add(way.request.socket)
      throw error
    }
  }

  const begin = (way: Way): void => {
    if (misread.has(way.request.socket)) {
      ended(way)
      return
    }
    const done = whole(way)
    if (way.line === undefined) return
    tunnels.add(done)
    void done.then(() => tunnels.delete(done))
  }

  const ended = (way: Way): void => {
    if (way.line === undefined && --underWay === 0) emptied()
  }

  // Never rejects: nobody hears of it.
  const whole = async (way: Way): Promise<void> => {
    try {
      try {
        await follow(way)
      } catch (thrown) {
        // Refused in the turn it came in, it has not been read to its end yet, even where it has no body.
        await turned
        refuse(way, thrown)
      }
      parts.access?.(lineOf(way))
    } catch (broken) {
      parts.log.error({ err: toError(broken), call: way.call?.id }, 'the end of a call failed inside the gate')
      if (!way.response.writableEnded) way.response.destroy()
    }
    ended(way)
  }

  // Nothing waits unless it has to: most calls are on to their upstream in the turn they came in.
  const follow = (way: Way): Promise<void> | void => {
    const { received, routed, readings } = admit(way)
    if (isPublic(received.path)) return publicEndpoint(parts, way.settings, received, way.response)
    const upstream = routed?.upstream
    const known = parts.identify.known(received, upstream, way.settings)
    if (known !== undefined) return identified(way, received, known, routed, readings)
    return parts
      .identify(received, upstream, way.settings)
      .then(one => identified(way, received, one, routed, readings))
  }

  const identified = (
    way: Way,
    received: Call,
    { caller, own, again, opaque }: Identified,
    routed: Routed | undefined,
    readings: readonly string[],
  ): Promise<void> | void => {
    way.caller = caller
    // From here on the call is what rules may see and hold: everything but our own credential.
    const call: Call = { ...received, headers: received.headers.filter(([name]) => !own.has(nameOf(name).lower)) }
    way.call = call
    way.again = again
    way.opaque = opaque
    const known = way as Known
    refuseHaste(caller, way.settings)
    if (draining.signal.aborted) throw new HoldpointError('shutting_down', 'Send the call again.', { retryAfterS: 1 })
    if (below(call.path, '/.holdpoint')) {
      if (!call.path.startsWith('/.holdpoint/holds/')) throw new HoldpointError('no_route', 'Nothing is served here.')
      return taskEndpoint(parts, { ...known, drain: draining.signal })
    }
    if (!hostServed(call, way.settings))
      throw new HoldpointError('wrong_host', `The host ${call.host} is not served here.`)
    if (routed === undefined) throw new HoldpointError('no_route', `No upstream is configured at ${call.path}.`)
    way.upstream = routed.upstream
    const secret = certainSecretIn(call.target)
    if (secret !== undefined)
      throw new HoldpointError(
        'secret_in_target',
        `target: there is a ${secret} in the address, where it would be logged. Send it in a header or the body.`,
      )
    refuseUpgrade(call, way.line, routed.upstream)
    return pass(known, routed, readings)
  }

  const refuseHaste = ({ issuer, subject, client }: Caller, { gate: { limits } }: Settings): void => {
    if (limits.callsPerSecond === 0) return
    const earlyMs = rate.early(JSON.stringify([issuer, subject, client]), limits.callsPerSecond)
    if (earlyMs === 0) return
    throw new HoldpointError('too_many_calls', `At most ${limits.callsPerSecond} calls per second are let through.`, {
      retryAfterS: Math.ceil(earlyMs / 1000),
    })
  }

  /** Matches the call, reading its body only if something needs to. */
  const pass = (way: Known, routed: Routed, readings: readonly string[]): Promise<void> => {
    const { call, caller, settings } = way
    const { upstream } = routed
    const [only = '', ...others] = readings
    const paths =
      others.length === 0 ? [within(only, routed.cut)] : [...new Set(readings.map(path => within(path, routed.cut)))]
    // Rules see what the upstream will see: no header that is dropped on the way can be made to fit one.
    const kind = kindOf(upstream)
    const headers = endToEnd(call, kind.strippedHeaders)
    const body: Body = call.contentLength === 0 ? { kind: 'none' } : { kind: 'unread' }
    const seen: Seen = { call: { ...call, headers }, paths, upstream, caller, body, at: parts.clock() }
    const judged = judge(settings, seen)
    if (judged.judgement.needsBody || judged.judgement.outcome === 'hold') return passRead(way, routed, seen, judged)
    conclude(way, upstream, paths, judged)
    if (call.contentLength !== 0 && kind.wantsWhole?.(call)) return passRead(way, routed, seen, judged)
    return allowed(way, routed, headers, undefined)
  }

  const passRead = async (way: Known, routed: Routed, seen: Seen, first: Judged): Promise<void> => {
    const { call, caller, settings } = way
    const { upstream, paths } = seen
    const kind = kindOf(upstream)
    let { headers } = seen.call
    const ask = (body: Body): Judged =>
      judge(settings, {
        ...seen,
        call: headers === seen.call.headers ? seen.call : { ...call, headers },
        body,
        at: parts.clock(),
      })
    const limit = Math.max(upstream.limits.held, upstream.limits.inspect)

    let read: Read | undefined
    const plainly = (taken: Read): Read => {
      const plain = taken.complete ? kind.plain?.(headers, taken.bytes) : undefined
      if (plain !== undefined) headers = plain.headers
      return plain === undefined ? taken : { bytes: plain.bytes, complete: true }
    }
    const take = (most: number): Read | Promise<Read> => {
      const taken = readBody(way, most, read?.bytes)
      return taken instanceof Promise ? taken.then(plainly) : plainly(taken)
    }
    const takeWhole = async (why: string): Promise<Read> => {
      if (read?.complete !== true) read = await take(limit)
      if (read.complete && read.bytes.length <= upstream.limits.held) return read
      throw new HoldpointError(
        'body_too_large',
        `body: at most ${upstream.limits.held} bytes can be ${why} (limits.held of ${upstream.name}).`,
        ruleOf(judged),
      )
    }

    let judged = first
    let parsed: Read | undefined
    const judgeRead = (of: Read): Judged => {
      if (way.body === undefined || parsed !== of)
        way.body = bodyOf(headers, of, upstream.limits.inspect, call.contentLength)
      parsed = of
      return ask(way.body)
    }
    if (judged.judgement.needsBody) {
      read = await take(upstream.limits.inspect)
      judged = judgeRead(read)
    }
    if (judged.judgement.outcome === 'hold') {
      read = await takeWhole('held for approval')
      // Judged once more on the whole body: what is held is what was judged.
      judged = judgeRead(read)
    }
    conclude(way, upstream, paths, judged)
    if (judged.judgement.outcome === 'allow') {
      if (kind.wantsWhole?.(call) && call.contentLength !== 0) read = await takeWhole('signed')
      return allowed(way, routed, headers, read)
    }
    const { rules } = judged.judgement
    const bytes = read?.bytes ?? Buffer.alloc(0)
    return holds.hold(
      way.response,
      {
        settings,
        call,
        caller,
        again: way.again,
        opaque: way.opaque,
        behind: peopleBehind(caller, settings),
        upstream,
        upstreamTarget: routed.target,
        paths,
        headers,
        body: way.body ?? bodyOf(headers, { bytes, complete: true }, upstream.limits.inspect, bytes.length),
        bytes,
        actions: judged.actions,
        rules,
        reason: single(call, 'holdpoint-reason') ?? (way.body && kind.reason?.(way.body)) ?? caller.reason,
        idempotencyKey: idempotencyKey(call),
        async: call.upgrade === undefined && preferOf(call.headers).async,
        trace: traceOf(call),
      },
      refused => {
        way.recorded = true
        way.outcome = 'held'
        if (refused !== undefined) way.refused = refused
        // The body is in the store now. What waits keeps none of it, but what its refusal may have to name.
        way.body = way.body && kind.refusalNeeds?.(way.body)
      },
      way.line,
    )
  }

  /** Notes what was judged. @throws no_rule, denied_by_rule, frozen, no_upstream_identity */
  const conclude = (way: Known, upstream: Upstream, paths: readonly string[], judged: Judged): void => {
    const { call, caller, settings } = way
    const { outcome, rule } = judged.judgement
    const action = judged.actions[0]
    if (action !== undefined) way.action = { name: action.name, resource: action.resource, access: action.access }
    if (rule !== undefined) way.rule = rule
    if (outcome === 'deny') {
      throw rule === undefined
        ? new HoldpointError('no_rule', `No rule covers ${call.method} ${paths[0]} of ${upstream.name} for you.`)
        : new HoldpointError('denied_by_rule', `The rule "${rule.name}" denies this call.`, { rule: rule.name })
    }
    parts.freezes.refuse({ caller, upstream: upstream.name, people: () => peopleBehind(caller, settings).keys })
    credentialOf(upstream).refuse?.(caller)
  }

  const readBody = (way: Known, limit: number, before?: Buffer): Read | Promise<Read> => {
    if (way.call.contentLength === 0) return { bytes: Buffer.alloc(0), complete: true }
    if (way.continues && before === undefined) way.response.writeContinue()
    const joined = (read: Read): Read =>
      before === undefined ? read : { bytes: Buffer.concat([before, read.bytes]), complete: read.complete }
    const read = readWhole(way.request, limit - (before?.length ?? 0))
    if (!(read instanceof Promise)) return joined(read)
    return read.then(joined, (cause: unknown) => {
      throw new HoldpointError('malformed', 'body: it broke off before its end.', { cause })
    })
  }

  // ---- allow

  const allowed = async (
    way: Known,
    routed: Routed,
    headers: readonly Header[],
    read: Read | undefined,
  ): Promise<void> => {
    const { call, settings, request, response } = way
    const upstream = located(routed.upstream, call)
    const forwarded = rebuilt(call, settings.gate)
    // What the upstream is told is what is on record, also where the trace begins here.
    way.trace = valuesOf(forwarded, 'traceparent')[0]?.slice(3, 35)
    const entry = parts.record.allowed(aboutCall(way, 'call.allowed'))
    way.recorded = true
    if (entry.written !== undefined) await entry.written
    way.outcome = 'allowed'
    try {
      const body = bodyToSend(call, request, read)
      const proving = prove(
        {
          upstream,
          caller: way.caller,
          method: call.method,
          target: routed.target,
          scope: call.scope,
          headers,
          body: body.body === undefined ? nothing : read?.complete ? read.bytes : undefined,
        },
        upstream.assertion === 'always' ? [...forwarded, await asserted(way, upstream)] : forwarded,
      )
      const head = proving instanceof Promise ? await proving : proving
      if (way.continues && read === undefined && call.contentLength !== 0) response.writeContinue()
      parts.meter.allowed(upstream.name, performance.now() - way.startedAt)
      const sending: { -readonly [K in keyof Sending]: Sending[K] } = {
        upstream,
        method: call.method,
        target: routed.target,
        headers: head.headers,
        secrets: head.secrets,
        body: body.body,
        contentLength: body.contentLength,
        fresh: call.upgrade !== undefined,
        onGone: callOff => whenGone(response, callOff),
      }
      if (body.readAhead !== undefined) sending.readAhead = body.readAhead
      if (call.upgrade !== undefined) sending.upgrade = call.upgrade
      const sent = await forward(
        sending,
        toResponse(response, [], status => entry.answered(status)),
      )
      if (sent.state === 'unreachable')
        throw new HoldpointError('upstream_unreachable', `${upstream.name} could not be reached.`, {
          cause: sent.cause,
          retryAfterS: 5,
        })
      if (sent.state === 'lost') {
        throw new HoldpointError(
          sent.timeout ? 'upstream_timeout' : 'upstream_unreachable',
          `${upstream.name} did not answer${sent.timeout ? ' in time' : ''}.`,
          { cause: sent.cause },
        )
      }
      if (sent.state === 'upgraded') {
        entry.answered(101)
        await tunnelled(way, upstream, sent)
      }
    } catch (error) {
      const { code } = toError(error)
      entry.failed(code)
      parts.meter.failed(upstream.name, code)
      throw error
    }
  }

  const asserted = ({ caller, settings, rule }: Known, upstream: Upstream): Promise<Header> =>
    parts.assertions.allowed(settings.gate.assertionKey, {
      issuer: settings.gate.url,
      audience: upstream.name,
      caller,
      rule: rule?.name ?? '',
    })

  const tunnelled = async (
    way: Known,
    upstream: Upstream,
    answer: Extract<Sent, { readonly state: 'upgraded' }>,
  ): Promise<void> => {
    const { call, caller, line, settings } = way
    if (line === undefined) return void answer.socket.destroy()
    const { kind: _, ...about } = aboutCall(way, 'tunnel.closed')
    const people = (): readonly string[] => peopleBehind(caller, settings).keys
    const stoppable = { caller, upstream: upstream.name, people }
    await carry(parts, { line, call, upstream, answer, own: [], about, stoppable, cut: cut.signal })
  }

  // ---- refuse

  const refuse = (way: Way, thrown: unknown): void => {
    const error = toError(thrown)
    const { response, request } = way
    way.code = error.code
    if (way.outcome === 'answered') way.outcome = denying.has(error.code) ? 'denied' : 'refused'
    if (error.code === 'internal')
      parts.log.error({ err: error, cause: error.extras.cause, call: way.call?.id }, 'a call failed inside the gate')
    else if (error.extras.cause !== undefined)
      parts.log.debug({ code: error.code, cause: error.extras.cause, call: way.call?.id }, 'a call was refused')
    // What comes in floods is counted: an entry each would only be another flood.
    if (way.caller === undefined || error.code === 'too_many_calls')
      parts.record.count(request.socket.remoteAddress ?? '', error.code)
    else if (!way.recorded) {
      try {
        const kind = denying.has(error.code) ? 'call.denied' : 'call.refused'
        parts.record.note({ ...aboutCall(way as Known, kind), code: error.code })
      } catch (unwritable) {
        parts.log.error({ err: toError(unwritable), code: error.code }, 'a refusal could not be recorded')
      }
    }
    if (way.refused?.(error) === true) return
    // What was not read to its end, or not understood, may hide another request behind it.
    const close = way.call === undefined || error.code === 'malformed' || !request.complete
    const kind = speakerOf(way.upstream, way.call)
    answerError(response, error, {
      close,
      ...(kind === undefined ? {} : { like: { kind, call: way.call, body: way.body } }),
      task: way.call?.path.startsWith('/.holdpoint/') ?? false,
    })
  }

  parts.watch.follow(event => {
    if (event.kind === 'hold' && event.state === 'approved' && event.async) void holds.deliver(event.hold)
  })

  return {
    handle(request, response, continues = false, line = undefined) {
      const way: Way = {
        startedAt: performance.now(),
        settings: parts.settings(),
        request,
        response,
        continues,
        line,
        call: undefined,
        caller: undefined,
        again: undefined,
        opaque: undefined,
        upstream: undefined,
        action: undefined,
        rule: undefined,
        body: undefined,
        refused: undefined,
        recorded: false,
        outcome: 'answered',
        code: undefined,
        trace: undefined,
      }
      if (line === undefined) underWay++
      withOthers(() => begin(way))
    },
    deliver: holds.deliver,
    async drain() {
      draining.abort()
      // What has come already begins first.
      await new Promise(resolve => setImmediate(resolve))
      const within = (ms: number, all: Iterable<Promise<void>>): Promise<unknown> =>
        Promise.race([Promise.allSettled(all), new Promise(resolve => setTimeout(resolve, ms).unref())])
      // An endless stream is cut in the end; everything else is done by then. Nobody waits that long for a tunnel, which may last for
      // hours; how it ended is still recorded.
      const empty = new Promise<void>(resolve => {
        emptied = resolve
        if (underWay === 0) resolve()
      })
      await within(drainMs, [empty, holds.idle()])
      await within(tunnelMs, tunnels)
      cut.abort('the gate was stopped')
      await within(cutMs, tunnels)
    },
  }
}
