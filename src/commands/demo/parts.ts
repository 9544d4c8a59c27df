// What the agent, the reviewers and the auditor of the demo do, over HTTP and nothing else.
import { type Browser, browser, type Page } from './browser.ts'
import type { House } from './house.ts'

export type Answer = {
  readonly status: number
  readonly body: string
  readonly json: { readonly [key: string]: unknown }
}

/** One call of the agent; it knows nothing but an address and its own token. */
export const agentCalls = async (
  { gate, token }: House,
  method: string,
  path: string,
  given: {
    readonly json?: object
    readonly headers?: { readonly [name: string]: string }
    readonly signal?: AbortSignal
  } = {},
): Promise<Answer & { readonly headers: Headers }> => {
  const answer = await fetch(`${gate}/billing${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(given.json === undefined ? {} : { 'content-type': 'application/json' }),
      ...given.headers,
    },
    ...(given.json === undefined ? {} : { body: JSON.stringify(given.json) }),
    ...(given.signal === undefined ? {} : { signal: given.signal }),
  })
  const body = await answer.text()
  return { status: answer.status, headers: answer.headers, body, json: parsed(body) }
}

/** The same call again for as long as the gate says that it waits, as HTTP clients do on 503 with Retry-After. */
export const agentInsists = async (house: House, path: string, json: object, signal: AbortSignal): Promise<Answer> => {
  for (;;) {
    const answer = await agentCalls(house, 'POST', path, { json, signal })
    if (answer.status !== 503 || answer.json.code !== 'hold_pending') return answer
    const seconds = Number(answer.headers.get('retry-after') ?? 1)
    await new Promise<void>(resolve => {
      const done = (): void => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(done, seconds * 1000)
      signal.addEventListener('abort', done, { once: true })
    })
    signal.throwIfAborted()
  }
}

export type Reviewer = {
  /** A page of the console. */
  open(path: string): Promise<Page>
  /** Sends the form of a page that was opened. */
  send(page: Page, path: string, fields?: { readonly [name: string]: string }): Promise<Page>
  /** The console's API, with the session of the pages. */
  api(method: 'GET' | 'POST', path: string, json?: object): Promise<Answer>
}

/** Signs a person in at the console in a browser of their own: its sign-in, the provider's page, and back. */
export const reviewerSignsIn = async (house: House, person: string): Promise<Reviewer> => {
  const own: Browser = browser()
  const chosen = await own.visit(`${house.console}/login`)
  if (!chosen.url.startsWith(house.issuer))
    throw new Error(`The console did not send ${person} to the identity provider but to ${chosen.url}.`)
  const home = await own.visit(chosen.url, { form: { person } })
  const csrf = field(home, 'csrf')
  if (home.status !== 200 || csrf === undefined)
    throw new Error(`${person} could not sign in: ${home.status} at ${home.url}`)
  return {
    open: path => own.visit(`${house.console}${path}`),
    send: (page, path, fields = {}) =>
      own.visit(`${house.console}${path}`, {
        form: { csrf: field(page, 'csrf') ?? '', view: field(page, 'view') ?? '', ...fields },
      }),
    async api(method, path, json) {
      const page = await own.visit(`${house.console}/api${path}`, {
        method,
        headers: method === 'POST' ? { 'x-csrf-token': csrf } : {},
        ...(json === undefined ? {} : { json }),
      })
      return { status: page.status, body: page.text, json: parsed(page.text) }
    },
  }
}

const field = (page: Page, name: string): string | undefined =>
  new RegExp(`name="${name}" value="([^"]*)"`).exec(page.text)?.[1]

const parsed = (text: string): { readonly [key: string]: unknown } => {
  try {
    const value: unknown = JSON.parse(text)
    return value !== null && typeof value === 'object' ? { ...value } : {}
  } catch {
    return {}
  }
}
