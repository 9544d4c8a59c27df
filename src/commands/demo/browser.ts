// A browser without a window: follows redirects and keeps cookies, so that the demo and the tests can sign people in the way people do.
// Cookies belong to a host, not to a port, as in a real browser; only what loopback sign-ins need is understood.

export type Page = {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

export type VisitOptions = {
  readonly method?: string
  /** Sent as a form. */
  readonly form?: { readonly [name: string]: string }
  /** Sent as JSON. */
  readonly json?: unknown
  readonly headers?: { readonly [name: string]: string }
  /** Stop at the redirect to an address that begins so, without going there. */
  readonly until?: string
}

export type Browser = {
  visit(url: string, options?: VisitOptions): Promise<Page>
}

type Cookie = { readonly name: string; readonly value: string; readonly host: string; readonly path: string }

const redirects = new Set([301, 302, 303, 307, 308])
const mostRedirects = 15

/** A fresh browser with no cookies. */
export const browser = (): Browser => {
  let jar: readonly Cookie[] = []

  const remember = (url: URL, lines: readonly string[]): void => {
    for (const line of lines) {
      const [pair = '', ...attributes] = line.split(';').map(part => part.trim())
      const equals = pair.indexOf('=')
      const attribute = (name: string): string | undefined =>
        attributes.find(one => one.toLowerCase().startsWith(`${name}=`))?.slice(name.length + 1)
      const cookie: Cookie = {
        name: pair.slice(0, equals),
        value: pair.slice(equals + 1),
        host: url.hostname,
        path: attribute('path') ?? '/',
      }
      const expires = attribute('expires')
      const gone = attribute('max-age') === '0' || (expires !== undefined && Date.parse(expires) <= Date.now())
      jar = jar.filter(one => one.name !== cookie.name || one.host !== cookie.host || one.path !== cookie.path)
      if (!gone) jar = [...jar, cookie]
    }
  }

  const cookiesFor = (url: URL): string =>
    jar
      .filter(({ host, path }) => host === url.hostname && within(url.pathname, path))
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')

  return {
    async visit(first, options = {}) {
      let url = new URL(first)
      let method = options.method ?? (options.form === undefined && options.json === undefined ? 'GET' : 'POST')
      let body = bodyOf(options)
      for (let count = 0; count < mostRedirects; count += 1) {
        const headers = new Headers(options.headers)
        if (body !== undefined) headers.set('content-type', body.type)
        if (method !== 'GET') headers.set('origin', url.origin)
        const cookies = cookiesFor(url)
        if (cookies !== '') headers.set('cookie', cookies)
        const answer = await fetch(url, {
          method,
          headers,
          redirect: 'manual',
          ...(body === undefined ? {} : { body: body.text }),
        })
        remember(url, answer.headers.getSetCookie())
        const location = answer.headers.get('location')
        if (!redirects.has(answer.status) || location === null) {
          return { url: url.href, status: answer.status, headers: answer.headers, text: await answer.text() }
        }
        await answer.body?.cancel()
        url = new URL(location, url)
        if (options.until !== undefined && url.href.startsWith(options.until)) {
          return { url: url.href, status: answer.status, headers: answer.headers, text: '' }
        }
        if (answer.status !== 307 && answer.status !== 308) {
          method = 'GET'
          body = undefined
        }
      }
      throw new Error(`${first} redirects more than ${mostRedirects} times`)
    },
  }
}

const within = (pathname: string, path: string): boolean =>
  pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`)

const bodyOf = ({ form, json }: VisitOptions): { readonly text: string; readonly type: string } | undefined => {
  if (form !== undefined)
    return { text: new URLSearchParams({ ...form }).toString(), type: 'application/x-www-form-urlencoded' }
  if (json !== undefined) return { text: JSON.stringify(json), type: 'application/json' }
  return undefined
}
