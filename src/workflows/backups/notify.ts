import type { Registry } from '../../../plugins/lib/registry.ts'
import { createRemote } from '../../../plugins/lib/remote.ts'

/** How something ended that nobody was waiting for. */
export interface Notice {
  readonly event: 'archive' | 'backup' | 'drill' | 'prune' | 'restore'
  readonly outcome: 'success' | 'failure'
  /** A sentence. */
  readonly text: string
  readonly details?: Readonly<Record<string, unknown>>
}

/**
 * Tells the webhook, with `text` at the top as chat services expect it.
 *
 * @param url null: nobody is to be told
 * @throws RemoteError when the webhook could not be reached, or refuses
 */
export async function notify(url: string | null, notice: Notice, registry?: Registry): Promise<void> {
  if (url === null) return
  const { origin, pathname, search } = new URL(url)
  const remote = createRemote({ service: 'notify', baseUrl: origin, registry })
  await remote.call({
    operation: 'notify',
    method: 'POST',
    path: `${pathname}${search}`,
    // Told twice is better than not at all.
    idempotent: true,
    body: { ...notice, at: new Date().toISOString() },
    parse: text => text
  })
}
