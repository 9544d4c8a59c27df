// A notice as a Slack message. Whatever comes from a call stands in `rich_text` or plain_text, which Slack shows as it is: no mention, link,
// emoji or formatting can be made by it. What does not fit is not cut: then the message only offers to open the console.
import type { Notice, Shown } from './channel.ts'

/** A block as it goes to Slack. */
export type Block = { readonly type: string; readonly [key: string]: unknown }

export type Message = { readonly text: string; readonly blocks: readonly Block[] }

/** Slack takes 3000 characters in most of its texts; the same bound holds for the whole request. */
const requestMost = 3_000
const lineMost = 500
const reasonMost = 1_000
const headerMost = 150

/** What a button carries: which hold, and which view of it. */
export const buttonValue = (hold: string, view: string): string => `${hold}.${view}`

export const readValue = (value: unknown): { readonly hold: string; readonly view: string } | undefined => {
  const [, hold, view] =
    /^(h_[A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})$/.exec(typeof value === 'string' ? value : '') ?? []
  return hold === undefined || view === undefined ? undefined : { hold, view }
}

// Only for the one text that Slack reads as mrkdwn whatever is said (notifications, clients without blocks).
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

const plain = (text: string): object => ({ type: 'plain_text', text, emoji: false })
const utc = (at: number): string => `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`

type Element = { readonly type: 'text'; readonly text: string; readonly style?: object }
const text = (value: string): Element => ({ type: 'text', text: value })
const bold = (value: string): Element => ({ type: 'text', text: value, style: { bold: true } })
const lines = (rows: readonly (readonly Element[])[]): Block => ({
  type: 'rich_text',
  elements: rows.map(elements => ({ type: 'rich_text_section', elements: [...elements, text('\n')] })),
})

/** The whole request as it is shown, or undefined if it is too long for a message. */
const requestOf = ({ request }: Shown): string | undefined => {
  const { method, target, headers, body } = request
  const whole = [
    `${method} ${target}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
    ...(body.kind === 'shown'
      ? ['', body.text]
      : body.kind === 'opaque'
        ? ['', `(${body.type}, ${body.size} bytes)`]
        : []),
  ].join('\n')
  return whole.length <= requestMost ? whole : undefined
}

/** Why this call cannot be decided in the message; undefined if it can. */
const barred = (shown: Shown): string | undefined => {
  if (shown.openOnly !== undefined) return shown.openOnly
  const fits =
    requestOf(shown) !== undefined && shown.line.length <= lineMost && (shown.reason ?? '').length <= reasonMost
  return fits ? undefined : 'It is too long to be shown here. Look at it on the console.'
}

/** What became of it, in one line; undefined while it waits. */
export const outcomeOf = (notice: Notice): string | undefined => {
  const by = notice.by === undefined ? '' : ` by ${notice.by}`
  switch (notice.state) {
    case 'pending':
      return undefined
    case 'approved':
    case 'released':
      return `Approved${by}, not sent yet`
    case 'delivered':
      return `Approved${by}, delivered${notice.status === undefined ? '' : ` (${notice.status})`}`
    case 'failed':
      return `Approved${by}, could not be delivered`
    case 'unknown':
      return `Approved${by}, sent; what became of it is not known`
    case 'lapsed':
      return `Approved${by}, not fetched in time; nothing was sent`
    case 'void':
      return 'Void: rules, caller or upstream changed; nothing was sent'
    case 'expired':
      return 'Expired; nothing was sent'
    case 'denied':
      return `Denied${by}`
    case 'cancelled':
      return `Withdrawn${by}`
    case 'revoked':
      return `Approved, then revoked${by}`
  }
}

const titleOf = (notice: Notice): string => {
  const { have, needed } = notice.votes
  const title = outcomeOf(notice) ?? `Approval needed${needed > 1 ? ` (${have} of ${needed} votes)` : ''}`
  return title.length <= headerMost ? title : `${title.slice(0, headerMost - 1)}…`
}

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
          [bold('Caller: '), text(shown.caller)],
          [bold('For: '), text(shown.people.length === 0 ? 'owner unknown' : shown.people.join(', '))],
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
  const why = barred(shown)
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
  const what =
    outcomeOf(notice) ??
    (notice.occasion === 'escalated'
      ? `Nobody has decided yet: more people may now. It expires at ${utc(notice.expiresAt)}.`
      : `It still waits, and expires at ${utc(notice.expiresAt)}.`)
  return { text: escaped(what), blocks: [lines([[text(what)]])] }
}
