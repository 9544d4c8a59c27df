// A notice as an Adaptive Card. Whatever comes from a call stands in a TextRun, which Teams shows as it is: no markdown, link or mention can
// be made by it (TextBlock and FactSet read markdown, so none is used). What does not fit is not cut: then the card only offers to review.
import type { Notice, Shown } from './channel.ts'
import { buttonValue } from './offer.ts'
import { followUpOf, outcomeOf, requestText, titleOf, utc } from './outcome.ts'

export type Element = { readonly type: string; readonly [key: string]: unknown }

export type Card = {
  readonly type: 'AdaptiveCard'
  readonly version: string
  readonly body: readonly Element[]
  readonly actions?: readonly Element[]
  readonly [key: string]: unknown
}

/** Bytes of a message that Teams takes by webhook (its documentation says 28 KB). */
export const messageMost = 28_000

// Together at most some 26 KB, whatever is in them: a character has at most three bytes for each unit of its length.
const requestBytes = 12_000
const textMost = 500
const reasonMost = 600
const commentMost = 1_000

/** What the buttons and fields of a card are called when they come back. */
export const verbs = { approve: 'approve', deny: 'deny', link: 'link', show: 'show' } as const
export const commentField = (verb: 'approve' | 'deny'): string => `comment_${verb}`
export const codeField = 'code'

// Several blanks in a row, or one in front, are drawn as one or none; these are drawn.
const asDrawn = (text: string): string => text.replace(/^ | (?= )|(?<= ) /g, '\u00a0').replace(/^$/, '\u00a0')

const run = (text: string, style: object = {}): Element => ({ type: 'TextRun', text: asDrawn(text), ...style })
const rich = (inlines: readonly Element[], more: object = {}): Element => ({ type: 'RichTextBlock', ...more, inlines })
const bold = { weight: 'Bolder' }
const row = (label: string, text: string): Element =>
  rich([run(`${label}\u00a0`, bold), run(text)], { spacing: 'Small' })
const short = (text: string, most = textMost): string =>
  text.length <= most ? text : `${text.slice(0, most).toWellFormed()}…`

/** The whole request, line by line, or undefined if it is too long for a card. */
const requestRows = (shown: Shown): readonly Element[] | undefined => {
  const rows = requestText(shown)
    .split('\n')
    .map(line => rich([run(line, { fontType: 'Monospace' })], { spacing: 'None' }))
  return Buffer.byteLength(JSON.stringify(rows)) <= requestBytes ? rows : undefined
}

/** Why this call cannot be decided in its card, to be shown there; undefined if it can. */
export const barredIn = ({ shown }: Notice): string | undefined => {
  if (shown === undefined) return 'Look at it on the console.'
  if (shown.openOnly !== undefined) return shown.openOnly
  const whole =
    requestRows(shown) !== undefined &&
    shown.line.length <= textMost &&
    (shown.reason ?? '').length <= reasonMost &&
    shown.caller.length <= textMost &&
    shown.people.join(', ').length <= textMost
  return whole ? undefined : 'It is too long to be shown here. Look at it on the console.'
}

const about = (notice: Notice): readonly Element[] => {
  const { shown, state } = notice
  const who =
    shown === undefined
      ? []
      : [
          row('Caller:', short(shown.caller)),
          row('For:', shown.people.length === 0 ? 'owner unknown' : short(shown.people.join(', '))),
        ]
  const waits =
    state === 'pending'
      ? [row('Waits for:', short(notice.approvers.join(', '))), row('Until:', utc(notice.expiresAt))]
      : []
  return [...who, row('Rule:', short(notice.rules.join(', '))), ...waits]
}

const said = ({ earlier, reason }: Shown): readonly Element[] => [
  ...(earlier === undefined
    ? []
    : [rich([run(`The same call is ${earlier.state} since ${utc(earlier.at)}.`, bold)], { spacing: 'Small' })]),
  ...(reason === undefined ? [] : [row("Why, in the caller's own words:", short(reason, reasonMost))]),
]

/** The request, and whether this is all of it. */
const request = (notice: Notice, shown: Shown): readonly Element[] => {
  const rows = requestRows(shown)
  const hidden = shown.hidden.bytes === 0 ? '' : ` ${shown.hidden.bytes} of ${shown.hidden.of} bytes are hidden.`
  return [
    ...(rows === undefined ? [] : [{ type: 'Container', style: 'emphasis', items: rows }]),
    rich([
      run(`${barredIn(notice) ?? 'This is the whole request.'}${hidden} SHA-256 ${shown.digest}`, { isSubtle: true }),
    ]),
  ]
}

const review = (notice: Notice): Element => ({ type: 'Action.OpenUrl', title: 'Review', url: notice.url })

