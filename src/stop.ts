// Freezing and lifting: what operators may stop, and that it is on record before it happens. Whom a freeze stops is in freezes.ts.
import { randomBytes } from 'node:crypto'
import { commentOf } from './comment.ts'
import type { FreezeView, FreezeWord } from './console/desk.ts'
import { HoldpointError } from './errors.ts'
import { spelled } from './freezes.ts'
import { printable } from './mask.ts'
import type { Freeze, Reviewer } from './nouns.ts'
import type { Parts } from './parts.ts'
import { inGroups, namedPerson, reviewerKeys } from './people.ts'
import { whoReviews } from './record.ts'
import type { Settings } from './settings.ts'

const longest = 256
const iso = (at: number): string => new Date(at).toISOString()

export const stopping = (parts: Parts) => {
  const { keys, record } = parts

  const operator = (reviewer: Reviewer, settings: Settings): void => {
    if (!reviewer.interactive || !inGroups(reviewer, settings.console.operators, settings))
      throw new HoldpointError(
        'not_approver',
        'Freezes are made and lifted by operators (console.operators) who signed in.',
      )
    const frozen = parts.freezes.ofPerson(reviewerKeys(reviewer, settings))
    if (frozen !== undefined)
      throw new HoldpointError('frozen', `You are frozen yourself (${frozen.reason}); another operator has to do it.`)
  }

  const viewOf = ({ keys: _, madeAt, untilAt, value, by, ...freeze }: Freeze): FreezeView => ({
    ...freeze,
    ...(value === undefined ? {} : { value: printable(value) }),
    by: { login: by.login, name: printable(by.name) },
    made_at: iso(madeAt),
    ...(untilAt === undefined ? {} : { until: iso(untilAt) }),
  })

  const list = (): readonly FreezeView[] => parts.freezes.now().map(viewOf)

  /** On record first: what cannot be recorded does not happen. */
  const recorded = async (kind: string, reviewer: Reviewer, freeze: Freeze): Promise<void> => {
    const until = freeze.untilAt === undefined ? '' : ` until ${iso(freeze.untilAt)}`
    record.note({
      kind,
      reviewer: whoReviews(reviewer),
      detail: `${freeze.id}: ${spelled(freeze)}${until}`,
      comment: freeze.reason,
    })
    await record.flush()
  }

  return {
    async freezes(reviewer: Reviewer): Promise<readonly FreezeView[]> {
      const settings = parts.settings()
      const readers = [...settings.console.operators, ...settings.console.auditors]
      if (!inGroups(reviewer, readers, settings))
        throw new HoldpointError('not_approver', 'Freezes are shown to operators and auditors.')
      await parts.freezes.read()
      return list()
    },

    async freeze(reviewer: Reviewer, word: FreezeWord): Promise<FreezeView> {
      const settings = parts.settings()
      operator(reviewer, settings)
      const freeze: Freeze = {
        id: `f_${randomBytes(9).toString('base64url')}`,
        ...target(word, settings),
        reason: reasonOf(commentOf(keys, word.reason, 'reason')),
        by: { login: reviewer.login, subject: reviewer.subject, name: printable(reviewer.name) },
        madeAt: parts.clock(),
        ...untilOf(word.until, parts.clock()),
      }
      await recorded('freeze.made', reviewer, freeze)
      await parts.freezes.change(before => [...before, freeze])
      return viewOf(freeze)
    },

    async lift(reviewer: Reviewer, id: string): Promise<readonly FreezeView[]> {
      operator(reviewer, parts.settings())
      await parts.freezes.read()
      const freeze = parts.freezes.now().find(one => one.id === id)
      if (freeze === undefined) throw new HoldpointError('not_found', 'There is no freeze with this id (any more).')
      await recorded('freeze.lifted', reviewer, freeze)
      await parts.freezes.change(before => before.filter(one => one.id !== id))
      return list()
    },
  }
}

const reasonOf = (reason: string | undefined): string => {
  if (reason === undefined) throw new HoldpointError('malformed', 'reason: say why; callers and reviewers read it.')
  return reason
}

const untilOf = (text: string | undefined, now: number): { untilAt?: number } => {
  if (text === undefined) return {}
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  if (!(at > now))
    throw new HoldpointError('malformed', 'until: must be an instant in the future such as 2026-01-31T09:30:00Z.')
  return { untilAt: at }
}

/** What is meant, checked as far as the configuration knows: in a hurry a typing error must not look like a freeze. */
const target = (word: FreezeWord, settings: Settings): Pick<Freeze, 'what' | 'value' | 'keys'> => {
  const { what, value } = word
  if (what === 'all') {
    if (value !== undefined) throw new HoldpointError('malformed', 'value: a freeze of all takes none.')
    return { what }
  }
  if (value === undefined || value.length > longest)
    throw new HoldpointError('malformed', `value: say which ${what}, in at most ${longest} characters.`)
  if (what === 'upstream' && !settings.upstreams.some(({ name }) => name === value))
    throw new HoldpointError(
      'malformed',
      `value: no upstream is called "${printable(value)}"; there are ${settings.upstreams.map(({ name }) => name).join(', ')}.`,
    )
  if (what !== 'person') return { what, value }
  const person = namedPerson(value, settings)
  if (person === undefined)
    throw new HoldpointError(
      'malformed',
      'value: name a person by an entry of "people", an e-mail address, or an account such as "okta:00u1".',
    )
  return { what, value, keys: person }
}
