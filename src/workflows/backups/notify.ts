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

/**
 * Calls the webhook, with `text` at the top level, as chat services expect.
 * @param url null: no notification
 * @throws RemoteError when the webhook is unreachable, or refuses
 */
export async function notify(url: string | null, notice: Notice, registry?: Registry): Promise<void> {
  if (url === null) return
  const { origin, pathname, search } = new URL(url)
  const remote = createRemote({ service: 'notify', baseUrl: origin, registry })
  await remote.call({
    operation: 'notify',
    method: 'POST',
    path: `${pathname}${search}`,
    // A duplicate notification is better than none.
    idempotent: true,
    body: { ...notice, at: new Date().toISOString() },
    parse: text => text
  })
}
