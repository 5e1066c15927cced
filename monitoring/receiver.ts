import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** One alert as Alertmanager posts it. */
export interface Notice {
  /** The receiver's name: page, urgent, chat, mail, heartbeat. */
  readonly receiver: string
  readonly alert: string
  readonly status: 'firing' | 'resolved'
  readonly severity: string
  readonly summary: string
  readonly runbook: string
}

interface Posted {
  readonly alerts: readonly {
    readonly status: Notice['status']
    readonly labels: Readonly<Record<string, string>>
    readonly annotations: Readonly<Record<string, string>>
  }[]
}

/** Stands in for pager, chat and mail. */
export async function startReceiver(onNotice: (notice: Notice) => void): Promise<{ url: string; close(): void }> {
  const server = createServer(async (request, response) => {
    const body = await text(request)
    const receiver = (request.url ?? '/').slice(1)
    for (const { status, labels, annotations } of (JSON.parse(body) as Posted).alerts) {
      const { alertname: alert = '', severity = '' } = labels
      const { summary = '', runbook_url: runbook = '' } = annotations
      onNotice({ receiver, alert, status, severity, summary, runbook })
    }
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close() {
      server.close()
      server.closeAllConnections()
    }
  }
}