const execute = (verb: keyof typeof verbs, title: string, value: string, more: object = {}): Element => ({
  type: 'Action.Execute',
  title,
  verb,
  data: { hold: value },
  fallback: 'drop',
  ...more,
})

const verdictActions = (notice: Notice, { view, commentRequired }: Shown): readonly Element[] => {
  const value = buttonValue(notice.hold, view)
  const style = { approve: { style: 'positive' }, deny: { style: 'destructive' } }
  const asking = (verb: 'approve' | 'deny', title: string): Element => ({
    type: 'Action.ShowCard',
    title,
    ...style[verb],
    card: {
      type: 'AdaptiveCard',
      body: [
        {
          type: 'Input.Text',
          id: commentField(verb),
          label: commentRequired ? 'Comment' : 'Comment (optional)',
          isMultiline: true,
          maxLength: commentMost,
          ...(commentRequired ? { isRequired: true, errorMessage: 'This rule wants a comment.' } : {}),
        },
      ],
      actions: [execute(verb, title, value, style[verb])],
    },
  })
  return [
    commentRequired ? asking('approve', 'Approve') : execute('approve', 'Approve', value, style.approve),
    asking('deny', 'Deny'),
  ]
}

const card = (version: string, body: readonly Element[], actions: readonly Element[]): Card => ({
  $schema: 'https://adaptivecards.io/schemas/adaptive-card.json',
  type: 'AdaptiveCard',
  version,
  fallbackText: 'A call waits for approval at Holdpoint.',
  msteams: { width: 'Full' },
  body,
  actions,
})

const title = (text: string): Element => rich([run(short(text), { ...bold, size: 'Large' })])
const remark = (text: string): Element => rich([run(short(text, commentMost), { ...bold, color: 'Attention' })])

export type CardOptions = {
  readonly version: string
  /** Only where clicks come back (a bot). */
  readonly buttons: boolean
  /** Said to whoever clicked. */
  readonly note?: string | undefined
}

/** How the hold stands. */
export const cardOf = (notice: Notice, { version, buttons, note }: CardOptions): Card => {
  const { shown, state } = notice
  const head = [
    title(titleOf(notice)),
    ...(note === undefined ? [] : [remark(note)]),
    ...(shown === undefined ? [] : [rich([run(short(shown.line), bold)])]),
    ...about(notice),
  ]
  if (shown === undefined) return card(version, head, [review(notice)])
  if (state !== 'pending') {
    const comment = shown.comment === undefined ? [] : [row('Comment:', short(shown.comment, commentMost))]
    return card(version, [...head, ...comment], [review(notice)])
  }
  const decided = buttons && barredIn(notice) === undefined
  return card(
    version,
    [...head, ...said(shown), ...request(notice, shown)],
    [...(decided ? verdictActions(notice, shown) : []), review(notice)],
  )
}

/** What is said after the first card: that it still waits, or how it ended. */
export const followUpCard = (notice: Notice, version: string): Card => {
  const { shown } = notice
  const comment = shown?.comment === undefined ? [] : [row('Comment:', short(shown.comment, commentMost))]
  const line = shown === undefined ? [] : [rich([run(short(shown.line), bold)])]
  return card(
    version,
    [
      title(outcomeOf(notice) ?? titleOf(notice)),
      ...(outcomeOf(notice) === undefined ? [rich([run(followUpOf(notice))])] : []),
      ...line,
      ...about(notice),
      ...comment,
    ],
    [review(notice)],
  )
}

/** Asks whoever clicked, and stands for nobody yet, for the code that the console shows them. `value` leads back to the hold's card. */
export const linkCard = (
  value: string,
  linksUrl: string,
  { version, note }: Pick<CardOptions, 'version' | 'note'>,
): Card =>
  card(
    version,
    [
      title('Link your account'),
      ...(note === undefined ? [] : [remark(note)]),
      rich([
        run(
          'Nobody knows who you are here yet. Sign in at the console, have a code shown there, and type it here, once. Type nobody else’s code.',
        ),
      ]),
      { type: 'Input.Text', id: codeField, label: 'Code', maxLength: 20 },
    ],
    [
      execute('link', 'Link my account', value, { style: 'positive' }),
      { type: 'Action.OpenUrl', title: 'Show me a code', url: linksUrl },
      execute('show', 'Back', value),
    ],
  )

/** A message with one card. Its summary, which notifications show, is ours alone. */
export const messageWith = (one: Card): object => ({
  type: 'message',
  summary: 'Holdpoint: a call that needs approval',
  attachments: [{ contentType: 'application/vnd.microsoft.card.adaptive', contentUrl: null, content: one }],
})
