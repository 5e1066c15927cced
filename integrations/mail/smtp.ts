import { loadPackages } from '../../plugins/lib/packages.ts'
import type { Registry } from '../../plugins/lib/registry.ts'
import { RemoteError, type RemoteFailure } from '../../plugins/lib/remote/error.ts'
import { measure } from '../../plugins/lib/remote/measure.ts'
import type { Mail, Mailer } from './port.ts'

export interface SmtpSettings {
  /** `smtp://user:password@host:port`, or `smtps://` for a server that speaks TLS from the start. */
  readonly url: string
  /** The sender's address. */
  readonly from: string
  /** Whether `smtp://` without STARTTLS is accepted, as on loopback. */
  readonly allowsPlain: boolean
  readonly registry?: Registry | undefined
  /** Milliseconds for each step: connecting, the greeting, and any silence later. */
  readonly timeout?: number
  /** Milliseconds for all of it. */
  readonly deadline?: number
}

const SERVICE = 'mail'
const OPERATION = 'send'
/** Nothing that ends an address in a command or a header, whatever a parser makes of the rest. */
const ADDRESS = /^[^\s<>()[\],;:"\\@]+@[A-Za-z0-9.-]+$/

/** A mail server. There is no second attempt: the first may have been accepted, and its answer lost. */
export function smtpMailer(settings: SmtpSettings): Mailer {
  const { from, timeout = 10_000, deadline = 30_000 } = settings
  const measured = measure(settings.registry, SERVICE)

  async function send({ to, subject, text }: Mail): Promise<void> {
    for (const address of to) if (!ADDRESS.test(address)) throw new TypeError(`"${address}" is not a mail address`)
    const { createTransport } = await loadPackages(SERVICE, ['nodemailer'], () => import('nodemailer'))
    const transport = createTransport({
      ...serverOf(settings),
      connectionTimeout: timeout,
      greetingTimeout: timeout,
      socketTimeout: timeout,
      disableFileAccess: true,
      disableUrlAccess: true
    })
    const addresses = to.map(address => ({ name: '', address }))
    const sending = transport.sendMail({
      from: { name: 'Rhone', address: from },
      to: addresses,
      // The recipients are these, whatever a header could be read as.
      envelope: { from, to: [...to] },
      // It answers nobody, and wants no answer from a holiday.
      headers: { 'auto-submitted': 'auto-generated' },
      subject,
      text
    })
    await within(deadline, sending).catch(error => {
      throw failureOf(error)
    })
  }

  return {
    send: mail =>
      measured.attempt({ service: SERVICE, operation: OPERATION, method: 'SEND', attempt: 1, headers: {} }, () =>
        send(mail)
      )
  }
}

function serverOf({ url: text, allowsPlain }: SmtpSettings) {
  const url = new URL(text)
  const secure = url.protocol === 'smtps:'
  const { hostname: host, username, password } = url
  return {
    host,
    port: Number(url.port || (secure ? 465 : 587)),
    secure,
    requireTLS: !secure && !allowsPlain,
    ...(username && { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } })
  }
}

/** A server that sends a byte now and then is never silent. What goes on after that ends by itself. */
async function within<Result>(milliseconds: number, work: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('late'), { code: 'ETIMEDOUT' })), milliseconds)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

function failureOf(error: Error & { code?: string; responseCode?: number }): unknown {
  const { code, responseCode: status } = error
  const kind: RemoteFailure = status !== undefined ? 'status' : code === 'ETIMEDOUT' ? 'timeout' : 'network'
  // The package's sentences may repeat addresses.
  const detail =
    code === 'EAUTH' ? 'the user or the password is refused' : code === 'ETLS' ? 'offers no TLS' : undefined
  return new RemoteError({
    service: SERVICE,
    operation: OPERATION,
    kind,
    status,
    ...(detail && { detail }),
    cause: error
  })
}
