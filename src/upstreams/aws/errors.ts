// A refusal in the shape of the protocol that the call was made in, so that SDKs and CLIs print what it says.
import type { HoldpointError, Problem } from '../../errors.ts'
import type { Call, Header } from '../../nouns.ts'
import type { Refusal } from '../upstream.ts'
import { formType, headerOf, jsonType, mediaOf } from './operation.ts'
import { signedService } from './scope.ts'

/** REST services that speak XML. */
const xml: ReadonlySet<string> = new Set(['route53', 'cloudfront'])

/** `hold_pending` is HoldPending: SDKs make it the name of the error they throw. */
const nameOf = (code: string): string => code.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())

const escaped = (text: string): string =>
  text.replace(/[<>&'"]/g, one => `&#${one.charCodeAt(0)};`).replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, ' ')

const isQuery = (call: Call): boolean =>
  mediaOf(call) === formType || call.query.some(([name]) => name.toLowerCase() === 'action')

const inXml = (body: string): Refusal => ({
  headers: [['Content-Type', 'text/xml']],
  body: `<?xml version="1.0" encoding="UTF-8"?>\n${body}`,
})

export const refusal = (_: HoldpointError, problem: Problem, call: Call | undefined): Refusal => {
  const name = nameOf(problem.code)
  const message = problem.detail ?? problem.title
  const service = call === undefined ? undefined : (call.scope?.service ?? signedService(call))
  const error = `<Code>${name}</Code><Message>${escaped(message)}</Message>`
  const id = call?.id ?? ''
  if (call !== undefined && headerOf(call, 'smithy-protocol')?.toLowerCase() === 'rpc-v2-cbor')
    return {
      headers: [
        ['Content-Type', 'application/cbor'],
        ['smithy-protocol', 'rpc-v2-cbor'],
      ],
      body: cbor({ __type: `holdpoint#${name}`, message }),
    }
  if (service === 's3') return inXml(`<Error>${error}<RequestId>${id}</RequestId></Error>`)
  const json = call === undefined || headerOf(call, 'x-amz-target') !== undefined || jsonType.test(mediaOf(call))
  if (!json && service === 'ec2')
    return inXml(`<Response><Errors><Error>${error}</Error></Errors><RequestID>${id}</RequestID></Response>`)
  if (!json && (isQuery(call) || (service !== undefined && xml.has(service)))) {
    const type = problem.status < 500 ? 'Sender' : 'Receiver'
    return inXml(
      `<ErrorResponse><Error><Type>${type}</Type>${error}</Error><RequestId>${id}</RequestId></ErrorResponse>`,
    )
  }
  const { hold, status_url, rule, retryable } = problem
  const headers: Header[] = [
    [
      'Content-Type',
      call !== undefined && /^application\/x-amz-json/.test(mediaOf(call)) ? mediaOf(call) : 'application/json',
    ],
    ['x-amzn-ErrorType', name],
    ['x-amzn-RequestId', id],
  ]
  return { headers, body: JSON.stringify({ __type: name, message, hold, status_url, rule, retryable }) }
}

/** RFC 8949: a map of texts, which is all that an error of rpc v2 is. */
const cbor = (map: { readonly [name: string]: string }): Buffer => {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'utf8')
    const { length } = bytes
    const head =
      length < 24 ? [0x60 + length] : length < 256 ? [0x78, length] : [0x79, (length >> 8) & 0xff, length & 0xff]
    return Buffer.concat([Buffer.from(head), bytes])
  }
  const entries = Object.entries(map)
  return Buffer.concat([Buffer.from([0xa0 + entries.length]), ...entries.flat().map(one => text(one.slice(0, 8000)))])
}
