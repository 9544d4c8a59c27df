// The entry of an allowed call as JSON, in three parts: what is its own, who calls, and under which rule. The latter two are the same for
// many calls, so each is made once. Together they say what JSON.stringify says of the entry.
import type { Entry } from './nouns.ts'

/** What an entry may say of a call that is allowed. */
export type CallEntry = Pick<
  Entry,
  | 'kind'
  | 'call'
  | 'method'
  | 'address'
  | 'upstream'
  | 'action'
  | 'trace'
  | 'caller'
  | 'config'
  | 'rule'
  | 'ruleHash'
  | 'controls'
>
type Who = NonNullable<Entry['caller']>
type Ground = Pick<CallEntry, 'config' | 'rule' | 'ruleHash' | 'controls'>

/** Of so many rules the text is kept; configurations come and go. */
const groundsMax = 20_000

// Printable ASCII that stands for itself in JSON. None of it is a quote, so a text of this shape has these members, and no more.
const plain = '"[ !#-[\\]-~]*"'
const acts = `\\{"name":${plain},"resource":${plain},"access":${plain}\\}`
const shape = new RegExp(
  `^\\{"kind":${plain},"call":${plain},"method":${plain},"address":${plain},"upstream":${plain},"action":${acts},"trace":${plain}\\}$`,
)

/** What is an entry's own, as an object: all but its caller and its ground. */
export const ownText = (entry: CallEntry): string => {
  const { kind, call, method, address, upstream, action, trace } = entry
  const whole = call !== undefined && method !== undefined && address !== undefined
  if (whole && upstream !== undefined && action !== undefined && trace !== undefined) {
    const { name, resource, access } = action
    const text = `{"kind":"${kind}","call":"${call}","method":"${method}","address":"${address}","upstream":"${upstream}","action":{"name":"${name}","resource":"${resource}","access":"${access}"},"trace":"${trace}"}`
    if (shape.test(text)) return text
  }
  const { caller, config, rule, ruleHash, controls, ...own } = entry
  return JSON.stringify(own)
}

const whos = new WeakMap<Who, string>()

/** What an entry says of its caller, to stand behind other members. */
export const whoText = (caller: Who | undefined): string => {
  if (caller === undefined) return ''
  const known = whos.get(caller)
  if (known !== undefined) return known
  const text = membersOf({ caller })
  whos.set(caller, text)
  return text
}

const grounds = new Map<string | undefined, Ground & { readonly text: string }>()

/** What an entry says of the rule of its call, to stand behind other members. */
export const groundText = ({ config, rule, ruleHash, controls }: CallEntry): string => {
  const known = grounds.get(ruleHash)
  if (known !== undefined && known.config === config && known.rule === rule && known.controls === controls)
    return known.text
  const ground = { config, rule, ruleHash, controls } as Ground
  const text = membersOf(ground)
  if (grounds.size >= groundsMax) grounds.clear()
  grounds.set(ruleHash, { ...ground, text })
  return text
}

const membersOf = (value: object): string => {
  const text = JSON.stringify(value)
  return text === '{}' ? '' : `,${text.slice(1, -1)}`
}
