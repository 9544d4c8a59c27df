// The demo's internal API: invoices, refunds, customers. It believes whoever shows its key, as internal APIs do,
// and keeps every request it received so that the demo can show what arrived.
import type { IncomingHttpHeaders } from 'node:http'
import { startServer, text } from './server.ts'

export type Received = {
  readonly method: string
  readonly target: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export type Billing = {
  readonly url: string
  /** Everything that arrived, oldest first. */
  readonly received: readonly Received[]
  close(): Promise<void>
}

type Refund = {
  readonly id: string
  readonly invoice: string
  readonly amount: number
  readonly currency: string
  readonly customer: string
}

const invoices = [
  { id: 'in_1041', customer: 'cus_lind', amount: 480, currency: 'EUR', status: 'paid' },
  { id: 'in_1042', customer: 'cus_okafor', amount: 95, currency: 'EUR', status: 'paid' },
  { id: 'in_1043', customer: 'cus_tanaka', amount: 1200, currency: 'USD', status: 'open' },
]

/** Starts the API on 127.0.0.1. Whoever shows `key` as a bearer token may do everything. */
export const startBilling = async (options: { readonly port?: number; readonly key: string }): Promise<Billing> => {
  const received: Received[] = []
  const refunds: Refund[] = []
  const customers = new Set(invoices.map(invoice => invoice.customer))

  const answer = (method: string, path: string, body: string): readonly [status: number, body?: unknown] => {
    if (method === 'GET' && path === '/v1/invoices') return [200, { invoices }]
    if (method === 'GET' && path === '/v1/refunds') return [200, { refunds }]
    if (method === 'POST' && path === '/v1/refunds') {
      const asked = refundOf(body)
      if (asked === undefined) return [422, { error: 'a refund needs amount, currency, invoice and customer' }]
      const refund = { id: `re_${String(refunds.length + 1).padStart(4, '0')}`, ...asked }
      refunds.push(refund)
      return [201, refund]
    }
    const customer = /^\/v1\/customers\/([^/]+)$/.exec(path)?.[1]
    if (method === 'DELETE' && customer !== undefined)
      return customers.delete(customer) ? [204] : [404, { error: 'no such customer' }]
    return [404, { error: 'no such resource' }]
  }

  const server = await startServer(options.port ?? 0, async (request, response) => {
    const body = await text(request)
    const { method = '', url = '', headers } = request
    received.push({ method, target: url, headers, body })
    const [status, value] =
      headers.authorization === `Bearer ${options.key}`
        ? answer(method, url.split('?')[0] ?? '', body)
        : [401, { error: 'wrong key' }]
    response.writeHead(status, value === undefined ? {} : { 'content-type': 'application/json' })
    response.end(value === undefined ? undefined : `${JSON.stringify(value)}\n`)
  })
  return { url: server.url, received, close: server.close }
}

const refundOf = (body: string): Omit<Refund, 'id'> | undefined => {
  try {
    const { invoice, amount, currency, customer } = JSON.parse(body)
    const texts = [invoice, currency, customer].every(value => typeof value === 'string')
    return texts && typeof amount === 'number' ? { invoice, amount, currency, customer } : undefined
  } catch {
    return undefined
  }
}
