// An access token from an authorization server: for ourselves (client credentials, RFC 6749 §4.4), or for the caller, by exchanging the
// assertion that goes with the call (token exchange, RFC 8693). A caller's own token is never exchanged: held calls do not keep it.
import type { Oauth2Settings } from '../settings.ts'
import type { Credential } from './credential.ts'
import { type BearerToken, bearerToken, keptToken } from './kept.ts'

const askMs = 5_000
const answerMax = 64 * 1024
/** A token of which nobody says how long it is good. */
const unsaidMs = 60_000
/** So many callers' tokens are kept, one for each rule; then all of them are fetched anew. */
const callersMax = 1_000

export const oauth2 = (settings: Oauth2Settings): Credential => {
  if (!settings.exchange) {
    const token = keptToken(() => ask(settings, { grant_type: 'client_credentials' }))
    return { headers: async () => [(await token()).line] }
  }
  const tokens = new Map<string, () => Promise<BearerToken>>()
  /** The newest assertion that says the same: the one that is being waited for is exchanged. */
  const assertions = new Map<string, string>()
  return {
    async headers({ headers }) {
      const [, assertion] = headers.find(([name]) => name.toLowerCase() === 'holdpoint-assertion') ?? []
      if (assertion === undefined) throw new Error('credential.oauth2.exchange: the call carries no assertion')
      const { hold, about } = saidBy(assertion)
      // What was given for an approval is for that call alone.
      if (hold) return [(await ask(settings, exchanging(assertion))).line]
      if (tokens.size >= callersMax && !tokens.has(about)) {
        tokens.clear()
        assertions.clear()
      }
      assertions.set(about, assertion)
      const token = tokens.get(about) ?? keptToken(() => ask(settings, exchanging(assertions.get(about) ?? assertion)))
      tokens.set(about, token)
      return [(await token()).line]
    },
  }
}

/** What an assertion says, but for when it was made: whoever acts for somebody else, or passes by another rule, gets a token of their own. */
const saidBy = (assertion: string): { readonly hold: boolean; readonly about: string } => {
  const { iat, exp, jti, ...said } = JSON.parse(
    Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8'),
  ) as { readonly [claim: string]: unknown }
  return { hold: said.hold !== undefined, about: JSON.stringify(said) }
}

const exchanging = (assertion: string) => ({
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  subject_token: assertion,
  subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
})

const ask = async (settings: Oauth2Settings, grant: { readonly [name: string]: string }): Promise<BearerToken> => {
  const { tokenUrl, clientId, clientSecret, scope, audience } = settings
  const answer = await fetch(tokenUrl, {
    method: 'POST',
    redirect: 'error',
    signal: AbortSignal.timeout(askMs),
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    headers: {
      accept: 'application/json',
      authorization: `Basic ${Buffer.from(`${encoded(clientId)}:${encoded(clientSecret)}`).toString('base64')}`,
    },
    body: new URLSearchParams({
      ...grant,
      ...(scope === undefined ? {} : { scope }),
      ...(audience === undefined ? {} : { audience }),
    }),
  })
  const said = await readJson(answer)
  if (!answer.ok) throw new Error(`credential.oauth2: ${answer.status} ${errorIn(said)}`)
  const { access_token: token, token_type: type, expires_in: seconds } = said
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer')
    throw new Error('credential.oauth2: the answer has no bearer token')
  const livesMs = typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : unsaidMs
  return bearerToken(token, Date.now() + livesMs, 'credential.oauth2: the answer')
}

const encoded = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1)

/** Its code alone: a description may repeat what we sent. */
const errorIn = ({ error }: { readonly [name: string]: unknown }): string =>
  typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? error : 'without a reason'

const readJson = async ({ body }: Response): Promise<{ readonly [name: string]: unknown }> => {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body ?? []) {
    size += chunk.length
    if (size > answerMax) throw new Error(`credential.oauth2: the answer is larger than ${answerMax} bytes`)
    chunks.push(chunk)
  }
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    return value !== null && typeof value === 'object' ? (value as { readonly [name: string]: unknown }) : {}
  } catch {
    return {}
  }
}
