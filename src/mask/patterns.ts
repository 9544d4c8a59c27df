// What a secret or a personal value looks like, wherever it stands. Every search is linear in the text: a pattern either starts
// with a literal, has a bounded length, or runs over a character class to its end without ever giving a character back.

/** `end` is exclusive. `rank`: where spans overlap, the lowest one names the whole; 0 is a certain secret, 1 a named one. */
export type Span = { readonly start: number; readonly end: number; readonly kind: string; readonly rank: number }

// `exact` fits hardly anything but a secret, so a request target that contains it is refused; the others are only masked.
const tokens: readonly { readonly kind: string; readonly shape: string; readonly exact: boolean }[] = [
  { kind: 'aws key', shape: '(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])', exact: true },
  { kind: 'slack token', shape: 'xox[abcdeoprs](?:\\.xox[bp])?-[A-Za-z0-9-]{10,}', exact: true },
  { kind: 'slack token', shape: 'xapp-\\d-[A-Za-z0-9-]{10,}', exact: true },
  { kind: 'slack webhook', shape: 'hooks\\.slack(?:-gov)?\\.com/[a-z]{4,12}/[A-Za-z0-9/_-]{8,}', exact: true },
  { kind: 'github token', shape: 'gh[pousr]_[A-Za-z0-9]{30,}', exact: true },
  { kind: 'github token', shape: 'github_pat_[A-Za-z0-9_]{22,}', exact: true },
  { kind: 'gitlab token', shape: 'gl(?:pat|ptt|dt|rt|cbt|oas|agent)-[A-Za-z0-9_-]{20,}', exact: true },
  { kind: 'anthropic key', shape: 'sk-ant-[A-Za-z0-9_-]{16,}', exact: true },
  { kind: 'openai key', shape: 'sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}', exact: true },
  { kind: 'openai key', shape: 'sk-[A-Za-z0-9]{32,}', exact: true },
  { kind: 'api key', shape: 'sk-[A-Za-z0-9_-]{20,}', exact: false },
  { kind: 'stripe key', shape: '(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}', exact: true },
  { kind: 'stripe key', shape: 'whsec_[A-Za-z0-9+/=]{24,}', exact: true },
  { kind: 'google key', shape: 'AIza[A-Za-z0-9_-]{35}', exact: true },
  { kind: 'google token', shape: 'ya29\\.[A-Za-z0-9_-]{20,}', exact: true },
  { kind: 'sendgrid key', shape: 'SG\\.[A-Za-z0-9_-]{16,64}\\.[A-Za-z0-9_-]{16,}', exact: true },
  { kind: 'npm token', shape: 'npm_[A-Za-z0-9]{36,}', exact: true },
  { kind: 'pypi token', shape: 'pypi-AgE[A-Za-z0-9_-]{40,}', exact: true },
  { kind: 'vault token', shape: 'hv[sbr]\\.[A-Za-z0-9_-]{24,}', exact: true },
  { kind: 'digitalocean token', shape: 'do[opr]_v1_[a-f0-9]{64}', exact: true },
  { kind: 'shopify token', shape: 'shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}', exact: true },
  { kind: 'huggingface token', shape: 'hf_[A-Za-z0-9]{30,}', exact: true },
  { kind: 'docker token', shape: 'dckr_pat_[A-Za-z0-9_-]{20,}', exact: true },
  { kind: 'atlassian token', shape: 'ATATT3[A-Za-z0-9_=-]{40,}', exact: true },
  { kind: 'age key', shape: 'AGE-SECRET-KEY-1[A-Z0-9]{40,}', exact: true },
  { kind: 'azure secret', shape: '[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,}', exact: false },
]

const oneOf = (list: typeof tokens): RegExp =>
  new RegExp(`(?<![A-Za-z0-9])(?:${list.map(({ shape }) => `(${shape})`).join('|')})`, 'g')
const known = oneOf(tokens)
const exactTokens = tokens.filter(({ exact }) => exact)
const exactKnown = oneOf(exactTokens)

const tokenSpans = (text: string, pattern: RegExp, list: typeof tokens): Span[] =>
  [...text.matchAll(pattern)].map(match => ({
    start: match.index,
    end: match.index + match[0].length,
    kind: list[match.slice(1).findIndex(group => group !== undefined)]?.kind ?? 'token',
    rank: 0,
  }))

// A private key without its last line is taken to reach to the end of the text.
const pemSpans = (text: string): Span[] => {
  const spans: Span[] = []
  for (let start = text.indexOf('-----BEGIN '); start >= 0; ) {
    const label = /^[A-Z0-9 ]{0,40}(?=-----)/.exec(text.slice(start + 11, start + 60))?.[0]
    let end = start + 11
    if (label?.includes('PRIVATE KEY')) {
      const closing = `-----END ${label}-----`
      const found = text.indexOf(closing, end)
      end = found < 0 ? text.length : found + closing.length
      spans.push({ start, end, kind: 'private key', rank: 0 })
    }
    start = text.indexOf('-----BEGIN ', end)
  }
  return spans
}

