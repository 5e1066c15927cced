import type { Mailer } from '../../../integrations/mail/port.ts'
import type { Registry } from '../../../plugins/lib/registry.ts'
import { createRemote } from '../../../plugins/lib/remote.ts'

/** The outcome of unattended work. */
export interface Notice {
  readonly event: 'archive' | 'backup' | 'drill' | 'prune' | 'restore'
  readonly outcome: 'success' | 'failure'
  /** A sentence. */
  readonly text: string
  readonly details?: Readonly<Record<string, unknown>>
}

/** Who is notified, each if set. */
export interface Audience {
  /** Receives a POST of JSON. */
  readonly webhookUrl: string | null
  readonly mail: { readonly mailer: Mailer; readonly to: readonly string[] } | null
  readonly registry?: Registry | undefined
}

/**
 * Notifies everyone who is to be. One who cannot be reached keeps it from nobody else, and is reported by variable: the
 * work itself is done.
 */
export async function notify(
  { webhookUrl, mail, registry }: Audience,
  notice: Notice,
  onFailure: (variable: string, error: Error) => void
): Promise<void> {
  const at = new Date().toISOString()
  await Promise.all([
    webhookUrl && post(webhookUrl, { ...notice, at }, registry).catch(error => onFailure('NOTIFY_WEBHOOK_URL', error)),
    mail?.mailer
      .send({ to: mail.to, subject: subjectOf(notice), text: bodyOf(notice, at) })
      .catch(error => onFailure('NOTIFY_EMAIL', error))
  ])
}

/** With `text` at the top level, as chat services expect. */
async function post(url: string, body: Notice & { at: string }, registry: Registry | undefined): Promise<void> {
  const { origin, pathname, search } = new URL(url)
  const remote = createRemote({ service: 'notify', baseUrl: origin, registry })
  await remote.call({
    operation: 'notify',
    method: 'POST',
    path: `${pathname}${search}`,
    // A duplicate notification is better than none.
    idempotent: true,
    body,
    parse: text => text
  })
}

const subjectOf = ({ event, outcome }: Notice) =>
  outcome === 'success' ? `Rhone: ${event} done` : `Rhone: ${event} failed`

function bodyOf({ text, details = {} }: Notice, at: string): string {
  const facts = Object.entries({ at, ...details }).map(([name, value]) => `${name}: ${shown(value)}`)
  return `${text}\n\n${facts.join('\n')}\n`
}

const shown = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value))
