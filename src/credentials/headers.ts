// Fixed headers, such as an API key.
import type { Credential } from './credential.ts'

// What forward.ts writes itself, or what belongs to one connection.
const reserved: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Throws if a header could not be sent as it is. */
export const headers = (values: { readonly [name: string]: string }): Credential => {
  const lines = Object.entries(values)
  if (lines.length === 0) throw new Error('credential.headers: name at least one header')
  const seen = new Set<string>()
  for (const [name, value] of lines) {
    const field = `credential.headers.${name}`
    const lower = name.toLowerCase()
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) throw new Error(`${field}: this is no header name`)
    if (reserved.has(lower)) throw new Error(`${field}: this header belongs to the connection; remove it`)
    if (seen.has(lower)) throw new Error(`${field}: this header is given twice`)
    if (!/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
      throw new Error(`${field}: write the value as visible ASCII without line breaks or spaces around it`)
    }
    seen.add(lower)
  }
  return { fixed: lines, headers: async () => lines }
}