// The private half of a PuTTY key goes on to its checksum.
const puttySpans = (text: string): Span[] => {
  const match = /^Private-Lines: \d+\r?\n/m.exec(text)
  if (match === null) return []
  const start = match.index + match[0].length
  const end = text.indexOf('Private-MAC', start)
  return [{ start, end: end < 0 ? text.length : end, kind: 'private key', rank: 0 }]
}

// A dotted run in which a part opens a JOSE header (RFC 7515 §3.1, RFC 7516 §3.1), to the end of the run.
const jwtSpans = (text: string): Span[] => {
  if (!text.includes('eyJ')) return []
  const spans: Span[] = []
  for (const run of text.matchAll(/[A-Za-z0-9_.-]{20,}/g)) {
    const parts = run[0].split('.')
    let offset = run.index
    for (const [index, part] of parts.entries()) {
      const opens = part.indexOf('eyJ')
      const next = parts[index + 1] ?? ''
      if (opens >= 0 && next.length >= 2 && isJoseHeader(part.slice(opens), next)) {
        spans.push({ start: offset + opens, end: run.index + run[0].length, kind: 'jwt', rank: 0 })
        break
      }
      offset += part.length + 1
    }
  }
  return spans
}

const isJoseHeader = (part: string, next: string): boolean =>
  next.startsWith('eyJ') || /"(?:alg|enc|typ|kid)"/.test(Buffer.from(part.slice(0, 4096), 'base64url').toString())

