import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'

const MONITORING = join(import.meta.dirname, '../../monitoring')
const read = async (file: string) => parse(await readFile(join(MONITORING, file), 'utf8'))
const without = (program: string) =>
  spawnSync(program, ['--version']).error ? `there is no ${program} on this machine` : false

interface Service {
  readonly image: string
  readonly privileged?: boolean
  readonly ports?: readonly string[]
  readonly volumes: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

test('the containers are pinned, unprivileged, on loopback only, and have no default password', async () => {
  const { services, volumes } = (await read('compose.yml')) as {
    services: Record<string, Service>
    volumes: Record<string, null>
  }
  for (const [name, service] of Object.entries(services)) {
    assert.match(service.image, /:v?\d+\.\d+\.\d+$/, name)
    assert.notEqual(service.privileged, true)
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/)
    assert.match(JSON.stringify(service), /127\.0\.0\.1/, `${name} says where it listens`)
    for (const [key, value] of Object.entries(service.environment ?? {}))
      if (/PASSWORD|SECRET|TOKEN/.test(key)) assert.match(value, /^\$\{[A-Z_]+:\?.+\}$/, 'there is no default')
    for (const volume of service.volumes) {
      const [source = ''] = volume.split(':')
      if (source === './secrets') continue // the operator makes it
      if (source.startsWith('./')) await access(join(MONITORING, source))
      else assert.ok(source in volumes, `${name}: ${source}`)
    }
  }
})

test('Prometheus accepts its configuration', { skip: without('promtool') }, () => {
  const { status, stderr } = spawnSync('promtool', ['check', 'config', '--syntax-only', 'prometheus.yml'], {
    cwd: MONITORING,
    encoding: 'utf8'
  })
  assert.equal(status, 0, stderr)
})

const noAmtool = without('amtool')
const route = (...labels: string[]) => {
  const args = ['config', 'routes', 'test', '--config.file', join(MONITORING, 'alertmanager.yml'), ...labels]
  return spawnSync('amtool', args, { encoding: 'utf8' }).stdout.trim()
}

test('each severity is routed to its receiver, and the watchdog to the heartbeat', { skip: noAmtool }, () => {
  assert.equal(route('severity=critical'), 'page')
  assert.equal(route('severity=high'), 'urgent')
  assert.equal(route('severity=medium'), 'chat')
  assert.equal(route('severity=low'), 'mail')
  assert.equal(route('severity=none', 'alertname=Watchdog'), 'heartbeat')
  assert.equal(route('alertname=SomethingElse'), 'mail')
})

test('alerts that inhibit others exist, and share the named labels', async () => {
  const { inhibit_rules: inhibitions, receivers, route: tree } = await read('alertmanager.yml')
  const names = (await read('alerts.yml')).groups.flatMap(({ rules }: { rules: { alert: string }[] }) =>
    rules.map(({ alert }) => alert)
  )
  for (const { source_matchers, target_matchers } of inhibitions)
    for (const matcher of [...source_matchers, ...target_matchers]) {
      const [, pattern = ''] = /^alertname=~?"(.*)"$/.exec(matcher) ?? []
      assert.ok(
        names.some((name: string) => new RegExp(`^(?:${pattern})$`).test(name)),
        matcher
      )
    }
  const known = receivers.map(({ name }: { name: string }) => name)
  for (const { receiver } of [tree, ...tree.routes]) assert.ok(known.includes(receiver), receiver)
})

test('none of these files contains a secret or a password', async () => {
  const text = await readFile(join(MONITORING, 'alertmanager.yml'), 'utf8')
  assert.doesNotMatch(text, /^\s*(api_url|routing_key|auth_password|password):/m)
})
