// E-mail: that there is a call, its rule and upstream, and a link; never a value of a call. Over TLS with a certificate that fits, unless the
// server is this machine or the configuration insists. A repetition has the same Message-ID.
import type { Transporter } from 'nodemailer'
import type { EmailSettings } from '../settings.ts'
import { type Channel, type Notice, Unreached } from './channel.ts'
import { followUpOf, titleOf, utc, worthSaying } from './outcome.ts'

const timeoutMs = 8_000

export const email = (settings: EmailSettings): Channel => {
  const { host, port, security, ca, user, password, from, to } = settings
  // Loaded with the first mail: most gates send none.
  let connected: Promise<Transporter> | undefined
  const connect = async (): Promise<Transporter> =>
    (await import('nodemailer')).createTransport({
      host,
      port,
      secure: security === 'tls',
      requireTLS: security === 'starttls',
      ignoreTLS: security === 'none',
      tls: { minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) },
      ...(user === undefined || password === undefined ? {} : { auth: { user, pass: password } }),
      connectionTimeout: timeoutMs,
      greetingTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      disableFileAccess: true,
      disableUrlAccess: true,
      logger: false,
    })
  const domain = from.slice(from.lastIndexOf('@') + 1)
  return {
    name: settings.name,
    each: true,
    async tell(notice) {
      if (!worthSaying(notice)) return undefined
      try {
        connected ??= connect()
        await (await connected).sendMail({
          from: { name: 'Holdpoint', address: from },
          to: to.map(address => ({ name: '', address })),
          subject: subjectOf(notice),
          text: textOf(notice),
          messageId: `<${notice.id}@${domain}>`,
          references: `<${notice.hold}@${domain}>`,
          // RFC 3834: nobody's absence note comes back.
          headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
        })
      } catch (cause) {
        // What a server answered may repeat what we said to it, so that goes nowhere, not even to our own log.
        const answered = (cause as { response?: unknown }).response !== undefined
        throw new Unreached(whyOf(cause), answered ? {} : { cause })
      }
      return undefined
    },
    arrived: async () => ({ arrived: false }),
  }
}

/** One line: whatever could end it, or hide in it, is a blank. */
const oneLine = (text: string): string => text.replace(/[^\x21-\x7e]+/g, ' ').slice(0, 150)

const subjectOf = ({ state, rules, upstream }: Notice): string => {
  const word = state === 'pending' ? 'Approval needed' : `${state.charAt(0).toUpperCase()}${state.slice(1)}`
  return oneLine(`${word}: ${rules.join(', ')} (${upstream})`)
}

const textOf = (notice: Notice): string => {
  const what = notice.occasion === 'opened' ? titleOf(notice) : followUpOf(notice)
  const waits =
    notice.state === 'pending'
      ? [`Waits for: ${notice.approvers.join(', ')}`, `Until:     ${utc(notice.expiresAt)}`]
      : []
  return [
    `${what}.`.replace(/\.\.$/, '.'),
    '',
    `Rule:      ${notice.rules.join(', ')}`,
    `Upstream:  ${notice.upstream}`,
    ...waits,
    '',
    notice.state === 'pending' ? 'Look at it and decide on the console:' : 'On the console:',
    notice.url,
    '',
  ].join('\n')
}

/** What failed, without anything that the server said. */
const whyOf = (cause: unknown): string => {
  const { code, responseCode } = cause as { code?: unknown; responseCode?: unknown }
  const word = typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : 'failed'
  return `SMTP: ${word}${typeof responseCode === 'number' ? ` (${responseCode})` : ''}`
}
