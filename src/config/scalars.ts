// The small values of a configuration: durations, sizes, addresses, names. Each schema says in its message what to write instead,
// never what was written: it may be a secret.
import { isIP } from 'node:net'
import { z } from 'zod'
import type { Listen } from '../settings.ts'

/** Refuses a value inside a transform. */
const refuse = (context: z.RefinementCtx, message: string): never => {
  context.addIssue({ code: 'custom', message })
  return z.NEVER
}

export const text = (what = 'a text'): z.ZodString =>
  z.string({ error: `must be ${what}` }).min(1, { error: 'must not be empty', abort: true })

export const list = <T extends z.ZodType>(item: T): z.ZodArray<T> => z.array(item, { error: 'must be a list' })

/** One item, or a list of at least one. Reads as a list. */
export const oneOrMore = <T extends z.ZodType<string, string>>(item: T) =>
  z.union([item, list(item).min(1, 'must not be empty')]).transform(value => (Array.isArray(value) ? value : [value]))

export const oneOf = <const T extends readonly [string, ...string[]]>(words: T) =>
  z.enum(words, { error: `must be one of: ${words.join(', ')}` })

export const flag = z.boolean({ error: 'must be true or false' })

export const count = (least: number, what: string) =>
  z.int({ error: `must be a whole number (${what})` }).min(least, `must be ${least} or more (${what})`)

// ---- durations and sizes

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
// Timers of the runtime end at 2^31 ms.
const longest = 24 * units.d

const milliseconds = (least: number) => (value: string, context: z.RefinementCtx) => {
  const [, digits, unit] = /^(\d{1,12})(ms|s|m|h|d)$/.exec(value) ?? []
  const ms = Number(digits) * units[unit as keyof typeof units]
  if (ms < least) return refuse(context, 'must be longer than nothing')
  return ms <= longest ? ms : refuse(context, 'must not be longer than 24d')
}

const durationText = z
  .string({ error: 'must be a duration such as 30s, 5m or 8h' })
  .regex(/^\d{1,12}(ms|s|m|h|d)$/, 'must be a duration such as 30s, 5m or 8h')

/** Milliseconds, more than none. */
export const duration = durationText.transform(milliseconds(1))

/** Milliseconds; `0s` is none. */
export const durationOrNone = durationText.transform(milliseconds(0))

/** As `durationOrNone`, and a bare 0. */
export const timeout = z
  .union([z.literal(0), durationText])
  .transform((value, context) => (value === 0 ? 0 : milliseconds(0)(value, context)))

const sizes = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const
const sizeMessage = 'must be a size such as 64KiB, 10MiB or 2GiB'

export const size = z
  .string({ error: sizeMessage })
  .regex(/^\d{1,9}(B|KiB|MiB|GiB)$/, sizeMessage)
  .transform((value, context) => {
    const bytes = Number.parseInt(value, 10) * sizes[value.replace(/\d+/, '') as keyof typeof sizes]
    return bytes > 0 ? bytes : refuse(context, 'must be larger than nothing')
  })

// ---- addresses

export const loopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)

const listenMessage = 'must be an address and a port such as 127.0.0.1:8080 or "[::1]:8080"'

export const listen = z.string({ error: listenMessage }).transform((value, context): Listen => {
  const [, bracketed, name, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(value) ?? []
  const host = bracketed ?? name
  if (host === undefined || Number(port) > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6))
    return refuse(context, listenMessage)
  return { host, port: Number(port) }
})

const parsed = (value: string): URL | undefined =>
  /^https?:\/\/[^\s\\]+$/.test(value) && URL.canParse(value) ? new URL(value) : undefined

const bare = (url: URL): boolean => url.username === '' && url.password === '' && url.search === '' && url.hash === ''

const baseMessage = 'must be an http or https URL without a query, a fragment, a user or dot segments'

/** Where an upstream is: `scheme://host[:port]`, with a base path if it has one; without a trailing slash. */
export const baseUrl = z.string({ error: baseMessage }).transform((value, context) => {
  const url = parsed(value)
  const base = url?.pathname.replace(/\/$/, '')
  if (url === undefined || !bare(url) || /\/\.\.?(\/|$)|%2e|\/\/.*\/\//i.test(value))
    return refuse(context, baseMessage)
  return `${url.origin}${base}`
})

const originMessage =
  'must be an https URL of the form https://host or https://host:port, without a path, a query or a user'
const secureMessage = 'must be https (http is for loopback addresses only)'

/** `https://host[:port]`; http on loopback addresses. */
export const origin = z.string({ error: originMessage }).transform((value, context) => {
  const url = parsed(value)
  if (url === undefined || !bare(url) || url.pathname !== '/') return refuse(context, originMessage)
  return url.protocol === 'https:' || loopback(url.hostname) ? url.origin : refuse(context, secureMessage)
})

/** An https URL (http on loopback addresses), kept exactly as it is written: issuers are compared as text. */
export const secureUrl = z.string({ error: 'must be an https URL' }).transform((value, context) => {
  const url = parsed(value)
  if (url === undefined || !bare(url))
    return refuse(context, 'must be an https URL without a query, a fragment or a user')
  return url.protocol === 'https:' || loopback(url.hostname) ? value : refuse(context, secureMessage)
})

const networkMessage = 'must be an IP address or a network such as 10.0.0.0/8'

export const network = z.string({ error: networkMessage }).transform((value, context) => {
  const [address = '', bits, ...more] = value.split('/')
  const version = isIP(address)
  const valid =
    version !== 0 &&
    more.length === 0 &&
    (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)))
  if (!valid) return refuse(context, networkMessage)
  return bits !== undefined && Number(bits) === 0
    ? refuse(context, 'must not be the whole internet: anybody could then say where they call from')
    : value
})

// ---- names

/** Names of issuers, logins, upstreams, reviewers and the like: they stand before a colon and in headers. */
export const name = text('a name').regex(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
  'must be a name of letters, digits, ".", "_" and "-"',
)

/** Names of rules and tests, and labels: readable text on one line. */
export const label = text('a text')
  .regex(/^[\x20-\x7e]{1,200}$/, 'must be printable ASCII, at most 200 characters')
  .refine(value => value.trim() === value, 'must not begin or end with a space')

export const headerName = text('a header name')
  .regex(/^[!#$%&'*+.^`|~0-9A-Za-z-]+$/, 'must be a header name (letters, digits and "-")')
  .transform(value => value.toLowerCase())

const prefixMessage = 'must be a path such as /billing: canonical, without a trailing slash, a query or dot segments'

/** Where an upstream is found: `/` or a canonical path without a trailing slash. */
export const prefix = z
  .string({ error: prefixMessage })
  .refine(
    value => value === '/' || (/^(\/[A-Za-z0-9._~!$&'()*+,=:@-]+)+$/.test(value) && !/\/\.\.?(\/|$)/.test(value)),
    prefixMessage,
  )
  .refine(
    value => !/^\/(\.holdpoint|\.well-known\/oauth-protected-resource)(\/|$)/i.test(value),
    'must not hide the paths that the gate serves itself',
  )

const hostMessage = 'must be a host name such as billing.gate.acme.internal or "*.gate.acme.internal"'

/** A host name in lower case without a port; `*.name` stands for one label. */
export const host = z
  .string({ error: hostMessage })
  .transform(value => value.toLowerCase())
  .pipe(z.string().regex(/^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, hostMessage))

export const domain = z
  .string({ error: 'must be a domain such as acme.com' })
  .transform(value => value.toLowerCase())
  .pipe(z.string().regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/, 'must be a domain such as acme.com'))
