/** `npm run monitoring`: runs this machine's Prometheus and Alertmanager against a running Rhone, and prints alerts. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startReceiver } from './receiver.ts'
import { startStack } from './stack.ts'

const target = process.env.RHONE_URL ?? 'http://127.0.0.1:8080'
const directory = await mkdtemp(join(tmpdir(), 'rhone-monitoring-'))
const receiver = await startReceiver(({ receiver, alert, status, severity, summary, runbook }) => {
  if (receiver !== 'heartbeat')
    console.log(`${status} ${alert} (${severity}, to ${receiver}): ${summary}. See ${runbook}`)
})

try {
  const stack = await startStack({
    target,
    token: process.env.METRICS_TOKEN || null,
    receiver: receiver.url,
    directory,
    ports: { prometheus: 9090, alertmanager: 9093 }
  })
  console.log(`Prometheus at ${stack.prometheus}, Alertmanager at ${stack.alertmanager}, watching ${target}`)
  console.log(`For the history of /admin/operations, start Rhone with PROMETHEUS_URL=${stack.prometheus}`)
  console.log('Alerts are printed here. Ctrl-C ends it.')
  await new Promise<void>(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  await stack.stop()
} catch (error) {
  console.error(`monitoring: ${(error as Error).message}`)
  process.exitCode = 1
} finally {
  receiver.close()
  await rm(directory, { recursive: true, force: true })
}
