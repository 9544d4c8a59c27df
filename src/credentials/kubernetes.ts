// A Kubernetes service account (its token file is renewed by the kubelet, so it is read anew), which may act as the caller by the API
// server's impersonation headers. What a caller sent of those never gets this far (headers.ts).
//   - A user or group of Kubernetes' own (`system:…`) is never impersonated, unless the configuration says that it may.
//   - A caller for whom there is no user is refused, not sent under the service account's own name.
import { readFile } from 'node:fs/promises'
import { HoldpointError } from '../errors.ts'
import type { Caller, Header } from '../nouns.ts'
import type { Impersonation } from '../settings.ts'
import type { Credential } from './credential.ts'

/** For this long a token is used before its file is read again; the kubelet renews it long before it runs out. */
const keptMs = 10_000

const tokenOf = (file: string): (() => Promise<string>) => {
  let kept: { readonly token: Promise<string>; readonly at: number } | undefined
  const read = async (): Promise<string> => {
    const token = (await readFile(file, 'utf8')).trim()
    if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`credential.kubernetes.tokenFile: there is no token in ${file}`)
    return token
  }
  return () => {
    if (kept !== undefined && performance.now() - kept.at < keptMs) return kept.token
    const token = read()
    kept = { token, at: performance.now() }
    // A file that cannot be read now may be there in a moment.
    token.catch(() => {
      if (kept?.token === token) kept = undefined
    })
    return token
  }
}

/** Throws an Error that names the field if what it says cannot be sent. */
export const kubernetes = (tokenFile: string, impersonate: Impersonation | undefined): Credential => {
  const token = tokenOf(tokenFile)
  const impersonating = impersonate && impersonation(impersonate)
  return {
    async headers({ caller }) {
      const impersonated = impersonating?.(caller) ?? []
      return [['Authorization', `Bearer ${await token()}`], ...impersonated]
    },
    ...(impersonating === undefined ? {} : { refuse: (caller: Caller) => void impersonating(caller) }),
  }
}

// ---- impersonation

const impersonation = (as: Impersonation): ((caller: Caller) => readonly Header[]) => {
  const field = 'credential.kubernetes.impersonate'
  const user = template(as.user, `${field}.user`)
  const groups = as.groups.map((group, index) => template(group, `${field}.groups[${index}]`))
  const extra = Object.entries(as.extra).map(([key, values]) => {
    if (!/^[\x21-\x40\x5b-\x7e]+$/.test(key))
      throw new Error(`${field}.extra: write "${key}" in lower case and visible ASCII, as Kubernetes does`)
    return [encodedKey(key), values.map((value, index) => template(value, `${field}.extra.${key}[${index}]`))] as const
  })
  return caller => {
    const [name, ...more] = user(caller)
    if (name === undefined || more.length > 0) throw unnamed(`their token does not say what ${as.user} needs`)
    const own = [name, ...groups.flatMap(group => group(caller))]
    const system = as.insecureSystem ? undefined : own.find(one => /^system:/i.test(one))
    if (system !== undefined) throw unnamed(`"${system}" belongs to Kubernetes itself and is not impersonated`)
    const headers: Header[] = own.map((one, index) => [index === 0 ? 'Impersonate-User' : 'Impersonate-Group', one])
    for (const [key, values] of extra)
      for (const value of values.flatMap(value => value(caller))) headers.push([`Impersonate-Extra-${key}`, value])
    const unsent = headers.find(([, value]) => !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value))
    if (unsent !== undefined) throw unnamed(`${unsent[0]}: the value cannot be sent in a header`)
    return headers
  }
}

const unnamed = (why: string): HoldpointError =>
  new HoldpointError('no_upstream_identity', `Nothing is sent for this caller: ${why}.`)

/** The part of a header name that an API server decodes again (url.PathUnescape, after making it lower case). */
const encodedKey = (key: string): string =>
  key.replace(/[^a-z0-9.-]/g, character => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)

// ---- templates over the caller

/** The values it stands for: one for each group where it names the groups, none where something it names is absent. */
type Template = (caller: Caller) => readonly string[]

const scalars = ['subject', 'issuer', 'client', 'kind', 'name', 'email', 'owner'] as const
const placeholder = /\{([^{}]*)\}/

const template = (text: string, field: string): Template => {
  const parts = text.split(placeholder)
  const names = parts.filter((_, index) => index % 2 === 1)
  const literals = parts.filter((_, index) => index % 2 === 0)
  if (literals.some(part => /[{}]/.test(part))) throw new Error(`${field}: write {caller.subject} and the like`)
  const read = names.map(name => reader(name, field))
  if (names.filter(name => name === 'caller.groups' || name.startsWith('caller.claims.')).length > 1)
    throw new Error(`${field}: name only one of groups and claims in one text`)
  return caller =>
    read.reduce<readonly string[]>(
      (texts, values, index) =>
        texts.flatMap(text => values(caller).map(value => `${text}${value}${literals[index + 1] ?? ''}`)),
      [literals[0] ?? ''],
    )
}

const reader = (name: string, field: string): ((caller: Caller) => readonly string[]) => {
  if (name === 'caller.groups') return ({ groups }) => groups
  const claim = /^caller\.claims\.(.+)$/s.exec(name)?.[1]
  if (claim !== undefined)
    return ({ claims }) => {
      const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined
      return [value ?? []].flat().filter(one => typeof one === 'string' && one !== '') as string[]
    }
  // Where the token itself says that nobody checked the address, it may be anybody's.
  if (name === 'caller.email')
    return ({ email, claims }) =>
      email === undefined || ![undefined, true, 'true'].includes(claims.email_verified as never) ? [] : [email]
  const scalar = scalars.find(one => name === `caller.${one}`)
  if (scalar === undefined)
    throw new Error(
      `${field}: "{${name}}" is not one of ${[...scalars, 'groups', 'claims.<name>'].map(one => `{caller.${one}}`).join(', ')}`,
    )
  return caller => [caller[scalar] ?? []].flat().filter(value => value !== '')
}
