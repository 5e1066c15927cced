import { test } from 'node:test'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import { whileLeading } from '../../../src/workflows/deploying/leadership.ts'
import { freshDatabase } from '../../support/database.ts'
import { eventually } from '../../support/eventually.ts'
import { tcpProxy } from '../../support/tcp-proxy.ts'

/** Leads, or waits to lead, until the test ends; reports when it leads. */
function candidate(t: { after(end: () => Promise<void>): void }, url: string) {
  const ending = new AbortController()
  const leads = Promise.withResolvers<void>()
  const over = whileLeading(
    { target: async () => postgresTarget(url), name: 'test', retryInterval: 100 },
    ending.signal,
    async signal => {
      leads.resolve()
      await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
    }
  )
  t.after(async () => {
    ending.abort()
    await over
  })
  return leads.promise
}

test('a leader behind a silent network failure loses its lock within seconds, not after the TCP timeout', async t => {
  const url = await freshDatabase(t)
  const proxy = await tcpProxy(t, url)
  await candidate(t, proxy.url)
  let leads = false
  candidate(t, url).then(() => {
    leads = true
  })
  proxy.freeze()
  await eventually(() => leads)
})
