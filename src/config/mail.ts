import { credential, optional, section, text } from './section.ts'
import { isLoopback } from './values.ts'

/** How mail is sent. */
export interface MailSettings {
  /** Null: no mail is sent. */
  readonly mail: {
    readonly url: string
    /** The sender's address. */
    readonly from: string
    /** Whether a server without TLS is accepted. */
    readonly allowsPlain: boolean
  } | null
}

const variables = {
  SMTP_URL: credential(
    'The mail server: smtp://user:password@host:587, which must offer STARTTLS unless it is on loopback, or smtps://.',
    { form: 'url', needsRestart: true }
  ),
  MAIL_FROM: optional(text('The address that mail is from. Required with SMTP_URL.'))
}

export default section(variables, ({ env, parse, refuse }): MailSettings => {
  const url = parse('SMTP_URL', parseServer)
  const from = parse('MAIL_FROM', parseAddress)
  if (env.SMTP_URL !== undefined && env.MAIL_FROM === undefined) refuse('MAIL_FROM: is required with SMTP_URL')
  return { mail: url === null || from === null ? null : { url, from, allowsPlain: isLoopback(url) } }
})

function parseServer(value: string): string {
  const url = URL.parse(value)
  const isServer = url !== null && /^smtps?:$/.test(url.protocol) && url.hostname !== ''
  if (!isServer || url.search || url.hash || !/^\/?$/.test(url.pathname))
    throw new Error('must be smtp://user:password@host:port or smtps://...')
  if (url.username === '' && url.password !== '') throw new Error('has a password, but no user')
  if (!isDecodable(`${url.username}${url.password}`))
    throw new Error('has a user or password that is not percent-encoded')
  return value
}

function isDecodable(text: string): boolean {
  try {
    return decodeURIComponent(text) !== undefined
  } catch {
    return false
  }
}

/** Strict: parsers of addresses disagree about everything beyond this form. */
export function parseAddress(value: string): string {
  if (!/^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}$/.test(value))
    throw new Error(`"${value}" is not a mail address`)
  return value
}
