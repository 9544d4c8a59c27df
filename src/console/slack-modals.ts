// The windows and private answers that Slack shows to one person. What is said to them is our own text, or a hold's in plain text.
import type { Message } from '../channels/slack-message.ts'

const plain = (text: string): object => ({ type: 'plain_text', text, emoji: false })
const section = (text: string): object => ({ type: 'section', text: plain(text.slice(0, 3_000)) })

const input = (id: string, label: string, more: object, optional: boolean): object => ({
  type: 'input',
  block_id: id,
  optional,
  label: plain(label),
  element: { type: 'plain_text_input', action_id: id, ...more },
})

const modal = (callback: string, kept: string, title: string, submit: string, blocks: readonly object[]): object => ({
  type: 'modal',
  callback_id: callback,
  private_metadata: kept,
  title: plain(title),
  submit: plain(submit),
  close: plain('Cancel'),
  blocks,
})

/** Asks for the code that the console shows. `kept` comes back with it. */
export const codeModal = (kept: string, linksUrl: string): object =>
  modal('link', kept, 'Link your account', 'Link', [
    section(`Sign in at ${linksUrl}, have a code shown there, and type it here. Type nobody else's code.`),
    input('code', 'Code', { max_length: 20 }, false),
  ])

/** Asks for the comment that goes with a verdict. */
export const commentModal = (kept: string, verdict: 'approve' | 'deny', line: string, required: boolean): object =>
  modal(verdict, kept, verdict === 'approve' ? 'Approve' : 'Deny', verdict === 'approve' ? 'Approve' : 'Deny', [
    section(line),
    input('comment', 'Comment', { multiline: true, max_length: 1_000 }, !required),
  ])

export const told = (text: string): Message => ({ text: '', blocks: [section(text) as Message['blocks'][number]] })

/** The private answer to the first click of an account that stands for nobody yet. */
export const unlinked = (kept: string): Message => ({
  text: '',
  blocks: [
    section(
      'Nobody knows who you are here yet. Link this account to your sign-in once; after that one click decides.',
    ) as Message['blocks'][number],
    {
      type: 'actions',
      elements: [{ type: 'button', action_id: 'link', text: plain('Link my account'), value: kept }],
    },
  ],
})
