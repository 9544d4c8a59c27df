// A notice as a Slack message. Whatever comes from a call stands in `rich_text` or plain_text, which Slack shows as it is: no mention, link,
// emoji or formatting can be made by it. What does not fit is not cut: then the message only offers to open the console.
import type { Notice, Shown } from './channel.ts'
import { buttonValue } from './offer.ts'
import { followUpOf, requestText, utc, titleOf as wholeTitle } from './outcome.ts'

/** A block as it goes to Slack. */
export type Block = { readonly type: string; readonly [key: string]: unknown }

export type Message = { readonly text: string; readonly blocks: readonly Block[] }

/** Slack takes 3000 characters in most of its texts; the same bound holds for the whole request. */
const requestMost = 3_000
const lineMost = 500
const reasonMost = 1_000
const whoMost = 500
const headerMost = 150

// Only for the one text that Slack reads as mrkdwn whatever is said (notifications, clients without blocks).
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

const plain = (text: string): object => ({ type: 'plain_text', text, emoji: false })

type Element = { readonly type: 'text'; readonly text: string; readonly style?: object }
const text = (value: string): Element => ({ type: 'text', text: value })
const bold = (value: string): Element => ({ type: 'text', text: value, style: { bold: true } })
const lines = (rows: readonly (readonly Element[])[]): Block => ({
  type: 'rich_text',
  elements: rows.map(elements => ({ type: 'rich_text_section', elements: [...elements, text('\n')] })),
})

/** The whole request as it is shown, or undefined if it is too long for a message. */
const requestOf = (shown: Shown): string | undefined => {
  const whole = requestText(shown)
  return whole.length <= requestMost ? whole : undefined
}

/** Why this call cannot be decided in its message; undefined if it can. */
export const barredIn = ({ shown }: Notice): string | undefined => {
  if (shown === undefined) return 'Look at it on the console.'
  if (shown.openOnly !== undefined) return shown.openOnly
  const fits =
    requestOf(shown) !== undefined &&
    shown.line.length <= lineMost &&
    (shown.reason ?? '').length <= reasonMost &&
    shown.caller.length <= whoMost &&
    shown.people.join(', ').length <= whoMost
  return fits ? undefined : 'It is too long to be shown here. Look at it on the console.'
}

const titleOf = (notice: Notice): string => {
  const title = wholeTitle(notice)
  return title.length <= headerMost ? title : `${title.slice(0, headerMost - 1)}…`
}

/** What is shortened here keeps the call from being decided here (`barredIn`). */
const short = (value: string): string => (value.length <= whoMost ? value : `${value.slice(0, whoMost)}…`)

const button = (id: string, label: string, more: object): object => ({
  type: 'button',
  action_id: id,
  text: plain(label),
  ...more,
})

const open = (notice: Notice): object => button('open', 'Open', { url: notice.url })

const about = (notice: Notice): readonly (readonly Element[])[] => {
  const { shown } = notice
  const who =
    shown === undefined
      ? []
      : [
          [bold('Caller: '), text(short(shown.caller))],
          [bold('For: '), text(shown.people.length === 0 ? 'owner unknown' : short(shown.people.join(', ')))],
        ]
  const waits =
    notice.state === 'pending'
      ? [
          [bold('Waits for: '), text(notice.approvers.join(', '))],
          [bold('Until: '), text(utc(notice.expiresAt))],
        ]
      : []
  return [...who, [bold('Rule: '), text(notice.rules.join(', '))], ...waits]
}

const said = (shown: Shown): readonly (readonly Element[])[] => [
  ...(shown.earlier === undefined
    ? []
    : [[bold(`The same call is ${shown.earlier.state} since ${utc(shown.earlier.at)}.`)]]),
  ...(shown.reason === undefined || shown.reason.length > reasonMost
    ? []
    : [[bold("Why, in the caller's own words: "), text(shown.reason)]]),
]

export const messageOf = (notice: Notice): Message => {
  const { shown, state } = notice
  const line = shown === undefined || shown.line.length > lineMost ? undefined : shown.line
  const header: Block = { type: 'header', text: plain(titleOf(notice)) }
  const rows = [...(line === undefined ? [] : [[bold(line)]]), ...about(notice)]
  const fallback = escaped(line === undefined ? titleOf(notice) : `${titleOf(notice)}: ${line}`)
  if (state !== 'pending' || shown === undefined) {
    const verdict = shown?.comment === undefined ? [] : [[bold('Comment: '), text(shown.comment)]]
    return {
      text: fallback,
      blocks: [header, lines([...rows, ...verdict]), { type: 'actions', elements: [open(notice)] }],
    }
  }
  const why = barredIn(notice)
  const request = requestOf(shown)
  const value = buttonValue(notice.hold, shown.view)
  const hidden = shown.hidden.bytes === 0 ? '' : ` ${shown.hidden.bytes} of ${shown.hidden.of} bytes are hidden.`
  return {
    text: fallback,
    blocks: [
      header,
      lines([...rows, ...said(shown)]),
      ...(request === undefined
        ? []
        : [{ type: 'rich_text', elements: [{ type: 'rich_text_preformatted', elements: [text(request)] }] }]),
      { type: 'context', elements: [plain(`${why ?? 'This is the whole request.'}${hidden} SHA-256 ${shown.digest}`)] },
      {
        type: 'actions',
        elements: [
          ...(why === undefined
            ? [
                button('approve', 'Approve', { style: 'primary', value }),
                button('deny', 'Deny', { style: 'danger', value }),
              ]
            : []),
          open(notice),
        ],
      },
    ],
  }
}

/** What is said below the message of a hold that still waits, and then of how it ended. */
export const replyOf = (notice: Notice): Message => {
  const what = followUpOf(notice)
  return { text: escaped(what), blocks: [lines([[text(what)]])] }
}
