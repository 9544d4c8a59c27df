// What is known of a call on its way through the gate, and the small readings of it.
import { Readable } from 'node:stream'
import { parseBody, type Read } from './body.ts'
import type { CallEntry } from './entry-text.ts'
import { HoldpointError } from './errors.ts'
import type { Sending } from './forward.ts'
import { valuesOf } from './headers.ts'
import type { Identified } from './identify.ts'
import type { CallerRequest, CallerResponse } from './incoming.ts'
import { type Judged, kindOf } from './judge.ts'
import type { AccessLine } from './log.ts'
import type { Body, Call, Caller, Entry, Header } from './nouns.ts'
import { whoCalls } from './record.ts'
import type { Line } from './session.ts'
import type { Rule, Settings, Upstream } from './settings.ts'

/** What is known of a call so far, grown on the way: for the answer of an error and for the audit. */
export type Way = {
  readonly startedAt: number
  readonly settings: Settings
  readonly request: CallerRequest
  readonly response: CallerResponse
  readonly continues: boolean
  readonly line: Line | undefined
  call: Call | undefined
  caller: Caller | undefined
  again: Identified['again'] | undefined
  opaque: string | undefined
  upstream: Upstream | undefined
  action: NonNullable<Entry['action']> | undefined
  rule: Rule | undefined
  /** As far as rules needed it. */
  body: Body | undefined
  /** Ends an answer that is open already; false if none is. */
  refused: ((error: HoldpointError) => boolean) | undefined
  /** The call has its entry already; a later error is its end, not a refusal. */
  recorded: boolean
  outcome: AccessLine['outcome']
  code: string | undefined
  /** Of its W3C trace context, the caller's or ours. */
  trace: string | undefined
}

/** Of a caller who is verified. */
export type Known = Way & Pick<Identified, 'caller' | 'again' | 'opaque'> & { readonly call: Call }

export const denying: ReadonlySet<string> = new Set(['no_rule', 'denied_by_rule'])

export const lineOf = ({
  call,
  caller,
  upstream,
  action,
  request,
  response,
  outcome,
  code,
  startedAt,
  trace,
}: Way): AccessLine => ({
  call: call?.id,
  address: call?.address ?? request.socket.remoteAddress ?? '',
  caller: caller === undefined ? undefined : { issuer: caller.issuer, subject: caller.subject },
  upstream: upstream?.name,
  method: request.method ?? '',
  action: action?.name,
  outcome,
  code,
  status: response.headersSent ? response.statusCode : undefined,
  ms: Math.round((performance.now() - startedAt) * 10) / 10,
  trace: trace ?? (call === undefined ? undefined : traceOf(call)),
})

/** @throws malformed unless this is no upgrade, or a WebSocket on a connection that can become one */
export const refuseUpgrade = ({ upgrade }: Call, line: Line | undefined, upstream: Upstream): void => {
  if (upgrade === undefined) return
  if (!kindOf(upstream).upgrades.includes(upgrade))
    throw new HoldpointError('malformed', `Upgrade: an upstream of kind ${upstream.kind} knows no ${upgrade}.`)
  if (line === undefined)
    throw new HoldpointError('malformed', 'Upgrade: send it when every earlier request on the connection is answered.')
}

export const single = (call: Call, name: string): string | undefined =>
  valuesOf(call.headers, name)[0]?.trim() || undefined

/** @throws malformed unless it is one value of 1 to 255 visible ASCII characters */
export const idempotencyKey = (call: Call): string | undefined => {
  const values = valuesOf(call.headers, 'idempotency-key')
  if (values.length === 0) return undefined
  const [key = ''] = values
  if (values.length > 1 || !/^[\x21-\x7e]{1,255}$/.test(key))
    throw new HoldpointError('malformed', 'Idempotency-Key: send one value of 1 to 255 visible ASCII characters.')
  return key
}

export const traceOf = (call: Call): string | undefined =>
  /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(single(call, 'traceparent') ?? '')?.[1]

export const bodyOf = (headers: readonly Header[], read: Read, inspect: number, announced: number | undefined): Body =>
  read.complete
    ? parseBody(headers, read.bytes, inspect)
    : { kind: 'unknown', why: 'it is larger than limits.inspect', size: announced }

export const within = (path: string, cut: string): string => {
  const rest = path.slice(cut.length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** The body as it goes on: what was read already, and the rest as it comes. */
export const bodyToSend = (
  call: Call,
  request: CallerRequest,
  read: Read | undefined,
): Pick<Sending, 'body' | 'readAhead' | 'contentLength'> => {
  if (read?.complete)
    return {
      body: read.bytes.length > 0 ? read.bytes : undefined,
      contentLength: needsLength(call.method, read.bytes.length) ? read.bytes.length : undefined,
    }
  if (call.contentLength === 0) return { body: undefined, contentLength: needsLength(call.method, 0) ? 0 : undefined }
  // All of it is here already.
  if (!(request instanceof Readable))
    return { body: read?.bytes ?? request.read() ?? undefined, contentLength: call.contentLength }
  return { body: request, contentLength: call.contentLength, ...(read === undefined ? {} : { readAhead: read.bytes }) }
}

// RFC 9110 §8.6: methods that expect content say its length even where there is none.
const needsLength = (method: string, length: number): boolean =>
  length > 0 || method === 'POST' || method === 'PUT' || method === 'PATCH'

export const ruleOf = (judged: Judged): { rule?: string } =>
  judged.judgement.rule === undefined ? {} : { rule: judged.judgement.rule.name }

/** Calls `act` when the caller goes away. @returns what ends that */
export const whenGone = (response: CallerResponse, act: () => void): (() => void) => {
  if (response.destroyed) act()
  // Every answer ends in 'close'; only one that was not written to its end means that the caller went away.
  const closed = (): void => {
    if (!response.writableFinished) act()
  }
  response.on('close', closed)
  return () => void response.off('close', closed)
}

// Every call makes one of it, so it is one literal: what is not known is undefined, and not in the entry's text.
export const aboutCall = (
  { call, caller, settings, upstream, action, rule, trace = traceOf(call) }: Known,
  kind: Entry['kind'],
): CallEntry =>
  ({
    kind,
    call: call.id,
    method: call.method,
    address: call.address,
    upstream: upstream?.name,
    action,
    trace,
    caller: whoCalls(caller),
    config: settings.hash,
    rule: rule?.name,
    ruleHash: rule?.hash,
    controls: rule === undefined || rule.controls.length === 0 ? undefined : rule.controls,
  }) as CallEntry