// RFC 3986 §3.2.1: what stands between the colon and the last `@` before the host ends is a password.
const urlSpans = (text: string): Span[] =>
  [...text.matchAll(/:\/\/([^\s/?#"'<>\\]+)/g)].flatMap(match => {
    const authority = match[1] ?? ''
    const colon = authority.indexOf(':')
    const at = authority.lastIndexOf('@')
    const start = match.index + 3
    return colon < 0 || at < colon + 2 ? [] : [{ start: start + colon + 1, end: start + at, kind: 'password', rank: 0 }]
  })

// The same, percent-encoded once or more.
const encodedUrlSpans = (text: string): Span[] =>
  [...text.matchAll(/%(?:25)*3a(?:%(?:25)*2f){2}(?=([^\s/?#"'<>\\&]{1,1000}))/gi)].flatMap(match => {
    const run = match[1] ?? ''
    const authority = run.slice(0, /%(?:25)*(?:2f|3f|23)/i.exec(run)?.index)
    const colon = /%(?:25)*3a|:/i.exec(authority)
    const at = [...authority.matchAll(/%(?:25)*40|@/g)].at(-1)
    if (colon === null || at === undefined) return []
    const start = match.index + match[0].length
    const [from, to] = [start + colon.index + colon[0].length, start + at.index]
    return from < to ? [{ start: from, end: to, kind: 'password', rank: 0 }] : []
  })

const schemeSpans = (text: string): Span[] =>
  [...text.matchAll(/(?<![A-Za-z0-9])(bearer|basic|dpop) {1,4}([A-Za-z0-9._~+/-]{8,}=*)/gi)].flatMap(match => {
    const value = match[2] ?? ''
    const end = match.index + match[0].length
    // Prose speaks of bearer authentication and of a basic understanding.
    const basic = /^basic$/i.test(match[1] ?? '')
    if (
      basic
        ? !Buffer.from(value, 'base64').toString().includes(':')
        : /^(?:auth|token|credential)[a-z]*[.-]?$/i.test(value)
    )
      return []
    return [{ start: end - value.length, end, kind: 'secret', rank: 0 }]
  })

// 40 characters of base64 with a `/` or `+` among them. Without one it could be any id, and only a name tells.
const awsSecretSpans = (text: string): Span[] =>
  [...text.matchAll(/(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])/g)]
    .filter(({ 0: run }) => /[/+]/.test(run) && isMixed(run, 0.3))
    .map(match => ({ start: match.index, end: match.index + 40, kind: 'aws secret', rank: 0 }))

// Most values are a word or a number, and looking for each secret by itself costs more than all else that is done with them. No shape of
// a secret is shorter than this unless it has white space, a colon or a percent sign.
const shortestToken = 15
const apart = /[\s:%]/
// And each token has so many of its characters in a row, or begins in its own way.
const couldBeToken = /[\w.~=-]{15}|whsec_/

/** Values that are secrets by their look alone. */
export const certainSpans = (text: string): Span[] =>
  text.length < 8 || (text.length < shortestToken && !apart.test(text))
    ? []
    : [
        ...pemSpans(text),
        ...jwtSpans(text),
        ...(couldBeToken.test(text) ? tokenSpans(text, known, tokens) : []),
        ...puttySpans(text),
        ...urlSpans(text),
        ...encodedUrlSpans(text),
        ...schemeSpans(text),
        ...awsSecretSpans(text),
      ]

const decoded = (text: string): string =>
  text.replace(/(?:%[0-9a-fA-F]{2})+/g, run => Buffer.from(run.replaceAll('%', ''), 'hex').toString())

// Each of these secrets has 15 such characters in a row (a Slack token no more), or begins in its own way. Most targets have neither.
const couldHold = /[\w.=-]{15}|-----|whsec_/

/**
 * The kind of a secret in a request target, as it is written or percent-decoded (once and twice); undefined if there is none.
 * Only shapes that ordinary ids do not have, since such a call is refused (`400 secret_in_target`).
 */
export const certainSecretIn = (target: string): string | undefined => {
  if (!/[%+]/.test(target) && !couldHold.test(target)) return undefined
  const once = decoded(target)
  const readings = new Set([target, once.replaceAll('+', ' '), decoded(once)])
  for (const text of readings) {
    if (!couldHold.test(text)) continue
    const found = [...pemSpans(text), ...jwtSpans(text), ...tokenSpans(text, exactKnown, exactTokens)][0]
    if (found !== undefined) return found.kind
  }
  return undefined
}

// ---- personal data

// ISO 13616: the length of an IBAN by country.
const ibanLengths = new Map(
  `AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18
   FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21
   LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24
   SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30`
    .split(/\s+/)
    .map(entry => [entry.slice(0, 2), Number(entry.slice(2))]),
)

const ibanSpans = (text: string): Span[] =>
  [...text.matchAll(/(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}/g)].flatMap(match => {
    const wanted = ibanLengths.get(match[0].slice(0, 2))
    if (wanted === undefined) return []
    let length = 0
    let seen = 0
    while (seen < wanted && length < match[0].length) {
      if (match[0][length] !== ' ') seen += 1
      length += 1
    }
    const end = match.index + length
    const iban = match[0].slice(0, length).replaceAll(' ', '')
    if (seen < wanted || /[A-Za-z0-9]/.test(text[end] ?? '') || !isMod97(iban)) return []
    return [{ start: match.index, end, kind: 'iban', rank: 2 }]
  })

const isMod97 = (iban: string): boolean => {
  let remainder = 0
  for (const character of iban.slice(4) + iban.slice(0, 4)) {
    const value = Number.parseInt(character, 36)
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97
  }
  return remainder === 1
}

// ISO/IEC 7812 numbers of the card schemes, plain or in the groups printed on cards; Luhn must fit.
const cardShape =
  /(?<![A-Za-z0-9]|\d[.-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{5}|\d{13,19})(?![A-Za-z0-9]|[.-]\d)/g
const cardPrefix = /^(?:4|5[1-5]|2[2-7]|3[4-9]|30[0-5]|6)/

const cardSpans = (text: string): Span[] =>
  [...text.matchAll(cardShape)]
    .filter(({ 0: number }) => isCard(number.replace(/[ -]/g, '')))
    .map(match => ({ start: match.index, end: match.index + match[0].length, kind: 'card', rank: 2 }))

const isCard = (digits: string): boolean => {
  if (digits.length < 13 || digits.length > 19 || !cardPrefix.test(digits)) return false
  let sum = 0
  for (let index = 0; index < digits.length; index += 1) {
    const digit = Number(digits[digits.length - 1 - index])
    const doubled = index % 2 === 1 ? digit * 2 : digit
    sum += doubled > 9 ? doubled - 9 : doubled
  }
  return sum % 10 === 0
}

const email = /(?<![\p{L}\p{N}.!#$%*+^_~-])[\p{L}\p{N}.!#$%*+^_~-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)*\.\p{L}{2,}/gu

const shapeSpans = (text: string, pattern: RegExp, kind: string): Span[] =>
  [...text.matchAll(pattern)].map(match => ({ start: match.index, end: match.index + match[0].length, kind, rank: 2 }))

const international = /(?<![\w+])\+[1-9](?:[ ().-]{0,2}\d){7,14}(?!\d)/g
const northAmerican = /(?<![\w.+-])\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[ .-]\d{4}(?![\w-])/g
const ssn = /(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])/g

/** Values that belong to a person: each has a digit or an @. */
export const personalSpans = (text: string): Span[] =>
  text.length < 5 || !/[@\d]/.test(text)
    ? []
    : [
        ...shapeSpans(text, email, 'email'),
        ...cardSpans(text),
        ...ibanSpans(text),
        ...shapeSpans(text, international, 'phone'),
        ...shapeSpans(text, northAmerican, 'phone'),
        ...shapeSpans(text, ssn, 'ssn'),
      ]

// ---- randomness

// Neighbours of different classes, per letter or digit: 0.62 on average in random base62, 0.1 to 0.2 in words and paths.
const isMixed = (run: string, least: number): boolean => {
  if (!/[a-z]/.test(run) || !/[A-Z]/.test(run) || !/\d/.test(run)) return false
  const changes = run.match(/[a-z](?=[A-Z\d])|[A-Z](?=[a-z\d])|\d(?=[A-Za-z])/g)?.length ?? 0
  return changes / (run.match(/[A-Za-z0-9]/g)?.length ?? 1) >= least
}

/** Does a run of base64 characters look random? Ids of up to 64 simple characters never do: reviewers must be able to read them. */
export const isRandom = (run: string): boolean => {
  if (run.length <= 64 && !(run.length >= 32 && /[+/=]/.test(run))) return false
  return /^[0-9a-fA-F]+$/.test(run) ? new Set(run).size >= 8 : isMixed(run, 0.35)
}
