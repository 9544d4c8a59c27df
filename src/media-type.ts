// A media type (RFC 9110 §8.3.1) with one reading, or none: one line, no parameter twice, nothing escaped, no charset but UTF-8.

export type MediaType = {
  /** `type/subtype` in lower case. */
  readonly essence: string
  /** By their names in lower case, without quotes. */
  readonly parameters: ReadonlyMap<string, string>
}

const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const parameter = `[ \\t]*;[ \\t]*(${token})=(${token}|"[^"\\\\]*")`
const mediaTypes = new RegExp(`^(${token}/${token})((?:${parameter})*)[ \\t]*$`)
const parametersOf = new RegExp(parameter, 'g')
const utf8 = /^utf-8$/i
const none: ReadonlyMap<string, string> = new Map()

/** What the Content-Type lines of one message or part say, or in words why that is in doubt. */
export const mediaType = (lines: readonly string[]): MediaType | string => {
  const [line] = lines
  if (line === undefined) return 'it has no Content-Type'
  const found = lines.length === 1 ? mediaTypes.exec(line) : null
  if (found === null) return 'its Content-Type is not one plain media type'
  const [, type = '', rest = ''] = found
  const essence = type.toLowerCase()
  if (rest === '') return { essence, parameters: none }
  const parameters = new Map<string, string>()
  for (const [, name = '', value = ''] of rest.matchAll(parametersOf)) {
    const lower = name.toLowerCase()
    if (parameters.has(lower)) return 'its Content-Type gives a parameter twice'
    parameters.set(lower, value.startsWith('"') ? value.slice(1, -1) : value)
  }
  if (!utf8.test(parameters.get('charset') ?? 'utf-8')) return 'its charset is not utf-8'
  return { essence, parameters }
}
